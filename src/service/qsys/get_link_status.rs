//! `qsys_get_link_status`: how the link stands, in detail.

use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::{self, Head, Trust, millis, shown_text};
use super::text::{count, span};
use super::{Definition, Outcome, QsysService};
use crate::guard::Scope;
use crate::link::{ConnectError, LinkState, LinkStatus};
use crate::service::{Effect, ToolCall};
use crate::store::view::MirrorStatus;

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
    meaning: String,
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
    /// Components whose controls the Core would not tell, with its words, the first 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unlisted_components: Vec<String>,
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let status = core.link.status();
        let known = core.mirror.status();
        let now = Instant::now();
        let meaning = meaning(&status, now);
        let row = row(&status, now);
        let text = format!(
            "Link {} for {}, breaker {}: {meaning}",
            row.state,
            span(row.state_ms),
            row.breaker
        );
        let lines = lines(&row, &known, &status.peers, now);
        let total = lines.len();
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
        Ok(answer::listing(structured, &text, lines, total, |_| {
            "in the structured answer.".to_owned()
        }))
    })
}

/// What the sentence on the link does not say.
fn lines(row: &Row, known: &MirrorStatus, peers: &[LinkStatus], now: Instant) -> Vec<String> {
    let mut lines = vec![format!(
        "Known: {}, {}; last confirmed {}.",
        count(known.components, "component"),
        count(known.controls, "control"),
        known.confirmed.map_or_else(
            || "before this box started, if ever".to_owned(),
            |age| format!("{} ago", span(millis(age)))
        ),
    )];
    lines.extend(
        row.retry_in_ms
            .map(|delay| format!("Next attempt in {}.", span(delay))),
    );
    if !row.last_fault.is_empty() {
        lines.push(format!("Last fault: {}", row.last_fault));
    }
    lines.push(format!(
        "Since this box started: {}, {}, {}.",
        count(
            usize::try_from(row.attempts).unwrap_or(usize::MAX),
            "attempt"
        ),
        count(usize::try_from(row.drops).unwrap_or(usize::MAX), "drop"),
        count(
            usize::try_from(row.garbage_frames).unwrap_or(usize::MAX),
            "unreadable frame"
        ),
    ));
    if !row.oversize_components.is_empty() {
        lines.push(format!("Too large: {}", row.oversize_components.join(", ")));
    }
    if !row.unlisted_components.is_empty() {
        lines.push(format!(
            "Not told by the Core: {}",
            row.unlisted_components.join(", ")
        ));
    }
    lines.extend(peers.iter().map(|peer| {
        let state = peer.state.as_str();
        format!("{}: {state}. {}", peer.address, meaning(peer, now))
    }));
    lines
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
        unlisted_components: status
            .unlisted_components
            .iter()
            .take(NAMES_SHOWN)
            .map(|name| shown_text(name))
            .collect(),
    }
}

/// Silence after which a link that counts as live is not called fresh: polls are usually answered several times a second.
const SILENCE: Duration = Duration::from_secs(5);

/// What a state means to the person in front of the rack.
pub(super) fn meaning(status: &LinkStatus, now: Instant) -> String {
    if status.untrusted_fingerprint.is_some() {
        return "The Core shows another certificate than the one this box trusts. A person has to compare the fingerprint and accept it \
            with `rackhand core trust`."
            .to_owned();
    }
    let words = match status.state {
        LinkState::Live => return live(status, now),
        LinkState::Backoff => return no_link(status),
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
        LinkState::Refused => {
            "The Core refuses this box's access key, PIN or protocol. A person has to check the credentials; it is tried again every few minutes."
        }
    };
    words.to_owned()
}

/// Whether a link that counts as live has been silent for too long.
pub(super) fn is_silent(status: &LinkStatus, now: Instant) -> bool {
    silence(status, now).is_some()
}

fn silence(status: &LinkStatus, now: Instant) -> Option<Duration> {
    status
        .last_inbound
        .map(|at| now.saturating_duration_since(at))
        .filter(|silence| *silence > SILENCE)
}

fn live(status: &LinkStatus, now: Instant) -> String {
    match silence(status, now) {
        Some(silence) => format!(
            "The link is up, but nothing has come from the Core for {}: values may be older than they look, and a write may get no answer.",
            span(millis(silence))
        ),
        None => "Values are fresh and writes pass.".to_owned(),
    }
}

/// The advice follows the fault: whoever is told to look for a cable while the Core boots looks in vain.
fn no_link(status: &LinkStatus) -> String {
    let fault = shown_text(status.last_fault.trim_end_matches('.'));
    let unreachable = ConnectError::Unreachable(String::new()).to_string();
    let is_silent = fault.is_empty()
        || fault.contains(unreachable.trim_end_matches([' ', ':']))
        || fault.contains(&ConnectError::Silent.to_string());
    let advice = if is_silent {
        "Check power, cable and address of the Core."
    } else {
        "Something answers at its address: a Core that boots or loads a design does this for up to some minutes."
    };
    let last = if fault.is_empty() {
        String::new()
    } else {
        format!(" The last attempt or link ended so: {fault}.")
    };
    format!("There is no link to the Core; this box keeps trying by itself.{last} {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: LinkState, fault: &str) -> LinkStatus {
        let mut status = LinkStatus::new("core".into(), Instant::now());
        status.state = state;
        status.last_fault = fault.into();
        status
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_closed_the_connection_is_not_said_to_lack_power() {
        let now = Instant::now();
        let closed = "the Core closed\u{7} the connection with code 1001";
        let words = meaning(&status(LinkState::Backoff, closed), now);
        assert!(
            words.contains("code 1001") && words.contains("boots") && !words.contains("cable"),
            "{words}"
        );
        let unreachable = ConnectError::Unreachable("timed out".into()).to_string();
        for fault in ["", &unreachable, &ConnectError::Silent.to_string()] {
            let words = meaning(&status(LinkState::Backoff, fault), now);
            assert!(words.contains("cable"), "{words}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn values_of_a_frozen_core_are_not_said_to_be_fresh() {
        let now = Instant::now();
        let mut status = status(LinkState::Live, "");
        assert!(meaning(&status, now).starts_with("Values are fresh"));
        status.last_inbound = Some(now);
        assert!(meaning(&status, now + SILENCE).starts_with("Values are fresh"));
        let words = meaning(&status, now + Duration::from_secs(10));
        assert!(
            words.contains("for 10 s") && !words.contains("fresh"),
            "{words}"
        );
    }
}
