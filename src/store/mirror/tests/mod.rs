//! What the mirror promises, without a runtime: time is an argument.

mod events;

use std::time::Duration;

use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::Instant;

use super::*;
use crate::limits::{COMPONENTS_MAX, CONTROLS_MAX, METER_CHANGES_MAX, TEXT_MAX_BYTES};
use crate::model::name::ControlRef;
use crate::store::view::Reading;
use crate::wire::qrc::Controls;

pub(in crate::store) fn engine(code: &str) -> EngineStatus {
    serde_json::from_value(
        serde_json::json!({ "State": "Active", "DesignName": "Hall", "DesignCode": code }),
    )
    .unwrap()
}

pub(in crate::store) fn facts(name: &str, kind: &str) -> ComponentFacts {
    let facts = serde_json::json!({
        "Name": name, "Type": kind, "Properties": [{ "Name": "n", "Value": "8" }]
    });
    serde_json::from_str(&facts.to_string()).unwrap()
}

/// A component with these controls: name, type, direction, value.
pub(in crate::store) fn tell(
    mirror: &Mirror,
    name: &str,
    kind: &str,
    controls: &[(&str, &str, &str, f64)],
    now: Instant,
) {
    let controls: Vec<_> = controls
        .iter()
        .map(|(name, kind, direction, value)| {
            serde_json::json!({
                "Name": name, "Type": kind, "Direction": direction, "Value": value, "String": format!("{value}dB"),
                "Position": 0.5, "ValueMin": -100.0, "ValueMax": 20.0, "StringMin": "-100dB", "StringMax": "20dB"
            })
        })
        .collect();
    let text = serde_json::json!({ "Name": name, "Controls": controls }).to_string();
    let controls: Controls<'_> = serde_json::from_str(&text).unwrap();
    ChangeSink::component(mirror, &facts(name, kind), &controls.controls, now);
}

pub(in crate::store) fn change(
    mirror: &Mirror,
    component: Option<&str>,
    name: &str,
    value: f64,
    now: Instant,
) {
    let mut change = ControlChange::new(component.map(Into::into), name.into());
    change.value = Some(crate::wire::qrc::Scalar::Number(value));
    change.string = Some(format!("{value}dB").into());
    mirror.values(&[change], now);
}

pub(in crate::store) fn id(
    mirror: &Mirror,
    component: Option<&str>,
    control: &str,
) -> Option<ControlId> {
    mirror.find(&ControlRef {
        component: component.map(|name| name.parse().unwrap()),
        control: control.parse().unwrap(),
    })
}

pub(in crate::store) fn reading(
    mirror: &Mirror,
    component: &str,
    control: &str,
    now: Instant,
) -> Reading {
    let id = id(mirror, Some(component), control).unwrap();
    let table = mirror.table.read();
    table.reading(table.slot(id.0).unwrap(), now)
}

const SECOND: Duration = Duration::from_secs(1);

fn hall(now: Instant) -> Mirror {
    let mirror = Mirror::new(now);
    mirror.design_began(&engine("a"), now);
    tell(
        &mirror,
        "Gain",
        "gain",
        &[
            ("gain", "Float", "Read/Write", -6.0),
            ("mute", "Boolean", "Read/Write", 0.0),
        ],
        now,
    );
    tell(
        &mirror,
        "Mixer",
        "mixer",
        &[("input.1.gain", "Float", "Read/Write", 0.0)],
        now,
    );
    mirror.named_control("MainVolume", now);
    mirror.design_ended(now);
    mirror
}

#[test]
fn a_reading_carries_value_text_position_quality_and_age() {
    let start = Instant::now();
    let mirror = hall(start);
    let first = reading(&mirror, "Gain", "gain", start + SECOND);
    assert_eq!(
        (first.value, first.string.as_str(), first.position),
        (Some(-6.0), "-6dB", Some(0.5))
    );
    assert_eq!(
        (first.quality, first.age, first.changed),
        (Quality::Live, Some(SECOND), None)
    );
    change(&mirror, Some("Gain"), "gain", -3.0, start + 2 * SECOND);
    mirror.confirmed(start + 2 * SECOND);
    let moved = reading(&mirror, "Gain", "gain", start + 3 * SECOND);
    assert_eq!((moved.value, moved.age), (Some(-3.0), Some(SECOND)));
    assert!(moved.changed.unwrap() < SECOND + Duration::from_millis(64));
    let view = mirror
        .control(id(&mirror, Some("Gain"), "gain").unwrap())
        .unwrap();
    assert_eq!(
        (view.range, view.name.to_string()),
        (Some((-100.0, 20.0)), "Gain/gain".into())
    );
}

