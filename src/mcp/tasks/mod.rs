//! Calls that go on as tasks (extension `io.modelcontextprotocol/tasks`): `tasks/get`, `tasks/update`, `tasks/cancel`, and how a
//! call is carried out that nobody waits for. Tasks live as long as the process.

mod table;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

pub(super) use self::table::Table;
use self::table::{End, Full, Handle, TaskId};
use super::answer::Answer;
use super::error::{Code, Fault};
use super::revision::Revision;
use super::schema::Message;
use super::trail::Trail;
use super::{Request, Server, ask, call, schema};
use crate::guard::Caller;
use crate::limits::{ROUNDS_MAX, TASK_BYTES_MAX, TASK_INPUT_SECS, TASK_RUN_SECS};
use crate::service::{
    Abilities, Ask, Effect, FaultCode, Listener, LogLevel, Said, Step, TaskMode, Tool, ToolAnswer,
    ToolCall, ToolFault, Voice,
};

/// The name of the extension, as both sides declare it.
pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Longest message about how a task stands, characters.
const MESSAGE_MAX: usize = 200;

/// How many times longer JSON is once it is read, with small parts.
const SPREAD: usize = 8;

/// Whether the client of this request knows tasks: it says so with each.
pub(super) fn is_known(message: &Message<'_>, revision: Revision) -> bool {
    #[derive(Deserialize)]
    struct Declared {
        #[serde(default)]
        extensions: Map<String, Value>,
    }
    let capabilities = message.meta.client_capabilities;
    // Most clients say nothing of it, and need not be read twice. The name may be written with escapes.
    let says_so = capabilities.is_some_and(|raw| raw.get().contains("tasks"));
    if !says_so || !revision.has_tasks() {
        return false;
    }
    let declared: Option<Declared> = schema::object(capabilities);
    declared
        .and_then(|declared| declared.extensions.get(EXTENSION).map(Value::is_object))
        .unwrap_or(false)
}

/// Step 8 of the ladder: the client knows tasks.
pub(super) fn require(request: &Request<'_>) -> Result<(), Fault> {
    if is_known(request.message, request.revision) {
        Ok(())
    } else {
        let required = json!({"extensions": {EXTENSION: {}}});
        Err(Fault::missing_capability(&required))
    }
}

/// `tasks/get`: how a task stands, and what it came to.
pub(super) fn get(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let id = named(request)?;
    let task = server.tasks.show(id, &request.caller.name, Instant::now());
    let task = task.ok_or_else(unknown)?;
    let mut answer = Answer::open(request.id, request.revision, task.len());
    answer.fields(&task);
    Ok(answer.close(request.revision, &server.meta))
}

/// `tasks/update`: answers to what a task asks. Those that answer nothing are ignored.
pub(super) fn update(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let id = named(request)?;
    let raw = request.message.params.input_responses;
    let answers: Map<String, Value> =
        schema::object(raw).ok_or_else(|| Fault::params("`inputResponses` must be an object."))?;
    let bytes = raw.map_or(0, |raw| raw.get().len());
    if bytes > TASK_BYTES_MAX {
        return Err(Fault::params("The answers are too long."));
    }
    let caller = &request.caller.name;
    let updated = server
        .tasks
        .update(id, caller, (answers, bytes * SPREAD), Instant::now());
    match updated.ok_or_else(unknown)? {
        Ok(true) => server.hub.task_changed(&id.to_string()),
        Ok(false) => {}
        Err(_) => return Err(Fault::busy(503, "There is no room for the answers.", true)),
    }
    Ok(server.nothing(request))
}

/// `tasks/cancel`: takes a task back, as far as that is still possible.
pub(super) fn cancel(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let id = named(request)?;
    let cancelled = server
        .tasks
        .cancel(id, &request.caller.name, Instant::now());
    cancelled.ok_or_else(unknown)?;
    Ok(server.nothing(request))
}

fn named(request: &Request<'_>) -> Result<TaskId, Fault> {
    require(request)?;
    let name = request.message.params.task_id.and_then(schema::text);
    let name = name.ok_or_else(|| Fault::params("`taskId` must be the name of a task."))?;
    TaskId::parse(&name).ok_or_else(unknown)
}

/// Told in the same words whether a task never was, is over, or is somebody else's.
fn unknown() -> Fault {
    Fault::params("There is no such task, or no longer.")
}

