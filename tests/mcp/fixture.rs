//! A service with one tool for each way in which a tool can behave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use rackhand::guard::Scope;
use rackhand::service::{Effect, FaultCode, Service, Step, Tool, ToolAnswer, ToolCall, ToolFault};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What the tests steer and see.
#[derive(Debug, Default)]
pub(crate) struct Knobs {
    /// Lets one waiting call go on.
    pub(crate) release: Notify,
    /// Told when a call has begun.
    pub(crate) begun: Notify,
    /// Told when a call saw that it was cancelled.
    pub(crate) cancelled: Notify,
    /// Writes that ran to their end.
    pub(crate) written: AtomicUsize,
    /// Calls dropped before their end.
    pub(crate) dropped: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Fixture {
    tools: Vec<Tool>,
    older: Vec<Tool>,
    knobs: Arc<Knobs>,
}

fn tool(name: &'static str, effect: Effect, scope: Scope, input: Value) -> Tool {
    Tool {
        name,
        title: "A fixture",
        description: "Does one thing for the tests.",
        input_schema: Arc::new(input),
        output_schema: Arc::new(
            json!({"type": "object", "properties": {"text": {"type": "string"}}}),
        ),
        effect,
        is_destructive: effect != Effect::Read,
        scope,
    }
}

impl Fixture {
    pub(crate) fn new(knobs: Arc<Knobs>) -> Self {
        let text = json!({"type": "object", "additionalProperties": false, "required": ["text"], "properties": {
            "text": {"type": "string", "maxLength": 1000, "description": "What to say."}}});
        let nothing = json!({"type": "object", "additionalProperties": false, "properties": {}});
        Self {
            tools: vec![
                tool("fixture_echo", Effect::Read, Scope::Read, text.clone()),
                tool("fixture_fail", Effect::Read, Scope::Read, nothing.clone()),
                tool("fixture_wait", Effect::Read, Scope::Read, nothing.clone()),
                tool(
                    "fixture_set",
                    Effect::WriteIdempotent,
                    Scope::Operate,
                    nothing.clone(),
                ),
                tool(
                    "fixture_admin",
                    Effect::Write,
                    Scope::Admin,
                    nothing.clone(),
                ),
                tool("fixture_panic", Effect::Write, Scope::Admin, nothing),
            ],
            older: vec![tool("old_echo", Effect::Read, Scope::Read, text)],
            knobs,
        }
    }
}

fn answer(text: &str) -> Step<ToolAnswer> {
    let structured = json!({"text": text}).to_string();
    Step::Done(ToolAnswer {
        structured: Some(RawValue::from_string(structured).unwrap()),
        text: text.to_owned(),
        more: Vec::new(),
    })
}

struct CountsWhenDropped(Arc<Knobs>);

impl Drop for CountsWhenDropped {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
        self.0.cancelled.notify_one();
    }
}

impl Service for Fixture {
    fn name(&self) -> &'static str {
        "fixture"
    }

    fn tools(&self) -> &[Tool] {
        &self.tools
    }

    fn older_names(&self) -> &[Tool] {
        &self.older
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        Box::pin(async move {
            match call.tool.as_str() {
                "fixture_echo" | "old_echo" => {
                    Ok(answer(call.arguments["text"].as_str().unwrap_or_default()))
                }
                "fixture_wait" => {
                    let guard = CountsWhenDropped(Arc::clone(&self.knobs));
                    self.knobs.begun.notify_one();
                    self.knobs.release.notified().await;
                    std::mem::forget(guard);
                    Ok(answer("waited"))
                }
                "fixture_set" => {
                    self.knobs.begun.notify_one();
                    tokio::select! {
                        () = call.cancel.cancelled() => {
                            self.knobs.cancelled.notify_one();
                            self.knobs.release.notified().await;
                        }
                        () = self.knobs.release.notified() => {}
                    }
                    self.knobs.written.fetch_add(1, Ordering::SeqCst);
                    Ok(answer("set"))
                }
                "fixture_panic" => panic!("a fault of the program"),
                _ => Err(ToolFault::new(
                    FaultCode::NotFound,
                    "There is no \"Mixr\".",
                    "Use one of the nearest names.",
                )
                .with_data(json!({"nearest": ["Mixer"]}))),
            }
        })
    }
}
