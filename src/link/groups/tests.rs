//! The plan against a model of a Core's change groups, under every order of answers, losses and forgetting.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::wire::qrc::code;

const PACE: Pace = Pace {
    slow: Duration::from_millis(350),
    fast: Duration::from_millis(100),
    auto_poll: false,
};

type Name = (String, String);

/// What a poll reports, or an error code.
type Outcome = Result<Vec<(Name, u32)>, i64>;

/// What a Core keeps of change groups.
#[derive(Default)]
struct Model {
    values: BTreeMap<Name, u32>,
    groups: BTreeMap<String, BTreeMap<Name, bool>>,
}

impl Model {
    /// Carries a request out. `Ok` has what a poll reports, `Err` the error code.
    fn carry_out(&mut self, request: &Request) -> Outcome {
        let id = |id: &serde_json::Value| id.as_str().unwrap().to_owned();
        match request {
            Request::ChangeGroupAddComponentControl(add) => {
                let names: Vec<Name> = add
                    .component
                    .controls
                    .iter()
                    .map(|control| (add.component.name.clone(), control.name.clone()))
                    .collect();
                if names.iter().any(|name| !self.values.contains_key(name)) {
                    return Err(code::UNKNOWN_CONTROL);
                }
                let group = id(&add.id);
                if !self.groups.contains_key(&group)
                    && self.groups.len() >= GROUPS_PER_CONNECTION_MAX
                {
                    return Err(code::GROUPS_EXHAUSTED);
                }
                self.groups
                    .entry(group)
                    .or_default()
                    .extend(names.into_iter().map(|name| (name, true)));
                Ok(Vec::new())
            }
            Request::ChangeGroupPoll(poll) => {
                let group = self
                    .groups
                    .get_mut(&id(&poll.id))
                    .ok_or(code::UNKNOWN_GROUP)?;
                let report = |(name, dirty): (&Name, &mut bool)| {
                    std::mem::take(dirty).then(|| (name.clone(), self.values[name]))
                };
                Ok(group.iter_mut().filter_map(report).collect())
            }
            Request::ChangeGroupInvalidate(group) => {
                let group = self
                    .groups
                    .get_mut(&id(&group.id))
                    .ok_or(code::UNKNOWN_GROUP)?;
                for dirty in group.values_mut() {
                    *dirty = true;
                }
                Ok(Vec::new())
            }
            Request::ChangeGroupDestroy(group) => {
                self.groups.remove(&id(&group.id));
                Ok(Vec::new())
            }
            other => panic!("the plan asked for {other:?}"),
        }
    }

    fn change(&mut self, name: &Name) {
        *self.values.get_mut(name).unwrap() += 1;
        for group in self.groups.values_mut() {
            if let Some(dirty) = group.get_mut(name) {
                *dirty = true;
            }
        }
    }
}

/// Plan, model and what lies between them.
struct Bench {
    groups: Groups,
    model: Model,
    names: Vec<Name>,
    seen: BTreeMap<Name, u32>,
    in_flight: VecDeque<(Ask, Outcome)>,
    now: Instant,
    given_up: bool,
}

impl Bench {
    fn new(components: usize, controls: usize, unknown_every: usize) -> Self {
        let now = Instant::now();
        let mut groups = Groups::new(PACE);
        let mut model = Model::default();
        let mut names = Vec::new();
        for component in 0..components {
            let component = format!("C{component}");
            let all: Vec<String> = (0..controls)
                .map(|control| format!("c.{control}"))
                .collect();
            groups.plan(now, Some(&component), all.iter().map(String::as_str));
            for (at, control) in all.into_iter().enumerate() {
                // The Core told of some controls that it then does not know.
                if unknown_every == 0 || at % unknown_every != 1 {
                    model.values.insert((component.clone(), control.clone()), 0);
                    names.push((component.clone(), control));
                }
            }
        }
        Self {
            groups,
            model,
            names,
            seen: BTreeMap::new(),
            in_flight: VecDeque::new(),
            now,
            given_up: false,
        }
    }

    /// Sends what the plan asks for, and holds it to its promises.
    fn send(&mut self) {
        while let Some(ask) = self.groups.next(self.now) {
            let request = self.groups.request(&ask).unwrap();
            let outcome = self.model.carry_out(&request);
            self.in_flight.push_back((ask, outcome));
            let adds = self
                .in_flight
                .iter()
                .filter(|(ask, _)| matches!(ask, Ask::Add(_)))
                .count();
            assert!(adds <= ADDS_IN_FLIGHT_MAX);
            for group in &self.groups.groups {
                let polls = self
                    .in_flight
                    .iter()
                    .filter(|(ask, _)| *ask == Ask::Poll(group.key))
                    .count();
                assert!(polls <= 1, "one poll per group");
            }
            let unpolled: usize = self.groups.groups.iter().map(|group| group.unpolled).sum();
            assert!(unpolled <= ADDED_PER_POLL_MAX);
            assert!(self.model.groups.len() <= GROUPS_PER_CONNECTION_MAX);
        }
    }

