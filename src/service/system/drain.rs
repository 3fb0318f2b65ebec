//! `system_drain`: has the service end in order. Whoever keeps it starts it anew.

use futures_util::future::{self, BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys::{answer, arguments};
use super::{Definition, Outcome, SystemService};
use crate::guard::Scope;
use crate::service::{Effect, ToolCall, schema};

pub(super) const DEFINITION: Definition = Definition {
    name: "system_drain",
    title: "Stop the service",
    description: "Has the service of this box stop in order, as a restart does: no new sessions, calls under way are answered, clients are told when \
        to come back, what was learnt is stored. The service manager then starts it anew, within seconds. The Core and the sound go on \
        undisturbed. Ask the user before you call it.",
    input: schema::input::<Asked>,
    output: schema::output::<Told>,
    effect: Effect::WriteIdempotent,
    is_destructive: true,
    scope: Scope::Admin,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Why, in a few words; the log and the audit trail keep it.
    #[schemars(length(min = 1, max = 200))]
    reason: String,
    /// True to cut what is under way after a second, instead of waiting for it.
    force: Option<bool>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Told {
    /// That it stops now.
    stopping: bool,
}

fn call(service: &SystemService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(future::ready(drain(service, call)))
}

fn drain(service: &SystemService, call: ToolCall) -> Outcome {
    let asked: Asked = arguments(call.arguments)?;
    let reason: String = asked.reason.escape_debug().take(400).collect();
    tracing::info!("Stopping: {} asks for it ({reason}).", call.caller.name);
    if asked.force == Some(true) {
        service.ending.hurry.cancel();
    }
    service.ending.stop.cancel();
    let text = "The service stops now, and is started anew by whoever keeps it.".to_owned();
    answer(&Told { stopping: true }, text)
}
