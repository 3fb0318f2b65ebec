//! Writes that may move another control than the one that they name: steppers, named controls and snapshots.

use compact_str::CompactString;

use super::policy::Write;
use crate::model::control::ControlKind;
use crate::store::view::ControlView;

/// Class of the components whose triggers recall snapshots.
const SNAPSHOT_CONTROLLER: &str = "snapshot_controller";

/// Parts of a name that tell of a stepper, wherever they stand.
const STEPPING: [&str; 5] = ["stepper", "increase", "decrease", "increment", "decrement"];

/// The same as words of their own: in the middle of a word (`setup`) they mean nothing.
const STEPPING_WORDS: [&str; 7] = ["inc", "dec", "up", "down", "raise", "lower", "nudge"];

/// What stands in the same component as the control to be written. Empty for a named control.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// Class of the component.
    pub component_kind: CompactString,
    /// All controls of the component, the one to be written among them. Only needed while a ceiling exists.
    pub controls: Vec<ControlView>,
}

/// Whether firing or turning the control moves another control of its component by a step.
pub(super) fn is_stepper(control: &ControlView) -> bool {
    let name = control.name.control.as_str();
    let lower = name.to_ascii_lowercase();
    if lower.contains("stepper") {
        return true;
    }
    if matches!(
        control.kind,
        ControlKind::Float
            | ControlKind::Integer
            | ControlKind::Time
            | ControlKind::Status
            | ControlKind::Text
    ) {
        return false;
    }
    STEPPING.iter().any(|part| lower.contains(part))
        || words(name)
            .iter()
            .any(|word| STEPPING_WORDS.contains(&word.as_str()))
}

/// The words of a name in lower case, cut at marks and where a capital begins a new one.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        if !character.is_alphanumeric() || (was_lower && character.is_uppercase()) {
            words.push(String::new());
        }
        was_lower = character.is_lowercase();
        if let Some(word) = words.last_mut()
            && character.is_alphanumeric()
        {
            word.extend(character.to_lowercase());
        }
    }
    words
}

/// Whether writing the control recalls a snapshot, or may: all that a snapshot controller can be fired with.
pub(crate) fn is_snapshot_trigger(control: &ControlView, beside: &Beside) -> bool {
    beside.component_kind == SNAPSHOT_CONTROLLER
        && matches!(
            control.kind,
            ControlKind::Boolean
                | ControlKind::Trigger
                | ControlKind::StateTrigger
                | ControlKind::Other(_)
        )
}

/// Whether a write to a named control can be no level: the Core shows a switch or a text, and is given just that. The Core tells
/// neither the type of a named control nor what it stands for, so what it shows has to do.
pub(super) fn is_surely_no_level(control: &ControlView, write: &Write) -> bool {
    let reading = &control.reading;
    match write {
        Write::Text(_) => {
            control.kind == ControlKind::Text
                || (reading.value.is_none() && !reading.string.is_empty())
        }
        Write::Switch(_) => shows_a_switch(control),
        Write::Value(number) => is_switch_value(*number) && shows_a_switch(control),
        Write::Position(_) => false,
    }
}

/// A switch says a word (`muted`, `true`), where a level says a number; and it stands at one of its ends.
fn shows_a_switch(control: &ControlView) -> bool {
    let reading = &control.reading;
    let says_a_word = reading.string.chars().any(char::is_alphabetic)
        && !reading
            .string
            .chars()
            .any(|character| character.is_ascii_digit());
    let is_at_an_end = reading.value.is_some_and(|value| {
        is_switch_value(value)
            && reading
                .position
                .is_none_or(|position| (f64::from(position) - value).abs() < 1e-3)
    });
    control.kind == ControlKind::Boolean || (control.range.is_none() && says_a_word && is_at_an_end)
}

fn is_switch_value(value: f64) -> bool {
    value == 0.0 || (value - 1.0).abs() < f64::EPSILON
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_into_words_at_marks_and_capitals() {
        assert_eq!(words("VolumeUp"), ["volume", "up"]);
        assert_eq!(words("input_1.raise"), ["input", "1", "raise"]);
        assert_eq!(words("setup"), ["setup"]);
    }
}
