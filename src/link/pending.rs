//! Requests that the Core has yet to answer: bounded, each with a deadline.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::IN_FLIGHT_MAX;
use crate::wire::jsonrpc::Id;

/// One request on the wire, and why it was sent.
#[derive(Debug)]
pub(crate) struct Waiting<P> {
    /// The number it went out under.
    pub(crate) id: i64,
    /// When it was handed to the wire.
    pub(crate) sent: Instant,
    /// When nobody waits any more.
    pub(crate) deadline: Instant,
    /// Why it was sent.
    pub(crate) purpose: P,
}

/// The table of unanswered requests. Its bound is [`IN_FLIGHT_MAX`]; a request that finds no place is not sent.
#[derive(Debug)]
pub(crate) struct Pending<P> {
    waiting: heapless::Vec<Waiting<P>, IN_FLIGHT_MAX>,
    next_id: i64,
}

impl<P> Pending<P> {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: heapless::Vec::new(),
            next_id: 1,
        }
    }

    /// Notes a request and gives the number to send it under.
    ///
    /// # Errors
    ///
    /// Hands the purpose back when the table is full.
    pub(crate) fn push(&mut self, now: Instant, patience: Duration, purpose: P) -> Result<i64, P> {
        let id = self.next_id;
        let entry = Waiting {
            id,
            sent: now,
            deadline: now + patience,
            purpose,
        };
        match self.waiting.push(entry) {
            Ok(()) => {
                self.next_id += 1;
                Ok(id)
            }
            Err(entry) => Err(entry.purpose),
        }
    }

    /// Why the request that this answer belongs to was sent.
    pub(crate) fn get(&self, id: &Id) -> Option<&P> {
        let mut waiting = self.waiting.iter();
        waiting
            .find(|waiting| Id::Number(waiting.id).means(id))
            .map(|waiting| &waiting.purpose)
    }

    /// Takes out the request that this answer belongs to; `"7"` and `7` mean the same.
    pub(crate) fn take(&mut self, id: &Id) -> Option<Waiting<P>> {
        let at = self
            .waiting
            .iter()
            .position(|waiting| Id::Number(waiting.id).means(id))?;
        Some(self.waiting.swap_remove(at))
    }

    /// Takes out one request whose deadline has passed; to be called until there is none.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Waiting<P>> {
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.deadline <= now)?;
        Some(self.waiting.swap_remove(at))
    }

    /// Takes out everything.
    pub(crate) fn drain(&mut self) -> heapless::Vec<Waiting<P>, IN_FLIGHT_MAX> {
        std::mem::take(&mut self.waiting)
    }

    /// Forgets the requests whose purpose is not kept, and tells their numbers; their answers will belong to nobody.
    pub(crate) fn keep_or(&mut self, keep: impl Fn(&P) -> bool, mut gone: impl FnMut(i64)) {
        self.waiting.retain(|waiting| {
            let kept = keep(&waiting.purpose);
            if !kept {
                gone(waiting.id);
            }
            kept
        });
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &P> {
        self.waiting.iter().map(|waiting| &waiting.purpose)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn an_answer_finds_its_request_whatever_the_json_type_of_its_id() {
        let mut pending = Pending::new();
        let now = Instant::now();
        let first = pending.push(now, PATIENCE, "first").unwrap();
        let second = pending.push(now, PATIENCE, "second").unwrap();
        let answered = pending.take(&Id::Text(second.to_string().into())).unwrap();
        assert_eq!(answered.purpose, "second");
        assert_eq!(pending.take(&Id::Number(first)).unwrap().purpose, "first");
        assert!(pending.take(&Id::Number(first)).is_none());
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push(u64),
        Take(i64),
        Pass(u64),
        Drain,
    }

    fn ops() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0_u64..10_000).prop_map(Op::Push),
            2 => (0_i64..100).prop_map(Op::Take),
            1 => (0_u64..4_000).prop_map(Op::Pass),
            1 => Just(Op::Drain),
        ]
    }

    proptest! {
        #[test]
        fn it_is_never_over_capacity_and_every_request_ends_exactly_once(ops in prop::collection::vec(ops(), 0..300)) {
            let mut pending = Pending::new();
            let mut now = Instant::now();
            let (mut pushed, mut ended) = (0, 0);
            for op in ops {
                match op {
                    Op::Push(millis) => pushed += i32::from(pending.push(now, Duration::from_millis(millis), ()).is_ok()),
                    Op::Take(id) => ended += i32::from(pending.take(&Id::Number(id)).is_some()),
                    Op::Pass(millis) => {
                        now += Duration::from_millis(millis);
                        while let Some(expired) = pending.expire(now) {
                            prop_assert!(expired.deadline <= now);
                            ended += 1;
                        }
                        prop_assert!(pending.next_deadline().is_none_or(|deadline| deadline > now));
                    }
                    Op::Drain => ended += i32::try_from(pending.drain().len()).unwrap(),
                }
                let waiting = pending.iter().count();
                prop_assert!(waiting <= IN_FLIGHT_MAX);
                prop_assert_eq!(usize::try_from(pushed - ended).unwrap(), waiting);
            }
        }
    }
}
