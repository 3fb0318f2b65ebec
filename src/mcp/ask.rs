//! Calls that have to ask something before they are done. A modern client gets a result with the questions and calls again with the
//! answers (2026-07-28, Multi Round-Trip Requests); an older one gets each question as a request on its stream. Services never see
//! which.

use std::future::Future;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::Answer;
use super::error::{Code, Fault};
use super::revision::Revision;
use super::seal::Bond;
use super::{Request, Server, schema};
use crate::limits::{ASKING_MAX_SECS, QUESTIONS_MAX, REQUEST_STATE_MAX_BYTES, ROUNDS_MAX};
use crate::service::arguments::read;
use crate::service::{Abilities, Ask, FaultCode, Question, QuestionKind, Said, Step, ToolFault};

/// What is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) method: &'static str,
    pub(super) name: &'a str,
    pub(super) arguments: Option<&'a RawValue>,
    /// Answers lead to something that may happen once only.
    pub(super) is_once: bool,
}

/// What a call came to.
#[derive(Debug)]
pub(super) enum Ended<T> {
    /// It is done.
    Done(T),
    /// It failed.
    Failed(ToolFault),
    /// A modern client has to say something first: the whole message that asks it.
    Asks(Vec<u8>),
    /// It goes on as a task, with what was said so far.
    Task(Said),
}

/// Calls `step`, and again with what the client said, until there is an end.
pub(super) async fn converse<T, F>(
    server: &Server,
    request: &Request<'_>,
    subject: &Subject<'_>,
    mut step: impl FnMut(Said) -> F,
) -> Result<Ended<T>, Fault>
where
    F: Future<Output = Result<Step<T>, ToolFault>>,
{
    let asks_on_stream = request.revision.has_server_requests();
    let until = Instant::now() + Duration::from_secs(ASKING_MAX_SECS);
    let (mut said, mut round) = if asks_on_stream {
        (Said::default(), 0)
    } else {
        told(server, request, subject)?
    };
    loop {
        let ask = match step(said.clone()).await {
            Ok(Step::Done(done)) => return Ok(Ended::Done(done)),
            Ok(Step::Task) => return Ok(Ended::Task(said)),
            Err(fault) => return Ok(Ended::Failed(fault)),
            Ok(Step::Ask(ask)) => ask,
        };
        check(&ask)?;
        round += 1;
        if round > ROUNDS_MAX {
            return Ok(Ended::Failed(too_many_rounds()));
        }
        if !asks_on_stream {
            return question(server, request, subject, &ask, round).map(Ended::Asks);
        }
        match answers(request, &ask, until).await {
            Ok(answers) => {
                said = Said {
                    answers,
                    state: ask.state,
                };
            }
            Err(fault) => return Ok(Ended::Failed(fault)),
        }
    }
}

/// A question that the program asks wrongly is a fault of the program.
pub(super) fn check(ask: &Ask) -> Result<(), Fault> {
    let mut rest = ask.questions.as_slice();
    let mut is_right = true;
    while let Some((first, others)) = rest.split_first() {
        is_right &= others.iter().all(|other| other.key != first.key);
        rest = others;
    }
    let is_right = is_right
        && (1..=QUESTIONS_MAX).contains(&ask.questions.len())
        && ask.state.to_string().len() <= REQUEST_STATE_MAX_BYTES;
    if is_right {
        Ok(())
    } else {
        Err(Fault::new(
            Code::Internal,
            "What this call has to ask cannot be asked.",
        ))
    }
}

/// A question stays without an answer.
pub(super) fn not_answered(problem: impl Into<String>) -> ToolFault {
    ToolFault::new(
        FaultCode::NotAnswered,
        problem,
        "Ask the person in the conversation, and tell them what the call wanted to know.",
    )
}

/// More than [`ROUNDS_MAX`].
pub(super) fn too_many_rounds() -> ToolFault {
    not_answered("Too many questions were asked, and the answers were never enough.")
}

// Modern clients

