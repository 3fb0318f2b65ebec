//! The change-group plan of one connection. Pure: it says what to ask next, and is told what came back.
//!
//! Change groups die with the connection, and the Core may forget them on a living one, so the plan is kept here and sent again when
//! it has to be. Up to three slow groups hold everything; a fast one holds only what somebody watches.

mod group;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use self::group::{Group, Polling, Role, Stage};
use crate::limits::{
    ADDED_PER_POLL_MAX, ADDS_IN_FLIGHT_MAX, CONTROLS_MAX, GROUP_CONTROLS_MAX, NAME_MAX_BYTES,
};
use crate::model::name::{ComponentName, ControlRef};
use crate::wire::qrc::{
    ComponentGet, GROUPS_PER_CONNECTION_MAX, GroupAddComponent, GroupControls, GroupId, GroupRate,
    Named, Request,
};

/// Polls or registrations of one group that may fail in a row before the connection is given up.
const FAULTS_MAX: u8 = 3;

/// Silence of a pushed group after which it is polled instead, at least.
const PUSH_SILENCE: Duration = Duration::from_secs(5);

/// Slow groups; one group of the connection is left for what is watched.
const SLOW_GROUPS_MAX: usize = GROUPS_PER_CONNECTION_MAX - 1;

const _: () = assert!(SLOW_GROUPS_MAX * GROUP_CONTROLS_MAX >= CONTROLS_MAX);

/// How often to poll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) slow: Duration,
    pub(crate) fast: Duration,
    /// Whether the Core may be asked to push (proven on TCP only).
    pub(crate) auto_poll: bool,
}

/// Names one group of one plan; a later plan has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupKey(u32);

/// What to ask the Core for next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Register these controls.
    Add(Chunk),
    /// Report what changed.
    Poll(GroupKey),
    /// Report what changed, again and again.
    AutoPoll(GroupKey),
    /// Take everything in the group for changed.
    Invalidate(GroupKey),
    /// A group that nobody needs any more; the answer does not matter.
    Destroy(String),
}

/// Some controls of one component, or some named controls, on their way into a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    group: GroupKey,
    batch: usize,
    from: usize,
    len: usize,
    tries: u8,
}

/// A group failed too often in a row: the connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GiveUp;

/// The plan: groups, what is in them, and what is still to be registered.
#[derive(Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "the groups of the plan are its groups"
)]
pub(crate) struct Groups {
    pace: Pace,
    next_key: u32,
    /// Slow ones first; the fast one, if there is one, is the last.
    groups: heapless::Vec<Group, GROUPS_PER_CONNECTION_MAX>,
    queue: VecDeque<Chunk>,
    /// Registrations on the wire, those for a group that has ended meanwhile included.
    adding: usize,
    ended: Vec<String>,
    watched: BTreeSet<ControlRef>,
    left_out: usize,
}

impl Groups {
    pub(crate) const fn new(pace: Pace) -> Self {
        Self {
            pace,
            next_key: 0,
            groups: heapless::Vec::new(),
            queue: VecDeque::new(),
            adding: 0,
            ended: Vec::new(),
            watched: BTreeSet::new(),
            left_out: 0,
        }
    }

    /// Throws the plan away. Groups that the Core may still hold are ended before others are made: four is all a connection has.
    pub(crate) fn start_over(&mut self) {
        let known = |group: &&Group| group.is_registered() || group.adding > 0;
        let ids = self
            .groups
            .iter()
            .filter(known)
            .map(|group| group.id.clone());
        self.ended.extend(ids);
        self.groups.clear();
        self.queue.clear();
        self.adding = 0;
        self.watched.clear();
        self.left_out = 0;
    }

