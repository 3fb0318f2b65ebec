//! Probes and the status page. What the verdict is comes from the app; here it becomes a status and a body.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::Response;
use tokio::time::Instant;

use super::body::Body;
use super::reply;
use super::route::Route;
use crate::guard::{Caller, Scope};
use crate::ops::health::{Level, Source};
use crate::telemetry::logging;

/// Answers a probe; with everything behind it only for a caller who may read. What a caller does not reach is not named.
pub(super) fn answer(source: &dyn Source, route: Route, caller: Option<&Caller>) -> Response<Body> {
    let now = Instant::now();
    let report = match route {
        // Alive is who answers at all: that is not to wait for anything.
        Route::Live => source.last(),
        _ => source.report(),
    };
    let (is_good, status) = match (route, report.not_ready) {
        (Route::Live, _) => (true, "alive"),
        (Route::Ready, None) => (true, "ready"),
        (Route::Ready, Some(_)) => (false, "not ready"),
        _ => (report.level != Level::Unhealthy, report.level.as_str()),
    };
    let mut body = match caller {
        None => report.short(status, now),
        Some(caller) => report.to_json(status, now, caller.reach.is_everything()),
    };
    // The figures count everything.
    if caller.is_some_and(|caller| caller.reach.is_everything())
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("detail".into(), source.detail());
    }
    let code = if is_good { 200 } else { 503 };
    reply::json(code, Bytes::from(body.to_string()))
}

/// The status page: one plain page without scripts, made of what is in memory, so that it is there when nothing else is. The log names
/// what others do and from where, as the record does, so that it is for those who see all of that.
pub(super) fn page(source: &dyn Source, caller: &Caller) -> Response<Body> {
    let report = source.report();
    let sees_names = caller.reach.is_everything();
    let (mut checks, mut changes, mut log) = (String::new(), String::new(), String::new());
    for one in &report.standings {
        let (level, name) = (one.level.as_str(), one.name);
        let reason = one.shown_reason(sees_names);
        // Writing to a string never fails.
        let _ = writeln!(checks, "{level:<10} {name:<14} {reason}");
    }
    for change in report.changes.iter().rev() {
        let _ = writeln!(
            changes,
            "{} {} {} -> {} {}",
            change.at.to_iso(),
            change.name,
            change.from,
            change.to,
            change.shown_reason(sees_names)
        );
    }
    if sees_names && caller.scopes.has(Scope::Admin) {
        log = logging::tail();
    }
    let detail = if sees_names {
        serde_json::to_string_pretty(&source.detail()).unwrap_or_default()
    } else {
        String::new()
    };
    let mut html = format!(
        "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>rackhand</title>\
         <style>body{{font:16px/1.5 sans-serif;margin:2em;max-width:60em}}pre{{overflow:auto}}</style>\
         <h1>rackhand</h1><p><b>{}</b>: {}</p><p>{}</p><p>MCP endpoint: <code>/mcp</code></p>",
        report.level,
        escape(&report.summary(sees_names)),
        report.not_ready.unwrap_or("Ready."),
    );
    for (title, text) in [
        ("Checks", checks),
        ("Last changes", changes),
        ("Figures", detail),
        ("Log", log),
    ] {
        if !text.is_empty() {
            let _ = writeln!(html, "<h2>{title}</h2><pre>{}</pre>", escape(&text));
        }
    }
    reply::html(html)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
