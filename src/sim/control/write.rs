//! How a control takes a wish: what it means, within which range, at once or along a ramp.

use std::time::Duration;

use tokio::time::Instant;

use super::{Control, Kind};
use crate::wire::qrc::Scalar;

/// Longest ramp that is carried out, seconds; a longer one is cut to this.
const RAMP_MAX_SECONDS: f64 = 3_600.0;

#[derive(Debug, Clone)]
pub(super) struct Ramp {
    from: f64,
    to: f64,
    start: Instant,
    length: Duration,
}

/// What a request wants of a control. `value` decides when several are given, save that a text prefers a text.
#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct Write {
    pub(in crate::sim) value: Option<Scalar<'static>>,
    pub(in crate::sim) position: Option<f64>,
    pub(in crate::sim) string: Option<String>,
    pub(in crate::sim) ramp: Option<f64>,
}

impl Write {
    pub(in crate::sim) fn number(value: f64, ramp: Option<f64>) -> Self {
        Self {
            value: Some(Scalar::Number(value)),
            ramp,
            ..Self::default()
        }
    }

    pub(in crate::sim) fn text(text: &str) -> Self {
        Self {
            string: Some(text.to_owned()),
            ..Self::default()
        }
    }

    /// The wish in words, for the log of writes.
    pub(in crate::sim) fn wish(&self) -> String {
        match (&self.value, self.position, &self.string) {
            (Some(Scalar::Number(number)), _, _) => number.to_string(),
            (Some(Scalar::Bool(on)), _, _) => on.to_string(),
            (Some(Scalar::Text(text)), _, _) => text.to_string(),
            (None, Some(position), _) => format!("position {position}"),
            (None, None, Some(text)) => text.clone(),
            (None, None, None) => String::new(),
        }
    }
}

/// What a write did to the control itself; what follows from it in the component is for [`super::plant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum Effect {
    /// Nothing: read-only, the value it had, or a wish that does not fit.
    Nothing,
    /// The value changed at once.
    Changed,
    /// The value is on its way.
    Ramping,
    /// A trigger fired.
    Fired,
}

impl Control {
    /// Carries a wish out, clamped to the range. Read-only controls are the caller's matter.
    pub(in crate::sim) fn write(&mut self, write: &Write, now: Instant) -> Effect {
        if self.kind == Kind::Text {
            return match Self::wanted_text(write) {
                Some(text) if text != self.text => {
                    self.text = text;
                    Effect::Changed
                }
                _ => Effect::Nothing,
            };
        }
        let Some(wanted) = self.wanted_number(write) else {
            return Effect::Nothing;
        };
        let wanted = self.fitted(wanted);
        match self.kind {
            Kind::Trigger if wanted >= 0.5 => return Effect::Fired,
            Kind::Trigger | Kind::Array => return Effect::Nothing,
            Kind::StateTrigger if wanted >= 0.5 => {
                self.value = wanted;
                return Effect::Fired;
            }
            _ => (),
        }
        let seconds = write.ramp.unwrap_or(0.0).clamp(0.0, RAMP_MAX_SECONDS);
        if seconds > 0.0 && matches!(self.kind, Kind::Float | Kind::Virtual) {
            self.ramp = Some(Box::new(Ramp {
                from: self.value,
                to: wanted,
                start: now,
                length: Duration::from_secs_f64(seconds),
            }));
            return Effect::Ramping;
        }
        self.ramp = None;
        if (self.value - wanted).abs() < f64::EPSILON {
            return Effect::Nothing;
        }
        self.value = wanted;
        Effect::Changed
    }

    /// Moves along the ramp, if there is one; tells whether it goes on.
    pub(in crate::sim) fn advance_ramp(&mut self, now: Instant) -> bool {
        let Some(ramp) = &self.ramp else { return false };
        let share =
            now.saturating_duration_since(ramp.start).as_secs_f64() / ramp.length.as_secs_f64();
        self.value = if share >= 1.0 {
            ramp.to
        } else {
            ramp.from + (ramp.to - ramp.from) * share
        };
        if share >= 1.0 {
            self.ramp = None;
        }
        self.ramp.is_some()
    }

    /// Number and text together, as snapshots keep them.
    pub(in crate::sim) fn kept(&self) -> (f64, String) {
        (
            self.ramp.as_ref().map_or(self.value, |ramp| ramp.to),
            self.text.clone(),
        )
    }

