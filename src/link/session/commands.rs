//! What callers ask: sent once, answered once, never sent twice.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::exchange::{Purpose, Touched, Waiter};
use super::{Phase, Session};
use crate::limits::{ANSWERED_MAX_BYTES, TEXT_MAX_BYTES};
use crate::link::Reply;
use crate::link::config::COMMAND_WAIT;
use crate::link::error::CommandError;
use crate::model::change::ChangeSink;
use crate::wire::jsonrpc::{ErrorObject, Text};
use crate::wire::poll::BATCH_MAX;
use crate::wire::qrc::{ComponentGet, ComponentState, ControlChange, Named, Request, States, code};

/// What a caller is told to wait when the link is down for a moment that nobody can know.
pub(crate) const SOON: Duration = Duration::from_secs(1);

impl Waiter {
    /// No answer will come.
    pub(super) fn lost(self, was_sent: bool) {
        let method = self.method;
        let fault = match (was_sent, self.changes_the_room) {
            (false, _) => CommandError::Down { retry_in: SOON },
            (true, true) => CommandError::OutcomeUnknown { method },
            (true, false) => CommandError::NoAnswer { method },
        };
        self.reply.send(Err(fault));
    }
}

impl Session {
    /// Whether another command may be handed in.
    #[must_use]
    pub fn has_room_for_command(&self) -> bool {
        self.exchange.has_room_for_command()
    }

    /// A caller's request. Only a live link takes it.
    pub fn command(&mut self, now: Instant, request: &Request, reply: impl Into<Reply>) {
        let reply = reply.into();
        if !matches!(self.phase, Phase::Live) {
            reply.send(Err(CommandError::Down { retry_in: SOON }));
            return;
        }
        let waiter = Waiter {
            method: request.method(),
            changes_the_room: request.changes_the_room(),
            touched: Touched::by(request),
            reply,
        };
        let asked = self
            .exchange
            .ask(now, COMMAND_WAIT, request, Purpose::Command(waiter));
        if let Err(Purpose::Command(waiter)) = asked {
            waiter.reply.send(Err(CommandError::Busy));
        }
    }

    pub(super) fn command_answered(
        &mut self,
        now: Instant,
        waiter: Waiter,
        outcome: Result<&RawValue, ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        let method = waiter.method;
        let answer = match outcome {
            Ok(raw) => {
                self.hear_states(now, &waiter.touched, raw, sink);
                if raw.get().len() <= ANSWERED_MAX_BYTES {
                    Ok(raw.to_owned())
                } else if waiter.changes_the_room {
                    // It was accepted, and what stands now was heard just before.
                    Ok(RawValue::NULL.to_owned())
                } else {
                    Err(CommandError::Unreadable {
                        method,
                        fault: "it is too long".to_owned(),
                    })
                }
            }
            Err(error) if error.code == code::STANDBY => Err(CommandError::Standby),
            Err(ErrorObject {
                code, mut message, ..
            }) => {
                message.truncate(message.floor_char_boundary(TEXT_MAX_BYTES));
                message.shrink_to_fit();
                Err(CommandError::Refused {
                    method,
                    code,
                    message,
                })
            }
        };
        waiter.reply.send(answer);
    }

    /// A command's answer did not come in time. What a write may have moved is read again, so that the sink hears it either way.
    pub(super) fn command_lost(&mut self, now: Instant, waiter: Waiter, was_sent: bool) {
        if was_sent && waiter.changes_the_room && matches!(self.phase, Phase::Live) {
            self.read_again(now, waiter.touched.clone());
        }
        waiter.lost(was_sent);
    }

    fn read_again(&mut self, now: Instant, touched: Touched) {
        let request = match &touched {
            Touched::Component { name, controls } => Request::ComponentGet(ComponentGet {
                name: name.clone(),
                controls: controls
                    .iter()
                    .map(|name| Named { name: name.clone() })
                    .collect(),
            }),
            Touched::Named(names) => Request::ControlGet(names.clone()),
            Touched::Other => return,
        };
        // Without room, the next poll tells what moved.
        let _room = self
            .exchange
            .ask(now, COMMAND_WAIT, &request, Purpose::Reread(touched));
    }

    /// The Core told states in an answer: they are facts like those of a poll.
    pub(super) fn hear_states(
        &mut self,
        now: Instant,
        touched: &Touched,
        raw: &RawValue,
        sink: &dyn ChangeSink,
    ) {
        if !self.engaged {
            return;
        }
        let list = || serde_json::from_str(raw.get()).map(|states: States<'_>| states.items);
        let mut states: Vec<ControlChange<'_>> = match touched {
            Touched::Component { .. } => {
                let state = serde_json::from_str::<ComponentState<'_>>(raw.get());
                state
                    .map(|state| state.controls)
                    .or_else(|_| list())
                    .unwrap_or_default()
            }
            Touched::Named(_) => {
                let one = || serde_json::from_str(raw.get()).map(|state| vec![state]);
                list().or_else(|_| one()).unwrap_or_default()
            }
            Touched::Other => return,
        };
        if let Touched::Component { name, .. } = touched {
            for state in states.iter_mut().filter(|state| state.component.is_none()) {
                state.component = Some(Text::from(name.as_str()));
            }
        }
        for batch in states.chunks(BATCH_MAX) {
            sink.values(batch, now);
        }
    }
}
