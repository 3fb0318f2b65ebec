//! Memory that comes and goes.

use super::*;
use crate::config::Config;
use crate::ops::host::Group;

const MIB: u64 = 1 << 20;

fn config() -> HealthConfig {
    let file = "[[core]]\naddress = \"core\"\n";
    Config::load(file, &std::collections::BTreeMap::new())
        .unwrap()
        .health
}

/// A group of 100 MiB of which so many are in use.
fn used(mib: u64) -> Memory {
    Memory {
        group: Some(Group {
            used: mib * MIB,
            most: 100 * MIB,
            ..Group::default()
        }),
        ..Memory::default()
    }
}

struct Bed {
    pressure: Pressure,
    config: HealthConfig,
    now: Instant,
}

impl Bed {
    fn new() -> Self {
        Self {
            pressure: Pressure::default(),
            config: config(),
            now: Instant::now(),
        }
    }

    fn looks(&mut self, memory: &Memory, after: Duration) -> (Strain, Option<Step>) {
        self.now += after;
        let look = self.pressure.look(memory, &self.config, self.now);
        (look.strain, look.step.map(|(step, _)| step))
    }
}

#[test]
fn history_goes_first_then_watches_then_streams_for_as_long_as_it_takes() {
    let mut bed = Bed::new();
    let step = PRESSURE_STEP_PAUSE;
    assert_eq!(bed.looks(&used(79), step), (Strain::Calm, None));
    assert_eq!(
        bed.looks(&used(80), step),
        (Strain::Tight, Some(Step::History))
    );
    assert_eq!(bed.looks(&used(89), step), (Strain::Tight, None));
    for wanted in [Step::Watches, Step::Streams, Step::Streams] {
        assert_eq!(bed.looks(&used(90), step), (Strain::Critical, Some(wanted)));
    }
    assert_eq!(bed.looks(&used(90), step / 2), (Strain::Critical, None));
    assert_eq!(
        bed.looks(&used(90), step / 2),
        (Strain::Critical, Some(Step::Streams))
    );
}

#[test]
fn a_jump_to_critical_still_begins_with_history() {
    let mut bed = Bed::new();
    for wanted in [Step::History, Step::Watches, Step::Streams] {
        assert_eq!(
            bed.looks(&used(100), PRESSURE_STEP_PAUSE),
            (Strain::Critical, Some(wanted))
        );
    }
}

#[test]
fn nothing_more_is_given_up_once_the_figures_are_well_and_new_ones_come_when_they_stay_so() {
    let mut bed = Bed::new();
    let second = Duration::from_secs(1);
    bed.looks(&used(95), second);
    // At the edge it holds, and goes on giving up.
    assert_eq!(
        bed.looks(&used(85), second),
        (Strain::Critical, Some(Step::Watches))
    );
    for _ in 0..10 {
        assert_eq!(bed.looks(&used(76), second), (Strain::Critical, None));
    }
    assert_eq!(bed.looks(&used(76), second).0, Strain::Tight);
    for _ in 0..9 {
        assert_eq!(bed.looks(&used(50), second).0, Strain::Tight);
    }
    // One bad moment in between, and the wait begins anew.
    bed.looks(&used(80), second);
    for _ in 0..10 {
        assert_eq!(bed.looks(&used(50), second).0, Strain::Tight);
    }
    assert_eq!(bed.looks(&used(50), second), (Strain::Calm, None));
    assert_eq!(bed.pressure.reason(), "");
    assert_eq!(
        bed.looks(&used(90), second),
        (Strain::Critical, Some(Step::History))
    );
}

/// A process that was flooded once keeps what it freed: it was short of memory for ever after.
#[test]
fn what_stays_in_use_with_nothing_left_to_give_up_is_taken_for_settled() {
    let mut bed = Bed::new();
    let second = Duration::from_secs(1);
    bed.looks(&used(92), second);
    bed.pressure.gave(5);
    for _ in 0..60 {
        bed.looks(&used(92), second);
        bed.pressure.gave(1);
    }
    assert_eq!(bed.pressure.strain, Strain::Critical, "streams still leave");
    bed.pressure.gave(0);
    for _ in 0..30 {
        bed.now += second;
        bed.pressure.look(&used(92), &bed.config, bed.now);
    }
    assert_eq!(bed.pressure.strain, Strain::Calm);
    // There is room for some, and beyond that it is short again.
    assert_eq!(bed.looks(&used(93), second).0, Strain::Calm);
    assert_eq!(bed.looks(&used(94), second).0, Strain::Tight);
    assert_eq!(bed.looks(&used(96), second).0, Strain::Critical);
    // So near to the end nothing is taken for settled.
    bed.pressure.gave(0);
    for _ in 0..120 {
        bed.now += second;
        bed.pressure.look(&used(97), &bed.config, bed.now);
    }
    assert_eq!(bed.pressure.strain, Strain::Critical);
    for _ in 0..60 {
        bed.looks(&used(50), second);
    }
    assert_eq!(bed.looks(&used(90), second).0, Strain::Critical);
}

