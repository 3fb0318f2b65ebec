//! Each check at its edges, and the board over any run of facts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::time::Instant;

use super::Level::{Degraded, Healthy, Unhealthy};
use super::*;
use crate::base::clock::UnixMillis;
use crate::config::{Config, DEFAULT_TOML};
use crate::link::{BreakerState, LinkState};
use crate::model::control::Quality;
use crate::ops::host::Power;
use crate::ops::host::disk::Fill;

fn config() -> HealthConfig {
    let text = DEFAULT_TOML.replace("address = \"\"", "address = \"core\"");
    Config::load(&text, &BTreeMap::new()).unwrap().health
}

fn judged(name: &str, facts: &Facts, was: Level) -> Finding {
    let check = CHECKS.iter().find(|check| check.name == name).unwrap();
    (check.judge)(facts, &config(), was)
}

fn level(name: &str, facts: &Facts) -> Level {
    judged(name, facts, Healthy).level
}

fn core() -> CoreFacts {
    let mut link = LinkStatus::new("192.168.5.10".to_owned(), Instant::now());
    link.state = LinkState::Live;
    CoreFacts {
        name: "hall".to_owned(),
        link,
        silent: Some(Duration::ZERO),
        drops: 0,
        mirror: MirrorStatus {
            engine: None,
            components: 10,
            controls: 100,
            refused: 0,
            trimmed: 0,
            quality: Quality::Live,
            confirmed: Some(Duration::ZERO),
            generation: 1,
            changes: 0,
        },
    }
}

fn with_core(change: impl FnOnce(&mut CoreFacts)) -> Facts {
    let mut core = core();
    change(&mut core);
    Facts {
        cores: vec![core],
        ..Facts::default()
    }
}

fn fill(percent: u64) -> Fill {
    Fill {
        percent,
        free: 1 << 30,
    }
}

#[test]
fn a_box_that_is_told_nothing_is_not_ill() {
    for check in &CHECKS {
        let finding = (check.judge)(&Facts::default(), &config(), Healthy);
        assert_eq!(finding.level, Healthy, "{}", check.name);
    }
}

#[test]
fn an_unreachable_core_is_degraded_in_every_state_and_never_more() {
    assert_eq!(level("link", &with_core(|_| {})), Healthy);
    for state in [
        LinkState::Connecting,
        LinkState::AwaitEngineStatus,
        LinkState::LoggingOn,
        LinkState::Enumerating,
        LinkState::Subscribing,
        LinkState::Standby,
        LinkState::Backoff,
        LinkState::Refused,
    ] {
        let facts = with_core(|core| {
            core.link.state = state;
            core.link.breaker = BreakerState::Open;
            core.link.last_fault = "connection refused".to_owned();
            core.drops = 8;
        });
        let finding = judged("link", &facts, Healthy);
        assert_eq!(finding.level, Degraded);
        for word in [
            "hall",
            state.as_str(),
            "connection refused",
            "breaker is open",
        ] {
            assert!(finding.reason.contains(word), "{word}: {}", finding.reason);
        }
    }
    let silent = with_core(|core| core.silent = Some(Duration::from_secs(31)));
    assert_eq!(level("link", &silent), Degraded);
    let dropping = with_core(|core| core.drops = 6);
    assert_eq!(level("link", &dropping), Degraded);
    assert_eq!(level("link", &with_core(|core| core.drops = 5)), Healthy);
}

#[test]
fn what_a_mirror_lacks_is_named_and_what_steers_a_terminal_is_not() {
    let facts = with_core(|core| {
        core.mirror.refused = 7;
        core.link.unlisted_components = vec!["Bad\u{1b}[2J: boom".to_owned()];
        core.link.oversize_components = (0..40).map(|number| format!("Huge {number}")).collect();
    });
    let finding = judged("mirror", &facts, Healthy);
    assert_eq!(finding.level, Degraded);
    assert!(finding.reason.contains("not mirrored: 7"));
    assert!(finding.reason.contains("Huge 9, ...") && !finding.reason.contains("Huge 10"));
    assert!(!finding.reason.contains('\u{1b}'));
    let stale = with_core(|core| core.mirror.confirmed = Some(Duration::from_mins(1)));
    assert_eq!(level("mirror", &stale), Degraded);
    let full = with_core(|core| core.mirror.controls = 60_000);
    assert_eq!(level("mirror", &full), Degraded);
    let idle = Facts {
        idle_rules: ["Annex*/gain".to_owned()].into(),
        ..Facts::default()
    };
    assert_eq!(level("rules", &idle), Degraded);
}

