//! A service whose tools take long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rackhand::guard::Scope;
use rackhand::service::{
    Ask, Content, Effect, FaultCode, Form, Question, QuestionKind, Service, Step, TaskMode, Tool,
    ToolAnswer, ToolCall, ToolFault,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Jobs {
    tools: Vec<Tool>,
    /// Writes that ran to their end.
    pub(crate) written: AtomicUsize,
    /// Told when a write has begun.
    pub(crate) begun: Notify,
    /// Lets a write go on.
    pub(crate) release: Notify,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        let tool = |name, effect| Tool {
            name,
            title: "A job",
            description: "Takes long.",
            input_schema: Arc::new(json!({"type": "object", "additionalProperties": false,
                "properties": {"seconds": {"type": "integer", "minimum": 0}}})),
            output_schema: Arc::new(json!({"type": "object"})),
            effect,
            is_destructive: false,
            scope: Scope::Read,
        };
        let reads = [
            "job_sleep",
            "job_required",
            "job_fail",
            "job_endless",
            "job_confirm",
            "job_both",
            "job_insatiable",
            "job_large",
            "job_after_name",
            "job_model",
        ];
        let mut tools: Vec<Tool> = reads.map(|name| tool(name, Effect::Read)).to_vec();
        tools.push(tool("job_write", Effect::Write));
        tools.push(tool("job_panic", Effect::Write));
        Self {
            tools,
            written: AtomicUsize::new(0),
            begun: Notify::new(),
            release: Notify::new(),
        }
    }

    async fn work(&self, call: ToolCall) -> Result<Step<ToolAnswer>, ToolFault> {
        let said = &call.said;
        match call.tool.as_str() {
            "job_sleep" | "job_required" => {
                call.voice.progress(1.0, None, "asleep");
                let seconds = call.arguments["seconds"].as_u64().unwrap_or(0);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(says("slept".to_owned()))
            }
            "job_fail" => Err(ToolFault::new(
                FaultCode::NotFound,
                "It failed.",
                "Leave it.",
            )),
            "job_endless" => Ok(Step::Task),
            "job_confirm" => match said.form("confirm") {
                Form::Filled(fields) => Ok(says(format!("confirmed: {}", fields["ok"]))),
                Form::Declined => Ok(says("declined".to_owned())),
                Form::Open => Ok(asks(&["confirm"])),
            },
            "job_both" => match (said.form("a"), said.form("b")) {
                (Form::Filled(a), Form::Filled(b)) => {
                    Ok(says(format!("{} and {}", a["ok"], b["ok"])))
                }
                _ => Ok(asks(&["a", "b"])),
            },
            "job_insatiable" => Ok(asks(&["more"])),
            "job_large" => Ok(Step::Done(ToolAnswer {
                structured: None,
                text: String::new(),
                more: vec![Content::Text("x".repeat(200 << 10))],
            })),
            "job_after_name" => match said.form("name") {
                Form::Filled(fields) => Ok(says(format!("Hello, {}!", fields["ok"]))),
                _ => Ok(says("nobody".to_owned())),
            },
            "job_model" => Ok(Step::Ask(Ask {
                questions: vec![Question {
                    key: "model".to_owned(),
                    kind: QuestionKind::Sampling,
                    params: json!({"messages": [], "maxTokens": 5}),
                }],
                state: Value::Null,
            })),
            "job_panic" => panic!("a fault of the program"),
            _ => {
                self.begun.notify_one();
                tokio::select! {
                    () = call.cancel.cancelled() => {}
                    () = self.release.notified() => {}
                }
                self.written.fetch_add(1, Ordering::SeqCst);
                Ok(says("written".to_owned()))
            }
        }
    }
}

fn says(text: String) -> Step<ToolAnswer> {
    Step::Done(ToolAnswer {
        structured: None,
        text,
        more: Vec::new(),
    })
}

fn asks<T>(keys: &[&str]) -> Step<T> {
    let form = |key: &&str| Question {
        key: (*key).to_owned(),
        kind: QuestionKind::Elicitation,
        params: json!({"message": "Please.", "requestedSchema":
            {"type": "object", "properties": {"ok": {"type": "boolean"}}}}),
    };
    Step::Ask(Ask {
        questions: keys.iter().map(form).collect(),
        state: json!("state"),
    })
}

impl Service for Jobs {
    fn name(&self) -> &'static str {
        "jobs"
    }

    fn tools(&self) -> &[Tool] {
        &self.tools
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        Box::pin(async move {
            let asks_first = call.tool == "job_after_name" && call.said.form("name") == Form::Open;
            match call.task {
                TaskMode::Running => self.work(call).await,
                _ if asks_first => Ok(asks(&["name"])),
                TaskMode::Unknown if call.tool == "job_sleep" => self.work(call).await,
                TaskMode::Unknown | TaskMode::Possible => Ok(Step::Task),
            }
        })
    }
}
