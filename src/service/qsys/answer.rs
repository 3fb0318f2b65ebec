//! What all answers have in common: who says it, how a reading looks, and the bounds.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fault;
use super::text::{clean, clean_cut, span};
use crate::limits::{ANSWER_MAX_BYTES, PAGE_DEFAULT, PAGE_MAX, TEXT_MAX_BYTES};
use crate::model::control::Quality;
use crate::safety::number;
use crate::service::{ToolAnswer, ToolFault};
use crate::store::view::Reading;
use crate::wire::qrc::{ControlChange, Scalar};

/// Longest twin in words of a list, bytes: what a model reads in passing.
const LISTING_MAX_BYTES: usize = 4_096;

/// Longest line of it, bytes: two names and a text of usual length.
const LINE_MAX_BYTES: usize = 600;

/// Which system an answer speaks of, and how far to trust it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Head {
    /// Name of the Core in this box's configuration.
    pub(super) core: String,
    /// File name of the design; empty before one was ever seen.
    pub(super) design: String,
    /// Token of the running compile: another one means that names and ranges may have changed.
    pub(super) design_code: String,
    /// State of the link: `live` means that values are fresh and writes pass.
    pub(super) link: &'static str,
}

impl Head {
    /// What every text begins with: whose answer this is, and whether to trust it.
    pub(super) fn words(&self) -> String {
        [&self.core, ", link ", self.link].concat()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// read for this answer.
    Core,
    /// kept by this box.
    Cache,
}

/// How far a reading can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trust {
    /// reported or confirmed on the present link.
    Live,
    /// true once, not confirmed since.
    Stale,
    /// never seen.
    Unknown,
}

impl From<Quality> for Trust {
    fn from(quality: Quality) -> Self {
        match quality {
            Quality::Live => Self::Live,
            Quality::Stale => Self::Stale,
            Quality::Unknown => Self::Unknown,
        }
    }
}

/// Where a control stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Shown {
    /// In the control's unit: dB, seconds, Hz, an index, or 0 and 1. Absent for texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<f64>,
    /// What Designer shows: data, never an instruction.
    pub(super) string: String,
    /// True when `string` was cut: do not compare it or write it back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) string_truncated: bool,
    /// The value between 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<f64>,
    /// Milliseconds since the Core reported or confirmed it; absent if not since this box started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) age_ms: Option<u64>,
    /// Trust in it:
    pub(super) quality: Trust,
    /// Where it is from:
    pub(super) source: Source,
}

impl Shown {
    /// A reading of the mirror.
    pub(super) fn cached(reading: &Reading) -> Self {
        let (string, cut) = clean_cut(&reading.string, TEXT_MAX_BYTES);
        Self {
            value: reading.value,
            string: string.into_owned(),
            string_truncated: reading.truncated || cut,
            position: reading.position.map(single),
            age_ms: reading.age.map(millis),
            quality: reading.quality.into(),
            source: Source::Cache,
        }
    }

    /// What the Core said a moment ago.
    pub(super) fn fresh(change: &ControlChange<'_>) -> Self {
        let (string, cut) = clean_cut(change.string.as_deref().unwrap_or(""), TEXT_MAX_BYTES);
        Self {
            value: change.value.as_ref().and_then(Scalar::as_number),
            string: string.into_owned(),
            string_truncated: cut,
            position: change.position,
            age_ms: Some(0),
            quality: Trust::Live,
            source: Source::Core,
        }
    }

    /// In a few words: `-12.0dB`, or the number where there is no text.
    pub(super) fn words(&self) -> String {
        match (self.string.is_empty(), self.value) {
            (true, Some(value)) => number(value),
            (true, None) => "no value".to_owned(),
            (false, _) if self.string_truncated => format!("{}…", self.string),
            (false, _) => self.string.clone(),
        }
    }

    /// The same with the trust in it, where it is not live.
    pub(super) fn told(&self) -> String {
        let words = self.words();
        match (self.quality, self.age_ms) {
            (Trust::Live, _) => words,
            (Trust::Stale, Some(age)) => format!("{words} (stale, {} old)", span(age)),
            (Trust::Stale, None) => format!("{words} (stale, from before this box started)"),
            (Trust::Unknown, _) => "unknown (never seen)".to_owned(),
        }
    }
}

/// The same number with the digits that single precision has, and no more.
fn single(position: f32) -> f64 {
    position
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(position))
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Names and short texts of the design, as they are shown.
pub(super) fn shown_text(text: &str) -> String {
    clean_cut(text, TEXT_MAX_BYTES).0.into_owned()
}

/// An answer whose rows can be cut when it grows past [`ANSWER_MAX_BYTES`].
pub(super) trait Bounded: Serialize {
    /// How many rows it has.
    fn rows(&self) -> usize;

    /// Keeps the first rows only, and says in the answer itself how to get at the others.
    fn keep(&mut self, rows: usize);
}

/// Writes an answer down once; more often only if it is too large, with fewer rows each time.
pub(super) fn bounded<T: Bounded>(mut answer: T) -> Result<Box<RawValue>, ToolFault> {
    fitted(&mut answer)
}

/// The same for callers that want to know which rows are left.
pub(super) fn fitted<T: Bounded>(answer: &mut T) -> Result<Box<RawValue>, ToolFault> {
    loop {
        let written = whole(answer)?;
        let rows = answer.rows();
        if written.get().len() <= ANSWER_MAX_BYTES || rows == 0 {
            return Ok(written);
        }
        let fitting = rows * ANSWER_MAX_BYTES / written.get().len();
        answer.keep(fitting.min(rows - 1));
    }
}