#[test]
fn a_store_or_a_trail_that_is_not_written_degrades_and_says_so() {
    let mut facts = Facts::default();
    facts.store.fault = Some("no space".to_owned());
    facts.audit.fault = Some("no space".to_owned());
    facts.audit.waiting = 3;
    assert!(judged("store", &facts, Healthy).reason.contains("no space"));
    assert!(
        judged("audit", &facts, Healthy)
            .reason
            .starts_with("3 lines")
    );
    let mut facts = Facts {
        flushed: Some(Duration::from_mins(2)),
        ..Facts::default()
    };
    assert_eq!(level("store", &facts), Healthy, "nothing is owed");
    facts.store.queue = 1;
    assert_eq!(level("store", &facts), Degraded);
    facts.store = StoreStatus {
        quarantined: Some("torn".to_owned()),
        ..StoreStatus::default()
    };
    assert_eq!(level("store", &facts), Degraded);
}

#[test]
fn a_disk_is_as_ill_as_it_is_full_and_unhealthy_when_it_does_not_answer() {
    let full = |data, temporary| {
        let mut facts = Facts::default();
        (facts.disks.data, facts.disks.temporary) = (Some(fill(data)), Some(fill(temporary)));
        level("disk", &facts)
    };
    assert_eq!(full(84, 84), Healthy);
    assert_eq!(full(85, 10), Degraded);
    assert_eq!(full(95, 10), Unhealthy);
    assert_eq!(full(10, 99), Degraded, "nothing of the box's own is there");
    let mut facts = Facts {
        disk_silent: Some(Duration::from_secs(5)),
        ..Facts::default()
    };
    assert_eq!(level("disk", &facts), Healthy);
    facts.disk_silent = Some(Duration::from_millis(5_001));
    assert_eq!(level("disk", &facts), Unhealthy);
    facts.disk_silent = None;
    facts.disks.fault = Some("Read-only file system".to_owned());
    assert_eq!(level("disk", &facts), Degraded);
}

#[test]
fn memory_is_measured_against_the_budget_the_limit_and_the_machine() {
    let mut facts = Facts::default();
    facts.host.rss = Some(250 << 20);
    assert_eq!(level("memory", &facts), Healthy);
    facts.host.limit = Some(256 << 20);
    assert_eq!(level("memory", &facts), Unhealthy);
    facts.host.limit = Some(280 << 20);
    assert_eq!(level("memory", &facts), Degraded);
    facts.host.limit = Some(2 << 30);
    assert_eq!(level("memory", &facts), Healthy);
    facts.host.rss = Some(430 << 20);
    assert_eq!(level("memory", &facts), Unhealthy, "beyond the budget");
    facts.host.rss = Some(1 << 20);
    facts.host.total = Some(1_000 << 20);
    for (left, was, is) in [
        (50, Healthy, Healthy),
        (49, Healthy, Degraded),
        (52, Degraded, Degraded),
        (54, Degraded, Healthy),
    ] {
        facts.host.available = Some(left << 20);
        assert_eq!(judged("memory", &facts, was).level, is, "{left} {was}");
    }
}

#[test]
fn the_process_and_the_machine_are_ill_at_their_steps() {
    let at = |name: &str, change: &dyn Fn(&mut Facts)| {
        let mut facts = Facts::default();
        change(&mut facts);
        level(name, &facts)
    };
    let late = |millis| move |facts: &mut Facts| facts.lag.p99 = Duration::from_millis(millis);
    assert_eq!(at("event_loop", &late(99)), Healthy);
    assert_eq!(at("event_loop", &late(100)), Degraded);
    assert_eq!(at("event_loop", &late(1_000)), Unhealthy);
    let stuck = |millis| move |facts: &mut Facts| facts.stuck = Duration::from_millis(millis);
    assert_eq!(at("event_loop", &stuck(999)), Healthy);
    assert_eq!(at("event_loop", &stuck(1_000)), Degraded);
    assert_eq!(at("event_loop", &stuck(10_000)), Unhealthy);
    assert_eq!(
        at("event_loop", &|facts| facts.lag.held =
            Duration::from_secs(10)),
        Degraded
    );
    let open = |open| move |facts: &mut Facts| facts.host.descriptors = Some((open, 1_000));
    assert_eq!(at("descriptors", &open(790)), Healthy);
    assert_eq!(at("descriptors", &open(800)), Degraded);
    assert_eq!(at("descriptors", &open(950)), Unhealthy);
    assert_eq!(at("tasks", &|facts| facts.tasks = 100), Healthy);
    assert_eq!(at("tasks", &|facts| facts.tasks = 1_000_000), Degraded);
    assert_eq!(at("cpu", &|facts| facts.cpu = Some(90)), Degraded);
    let warm = |degrees| move |facts: &mut Facts| facts.host.temperature = Some(degrees);
    assert_eq!(at("temperature", &warm(74)), Healthy);
    assert_eq!(at("temperature", &warm(75)), Degraded);
    assert_eq!(at("temperature", &warm(85)), Unhealthy);
    let power = |is_low, is_throttled| {
        move |facts: &mut Facts| {
            facts.host.power = Some(Power {
                is_low,
                is_throttled,
            });
        }
    };
    assert_eq!(at("power", &power(false, false)), Healthy);
    assert_eq!(at("power", &power(true, false)), Degraded);
    assert_eq!(at("power", &power(false, true)), Degraded);
    assert_eq!(at("flash", &|facts| facts.host.flash = Some(70)), Healthy);
    assert_eq!(at("flash", &|facts| facts.host.flash = Some(80)), Degraded);
    assert_eq!(
        at("clock", &|facts| facts.host.is_clock_set = Some(true)),
        Healthy
    );
    assert_eq!(
        at("clock", &|facts| facts.host.is_clock_set = Some(false)),
        Degraded
    );
    assert_eq!(
        at("clock", &|facts| facts.host.wall = Some(UnixMillis(1))),
        Degraded
    );
    assert_eq!(at("clock", &|facts| facts.jump = Some(-3_600)), Degraded);
    let days = |days| move |facts: &mut Facts| facts.certificate_days = Some(days);
    assert_eq!(at("certificate", &days(14)), Healthy);
    assert_eq!(at("certificate", &days(13)), Degraded);
    assert_eq!(at("certificate", &days(0)), Degraded);
    assert_eq!(at("certificate", &days(-1)), Unhealthy);
}