/// What a modern client says with its call, and in which round.
fn told(
    server: &Server,
    request: &Request<'_>,
    subject: &Subject<'_>,
) -> Result<(Said, u8), Fault> {
    let params = &request.message.params;
    let answers = match params.input_responses {
        None => Map::new(),
        Some(raw) => {
            let given: Option<Map<String, Value>> = schema::object(Some(raw));
            let mut given =
                given.ok_or_else(|| Fault::params("`inputResponses` must be an object."))?;
            given.retain(|_, answer| KINDS.iter().any(|kind| fits(*kind, answer)));
            given
        }
    };
    let Some(raw) = params.request_state else {
        // Where something may happen once only, an answer counts for the question that was asked, and for no other.
        let answers = if subject.is_once { Map::new() } else { answers };
        return Ok((
            Said {
                answers,
                state: Value::Null,
            },
            0,
        ));
    };
    let text =
        schema::text(raw).ok_or_else(|| Fault::params("`requestState` must be a string."))?;
    let arguments = subject.arguments()?;
    let bond = subject.bond(request, &arguments);
    let opened = server
        .seal()?
        .open(&bond, &text, subject.is_once)
        .map_err(|broken| {
            Fault::params(format!(
                "`requestState` cannot be taken: {broken}. Call again without it."
            ))
        })?;
    let (round, state) = serde_json::from_value(opened).unwrap_or((ROUNDS_MAX, Value::Null));
    Ok((Said { answers, state }, round))
}

/// The result that asks a modern client.
fn question(
    server: &Server,
    request: &Request<'_>,
    subject: &Subject<'_>,
    ask: &Ask,
    round: u8,
) -> Result<Vec<u8>, Fault> {
    require(request.abilities, &ask.questions)?;
    let questions: Map<String, Value> = ask
        .questions
        .iter()
        .map(|question| {
            let asked = json!({"method": method(question.kind), "params": question.params});
            (question.key.clone(), asked)
        })
        .collect();
    let mut answer = Answer::open_as("input_required", request.id, request.revision, 1024);
    answer.field("inputRequests", &questions);
    if subject.is_once || !ask.state.is_null() {
        let arguments = subject.arguments()?;
        let bond = subject.bond(request, &arguments);
        let sealed = server.seal()?.close(&bond, &json!([round, ask.state]));
        let sealed = sealed.map_err(|error| {
            Fault::new(
                Code::Internal,
                format!("Nothing can be asked at this moment: {error}."),
            )
        })?;
        answer.field("requestState", &sealed);
    }
    Ok(answer.close(request.revision, &server.meta))
}

/// Step 8 of the ladder: the client has declared all that it would be asked.
pub(super) fn require(abilities: Abilities, questions: &[Question]) -> Result<(), Fault> {
    let mut lacking = Map::new();
    for question in questions {
        if !can(abilities, question.kind) {
            let (capability, detail) = capability(question.kind);
            lacking.insert(capability.to_owned(), detail);
        }
    }
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(Fault::missing_capability(&Value::Object(lacking)))
    }
}

impl Subject<'_> {
    fn arguments(&self) -> Result<Value, Fault> {
        let raw = self.arguments.map_or("{}", RawValue::get);
        // As the call reads them: a client may write `1.0` in one round and `1` in the next.
        read(raw).map_err(|_| Fault::params("`arguments` must be an object."))
    }

    fn bond<'b>(&'b self, request: &'b Request<'_>, arguments: &'b Value) -> Bond<'b> {
        Bond {
            caller: &request.caller.name,
            method: self.method,
            name: self.name,
            arguments,
        }
    }
}

// Older clients

