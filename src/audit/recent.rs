//! Questions about what is in memory.

use std::sync::Arc;

use super::entry::Entry;
use super::ring::Rings;
use crate::base::clock::UnixMillis;

/// What is asked for. What is absent asks for everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// Entries of this caller.
    pub caller: Option<&'a str>,
    /// Entries not older than this.
    pub since: Option<UnixMillis>,
    /// Calls of this tool.
    pub tool: Option<&'a str>,
    /// Entries with this outcome.
    pub outcome: Option<&'a str>,
    /// Entries below this place: where the page before ended.
    pub below: Option<u64>,
    /// Most entries.
    pub limit: usize,
}

/// What was found, newest first.
#[derive(Debug, Default)]
pub struct Found {
    /// The entries, each with its place, by which the next page begins.
    pub entries: Vec<(u64, Arc<Entry>)>,
    /// How many fit the question, below the page's beginning.
    pub total: usize,
}

impl Query<'_> {
    pub(super) fn look(&self, rings: &Rings) -> Found {
        let mut found = Found::default();
        for (order, entry) in rings.newest_first() {
            if self.below.is_some_and(|below| *order >= below) || !self.fits(entry) {
                continue;
            }
            found.total += 1;
            if found.entries.len() < self.limit {
                found.entries.push((*order, Arc::clone(entry)));
            }
        }
        found
    }

    fn fits(&self, entry: &Entry) -> bool {
        self.caller
            .is_none_or(|caller| entry.caller.as_deref() == Some(caller))
            && self.since.is_none_or(|since| entry.at >= since)
            && self
                .tool
                .is_none_or(|tool| entry.tool.as_deref() == Some(tool))
            && self
                .outcome
                .is_none_or(|wanted| entry.outcome() == Some(wanted))
    }
}
