//! What can be made to go wrong while the simulated Core runs.

use std::time::Duration;

use tokio::time::Instant;

use super::SimCore;
use super::design::Design;
use super::plant::Plant;
use super::world::{End, World};
use crate::wire::jsonrpc::ErrorObject;
use crate::wire::qrc::{EngineState, Method};

/// A time of trouble for new connections, its parts one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outage {
    /// How long connections are refused.
    pub refuse: Duration,
    /// How long they are accepted and closed at once, as the Core's proxy does while the engine starts.
    pub close: Duration,
    /// How long they are accepted and nothing is said.
    pub mute: Duration,
}

/// What happens to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Serve,
    Refuse,
    Close,
}

#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "each is the end of a phase")]
struct Phases {
    refuse_until: Instant,
    close_until: Instant,
    mute_until: Instant,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Faults {
    phases: Option<Phases>,
    refuses: bool,
    closes: bool,
    is_mute: bool,
    pub(super) is_frozen: bool,
    pub(super) reply_delay: Duration,
    lose_any: u32,
    lose_writes: u32,
    planned: Vec<(Method, ErrorObject)>,
    pub(super) oversize: Option<usize>,
    pub(super) split: Option<usize>,
    pub(super) auto_poll_is_silent: bool,
}

impl Faults {
    pub(super) fn admission(&self, now: Instant) -> Admission {
        let phases = self.phases.as_ref();
        if self.refuses || phases.is_some_and(|phases| now < phases.refuse_until) {
            Admission::Refuse
        } else if self.closes || phases.is_some_and(|phases| now < phases.close_until) {
            Admission::Close
        } else {
            Admission::Serve
        }
    }

    /// When refusing ends by itself.
    pub(super) fn refuse_until(&self) -> Option<Instant> {
        self.phases.map(|phases| phases.refuse_until)
    }

    pub(super) fn is_mute(&self, now: Instant) -> bool {
        self.is_mute || self.mute_until(now).is_some()
    }

    /// When being mute ends by itself, if it is the outage that keeps the Core mute.
    pub(super) fn mute_until(&self, now: Instant) -> Option<Instant> {
        self.phases
            .map(|phases| phases.mute_until)
            .filter(|until| now < *until)
    }

    /// Whether the answer to this request is to be lost; counts it.
    pub(super) fn loses_reply(&mut self, is_write: bool) -> bool {
        let counter = if is_write && self.lose_writes > 0 {
            &mut self.lose_writes
        } else {
            &mut self.lose_any
        };
        let loses = *counter > 0;
        *counter = counter.saturating_sub(1);
        loses
    }

    /// The refusal planned for the next request of a method.
    pub(super) fn planned_failure(&mut self, method: Method) -> Option<ErrorObject> {
        let place = self
            .planned
            .iter()
            .position(|(planned, _)| *planned == method)?;
        Some(self.planned.remove(place).1)
    }
}

impl SimCore {
    /// Ends every connection in order: a close frame on a WebSocket, then FIN.
    pub fn drop_connections(&self) {
        self.end_connections(End::Close);
    }

    /// Ends every connection at once: RST on real sockets, end of stream elsewhere.
    pub fn reset_connections(&self) {
        self.end_connections(End::Reset);
    }

    fn end_connections(&self, end: End) {
        self.change(|world, _| {
            if let Some(half) = world.half_mut(self.half) {
                half.end_all(end);
            }
        });
    }

    fn faults(&self, set: impl FnOnce(&mut Faults, Instant)) {
        self.change(|world, now| {
            if let Some(half) = world.half_mut(self.half) {
                set(&mut half.faults, now);
            }
        });
    }

    /// Half-open link: nothing is read or sent on any connection, old or new, and none is closed, until it is switched off.
    pub fn freeze(&self, on: bool) {
        self.faults(|faults, _| faults.is_frozen = on);
    }

    /// Refuses new connections. Old ones stay.
    pub fn refuse(&self, on: bool) {
        self.faults(|faults, _| faults.refuses = on);
    }

    /// Accepts new connections and closes them at once.
    pub fn accept_then_close(&self, on: bool) {
        self.faults(|faults, _| faults.closes = on);
    }

    /// Accepts new connections and says nothing on them, not even `EngineStatus`, until it is switched off.
    pub fn mute(&self, on: bool) {
        self.faults(|faults, _| faults.is_mute = on);
    }

    /// Answers every request this much later. Pushes that come after a late answer wait for it.
    pub fn slow_replies(&self, delay: Duration) {
        self.faults(|faults, _| faults.reply_delay = delay);
    }

    /// Carries the next `count` requests out and does not answer them.
    pub fn lose_next_replies(&self, count: u32) {
        self.faults(|faults, _| faults.lose_any = count);
    }

    /// Carries the next `count` requests that change something out and does not answer them; others are answered.
    pub fn lose_next_write_replies(&self, count: u32) {
        self.faults(|faults, _| faults.lose_writes = count);
    }

    /// Refuses the next request of a method with this error, without carrying it out. May be called several times.
    pub fn fail_next(&self, method: Method, code: i64, message: &str) {
        self.faults(|faults, _| {
            let error = ErrorObject::new(code, message);
            faults.planned.push((method, error));
        });
    }

    /// Pads the next answer by this many bytes.
    pub fn oversize_next(&self, bytes: usize) {
        self.faults(|faults, _| faults.oversize = Some(bytes));
    }

    /// Sends TCP frames in pieces of this many bytes; `None` sends them whole, and several in one piece.
    pub fn split(&self, bytes: Option<usize>) {
        self.faults(|faults, _| faults.split = bytes.map(|bytes| bytes.max(1)));
    }