/// Puts the questions to an older client, one after the other. An answer that is none is left out, and the call may ask again.
async fn answers(
    request: &Request<'_>,
    ask: &Ask,
    until: Instant,
) -> Result<Map<String, Value>, ToolFault> {
    if let Some(question) = ask
        .questions
        .iter()
        .find(|it| !can(request.abilities, it.kind))
    {
        return Err(not_answered(format!(
            "The client cannot be asked: it does not offer `{}`.",
            method(question.kind)
        )));
    }
    let mut answers = Map::new();
    for question in &ask.questions {
        if Instant::now() >= until {
            return Err(not_answered("The answers took too long, all in all."));
        }
        let params = in_words_of(request.revision, question);
        let answer = request
            .outlet
            .ask(method(question.kind), &params)
            .await
            .map_err(|fault| not_answered(format!("A question stays open: {fault}.")))?;
        if fits(question.kind, &answer) {
            answers.insert(question.key.clone(), answer);
        }
    }
    Ok(answers)
}

/// The parameters without what the revision does not know.
fn in_words_of(revision: Revision, question: &Question) -> Value {
    let mut params = question.params.clone();
    if let Some(fields) = params.as_object_mut()
        && !revision.has_elicitation_modes()
    {
        fields.remove("mode");
    }
    params
}

// Kinds of questions

const KINDS: [QuestionKind; 3] = [
    QuestionKind::Elicitation,
    QuestionKind::Sampling,
    QuestionKind::Roots,
];

/// The name of a question on the wire.
pub(super) const fn method(kind: QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Elicitation => "elicitation/create",
        QuestionKind::Sampling => "sampling/createMessage",
        QuestionKind::Roots => "roots/list",
    }
}

/// The capability that a client declares for it.
fn capability(kind: QuestionKind) -> (&'static str, Value) {
    match kind {
        QuestionKind::Elicitation => ("elicitation", json!({"form": {}})),
        QuestionKind::Sampling => ("sampling", json!({})),
        QuestionKind::Roots => ("roots", json!({})),
    }
}

const fn can(abilities: Abilities, kind: QuestionKind) -> bool {
    match kind {
        QuestionKind::Elicitation => abilities.elicitation,
        QuestionKind::Sampling => abilities.sampling,
        QuestionKind::Roots => abilities.roots,
    }
}

/// Whether a value has the shape of an answer to such a question.
pub(super) fn fits(kind: QuestionKind, answer: &Value) -> bool {
    match kind {
        QuestionKind::Elicitation => {
            let action = answer.get("action").and_then(Value::as_str);
            let is_content = answer.get("content").is_none_or(Value::is_object);
            is_content && matches!(action, Some("accept" | "decline" | "cancel"))
        }
        QuestionKind::Sampling => {
            let has_text = |field| answer.get(field).is_some_and(Value::is_string);
            let content = answer.get("content");
            has_text("role")
                && has_text("model")
                && content.is_some_and(|content| content.is_object() || content.is_array())
        }
        QuestionKind::Roots => answer.get("roots").is_some_and(Value::is_array),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_shape_of_an_answer_is_one() {
        use QuestionKind::{Elicitation, Roots, Sampling};
        let text = json!({"type": "text", "text": "x"});
        for (answer, kind) in [
            (
                json!({"action": "accept", "content": {"a": 1}}),
                Some(Elicitation),
            ),
            (json!({"action": "decline"}), Some(Elicitation)),
            (json!({"action": "perhaps"}), None),
            (json!({"action": "accept", "content": null}), None),
            (json!({"action": "accept", "content": [1]}), None),
            (
                json!({"role": "assistant", "model": "m", "content": text}),
                Some(Sampling),
            ),
            (
                json!({"role": "assistant", "model": "m", "content": [text]}),
                Some(Sampling),
            ),
            (
                json!({"role": "assistant", "model": "m", "content": "x"}),
                None,
            ),
            (json!({"role": "assistant", "content": text}), None),
            (json!({"roots": []}), Some(Roots)),
            (json!({"roots": {}}), None),
            (json!({}), None),
            (json!(12345), None),
            (json!(null), None),
            (json!("accept"), None),
            (json!([{"action": "accept"}]), None),
        ] {
            let found: Vec<_> = KINDS
                .into_iter()
                .filter(|kind| fits(*kind, &answer))
                .collect();
            assert_eq!(found, Vec::from_iter(kind), "{answer}");
        }
    }
}
