//! `tools/list`: what a caller may see.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::error::Fault;
use super::page::List;
use super::revision::Revision;
use super::{Request, Server};
use crate::guard::Caller;
use crate::service::{Effect, Registered, Registry, Tool};

/// How a tool is listed, ready-made for the kinds of revisions that differ.
#[derive(Debug)]
pub(super) struct Listing {
    full: Box<str>,
    annotated: Box<str>,
    plain: Box<str>,
}

impl Listing {
    /// The listings of all tools, by their order in the registry.
    pub(super) fn all(registry: &Registry) -> Vec<Self> {
        registry
            .all()
            .iter()
            .map(|registered| {
                let tool = registered.tool();
                Self {
                    full: render(tool, Revision::NEWEST_LEGACY),
                    annotated: render(tool, Revision::R2025_03_26),
                    plain: render(tool, Revision::R2024_11_05),
                }
            })
            .collect()
    }

    fn for_revision(&self, revision: Revision) -> &str {
        if revision.has_structured_content() {
            &self.full
        } else if revision.has_annotations() {
            &self.annotated
        } else {
            &self.plain
        }
    }
}

fn render(tool: &Tool, revision: Revision) -> Box<str> {
    let mut object = Map::new();
    object.insert("name".into(), tool.name.into());
    object.insert("description".into(), tool.description.into());
    object.insert("inputSchema".into(), Value::clone(&tool.input_schema));
    if revision.has_titles() {
        object.insert("title".into(), tool.title.into());
    }
    if revision.has_structured_content() {
        object.insert("outputSchema".into(), Value::clone(&tool.output_schema));
    }
    if revision.has_annotations() {
        object.insert("annotations".into(), hints(tool));
    }
    Value::Object(object).to_string().into()
}

/// All four hints, since two of them are true when left out. The world of a device is closed.
fn hints(tool: &Tool) -> Value {
    let is_read = tool.effect == Effect::Read;
    json!({
        "title": tool.title,
        "readOnlyHint": is_read,
        "destructiveHint": !is_read && tool.is_destructive,
        "idempotentHint": is_read || tool.effect == Effect::WriteIdempotent,
        "openWorldHint": false,
    })
}

/// `tools/list`: the tools that the caller may call, a page at a time.
pub(super) fn list(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let tools: Vec<_> = server.registry.all().iter().zip(&server.listings).collect();
    let list = List {
        field: "tools",
        entries: &tools,
        name: |(registered, _)| registered.tool().name,
    };
    list.answer(server, request, |(registered, listing)| {
        is_visible(registered, request.caller)
            .then(|| Cow::Borrowed(listing.for_revision(request.revision)))
    })
}

/// Whether a list shows the tool to a caller.
pub(super) fn is_visible(registered: &Registered, caller: &Caller) -> bool {
    let tool = registered.tool();
    let is_granted = caller.tools.is_some();
    (registered.is_listed() || is_granted) && caller.may_call(tool.name, tool.scope)
}