    /// The oldest answer arrives.
    fn answer(&mut self) {
        let Some((ask, outcome)) = self.in_flight.pop_front() else {
            return;
        };
        let fate = match (ask, outcome) {
            (Ask::Add(chunk), Ok(_)) => {
                self.groups.added(&chunk);
                Ok(())
            }
            (Ask::Add(chunk), Err(fault)) => {
                self.groups
                    .add_refused(&chunk, fault == code::UNKNOWN_CONTROL);
                Ok(())
            }
            (Ask::Poll(key), Ok(changes)) => {
                self.seen.extend(changes);
                if self.groups.polled(self.now, key) {
                    assert!(self.groups.is_complete());
                }
                Ok(())
            }
            (Ask::Poll(key), Err(_)) => self.groups.forgotten(self.now, key),
            (Ask::AutoPoll(_) | Ask::Invalidate(_) | Ask::Destroy(_), _) => Ok(()),
        };
        self.given_up |= fate.is_err();
    }

    /// An answer never arrives.
    fn lose(&mut self, at: usize) {
        if self.in_flight.is_empty() {
            return;
        }
        let (ask, _) = self.in_flight.remove(at % self.in_flight.len()).unwrap();
        let fate = match ask {
            Ask::Add(chunk) => self.groups.add_lost(chunk),
            Ask::Poll(key) => self.groups.poll_lost(self.now, key),
            Ask::AutoPoll(_) | Ask::Invalidate(_) | Ask::Destroy(_) => Ok(()),
        };
        self.given_up |= fate.is_err();
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.groups.tick(self.now);
    }