/// A call that is to go on as a task.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) tool: &'static str,
    pub(super) arguments: Value,
    pub(super) said: Said,
}

/// Makes a task and lets it run; the answer names it.
pub(super) fn create(
    server: &Arc<Server>,
    request: &Request<'_>,
    job: Job,
) -> Result<Vec<u8>, ToolFault> {
    let caller = &request.caller.name;
    let params = &request.message.params;
    let given = [params.arguments, params.input_responses];
    let bytes: usize = given.iter().flatten().map(|raw| raw.get().len()).sum();
    if bytes > TASK_BYTES_MAX {
        return Err(ToolFault::new(
            FaultCode::LimitExceeded,
            "The arguments are too long for a task.",
            "Ask for less at once.",
        ));
    }
    if server.gauge.refuses() {
        return Err(ToolFault::short_of_memory("begins no more tasks"));
    }
    let handle = server.tasks.create(caller, bytes * SPREAD, Instant::now());
    let handle = handle.map_err(|full| {
        let problem = match full {
            Full::Tasks => "There are too many tasks already; this one was not begun.",
            Full::NoName => "No task can be made at this moment.",
        };
        ToolFault::new(
            FaultCode::Busy,
            problem,
            "Try again when an earlier one is over.",
        )
    })?;
    let told = server
        .tasks
        .announce(handle.id, caller, Instant::now())
        .unwrap_or_default();
    let worker = Worker {
        server: Arc::clone(server),
        handle,
        caller: request.caller.clone(),
        abilities: request.abilities,
        revision: request.revision,
        trail: request.trail.clone(),
    };
    server.calls.spawn(server.watched(worker.run(job)));
    let mut answer = Answer::open_as("task", request.id, request.revision, told.len());
    answer.fields(&told);
    Ok(answer.close(request.revision, &server.meta))
}

/// Carries one task out.
struct Worker {
    server: Arc<Server>,
    handle: Handle,
    caller: Caller,
    abilities: Abilities,
    revision: Revision,
    trail: Trail,
}

impl Worker {
    async fn run(self, job: Job) {
        let limit = Duration::from_secs(TASK_RUN_SECS);
        let end = match self.server.registry.find(job.tool) {
            Some(registered) => {
                let tool = registered.tool().clone();
                tokio::time::timeout(limit, self.work(&tool, job))
                    .await
                    .unwrap_or_else(|_| self.completed(&Err(took_too_long(&tool))))
            }
            None => failed(&Fault::params("The tool is gone.")),
        };
        self.server.tasks.end(self.handle.id, end);
        self.changed();
    }

    fn changed(&self) {
        self.server.hub.task_changed(&self.handle.id.to_string());
    }

    async fn work(&self, tool: &Tool, job: Job) -> End {
        let mut said = job.said;
        let mut round = 0;
        loop {
            let step = self.step(tool, job.arguments.clone(), said);
            let ask = match step.await {
                Outcome::Ended(end) => return end,
                Outcome::Asks(ask) => ask,
            };
            round += 1;
            if let Err(end) = self.may_ask(&ask, round) {
                return end;
            }
            self.server.tasks.ask(self.handle.id, round, ask.questions);
            self.changed();
            if let Err(end) = self.wait().await {
                return end;
            }
            let answers = self.server.tasks.go_on(self.handle.id);
            self.changed();
            said = Said {
                answers,
                state: ask.state,
            };
        }
    }

