//! One control of a simulated design: what it is, what it holds, how it is written and how it is told.

mod write;

use std::borrow::Cow;
use std::time::Duration;

use write::Ramp;
pub(super) use write::{Effect, Write};

use crate::wire::jsonrpc::Text;
use crate::wire::qrc::{ControlChange, ControlFacts, Scalar};

/// A control's type, as `Component.GetControls` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number with a range.
    Float,
    /// A whole number with a range.
    Integer,
    /// On or off.
    Boolean,
    /// A text; with choices it is a combo box.
    Text,
    /// Fires when 1 is written, and holds nothing.
    Trigger,
    /// Fires when 1 is written, and shows a state.
    StateTrigger,
    /// A status number with its text.
    Status,
    /// Seconds, shown as a clock.
    Time,
    /// A vector of numbers.
    Array,
    /// A number that the Core works out of others, and takes all the same.
    Virtual,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Float => "Float",
            Self::Integer => "Integer",
            Self::Boolean => "Boolean",
            Self::Text => "Text",
            Self::Trigger => "Trigger",
            Self::StateTrigger => "State Trigger",
            Self::Status => "Status",
            Self::Time => "Time",
            Self::Array => "Array",
            Self::Virtual => "Virtual",
        }
    }
}

/// The unit in a control's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A bare number.
    None,
    /// Decibels.
    Db,
    /// Seconds; milliseconds below one second.
    Seconds,
    /// Hertz; kilohertz from one thousand.
    Hertz,
    /// Per cent.
    Percent,
    /// Degrees Celsius.
    Celsius,
    /// Turns per minute.
    Rpm,
}

/// What is seen of a control beside its value; empty on most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Empty, a colour name, `#RRGGBB` or `#AARRGGBB`.
    pub color: String,
    /// Text that a script set.
    pub legend: String,
    /// Style class of a user interface.
    pub css_class: String,
    /// Greyed out.
    pub disabled: bool,
    /// Hidden.
    pub invisible: bool,
}

/// A meter's movement: around `base`, by up to `depth`, each meter at its own phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Motion {
    base: f64,
    depth: f64,
    phase: f64,
}

impl Motion {
    /// The value at a tick of the meter clock; the same tick always gives the same value.
    pub(super) fn at(&self, tick: u32) -> f64 {
        let t = f64::from(tick);
        let swing = 0.6 * (0.7 * t + self.phase).sin() + 0.4 * (2.3 * t + 1.7 * self.phase).sin();
        ((self.base + self.depth * swing) * 100.0).round() / 100.0
    }
}

/// One control. Made by the constructors and the setters after them, then put into a [`super::design::Component`].
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) read_only: bool,
    range: Option<(f64, f64)>,
    unit: Unit,
    logarithmic: bool,
    words: (&'static str, &'static str),
    pub(super) value: f64,
    pub(super) text: String,
    choices: Vec<String>,
    values: Vec<f64>,
    look: Option<Box<Look>>,
    pub(super) motion: Option<Motion>,
    ramp: Option<Box<Ramp>>,
    /// Number of the change that brought the present value; groups compare it with what they told last.
    pub(super) serial: u64,
}