#[test]
fn each_step_is_new_once_in_each_shortage() {
    let mut bed = Bed::new();
    let mut first = |mib, after: Duration| {
        bed.now += after;
        let look = bed.pressure.look(&used(mib), &bed.config, bed.now);
        look.step.map(|(_, is_first)| is_first)
    };
    let step = PRESSURE_STEP_PAUSE;
    assert_eq!(
        [90; 4].map(|mib| first(mib, step)),
        [Some(true), Some(true), Some(true), Some(false)]
    );
    assert_eq!(
        [10; 3].map(|mib| first(mib, PRESSURE_EASES_AFTER)),
        [None; 3]
    );
    assert_eq!(first(80, step), Some(true));
    assert_eq!(first(80, PRESSURE_TIGHT_PAUSE), Some(false));
}

#[test]
fn every_figure_can_make_it_short_and_others_on_the_machine_never_critical() {
    let config = config();
    let steps = [config.tight, config.critical];
    let judged = |memory: &Memory| judge(memory, steps, &config, Strain::Calm);
    let budget = u64::try_from(MEMORY_BUDGET_BYTES).unwrap();
    let of = |strain, memory| {
        let (found, reason) = judged(&memory);
        assert_eq!(found, strain, "{memory:?} {reason}");
        assert_eq!(reason.is_empty(), strain == Strain::Calm, "{reason}");
    };
    let none = Memory::default;
    of(Strain::Calm, none());
    of(
        Strain::Tight,
        Memory {
            rss: Some(budget / 100 * 85),
            ..none()
        },
    );
    of(
        Strain::Critical,
        Memory {
            rss: Some(budget),
            ..none()
        },
    );
    for (stalled, strain) in [
        (9, Strain::Calm),
        (10, Strain::Tight),
        (40, Strain::Critical),
    ] {
        of(
            strain,
            Memory {
                stalled: Some(stalled),
                ..none()
            },
        );
    }
    of(
        Strain::Tight,
        Memory {
            machine_stalled: Some(99),
            ..none()
        },
    );
    for (available, strain) in [
        (5_000, Strain::Calm),
        (4_999, Strain::Tight),
        (2_499, Strain::Critical),
    ] {
        of(
            strain,
            Memory {
                total: Some(100_000),
                available: Some(available),
                ..none()
            },
        );
    }
    of(
        Strain::Critical,
        Memory {
            rss: Some(1),
            stalled: Some(0),
            ..used(99)
        },
    );
}

#[test]
fn the_less_room_there_is_the_sooner_the_next_look() {
    let bed = Bed::new();
    let pause = |used: u64, most: u64| {
        let group = Group {
            used: used * MIB,
            most: most * MIB,
            ..Group::default()
        };
        let memory = Memory {
            group: Some(group),
            ..Memory::default()
        };
        bed.pressure.pause(&memory, &bed.config)
    };
    assert_eq!(pause(5, 1_000), PRESSURE_LOOK_MAX);
    assert_eq!(pause(26, 100), Duration::from_secs(1));
    // A flood took all of so small a group between two looks of five seconds.
    assert_eq!(pause(5, 21), PRESSURE_LOOK_MIN);
    assert_eq!(pause(999, 1_000), PRESSURE_LOOK_MIN);
    assert_eq!(
        bed.pressure.pause(&Memory::default(), &bed.config),
        PRESSURE_LOOK_MAX
    );
}

#[test]
fn a_gauge_refuses_only_what_comes_while_memory_is_critical_and_counts_it() {
    let gauge = Gauge::default();
    let mut heard = gauge.watch();
    for (strain, refuses) in [
        (Strain::Calm, false),
        (Strain::Tight, false),
        (Strain::Critical, true),
    ] {
        gauge.tell(Told {
            strain,
            ..Told::default()
        });
        assert_eq!(gauge.clone().refuses(), refuses, "{strain}");
    }
    assert_eq!(gauge.refused(), 1);
    assert!(heard.has_changed().unwrap());
    heard.mark_unchanged();
    gauge.tell(Told {
        strain: Strain::Critical,
        reason: "worse".to_owned(),
        ..Told::default()
    });
    assert!(!heard.has_changed().unwrap() && gauge.told().reason == "worse");
}