#[test]
fn a_clock_that_jumps_is_told_for_ten_minutes_and_one_that_is_set_first_is_not() {
    let mut watch = ClockWatch::default();
    let day = 1_800_000_000_000;
    // Set at last, from a moment before this program was made.
    assert_eq!(watch.look(UnixMillis(5_000), 5_000, false, 5), None);
    assert_eq!(watch.look(UnixMillis(day), 10_000, true, 5), None);
    assert_eq!(watch.look(UnixMillis(day + 60_000), 70_000, true, 5), None);
    // Slewed by less than is worth a word.
    assert_eq!(
        watch.look(UnixMillis(day + 124_900), 130_000, true, 5),
        None
    );
    assert_eq!(
        watch.look(UnixMillis(day + 3_784_900), 190_000, true, 5),
        Some(3_600)
    );
    assert_eq!(
        watch.look(UnixMillis(day + 4_384_800), 789_900, true, 5),
        Some(3_600)
    );
    assert_eq!(
        watch.look(UnixMillis(day + 4_384_900), 790_000, true, 5),
        None
    );
    assert_eq!(watch.look(UnixMillis(day), 791_000, true, 5), Some(-4_385));
}

#[test]
fn links_lost_are_counted_for_an_hour() {
    let (mut drops, begin) = (Drops::default(), Instant::now());
    assert_eq!(drops.count(0, begin), 0);
    assert_eq!(drops.count(2, begin), 2);
    let later = begin + Duration::from_mins(50);
    assert_eq!(drops.count(3, later), 3);
    assert_eq!(drops.count(3, begin + Duration::from_mins(61)), 1);
    assert_eq!(drops.count(50, later), 8);
}

fn grown(hours: u64, rss: impl Fn(u64) -> u64) -> Option<u64> {
    let (mut growth, begin) = (Growth::default(), Instant::now());
    for minute in 0..=hours * 60 {
        growth.sample(begin + Duration::from_secs(minute * 60), rss(minute));
    }
    growth.slope()
}

#[test]
fn a_leak_shows_through_peaks_and_a_warm_start_does_not_look_like_one() {
    let mib = 1_u64 << 20;
    let leaky = |minute: u64| {
        let peak = if minute % 90 < 10 { 60 * mib } else { 0 };
        30 * mib + minute * 2 * mib / 60 + peak
    };
    let slope = grown(8, leaky).unwrap();
    assert!((1_900..=2_200).contains(&slope), "{slope}");
    let facts = Facts {
        growth: Some(slope),
        ..Facts::default()
    };
    assert_eq!(level("memory_growth", &facts), Degraded);
    assert_eq!(grown(6, leaky), None, "too early to tell");
    let warming = |minute: u64| 20 * mib + minute.min(70) * mib;
    assert_eq!(grown(8, warming), Some(0));
    let breathing = |minute: u64| 30 * mib + (minute * 7_919 % 20) * mib;
    assert!(grown(8, breathing).unwrap() < 1_024);
    assert_eq!(grown(8, |minute| (600 - minute) * mib), Some(0));
}

fn disk_facts(percent: u64) -> Facts {
    let mut facts = Facts::default();
    facts.disks.data = Some(fill(percent));
    facts
}

