//! What the rules promise, without a runtime.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::limits::RAMP_MAX_SECS;
use crate::model::control::{ControlKind, Direction, Quality};
use crate::model::name::ControlRef;
use crate::store::view::{ControlId, ControlView, Look, Reading};

fn control(name: &str, kind: ControlKind) -> ControlView {
    let (component, control) = name.split_once('/').unwrap();
    let range = (kind == ControlKind::Float).then_some((-100.0, 20.0));
    ControlView {
        id: ControlId(1),
        name: ControlRef {
            component: Some(component.parse().unwrap()),
            control: control.parse().unwrap(),
        },
        kind,
        direction: Direction::ReadWrite,
        range,
        range_strings: None,
        choices: Arc::new([]),
        is_meter: false,
        look: Look::default(),
        reading: Reading {
            value: Some(-40.0),
            string: "-40.0dB".into(),
            truncated: false,
            position: Some(0.5),
            quality: Quality::Live,
            age: None,
            changed: None,
        },
    }
}

fn policy(protected: &[&str], ceilings: &[(&str, f64, Option<f64>)]) -> Policy {
    Policy::new(&SafetyConfig {
        writes: true,
        protected: protected.iter().map(ToString::to_string).collect(),
        snapshots: false,
        ceilings: ceilings
            .iter()
            .map(|(pattern, max_value, max_step_up)| Ceiling {
                pattern: (*pattern).to_owned(),
                max_value: *max_value,
                max_step_up: *max_step_up,
            })
            .collect(),
    })
    .unwrap()
}

fn present(value: f64, position: f64) -> Present<'static> {
    Present {
        value: Some(value),
        position: Some(position),
        string: format!("{value:.1}dB").into(),
    }
}

fn judge(policy: &Policy, control: &ControlView, write: &Write) -> Result<(), Refusal> {
    let proposal = Proposal {
        control,
        beside: &Beside::default(),
        write,
        ramp_secs: 0.0,
        expect: None,
    };
    policy.judge(&proposal, Some(&present(-40.0, 0.5)))
}

#[test]
fn every_bad_rule_is_reported_with_its_place() {
    let faults = Policy::new(&SafetyConfig {
        writes: true,
        protected: vec!["ok/*".into(), String::new(), "[x".into()],
        snapshots: false,
        ceilings: vec![Ceiling {
            pattern: "{".into(),
            max_value: f64::NAN,
            max_step_up: Some(-1.0),
        }],
    })
    .unwrap_err();
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "protected[1]",
            "protected[2]",
            "ceiling[0].max",
            "ceiling[0].max-step-up",
            "ceiling[0].pattern"
        ]
    );
}

#[test]
fn nothing_is_written_unless_the_owner_says_so() {
    let policy = Policy::new(&SafetyConfig::default()).unwrap();
    let gain = control("Gain/gain", ControlKind::Float);
    assert_eq!(
        judge(&policy, &gain, &Write::Value(-50.0)),
        Err(Refusal::WritesOff)
    );
}

#[test]
fn protection_comes_before_every_other_rule() {
    let policy = policy(&["gain/*"], &[("*", -90.0, None)]);
    let mut gain = control("Gain/gain", ControlKind::Float);
    gain.direction = Direction::ReadOnly;
    let refusal = judge(&policy, &gain, &Write::Value(500.0)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Protected {
            pattern: "gain/*".into()
        }
    );
}

#[test]
fn each_kind_takes_its_own_form_and_nothing_else() {
    let policy = policy(&[], &[]);
    let ok =
        |kind: ControlKind, write: Write| judge(&policy, &control("C/x", kind), &write).is_ok();
    assert!(ok(ControlKind::Float, Write::Value(20.0)));
    assert!(!ok(ControlKind::Float, Write::Value(20.5)));
    assert!(ok(ControlKind::Float, Write::Position(1.0)));
    assert!(!ok(ControlKind::Float, Write::Position(1.01)));
    assert!(!ok(ControlKind::Float, Write::Text("-6dB".into())));
    assert!(!ok(ControlKind::Float, Write::Switch(true)));
    assert!(ok(ControlKind::Boolean, Write::Switch(false)));
    assert!(ok(ControlKind::Boolean, Write::Value(1.0)));
    assert!(!ok(ControlKind::Boolean, Write::Value(0.4)));
    assert!(ok(ControlKind::Trigger, Write::Value(1.0)));
    assert!(ok(ControlKind::StateTrigger, Write::Switch(true)));
    assert!(!ok(ControlKind::Trigger, Write::Value(0.0)));
    assert!(ok(ControlKind::Text, Write::Text("Lobby".into())));
    assert!(!ok(ControlKind::Text, Write::Value(1.0)));
    assert!(ok(ControlKind::Integer, Write::Value(3.0)));
    assert!(!ok(ControlKind::Integer, Write::Value(3.5)));
    assert!(ok(ControlKind::Other("".into()), Write::Text("x".into())));
}

