//! Change groups on the wire: what the plan asks for goes out, what the Core answers goes back into the plan.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::exchange::Purpose;
use super::{Event, Phase, Session, ear};
use crate::link::config::GROUP_WAIT;
use crate::link::groups::{Ask, Chunk, GroupKey};
use crate::model::change::ChangeSink;
use crate::model::name::ControlRef;
use crate::wire::jsonrpc::{ErrorObject, Id};
use crate::wire::poll::{self, PollFrame};
use crate::wire::qrc::code;

impl Session {
    /// Sends whatever can be sent now.
    pub(super) fn pump(&mut self, now: Instant, sink: &dyn ChangeSink) {
        self.pump_enumeration(now, sink);
        self.pump_groups(now);
        if matches!(self.phase, Phase::Subscribing) && self.groups.is_complete() {
            self.become_live(now, sink);
        }
    }

    fn pump_groups(&mut self, now: Instant) {
        while self.asks_groups() && self.exchange.has_room() {
            let Some(ask) = self.groups.next(now) else {
                break;
            };
            if let Some(request) = self.groups.request(&ask) {
                if matches!(ask, Ask::Destroy(_)) {
                    self.events.push_back(Event::Moved);
                }
                let purpose = match ask {
                    Ask::Add(chunk) => Purpose::Add(chunk),
                    Ask::Poll(key) => Purpose::Poll(key),
                    Ask::AutoPoll(key) => Purpose::AutoPoll(key),
                    Ask::Invalidate(_) | Ask::Destroy(_) => Purpose::Formality,
                };
                // There is room, as was just seen.
                let _room = self.exchange.ask(now, GROUP_WAIT, &request, purpose);
            }
        }
    }

    fn become_live(&mut self, now: Instant, sink: &dyn ChangeSink) {
        self.phase = Phase::Live;
        self.logons = 0;
        let controls = self.groups.members();
        if controls == 0 {
            // Nothing to poll: nothing can be out of date either, and no poll will prove that the Core answers.
            sink.confirmed(now);
            self.prove(true);
        }
        self.events.push_back(Event::Moved);
        self.events.push_back(Event::Live {
            components: self.components,
            controls,
        });
        self.groups.watch(now, &self.watched);
        self.pump_groups(now);
    }

    /// Lets exactly these controls be polled fast.
    pub fn watch(&mut self, now: Instant, wanted: BTreeSet<ControlRef>) {
        self.watched = wanted;
        if matches!(self.phase, Phase::Live) {
            self.groups.watch(now, &self.watched);
            self.pump_groups(now);
        }
    }

    /// A caller may send any request, a poll too; then the answer is the caller's.
    pub(super) fn is_awaited_by_caller(&self, id: Option<&Id>) -> bool {
        id.is_some_and(|id| self.exchange.is_command(id))
    }

    /// A poll arrived, its changes are told. It was asked for, or pushed, or comes too late for the one who asked.
    pub(super) fn poll_arrived(&mut self, now: Instant, found: &PollFrame, sink: &dyn ChangeSink) {
        let waiting = found.id.as_ref().and_then(|id| self.exchange.take(id));
        let confirmed = match waiting {
            Some(waiting) => {
                if let Purpose::Poll(key) = waiting.purpose {
                    let took = now.saturating_duration_since(waiting.sent);
                    self.events.push_back(Event::RoundTrip(took));
                    self.prove(true);
                    self.groups.polled(now, key)
                } else {
                    // The help page answers `AutoPoll` itself with a poll.
                    found
                        .group
                        .as_deref()
                        .is_some_and(|id| self.groups.pushed(now, id))
                }
            }
            None => found
                .group
                .as_deref()
                .is_some_and(|id| self.groups.pushed(now, id)),
        };
        if confirmed && self.engaged {
            sink.confirmed(now);
        }
    }

    /// A poll was answered with something that did not look like one at first sight.
    pub(super) fn poll_answered(
        &mut self,
        now: Instant,
        key: GroupKey,
        outcome: Result<&RawValue, ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        let engaged = self.engaged;
        let fate = match outcome {
            Ok(raw) => match poll::changes_of(raw.get(), &mut ear(engaged, now, sink)) {
                Ok(found) if found.is_poll => {
                    self.prove(true);
                    if self.groups.polled(now, key) && engaged {
                        sink.confirmed(now);
                    }
                    Ok(())
                }
                Ok(_) | Err(_) => self.groups.poll_lost(now, key),
            },
            Err(error) if error.code == code::UNKNOWN_GROUP => {
                tracing::info!("The Core has forgotten a change group: it is made again");
                self.groups.forgotten(now, key)
            }
            Err(error) => {
                tracing::warn!("The Core refused a poll: {error}");
                self.groups.poll_lost(now, key)
            }
        };
        if fate.is_err() {
            self.end(now, false, "the Core keeps refusing polls", sink);
        }
    }

    pub(super) fn add_answered(
        &mut self,
        now: Instant,
        chunk: &Chunk,
        refusal: Option<ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        match refusal {
            None => {
                self.groups.added(chunk);
                self.events.push_back(Event::Moved);
            }
            Some(error)
                if error.code == code::GROUPS_EXHAUSTED && !matches!(self.phase, Phase::Live) =>
            {
                self.end(
                    now,
                    false,
                    "the Core has no change group left: too many clients use it",
                    sink,
                );
            }
            Some(error) => {
                let about_control =
                    error.code != code::UNKNOWN_COMPONENT && error.code != code::GROUPS_EXHAUSTED;
                if let Some(name) = self.groups.add_refused(chunk, about_control) {
                    tracing::warn!("{name} cannot be subscribed: {error}");
                }
            }
        }
    }
}
