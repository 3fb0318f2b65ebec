//! One connection's protocol, sans I/O: frames, commands and time in; frames and events out. Facts go straight to the sink.
//!
//! The driver calls, in any order: [`Session::frame`], [`Session::command`], [`Session::timeout`], [`Session::cut`]; and after each of
//! them empties [`Session::transmit`] and [`Session::event`].

mod access;
mod commands;
mod design;
mod exchange;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

pub(crate) use self::commands::SOON;
use self::design::Enumeration;
pub use self::design::Oversize;
use self::exchange::{Exchange, Purpose};
use super::config::{ENGINE_STATUS_WAIT, LinkConfig, Transport};
use super::connection::Cut;
use super::error::CommandError;
use super::groups::{Groups, Pace};
use super::status::LinkState;
use crate::limits::GARBAGE_IN_ROW_MAX;
use crate::model::change::ChangeSink;
use crate::model::name::ControlRef;
use crate::wire::jsonrpc::{ErrorObject, Frame, Id};
use crate::wire::poll;
use crate::wire::qrc::{ControlChange, EngineState, EngineStatus, code, notification};

/// What a caller gets.
pub type Answer = Result<Box<RawValue>, CommandError>;

/// What the driver has to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// State, engine or groups are not what they were.
    Moved,
    /// The Core answered one of the link's own questions.
    Proof,
    /// How long a poll or probe took.
    RoundTrip(Duration),
    /// The design runs here, and the session may be engaged.
    Ready {
        /// Whether the Core was a standby before.
        took_over: bool,
    },
    /// The design does not run here any more.
    Unready,
    /// Everything known is fresh.
    Live {
        /// Components of the design.
        components: usize,
        /// Controls in change groups.
        controls: usize,
    },
    /// A frame could not be read.
    Garbage,
    /// The connection is of no use any more.
    Ended {
        /// Whether the Core refused key or PIN.
        refused: bool,
        /// Why, in words for a person.
        fault: String,
    },
}

#[derive(Debug)]
enum Phase {
    AwaitEngine {
        until: Instant,
        asked: bool,
    },
    LoggingOn,
    /// The first answered request proves that the Core lets this client in.
    Checking,
    /// Connected and let in, but not used: no design runs here, or another Core of the pair is.
    Waiting,
    Enumerating(Enumeration),
    Subscribing,
    Live,
    Ended,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    config: Arc<LinkConfig>,
    transport: Transport,
    phase: Phase,
    engine: Option<EngineStatus>,
    /// Whether the sink hears this session.
    engaged: bool,
    components: usize,
    exchange: Exchange,
    groups: Groups,
    oversize: Oversize,
    /// Components of the design whose controls the Core does not tell, with the reason.
    unlisted: Vec<String>,
    /// When to learn the design again because of them.
    relearn: Option<Instant>,
    /// How often that was done.
    relearnt: usize,
    watched: BTreeSet<ControlRef>,
    events: VecDeque<Event>,
    logons: u8,
    garbage_in_row: u8,
}

impl Session {
    /// A session on a connection that was just made.
    #[must_use]
    pub fn new(
        config: Arc<LinkConfig>,
        transport: Transport,
        oversize: Oversize,
        now: Instant,
    ) -> Self {
        let over_tcp = transport == Transport::Tcp;
        let api_key = config.api_key.clone().filter(|_| !over_tcp);
        let timing = &config.timing;
        let pace = Pace {
            slow: timing.poll,
            fast: timing.fast_poll,
            auto_poll: over_tcp,
        };
        Self {
            exchange: Exchange::new(api_key, timing.keepalive, timing.probe_timeout, now),
            config,
            transport,
            phase: Phase::AwaitEngine {
                until: now + ENGINE_STATUS_WAIT,
                asked: false,
            },
            engine: None,
            engaged: false,
            components: 0,
            groups: Groups::new(pace),
            oversize,
            unlisted: Vec::new(),
            relearn: None,
            relearnt: 0,
            watched: BTreeSet::new(),
            events: VecDeque::new(),
            logons: 0,
            garbage_in_row: 0,
        }
    }

    /// A frame arrived.
    pub fn frame(&mut self, now: Instant, text: &str, sink: &dyn ChangeSink) {
        if self.has_ended() {
            return;
        }
        self.exchange.heard(now);
        let read = (poll::looks_like_poll(text) && self.poll_frame(now, text, sink))
            || self.plain_frame(now, text, sink);
        if read {
            self.garbage_in_row = 0;
        } else {
            self.garbage(now, sink);
        }
        self.pump(now, sink);
    }

    /// Something arrived that cannot be a frame.
    pub fn noise(&mut self, now: Instant, sink: &dyn ChangeSink) {
        self.exchange.heard(now);
        self.garbage(now, sink);
    }

    /// A sign of life without content.
    pub fn beat(&mut self, now: Instant) {
        self.exchange.heard(now);
    }

