//! `tools/list` and `tools/call`: what a caller may see, what a caller may do, and how a tool's answer or fault is written.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::Answer;
use super::error::{Fault, ServiceFault};
use super::page::List;
use super::revision::Revision;
use super::{Request, Server, content, schema};
use crate::base::shutdown::Stop;
use crate::guard::Scopes;
use crate::limits::{CALL_TIMEOUT_SECS, WRITES_RUNNING_MAX};
use crate::service::{
    Effect, FaultCode, Registered, Registry, Step, Tool, ToolAnswer, ToolCall, ToolFault,
};

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
        is_visible(registered, request.caller.scopes)
            .then(|| Cow::Borrowed(listing.for_revision(request.revision)))
    })
}

fn is_visible(registered: &Registered, scopes: Scopes) -> bool {
    registered.is_listed() && scopes.has(registered.tool().scope)
}

/// `tools/call`: scope, arguments, the call, and its answer or fault as a result.
pub(super) async fn call(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let params = &request.message.params;
    let name = params
        .name
        .and_then(schema::text)
        .ok_or_else(|| Fault::params("`name` must be the name of a tool."))?;
    let registered = server
        .registry
        .find(&name)
        .ok_or_else(|| unknown(server, request, &name))?;
    let tool = registered.tool();
    if !request.caller.scopes.has(tool.scope) {
        return Err(Fault::forbidden(
            &format!("call {}", tool.name),
            tool.scope,
            request.revision.is_modern(),
        ));
    }
    let arguments = arguments(params.arguments)?;
    let outcome = match registered.check(&arguments) {
        Ok(()) => carry_out(server, request, registered, arguments).await,
        Err(problems) => Err(bad_arguments(tool, &json!(problems))),
    };
    match outcome {
        Ok(Step::Done(answer)) => Ok(success(server, request, &answer)),
        Ok(Step::Ask(_) | Step::Task) => Err(Fault::params(format!(
            "{} has to ask a person first, which is not possible here.",
            tool.name
        ))),
        Err(fault)
            if fault.code == FaultCode::BadArguments
                && !request.revision.shows_bad_arguments_to_the_model() =>
        {
            Err(Fault::params(fault.problem).with_data(fault.data))
        }
        Err(fault) => Ok(failure(server, request, &fault)),
    }
}

fn unknown(server: &Server, request: &Request<'_>, name: &str) -> Fault {
    let nearest = server
        .registry
        .all()
        .iter()
        .filter(|registered| is_visible(registered, request.caller.scopes))
        .map(|registered| registered.tool().name)
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let name: String = name.chars().take(80).collect();
    Fault::params(match nearest {
        Some((_, nearest)) => format!("Unknown tool: {name:?}. Did you mean {nearest:?}?"),
        None => format!("Unknown tool: {name:?}. `tools/list` names them all."),
    })
}

fn arguments(raw: Option<&RawValue>) -> Result<Value, Fault> {
    let Some(raw) = raw else {
        return Ok(Value::Object(Map::new()));
    };
    if !schema::is_object(raw) {
        return Err(Fault::params("`arguments` must be an object."));
    }
    serde_json::from_str(raw.get())
        .map_err(|error| Fault::params(format!("`arguments` cannot be read: {error}.")))
}

fn bad_arguments(tool: &Tool, problems: &Value) -> ToolFault {
    ToolFault::new(
        FaultCode::BadArguments,
        format!("The arguments do not fit {}.", tool.name),
        "Mend what the list names and call again.",
    )
    .with_data(problems.clone())
}

/// Calls the tool.
///
/// To drop the future means that nobody wants the answer any more. A read ends with it, which nobody can tell from its finishing. A
/// write runs on a task of the server: half a write would be worse than one that nobody waits for. It is told, and may stop before
/// its next step.
async fn carry_out(
    server: &Server,
    request: &Request<'_>,
    registered: &Registered,
    arguments: Value,
) -> Result<Step<ToolAnswer>, ToolFault> {
    let tool = registered.tool();
    let call = |cancel| ToolCall {
        abilities: request.abilities,
        voice: request.outlet.voice(),
        ..ToolCall::new(tool.name, arguments, request.caller.clone(), cancel)
    };
    let limit = Duration::from_secs(CALL_TIMEOUT_SECS);
    if tool.effect == Effect::Read {
        // Long waits end when the process stops.
        return tokio::time::timeout(
            limit,
            registered.service().call(call(server.closing.clone())),
        )
        .await
        .unwrap_or_else(|_| Err(took_too_long(tool)));
    }
    if server.writes.len() >= WRITES_RUNNING_MAX {
        return Err(ToolFault::new(
            FaultCode::Busy,
            "Too many changes are under way at this moment; this one was not begun.",
            "Call again in a second.",
        ));
    }
    let cancel = Stop::new();
    let _cancelled_when_dropped = cancel.clone().drop_guard();
    let call = call(cancel.clone());
    let (service, tool) = (registered.shared_service(), tool.clone());
    let task = server.writes.spawn(async move {
        let (caller, started) = (call.caller.name.clone(), Instant::now());
        let outcome = tokio::time::timeout(limit, service.call(call)).await.unwrap_or_else(|_| {
            cancel.cancel();
            Err(took_too_long(&tool))
        });
        let result = outcome.as_ref().map_or_else(|fault| fault.code.as_str(), |_| "OK");
        tracing::info!(target: "audit", %caller, tool = tool.name, outcome = result, took_ms = ms(started), "a change was asked for");
        outcome
    });
    match task.await {
        Ok(outcome) => outcome,
        // A fault of the program: it goes on where it would have gone on without the task.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(took_too_long(registered.tool())),
    }
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn took_too_long(tool: &Tool) -> ToolFault {
    let (code, next_step) = match tool.effect {
        Effect::Read => (FaultCode::Busy, "Ask for less, or again later."),
        Effect::Write | Effect::WriteIdempotent => (
            FaultCode::OutcomeUnknown,
            "Read the values before anything else.",
        ),
    };
    let problem = format!("{} took longer than {CALL_TIMEOUT_SECS} s.", tool.name);
    ToolFault::new(code, problem, next_step)
}

fn success(server: &Server, request: &Request<'_>, tool_answer: &ToolAnswer) -> Vec<u8> {
    let revision = request.revision;
    let structured = tool_answer.structured.as_deref().map_or("", RawValue::get);
    let mut answer = Answer::open(
        request.id,
        revision,
        structured.len() + tool_answer.text.len() + 128,
    );
    // Clients that know no structured content get it as a second text.
    let twin = if revision.has_structured_content() {
        ""
    } else {
        structured
    };
    let texts = [tool_answer.text.as_str(), twin];
    content::push_list(answer.name("content"), &texts, &tool_answer.more, revision);
    if revision.has_structured_content() && !structured.is_empty() {
        answer.raw("structuredContent", structured);
    }
    answer.raw("isError", "false");
    answer.close(revision, &server.meta)
}

fn failure(server: &Server, request: &Request<'_>, fault: &ToolFault) -> Vec<u8> {
    let revision = request.revision;
    let mut text = fault.to_string();
    if !fault.data.is_null() {
        text.push(' ');
        text.push_str(&fault.data.to_string());
    }
    let mut answer = Answer::open(request.id, revision, text.len() * 2 + 256);
    content::push_list(answer.name("content"), &[&text], &[], revision);
    if revision.has_structured_content() {
        answer.field("structuredContent", &ServiceFault::of(fault));
    }
    answer.raw("isError", "true");
    answer.close(revision, &server.meta)
}
