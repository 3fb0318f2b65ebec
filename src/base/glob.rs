//! Patterns over names: `*` is any text, `?` any one letter, `[a-c]` one of several and `[!a-c]` one of all others, `{a,b}` one of several
//! patterns; `\` takes the letter after it as it is. Upper and lower case are for the caller to make the same.
//!
//! All ways through a pattern are followed at once, letter by letter, so that none takes longer than its length times that of the name.

use crate::limits::PATTERN_PARTS_MAX;

/// A pattern that names are compared with.
#[derive(Debug, Clone)]
pub struct Glob {
    parts: Vec<Part>,
}

/// A place in a pattern and what is done there. The place behind the last part is the end.
#[derive(Debug, Clone)]
enum Part {
    /// Takes this letter.
    Letter(char),
    /// Takes any one letter.
    One,
    /// Takes as many letters as there are.
    Any,
    /// Takes a letter that is in one of these ranges; if negated, in none.
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Goes on at each of these places.
    Choice(Vec<usize>),
    /// Goes on at that place.
    Goto(usize),
}

impl Glob {
    /// Reads a pattern; the error says what is wrong with it.
    ///
    /// # Errors
    ///
    /// A bracket or brace stands alone, a range runs backwards, or the pattern has more than [`PATTERN_PARTS_MAX`] parts.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        // Of each brace that is open: the place of its choice, and of the gotos that end its patterns.
        let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let here = parts.len();
            let part = match (letter, open.last_mut()) {
                ('*', _) => Part::Any,
                ('?', _) => Part::One,
                ('[', _) => class(letters.by_ref())?,
                ('\\', _) => Part::Letter(letters.next().ok_or("nothing follows its last `\\`")?),
                ('{', _) => {
                    open.push((here, Vec::new()));
                    Part::Choice(vec![here + 1])
                }
                (',', Some((choice, ends))) => {
                    ends.push(here);
                    if let Some(Part::Choice(starts)) = parts.get_mut(*choice) {
                        starts.push(here + 1);
                    }
                    Part::Goto(here)
                }
                ('}', _) => {
                    let (_, ends) = open.pop().ok_or("a `}` has no `{` before it")?;
                    for end in ends {
                        if let Some(Part::Goto(place)) = parts.get_mut(end) {
                            *place = here;
                        }
                    }
                    continue;
                }
                (letter, _) => Part::Letter(letter),
            };
            parts.push(part);
        }
        if !open.is_empty() {
            return Err("a `{` has no `}` behind it");
        }
        if parts.len() > PATTERN_PARTS_MAX {
            return Err("it is too long");
        }
        Ok(Self { parts })
    }

    /// Whether it fits the whole of a name.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let mut now = Places::default();
        self.enter(0, &mut now);
        for letter in name.chars() {
            let mut next = Places::default();
            for place in now.iter() {
                match self.parts.get(place) {
                    Some(Part::Any) => self.enter(place, &mut next),
                    Some(part) if part.takes(letter) => self.enter(place + 1, &mut next),
                    _ => {}
                }
            }
            if next == Places::default() {
                return false;
            }
            now = next;
        }
        now.iter().any(|place| place == self.parts.len())
    }

    /// Goes to a place, and on from it where no letter is taken.
    fn enter(&self, place: usize, places: &mut Places) {
        if places.has_or_add(place) {
            return;
        }
        match self.parts.get(place) {
            Some(Part::Any) => self.enter(place + 1, places),
            Some(Part::Goto(other)) => self.enter(*other, places),
            Some(Part::Choice(starts)) => starts.iter().for_each(|at| self.enter(*at, places)),
            _ => {}
        }
    }
}

impl Part {
    /// Whether this takes the letter and goes on behind it.
    fn takes(&self, letter: char) -> bool {
        match self {
            Self::Letter(own) => *own == letter,
            Self::One => true,
            Self::Class { is_negated, ranges } => {
                ranges.iter().any(|(a, b)| (*a..=*b).contains(&letter)) != *is_negated
            }
            Self::Any | Self::Choice(_) | Self::Goto(_) => false,
        }
    }
}

/// The lower case of a letter, in one letter, so that `?` stands for it all the same.
#[must_use]
pub fn lower(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

/// Reads a class behind its `[`. A `]` that comes first and a `-` that comes first or last are letters.
fn class(letters: &mut impl Iterator<Item = char>) -> Result<Part, &'static str> {
    let mut letters = letters.peekable();
    let is_negated = letters.next_if(|sign| matches!(sign, '!' | '^')).is_some();
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut is_range = false;
    loop {
        match (letters.next(), ranges.last_mut()) {
            (None, _) => return Err("a `[` has no `]` behind it"),
            (Some(']'), Some(_)) => break,
            (Some('-'), Some(_)) if !is_range => is_range = true,
            (Some(end), Some((start, last))) if is_range => {
                if end < *start {
                    return Err("a range such as `[a-c]` runs backwards");
                }
                *last = end;
                is_range = false;
            }
            (Some(letter), _) => ranges.push((letter, letter)),
        }
    }
    if is_range {
        ranges.push(('-', '-'));
    }
    Ok(Part::Class { is_negated, ranges })
}

