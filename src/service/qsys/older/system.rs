//! `system.ping` and `system.health`. They speak of the box as far as its Cores go, and are here until a service of its own has them.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{any_object, said};
use crate::base::clock::UnixMillis;
use crate::guard::Scope;
use crate::link::LinkState;
use crate::service::qsys::answer::{self, Trust};
use crate::service::qsys::{Core, Definition, Outcome, QsysService, get_link_status, schema};
use crate::service::{Effect, ToolCall};

pub(super) const PING: Definition = Definition {
    name: "system.ping",
    title: "Ping (older name)",
    description: "Older name; every answer is a sign of life.",
    input: schema::input::<Nothing>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: ping,
};

pub(super) const HEALTH: Definition = Definition {
    name: "system.health",
    title: "Health (older name)",
    description: "Older name; use qsys_get_link_status.",
    input: schema::input::<Nothing>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: health,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn ping(_service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let Nothing {} = answer::arguments(call.arguments)?;
        said(&json!({ "status": "ok", "pong": true, "timestamp": UnixMillis::now().0 }))
    })
}

fn health(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let Nothing {} = answer::arguments(call.arguments)?;
        let is_live = |core: &&Core| core.link.state() == LinkState::Live;
        let all = service.systems.all(&call.caller.reach);
        let live = all.iter().filter(is_live).count();
        let status = match live {
            count if count == all.len() => "healthy",
            0 => "unhealthy",
            _ => "degraded",
        };
        let cores: Vec<_> = all
            .iter()
            .map(|core| {
                let link = core.link.status();
                json!({
                    "name": core.name.as_str(),
                    "connected": link.state == LinkState::Live,
                    "link": link.state.as_str(),
                    "meaning": get_link_status::meaning(&link, Instant::now()),
                    "quality": Trust::from(core.mirror.status().quality),
                })
            })
            .collect();
        said(&json!({
            "status": status,
            "timestamp": UnixMillis::now().0,
            "version": env!("CARGO_PKG_VERSION"),
            "cores": cores,
            "writesAllowed": service.policy.writes_allowed(),
        }))
    })
}