    fn garbage(&mut self, now: Instant, sink: &dyn ChangeSink) {
        self.garbage_in_row += 1;
        self.events.push_back(Event::Garbage);
        if self.garbage_in_row >= GARBAGE_IN_ROW_MAX {
            self.end(now, false, "the Core sent frames that cannot be read", sink);
        }
    }

    /// Reads a poll, answered or pushed, straight into the sink. `false` if it is something else.
    fn poll_frame(&mut self, now: Instant, text: &str, sink: &dyn ChangeSink) -> bool {
        match poll::read_frame(text, &mut ear(self.engaged, now, sink)) {
            Ok(found) if found.is_poll && !self.is_awaited_by_caller(found.id.as_ref()) => {
                self.poll_arrived(now, &found, sink);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    fn plain_frame(&mut self, now: Instant, text: &str, sink: &dyn ChangeSink) -> bool {
        // Serde would read an array as an object's fields in order.
        if !text.trim_start().starts_with('{') {
            return false;
        }
        let Ok(frame) = Frame::parse(text) else {
            return false;
        };
        match (frame.method, frame.id) {
            (Some(method), _) => self.notified(now, &method, frame.params, sink),
            (None, Some(id)) => {
                let outcome = match frame.error {
                    Some(error) => Err(error),
                    None => Ok(frame.result.unwrap_or(RawValue::NULL)),
                };
                self.answered(now, &id, outcome, sink);
            }
            (None, None) => {
                if let Some(error) = frame.error {
                    tracing::warn!(
                        "The Core complains about a request that it does not name: {error}"
                    );
                }
            }
        }
        true
    }

    fn notified(
        &mut self,
        now: Instant,
        method: &str,
        params: Option<&RawValue>,
        sink: &dyn ChangeSink,
    ) {
        let params = params.unwrap_or(RawValue::NULL).get();
        match method {
            notification::ENGINE_STATUS => match serde_json::from_str(params) {
                Ok(engine) => self.engine_said(now, engine, sink),
                Err(fault) => tracing::warn!("An engine status could not be read: {fault}"),
            },
            notification::CHANGE_GROUP_POLL => {
                let found = poll::changes_of(params, &mut ear(self.engaged, now, sink));
                if let Ok(found) = found {
                    self.poll_arrived(now, &found, sink);
                }
            }
            other => tracing::debug!("The Core sent {other}, which is not used"),
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        id: &Id,
        outcome: Result<&RawValue, ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        let Some(waiting) = self.exchange.take(id) else {
            tracing::debug!("The Core answered a question that nobody waits for any more");
            return;
        };
        if matches!(
            waiting.purpose,
            Purpose::Poll(_) | Purpose::Probe | Purpose::Status
        ) {
            let took = now.saturating_duration_since(waiting.sent);
            self.events.push_back(Event::RoundTrip(took));
        }
        let refusal = outcome.as_ref().err().map(|error| error.code);
        match (waiting.purpose, outcome) {
            (Purpose::Command(waiter), outcome) => {
                self.command_answered(now, waiter, outcome, sink);
            }
            (Purpose::Logon, outcome) => return self.logon_answered(now, outcome, sink),
            // What the question was about does not matter: the Core answers none of them. See below.
            (_, Err(_)) if matches!(refusal, Some(code::STANDBY | code::LOGON_REQUIRED)) => {}
            (Purpose::Status, outcome) => self.status_answered(now, outcome, sink),
            (Purpose::Components, outcome) => self.components_answered(now, outcome, sink),
            (Purpose::Controls(at), outcome) => self.controls_answered(now, at, outcome, sink),
            (Purpose::Add(chunk), outcome) => self.add_answered(now, &chunk, outcome.err(), sink),
            (Purpose::Poll(key), outcome) => self.poll_answered(now, key, outcome, sink),
            (Purpose::AutoPoll(key), outcome) => {
                self.groups.auto_poll_answered(now, key, outcome.is_ok());
            }
            (Purpose::Probe, outcome) => self.prove(outcome.is_ok()),
            (Purpose::Reread(touched), Ok(raw)) => self.hear_states(now, &touched, raw, sink),
            (Purpose::Reread(_) | Purpose::Formality, _) => {}
        }
        match refusal {
            Some(code::STANDBY) => self.found_standby(now, sink),
            Some(code::LOGON_REQUIRED) => self.found_locked(now, sink),
            _ => {}
        }
    }

    fn prove(&mut self, answered: bool) {
        if answered {
            self.events.push_back(Event::Proof);
        }
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Instant, sink: &dyn ChangeSink) {
        self.await_engine(now, sink);
        if self.has_ended() {
            return;
        }
        if self.exchange.is_dead(now) {
            self.end(now, false, "the Core has fallen silent", sink);
            return;
        }
        while let Some((purpose, was_sent)) = self.exchange.expire(now) {
            self.expired(now, purpose, was_sent, sink);
            if self.has_ended() {
                return;
            }
        }
        if self.relearn_at().is_some_and(|at| at <= now) {
            self.relearnt += 1;
            self.begin_design(now, sink);
        }
        if self.groups.tick(now) {
            tracing::info!("The Core stopped pushing changes: it is polled instead");
        }
        if self.exchange.has_room() && self.exchange.probe_is_due(now) {
            self.probe(now);
        }
        self.pump(now, sink);
    }

    fn expired(&mut self, now: Instant, purpose: Purpose, was_sent: bool, sink: &dyn ChangeSink) {
        let outcome = match purpose {
            Purpose::Command(waiter) => {
                self.command_lost(now, waiter, was_sent);
                Ok(())
            }
            Purpose::Logon | Purpose::Components => {
                self.end(now, false, "the Core did not answer", sink);
                Ok(())
            }
            Purpose::Status if matches!(self.phase, Phase::Checking) => {
                self.end(now, false, "the Core did not tell its status", sink);
                Ok(())
            }
            Purpose::Controls(at) => {
                self.controls_lost(now, at, sink);
                Ok(())
            }
            Purpose::Add(chunk) => self.groups.add_lost(chunk),
            Purpose::Poll(key) => self.groups.poll_lost(now, key),
            Purpose::AutoPoll(key) => {
                self.groups.auto_poll_answered(now, key, false);
                Ok(())
            }
            Purpose::Status | Purpose::Formality | Purpose::Probe | Purpose::Reread(_) => Ok(()),
        };
        if outcome.is_err() {
            self.end(now, false, "the Core keeps losing change groups", sink);
        }
    }

    /// The connection ended by itself.
    pub fn cut(&mut self, now: Instant, cut: &Cut, sink: &dyn ChangeSink) {
        if matches!(cut, Cut::Oversize) {
            self.note_oversize();
        }
        self.end(now, false, &cut.to_string(), sink);
    }

    fn end(&mut self, now: Instant, refused: bool, fault: &str, sink: &dyn ChangeSink) {
        if self.has_ended() {
            return;
        }
        self.phase = Phase::Ended;
        for (purpose, was_sent) in self.exchange.drain() {
            if let Purpose::Command(waiter) = purpose {
                waiter.lost(was_sent);
            }
        }
        self.groups.start_over();
        if std::mem::take(&mut self.engaged) {
            sink.went_stale(now);
        }
        let fault = fault.to_owned();
        self.events.push_back(Event::Ended { refused, fault });
    }

    /// The next frame for the wire.
    pub fn transmit(&mut self, now: Instant) -> Option<String> {
        self.exchange.transmit(now)
    }

    /// The next thing that the driver has to know.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Session::timeout`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let mut deadline = self.exchange.next_deadline();
        if let Phase::AwaitEngine { until, asked } = self.phase {
            let next = if asked {
                until
            } else {
                until - ENGINE_STATUS_WAIT / 2
            };
            deadline = deadline.min(next);
        }
        if let Some(at) = self.relearn_at() {
            deadline = deadline.min(at);
        }
        // Without room for a question, an answer comes first.
        if self.asks_groups() && self.exchange.has_room() {
            deadline = self
                .groups
                .next_deadline()
                .map_or(deadline, |at| at.min(deadline));
        }
        deadline
    }

    /// The phase, as others are shown it.
    #[must_use]
    pub fn state(&self) -> LinkState {
        match &self.phase {
            Phase::AwaitEngine { .. } => LinkState::AwaitEngineStatus,
            Phase::LoggingOn | Phase::Checking => LinkState::LoggingOn,
            Phase::Waiting => match self.engine.as_ref().map(|engine| &engine.state) {
                Some(EngineState::Standby | EngineState::Active) => LinkState::Standby,
                _ => LinkState::AwaitEngineStatus,
            },
            Phase::Enumerating(_) => LinkState::Enumerating,
            Phase::Subscribing => LinkState::Subscribing,
            Phase::Live => LinkState::Live,
            Phase::Ended => LinkState::Backoff,
        }
    }

    pub(crate) const fn engine(&self) -> Option<&EngineStatus> {
        self.engine.as_ref()
    }

    pub(crate) fn change_groups(&self) -> usize {
        self.groups.registered()
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.exchange.last_heard()
    }

    pub(crate) const fn oversize(&self) -> &Oversize {
        &self.oversize
    }

    pub(crate) fn unlisted(&self) -> &[String] {
        &self.unlisted
    }

    /// Whether it is over: nothing moves it any more.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    const fn asks_groups(&self) -> bool {
        matches!(self.phase, Phase::Subscribing | Phase::Live)
    }
}

/// Where the changes of a poll go: to the sink, if it hears this session.
fn ear(engaged: bool, now: Instant, sink: &dyn ChangeSink) -> impl FnMut(&[ControlChange<'_>]) {
    move |changes| {
        if engaged {
            sink.values(changes, now);
        }
    }
}
