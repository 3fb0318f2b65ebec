//! `resources/list`, `resources/templates/list` and `resources/read`.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::Answer;
use super::error::Fault;
use super::page::List;
use super::revision::Revision;
use super::{Request, Server, content, schema};
use crate::guard::Scope;
use crate::limits::{CALL_TIMEOUT_SECS, STATIC_CACHE_MS};
use crate::service::{FaultCode, Resource, ResourceContents, ResourceTemplate};

/// `resources/list`: what can be read under a name of its own, a page at a time, for callers that may read.
pub(super) fn list(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let may_read = request.caller.scopes.has(Scope::Read);
    let resources = server.registry.resources();
    let list = List {
        field: "resources",
        entries: &resources,
        name: |entry: &Resource| &entry.uri,
    };
    list.answer(server, request, |entry| {
        let described = Described {
            uri: ("uri", &entry.uri),
            name: &entry.name,
            title: &entry.title,
            description: &entry.description,
            mime_type: entry.mime_type,
        };
        may_read.then(|| Cow::Owned(described.render(request.revision)))
    })
}

/// `resources/templates/list`: the families of resources, a page at a time, for callers that may read.
pub(super) fn list_templates(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let may_read = request.caller.scopes.has(Scope::Read);
    let list = List {
        field: "resourceTemplates",
        entries: server.registry.templates(),
        name: |entry: &ResourceTemplate| entry.uri_template,
    };
    list.answer(server, request, |entry| {
        let described = Described {
            uri: ("uriTemplate", entry.uri_template),
            name: entry.name,
            title: entry.title,
            description: entry.description,
            mime_type: entry.mime_type,
        };
        may_read.then(|| Cow::Owned(described.render(request.revision)))
    })
}

/// What a list says of a resource or a family of them.
struct Described<'a> {
    uri: (&'static str, &'a str),
    name: &'a str,
    title: &'a str,
    description: &'a str,
    mime_type: &'a str,
}

impl Described<'_> {
    fn render(&self, revision: Revision) -> String {
        let mut object = Map::new();
        object.insert(self.uri.0.to_owned(), self.uri.1.into());
        object.insert("name".to_owned(), self.name.into());
        object.insert("description".to_owned(), self.description.into());
        object.insert("mimeType".to_owned(), self.mime_type.into());
        if revision.has_titles() {
            object.insert("title".to_owned(), self.title.into());
        }
        Value::Object(object).to_string()
    }
}

/// `resources/read`: what stands in a resource at this moment.
pub(super) async fn read(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let uri = request
        .message
        .params
        .uri
        .and_then(schema::text)
        .ok_or_else(|| Fault::params("`uri` must be the URI of a resource."))?;
    if !request.caller.scopes.has(Scope::Read) {
        let is_modern = request.revision.is_modern();
        server.note_refusal(request, "resources/read", "FORBIDDEN");
        return Err(Fault::forbidden("read resources", Scope::Read, is_modern));
    }
    let unknown = || Fault::unknown_resource(&uri, request.revision);
    let limit = Duration::from_secs(CALL_TIMEOUT_SECS);
    let is_kept = server.audit.detail().is_on();
    let arguments = is_kept.then(|| json!({ "uri": uri }));
    let arguments = arguments.and_then(|uri| server.audit.arguments_of_read(&uri));
    let began = Instant::now();
    let read = server.registry.read(&uri, request.caller);
    let read = tokio::time::timeout(limit, read).await;
    let outcome = match &read {
        Ok(Ok(Some(_))) => "OK",
        Ok(Ok(None)) => FaultCode::NotFound.as_str(),
        Ok(Err(fault)) => fault.code.as_str(),
        Err(_) => FaultCode::Busy.as_str(),
    };
    let actor = request.trail.actor(request.caller);
    server
        .audit
        .read(actor, "resources/read", arguments, outcome, began.elapsed());
    match read {
        Ok(Ok(Some(found))) if !found.contents.is_empty() => Ok(write(server, request, &found)),
        Ok(Ok(_)) => Err(unknown()),
        Ok(Err(fault)) if fault.code == FaultCode::NotFound => Err(unknown()),
        Ok(Err(fault)) => Err(Fault::of_service(&fault)),
        Err(_) => Err(Fault::too_slow("The resource")),
    }
}

fn write(server: &Server, request: &Request<'_>, found: &ResourceContents) -> Vec<u8> {
    let revision = request.revision;
    let contents: Vec<_> = found
        .contents
        .iter()
        .map(content::resource_to_json)
        .collect();
    let mut answer = Answer::open(request.id, revision, 4 << 10);
    answer.field("contents", &contents);
    if revision.has_cache_hints() {
        answer.field("ttlMs", &if found.is_static { STATIC_CACHE_MS } else { 0 });
        // Who may read it is decided by key.
        answer.raw("cacheScope", "\"private\"");
    }
    answer.close(revision, &server.meta)
}
