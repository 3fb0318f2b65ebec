//! A service with one tool for each way in which a tool can behave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rackhand::guard::Scope;
use rackhand::service::{
    Effect, FaultCode, LogLevel, Service, Step, Tool, ToolAnswer, ToolCall, ToolFault, Voice,
};
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
    /// The voice of the last call that spoke, kept past its end.
    pub(crate) voice: Mutex<Option<Voice>>,
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
                    "fixture_speak",
                    Effect::Read,
                    Scope::Read,
                    json!({"type": "object", "additionalProperties": false, "properties": {
                    "then": {"enum": ["answer", "wait", "refuse", "go_on"]}}}),
                ),
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

impl Fixture {
    /// Tells progress (among it steps back and numbers that are none) and log lines of each level, then does as asked.
    async fn speak(&self, call: &ToolCall) -> Result<Step<ToolAnswer>, ToolFault> {
        let guard = CountsWhenDropped(Arc::clone(&self.knobs));
        for progress in [0.0, 50.0, 50.0, 20.0, f64::NAN] {
            call.voice.progress(progress, Some(100.0), "half \"way\"");
        }
        for (level, text) in [
            (LogLevel::Debug, "a detail"),
            (LogLevel::Info, "what happens"),
            (LogLevel::Warning, "a look"),
            (LogLevel::Error, "a fault"),
        ] {
            call.voice.log(level, text);
        }
        self.knobs.begun.notify_one();
        match call.arguments["then"].as_str() {
            Some("wait") => self.knobs.release.notified().await,
            Some("go_on") => {
                for step in 0..200 {
                    call.voice.progress(51.0 + f64::from(step), None, "");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            _ => {}
        }
        std::mem::forget(guard);
        *self.knobs.voice.lock().unwrap() = Some(call.voice.clone());
        match call.arguments["then"].as_str() {
            Some("refuse") => Err(ToolFault::new(
                FaultCode::BadArguments,
                "No.",
                "Other ones.",
            )),
            _ => Ok(answer("said")),
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
                "fixture_speak" => self.speak(&call).await,
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
