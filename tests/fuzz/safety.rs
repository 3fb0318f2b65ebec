//! The rules for writes, against an account of them that shares no code with the real one.

use std::borrow::Cow;
use std::sync::Arc;

use bolero::TypeGenerator;
use compact_str::CompactString;
use rackhand::limits::RAMP_MAX_SECS;
use rackhand::model::control::{ControlKind, Direction, Quality};
use rackhand::model::name::ControlRef;
use rackhand::safety::{Beside, Ceiling, Expect, Policy, Present, Proposal, SafetyConfig, Write};
use rackhand::store::view::{ControlId, ControlView, Look, Reading};

const COMPONENTS: &[&str] = &[
    "Gain",
    "gain",
    "Zone 4 / Foyer",
    "Überlauf",
    "Amp_1",
    "amp.1",
    "F",
    "Fire Alarm",
];
const CONTROLS: &[&str] = &[
    "gain",
    "mute",
    "input.1.gain",
    "input_1_gain",
    "Gain",
    "SystemMute",
    "x",
];
const KINDS: &[&str] = &[
    "Float",
    "Integer",
    "Boolean",
    "Text",
    "Trigger",
    "State Trigger",
    "Status",
    "Time",
    "",
    "Virtual",
];
/// Only `*` and `?`, which the account below knows as well.
const PATTERNS: &[&str] = &[
    "*",
    "Gain",
    "*/mute",
    "Gain/*",
    "amp_1/*",
    "Zone*",
    "?berlauf/gain",
    "*/input.?.gain",
    "F",
    "SystemMute",
    "fire alarm/*",
    "*gain",
    "x",
];
const NUMBERS: &[f64] = &[
    0.0,
    1.0,
    -1.0,
    0.5,
    -10.0,
    -9.999,
    -6.0,
    20.0,
    20.001,
    -100.0,
    20_000.0,
    1e300,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -0.0,
];

const RANGES: &[(f64, f64)] = &[
    (-100.0, 20.0),
    (20.0, 20_000.0),
    (0.0, 1.0),
    (0.0, 60.0),
    (-1.0, 1.0),
];

/// A number, often one at an edge.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Number {
    Edge(u8),
    Whole(i8),
    Tenths(i16),
    Share(u16),
    Any(f64),
}

impl Number {
    fn value(&self) -> f64 {
        match self {
            Self::Edge(number) => pick(NUMBERS, *number),
            Self::Whole(whole) => f64::from(*whole),
            Self::Tenths(tenths) => f64::from(*tenths) / 10.0,
            Self::Share(share) => f64::from(*share) / f64::from(u16::MAX),
            Self::Any(number) => *number,
        }
    }
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Wanted {
    /// Tenths above or below where it stands, which is where steps are judged.
    Near(i8),
    Value(Number),
    Switch(bool),
    Position(Number),
    Text(u8),
}

/// How a control's position relates to its value. A straight line and a logarithm are what Cores are known to have; the third is what
/// would be dangerous to take for a straight line.
#[derive(Debug, Clone, Copy, TypeGenerator)]
pub(crate) enum Law {
    Straight,
    Logarithmic,
    RisingEarly,
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Range {
    Listed(u8),
    Any(Number, Number),
    None,
}

/// A place on a control's way, often one where the judgement of positions changes.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Position {
    Edge(u8),
    Any(u16),
}

impl Position {
    fn value(&self) -> f64 {
        match self {
            Self::Edge(number) => pick(&[0.0, 0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0], *number),
            Self::Any(share) => f64::from(*share) / f64::from(u16::MAX),
        }
    }
}

/// Rules, and writes that come under them: compiling rules takes a thousand times as long as judging one write.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Rules {
    writes: [bool; 3],
    protected: Option<u8>,
    ceilings: [Option<(u8, Number, Option<Number>)>; 2],
    cases: [Case; 24],
}

/// A control, where it stands, and a write.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Case {
    component: Option<u8>,
    control: u8,
    kind: u8,
    is_read_only: bool,
    range: Range,
    law: Law,
    stands_at: Position,
    is_fresh: bool,
    choices: bool,
    truncated: bool,
    wanted: Wanted,
    ramp: Option<Number>,
    expect: Option<Option<Number>>,
}

fn pick<T: Copy>(list: &[T], number: u8) -> T {
    list[usize::from(number) % list.len()]
}

/// A write that passes is of the right form, protected by nothing, below every ceiling, and within its ramp.
pub(crate) fn holds(rules: &Rules) {
    let config = rules.config();
    let Ok(policy) = Policy::new(&config) else {
        assert!(config.ceilings.iter().any(|ceiling| !is_usable(ceiling)));
        return;
    };
    for case in &rules.cases {
        case_holds(&config, &policy, case);
    }
}