#[test]
fn a_lost_link_makes_readings_stale_until_they_are_reported_or_confirmed() {
    let start = Instant::now();
    let mirror = hall(start);
    let mut notices = mirror.subscribe();
    mirror.confirmed(start);
    assert_eq!(mirror.status().quality, Quality::Live);
    mirror.went_stale(start + SECOND);
    assert_eq!(
        reading(&mirror, "Gain", "gain", start + SECOND).quality,
        Quality::Stale
    );
    mirror.design_began(&engine("a"), start + 2 * SECOND);
    change(&mirror, Some("Gain"), "gain", -6.0, start + 2 * SECOND);
    assert_eq!(
        reading(&mirror, "Gain", "gain", start + 2 * SECOND).quality,
        Quality::Live
    );
    assert_eq!(
        reading(&mirror, "Gain", "mute", start + 2 * SECOND).quality,
        Quality::Stale
    );
    mirror.confirmed(start + 3 * SECOND);
    let confirmed = reading(&mirror, "Gain", "mute", start + 4 * SECOND);
    assert_eq!(
        (confirmed.quality, confirmed.age),
        (Quality::Live, Some(SECOND))
    );
    let said: Vec<_> = std::iter::from_fn(|| notices.try_recv().ok()).collect();
    assert!(
        matches!(
            said.as_slice(),
            [
                Notice::Quality(Quality::Live),
                Notice::Quality(Quality::Stale),
                Notice::Quality(Quality::Live)
            ]
        ),
        "{said:?}"
    );
}

#[test]
fn a_named_control_has_no_component_and_is_unknown_until_its_first_value() {
    let now = Instant::now();
    let mirror = hall(now);
    let volume = id(&mirror, None, "MainVolume").unwrap();
    assert_eq!(mirror.reading(volume).unwrap().quality, Quality::Unknown);
    change(&mirror, None, "MainVolume", 0.25, now);
    assert_eq!(mirror.reading(volume).unwrap().value, Some(0.25));
    assert_eq!(mirror.named_controls().len(), 1);
    assert_eq!(mirror.control(volume).unwrap().name.component, None);
    change(&mirror, None, "Nobody", 1.0, now);
    assert_eq!(id(&mirror, None, "Nobody"), None);
}

#[test]
fn another_design_voids_what_was_known_and_says_what_came_and_went() {
    let now = Instant::now();
    let mirror = hall(now);
    let generation = mirror.status().generation;
    let mixer = id(&mirror, Some("Mixer"), "input.1.gain").unwrap();
    let mut notices = mirror.subscribe();
    mirror.design_began(&engine("b"), now);
    let gain = mirror
        .reading(id(&mirror, Some("Gain"), "gain").unwrap())
        .unwrap();
    assert_eq!(
        (gain.quality, gain.value, gain.string.as_str()),
        (Quality::Unknown, None, "")
    );
    tell(
        &mirror,
        "Gain",
        "gain",
        &[("gain", "Float", "Read/Write", -1.0)],
        now,
    );
    tell(
        &mirror,
        "Router",
        "router_with_output",
        &[("select.1", "Integer", "Read/Write", 2.0)],
        now,
    );
    mirror.design_ended(now);
    assert_eq!(mirror.control(mixer), None);
    assert!(mirror.status().generation > generation);
    assert_eq!(
        (mirror.status().components, mirror.status().controls),
        (2, 2)
    );
    assert!(matches!(
        notices.try_recv(),
        Ok(Notice::Quality(Quality::Unknown))
    ));
    let Ok(Notice::Design { diff }) = notices.try_recv() else {
        panic!("no diff")
    };
    assert_eq!((diff.appeared, diff.vanished, diff.kept), (1, 3, 1));
    assert_eq!(
        (
            diff.components_appeared.as_slice(),
            diff.components_vanished.as_slice()
        ),
        (&["Router".into()][..], &["Mixer".into()][..])
    );
}

