//! Patterns over control names. A pattern that protects should rather fit too much than too little.

use crate::base::glob::{self, Glob};
use crate::model::name::ControlRef;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    whole: Glob,
    /// For a pattern without a slash: the same for every control of the component.
    inside: Option<Glob>,
}

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the pattern is empty: write Component/control, or a named control".into());
        }
        if text.chars().any(char::is_control) {
            return Err("the pattern has control characters, which no name has".into());
        }
        let folded = fold(text);
        let inside = (!folded.contains('/'))
            .then(|| Glob::new(&format!("{folded}/*")))
            .transpose()?;
        Ok(Self {
            whole: Glob::new(&folded)?,
            inside,
        })
    }

    /// Whether it fits a name that [`folded`] made.
    pub(super) fn fits(&self, name: &str) -> bool {
        self.whole.fits(name) || self.inside.as_ref().is_some_and(|inside| inside.fits(name))
    }
}

/// `Component/control` in the form that patterns are compared with.
pub(super) fn folded(control: &ControlRef) -> String {
    fold(&control.to_string())
}

/// Whether a pattern is meant for the triggers of snapshots, by its text.
pub(super) fn is_of_snapshots(text: &str) -> bool {
    let folded = fold(text);
    let control = folded.rsplit('/').next().unwrap_or_default();
    folded.contains('/') && control.starts_with("load.")
}

/// Lower case, and `_` as `.`.
fn fold(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '_' => '.',
            other => glob::lower(other),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, component: &str, control: &str) -> bool {
        let name = ControlRef {
            component: (!component.is_empty()).then(|| component.parse().unwrap()),
            control: control.parse().unwrap(),
        };
        Pattern::new(pattern).unwrap().fits(&folded(&name))
    }

    #[test]
    fn a_pattern_fits_by_component_and_control_whatever_the_spelling_of_dots() {
        assert!(fits("Amp*/mute", "Amp 1", "mute"));
        assert!(!fits("Amp*/mute", "Amp 1", "gain"));
        assert!(fits("mixer/input_*_gain", "Mixer", "input.12.gain"));
        assert!(fits("*/{mute,bypass}", "Zone 4 / Foyer", "bypass"));
        assert!(fits("?berlauf/*", "Überlauf", "x"));
        assert!(fits("überlauf", "ÜBERLAUF", "x"));
    }

    #[test]
    fn a_pattern_without_a_slash_covers_the_named_control_and_the_whole_component() {
        assert!(fits("SystemMute", "", "SystemMute"));
        assert!(fits("Fire Alarm", "Fire Alarm", "mute"));
        assert!(!fits("Fire Alarm", "Fire Alarm 2", "mute"));
        assert!(!fits("Fire Alarm/mute", "", "mute"));
    }

    #[test]
    fn a_bad_pattern_says_what_is_wrong() {
        for bad in ["", "  ", "a\u{0}", "[ab", "{a,b", "x[z-a]"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