fn case_holds(config: &SafetyConfig, policy: &Policy, case: &Case) {
    let control = case.view();
    let ramp_secs = case.ramp.as_ref().map_or(0.0, Number::value);
    let expect = case.expect.as_ref().map(|value| Expect {
        value: value.as_ref().map(Number::value),
        string: None,
    });
    let (low, high) = control.range.unwrap_or((0.0, 1.0));
    let at = case.stands_at.value();
    let now = case.law.value(low, high, at);
    let present = Present {
        value: Some(now),
        position: Some(at),
        string: Cow::Borrowed("now"),
    };
    let write = case.write(now);
    let proposal = Proposal {
        control: &control,
        beside: &Beside::default(),
        write: &write,
        ramp_secs,
        expect: expect.as_ref(),
    };
    let given = case.is_fresh.then_some(&present);
    let verdict = policy.judge(&proposal, given);
    if !policy.needs_present(&proposal) {
        assert_eq!(
            verdict,
            policy.judge(&proposal, None),
            "a reading that was not needed decided"
        );
    }
    if let Err(refusal) = verdict {
        assert!(!refusal.to_string().is_empty());
        return;
    }
    assert!(config.writes && control.direction != Direction::ReadOnly);
    let name = control.name.to_string();
    for pattern in &config.protected {
        assert!(!covers(pattern, &name), "{pattern:?} protects {name}");
    }
    assert!((0.0..=RAMP_MAX_SECS).contains(&ramp_secs));
    let Some(effect) = effect(case, &control, &write) else {
        return;
    };
    let has_level = !matches!(
        control.kind,
        ControlKind::Boolean | ControlKind::Trigger | ControlKind::StateTrigger
    );
    for ceiling in config
        .ceilings
        .iter()
        .filter(|ceiling| has_level && covers(&ceiling.pattern, &name))
    {
        let slack = (high - low).abs().max(1.0) * 1e-6;
        assert!(
            effect <= ceiling.max_value + slack,
            "{effect} is above {ceiling:?}"
        );
        if let Some(step) = ceiling.max_step_up {
            assert!(case.is_fresh, "a step was judged without a reading");
            assert!(
                effect - now <= step + 2e-3 + slack,
                "{now} to {effect} is a step above {step}"
            );
        }
    }
}

impl Rules {
    fn config(&self) -> SafetyConfig {
        SafetyConfig {
            writes: self.writes.contains(&true),
            protected: self
                .protected
                .iter()
                .map(|number| pick(PATTERNS, *number).to_owned())
                .collect(),
            snapshots: false,
            ceilings: self
                .ceilings
                .iter()
                .flatten()
                .map(|(pattern, max, step)| Ceiling {
                    pattern: pick(PATTERNS, *pattern).to_owned(),
                    max_value: max.value(),
                    max_step_up: step.as_ref().map(Number::value),
                })
                .collect(),
        }
    }
}

impl Case {
    fn view(&self) -> ControlView {
        let choices: Arc<[CompactString]> = if self.choices {
            ["HDMI 1".into(), "HDMI 2".into()].into()
        } else {
            [].into()
        };
        ControlView {
            id: ControlId(0),
            name: ControlRef {
                component: self
                    .component
                    .map(|number| pick(COMPONENTS, number).parse().unwrap()),
                control: pick(CONTROLS, self.control).parse().unwrap(),
            },
            kind: ControlKind::from_wire(pick(KINDS, self.kind)),
            direction: if self.is_read_only {
                Direction::ReadOnly
            } else {
                Direction::ReadWrite
            },
            range: self.range(),
            range_strings: None,
            choices,
            look: Look::default(),
            is_meter: false,
            reading: Reading {
                value: None,
                string: "HDMI".into(),
                truncated: self.truncated,
                position: None,
                quality: Quality::Live,
                age: None,
                changed: None,
            },
        }
    }

    /// A Core's ranges are finite and in order.
    fn range(&self) -> Option<(f64, f64)> {
        let (low, high) = match &self.range {
            Range::Listed(number) => pick(RANGES, *number),
            Range::Any(low, high) => (low.value(), high.value()),
            Range::None => return None,
        };
        (low.is_finite() && high.is_finite() && low < high && high - low < 1e12)
            .then_some((low, high))
    }

    fn write(&self, now: f64) -> Write {
        match &self.wanted {
            Wanted::Near(tenths) => Write::Value(now + f64::from(*tenths) / 10.0),
            Wanted::Value(number) => Write::Value(number.value()),
            Wanted::Switch(on) => Write::Switch(*on),
            Wanted::Position(number) => Write::Position(number.value()),
            Wanted::Text(number) => {
                Write::Text((pick(&["HDMI 1", "HDMI 3", "", "HDMI…", "-6dB"], *number)).to_owned())
            }
        }
    }
}

impl Law {
    fn value(self, low: f64, high: f64, at: f64) -> f64 {
        match self {
            Self::Logarithmic if low > 0.0 => low * (high / low).powf(at),
            Self::RisingEarly => high - (high - low) * (1.0 - at).powi(3),
            Self::Straight | Self::Logarithmic => low + at * (high - low),
        }
    }
}

/// What the write comes to on a real Core, where that is a number.
fn effect(case: &Case, control: &ControlView, write: &Write) -> Option<f64> {
    match write {
        Write::Value(number) => Some(*number),
        Write::Position(position) => {
            let (low, high) = control.range?;
            Some(case.law.value(low, high, *position))
        }
        Write::Switch(_) | Write::Text(_) => None,
    }
}

fn is_usable(ceiling: &Ceiling) -> bool {
    ceiling.max_value.is_finite()
        && ceiling
            .max_step_up
            .is_none_or(|step| step.is_finite() && step > 0.0)
}

/// Whether a pattern fits a name, or the component that the name begins with.
fn covers(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (plain(pattern), plain(name));
    fits(&pattern, &name)
        || !pattern.contains(&'/') && fits(&[&pattern[..], &['/', '*']].concat(), &name)
}

fn plain(text: &str) -> Vec<char> {
    text.to_lowercase().replace('_', ".").chars().collect()
}

fn fits(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|skipped| fits(rest, &name[skipped..])),
        (['?', rest @ ..], [_, left @ ..]) => fits(rest, left),
        ([one, rest @ ..], [other, left @ ..]) => one == other && fits(rest, left),
        _ => false,
    }
}
