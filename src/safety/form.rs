//! What a control takes: numbers, switches and texts, within its range.

use compact_str::CompactString;

use super::policy::Write;
use super::refusal::Refusal;
use crate::model::control::ControlKind;
use crate::store::view::ControlView;

/// Values closer than this are the same: positions and values cross the wire in single precision.
pub(super) const SAME_VALUE: f64 = 1e-3;

/// What a control that shows decibels can be set to, where the Core tells no range: the widest of a gain in Q-SYS Designer.
const DECIBELS: (f64, f64) = (-100.0, 20.0);

/// What any other number can be set to there: beyond every frequency in Hz, every time in milliseconds that a delay or a player has, and
/// every count.
const NUMBERS: (f64, f64) = (-1e6, 1e6);

/// Choices named in a refusal.
const CHOICES_SHOWN: usize = 20;

/// Whether a control takes what is to be written, by its kind and its range.
pub(super) fn form_and_range(control: &ControlView, write: &Write) -> Result<(), Refusal> {
    let wrong = |problem, hint| Err(Refusal::WrongForm { problem, hint });
    match (&control.kind, write) {
        (_, Write::Value(number) | Write::Position(number)) if !number.is_finite() => wrong(
            "the number is not finite",
            "Give a number that JSON can carry.",
        ),
        (ControlKind::Boolean, Write::Switch(_))
        | (ControlKind::Trigger | ControlKind::StateTrigger, Write::Switch(true)) => Ok(()),
        (ControlKind::Trigger | ControlKind::StateTrigger, Write::Value(number))
            if is_same(*number, 1.0) =>
        {
            Ok(())
        }
        (ControlKind::Trigger | ControlKind::StateTrigger, _) => wrong(
            "a trigger takes nothing but the value 1, which fires it",
            "Write value 1 or true to fire it.",
        ),
        (ControlKind::Boolean, Write::Value(number)) => {
            within(*number, 0.0, 1.0)?;
            if number.fract() == 0.0 {
                Ok(())
            } else {
                wrong("a switch is on or off", "Write true or false.")
            }
        }
        (ControlKind::Boolean, _) => wrong("a switch is on or off", "Write value true or false."),
        (ControlKind::Text, Write::Text(text)) => is_choice(control, text),
        (ControlKind::Text, _) => wrong(
            "the control holds a text",
            "Use `string`; a combo box takes one of its choices.",
        ),
        (_, Write::Text(_)) if is_numeric(control) => wrong(
            "a text written to a number cannot be judged before it is sent",
            "Use `value` with a number in the control's unit.",
        ),
        (_, Write::Text(text)) => is_choice(control, text),
        (_, Write::Switch(_)) if is_numeric(control) => wrong(
            "the control holds a number, not a switch",
            "Use `value` with a number.",
        ),
        (_, Write::Switch(_)) => Ok(()),
        (_, Write::Position(position)) => within(*position, 0.0, 1.0),
        (kind, Write::Value(number)) => {
            if let Some((low, high)) = control.range {
                within(*number, low, high)?;
            }
            if *kind == ControlKind::Integer && number.fract() != 0.0 {
                return wrong("the control takes whole numbers", "Round the value.");
            }
            Ok(())
        }
    }
}

/// A number for a control whose range nobody told, as it is with Named Controls: the Core moves what is beyond its range to the end of
/// it, so that a slip of the keyboard would drive a level to its maximum. A ceiling for the control says more than this.
pub(super) fn is_plausible(control: &ControlView, write: &Write) -> Result<(), Refusal> {
    let (Write::Value(asked), None) = (write, control.range) else {
        return Ok(());
    };
    let text = control.reading.string.trim_end().to_ascii_lowercase();
    let (low, high) = if text.ends_with("db") {
        DECIBELS
    } else {
        NUMBERS
    };
    if (low..=high).contains(asked) {
        Ok(())
    } else {
        Err(Refusal::Implausible {
            asked: *asked,
            low,
            high,
        })
    }
}

fn within(asked: f64, low: f64, high: f64) -> Result<(), Refusal> {
    if (low..=high).contains(&asked) {
        Ok(())
    } else {
        Err(Refusal::OutOfRange { asked, low, high })
    }
}

fn is_choice(control: &ControlView, text: &str) -> Result<(), Refusal> {
    let choices = &control.choices;
    if choices.is_empty() || choices.iter().any(|choice| choice == text) {
        return Ok(());
    }
    Err(Refusal::NotAChoice {
        choices: choices
            .iter()
            .take(CHOICES_SHOWN)
            .map(CompactString::to_string)
            .collect(),
    })
}

fn is_numeric(control: &ControlView) -> bool {
    matches!(
        control.kind,
        ControlKind::Float | ControlKind::Integer | ControlKind::Time | ControlKind::Status
    ) || control.range.is_some()
}

pub(super) fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() <= SAME_VALUE
}