#[test]
fn the_same_design_told_again_is_no_news() {
    let now = Instant::now();
    let mirror = hall(now);
    change(&mirror, None, "MainVolume", 0.25, now);
    let before = (
        mirror.status().generation,
        id(&mirror, Some("Gain"), "mute"),
    );
    let mut notices = mirror.subscribe();
    mirror.design_began(&engine("a"), now);
    tell(
        &mirror,
        "Gain",
        "gain",
        &[
            ("gain", "Float", "Read/Write", -6.0),
            ("mute", "Boolean", "Read/Write", 1.0),
        ],
        now,
    );
    tell(
        &mirror,
        "Mixer",
        "mixer",
        &[("input.1.gain", "Float", "Read/Write", 0.0)],
        now,
    );
    mirror.named_control("MainVolume", now);
    mirror.design_ended(now);
    assert_eq!(
        (
            mirror.status().generation,
            id(&mirror, Some("Gain"), "mute")
        ),
        before
    );
    let Ok(Notice::Changed(moved)) = notices.try_recv() else {
        panic!("the mute moved")
    };
    assert_eq!(Some(moved[0]), before.1);
    assert!(matches!(notices.try_recv(), Err(TryRecvError::Empty)));
}

#[test]
fn beyond_its_bounds_the_mirror_refuses_and_counts() {
    let now = Instant::now();
    let mirror = Mirror::new(now);
    mirror.design_began(&engine("a"), now);
    let controls: Vec<_> = (0..17).map(|n| format!("c{n}")).collect();
    let controls: Vec<_> = controls
        .iter()
        .map(|name| (name.as_str(), "Float", "Read/Write", 1.0))
        .collect();
    for n in 0..=COMPONENTS_MAX {
        tell(&mirror, &format!("Component {n}"), "gain", &controls, now);
    }
    let status = mirror.status();
    assert_eq!(
        (status.components, status.controls),
        (COMPONENTS_MAX, CONTROLS_MAX)
    );
    let wanted = (COMPONENTS_MAX + 1) * 17 + 1;
    assert_eq!(
        status.refused,
        u64::try_from(wanted - CONTROLS_MAX).unwrap()
    );
    mirror.design_ended(now);
    // A design of other names takes the room of the old one while it is still being told.
    mirror.design_began(&engine("b"), now);
    for n in 0..COMPONENTS_MAX {
        tell(&mirror, &format!("Other {n}"), "gain", &controls[..16], now);
    }
    mirror.design_ended(now);
    assert_eq!(
        (mirror.status().refused, mirror.status().controls),
        (0, CONTROLS_MAX)
    );
}

#[test]
fn names_that_cannot_be_are_refused() {
    let now = Instant::now();
    let mirror = Mirror::new(now);
    mirror.design_began(&engine("a"), now);
    tell(
        &mirror,
        "Bad\u{7}",
        "gain",
        &[("gain", "Float", "", 1.0)],
        now,
    );
    tell(
        &mirror,
        "Good",
        "gain",
        &[("", "Float", "", 1.0), ("g", "Float", "", 1.0)],
        now,
    );
    mirror.design_ended(now);
    assert_eq!((mirror.status().controls, mirror.status().refused), (1, 3));
}

#[test]
fn a_name_that_cannot_be_drops_nothing_of_the_design_before() {
    let now = Instant::now();
    let mirror = hall(now);
    let gain = id(&mirror, Some("Gain"), "gain");
    mirror.design_began(&engine("b"), now);
    mirror.named_control("Bad\u{7}", now);
    assert_eq!(id(&mirror, Some("Gain"), "gain"), gain);
}

#[test]
fn components_without_controls_make_room_as_well() {
    let now = Instant::now();
    let mirror = Mirror::new(now);
    for code in ["a", "b"] {
        mirror.design_began(&engine(code), now);
        for n in 0..COMPONENTS_MAX {
            tell(&mirror, &format!("{code} {n}"), "gain", &[], now);
        }
    }
    mirror.design_ended(now);
    let status = mirror.status();
    assert_eq!((status.components, status.refused), (COMPONENTS_MAX, 0));
}

#[test]
fn a_long_text_is_cut_at_a_character_and_flagged() {
    let now = Instant::now();
    let mirror = hall(now);
    let mut long = ControlChange::new(Some("Gain".into()), "mute".into());
    long.string = Some("ä".repeat(TEXT_MAX_BYTES).into());
    mirror.values(&[long], now);
    let cut = reading(&mirror, "Gain", "mute", now);
    assert!(cut.truncated);
    assert_eq!(cut.string.len(), TEXT_MAX_BYTES);
    change(&mirror, Some("Gain"), "mute", 1.0, now);
    assert!(!reading(&mirror, "Gain", "mute", now).truncated);
}