#[test]
fn a_combo_box_takes_one_of_its_choices() {
    let policy = policy(&[], &[]);
    let mut source = control("Source/select", ControlKind::Text);
    source.choices = ["HDMI 1".into(), "HDMI 2".into()].into();
    assert_eq!(
        judge(&policy, &source, &Write::Text("HDMI 2".into())),
        Ok(())
    );
    assert_eq!(
        judge(&policy, &source, &Write::Text("hdmi 2".into())),
        Err(Refusal::NotAChoice {
            choices: vec!["HDMI 1".into(), "HDMI 2".into()]
        })
    );
}

#[test]
fn a_ceiling_holds_for_values_and_positions_but_not_for_switches() {
    let policy = policy(&[], &[("Gain", -10.0, None), ("*/gain", 0.0, None)]);
    let gain = control("Gain/gain", ControlKind::Float);
    assert_eq!(policy.ceiling(&gain.name, &gain.kind), Some(-10.0));
    assert_eq!(judge(&policy, &gain, &Write::Value(-10.0)), Ok(()));
    let above = Err(Refusal::AboveCeiling {
        asked: -4.0,
        max: -10.0,
    });
    assert_eq!(judge(&policy, &gain, &Write::Value(-4.0)), above);
    assert_eq!(judge(&policy, &gain, &Write::Position(0.8)), above);
    assert_eq!(judge(&policy, &gain, &Write::Position(0.7)), Ok(()));
    let mute = control("Gain/mute", ControlKind::Boolean);
    assert_eq!(judge(&policy, &mute, &Write::Switch(true)), Ok(()));
}

#[test]
fn under_a_ceiling_what_cannot_be_converted_is_refused() {
    let policy = policy(&[], &[("*", 0.0, None)]);
    let mut named = control("C/x", ControlKind::Other("".into()));
    let text = Write::Text("20dB".into());
    assert_eq!(judge(&policy, &named, &text), Err(Refusal::CannotBeJudged));
    let half = Write::Position(0.75);
    assert_eq!(judge(&policy, &named, &half), Err(Refusal::CannotBeJudged));
    named.range = Some((20.0, 20_000.0));
    assert_eq!(
        judge(&policy, &named, &half),
        Err(Refusal::CannotBeJudged),
        "a logarithmic law was taken for a straight line"
    );
}

#[test]
fn near_an_end_of_its_way_a_position_proves_no_straight_line() {
    let policy = policy(&[], &[("*", 0.6, None)]);
    let mut level = control("C/x", ControlKind::Float);
    level.range = Some((0.0, 1.0));
    let write = Write::Position(0.5);
    let proposal = Proposal {
        control: &level,
        beside: &Beside::default(),
        write: &write,
        ramp_secs: 0.0,
        expect: None,
    };
    // A law that rises early: at half of the way it is at 0.875, above the ceiling.
    let rising = |at: f64| present(1.0 - (1.0 - at).powi(3), at);
    for at in [0.001, 0.2, 0.5, 0.95, 0.99, 0.999] {
        let verdict = policy.judge(&proposal, Some(&rising(at)));
        assert_eq!(verdict, Err(Refusal::CannotBeJudged), "at {at}");
    }
}

#[test]
fn a_step_up_is_measured_from_a_fresh_reading() {
    let policy = policy(&[], &[("*", 0.0, Some(6.0))]);
    let gain = control("Gain/gain", ControlKind::Float);
    assert_eq!(judge(&policy, &gain, &Write::Value(-34.0)), Ok(()));
    assert_eq!(
        judge(&policy, &gain, &Write::Value(-30.0)),
        Err(Refusal::StepTooLarge {
            step: 10.0,
            max: 6.0
        })
    );
    assert_eq!(judge(&policy, &gain, &Write::Value(-90.0)), Ok(()));
    let write = Write::Value(-40.0);
    let proposal = Proposal {
        control: &gain,
        beside: &Beside::default(),
        write: &write,
        ramp_secs: 0.0,
        expect: None,
    };
    assert!(policy.needs_present(&proposal));
    assert_eq!(policy.judge(&proposal, None), Err(Refusal::Stale));
}

#[test]
fn an_expectation_is_compared_with_the_fresh_reading() {
    let policy = policy(&[], &[]);
    let gain = control("Gain/gain", ControlKind::Float);
    let judge = |expect: Expect, present: Option<&Present<'_>>| {
        let proposal = Proposal {
            control: &gain,
            beside: &Beside::default(),
            write: &Write::Value(-20.0),
            ramp_secs: 2.0,
            expect: Some(&expect),
        };
        policy.judge(&proposal, present)
    };
    let value = |value| Expect {
        value: Some(value),
        string: None,
    };
    let now = present(-12.0, 0.73);
    assert_eq!(judge(value(-12.000_01), Some(&now)), Ok(()));
    assert_eq!(judge(value(-12.0), None), Err(Refusal::Stale));
    assert_eq!(
        judge(value(-40.0), Some(&now)),
        Err(Refusal::Moved {
            found: "-12 (-12.0dB)".into()
        })
    );
    let string = Expect {
        value: None,
        string: Some("-12.0dB".into()),
    };
    assert_eq!(judge(string, Some(&now)), Ok(()));
}