    fn fitted(&self, wanted: f64) -> f64 {
        let within = self
            .range
            .map_or(wanted, |(min, max)| wanted.clamp(min, max.max(min)));
        match self.kind {
            Kind::Boolean => f64::from(u8::from(within >= 0.5)),
            Kind::Integer | Kind::StateTrigger | Kind::Status => within.round(),
            _ => within,
        }
    }

    fn wanted_text(write: &Write) -> Option<String> {
        match (&write.value, &write.string, write.position) {
            (Some(Scalar::Text(text)), _, _) => Some(text.to_string()),
            (_, Some(text), _) => Some(text.clone()),
            (Some(Scalar::Number(number)), None, _) => Some(number.to_string()),
            (Some(Scalar::Bool(on)), None, _) => Some(on.to_string()),
            (None, None, _) => None,
        }
    }

    fn wanted_number(&self, write: &Write) -> Option<f64> {
        match (&write.value, write.position, &write.string) {
            (Some(Scalar::Text(text)), _, _) => self.parsed(text),
            (Some(value), _, _) => value.as_number(),
            (None, Some(position), _) => Some(self.at_position(position.clamp(0.0, 1.0))),
            (None, None, Some(text)) => self.parsed(text),
            (None, None, None) => None,
        }
    }

    fn at_position(&self, position: f64) -> f64 {
        match self.range {
            Some((min, max)) if self.logarithmic => min * (max / min).powf(position),
            Some((min, max)) => min + (max - min) * position,
            None => position,
        }
    }

    /// A word of the control, or the number at the start of the text.
    fn parsed(&self, text: &str) -> Option<f64> {
        let text = text.trim();
        if self.kind == Kind::Boolean {
            if text == self.words.1 || text == "true" {
                return Some(1.0);
            }
            if text == self.words.0 || text == "false" {
                return Some(0.0);
            }
        }
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c)))
            .unwrap_or(text.len());
        text.get(..end)?.parse().ok()
    }
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "the values are written and read back without arithmetic, or whole"
)]
mod tests {
    use super::*;
    use crate::sim::design::Unit;

    fn gain() -> Control {
        Control::float("gain", (-100.0, 20.0), Unit::Db, 0.0)
    }

    #[tokio::test(start_paused = true)]
    async fn values_clamp_and_words_and_texts_are_taken() {
        let now = Instant::now();
        let mut gain = gain();
        assert_eq!(
            gain.write(&Write::number(200.0, None), now),
            Effect::Changed
        );
        assert_eq!(gain.value, 20.0);
        assert_eq!(gain.write(&Write::text("-7.5dB"), now), Effect::Changed);
        assert_eq!(gain.value, -7.5);
        assert_eq!(gain.write(&Write::text("loud"), now), Effect::Nothing);
        let mut mute = Control::mute("mute", false);
        for (wish, on) in [
            (Scalar::Text("muted".into()), 1.0),
            (Scalar::Bool(false), 0.0),
            (Scalar::Number(1.0), 1.0),
        ] {
            mute.write(
                &Write {
                    value: Some(wish),
                    ..Write::default()
                },
                now,
            );
            assert_eq!(mute.value, on);
        }
        let mut text = Control::text("text.1", "hello");
        let whole_state = Write {
            value: Some(Scalar::Number(0.0)),
            string: Some("Hi".into()),
            ..Write::default()
        };
        text.write(&whole_state, now);
        assert_eq!(
            text.text, "Hi",
            "a whole state sent back must not turn a text into its number"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_ramp_takes_its_time_and_a_write_ends_it() {
        let start = Instant::now();
        let mut gain = gain();
        assert_eq!(
            gain.write(&Write::number(-40.0, Some(4.0)), start),
            Effect::Ramping
        );
        assert!(gain.advance_ramp(start + Duration::from_secs(1)));
        assert_eq!(gain.value, -10.0);
        gain.write(&Write::number(0.0, None), start + Duration::from_secs(2));
        assert!(!gain.advance_ramp(start + Duration::from_secs(9)));
        assert_eq!(gain.value, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_fires_on_one_and_not_on_zero() {
        let mut trigger = Control::trigger("save.1");
        assert_eq!(
            trigger.write(&Write::number(1.0, None), Instant::now()),
            Effect::Fired
        );
        assert_eq!(
            trigger.write(&Write::number(0.0, None), Instant::now()),
            Effect::Nothing
        );
        assert_eq!(trigger.value, 0.0);
    }
}