impl Control {
    fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            read_only: false,
            range: None,
            unit: Unit::None,
            logarithmic: false,
            words: ("false", "true"),
            value: 0.0,
            text: String::new(),
            choices: Vec::new(),
            values: Vec::new(),
            look: None,
            motion: None,
            ramp: None,
            serial: 0,
        }
    }

    /// A number between `min` and `max`.
    #[must_use]
    pub fn float(name: &str, (min, max): (f64, f64), unit: Unit, value: f64) -> Self {
        Self {
            range: Some((min, max)),
            unit,
            value: value.clamp(min, max.max(min)),
            ..Self::new(name, Kind::Float)
        }
    }

    /// A whole number between `min` and `max`.
    #[must_use]
    pub fn integer(name: &str, range: (f64, f64), value: f64) -> Self {
        Self {
            kind: Kind::Integer,
            ..Self::float(name, range, Unit::None, value.round())
        }
    }

    /// A number that the Core works out of others.
    #[must_use]
    pub fn computed(name: &str, range: (f64, f64), value: f64) -> Self {
        Self {
            kind: Kind::Virtual,
            ..Self::float(name, range, Unit::None, value)
        }
    }

    /// On or off, shown as `false` and `true` until [`Control::words`] says otherwise.
    #[must_use]
    pub fn boolean(name: &str, on: bool) -> Self {
        Self {
            value: f64::from(u8::from(on)),
            ..Self::new(name, Kind::Boolean)
        }
    }

    /// A mute: `unmuted` and `muted`.
    #[must_use]
    pub fn mute(name: &str, on: bool) -> Self {
        Self::boolean(name, on).words("unmuted", "muted")
    }

    /// A text.
    #[must_use]
    pub fn text(name: &str, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::new(name, Kind::Text)
        }
    }

    /// A text with choices.
    #[must_use]
    pub fn combo(name: &str, choices: &[&str], text: &str) -> Self {
        Self {
            choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
            ..Self::text(name, text)
        }
    }

    /// A trigger.
    #[must_use]
    pub fn trigger(name: &str) -> Self {
        Self::new(name, Kind::Trigger)
    }

    /// A trigger with a state of 0 to 2.
    #[must_use]
    pub fn state_trigger(name: &str) -> Self {
        Self {
            range: Some((0.0, 2.0)),
            ..Self::new(name, Kind::StateTrigger)
        }
    }

    /// A read-only status: 0 OK, 1 compromised, 2 fault, 3 not present, 4 missing, 5 initialising.
    #[must_use]
    pub fn status(name: &str, code: u8, text: &str) -> Self {
        Self {
            value: f64::from(code),
            text: text.to_owned(),
            ..Self::new(name, Kind::Status)
        }
        .read_only()
    }

    /// Seconds shown as a clock, read-only.
    #[must_use]
    pub fn time(name: &str, seconds: f64) -> Self {
        Self {
            value: seconds,
            ..Self::new(name, Kind::Time)
        }
        .read_only()
    }

    /// A read-only vector.
    #[must_use]
    pub fn array(name: &str, values: &[f64]) -> Self {
        Self {
            values: values.to_vec(),
            ..Self::new(name, Kind::Array)
        }
        .read_only()
    }

    /// Writes from outside change nothing.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    /// The words for off and on.
    #[must_use]
    pub fn words(self, off: &'static str, on: &'static str) -> Self {
        Self {
            words: (off, on),
            ..self
        }
    }

    /// The position is the logarithm of the value, as for frequencies, times and ratios. Needs a range above zero.
    #[must_use]
    pub fn logarithmic(self) -> Self {
        Self {
            logarithmic: self.range.is_some_and(|(min, _)| min > 0.0),
            ..self
        }
    }

    /// What is seen beside the value.
    #[must_use]
    pub fn look(self, look: Look) -> Self {
        Self {
            look: Some(Box::new(look)),
            ..self
        }
    }

    /// Moves by itself at every tick of the meter clock, by up to `depth` around its value.
    #[must_use]
    pub fn moving(self, depth: f64, phase: f64) -> Self {
        Self {
            motion: Some(Motion {
                base: self.value,
                depth,
                phase,
            }),
            ..self
        }
    }

    /// The value between 0 and 1, in the single precision that Cores send.
    #[must_use]
    pub fn position(&self) -> f64 {
        let exact = match (self.kind, self.range) {
            (Kind::Boolean, _) => self.value,
            (_, Some((min, max))) if max <= min => 0.0,
            (_, Some((min, max))) if self.logarithmic => (self.value / min).ln() / (max / min).ln(),
            (_, Some((min, max))) => (self.value - min) / (max - min),
            (_, None) => 0.0,
        };
        single(exact)
    }

    /// What Designer shows.
    #[must_use]
    pub fn string(&self) -> Cow<'_, str> {
        match self.kind {
            Kind::Text | Kind::Status => Cow::Borrowed(&self.text),
            Kind::Array => Cow::Borrowed(""),
            Kind::Boolean if self.value >= 0.5 => Cow::Borrowed(self.words.1),
            Kind::Boolean => Cow::Borrowed(self.words.0),
            Kind::Integer | Kind::Trigger | Kind::StateTrigger => {
                Cow::Owned(format!("{:.0}", self.value))
            }
            Kind::Time => Cow::Owned(clock(self.value)),
            Kind::Float | Kind::Virtual => Cow::Owned(quantity(self.value, self.unit)),
        }
    }

    /// As `Component.GetControls` tells it: a Boolean's value is JSON `true` or `false`, and there are no choices.
    pub(super) fn facts(&self) -> ControlFacts<'_> {
        let bound = |value: f64| match self.kind {
            Kind::Float | Kind::Virtual => quantity(value, self.unit),
            _ => format!("{value:.0}"),
        };
        ControlFacts {
            name: self.name.as_str().into(),
            kind: Some(self.kind.as_str().into()),
            value: Some(match self.kind {
                Kind::Boolean => Scalar::Bool(self.value >= 0.5),
                _ => Scalar::Number(self.value),
            }),
            value_min: self.range.map(|(min, _)| min),
            value_max: self.range.map(|(_, max)| max),
            string_min: self.range.map(|(min, _)| bound(min).into()),
            string_max: self.range.map(|(_, max)| bound(max).into()),
            string: Some(Text(self.string())),
            values: self.values.clone(),
            position: (self.kind != Kind::Array).then(|| self.position()),
            direction: Some(
                if self.read_only {
                    "Read Only"
                } else {
                    "Read/Write"
                }
                .into(),
            ),
        }
    }

    /// As a poll, an answer to a write and `Component.Get` tell it: booleans are 0 and 1, and the run-time fields are there.
    pub(super) fn change<'a>(
        &'a self,
        component: Option<&'a str>,
        name: &'a str,
    ) -> ControlChange<'a> {
        let look = self.look.as_deref();
        let text = |pick: fn(&Look) -> &str| Some(look.map_or("", pick).into());
        ControlChange {
            string: Some(Text(self.string())),
            value: (self.kind != Kind::Array).then_some(Scalar::Number(self.value)),
            position: Some(self.position()),
            choices: Some(
                self.choices
                    .iter()
                    .map(|choice| choice.as_str().into())
                    .collect(),
            ),
            color: text(|look| &look.color),
            indeterminate: Some(false),
            invisible: Some(look.is_some_and(|look| look.invisible)),
            disabled: Some(look.is_some_and(|look| look.disabled)),
            legend: text(|look| &look.legend),
            css_class: text(|look| &look.css_class),
            values: self.values.clone(),
            ..ControlChange::new(component.map(Text::from), name.into())
        }
    }

    pub(super) fn choice(&self, index: usize) -> Option<&str> {
        self.choices.get(index).map(String::as_str)
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "the precision of the wire is the point"
)]
fn single(exact: f64) -> f64 {
    f64::from(exact as f32)
}

