//! One Core: when to dial it, the connection while there is one, and what is to be told about it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::breaker::{Admission, Breaker, jittered};
use super::config::{CoreAddress, LASTED, LinkConfig, REFUSED_PAUSE, RETRY_FIRST, TlsTrust};
use super::connection::{Cut, Inbound};
use super::dial::{Connected, Dial, Route, close};
use super::error::{CommandError, ConnectError};
use super::reply::Reply;
use super::session::{Event, Oversize, SOON, Session};
use super::status::{BreakerState, LinkState, LinkStatus};
use super::talk::{Age, Talk};
use crate::base::backoff::{Backoff, random_unit};
use crate::model::change::ChangeSink;
use crate::model::name::ControlRef;
use crate::wire::qrc::{EngineState, Request};

/// While a person has to decide about a certificate, how often to look whether somebody has.
const TRUST_ASKED_EVERY: Duration = Duration::from_secs(5);

/// What a Core's link is busy with.
enum Work {
    /// Nothing until this moment.
    Resting(Instant),
    Probing(BoxFuture<'static, bool>),
    Dialling(BoxFuture<'static, Result<Connected, ConnectError>>),
    Connected(Box<Talk>),
}

/// Something that became ready by itself.
pub(super) enum Progress {
    Probed(bool),
    Dialled(Result<Connected, ConnectError>),
    Heard(Inbound),
    Cut(Cut),
}

/// What the driver has to decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The design runs on this Core; `took_over` if it was a standby until now.
    Ready { took_over: bool },
    /// This Core cannot be used any more.
    Gone,
}

/// One Core. See the module.
pub(super) struct Peer {
    config: Arc<LinkConfig>,
    route: Route,
    work: Work,
    breaker: Breaker,
    backoff: Backoff,
    oversize: Oversize,
    turns: Vec<Turn>,
    status: LinkStatus,
    watched: BTreeSet<ControlRef>,
}

impl Peer {
    pub(super) fn new(
        config: Arc<LinkConfig>,
        dial: Arc<dyn Dial>,
        address: CoreAddress,
        now: Instant,
    ) -> Self {
        let rules = &config.breaker;
        Self {
            work: Work::Resting(now),
            breaker: Breaker::new(rules.failures, rules.successes, rules.open_max),
            backoff: Backoff::new(RETRY_FIRST, config.timing.retry_max),
            oversize: Oversize::default(),
            turns: Vec::new(),
            status: LinkStatus::new(address.to_string(), now),
            watched: BTreeSet::new(),
            route: Route {
                dial,
                config: Arc::clone(&config),
                address,
                last_good: None,
            },
            config,
        }
    }

    /// Drives whatever is under way, and gives what came of it. May be dropped and called again at any time.
    pub(super) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        match &mut self.work {
            Work::Resting(_) => Poll::Pending,
            Work::Probing(probe) => probe.as_mut().poll(cx).map(Progress::Probed),
            Work::Dialling(dial) => dial.as_mut().poll(cx).map(Progress::Dialled),
            Work::Connected(talk) => talk
                .poll(cx)
                .map(|heard| heard.map_or_else(Progress::Cut, Progress::Heard)),
        }
    }

    pub(super) fn progressed(&mut self, now: Instant, progress: Progress, sink: &dyn ChangeSink) {
        match progress {
            Progress::Probed(reachable) => {
                self.breaker.probed(now, reachable, random_unit());
                self.work = Work::Resting(now);
            }
            Progress::Dialled(Ok(connected)) => self.connected(now, connected),
            Progress::Dialled(Err(fault)) => self.not_connected(now, &fault),
            Progress::Heard(inbound) => {
                if let Work::Connected(talk) = &mut self.work {
                    match inbound {
                        Inbound::Text(text) => talk.session.frame(now, &text, sink),
                        Inbound::Noise => talk.session.noise(now, sink),
                        Inbound::Beat => talk.session.beat(now),
                    }
                }
            }
            Progress::Cut(cut) => {
                if let Work::Connected(talk) = &mut self.work {
                    talk.session.cut(now, &cut, sink);
                }
            }
        }
        self.settle(now);
    }

