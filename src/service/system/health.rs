//! `system_ping`, `system_health` and the resources `qsys://health` and `qsys://health/{check}`: how well the box is.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::future::{self, BoxFuture};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Definition, Outcome, SystemService, keys};
use crate::guard::{Reach, Scope};
use crate::ops::health::{CHECKS, Source, Standing};
use crate::service::{
    Completed, Completion, Effect, Resource, ResourceBody, ResourceContent, ResourceContents,
    ResourceTemplate, Target, ToolCall,
};

const JSON: &str = "application/json";

/// The report, and the family of its checks. `qsys://health/link` is the link itself, which another service tells.
const WHOLE: &str = "qsys://health";
const EACH: &str = "qsys://health/{check}";

pub(super) const PING: Definition = Definition {
    name: "system_ping",
    title: "Ping the box",
    description: "Whether this box answers: its version and how long it has been running.",
    input: nothing,
    output: ping_output,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: ping,
};

pub(super) const HEALTH: Definition = Definition {
    name: "system_health",
    title: "Health of the box",
    description: "How well this box is: HEALTHY, DEGRADED or UNHEALTHY, with what is wrong and what to do, for each check (link, mirror, rules, \
        store, audit, disk, memory, event loop, open files, load, temperature, supply, flash, clock, certificate) since when, when it was last \
        well, and what changed lately. Call it when something about the box itself, and not about the room, seems wrong.",
    input: nothing,
    output: health_output,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: health,
};

pub(super) const TEMPLATES: &[ResourceTemplate] = &[ResourceTemplate {
    uri_template: EACH,
    name: "health-check",
    title: "One check of the box's health",
    description: "One check of what system_health answers: level, reason, since when, when it was last well.",
    mime_type: JSON,
}];

pub(super) fn listed() -> Vec<Resource> {
    vec![Resource {
        uri: WHOLE.to_owned(),
        name: "health".to_owned(),
        title: "Health of the box".to_owned(),
        description: "What system_health answers.".to_owned(),
        mime_type: JSON,
    }]
}

fn nothing() -> Value {
    json!({ "type": "object", "properties": {}, "additionalProperties": false })
}

fn ping_output() -> Value {
    json!({
        "type": "object", "required": ["status", "version", "uptime"],
        "properties": {
            "status": { "type": "string", "enum": ["ok"] },
            "version": { "type": "string" },
            "uptime": { "type": "integer", "description": "Seconds since the start." },
        },
    })
}

fn health_output() -> Value {
    let level = json!({ "type": "string", "enum": ["HEALTHY", "DEGRADED", "UNHEALTHY"] });
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    json!({
        "type": "object",
        "required": ["status", "version", "uptime", "level", "ready", "summary", "checks", "changes", "changes_total"],
        "properties": {
            "status": level, "level": level, "version": text, "summary": text,
            "uptime": { "type": "integer", "description": "Seconds since the start." },
            "ready": { "type": "boolean", "description": "Whether clients should come here." },
            "not_ready": { "type": "string", "description": "Why not." },
            "changes_total": { "type": "integer", "description": "Changes since the start." },
            "checks": { "type": "array", "items": {
                "type": "object", "required": ["check", "level", "reason", "since_ms", "changes"],
                "properties": {
                    "check": text, "level": level, "changes": number,
                    "reason": { "type": "string", "description": "What is wrong and what to do." },
                    "since_ms": { "type": "integer", "description": "How long it has been at this level." },
                    "last_good_ms": { "type": "integer", "description": "Time since it was last HEALTHY. Absent if it never was." },
                },
            } },
            "changes": { "type": "array", "description": "The last ones, newest first.", "items": {
                "type": "object", "required": ["at", "check", "from", "to", "reason"],
                "properties": { "at": text, "check": text, "from": level, "to": level, "reason": text },
            } },
        },
    })
}

fn ping(service: &SystemService, _: ToolCall) -> BoxFuture<'_, Outcome> {
    let report = service.health.last();
    let answer = report.short("ok", Instant::now());
    let text = concat!("The box answers: version ", env!("CARGO_PKG_VERSION"), ".").to_owned();
    Box::pin(future::ready(keys::answer(&answer, text)))
}

fn health(service: &SystemService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let report = service.health.report();
        let sees_names = call.caller.reach.is_everything();
        let text = format!("{}: {}", report.level, report.summary(sees_names));
        let answer = report.to_json(report.level.as_str(), Instant::now(), sees_names);
        keys::answer(&answer, text)
    })
}

/// What a URI names: a check, or nothing in particular for the whole report.
fn named(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix(WHOLE)?;
    match rest.strip_prefix('/') {
        None => rest.is_empty().then_some(rest),
        Some(name) => CHECKS
            .iter()
            .any(|check| check.name == name)
            .then_some(name),
    }
}

pub(super) fn read(health: &dyn Source, uri: &str, reach: &Reach) -> Option<ResourceContents> {
    let wanted = named(uri)?;
    let (report, now) = (health.report(), Instant::now());
    let sees_names = reach.is_everything();
    let value = match wanted {
        "" => report.to_json(report.level.as_str(), now, sees_names),
        name => report.check(name)?.to_json(now, sees_names),
    };
    Some(ResourceContents {
        contents: vec![ResourceContent {
            uri: uri.to_owned(),
            mime_type: JSON,
            body: ResourceBody::Text(value.to_string()),
        }],
        is_static: false,
    })
}

pub(super) fn stamp(health: &dyn Source, uri: &str, reach: &Reach) -> Option<u64> {
    let wanted = named(uri)?;
    let report = health.last();
    let mut hasher = DefaultHasher::new();
    let mut add = |one: &Standing| {
        (one.level.as_str(), one.changes).hash(&mut hasher);
        one.shown_reason(reach.is_everything()).hash(&mut hasher);
    };
    match wanted {
        "" => {
            report.standings.iter().for_each(add);
            report.not_ready.hash(&mut hasher);
        }
        name => add(report.check(name)?),
    }
    Some(hasher.finish())
}

pub(super) fn complete(completion: &Completion<'_>) -> Option<Completed> {
    if completion.target != Target::Template(EACH) {
        return None;
    }
    let names = CHECKS.iter().map(|check| check.name);
    let fitting = names.filter(|name| name.starts_with(completion.typed));
    let values: Vec<String> = fitting.map(str::to_owned).collect();
    Some(Completed {
        total: values.len(),
        values,
    })
}