    /// One call of the tool.
    async fn step(&self, tool: &Tool, arguments: Value, said: Said) -> Outcome {
        let Some(registered) = self.server.registry.find(tool.name) else {
            return Outcome::Ended(failed(&Fault::params("The tool is gone.")));
        };
        let stop = self.handle.stop.clone();
        let voice = Voice::heard_by(Arc::new(Status {
            server: Arc::clone(&self.server),
            id: self.handle.id,
        }));
        let call = ToolCall {
            abilities: self.abilities,
            said,
            task: TaskMode::Running,
            voice,
            ..ToolCall::new(tool.name, arguments, self.caller.clone(), stop.clone())
        };
        let work = call::carry_out(&self.server, registered, &self.trail, call);
        let outcome = if tool.effect == Effect::Read {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Outcome::Ended(End::Cancelled),
                () = self.server.closing.cancelled() => return Outcome::Ended(stopping()),
                outcome = work => outcome,
            }
        } else {
            // A write is told that it may stop, and what it did all the same is what counts.
            work.await
        };
        match outcome {
            Ok(Step::Done(answer)) => Outcome::Ended(self.completed(&Ok(answer))),
            Ok(Step::Ask(ask)) => Outcome::Asks(ask),
            Ok(Step::Task) => Outcome::Ended(failed(&Fault::new(
                Code::Internal,
                "The task did not come to an end.",
            ))),
            Err(_) if stop.is_cancelled() => Outcome::Ended(End::Cancelled),
            Err(fault) => Outcome::Ended(self.completed(&Err(fault))),
        }
    }

    fn may_ask(&self, ask: &Ask, round: u8) -> Result<(), End> {
        if round > ROUNDS_MAX {
            return Err(self.completed(&Err(ask::too_many_rounds())));
        }
        ask::check(ask)
            .and_then(|()| ask::require(self.abilities, &ask.questions))
            .map_err(|fault| failed(&fault))
    }

    /// Waits for the answers.
    async fn wait(&self) -> Result<(), End> {
        let limit = Duration::from_secs(TASK_INPUT_SECS);
        tokio::select! {
            biased;
            () = self.handle.stop.cancelled() => Err(End::Cancelled),
            () = self.server.closing.cancelled() => Err(stopping()),
            () = self.handle.is_answered.notified() => Ok(()),
            () = tokio::time::sleep(limit) => {
                let problem = format!("Nobody answered within {TASK_INPUT_SECS} s.");
                Err(self.completed(&Err(ask::not_answered(problem))))
            }
        }
    }

    fn completed(&self, outcome: &Result<ToolAnswer, ToolFault>) -> End {
        let mut answer = Answer::inner(self.revision, call::expected(outcome));
        call::write(&mut answer, outcome, self.revision);
        let json = String::from_utf8(answer.end()).ok();
        json.filter(|json| json.len() <= TASK_BYTES_MAX)
            .and_then(|json| RawValue::from_string(json).ok())
            .map_or_else(
                || {
                    failed(&Fault::new(
                        Code::Internal,
                        "The result is too large to be kept.",
                    ))
                },
                End::Completed,
            )
    }
}

/// What one call of the tool led to.
enum Outcome {
    Ended(End),
    Asks(Ask),
}

fn failed(fault: &Fault) -> End {
    End::Failed(fault.to_error())
}

fn stopping() -> End {
    failed(&Fault::new(Code::Internal, "The server stops."))
}

fn took_too_long(tool: &Tool) -> ToolFault {
    let code = match tool.effect {
        Effect::Read => FaultCode::Busy,
        Effect::Write | Effect::WriteIdempotent => FaultCode::OutcomeUnknown,
    };
    ToolFault::new(
        code,
        format!("{} took longer than {TASK_RUN_SECS} s.", tool.name),
        "Look at what it may have done before anything else.",
    )
}

/// What a running call says becomes the message of its task.
struct Status {
    server: Arc<Server>,
    id: TaskId,
}

impl Listener for Status {
    fn progress(&self, _: f64, _: Option<f64>, message: &str) {
        if !message.is_empty() {
            let message = message.chars().take(MESSAGE_MAX).collect();
            self.server.tasks.say(self.id, message);
        }
    }

    fn log(&self, _: LogLevel, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_knows_tasks_if_it_says_so_however_it_writes_the_name() {
        for (extensions, expected) in [
            (r#"{"io.modelcontextprotocol/tasks":{}}"#, true),
            (r#"{"io.modelcontextprotocol\/tasks":{"x":1}}"#, true),
            (r#"{"io.modelcontextprotocol/tasks":true}"#, false),
            (r#"{"io.modelcontextprotocol/tasksy":{}}"#, false),
            (r#"["io.modelcontextprotocol/tasks"]"#, false),
            ("{}", false),
        ] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"io.modelcontextprotocol/clientCapabilities":{{"extensions":{extensions}}}}}}}}}"#
            );
            let message = Message::parse(body.as_bytes()).unwrap();
            let newest = Revision::SPOKEN[0];
            assert_eq!(is_known(&message, newest), expected, "{extensions}");
            assert!(!is_known(&message, Revision::NEWEST_LEGACY));
        }
    }
}