    /// Accepts `AutoPoll` and never pushes, as long as it is on.
    pub fn silence_auto_poll(&self, on: bool) {
        self.faults(|faults, _| faults.auto_poll_is_silent = on);
    }

    /// Sends `count` frames of rubbish to every client: broken JSON, a text, other types, answers to nobody.
    pub fn send_garbage(&self, count: usize) {
        const RUBBISH: [&str; 8] = [
            "hello",
            "{\"jsonrpc\":\"2.0\",\"method\":\"EngineStatus\",\"params\":{\"State\":",
            "null",
            "[1,2,3]",
            "{\"jsonrpc\":\"2.0\",\"id\":999999999,\"result\":true}",
            "{\"jsonrpc\":\"2.0\",\"method\":\"ChangeGroup.Poll\",\"params\":{\"Id\":{},\"Changes\":7}}",
            "{\"jsonrpc\":\"2.0\",\"method\":\"Future.Event\",\"params\":{\"Deep\":[[[[{}]]]]}}",
            "{\"jsonrpc\":2,\"id\":[],\"error\":\"no\"}",
        ];
        self.change(|world, now| {
            let Some(half) = world.half_mut(self.half) else {
                return;
            };
            for conn in half.conns.values_mut() {
                RUBBISH
                    .iter()
                    .cycle()
                    .take(count)
                    .for_each(|frame| conn.push((*frame).to_owned(), now));
            }
        });
    }

    /// Every connection loses its change groups and is told nothing; the next poll is error 6.
    pub fn forget_groups(&self) {
        self.change(|world, _| {
            let Some(half) = world.half_mut(self.half) else {
                return;
            };
            half.conns.values_mut().for_each(|conn| conn.groups.clear());
        });
    }

    /// Resets all connections, then an outage for new ones. The other half of a pair takes over.
    pub fn outage(&self, outage: Outage) {
        self.change(|world, now| {
            let is_pair = world.halves.len() > 1;
            let Some(half) = world.half_mut(self.half) else {
                return;
            };
            half.end_all(End::Reset);
            let refuse_until = now + outage.refuse;
            let close_until = refuse_until + outage.close;
            half.faults.phases = Some(Phases {
                refuse_until,
                close_until,
                mute_until: close_until + outage.mute,
            });
            if is_pair && half.state == EngineState::Active {
                take_over(world, 1 - self.half.min(1), now);
            }
        });
    }

    /// Reboots: connections are refused for the first half of the time, then accepted and closed, then served again. Values stay, groups do not.
    pub fn reboot(&self, length: Duration) {
        self.outage(Outage {
            refuse: length / 2,
            close: length.saturating_sub(length / 2),
            mute: Duration::ZERO,
        });
    }

    /// Boots slowly: connections are accepted and closed all the time.
    pub fn boot_slowly(&self, length: Duration) {
        self.outage(Outage {
            close: length,
            ..Outage::default()
        });
    }

    /// Puts this Core on Standby, or makes it active; the other half of a pair does the opposite. Clients are told.
    pub fn standby(&self, on: bool) {
        self.change(|world, now| match (on, world.halves.len()) {
            (true, 2..) => take_over(world, 1 - self.half.min(1), now),
            (false, 2..) => take_over(world, self.half, now),
            (on, _) => {
                if let Some(half) = world.half_mut(self.half) {
                    half.state = if on {
                        EngineState::Standby
                    } else {
                        EngineState::Active
                    };
                }
                world.tell_engine_status(self.half, now);
            }
        });
    }

    /// Makes the other half of a pair active.
    pub fn switch_over(&self) {
        let is_active = self.look(|world| {
            world
                .half(self.half)
                .is_some_and(|half| half.state == EngineState::Active)
        });
        self.standby(is_active);
    }

    /// Pushes a design as Designer does: clients hear `Idle`, lose their connections, and find the new design when they come back.
    pub fn push_design(&self, design: Design) {
        self.replace_design(design, true);
    }

    /// Replaces the design under the clients: the connections stay, the change groups do not, and a new `DesignCode` is told.
    pub fn swap_design(&self, design: Design) {
        self.replace_design(design, false);
    }

    fn replace_design(&self, design: Design, drops: bool) {
        self.change(|world, now| {
            let states: Vec<_> = world.halves.iter().map(|half| half.state.clone()).collect();
            if drops {
                for half in 0..states.len() {
                    if let Some(half) = world.half_mut(half) {
                        half.state = EngineState::Idle;
                    }
                    world.tell_engine_status(half, now);
                }
            }
            let period = world
                .half(self.half)
                .map_or(Duration::ZERO, |half| half.options.meter_period);
            world.plant = Plant::new(design, period, now);
            world.paging = super::paging::Paging::default();
            for (half, state) in world.halves.iter_mut().zip(states) {
                half.state = state;
                half.conns.values_mut().for_each(|conn| conn.groups.clear());
                if drops {
                    half.end_all(End::Close);
                }
            }
            if !drops {
                (0..world.halves.len()).for_each(|half| world.tell_engine_status(half, now));
            }
        });
    }

    /// Sets how often meters move; zero stops them.
    pub fn meter_clock(&self, period: Duration) {
        self.change(|world, now| {
            if let Some(half) = world.half_mut(self.half) {
                half.options.meter_period = period;
            }
            world.plant.set_meter_period(period, now);
        });
    }
}

fn take_over(world: &mut World, active: usize, now: Instant) {
    for (index, half) in world.halves.iter_mut().enumerate() {
        half.state = if index == active {
            EngineState::Active
        } else {
            EngineState::Standby
        };
    }
    (0..world.halves.len()).for_each(|half| world.tell_engine_status(half, now));
}