#[test]
fn the_board_says_what_changed_since_when_and_counts() {
    let (config, begin) = (config(), Instant::now());
    let mut board = Board::new(begin);
    let at = |secs| begin + Duration::from_secs(secs);
    let mut judge = |percent, secs, ready| {
        let wall = UnixMillis(secs * 1_000);
        let changes = board.judge(&disk_facts(percent), ready, &config, at(secs), wall);
        (changes, board.report())
    };
    let (changes, report) = judge(90, 0, Some("No design is known yet."));
    assert!(changes.is_empty(), "how it is found is no change");
    let disk = report.check("disk").unwrap();
    assert_eq!((disk.level, disk.last_good), (Degraded, None));
    assert_eq!(
        (report.level, report.not_ready),
        (Degraded, Some("No design is known yet."))
    );
    let (changes, report) = judge(10, 10, None);
    assert_eq!((changes[0].from, changes[0].to), (Degraded, Healthy));
    assert_eq!(
        (report.level, report.not_ready, report.changed),
        (Healthy, None, 1)
    );
    let (changes, report) = judge(96, 20, None);
    let sentence = changes[0].sentence();
    assert!(
        sentence.starts_with(
            "Health: disk is UNHEALTHY, it was HEALTHY. The disk with the data folder is 96 % full"
        ),
        "{sentence}"
    );
    let disk = report.check("disk").unwrap();
    assert_eq!(
        (disk.since, disk.last_good, disk.changes),
        (at(20), Some(at(20)), 2)
    );
    let (changes, again) = judge(96, 30, None);
    assert!(
        changes.is_empty() && Arc::ptr_eq(&report, &again),
        "nothing new"
    );
    let (changes, report) = judge(97, 40, None);
    assert!(changes.is_empty());
    let disk = report.check("disk").unwrap();
    assert!(disk.reason.contains("97 %"));
    assert_eq!(disk.since, at(20));
    let (_, report) = judge(90, 50, None);
    let disk = report.check("disk").unwrap();
    assert_eq!(disk.level, Unhealthy, "within the band");
    let (_, report) = judge(88, 60, None);
    let value = report.to_json("DEGRADED", at(100), true);
    let disk = value["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["check"] == "disk");
    let disk = disk.unwrap();
    assert_eq!(disk["since_ms"], 40_000);
    assert_eq!(disk["last_good_ms"], 80_000);
    assert_eq!(value["changes_total"], 3);
    assert_eq!(value["changes"][0]["to"], "DEGRADED");
    assert_eq!(value["uptime"], 100);
}

#[test]
fn names_are_hidden_from_those_who_may_not_know_them() {
    let mut board = Board::new(Instant::now());
    let facts = with_core(|core| core.link.oversize_components = vec!["Secret Room".to_owned()]);
    board.judge(&facts, None, &config(), Instant::now(), UnixMillis(0));
    let told = |sees_names| {
        board
            .report()
            .to_json("", Instant::now(), sees_names)
            .to_string()
    };
    assert!(told(true).contains("Secret Room"));
    assert!(
        !told(false).contains("Secret Room") && told(false).contains("a key that is not bound")
    );
}

proptest! {
    #[test]
    fn a_figure_within_its_band_never_makes_noise(
        degraded in 16_u64..1_000,
        more in 0_u64..1_000,
        figures in proptest::collection::vec(0_u64..2_500, 1..60),
    ) {
        let steps = Steps { degraded, unhealthy: degraded + more };
        let mut was = Healthy;
        for figure in figures {
            let is = graded(figure, steps, was);
            for (step, level) in [(steps.degraded, Degraded), (steps.unhealthy, Unhealthy)] {
                let is_in_band = figure < step && figure * 16 >= step * 15;
                if is_in_band {
                    prop_assert_eq!(is >= level, was >= level || figure >= step, "{} {:?} {} {}", figure, steps, was, is);
                } else {
                    prop_assert_eq!(is >= level, figure >= step);
                }
            }
            was = is;
        }
    }

    #[test]
    fn since_and_last_good_never_go_back_and_changes_are_counted(
        percents in proptest::collection::vec(0_u64..101, 1..80),
    ) {
        let (config, begin) = (config(), Instant::now());
        let mut board = Board::new(begin);
        let (mut counted, mut since, mut last_good) = (0, begin, None);
        for (step, percent) in (0..).zip(percents) {
            let now = begin + Duration::from_secs(step);
            let changes = board.judge(&disk_facts(percent), None, &config, now, UnixMillis(step));
            counted += u64::try_from(changes.len()).unwrap();
            let report = board.report();
            let disk = report.check("disk").unwrap();
            prop_assert!(disk.since >= since && disk.since <= now);
            prop_assert!(disk.last_good >= last_good);
            prop_assert_eq!(report.changed, counted);
            prop_assert_eq!(report.changes.len(), usize::try_from(counted.min(32)).unwrap());
            let worst = report.standings.iter().map(|one| one.level).max().unwrap();
            prop_assert_eq!(report.level, worst);
            (since, last_good) = (disk.since, disk.last_good);
        }
    }
}
