//! Probes: alive, ready, how well. What the verdict is comes from the app; here it becomes a status and a body.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::body::Body;
use super::reply;
use super::route::Route;

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

/// Answers a probe; `with_detail` only for a caller who may read.
pub(super) fn answer(source: &dyn HealthSource, route: Route, with_detail: bool) -> Response<Body> {
    let verdict = source.verdict();
    let (is_good, status) = match route {
        Route::Ready if verdict.is_ready => (true, "ready"),
        Route::Ready => (false, "not ready"),
        _ => (verdict.level != Level::Down, verdict.level.as_str()),
    };
    let mut body = json!({ "status": status });
    if with_detail && let Some(fields) = body.as_object_mut() {
        fields.insert("summary".into(), verdict.summary.into());
        fields.insert("detail".into(), source.detail());
    }
    let code = if is_good { 200 } else { 503 };
    reply::json(code, Bytes::from(body.to_string()))
}

/// The status page: one plain page without scripts.
pub(super) fn page(source: &dyn HealthSource) -> Response<Body> {
    let verdict = source.verdict();
    let detail = serde_json::to_string_pretty(&source.detail()).unwrap_or_default();
    let html = format!(
        "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>rackhand</title>\
         <style>body{{font:16px/1.5 sans-serif;margin:2em;max-width:60em}}pre{{overflow:auto}}</style>\
         <h1>rackhand</h1><p><b>{}</b>: {}</p><p>MCP endpoint: <code>/mcp</code></p><pre>{}</pre>\n",
        verdict.level.as_str(),
        escape(&verdict.summary),
        escape(&detail),
    );
    reply::html(html)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