    /// Everything goes well from here on.
    fn come_to_rest(&mut self) {
        for _ in 0..20 {
            self.pass(1_000);
            self.send();
            while !self.in_flight.is_empty() && !self.given_up {
                self.answer();
                self.send();
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Send,
    Answer,
    Lose(usize),
    Change(usize),
    Forget,
    Pass(u64),
    Watch(Vec<usize>),
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Send),
        6 => Just(Op::Answer),
        1 => any::<usize>().prop_map(Op::Lose),
        4 => any::<usize>().prop_map(Op::Change),
        1 => Just(Op::Forget),
        2 => (0_u64..800).prop_map(Op::Pass),
        1 => prop::collection::vec(any::<usize>(), 0..30).prop_map(Op::Watch),
    ]
}

proptest! {
    #[test]
    fn no_change_is_ever_lost_for_good(
        (components, controls, unknown) in (0_usize..6, 1_usize..40, 0_usize..9),
        ops in prop::collection::vec(ops(), 0..150),
    ) {
        let mut bench = Bench::new(components, controls, unknown);
        for op in ops {
            match op {
                Op::Send => bench.send(),
                Op::Answer => bench.answer(),
                Op::Lose(at) => bench.lose(at),
                // In the middle of a registration nobody could tell: the next one makes the group anew.
                Op::Forget if bench.groups.queue.is_empty() && bench.in_flight.is_empty() => bench.model.groups.clear(),
                Op::Forget => {}
                Op::Pass(millis) => bench.pass(millis),
                Op::Change(at) => {
                    if let Some(name) = bench.names.get(at % bench.names.len().max(1)).cloned() {
                        bench.model.change(&name);
                    }
                }
                Op::Watch(picks) => {
                    let pick = |at: usize| {
                        let (component, control) = bench.names.get(at % bench.names.len().max(1))?;
                        Some(ControlRef { component: Some(component.parse().ok()?), control: control.parse().ok()? })
                    };
                    let wanted = picks.into_iter().filter_map(pick).collect();
                    if bench.groups.is_complete() {
                        bench.groups.watch(bench.now, &wanted);
                    }
                }
            }
            if bench.given_up {
                return Ok(());
            }
        }
        bench.come_to_rest();
        if !bench.given_up {
            prop_assert!(bench.groups.is_complete());
            prop_assert_eq!(&bench.seen, &bench.model.values);
        }
    }
}

#[test]
fn a_large_design_is_polled_after_every_two_thousand_controls_and_spread_over_three_groups() {
    let mut bench = Bench::new(100, 650, 0);
    bench.come_to_rest();
    assert!(bench.groups.is_complete());
    assert_eq!(bench.seen.len(), 65_000);
    assert_eq!(bench.groups.registered(), 3);
    assert!(
        bench
            .model
            .groups
            .values()
            .all(|group| group.len() <= GROUP_CONTROLS_MAX)
    );
}

#[test]
fn controls_beyond_the_mirrors_bound_are_left_out_and_counted() {
    let bench = Bench::new(101, 650, 0);
    assert_eq!(bench.groups.members(), CONTROLS_MAX);
    assert_eq!(bench.groups.left_out(), 65_650 - CONTROLS_MAX);
}

#[test]
fn names_that_no_control_can_have_are_not_asked_for() {
    let mut groups = Groups::new(PACE);
    let long = "x".repeat(NAME_MAX_BYTES + 1);
    let names = ["", "good", "two\nlines", &long];
    groups.plan(Instant::now(), Some("C"), names.into_iter());
    assert_eq!(groups.members(), 1);
}

#[test]
fn an_unknown_control_costs_only_itself() {
    let mut bench = Bench::new(1, 64, 0);
    bench.model.values.remove(&("C0".into(), "c.17".into()));
    bench.come_to_rest();
    assert!(bench.groups.is_complete());
    assert_eq!(bench.seen.len(), 63);
}

#[test]
fn everything_is_confirmed_only_when_every_slow_group_was_polled() {
    let mut bench = Bench::new(40, 650, 0);
    bench.come_to_rest();
    let keys: Vec<_> = bench.groups.groups.iter().map(|group| group.key).collect();
    assert_eq!(keys.len(), 2);
    bench.pass(1_000);
    assert!(!bench.groups.polled(bench.now, keys[0]));
    assert!(!bench.groups.polled(bench.now, keys[0]));
    assert!(bench.groups.polled(bench.now, keys[1]));
    assert!(!bench.groups.polled(bench.now, keys[1]));
}

#[test]
fn a_fast_group_lives_only_as_long_as_somebody_watches() {
    let mut bench = Bench::new(1, 4, 0);
    bench.come_to_rest();
    let wanted = BTreeSet::from([ControlRef {
        component: Some("C0".parse().unwrap()),
        control: "c.1".parse().unwrap(),
    }]);
    bench.groups.watch(bench.now, &wanted);
    bench.come_to_rest();
    assert_eq!(bench.model.groups.len(), 2);
    assert_eq!(bench.groups.next_deadline(), Some(bench.now + PACE.fast));
    bench.groups.watch(bench.now, &BTreeSet::new());
    bench.come_to_rest();
    assert_eq!(bench.model.groups.len(), 1);
    assert_eq!(bench.groups.next_deadline(), Some(bench.now + PACE.slow));
}

#[test]
fn a_push_that_stops_is_replaced_by_polls_that_report_everything_once() {
    let mut groups = Groups::new(Pace {
        auto_poll: true,
        ..PACE
    });
    let now = Instant::now();
    groups.plan(now, Some("C"), ["a"].into_iter());
    let Some(Ask::Add(chunk)) = groups.next(now) else {
        panic!("an Add comes first")
    };
    groups.added(&chunk);
    let Some(Ask::Poll(key)) = groups.next(now) else {
        panic!("then a poll")
    };
    assert!(groups.polled(now, key));
    let due = now + PACE.slow;
    assert_eq!(groups.next(due), Some(Ask::AutoPoll(key)));
    groups.auto_poll_answered(due, key, true);
    assert!(groups.pushed(due + PACE.slow, "rackhand-all-0"));
    assert_eq!(groups.next(due + PACE.slow), None);
    let silent = due + PACE.slow + PUSH_SILENCE;
    assert_eq!(groups.next_deadline(), Some(silent));
    assert!(groups.tick(silent));
    assert_eq!(groups.next(silent), Some(Ask::Invalidate(key)));
    assert_eq!(groups.next(silent), Some(Ask::Poll(key)));
}

#[test]
fn a_group_that_fails_three_times_in_a_row_is_given_up() {
    let mut bench = Bench::new(1, 4, 0);
    bench.come_to_rest();
    let key = bench.groups.groups[0].key;
    let fates: Vec<_> = (0..3)
        .map(|_| bench.groups.poll_lost(bench.now, key))
        .collect();
    assert_eq!(fates, [Ok(()), Ok(()), Err(GiveUp)]);
}
