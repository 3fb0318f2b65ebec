//! `prompts/list` and `prompts/get`: what a person can pick from a menu, and what it becomes when filled in.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::ask::{self, Ended, Subject};
use super::error::{Code, Fault};
use super::page::List;
use super::revision::Revision;
use super::{Request, Server, content, schema};
use crate::guard::Scope;
use crate::limits::{CALL_TIMEOUT_SECS, PROBLEMS_MAX};
use crate::service::arguments::Problem;
use crate::service::{
    FaultCode, Prompt, PromptAnswer, PromptCall, RegisteredPrompt, Speaker, ToolFault,
};

/// `prompts/list`: the prompts, a page at a time, for callers that may read.
pub(super) fn list(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let may_read = request.caller.scopes.has(Scope::Read);
    let list = List {
        field: "prompts",
        entries: server.registry.prompts(),
        name: |entry: &RegisteredPrompt| entry.prompt().name,
    };
    list.answer(server, request, |entry| {
        may_read.then(|| Cow::Owned(render(entry.prompt(), request.revision).to_string()))
    })
}

fn render(prompt: &Prompt, revision: Revision) -> Value {
    let mut object = Map::new();
    object.insert("name".to_owned(), prompt.name.into());
    object.insert("description".to_owned(), prompt.description.into());
    if revision.has_titles() {
        object.insert("title".to_owned(), prompt.title.into());
    }
    let arguments = prompt.arguments.iter().map(|argument| {
        let mut object = Map::new();
        object.insert("name".to_owned(), argument.name.into());
        object.insert("description".to_owned(), argument.description.into());
        object.insert("required".to_owned(), argument.is_required.into());
        if revision.has_titles() {
            object.insert("title".to_owned(), argument.title.into());
        }
        Value::Object(object)
    });
    object.insert("arguments".to_owned(), arguments.collect());
    Value::Object(object)
}

/// `prompts/get`: fills in a prompt.
pub(super) async fn get(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let name = request
        .message
        .params
        .name
        .and_then(schema::text)
        .ok_or_else(|| Fault::params("`name` must be the name of a prompt."))?;
    let registered = server.registry.find_prompt(&name).ok_or_else(|| {
        let name: String = name.chars().take(80).collect();
        Fault::params(format!(
            "Unknown prompt: {name:?}. `prompts/list` names them all."
        ))
    })?;
    if !request.caller.scopes.has(Scope::Read) {
        let what = format!("get the prompt {}", registered.prompt().name);
        let is_modern = request.revision.is_modern();
        server.note_refusal(request, "prompts/get", "FORBIDDEN");
        return Err(Fault::forbidden(&what, Scope::Read, is_modern));
    }
    let arguments = arguments(registered.prompt(), request)?;
    let subject = Subject {
        method: "prompts/get",
        name: registered.prompt().name,
        arguments: request.message.params.arguments,
        is_once: false,
    };
    let ended = ask::converse(server, request, &subject, |said| {
        let call = PromptCall {
            prompt: registered.prompt().name.to_owned(),
            arguments: arguments.clone(),
            caller: request.caller.clone(),
            cancel: server.closing.clone(),
            abilities: request.abilities,
            said,
        };
        async {
            let limit = Duration::from_secs(CALL_TIMEOUT_SECS);
            tokio::time::timeout(limit, registered.service().prompt(call))
                .await
                .unwrap_or_else(|_| Err(took_too_long()))
        }
    });
    match ended.await? {
        Ended::Done(answer) => Ok(write(server, request, &answer)),
        Ended::Asks(question) => Ok(question),
        Ended::Failed(fault) => Err(Fault::of_service(&fault)),
        Ended::Task(_) => Err(Fault::new(Code::Internal, "A prompt cannot become a task.")),
    }
}

fn took_too_long() -> ToolFault {
    let problem = format!("The prompt took longer than {CALL_TIMEOUT_SECS} s.");
    ToolFault::new(FaultCode::Busy, problem, "Try again later.")
}

/// The arguments: strings, each known, and all that are required.
fn arguments(prompt: &Prompt, request: &Request<'_>) -> Result<Map<String, Value>, Fault> {
    // Some clients write that there are none.
    let raw = request.message.params.arguments;
    let given = match raw.filter(|raw| raw.get() != "null") {
        None => Map::new(),
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|_| Fault::params("`arguments` must be an object."))?,
    };
    let mut problems = Vec::new();
    for (name, value) in &given {
        let is_known = prompt.arguments.iter().any(|known| known.name == name);
        let (problem, hint) = if !is_known {
            ("there is no such argument", known_arguments(prompt))
        } else if !value.is_string() {
            ("it is no string", "Give a string.".to_owned())
        } else {
            continue;
        };
        let name: String = name.chars().take(80).collect();
        problems.push(Problem {
            path: format!("/{name}"),
            problem: problem.to_owned(),
            hint,
        });
    }
    for argument in prompt.arguments {
        if argument.is_required && !given.contains_key(argument.name) {
            problems.push(Problem {
                path: format!("/{}", argument.name),
                problem: "the argument is missing".to_owned(),
                hint: argument.description.to_owned(),
            });
        }
    }
    let Some(first) = problems.first() else {
        return Ok(given);
    };
    // A prompt is picked by a person, to whom hosts show the message alone.
    let message = format!(
        "The arguments do not fit the prompt {}. {}: {}. {}",
        prompt.name, first.path, first.problem, first.hint
    );
    problems.truncate(PROBLEMS_MAX);
    Err(Fault::params(message).with_data(json!(problems)))
}

fn known_arguments(prompt: &Prompt) -> String {
    let names: Vec<_> = prompt.arguments.iter().map(|known| known.name).collect();
    if names.is_empty() {
        "This prompt takes none.".to_owned()
    } else {
        format!("There are {}.", names.join(", "))
    }
}

fn write(server: &Server, request: &Request<'_>, filled: &PromptAnswer) -> Vec<u8> {
    let revision = request.revision;
    let messages: Vec<Value> = filled
        .messages
        .iter()
        .map(|message| {
            let role = match message.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            };
            json!({"role": role, "content": content::to_json(&message.content, revision)})
        })
        .collect();
    let mut answer = Answer::open(request.id, revision, 1024);
    answer.field("description", &filled.description);
    answer.field("messages", &messages);
    answer.close(revision, &server.meta)
}
