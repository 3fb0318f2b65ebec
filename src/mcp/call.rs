//! `tools/call`: what a caller may do, and how a tool's answer or fault is written.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::answer::Answer;
use super::ask::{self, Ended, Subject};
use super::error::Fault;
use super::revision::Revision;
use super::tasks::{self, Job};
use super::trail::{TOO_OFTEN, Trail};
use super::{Request, Server, content, schema, tools};
use crate::base::shutdown::Stop;
use crate::limits::CALL_TIMEOUT_SECS;
use crate::service::{
    self, Effect, FaultCode, Registered, Said, Step, TaskMode, Tool, ToolAnswer, ToolCall,
    ToolFault,
};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans;

/// Scope, arguments, the call, and its answer or fault as a result.
pub(super) async fn call(server: &Arc<Server>, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
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
    if !request.caller.may_call(tool.name, tool.scope) {
        server.note_refusal(request, tool.name, "FORBIDDEN");
        return Err(Fault::forbidden(
            &format!("call {}", tool.name),
            tool.scope,
            request.revision.is_modern(),
        ));
    }
    // The request itself is paid for.
    if let Some(more @ 1..) = registered.weight().checked_sub(1) {
        let paid = request.caller.purse.spend(more);
        paid.map_err(|exceeded| {
            server.note_refusal(request, tool.name, TOO_OFTEN);
            Fault::too_often(&exceeded, request.revision.is_modern())
        })?;
    }
    let arguments = arguments(params.arguments)?;
    let ended = match registered.check(&arguments) {
        Ok(()) => converse(server, request, registered, arguments).await?,
        Err(problems) => {
            let code = FaultCode::BadArguments.as_str();
            server.note_refusal(request, tool.name, code);
            server.metrics.tool(tool.name, Some(code), Duration::ZERO);
            Ended::Failed(bad_arguments(tool, &json!(problems)))
        }
    };
    match ended {
        Ended::Done(answer) => Ok(finish(server, request, &Ok(answer))),
        Ended::Asks(question) => Ok(question),
        Ended::Task(said) => go_on(server, request, tool, said),
        Ended::Failed(fault)
            if fault.code == FaultCode::BadArguments
                && !request.revision.shows_bad_arguments_to_the_model() =>
        {
            // Most hosts of that time show a model the message alone.
            Err(Fault::params(told(&fault)).with_data(fault.data))
        }
        Ended::Failed(fault) => Ok(finish(server, request, &Err(fault))),
    }
}

/// The call goes on as a task, where its client knows tasks.
fn go_on(
    server: &Arc<Server>,
    request: &Request<'_>,
    tool: &Tool,
    said: Said,
) -> Result<Vec<u8>, Fault> {
    if !request.revision.has_tasks() {
        return Ok(finish(server, request, &Err(needs_tasks(tool))));
    }
    tasks::require(request)?;
    let job = Job {
        tool: tool.name,
        arguments: arguments(request.message.params.arguments)?,
        said,
    };
    tasks::create(server, request, job).or_else(|fault| Ok(finish(server, request, &Err(fault))))
}

fn unknown(server: &Server, request: &Request<'_>, name: &str) -> Fault {
    server.note_refusal(request, name, "UNKNOWN_TOOL");
    let nearest = server
        .registry
        .all()
        .iter()
        .filter(|registered| tools::is_visible(registered, request.caller))
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
    // Some clients write that there are none.
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(Value::Object(Map::new()));
    };
    if !schema::is_object(raw) {
        return Err(Fault::params("`arguments` must be an object."));
    }
    service::arguments::read(raw.get())
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

/// Calls the tool, and again when it asked something that was answered.
async fn converse(
    server: &Server,
    request: &Request<'_>,
    registered: &Registered,
    arguments: Value,
) -> Result<Ended<ToolAnswer>, Fault> {
    let tool = registered.tool();
    let raw = request.message.params.arguments;
    let subject = Subject {
        method: "tools/call",
        name: tool.name,
        arguments: raw,
        is_once: tool.effect != Effect::Read,
    };
    let task = if tasks::is_known(request.message, request.revision) {
        TaskMode::Possible
    } else {
        TaskMode::Unknown
    };
    let mut first = Some(arguments);
    ask::converse(server, request, &subject, |said| {
        // One round is the rule; a further one reads them again.
        let arguments = first.take().map_or_else(|| self::arguments(raw), Ok);
        let cancel = match tool.effect {
            // Long waits end when the process stops.
            Effect::Read => server.closing.clone(),
            Effect::Write | Effect::WriteIdempotent => Stop::new(),
        };
        async move {
            let call = ToolCall {
                abilities: request.abilities,
                voice: request.outlet.voice(),
                said,
                task,
                ..ToolCall::new(
                    tool.name,
                    arguments.unwrap_or_default(),
                    request.caller.clone(),
                    cancel,
                )
            };
            carry_out(server, registered, request.trail, call).await
        }
    })
    .await
}

