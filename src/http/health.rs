//! Probes: alive, ready, how well. What the verdict is comes from the app; here it becomes a status and a body.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::body::Body;
use super::reply;
use super::route::Route;
use crate::guard::Caller;

/// How well the box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All is as it should be.
    Ok,
    /// It works, but something is missing.
    Degraded,
    /// It cannot do its work.
    Down,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// The verdict at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How well it is.
    pub level: Level,
    /// Whether requests should be sent here. A Core that cannot be reached makes a box not ready, never not alive.
    pub is_ready: bool,
    /// One sentence for people with a key: what is wrong.
    pub summary: String,
}

/// Who knows how well the box is. Asked on every probe: answers from what it watches, without waiting.
pub trait HealthSource: Send + Sync {
    /// The verdict now.
    fn verdict(&self) -> Verdict;

    /// Everything behind the verdict, for people with a key.
    fn detail(&self) -> Value;
}

/// What a caller is told whose key is bound to some components: the words behind a verdict may name any, and count all.
const BOUNDED: &str = "A key that is not bound to certain components is told what.";

/// The words for a caller, and everything behind them if they may know of everything.
fn told(source: &dyn HealthSource, verdict: &Verdict, caller: &Caller) -> (String, Option<Value>) {
    if caller.reach.is_everything() {
        return (verdict.summary.clone(), Some(source.detail()));
    }
    let words = match verdict.level {
        Level::Ok => "All is well.".to_owned(),
        Level::Degraded | Level::Down => format!("Something is not as it should be. {BOUNDED}"),
    };
    (words, None)
}

/// Answers a probe; with details only for a caller who may read.
pub(super) fn answer(
    source: &dyn HealthSource,
    route: Route,
    caller: Option<&Caller>,
) -> Response<Body> {
    let verdict = source.verdict();
    let (is_good, status) = match route {
        Route::Ready if verdict.is_ready => (true, "ready"),
        Route::Ready => (false, "not ready"),
        _ => (verdict.level != Level::Down, verdict.level.as_str()),
    };
    let mut body = json!({ "status": status });
    if let (Some(caller), Some(fields)) = (caller, body.as_object_mut()) {
        let (summary, detail) = told(source, &verdict, caller);
        fields.insert("summary".into(), summary.into());
        fields.extend(detail.map(|detail| ("detail".to_owned(), detail)));
    }
    let code = if is_good { 200 } else { 503 };
    reply::json(code, Bytes::from(body.to_string()))
}

/// The status page: one plain page without scripts.
pub(super) fn page(source: &dyn HealthSource, caller: &Caller) -> Response<Body> {
    let verdict = source.verdict();
    let (summary, detail) = told(source, &verdict, caller);
    let detail = detail.and_then(|detail| serde_json::to_string_pretty(&detail).ok());
    let html = format!(
        "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>rackhand</title>\
         <style>body{{font:16px/1.5 sans-serif;margin:2em;max-width:60em}}pre{{overflow:auto}}</style>\
         <h1>rackhand</h1><p><b>{}</b>: {}</p><p>MCP endpoint: <code>/mcp</code></p><pre>{}</pre>\n",
        verdict.level.as_str(),
        escape(&summary),
        escape(&detail.unwrap_or_default()),
    );
    reply::html(html)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
