//! What clients subscribe to: `subscriptions/listen`, the stream of a session, `resources/subscribe` and `resources/unsubscribe`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::error::Fault;
use super::feed::{Feed, Form, Lists, label};
use super::ladder::Routing;
use super::stream::{EventStream, OfSession, Reading};
use super::{Method, Reply, Request, Server, schema, tasks};
use crate::guard::{Caller, Scope};
use crate::limits::URI_MAX_BYTES;

/// What `subscriptions/listen` asks for. Kinds of notifications that are not known here are not acknowledged.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wishes {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
    task_ids: Vec<String>,
}

/// `subscriptions/listen`: a feed that opens with what is really served of what was asked for.
pub(super) fn open(server: &Server, request: &Request<'_>) -> Result<Reading, Fault> {
    let began = Instant::now();
    let opened = opened(server, request);
    server.count(Method::Listen, &opened, began);
    opened
}

fn opened(server: &Server, request: &Request<'_>) -> Result<Reading, Fault> {
    let wishes: Wishes = request
        .message
        .params
        .notifications
        .filter(|raw| schema::is_object(raw))
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or_else(|| {
            Fault::params(
                "`notifications` must be an object of `toolsListChanged`, `promptsListChanged`, `resourcesListChanged` (true or false) and `resourceSubscriptions` (a list of URIs).",
            )
        })?;
    let berth = server.streams.take(&request.caller.name, true)?;
    let offered = server.offers.lists();
    let mut granted = Map::new();
    let mut lists = Lists::default();
    for (name, list, is_wanted) in [
        ("toolsListChanged", Lists::TOOLS, wishes.tools_list_changed),
        (
            "promptsListChanged",
            Lists::PROMPTS,
            wishes.prompts_list_changed,
        ),
        (
            "resourcesListChanged",
            Lists::RESOURCES,
            wishes.resources_list_changed,
        ),
    ] {
        if is_wanted && offered.has(list) {
            lists.add(list);
            granted.insert(name.to_owned(), true.into());
        }
    }
    let form = Form::Listen(request.id.into(), request.revision);
    let now = server.registry.generations();
    let feed = server.hub.open(form, request.caller, lists, now);
    let may_read = request.caller.scopes.has(Scope::Read);
    let mut uris: Vec<Value> = Vec::new();
    for uri in wishes.resource_subscriptions {
        let is_served = may_read
            && uri.len() <= URI_MAX_BYTES
            && server
                .registry
                .resource_stamp(&uri, &request.caller.reach)
                .is_some_and(|stamp| feed.subscribe(&uri, Some(stamp)));
        let uri = Value::String(uri);
        if is_served && !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    if !uris.is_empty() {
        granted.insert("resourceSubscriptions".to_owned(), Value::Array(uris));
    }
    if tasks::is_known(request.message, request.revision) {
        let ids: Vec<Value> = wishes
            .task_ids
            .into_iter()
            .filter(|id| server.hub.task(id, &request.caller.name).is_some())
            .filter(|id| feed.subscribe_task(id))
            .map(|id| {
                // It may have come to its end before anybody listened.
                feed.mark_task(&id);
                Value::String(id)
            })
            .collect();
        if !ids.is_empty() {
            granted.insert("taskIds".to_owned(), Value::Array(ids));
        }
    }
    let mut opening = Vec::with_capacity(256);
    opening.extend_from_slice(
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{\"notifications\":",
    );
    super::answer::push_json(&mut opening, &granted);
    opening.push(b',');
    label(&mut opening, request.id);
    opening.extend_from_slice(b"}}");
    feed.open_with(opening);
    Ok(Reading::new(feed, None, Some(berth)))
}

/// `resources/subscribe`: the session hears when this resource changes.
pub(super) fn subscribe(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let uri = uri(request)?;
    if !request.caller.scopes.has(Scope::Read) {
        server.note_refusal(request, "resources/subscribe", "FORBIDDEN");
        return Err(Fault::forbidden("read resources", Scope::Read, false));
    }
    let stamp = server.registry.resource_stamp(&uri, &request.caller.reach);
    if stamp.is_none() || uri.len() > URI_MAX_BYTES {
        return Err(Fault::unknown_resource(&uri, request.revision));
    }
    if let Some(feed) = server.feed_of_session(request)
        && !feed.subscribe(&uri, stamp)
    {
        return Err(Fault::busy(
            429,
            "There are too many subscriptions already. End some with `resources/unsubscribe`.",
            false,
        ));
    }
    Ok(server.nothing(request))
}

/// `resources/unsubscribe`: no longer. What was not subscribed to is not heard of either.
pub(super) fn unsubscribe(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let uri = uri(request)?;
    if let Some(feed) = server.feed_of_session(request) {
        feed.unsubscribe(&uri);
    }
    Ok(server.nothing(request))
}

fn uri(request: &Request<'_>) -> Result<String, Fault> {
    let uri = request.message.params.uri.and_then(schema::text);
    uri.map(String::from)
        .ok_or_else(|| Fault::params("`uri` must be the URI of a resource."))
}

impl Server {
    /// The feed of the session that a request belongs to.
    fn feed_of_session(&self, request: &Request<'_>) -> Option<Arc<Feed>> {
        let peer = request.peer?;
        Some(peer.feed(&self.hub, request.caller, || self.registry.generations()))
    }

    /// The stream of a session (GET), a second one replacing the first; or the stream of a call, taken up again behind the event with the
    /// id `heard`, where the revision has that.
    #[must_use]
    pub fn open_stream(
        &self,
        routing: &Routing<'_>,
        caller: &Caller,
        heard: Option<&str>,
    ) -> Reply {
        let opened = self.session(routing, caller).and_then(|(id, peer)| {
            let resumes = peer.revision().resumes_streams();
            if resumes && let Some(heard) = heard.filter(|heard| !EventStream::is_of_session(heard))
            {
                let place = self.streams.take_to_the_end(&caller.name, false)?;
                let stream = EventStream::resumed(peer.ring().as_deref(), heard, place);
                return Ok(Reply::events(stream));
            }
            let berth = self.streams.take(&caller.name, false)?;
            let feed = peer.feed(&self.hub, caller, || self.registry.generations());
            self.sessions.lock().stream(id);
            let session = OfSession {
                sessions: Arc::clone(&self.sessions),
                id,
            };
            let reading = Reading::new(feed, Some(session), Some(berth)).numbered(resumes);
            Ok(Reply::events(EventStream::of_feed(reading)))
        });
        opened.unwrap_or_else(|fault| Reply::fault(&fault, None))
    }
}