    pub(super) fn timeout(&mut self, now: Instant, sink: &dyn ChangeSink) {
        match &mut self.work {
            Work::Resting(until) if *until <= now => self.wake(now),
            Work::Resting(_) | Work::Probing(_) | Work::Dialling(_) => {}
            Work::Connected(talk) => {
                if talk.session.next_deadline() <= now {
                    talk.session.timeout(now, sink);
                }
                if matches!(talk.age, Age::Since(since) if since + LASTED <= now) {
                    talk.age = Age::Lasted;
                    self.breaker.lasted();
                }
            }
        }
        self.settle(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.work {
            Work::Resting(until) => Some(*until),
            Work::Probing(_) | Work::Dialling(_) => None,
            Work::Connected(talk) => {
                let deadline = talk.session.next_deadline();
                Some(match talk.age {
                    Age::Since(since) => deadline.min(since + LASTED),
                    Age::Unsettled | Age::Lasted => deadline,
                })
            }
        }
    }

    fn wake(&mut self, now: Instant) {
        let shown = self.status.untrusted_fingerprint.take();
        match (&self.config.trust, shown) {
            (TlsTrust::Pin(store), Some(shown))
                if store.pinned(&self.status.address).as_deref() != Some(&*shown) =>
            {
                self.status.untrusted_fingerprint = Some(shown);
                self.work = Work::Resting(now + TRUST_ASKED_EVERY);
            }
            _ => self.begin(now),
        }
    }

    fn begin(&mut self, now: Instant) {
        let admission = self.breaker.admit(now);
        if admission == Admission::Trial {
            tracing::info!(
                "The breaker of the Core at {} lets one trial pass",
                self.status.address
            );
        }
        match admission {
            Admission::Wait(until) => self.work = Work::Resting(until),
            Admission::Probe => self.work = Work::Probing(Box::pin(self.route.clone().probe())),
            Admission::Go | Admission::Trial => {
                self.status.attempts += 1;
                self.status.retry_at = None;
                self.status.untrusted_fingerprint = None;
                self.work = Work::Dialling(Box::pin(self.route.clone().connect()));
                self.enter(now, LinkState::Connecting);
            }
        }
    }

    fn connected(&mut self, now: Instant, connected: Connected) {
        let Connected {
            connection,
            transport,
            first_seen,
        } = connected;
        self.route.last_good = Some(transport);
        if let Some(fingerprint) = first_seen {
            self.pin(&fingerprint);
        }
        let mut session = Session::new(
            Arc::clone(&self.config),
            transport,
            self.oversize.clone(),
            now,
        );
        session.watch(now, self.watched.clone());
        self.work = Work::Connected(Box::new(Talk {
            connection,
            session,
            was_live: false,
            age: Age::Unsettled,
        }));
        self.enter(now, LinkState::AwaitEngineStatus);
    }

    fn pin(&self, fingerprint: &str) {
        let TlsTrust::Pin(store) = &self.config.trust else {
            return;
        };
        let address = &self.status.address;
        match store.pin(address, fingerprint) {
            Ok(()) => tracing::info!(
                "The certificate of the Core at {address} is trusted from now on: SHA-256 {fingerprint}"
            ),
            Err(fault) => tracing::error!(
                "The trusted certificate of the Core at {address} could not be kept: {fault}"
            ),
        }
    }

    fn not_connected(&mut self, now: Instant, fault: &ConnectError) {
        if let ConnectError::Untrusted { fingerprint } = fault {
            self.status.untrusted_fingerprint = Some(fingerprint.clone());
            self.refused(now, &fault.to_string(), now + TRUST_ASKED_EVERY);
            self.status.retry_at = None;
        } else if fault.is_refusal() {
            self.refused(
                now,
                &fault.to_string(),
                now + jittered(REFUSED_PAUSE, random_unit()),
            );
        } else {
            self.failed(now, &fault.to_string(), fault.has_reached());
        }
    }

    /// The Core does not want this client as it is: trying often would help nobody.
    fn refused(&mut self, now: Instant, fault: &str, retry_at: Instant) {
        self.status.failures += 1;
        if self.breaker.state() == BreakerState::HalfOpen {
            self.breaker.failed(now, true, random_unit());
        }
        tracing::error!(
            "The link to the Core at {} waits: {fault}",
            self.status.address
        );
        self.rest(now, LinkState::Refused, fault, retry_at);
    }

    fn failed(&mut self, now: Instant, fault: &str, reached: bool) {
        self.status.failures += 1;
        let before = self.breaker.state();
        self.breaker.failed(now, reached, random_unit());
        let retry_at = match self.breaker.admit(now) {
            Admission::Wait(until) => until,
            Admission::Go | Admission::Trial | Admission::Probe => {
                now + self.backoff.next_delay(random_unit())
            }
        };
        let address = &self.status.address;
        match (before, self.breaker.state()) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::warn!(
                    "The breaker of the Core at {address} opens after failures in a row, the last one: {fault}"
                );
            }
            (BreakerState::HalfOpen, BreakerState::Open) => {
                tracing::info!(
                    "The trial failed, and the breaker of the Core at {address} opens again: {fault}"
                );
            }
            _ if self.status.last_fault == fault => {
                tracing::debug!("No link to the Core at {address}: {fault}");
            }
            _ => tracing::warn!("No link to the Core at {address}: {fault}"),
        }
        self.rest(now, LinkState::Backoff, fault, retry_at);
    }

    fn rest(&mut self, now: Instant, state: LinkState, fault: &str, until: Instant) {
        self.work = Work::Resting(until);
        fault.clone_into(&mut self.status.last_fault);
        self.status.retry_at = Some(
            self.breaker
                .open_until()
                .map_or(until, |open| open.max(until)),
        );
        self.status.change_groups = 0;
        self.enter(now, state);
    }

    /// Acts on what the session says, and brings the status up to date.
    fn settle(&mut self, now: Instant) {
        while let Work::Connected(talk) = &mut self.work {
            let Some(event) = talk.session.event() else {
                break;
            };
            self.heed(now, event);
        }
        if let Work::Connected(talk) = &self.work {
            self.status.last_inbound = Some(talk.session.last_heard());
        }
        self.status.breaker = self.breaker.state();
        self.status.breaker_opened = self.breaker.opened();
    }

    fn heed(&mut self, now: Instant, event: Event) {
        let Work::Connected(talk) = &mut self.work else {
            return;
        };
        match event {
            Event::Moved => {
                self.status.engine = talk.session.engine().cloned().or(self.status.engine.take());
                self.status.change_groups = talk.session.change_groups();
                self.status.oversize_components = talk.session.oversize().known().to_vec();
                let state = talk.session.state();
                let is_settled = matches!(state, LinkState::Live | LinkState::Standby);
                if is_settled && talk.age == Age::Unsettled {
                    talk.age = Age::Since(now);
                }
                if !talk.session.has_ended() {
                    self.enter(now, state);
                }
            }
            Event::Proof => {
                let before = self.breaker.state();
                self.breaker.succeeded();
                if before != self.breaker.state() {
                    tracing::info!("The breaker of the Core at {} closes", self.status.address);
                }
            }
            Event::RoundTrip(took) => self.status.round_trip = Some(took),
            Event::Garbage => self.status.garbage_frames += 1,
            Event::Ready { took_over } => self.turns.push(Turn::Ready { took_over }),
            Event::Unready => self.turns.push(Turn::Gone),
            Event::Live {
                components,
                controls,
            } => {
                talk.was_live = true;
                // Pauses start over with the first good moment: a Core that blinks soon after it came back is reached at once, and
                // one that keeps falling over meets the breaker instead.
                self.backoff.reset();
                self.status.unlisted_components = talk.session.unlisted().to_vec();
                let engine = talk.session.engine();
                let design = engine.map_or("unknown", |engine| &engine.design_name);
                tracing::info!(
                    "The link to the Core at {} is live: design {design} ({}), {} components, {} controls",
                    self.status.address,
                    engine.map_or("", |engine| &engine.design_code),
                    grouped(components),
                    grouped(controls)
                );
            }
            Event::Ended { refused, fault } => self.ended(now, refused, &fault),
        }
    }

    fn ended(&mut self, now: Instant, refused: bool, fault: &str) {
        let Work::Connected(talk) = &self.work else {
            return;
        };
        self.oversize = talk.session.oversize().clone();
        self.status.oversize_components = self.oversize.known().to_vec();
        let (was_live, has_lasted) = (talk.was_live, talk.age == Age::Lasted);
        self.turns.push(Turn::Gone);
        if was_live {
            self.status.drops += 1;
            tracing::warn!(
                "The link to the Core at {} is lost: {fault}",
                self.status.address
            );
        }
        if refused {
            self.refused(now, fault, now + jittered(REFUSED_PAUSE, random_unit()));
        } else if has_lasted {
            let retry_at = now + self.backoff.next_delay(random_unit());
            self.rest(now, LinkState::Backoff, fault, retry_at);
        } else {
            self.failed(now, fault, true);
        }
    }

    fn enter(&mut self, now: Instant, state: LinkState) {
        if self.status.state != state {
            tracing::debug!(
                "The link to the Core at {}: {}",
                self.status.address,
                state.as_str()
            );
            // An active Core that was not chosen yet is shown as a standby for a moment.
            let engine = self.status.engine.as_ref();
            if state == LinkState::Standby
                && engine.is_some_and(|engine| engine.state == EngineState::Standby)
            {
                tracing::info!(
                    "The Core at {} is the standby of its pair: it is kept connected, and not used",
                    self.status.address
                );
            }
            self.status.state = state;
            self.status.since = now;
        }
    }

    /// The next thing that the driver has to decide about.
    pub(super) fn turn(&mut self) -> Option<Turn> {
        (!self.turns.is_empty()).then(|| self.turns.remove(0))
    }

    pub(super) fn engage(&mut self, now: Instant, sink: &dyn ChangeSink) {
        if let Work::Connected(talk) = &mut self.work {
            talk.session.engage(now, sink);
        }
        self.settle(now);
    }

    pub(super) fn disengage(&mut self, now: Instant, sink: &dyn ChangeSink) {
        if let Work::Connected(talk) = &mut self.work {
            talk.session.disengage(now, sink);
        }
        self.settle(now);
    }

    pub(super) fn watch(&mut self, now: Instant, wanted: &BTreeSet<ControlRef>) {
        self.watched.clone_from(wanted);
        if let Work::Connected(talk) = &mut self.work {
            talk.session.watch(now, wanted.clone());
        }
    }

    /// Whether [`Peer::command`] would send, or refuse at once; otherwise the caller waits for earlier ones.
    pub(super) fn takes_commands(&self) -> bool {
        match &self.work {
            Work::Connected(talk) => talk.session.has_room_for_command(),
            Work::Resting(_) | Work::Probing(_) | Work::Dialling(_) => true,
        }
    }

    pub(super) fn command(&mut self, now: Instant, request: &Request, mut reply: Reply) {
        match &mut self.work {
            Work::Connected(talk)
                if self.breaker.state() == BreakerState::Closed
                    && self.status.state == LinkState::Live =>
            {
                reply.framed(request.method(), &self.status.address);
                talk.session.command(now, request, reply);
            }
            _ => reply.send(Err(self.excuse(now))),
        }
    }

    /// Why no command passes now.
    pub(super) fn excuse(&self, now: Instant) -> CommandError {
        let until = |at: Option<Instant>| at.map_or(SOON, |at| at.saturating_duration_since(now));
        if self.status.state == LinkState::Standby {
            return CommandError::Standby;
        }
        match (&self.work, self.breaker.state()) {
            (_, BreakerState::Open | BreakerState::HalfOpen) => CommandError::BreakerOpen {
                retry_in: until(self.breaker.open_until()),
            },
            (Work::Resting(_), BreakerState::Closed) => CommandError::Down {
                retry_in: self
                    .status
                    .retry_at
                    .map_or(REFUSED_PAUSE, |at| until(Some(at))),
            },
            (_, BreakerState::Closed) => CommandError::Down { retry_in: SOON },
        }
    }

    /// Closes the breaker, forgets pauses and tries at once, unless a connection is there or being made.
    pub(super) fn retry_now(&mut self, now: Instant) {
        if self.breaker.state() != BreakerState::Closed {
            tracing::info!(
                "The breaker of the Core at {} is closed by hand",
                self.status.address
            );
        }
        self.breaker.reset();
        self.backoff.reset();
        if matches!(self.work, Work::Resting(_) | Work::Probing(_)) {
            self.begin(now);
        }
        self.settle(now);
    }

    /// A person accepts the certificate that was refused. `false` if this is not the one.
    pub(super) fn trust(&mut self, now: Instant, fingerprint: &str) -> bool {
        let shown = self.status.untrusted_fingerprint.as_deref();
        if !shown.is_some_and(|shown| shown.eq_ignore_ascii_case(fingerprint)) {
            return false;
        }
        self.pin(&fingerprint.to_ascii_lowercase());
        self.status.untrusted_fingerprint = None;
        self.retry_now(now);
        true
    }

    pub(super) const fn status(&self) -> &LinkStatus {
        &self.status
    }

    /// Ends the connection in an orderly way; callers get their last word when the session is dropped with it.
    pub(super) async fn stop(mut self, now: Instant, sink: &dyn ChangeSink) {
        if let Work::Connected(talk) = &mut self.work {
            talk.session.cut(now, &Cut::Closed(String::new()), sink);
        }
        if let Work::Connected(talk) = self.work {
            close(talk.connection).await;
        }
    }
}

/// A number as people read it: `1,204`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let seen: Vec<_> = [0, 46, 999, 1_204, 65_536, 1_000_000]
            .into_iter()
            .map(grouped)
            .collect();
        assert_eq!(seen, ["0", "46", "999", "1,204", "65,536", "1,000,000"]);
    }
}
