//! A call of a tool, what it may say and ask while it runs, and what it leads to.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::catalogue::ResourceContent;
use crate::base::shutdown::Stop;
use crate::guard::Caller;

/// A call of a tool, its arguments already checked against the schema.
#[derive(Debug)]
pub struct ToolCall {
    /// Name of the tool, or an alias.
    pub tool: String,
    /// Arguments: an object.
    pub arguments: Value,
    /// Who calls.
    pub caller: Caller,
    /// Cancelled when the caller no longer wants the answer, or the process stops. A write that was sent is finished all the same;
    /// a read is dropped where it waits when its caller goes away.
    pub cancel: Stop,
    /// What the client can be asked.
    pub abilities: Abilities,
    /// What was said to an earlier [`Step::Ask`] of this call; empty at first.
    pub said: Said,
    /// Whether the call runs as a task that its client polls, or could.
    pub task: TaskMode,
    /// Where progress goes while the call runs.
    pub voice: Voice,
}

impl ToolCall {
    /// A first call by a client that can be asked nothing and hears nothing.
    #[must_use]
    pub fn new(tool: &str, arguments: Value, caller: Caller, cancel: Stop) -> Self {
        Self {
            tool: tool.to_owned(),
            arguments,
            caller,
            cancel,
            abilities: Abilities::default(),
            said: Said::default(),
            task: TaskMode::Unknown,
            voice: Voice::default(),
        }
    }
}

/// What a call led to. A call is a function of its arguments and of what was said: nothing is kept between two steps.
#[derive(Debug)]
pub enum Step<T> {
    /// It is done.
    Done(T),
    /// A person or the client has to say something first. The call is then made again, with [`Said`] filled in.
    Ask(Ask),
    /// It takes long: it is to be made again as a task. A client that knows no tasks gets an error. For tools alone.
    Task,
}

impl<T> Step<T> {
    /// The end, if this is one.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(done) => Some(done),
            Self::Ask(_) | Self::Task => None,
        }
    }

    /// The same step with another kind of end.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Done(done) => Step::Done(f(done)),
            Self::Ask(ask) => Step::Ask(ask),
            Self::Task => Step::Task,
        }
    }
}

/// What has to be said before a call can go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The questions, each under a key of its own: 1 to 8.
    pub questions: Vec<Question>,
    /// What the call wants to find again in [`Said::state`]. It travels through the client, who cannot change it but can read it.
    pub state: Value,
}

/// One question to the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The key under which the answer comes back.
    pub key: String,
    /// What is asked.
    pub kind: QuestionKind,
    /// Parameters of the request as MCP defines them for this kind.
    pub params: Value,
}

/// What a client can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionKind {
    /// A form for the person: `elicitation/create`.
    Elicitation,
    /// A completion by the client's model: `sampling/createMessage`.
    Sampling,
    /// The client's roots: `roots/list`.
    Roots,
}

/// What a client can be asked, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// [`QuestionKind::Elicitation`], with forms.
    pub elicitation: bool,
    /// [`QuestionKind::Sampling`]
    pub sampling: bool,
    /// [`QuestionKind::Roots`]
    pub roots: bool,
}

/// How a call stands to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskMode {
    /// The client knows no tasks.
    #[default]
    Unknown,
    /// The call may become one by [`Step::Task`].
    Possible,
    /// It is one, and may take long.
    Running,
}

/// What was said to an [`Ask`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// The result of each question by its key, as MCP defines it for its kind. Hostile input: each is to be checked.
    pub answers: Map<String, Value>,
    /// [`Ask::state`]; `Null` at first. Unchanged, and made for this caller, tool and these arguments.
    pub state: Value,
}

/// What was said to a form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form<'a> {
    /// Nothing, or nothing that could be meant for a form: ask again.
    Open,
    /// The person does not want to.
    Declined,
    /// The fields as they were filled in. Their names and values are to be checked.
    Filled(&'a Map<String, Value>),
}

impl Said {
    /// What was said to the [`QuestionKind::Elicitation`] with this key.
    #[must_use]
    pub fn form(&self, key: &str) -> Form<'_> {
        let Some(answer) = self.answers.get(key) else {
            return Form::Open;
        };
        match answer.get("action").and_then(Value::as_str) {
            Some("accept") => answer
                .get("content")
                .and_then(Value::as_object)
                .map_or(Form::Open, Form::Filled),
            Some("decline" | "cancel") => Form::Declined,
            _ => Form::Open,
        }
    }
}

/// A good answer.
#[derive(Debug)]
pub struct ToolAnswer {
    /// The answer by the output schema; nothing for older names, whose answers have no schema.
    pub structured: Option<Box<RawValue>>,
    /// The same in a sentence or two, for hosts that show only text. Left out when empty.
    pub text: String,
    /// Whatever is no text.
    pub more: Vec<Content>,
}

/// A piece of content of an answer or of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// `image/png`, `image/jpeg`.
        mime_type: &'static str,
        /// Its bytes in standard base64.
        base64: Cow<'static, str>,
    },
    /// A sound.
    Audio {
        /// `audio/wav`.
        mime_type: &'static str,
        /// Its bytes in standard base64.
        base64: Cow<'static, str>,
    },
    /// The contents of a resource.
    Resource(ResourceContent),
    /// A resource to be read by who wants to.
    Link {
        /// Its URI.
        uri: String,
        /// Its name.
        name: String,
    },
}

/// How grave a log line for the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Details.
    Debug,
    /// What happens.
    Info,
    /// Something that may need a look.
    Warning,
    /// Something that went wrong.
    Error,
}

/// Hears what a call says while it runs.
pub trait Listener: Send + Sync {
    /// `progress` of `total`, rising.
    fn progress(&self, progress: f64, total: Option<f64>, message: &str);

    /// A log line for the client.
    fn log(&self, level: LogLevel, text: &str);
}

/// What a call can say while it runs: heard by clients that asked for it, else by nobody.
#[derive(Clone, Default)]
pub struct Voice(Option<Arc<dyn Listener>>);

impl Voice {
    /// A voice that is heard.
    #[must_use]
    pub fn heard_by(listener: Arc<dyn Listener>) -> Self {
        Self(Some(listener))
    }

    /// Tells how far the call has come. Calls that come too fast are left out.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: &str) {
        if let Some(listener) = &self.0 {
            listener.progress(progress, total, message);
        }
    }

    /// Sends a log line.
    pub fn log(&self, level: LogLevel, text: &str) {
        if let Some(listener) = &self.0 {
            listener.log(level, text);
        }
    }
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Voice").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_is_filled_declined_or_still_open() {
        let answers = json!({
            "filled": {"action": "accept", "content": {"name": "Ada"}},
            "empty": {"action": "accept"},
            "declined": {"action": "decline", "content": {"name": "Ada"}},
            "cancelled": {"action": "cancel"},
            "odd": {"action": "perhaps"},
            "number": 7,
        });
        let said = Said {
            answers: serde_json::from_value(answers).unwrap(),
            state: Value::Null,
        };
        assert!(matches!(said.form("filled"), Form::Filled(fields) if fields["name"] == "Ada"));
        for key in ["empty", "odd", "number", "missing"] {
            assert_eq!(said.form(key), Form::Open, "{key}");
        }
        for key in ["declined", "cancelled"] {
            assert_eq!(said.form(key), Form::Declined, "{key}");
        }
    }
}