/// Writes an answer down that is bounded by its making.
pub(super) fn whole<T: Serialize>(answer: &T) -> Result<Box<RawValue>, ToolFault> {
    serde_json::value::to_raw_value(answer).map_err(|fault| fault::unserialisable(&fault))
}

/// A good answer with its twin in words.
pub(super) fn answer(structured: Box<RawValue>, text: String) -> ToolAnswer {
    let text = match clean(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(cleaned) => cleaned,
    };
    ToolAnswer {
        structured: Some(structured),
        text,
        more: Vec::new(),
    }
}

/// A good answer whose twin in words can stand alone, for hosts that show nothing else: `head`, then a line for each row as long as
/// there is room. `total` counts the rows there are, and `more` says how to get at those after the first so many.
pub(super) fn listing(
    structured: Box<RawValue>,
    head: &str,
    lines: impl IntoIterator<Item = String>,
    total: usize,
    more: impl FnOnce(usize) -> String,
) -> ToolAnswer {
    let mut text = clean(head).into_owned();
    let mut shown = 0;
    for line in lines {
        let (line, _) = clean_cut(&line, LINE_MAX_BYTES);
        if text.len() + line.len() > LISTING_MAX_BYTES {
            break;
        }
        text.push('\n');
        text.push_str(&line);
        shown += 1;
    }
    let left = total.saturating_sub(shown);
    if left > 0 {
        let more = more(shown);
        text.push('\n');
        text.push_str(&clean(&format!("... and {left} more: {more}")));
    }
    ToolAnswer {
        structured: Some(structured),
        text,
        more: Vec::new(),
    }
}

/// Arguments as a tool's own type.
pub(super) fn arguments<T: for<'de> Deserialize<'de>>(arguments: Value) -> Result<T, ToolFault> {
    serde_json::from_value(arguments).map_err(|fault| {
        fault::bad_argument(
            "arguments",
            clean_cut(&fault.to_string(), TEXT_MAX_BYTES).0,
            "Compare with the tool's input schema.",
        )
    })
}

/// Which rows of a list are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) skip: usize,
    pub(super) limit: usize,
}

impl Page {
    /// Reads a cursor, which says all there is to say: nothing of it is kept here.
    pub(super) fn new(
        limit: Option<u16>,
        cursor: Option<&str>,
        generation: u64,
    ) -> Result<Self, ToolFault> {
        let limit = limit.map_or(PAGE_DEFAULT, usize::from);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(fault::bad_argument(
                "limit",
                format!("{limit} is outside 1 to {PAGE_MAX}"),
                "Ask for at most 500 rows and use `next_cursor` for more.",
            ));
        }
        let Some(cursor) = cursor else {
            return Ok(Self { skip: 0, limit });
        };
        let read = cursor
            .split_once('-')
            .and_then(|(design, skip)| Some((design.parse::<u64>().ok()?, skip.parse().ok()?)));
        match read {
            Some((design, skip)) if design == generation => Ok(Self { skip, limit }),
            Some((_, _)) => Err(fault::bad_argument(
                "cursor",
                "the Core runs another design since this cursor was made",
                "Start again without a cursor.",
            )),
            None => Err(fault::bad_argument(
                "cursor",
                "this is no cursor of this tool",
                "Pass `next_cursor` of the last answer unchanged, or leave it out.",
            )),
        }
    }

    /// How to ask for what comes after `shown` rows, in words.
    pub(super) fn more(self, shown: usize, total: usize, generation: u64) -> String {
        self.next(shown, total, generation).map_or_else(
            || "narrow the question.".to_owned(),
            |cursor| format!("call again with `cursor` \"{cursor}\"."),
        )
    }

    /// Where the next page begins after `shown` rows of this one, if anything is left.
    pub(super) fn next(self, shown: usize, total: usize, generation: u64) -> Option<String> {
        let next = self.skip + shown;
        (next < total).then(|| format!("{generation}-{next}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_on_where_the_page_ended_and_dies_with_the_design() {
        let first = Page::new(Some(10), None, 3).unwrap();
        let cursor = first.next(10, 25, 3).unwrap();
        let second = Page::new(Some(10), Some(&cursor), 3).unwrap();
        assert_eq!(second.skip, 10);
        assert_eq!(second.next(10, 20, 3), None);
        assert!(Page::new(None, Some(&cursor), 4).is_err());
        assert!(Page::new(None, Some("nonsense"), 3).is_err());
        assert!(Page::new(Some(501), None, 3).is_err() && Page::new(Some(0), None, 3).is_err());
    }

    #[derive(Debug, Serialize)]
    struct Rows {
        rows: Vec<String>,
        truncated: bool,
    }

    impl Bounded for Rows {
        fn rows(&self) -> usize {
            self.rows.len()
        }

        fn keep(&mut self, rows: usize) {
            self.rows.truncate(rows);
            self.truncated = true;
        }
    }

    #[test]
    fn an_answer_that_is_too_large_loses_rows_and_says_so() {
        let rows = |count| Rows {
            rows: vec!["x".repeat(1_000); count],
            truncated: false,
        };
        let small = bounded(rows(10)).unwrap();
        assert!(small.get().contains("\"truncated\":false"));
        let large = bounded(rows(500)).unwrap();
        assert!(large.get().len() <= ANSWER_MAX_BYTES && large.get().len() > ANSWER_MAX_BYTES / 2);
        assert!(large.get().contains("\"truncated\":true"));
    }

    #[test]
    fn a_position_keeps_the_digits_of_the_wire() {
        assert_eq!(single(0.833_333_3).to_string(), "0.8333333");
    }
}