#[test]
fn what_never_rests_is_a_meter_and_owes_the_store_nothing() {
    let now = Instant::now();
    let mirror = Mirror::new(now);
    mirror.design_began(&engine("a"), now);
    let controls = [
        ("meter.1", "Float", "Read Only", 0.0),
        ("load", "Float", "Read Only", 0.0),
        ("gain", "Float", "Read/Write", 0.0),
    ];
    tell(&mirror, "Amp", "amplifier", &controls, now);
    mirror.design_ended(now);
    mirror.table.write().take_owed();
    for n in 0..=METER_CHANGES_MAX {
        for (name, ..) in controls {
            change(&mirror, Some("Amp"), name, f64::from(n) + 0.5, now);
        }
    }
    let owed = |mirror: &Mirror| {
        let controls = mirror.table.write().take_owed().controls;
        let names = controls.iter().map(|id| {
            mirror
                .control(ControlId(*id))
                .unwrap()
                .name
                .control
                .to_string()
        });
        names.collect::<Vec<_>>()
    };
    // `load` is stored once more, as a meter without a value.
    assert_eq!(owed(&mirror), ["load", "gain"]);
    for (name, ..) in controls {
        change(&mirror, Some("Amp"), name, 99.0, now);
    }
    assert_eq!(owed(&mirror), ["gain"]);
    assert!(
        mirror
            .control(id(&mirror, Some("Amp"), "load").unwrap())
            .unwrap()
            .is_meter
    );
}

#[test]
fn a_slow_subscriber_is_resynced_not_buffered() {
    let now = Instant::now();
    let mirror = hall(now);
    let mut notices = mirror.subscribe();
    for n in 0..1_000 {
        change(&mirror, Some("Gain"), "gain", f64::from(n), now);
    }
    assert!(matches!(notices.try_recv(), Err(TryRecvError::Lagged(_))));
}

#[test]
fn choices_colours_and_legends_are_kept_within_their_budget() {
    let now = Instant::now();
    let mirror = hall(now);
    let mut look = ControlChange::new(Some("Gain".into()), "mute".into());
    look.choices = Some(vec!["Laptop".into(), "Camera".into()]);
    look.color = Some("#FF0000".into());
    look.disabled = Some(true);
    mirror.values(std::slice::from_ref(&look), now);
    let mute = id(&mirror, Some("Gain"), "mute").unwrap();
    let view = mirror.control(mute).unwrap();
    assert_eq!(
        (
            view.choices.len(),
            view.look.color.as_str(),
            view.look.is_disabled
        ),
        (2, "#FF0000", true)
    );
    look.choices = Some((0..300_000).map(|n| n.to_string().into()).collect());
    mirror.values(&[look], now);
    assert!(mirror.control(mute).unwrap().choices.is_empty());
    assert_eq!(mirror.status().trimmed, 1);
}

#[test]
fn search_finds_by_every_word_and_forgives_a_slip() {
    let now = Instant::now();
    let mirror = hall(now);
    let texts = |hits: Vec<SearchHit>| -> Vec<String> {
        let text = |hit: SearchHit| {
            format!(
                "{}/{}",
                hit.component.unwrap_or_default(),
                hit.control.unwrap_or_default()
            )
        };
        hits.into_iter().map(text).collect()
    };
    assert_eq!(
        texts(mirror.search("GAIN", &[], 10)),
        ["Gain/", "Gain/gain", "Mixer/input.1.gain"]
    );
    assert_eq!(
        texts(mirror.search("mixer gain", &[], 10)),
        ["Mixer/input.1.gain"]
    );
    assert_eq!(texts(mirror.search("mixxer", &[], 10)), ["Mixer/"]);
    assert_eq!(
        texts(mirror.search("main", &[SearchKind::Control], 10)),
        ["/MainVolume"]
    );
    assert_eq!(mirror.nearest_components("gian", 3), ["Gain"]);
    assert_eq!(mirror.nearest_controls(Some("Gain"), "mut", 3), ["mute"]);
    let (page, total) = mirror.components(&mut |view| view.controls > 0, 1, 5);
    assert_eq!((page.len(), page[0].name.as_str(), total), (1, "Mixer", 2));
}
