//! `qsys_get_link_status`: how the link stands, in detail.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::{self, Head, Trust, millis, shown_text};
use super::{Definition, Outcome, QsysService};
use crate::guard::Scope;
use crate::link::{LinkState, LinkStatus};
use crate::service::{Effect, ToolCall};

/// Components named in one answer.
const NAMES_SHOWN: usize = 20;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_get_link_status",
    title: "Get link status",
    description: "State of the link between this box and the Core: live or why not, circuit breaker, time to the next attempt, round trip, \
        drops since start, change groups in use, and age of the last complete reading. Call it when values are stale or a call failed with \
        LINK_DOWN, BREAKER_OPEN or CORE_STANDBY.",
    input: super::schema::input::<Arguments>,
    output: super::schema::output::<Answer>,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// The state in a sentence, with what a person can do about it.
    meaning: &'static str,
    #[serde(flatten)]
    status: Row,
    /// How far to trust what this box knows.
    quality: Trust,
    /// Milliseconds since everything was last confirmed. Absent when it was not since this box started.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_ms: Option<u64>,
    /// Components known.
    components: usize,
    /// Controls known, named controls included.
    controls: usize,
    /// Components and controls left out because of a bound of this box. 0 is healthy.
    refused: u64,
    /// Both links of a redundant pair; absent for a single Core.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Row>,
}

/// One link.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// Host and port of the Core.
    address: String,
    /// `connecting`, `await_engine_status`, `logging_on`, `enumerating`, `subscribing`, `live`, `standby`, `backoff` or `refused`.
    state: &'static str,
    /// Milliseconds in this state.
    state_ms: u64,
    /// `closed` lets commands pass, `open` refuses them, `half_open` tries one link.
    breaker: &'static str,
    /// What the engine said last: `Active`, `Idle`, `Standby`. Absent before it said anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
    /// Milliseconds until the next attempt, while it waits for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_in_ms: Option<u64>,
    /// Milliseconds since anything came from the Core. Absent before the first frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_ms: Option<u64>,
    /// Last round trip, milliseconds. Absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
    /// Live links lost since this box started.
    drops: u64,
    /// Attempts to connect since this box started.
    attempts: u64,
    /// Times that the breaker opened since this box started.
    breaker_opened: u64,
    /// Frames of the Core that could not be read since this box started.
    garbage_frames: u64,
    /// Change groups in use on this connection, of the 4 that a connection can have.
    change_groups: usize,
    /// Why the last attempt or link ended. Absent when none did.
    #[serde(skip_serializing_if = "String::is_empty")]
    last_fault: String,
    /// SHA-256 of the Core's certificate, when it is not the one that this box trusts and a person has to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    untrusted_fingerprint: Option<String>,
    /// Components whose answer was too large to be read, the first 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    oversize_components: Vec<String>,
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = service.core(arguments.core.as_deref())?;
        let status = core.link.status();
        let known = core.mirror.status();
        let now = Instant::now();
        let meaning = meaning(&status);
        let row = row(&status, now);
        let text = format!(
            "Link {} for {} s, breaker {}: {meaning}",
            row.state,
            row.state_ms / 1_000,
            row.breaker
        );
        let structured = answer::whole(&Answer {
            head: core.head(),
            meaning,
            quality: known.quality.into(),
            confirmed_ms: known.confirmed.map(millis),
            components: known.components,
            controls: known.controls,
            refused: known.refused,
            peers: status
                .peers
                .iter()
                .map(|peer| self::row(peer, now))
                .collect(),
            status: row,
        })?;
        Ok(answer::answer(structured, text))
    })
}

fn row(status: &LinkStatus, now: Instant) -> Row {
    Row {
        address: status.address.clone(),
        state: status.state.as_str(),
        state_ms: millis(now.saturating_duration_since(status.since)),
        breaker: status.breaker.as_str(),
        engine: status
            .engine
            .as_ref()
            .map(|engine| shown_text(engine.state.as_str())),
        retry_in_ms: status
            .retry_at
            .map(|at| millis(at.saturating_duration_since(now))),
        silent_ms: status
            .last_inbound
            .map(|at| millis(now.saturating_duration_since(at))),
        round_trip_ms: status
            .round_trip
            .map(|round_trip| (round_trip.as_secs_f64() * 1e5).round() / 100.0),
        drops: status.drops,
        attempts: status.attempts,
        breaker_opened: status.breaker_opened,
        garbage_frames: status.garbage_frames,
        change_groups: status.change_groups,
        last_fault: shown_text(&status.last_fault),
        untrusted_fingerprint: status.untrusted_fingerprint.clone(),
        oversize_components: status
            .oversize_components
            .iter()
            .take(NAMES_SHOWN)
            .map(|name| shown_text(name))
            .collect(),
    }
}

/// What a state means to the person in front of the rack.
pub(super) fn meaning(status: &LinkStatus) -> &'static str {
    if status.untrusted_fingerprint.is_some() {
        return "The Core shows another certificate than the one this box trusts. A person has to compare the fingerprint and accept it \
            with `rackhand core trust`.";
    }
    match status.state {
        LinkState::Live => "Values are fresh and writes pass.",
        LinkState::Connecting => "This box is dialling the Core.",
        LinkState::AwaitEngineStatus => {
            "Connected, but the Core's engine has not spoken yet: a Core that boots looks like this for up to some minutes."
        }
        LinkState::LoggingOn => "This box is logging on.",
        LinkState::Enumerating => "This box is learning the design; values follow in seconds.",
        LinkState::Subscribing => "The design is known; values are about to become fresh.",
        LinkState::Standby => {
            "The Core is the standby of a redundant pair; the other one has to be reached too."
        }
        LinkState::Backoff => {
            "The Core does not answer; this box keeps trying by itself. Check power, cable and address of the Core."
        }
        LinkState::Refused => {
            "The Core refuses this box's access key, PIN or protocol. A person has to check the credentials; it is tried again every few minutes."
        }
    }
}