/// Three significant digits and the unit: `-100dB`, `-12.0dB`, `0dB`, `1.00kHz`.
fn quantity(value: f64, unit: Unit) -> String {
    let (value, suffix) = match unit {
        Unit::None => (value, ""),
        Unit::Db => (value, "dB"),
        Unit::Seconds if value != 0.0 && value.abs() < 1.0 => (value * 1_000.0, "ms"),
        Unit::Seconds => (value, "s"),
        Unit::Hertz if value.abs() >= 1_000.0 => (value / 1_000.0, "kHz"),
        Unit::Hertz => (value, "Hz"),
        Unit::Percent => (value, "%"),
        Unit::Celsius => (value, "°C"),
        Unit::Rpm => (value, "rpm"),
    };
    let digits = match value.abs() {
        size if size < 0.000_5 => return format!("0{suffix}"),
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.999_5 => 2,
        _ => 3,
    };
    format!("{value:.digits$}{suffix}")
}

fn clock(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        whole / 3_600,
        whole / 60 % 60,
        whole % 60
    )
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "both sides are rounded to the same precision"
)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn gain() -> Control {
        Control::float("gain", (-100.0, 20.0), Unit::Db, 0.0)
    }

    #[test]
    fn texts_have_three_significant_digits() {
        let shown: Vec<_> = [-100.0, -12.0, 0.0, -6.0, 20.0, 0.5]
            .map(|db| quantity(db, Unit::Db))
            .into();
        assert_eq!(
            shown,
            ["-100dB", "-12.0dB", "0dB", "-6.00dB", "20.0dB", "0.500dB"]
        );
        assert_eq!(quantity(1_000.0, Unit::Hertz), "1.00kHz");
        assert_eq!(quantity(0.02, Unit::Seconds), "20.0ms");
        assert_eq!(clock(3_725.9), "01:02:05");
    }

    #[tokio::test(start_paused = true)]
    async fn positions_are_linear_for_gains_and_logarithmic_for_frequencies() {
        let mut gain = gain();
        assert_eq!(gain.position(), single(0.833_333_333));
        gain.write(
            &Write {
                position: Some(0.5),
                ..Write::default()
            },
            Instant::now(),
        );
        assert_eq!((gain.value, gain.string().as_ref()), (-40.0, "-40.0dB"));
        let mut pitch =
            Control::float("frequency.1", (20.0, 20_000.0), Unit::Hertz, 20.0).logarithmic();
        pitch.write(
            &Write {
                position: Some(2.0 / 3.0),
                ..Write::default()
            },
            Instant::now(),
        );
        assert!((pitch.value - 2_000.0).abs() < 0.01);
        assert!((pitch.position() - 2.0 / 3.0).abs() < 1e-6);
    }
}