#[test]
fn a_shortened_text_is_not_written_back() {
    let policy = policy(&[], &[]);
    let mut text = control("Script/code", ControlKind::Text);
    text.reading.string = "function f(".into();
    text.reading.truncated = true;
    for shown in ["function f(", "function f(…", "function f(..."] {
        assert_eq!(
            judge(&policy, &text, &Write::Text(shown.into())),
            Err(Refusal::Shortened)
        );
    }
    assert_eq!(
        judge(&policy, &text, &Write::Text("function g()".into())),
        Ok(())
    );
}

#[test]
fn a_ramp_is_bounded_and_only_for_numbers() {
    let policy = policy(&[], &[]);
    let judge = |kind, write, ramp_secs| {
        let control = control("C/x", kind);
        let proposal = Proposal {
            control: &control,
            beside: &Beside::default(),
            write: &write,
            ramp_secs,
            expect: None,
        };
        policy.judge(&proposal, None)
    };
    assert_eq!(judge(ControlKind::Float, Write::Value(0.0), 60.0), Ok(()));
    for bad in [-0.1, 60.1, f64::NAN] {
        assert_eq!(
            judge(ControlKind::Float, Write::Value(0.0), bad),
            Err(Refusal::RampOutOfRange { max: RAMP_MAX_SECS })
        );
    }
    assert!(judge(ControlKind::Boolean, Write::Switch(true), 1.0).is_err());
    assert_eq!(
        judge(ControlKind::Boolean, Write::Switch(true), 0.0),
        Ok(())
    );
}

proptest! {
    #[test]
    fn nothing_above_a_ceiling_passes_whatever_the_form(
        asked in -120.0_f64..40.0, position in -0.2_f64..1.2, ceiling in -100.0_f64..20.0, now in 0.0_f64..=1.0,
        form in 0_u8..4,
    ) {
        let policy = policy(&[], &[("*", ceiling, None)]);
        let gain = control("Gain/gain", ControlKind::Float);
        let (write, level) = match form {
            0 => (Write::Value(asked), asked),
            1 => (Write::Position(position), -100.0 + 120.0 * position),
            2 => (Write::Switch(true), 1.0),
            _ => (Write::Text(format!("{asked}dB")), asked),
        };
        let proposal = Proposal { control: &gain, beside: &Beside::default(), write: &write, ramp_secs: 0.0, expect: None };
        let verdict = policy.judge(&proposal, Some(&present(-100.0 + 120.0 * now, now)));
        if verdict.is_ok() {
            prop_assert!(level <= ceiling + 1e-9 && (-100.0..=20.0).contains(&level));
        }
    }
}

#[test]
fn a_control_without_a_known_range_is_not_driven_to_its_end_by_a_slip() {
    let named = |shows: &str| {
        let mut control = control("C/MainGain", ControlKind::Float);
        control.name.component = None;
        control.range = None;
        control.reading.string = shows.into();
        control
    };
    let free = policy(&[], &[]);
    for (shows, value, is_taken) in [
        ("-40.0dB", -12.0, true),
        ("-40.0dB", 20.0, true),
        ("-40.0 dB ", -100.0, true),
        ("-40.0dB", 20.1, false),
        ("-40.0dB", 1e308, false),
        ("-40.0dB", -1e308, false),
        ("1.00kHz", 20_000.0, true),
        ("3", 1e308, false),
        ("", 1e6, true),
        ("", -1e7, false),
    ] {
        let judged = judge(&free, &named(shows), &Write::Value(value));
        match judged {
            Ok(()) => assert!(is_taken, "{shows} {value}"),
            Err(Refusal::Implausible { asked, .. }) => {
                assert!(!is_taken, "{shows} {value}");
                assert!((asked - value).abs() < f64::EPSILON);
            }
            other => panic!("{shows} {value}: {other:?}"),
        }
    }
    // Who has a ceiling for it knows it better.
    let known = policy(&[], &[("MainGain", 30.0, None)]);
    assert_eq!(
        judge(&known, &named("-40.0dB"), &Write::Value(25.0)),
        Ok(())
    );
    let above = judge(&known, &named("-40.0dB"), &Write::Value(1e308));
    assert!(
        matches!(above, Err(Refusal::AboveCeiling { .. })),
        "{above:?}"
    );
    // A position is its share of the way, whatever the way.
    assert_eq!(
        judge(&free, &named("-40.0dB"), &Write::Position(0.5)),
        Ok(())
    );
}
