//! A service that has to ask before it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{self, BoxFuture};
use rackhand::guard::Scope;
use rackhand::service::{
    Ask, Content, Effect, FaultCode, Form, Prompt, PromptAnswer, PromptArgument, PromptCall,
    PromptMessage, Question, QuestionKind, Said, Service, Speaker, Step, Tool, ToolAnswer,
    ToolCall, ToolFault,
};
use serde_json::{Value, json};

const PROMPTS: &[Prompt] = &[Prompt {
    name: "asker_prompt",
    title: "Asks",
    description: "Asks for context.",
    arguments: &[PromptArgument {
        name: "about",
        title: "About",
        description: "What it is about.",
        is_required: false,
    }],
}];

#[derive(Debug)]
pub(crate) struct Asker {
    tools: Vec<Tool>,
    /// Writes that were carried out.
    pub(crate) written: AtomicUsize,
}

impl Asker {
    pub(crate) fn new() -> Self {
        let tool = |name, effect, properties: Value| Tool {
            name,
            title: "Asks",
            description: "Asks before it answers.",
            input_schema: Arc::new(
                json!({"type": "object", "additionalProperties": false, "properties": properties}),
            ),
            output_schema: Arc::new(json!({"type": "object"})),
            effect,
            is_destructive: false,
            scope: Scope::Read,
        };
        let headed = json!({"zone": {"type": "string", "x-mcp-header": "Zone"},
            "floor": {"type": "integer", "x-mcp-header": "Floor"}});
        let anything = json!({"what": {}});
        Self {
            tools: vec![
                tool("asker_name", Effect::Read, json!({})),
                tool("asker_twice", Effect::Read, anything.clone()),
                tool("asker_write", Effect::Write, anything),
                tool("asker_all", Effect::Read, json!({})),
                tool("asker_forever", Effect::Read, json!({})),
                tool("asker_nothing", Effect::Read, json!({})),
                tool("asker_headed", Effect::Read, headed),
            ],
            written: AtomicUsize::new(0),
        }
    }

    fn answer(&self, call: &ToolCall) -> Result<Step<ToolAnswer>, ToolFault> {
        let said = &call.said;
        match call.tool.as_str() {
            "asker_name" => match said.form("name") {
                Form::Filled(fields) => Ok(says(format!("Hello, {}!", text(fields, "name")))),
                Form::Declined => Err(declined()),
                Form::Open => Ok(asks([form("name", "name")], Value::Null)),
            },
            "asker_twice" => match (said.state["step"].as_u64(), said.form("answer")) {
                (Some(1), Form::Filled(fields)) => {
                    let state = json!({"step": 2, "first": text(fields, "first")});
                    Ok(asks([form("answer", "second")], state))
                }
                (Some(2), Form::Filled(fields)) => {
                    let first = said.state["first"].as_str().unwrap_or_default();
                    Ok(says(format!("{first}, then {}", text(fields, "second"))))
                }
                _ => Ok(asks([form("answer", "first")], json!({"step": 1}))),
            },
            "asker_write" => match said.form("confirm") {
                Form::Filled(fields) if fields.get("ok") == Some(&json!(true)) => {
                    self.written.fetch_add(1, Ordering::SeqCst);
                    Ok(says("written".to_owned()))
                }
                Form::Filled(_) | Form::Declined => Err(declined()),
                Form::Open => Ok(asks([form("confirm", "ok")], Value::Null)),
            },
            "asker_all" if said.answers.len() >= 3 => {
                let model = said.answers["model"]["content"]["text"].to_string();
                let root = said.answers["roots"]["roots"][0]["uri"].to_string();
                Ok(says(format!("{model} {root}")))
            }
            "asker_all" => Ok(asks(everything(), Value::Null)),
            "asker_forever" => {
                let round = said.state.as_u64().unwrap_or(0) + 1;
                Ok(asks([form("again", "more")], json!(round)))
            }
            "asker_nothing" => Ok(asks([], Value::Null)),
            _ => Ok(says("headed".to_owned())),
        }
    }
}

fn text(fields: &serde_json::Map<String, Value>, name: &str) -> String {
    let field = fields.get(name).and_then(Value::as_str);
    field.unwrap_or("nobody").to_owned()
}

fn says(text: String) -> Step<ToolAnswer> {
    Step::Done(ToolAnswer {
        structured: None,
        text,
        more: Vec::new(),
    })
}

fn declined() -> ToolFault {
    ToolFault::new(FaultCode::NotAnswered, "The person declined.", "Leave it.")
}

fn form(key: &str, field: &str) -> Question {
    let kind = if field == "ok" { "boolean" } else { "string" };
    Question {
        key: key.to_owned(),
        kind: QuestionKind::Elicitation,
        params: json!({"mode": "form", "message": "Please.", "requestedSchema":
            {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}}),
    }
}

fn everything() -> [Question; 3] {
    [
        form("name", "name"),
        Question {
            key: "model".to_owned(),
            kind: QuestionKind::Sampling,
            params: json!({"messages": [{"role": "user", "content": {"type": "text", "text": "Hi"}}], "maxTokens": 50}),
        },
        Question {
            key: "roots".to_owned(),
            kind: QuestionKind::Roots,
            params: json!({}),
        },
    ]
}

fn asks<T>(questions: impl Into<Vec<Question>>, state: Value) -> Step<T> {
    Step::Ask(Ask {
        questions: questions.into(),
        state,
    })
}

impl Service for Asker {
    fn name(&self) -> &'static str {
        "asker"
    }

    fn tools(&self) -> &[Tool] {
        &self.tools
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        Box::pin(future::ready(self.answer(&call)))
    }

    fn prompts(&self) -> &[Prompt] {
        PROMPTS
    }

    fn prompt(&self, call: PromptCall) -> BoxFuture<'_, Result<Step<PromptAnswer>, ToolFault>> {
        let said: &Said = &call.said;
        let step = match said.form("context") {
            Form::Filled(fields) => Ok(Step::Done(PromptAnswer {
                description: "With context.".to_owned(),
                messages: vec![PromptMessage {
                    speaker: Speaker::User,
                    content: Content::Text(text(fields, "context")),
                }],
            })),
            Form::Declined => Err(declined()),
            Form::Open => Ok(asks([form("context", "context")], json!("prompt"))),
        };
        Box::pin(future::ready(step))
    }
}
