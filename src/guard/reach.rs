//! What of a design a caller may know of: patterns over the names of components and named controls.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::base::glob::{self, Glob};
use crate::limits::{REACH_PATTERN_MAX_CHARS, REACH_PATTERNS_MAX};
use crate::model::name::ControlRef;

/// Which components a caller may see and change; a cheap clone.
///
/// The patterns are written as those of `safety.protected` for whole components: `*` is any text, `?` one letter, `[a-c]` one of
/// several, `{a,b}` one of several texts. Unlike there, where a rule rather fits too much, only upper and lower case are taken for the
/// same: a reach rather fits too little.
#[derive(Clone, Default)]
pub struct Reach(Option<Arc<Bound>>);

struct Bound {
    patterns: Vec<String>,
    globs: Vec<Glob>,
}

impl Reach {
    /// No bound.
    #[must_use]
    pub const fn everything() -> Self {
        Self(None)
    }

    /// The reach of these patterns together; no pattern is no bound, and so is `*`.
    ///
    /// # Errors
    ///
    /// What is wrong with a pattern, in a sentence.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        if patterns.is_empty() || patterns.iter().any(|pattern| pattern == "*") {
            return Ok(Self::everything());
        }
        if patterns.len() > REACH_PATTERNS_MAX {
            return Err(format!(
                "a key has at most {REACH_PATTERNS_MAX} patterns of components"
            ));
        }
        let compile = |pattern: &String| {
            read(pattern).map_err(|problem| {
                format!("the pattern of components {pattern:?} cannot be used: {problem}")
            })
        };
        let globs = patterns.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self(Some(Arc::new(Bound {
            patterns: patterns.to_vec(),
            globs,
        }))))
    }

    /// Whether there is no bound.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a component, or a named control, of this name is within reach.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|bound| {
            let name = folded(name);
            bound.globs.iter().any(|glob| glob.fits(&name))
        })
    }

    /// Whether a control is within reach: by its component, or by its own name if it is a named control.
    #[must_use]
    pub fn covers_control(&self, control: &ControlRef) -> bool {
        self.is_everything()
            || match &control.component {
                Some(component) => self.covers(component.as_str()),
                None => self.covers(control.control.as_str()),
            }
    }

    /// The patterns as they were written; none is no bound.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |bound| &bound.patterns)
    }
}

fn read(text: &str) -> Result<Glob, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.chars().count() > REACH_PATTERN_MAX_CHARS {
        return Err(format!(
            "it has more than {REACH_PATTERN_MAX_CHARS} characters"
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("it has control characters, which no name has".to_owned());
    }
    Ok(Glob::new(&folded(text))?)
}

fn folded(text: &str) -> String {
    text.chars().map(glob::lower).collect()
}

impl PartialEq for Reach {
    fn eq(&self, other: &Self) -> bool {
        self.patterns() == other.patterns()
    }
}

impl Eq for Reach {}

impl Hash for Reach {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.patterns().hash(state);
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reach").field(&self.patterns()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(patterns: &[&str]) -> Reach {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        Reach::new(&patterns).unwrap()
    }

    #[test]
    fn a_reach_covers_what_a_pattern_fits_and_nothing_else() {
        let zones = reach(&["Zone.*", "Foyer / ?", "{Amp,Überlauf}"]);
        for within in ["Zone.1", "zone.Bar/2", "Foyer / 7", "amp", "überlauf"] {
            assert!(zones.covers(within), "{within}");
        }
        for beyond in [
            "Zone",
            "Zone_1",
            "My Zone.1",
            "Foyer / 17",
            "Amp 1",
            "Öberlauf",
            "",
        ] {
            assert!(!zones.covers(beyond), "{beyond}");
        }
        assert!(!zones.is_everything() && zones.patterns().len() == 3);
    }

    #[test]
    fn a_control_is_within_reach_by_its_component_or_else_by_its_own_name() {
        let zones = reach(&["Zone.*"]);
        let control = |component: Option<&str>, control: &str| ControlRef {
            component: component.map(|name| name.parse().unwrap()),
            control: control.parse().unwrap(),
        };
        assert!(zones.covers_control(&control(Some("Zone.1"), "gain")));
        assert!(!zones.covers_control(&control(Some("Amp"), "Zone.1")));
        assert!(zones.covers_control(&control(None, "Zone.Mute")));
        assert!(!zones.covers_control(&control(None, "Mute")));
    }

    #[test]
    fn no_pattern_and_a_star_are_no_bound() {
        for all in [Reach::everything(), reach(&[]), reach(&["Amp", "*"])] {
            assert!(all.is_everything() && all.covers("Amp") && all.covers("Zone.1"));
            assert_eq!(all, Reach::everything());
        }
    }

    #[test]
    fn a_bad_pattern_says_what_is_wrong() {
        for bad in [
            "",
            "  ",
            "a\u{0}",
            "[ab",
            "{a,b",
            "x[z-a]",
            &"x".repeat(129),
        ] {
            let fault = Reach::new(&[bad.to_owned()]).unwrap_err();
            assert!(fault.contains("pattern"), "{fault}");
        }
        assert!(Reach::new(&vec!["x".to_owned(); 33]).is_err());
    }
}