/// Calls a tool once.
///
/// To drop the future means that nobody wants the answer any more. A read ends with it, which nobody can tell from its finishing. A
/// write runs on a task of the server: half a write would be worse than one that nobody waits for. It is told, and may stop before
/// its next step.
pub(super) async fn carry_out(
    server: &Server,
    registered: &Registered,
    trail: &Trail,
    mut call: ToolCall,
) -> Result<Step<ToolAnswer>, ToolFault> {
    let (service, tool) = (registered.service(), registered.tool());
    let limit = Duration::from_secs(CALL_TIMEOUT_SECS);
    let span = spans::tool(&trail.trace, tool.name, call.caller.role.as_str());
    if tool.effect == Effect::Read {
        let (caller, began) = (call.caller.clone(), Instant::now());
        let arguments = server.audit.arguments_of_read(&call.arguments);
        let mut work = pin!(tokio::time::timeout(limit, service.call(call)).instrument(span));
        let answer = work.as_mut().await;
        let answer = answer.unwrap_or_else(|_| Err(took_too_long(tool)));
        note_failure(work.span(), &answer);
        let actor = trail.actor(&caller);
        let outcome = outcome_word(&answer);
        count(&server.metrics, tool.name, &answer, began);
        server
            .audit
            .read(actor, tool.name, arguments, outcome, began.elapsed());
        return answer;
    }
    let place = server.writing.take(&call.caller.name, 0).map_err(|_| {
        ToolFault::new(
            FaultCode::Busy,
            "Too many changes are under way at this moment, of this key or of all; this one was not begun.",
            "Call again in a second.",
        )
    })?;
    let cancel = call.cancel.child_token();
    let _cancelled_when_dropped = cancel.clone().drop_guard();
    call.cancel = cancel.clone();
    let core = service.target(&call.arguments);
    let writing = server
        .audit
        .begin(trail.actor(&call.caller), tool.name, core, &call.arguments);
    let must_be_on_disk = server.audit.is_required();
    let request = trail.trace.request.clone();
    let (service, name, effect) = (Arc::clone(service), tool.name, tool.clone());
    let metrics = Arc::clone(&server.metrics);
    let task = server.writes.spawn(async move {
        let _place = place;
        let (caller, started) = (call.caller.name.clone(), Instant::now());
        if must_be_on_disk && writing.on_disk().await.is_err() {
            let fault = not_on_record();
            writing.end(fault.code.as_str());
            return Err(fault);
        }
        let work = tokio::time::timeout(limit, service.call(call));
        let outcome = work.instrument(span.clone()).await.unwrap_or_else(|_| {
            cancel.cancel();
            Err(took_too_long(&effect))
        });
        note_failure(&span, &outcome);
        let result = outcome_word(&outcome);
        writing.end(result);
        count(&metrics, name, &outcome, started);
        tracing::info!(target: "audit", %caller, tool = name, outcome = result, took_ms = ms(started), %request, "a change was asked for");
        outcome
    });
    match task.await {
        Ok(outcome) => outcome,
        // A fault of the program: it goes on where it would have gone on without the task.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(took_too_long(tool)),
    }
}

fn note_failure(span: &Span, outcome: &Result<Step<ToolAnswer>, ToolFault>) {
    if let Err(fault) = outcome {
        spans::failed(span, fault.code.as_str());
    }
}

fn count(
    metrics: &Metrics,
    tool: &'static str,
    outcome: &Result<Step<ToolAnswer>, ToolFault>,
    began: Instant,
) {
    let fault = outcome.as_ref().err().map(|fault| fault.code.as_str());
    metrics.tool(tool, fault, began.elapsed());
}

/// What a call came to, in a word.
fn outcome_word(outcome: &Result<Step<ToolAnswer>, ToolFault>) -> &'static str {
    match outcome {
        Ok(Step::Done(_)) => "OK",
        Ok(Step::Ask(_)) => "ASKS",
        Ok(Step::Task) => "TASK",
        Err(fault) => fault.code.as_str(),
    }
}

fn not_on_record() -> ToolFault {
    ToolFault::new(
        FaultCode::WritesOff,
        "The audit trail of this box cannot be written to disk, and the box is set to change nothing without it.",
        "Tell the person who looks after the box: its disk is full or failing, or `audit.required` can be switched off.",
    )
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

fn needs_tasks(tool: &Tool) -> ToolFault {
    ToolFault::new(
        FaultCode::NotAnswered,
        format!(
            "{} takes longer than a client without tasks would wait.",
            tool.name
        ),
        "Use a client that knows the extension io.modelcontextprotocol/tasks.",
    )
}

/// The last word on a call.
fn finish(
    server: &Server,
    request: &Request<'_>,
    outcome: &Result<ToolAnswer, ToolFault>,
) -> Vec<u8> {
    let mut answer = Answer::open(request.id, request.revision, expected(outcome));
    write(&mut answer, outcome, request.revision);
    answer.close(request.revision, &server.meta_of(request.trail))
}

/// Bytes that the result takes, more or less.
pub(super) fn expected(outcome: &Result<ToolAnswer, ToolFault>) -> usize {
    match outcome {
        Ok(answer) => {
            let structured = answer.structured.as_deref().map_or("", RawValue::get);
            structured.len() + answer.text.len() + 128
        }
        Err(fault) => 512 + fault.problem.len(),
    }
}

/// A fault with all that a model needs to mend it.
fn told(fault: &ToolFault) -> String {
    let mut text = fault.to_string();
    if !fault.data.is_null() {
        text.push(' ');
        text.push_str(&fault.data.to_string());
    }
    text
}

/// The fields of a result.
pub(super) fn write(
    answer: &mut Answer,
    outcome: &Result<ToolAnswer, ToolFault>,
    revision: Revision,
) {
    match outcome {
        Ok(done) => {
            let structured = done.structured.as_deref().map_or("", RawValue::get);
            // Clients that know no structured content get it as a second text.
            let twin = if revision.has_structured_content() {
                ""
            } else {
                structured
            };
            let texts = [done.text.as_str(), twin];
            content::push_list(answer.name("content"), &texts, &done.more, revision);
            if revision.has_structured_content() && !structured.is_empty() {
                answer.raw("structuredContent", structured);
            }
        }
        Err(fault) => {
            // No structured content: it would have to fit the tool's output schema, and clients throw away what does not.
            content::push_list(answer.name("content"), &[&told(fault)], &[], revision);
        }
    }
    answer.field("isError", &outcome.is_err());
}