/// Places of one pattern, a bit each.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct Places([u64; PATTERN_PARTS_MAX / 64 + 1]);

impl Places {
    fn has_or_add(&mut self, place: usize) -> bool {
        let Some(word) = self.0.get_mut(place / 64) else {
            return true;
        };
        let bit = 1 << (place % 64);
        let had = *word & bit != 0;
        *word |= bit;
        had
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        let words = (0..).step_by(64).zip(self.0);
        words.flat_map(|(first, mut word)| {
            std::iter::from_fn(move || {
                let bit = usize::try_from(word.trailing_zeros()).ok()?;
                word &= word.checked_sub(1)?;
                Some(first + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).unwrap().fits(name)
    }

    #[test]
    fn a_pattern_fits_the_whole_of_a_name() {
        for (pattern, name) in [
            ("", ""),
            ("*", ""),
            ("Zone.*", "Zone.Bar/2"),
            ("*.gain", "input.1.gain"),
            ("?berlauf", "Überlauf"),
            ("Zone [1-3]", "Zone 2"),
            ("Zone [!1-3]", "Zone 4"),
            ("Zone []x-]", "Zone -"),
            ("{Amp,Zone {1,2?}} */mute", "Zone 23 left/mute"),
            ("Amp{, 1}", "Amp"),
            (r"a\*\{", "a*{"),
            ("a,b", "a,b"),
        ] {
            assert!(fits(pattern, name), "{pattern:?} does not fit {name:?}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("Zone", "Zone 1"),
            ("Zone 1", "Zone"),
            ("?", "ab"),
            ("[!a]", ""),
            ("Zone [1-3]", "Zone 4"),
            ("{Amp,Zone} 1", "Amp"),
            ("*.gain", "input.1.gain.x"),
        ] {
            assert!(!fits(pattern, name), "{pattern:?} fits {name:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_told() {
        for (bad, why) in [
            ("[ab", "no `]`"),
            ("[", "no `]`"),
            ("[]", "no `]`"),
            ("{a,b", "no `}`"),
            ("a}", "no `{`"),
            ("x[z-a]", "backwards"),
            ("a\\", "follows"),
            (&"x".repeat(PATTERN_PARTS_MAX + 1), "too long"),
        ] {
            let told = Glob::new(bad).unwrap_err();
            assert!(told.contains(why), "{bad:?}: {told}");
        }
        assert!(fits(
            &"x".repeat(PATTERN_PARTS_MAX),
            &"x".repeat(PATTERN_PARTS_MAX)
        ));
    }

    /// A backtracking matcher would try two to the power of the braces, or of the stars: the sun would go out first.
    #[test]
    fn no_pattern_takes_for_ever() {
        let braces = "{a,a*}".repeat(PATTERN_PARTS_MAX / 6);
        let name = "a".repeat(1_000);
        assert!(fits(&braces, &name));
        assert!(!fits(&format!("{braces}b"), &name));
        assert!(!fits(
            &"*a".repeat(PATTERN_PARTS_MAX / 2),
            &"ab".repeat(500)
        ));
        assert!(fits(
            &"{".repeat(200)
                .chars()
                .chain("}".repeat(200).chars())
                .collect::<String>(),
            ""
        ));
    }

    proptest! {
        /// Read as `globset` reads it, the crate that was used before, which knows no name beyond ASCII and takes `**/` for folders.
        #[test]
        fn patterns_are_understood_as_elsewhere(
            pattern in r"[ab/.,*?{}\[\]!\\-]{0,12}",
            name in "[ab/.,-]{0,8}",
        ) {
            let pattern = pattern.split("**").collect::<Vec<_>>().join("*");
            prop_assume!(!pattern.contains("**"));
            let theirs = GlobBuilder::new(&pattern).literal_separator(false).empty_alternates(true).build();
            match (theirs, Glob::new(&pattern)) {
                (Ok(theirs), Ok(ours)) => {
                    prop_assert_eq!(theirs.compile_matcher().is_match(&name), ours.fits(&name));
                }
                (theirs, ours) => prop_assert_eq!(theirs.is_err(), ours.is_err()),
            }
        }
    }
}
