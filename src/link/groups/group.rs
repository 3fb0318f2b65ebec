//! One change group: what is in it, and where its polling stands.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ask, Chunk, FAULTS_MAX, GiveUp, GroupKey};
use crate::limits::ADDED_PER_POLL_MAX;

/// Stands between the names of a batch; no name may have it.
const SEPARATOR: char = '\n';

/// What a group is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It holds a part of everything.
    Slow,
    /// It holds what somebody watches.
    Fast,
}

/// How its changes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polling {
    /// By the next poll, at this moment.
    Due(Instant),
    /// By the answer to the poll that is on the wire.
    Asked,
    /// The Core was asked to push them.
    PushAsked,
    /// The Core pushes them, lately then.
    Pushed(Instant),
}

/// How far the Core has come with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It does not know the group.
    Planned,
    /// At least one registration was answered well.
    Registered,
    /// Every control in it has been reported since it was registered.
    Settled,
    /// It was polled since everything was last confirmed, besides.
    Confirmed,
}

/// The controls of one component, their names joined: a design has tens of thousands, and the plan is kept as long as the link.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) component: Option<Box<str>>,
    names: Box<str>,
}

impl Batch {
    pub(super) fn names(&self, chunk: &Chunk) -> impl Iterator<Item = &str> {
        self.names.split(SEPARATOR).skip(chunk.from).take(chunk.len)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) id: String,
    pub(super) role: Role,
    pub(super) members: usize,
    pub(super) stage: Stage,
    /// Registrations on the wire.
    pub(super) adding: usize,
    /// Controls that were registered, or are being, since the last poll was sent.
    pub(super) unpolled: usize,
    pub(super) polling: Polling,
    interval: Duration,
    auto_poll: bool,
    invalidate: bool,
    faults: u8,
    batches: Vec<(Batch, usize)>,
}

impl Group {
    pub(super) fn new(
        key: GroupKey,
        role: Role,
        interval: Duration,
        auto_poll: bool,
        now: Instant,
    ) -> Self {
        let word = match role {
            Role::Slow => "all",
            Role::Fast => "watched",
        };
        Self {
            key,
            id: format!("rackhand-{word}-{}", key.0),
            role,
            members: 0,
            stage: Stage::Planned,
            adding: 0,
            unpolled: 0,
            polling: Polling::Due(now),
            interval,
            auto_poll,
            invalidate: false,
            faults: 0,
            batches: Vec::new(),
        }
    }

    /// Puts controls of one component into the group and queues their registration.
    pub(super) fn take<'n>(
        &mut self,
        component: Option<&str>,
        names: impl Iterator<Item = &'n str>,
        queue: &mut VecDeque<Chunk>,
    ) {
        let mut joined = String::new();
        let mut len = 0;
        for name in names {
            if len > 0 {
                joined.push(SEPARATOR);
            }
            joined.push_str(name);
            len += 1;
        }
        if len == 0 {
            return;
        }
        let batch = Batch {
            component: component.map(Into::into),
            names: joined.into(),
        };
        self.members += len;
        self.unsettle();
        queue.extend(chunks(self.key, self.batches.len(), len));
        self.batches.push((batch, len));
    }

    pub(super) fn batch(&self, chunk: &Chunk) -> Option<&Batch> {
        self.batches.get(chunk.batch).map(|(batch, _)| batch)
    }

    /// Something is to be registered that has not been reported yet.
    pub(super) fn unsettle(&mut self) {
        self.stage = self.stage.min(Stage::Registered);
    }

    pub(super) fn is_registered(&self) -> bool {
        self.stage >= Stage::Registered
    }

    /// Everything in the group, to be registered once more. `is_answered` tells that its poll is not on the wire.
    pub(super) fn forgotten(
        &mut self,
        now: Instant,
        is_answered: bool,
        queue: &mut VecDeque<Chunk>,
    ) {
        self.stage = Stage::Planned;
        self.unpolled = 0;
        self.invalidate = false;
        if is_answered || self.polling != Polling::Asked {
            self.polling = Polling::Due(now);
        }
        for (at, (_, len)) in self.batches.iter().enumerate() {
            queue.extend(chunks(self.key, at, *len));
        }
    }

    /// What is to be asked of this group now. `queued` tells whether registrations for it wait, `blocked` that they wait for a poll.
    pub(super) fn ask(&mut self, now: Instant, queued: bool, blocked: bool) -> Option<Ask> {
        let Polling::Due(at) = self.polling else {
            return None;
        };
        if !self.is_registered() || self.adding > 0 || (queued && !blocked) {
            return None;
        }
        let fresh = self.unpolled > 0;
        if !fresh && (queued || now < at) {
            return None;
        }
        if self.invalidate {
            self.invalidate = false;
            return Some(Ask::Invalidate(self.key));
        }
        if self.auto_poll && self.stage >= Stage::Settled && !fresh {
            self.polling = Polling::PushAsked;
            return Some(Ask::AutoPoll(self.key));
        }
        self.unpolled = 0;
        self.polling = Polling::Asked;
        Some(Ask::Poll(self.key))
    }

    /// Whether nothing but the clock keeps the next poll back.
    pub(super) fn waits_for_time(&self, queued: bool) -> bool {
        self.is_registered() && self.adding == 0 && self.unpolled == 0 && !queued
    }

    /// The Core reported what changed. `queued` as above.
    pub(super) fn polled(&mut self, now: Instant, queued: bool) {
        self.faults = 0;
        self.polling = match self.polling {
            Polling::Pushed(_) => Polling::Pushed(now),
            Polling::PushAsked => Polling::PushAsked,
            Polling::Due(_) | Polling::Asked => Polling::Due(now + self.interval),
        };
        let all_reported = self.adding == 0 && self.unpolled == 0 && !queued && !self.invalidate;
        if all_reported && self.is_registered() {
            self.stage = Stage::Confirmed;
        }
    }

    /// Pushes do not come, or not any more: from now on it is polled, and everything is reported once, for a push may have been lost.
    pub(super) fn poll_instead(&mut self, now: Instant) {
        self.auto_poll = false;
        self.invalidate = true;
        self.polling = Polling::Due(now);
    }

    /// A poll was lost, and with it perhaps changes: everything is to be reported again.
    pub(super) fn report_again(&mut self, now: Instant) {
        self.invalidate = true;
        self.polling = Polling::Due(now);
    }

    pub(super) fn faulted(&mut self) -> Result<(), GiveUp> {
        self.faults += 1;
        if self.faults >= FAULTS_MAX {
            Err(GiveUp)
        } else {
            Ok(())
        }
    }

    /// Whether nothing more is to be waited for: all is reported, or the Core refused all of it.
    pub(super) fn is_complete(&self, queued: bool) -> bool {
        self.stage >= Stage::Settled || (!self.is_registered() && self.adding == 0 && !queued)
    }
}

fn chunks(group: GroupKey, batch: usize, len: usize) -> impl Iterator<Item = Chunk> {
    (0..len).step_by(ADDED_PER_POLL_MAX).map(move |from| Chunk {
        group,
        batch,
        from,
        len: (len - from).min(ADDED_PER_POLL_MAX),
        tries: 0,
    })
}