    /// Plans the controls of one component, or named controls. Names that no control can have, and controls beyond
    /// [`CONTROLS_MAX`], are left out.
    pub(crate) fn plan<'n>(
        &mut self,
        now: Instant,
        component: Option<&str>,
        names: impl Iterator<Item = &'n str>,
    ) {
        let can_be = |name: &&str| {
            !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.contains(char::is_control)
        };
        let mut names = names.filter(can_be).peekable();
        while names.peek().is_some() {
            let room = CONTROLS_MAX.saturating_sub(self.members());
            let Some(group) =
                slow_group_with_room(&mut self.groups, &mut self.next_key, self.pace, now)
                    .filter(|_| room > 0)
            else {
                self.left_out += names.count();
                return;
            };
            let room = room.min(GROUP_CONTROLS_MAX - group.members);
            group.take(component, names.by_ref().take(room), &mut self.queue);
        }
    }

    /// What to ask next, if anything; to be called until there is nothing.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Ask> {
        if let Some(id) = self.ended.pop() {
            return Some(Ask::Destroy(id));
        }
        let unpolled: usize = self.groups.iter().map(|group| group.unpolled).sum();
        let waits_for_poll =
            |chunk: &Chunk| unpolled > 0 && unpolled + chunk.len > ADDED_PER_POLL_MAX;
        let blocked = self.queue.front().is_some_and(waits_for_poll);
        if !blocked
            && self.adding < ADDS_IN_FLIGHT_MAX
            && let Some(chunk) = self.queue.pop_front()
        {
            let group = self.group(chunk.group)?;
            group.adding += 1;
            group.unpolled += chunk.len;
            group.unsettle();
            self.adding += 1;
            return Some(Ask::Add(chunk));
        }
        let queue = &self.queue;
        let mut groups = self.groups.iter_mut();
        groups.find_map(|group| group.ask(now, is_queued(queue, group.key), blocked))
    }

    /// The request for something that [`Groups::next`] asked for.
    pub(crate) fn request(&self, ask: &Ask) -> Option<Request> {
        let find = |key: GroupKey| self.groups.iter().find(|group| group.key == key);
        let id = |key: GroupKey| Some(serde_json::Value::from(find(key)?.id.as_str()));
        Some(match ask {
            Ask::Poll(key) => Request::ChangeGroupPoll(GroupId { id: id(*key)? }),
            Ask::Invalidate(key) => Request::ChangeGroupInvalidate(GroupId { id: id(*key)? }),
            Ask::AutoPoll(key) => Request::ChangeGroupAutoPoll(GroupRate {
                id: id(*key)?,
                rate: self.pace.slow.as_secs_f64(),
            }),
            Ask::Destroy(id) => Request::ChangeGroupDestroy(GroupId {
                id: id.as_str().into(),
            }),
            Ask::Add(chunk) => {
                let batch = find(chunk.group)?.batch(chunk)?;
                let names = batch.names(chunk).map(str::to_owned);
                let id = id(chunk.group)?;
                match &batch.component {
                    None => Request::ChangeGroupAddControl(GroupControls {
                        id,
                        controls: names.collect(),
                    }),
                    Some(component) => Request::ChangeGroupAddComponentControl(GroupAddComponent {
                        id,
                        component: ComponentGet {
                            name: component.to_string(),
                            controls: names.map(|name| Named { name }).collect(),
                        },
                    }),
                }
            }
        })
    }

    /// A registration was answered well.
    pub(crate) fn added(&mut self, chunk: &Chunk) {
        self.adding = self.adding.saturating_sub(1);
        if let Some(group) = self.group(chunk.group) {
            group.adding = group.adding.saturating_sub(1);
            group.stage = group.stage.max(Stage::Registered);
        }
    }

    /// A registration was refused. An unknown control is searched by halves, since nothing says which one it is and whether the others
    /// were added. Gives the name of what is left out for good.
    pub(crate) fn add_refused(&mut self, chunk: &Chunk, unknown_control: bool) -> Option<String> {
        let group = self.not_added(chunk)?;
        let batch = group.batch(chunk)?;
        let name = batch.names(chunk).next().unwrap_or_default();
        if unknown_control && chunk.len > 1 {
            let half = chunk.len / 2;
            let mut first = chunk.clone();
            let mut second = chunk.clone();
            first.len = half;
            second.from += half;
            second.len -= half;
            self.queue.push_front(second);
            self.queue.push_front(first);
            return None;
        }
        Some(match &batch.component {
            Some(component) if unknown_control => format!("{component}/{name}"),
            Some(component) => component.to_string(),
            None => name.to_owned(),
        })
    }

    /// The answer to a registration was lost: it is sent again, for it does no harm twice.
    pub(crate) fn add_lost(&mut self, mut chunk: Chunk) -> Result<(), GiveUp> {
        if self.not_added(&chunk).is_some() {
            chunk.tries += 1;
            if chunk.tries >= FAULTS_MAX {
                return Err(GiveUp);
            }
            self.queue.push_front(chunk);
        }
        Ok(())
    }

    fn not_added(&mut self, chunk: &Chunk) -> Option<&mut Group> {
        self.adding = self.adding.saturating_sub(1);
        let group = self.group(chunk.group)?;
        group.adding = group.adding.saturating_sub(1);
        group.unpolled = group.unpolled.saturating_sub(chunk.len);
        Some(group)
    }

    /// A poll was answered. Gives whether with it everything has been reported or confirmed once more.
    pub(crate) fn polled(&mut self, now: Instant, key: GroupKey) -> bool {
        let queued = is_queued(&self.queue, key);
        let Some(group) = self.group(key) else {
            return false;
        };
        group.polled(now, queued);
        let slow = |group: &&mut Group| group.role == Role::Slow && group.is_registered();
        let all = self.is_complete()
            && self
                .groups
                .iter_mut()
                .filter(slow)
                .all(|group| group.stage == Stage::Confirmed);
        if all {
            self.groups
                .iter_mut()
                .for_each(|group| group.stage = group.stage.min(Stage::Settled));
        }
        all
    }

    /// The Core pushed changes of a group, or answered a poll that nobody awaits any more. Gives what [`Groups::polled`] gives.
    pub(crate) fn pushed(&mut self, now: Instant, id: &str) -> bool {
        let Some(group) = self.groups.iter_mut().find(|group| group.id == id) else {
            return false;
        };
        match group.polling {
            Polling::PushAsked | Polling::Pushed(_) => {
                group.polling = Polling::Pushed(now);
                let key = group.key;
                self.polled(now, key)
            }
            Polling::Due(_) | Polling::Asked => false,
        }
    }

    /// The answer to a poll was lost.
    pub(crate) fn poll_lost(&mut self, now: Instant, key: GroupKey) -> Result<(), GiveUp> {
        self.group(key).map_or(Ok(()), |group| {
            group.report_again(now);
            group.faulted()
        })
    }

    /// The Core does not know the group any more. It forgets all of them at once, and what was registered since may have made one anew
    /// with a part of its controls: so all are made again.
    pub(crate) fn forgotten(&mut self, now: Instant, key: GroupKey) -> Result<(), GiveUp> {
        self.queue.clear();
        for group in &mut self.groups {
            group.forgotten(now, group.key == key, &mut self.queue);
        }
        self.group(key).map_or(Ok(()), Group::faulted)
    }

    /// What came of asking the Core to push.
    pub(crate) fn auto_poll_answered(&mut self, now: Instant, key: GroupKey, accepted: bool) {
        if let Some(group) = self.group(key)
            && group.polling == Polling::PushAsked
        {
            if accepted {
                group.polling = Polling::Pushed(now);
            } else {
                group.poll_instead(now);
            }
        }
    }

    /// Falls back to polling for groups whose pushes stopped. Gives whether there were any.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let silence = self.push_silence();
        let mut stopped = false;
        for group in &mut self.groups {
            if matches!(group.polling, Polling::Pushed(last) if last + silence <= now) {
                group.poll_instead(now);
                stopped = true;
            }
        }
        stopped
    }

    fn push_silence(&self) -> Duration {
        (self.pace.slow * 3).max(PUSH_SILENCE)
    }

    /// Lets exactly these controls be polled fast, besides the slow polls. To be called when the plan is complete.
    pub(crate) fn watch(&mut self, now: Instant, wanted: &BTreeSet<ControlRef>) {
        let is_fast = |group: &Group| group.role == Role::Fast;
        // QRC cannot take component controls out of a group: it is made anew when most of it is no longer wanted.
        let mostly_unwanted = wanted.is_empty() || self.watched.len() > 2 * wanted.len() + 8;
        if mostly_unwanted
            && self.groups.last().is_some_and(is_fast)
            && let Some(group) = self.groups.pop()
        {
            self.queue.retain(|chunk| chunk.group != group.key);
            self.ended.push(group.id);
            self.watched.clear();
        }
        let mut fresh: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
        for control in wanted.difference(&self.watched) {
            let component = control.component.as_ref().map(ComponentName::as_str);
            fresh
                .entry(component)
                .or_default()
                .push(control.control.as_str());
        }
        if fresh.is_empty() {
            return;
        }
        if !self.groups.last().is_some_and(is_fast) {
            make_group(
                &mut self.groups,
                &mut self.next_key,
                Role::Fast,
                self.pace,
                now,
            );
        }
        if let Some(group) = self.groups.last_mut().filter(|group| is_fast(group)) {
            for (component, names) in fresh {
                group.take(component, names.into_iter(), &mut self.queue);
            }
            self.watched.extend(wanted.iter().cloned());
        }
    }

    /// Whether every control of the plan has been registered and reported at least once.
    pub(crate) fn is_complete(&self) -> bool {
        let mut slow = self.groups.iter().filter(|group| group.role == Role::Slow);
        slow.all(|group| group.is_complete(is_queued(&self.queue, group.key)))
    }

    /// Controls in the slow groups.
    pub(crate) fn members(&self) -> usize {
        let slow = self.groups.iter().filter(|group| group.role == Role::Slow);
        slow.map(|group| group.members).sum()
    }

    /// Groups that the Core knows.
    pub(crate) fn registered(&self) -> usize {
        self.groups
            .iter()
            .filter(|group| group.is_registered())
            .count()
    }

    /// Controls for which there was no room.
    pub(crate) const fn left_out(&self) -> usize {
        self.left_out
    }

    /// When [`Groups::next`] or [`Groups::tick`] have something to do, as far as time alone decides.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let silence = self.push_silence();
        let due = |group: &Group| match group.polling {
            Polling::Due(at) => group
                .waits_for_time(is_queued(&self.queue, group.key))
                .then_some(at),
            Polling::Pushed(last) => Some(last + silence),
            Polling::Asked | Polling::PushAsked => None,
        };
        self.groups.iter().filter_map(due).min()
    }

    fn group(&mut self, key: GroupKey) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.key == key)
    }
}

type GroupTable = heapless::Vec<Group, GROUPS_PER_CONNECTION_MAX>;

fn is_queued(queue: &VecDeque<Chunk>, key: GroupKey) -> bool {
    queue.iter().any(|chunk| chunk.group == key)
}

fn slow_group_with_room<'g>(
    groups: &'g mut GroupTable,
    next_key: &mut u32,
    pace: Pace,
    now: Instant,
) -> Option<&'g mut Group> {
    let full = groups
        .last()
        .is_none_or(|group| group.members >= GROUP_CONTROLS_MAX);
    if full {
        if groups.len() >= SLOW_GROUPS_MAX {
            return None;
        }
        make_group(groups, next_key, Role::Slow, pace, now);
    }
    groups.last_mut()
}

fn make_group(groups: &mut GroupTable, next_key: &mut u32, role: Role, pace: Pace, now: Instant) {
    let key = GroupKey(*next_key);
    *next_key = next_key.wrapping_add(1);
    let (interval, auto_poll) = match role {
        Role::Slow => (pace.slow, pace.auto_poll),
        Role::Fast => (pace.fast, false),
    };
    // There are at most three slow groups and one fast one, which is all that fits.
    let _fits = groups.push(Group::new(key, role, interval, auto_poll, now));
}
