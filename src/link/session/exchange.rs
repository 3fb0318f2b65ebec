//! The request and answer side of one connection: what waits to be sent, what waits for an answer, and signs of life.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::secret::Secret;
use crate::limits::{COMMANDS_IN_FLIGHT_MAX, IN_FLIGHT_MAX};
use crate::link::Reply;
use crate::link::config::SEND_AT_LEAST_EVERY;
use crate::link::groups::{Chunk, GroupKey};
use crate::link::pending::{Pending, Waiting};
use crate::wire::jsonrpc::Id;
use crate::wire::qrc::{Method, Request};

/// Why a request was sent.
#[derive(Debug)]
pub(super) enum Purpose {
    Logon,
    Status,
    Components,
    /// The component's place in the list.
    Controls(usize),
    Add(Chunk),
    Poll(GroupKey),
    AutoPoll(GroupKey),
    /// Its answer changes nothing.
    Formality,
    Probe,
    Command(Waiter),
    /// Read again after a write whose answer was lost.
    Reread(Touched),
}

/// A caller, and what is known of the request.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) method: Method,
    pub(super) changes_the_room: bool,
    pub(super) touched: Touched,
    pub(super) reply: Reply,
}

/// The controls that a request reads or writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Touched {
    Component {
        name: String,
        controls: Vec<String>,
    },
    Named(Vec<String>),
    /// Unknown: what moved comes with the next poll.
    Other,
}

impl Touched {
    pub(super) fn by(request: &Request) -> Self {
        match request {
            Request::ComponentSet(set) => Self::Component {
                name: set.name.clone(),
                controls: set.controls.iter().map(|item| item.name.clone()).collect(),
            },
            Request::ComponentGet(get) => Self::Component {
                name: get.name.clone(),
                controls: Vec::new(),
            },
            Request::ControlSet(set) => Self::Named(vec![set.name.clone()]),
            Request::ControlGet(_) => Self::Named(Vec::new()),
            _ => Self::Other,
        }
    }
}

/// Frames to send, requests to be answered, and when the Core was last heard.
#[derive(Debug)]
pub(super) struct Exchange {
    api_key: Option<Secret>,
    outbox: VecDeque<(i64, String)>,
    pending: Pending<Purpose>,
    keepalive: Duration,
    probe_timeout: Duration,
    last_heard: Instant,
    last_sent: Instant,
    probed: Option<Instant>,
}

impl Exchange {
    pub(super) fn new(
        api_key: Option<Secret>,
        keepalive: Duration,
        probe_timeout: Duration,
        now: Instant,
    ) -> Self {
        Self {
            api_key,
            outbox: VecDeque::new(),
            pending: Pending::new(),
            keepalive,
            probe_timeout,
            last_heard: now,
            last_sent: now,
            probed: None,
        }
    }

    /// Queues a request. Without a place in the table it is not sent, and the purpose comes back.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        patience: Duration,
        request: &Request,
        purpose: Purpose,
    ) -> Result<(), Purpose> {
        let id = self.pending.push(now, patience, purpose)?;
        let api_key = self.api_key.as_ref().map(Secret::expose);
        let frame = request.to_frame(Some(&Id::Number(id)), api_key);
        self.outbox.push_back((id, frame));
        Ok(())
    }

    /// The next frame for the wire.
    pub(super) fn transmit(&mut self, now: Instant) -> Option<String> {
        let (_, frame) = self.outbox.pop_front()?;
        self.last_sent = now;
        Some(frame)
    }

    /// Whether a request of the link's own finds a place.
    pub(super) fn has_room(&self) -> bool {
        self.pending.iter().count() < IN_FLIGHT_MAX
    }

    /// Whether another caller's request may be taken.
    pub(super) fn has_room_for_command(&self) -> bool {
        let commands = self.pending.iter().filter(|purpose| is_command(purpose));
        commands.count() < COMMANDS_IN_FLIGHT_MAX
    }

    pub(super) fn count(&self, which: impl Fn(&Purpose) -> bool) -> usize {
        self.pending.iter().filter(|purpose| which(purpose)).count()
    }

    pub(super) fn each(&self, look: impl FnMut(&Purpose)) {
        self.pending.iter().for_each(look);
    }

    /// Whether a caller waits for this answer.
    pub(super) fn is_command(&self, id: &Id) -> bool {
        self.pending.get(id).is_some_and(is_command)
    }

    /// The request that an answer belongs to. Nothing where it was not sent yet: who answers that, answers something else, and the
    /// request still goes out.
    pub(super) fn take(&mut self, id: &Id) -> Option<Waiting<Purpose>> {
        let mut queued = self.outbox.iter();
        if queued.any(|(number, _)| Id::Number(*number).means(id)) {
            return None;
        }
        self.pending.take(id)
    }

    /// One request whose answer did not come in time, and whether it had been sent at all; one that had not, never will be.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(Purpose, bool)> {
        let expired = self.pending.expire(now)?;
        Some(self.withdrawn(expired))
    }

    /// Everything unanswered, as [`Exchange::expire`] gives it, at the end of the connection.
    pub(super) fn drain(&mut self) -> Vec<(Purpose, bool)> {
        let drained = self.pending.drain();
        drained
            .into_iter()
            .map(|waiting| self.withdrawn(waiting))
            .collect()
    }

    fn withdrawn(&mut self, waiting: Waiting<Purpose>) -> (Purpose, bool) {
        let queued = self.outbox.iter().position(|(id, _)| *id == waiting.id);
        if let Some(at) = queued {
            self.outbox.remove(at);
        }
        (waiting.purpose, queued.is_none())
    }

    /// Forgets the link's own requests, sent or not: what they were for is void. Callers keep waiting for theirs.
    pub(super) fn forget_own(&mut self) {
        let mut own = Vec::new();
        self.pending.keep_or(is_command, |id| own.push(id));
        self.outbox.retain(|(id, _)| !own.contains(id));
    }

    /// A frame arrived.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.probed = None;
    }

    /// Whether it is time to ask for a sign of life. Doing so counts as done.
    pub(super) fn probe_is_due(&mut self, now: Instant) -> bool {
        let due = self.probed.is_none() && now >= self.probe_at();
        if due {
            self.probed = Some(now);
        }
        due
    }

    /// Whether the Core left a probe unanswered, with anything at all, for too long.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.probed.is_some_and(|at| now >= at + self.probe_timeout)
    }

    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    fn probe_at(&self) -> Instant {
        (self.last_heard + self.keepalive).min(self.last_sent + SEND_AT_LEAST_EVERY)
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let life = match self.probed {
            Some(at) => at + self.probe_timeout,
            None => self.probe_at(),
        };
        let answer = self.pending.next_deadline();
        answer.map_or(life, |answer| answer.min(life))
    }
}

const fn is_command(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Command(_))
}
