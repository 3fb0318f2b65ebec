//! Whether the trail is whole: reads every segment in order, and says where the chain breaks.

use std::fmt;
use std::io::{self, BufRead};

use serde_json::Value;

use super::chain::{self, GENESIS, Hash, Line, Piece};
use super::entry::Kind;
use crate::base::clock::UnixMillis;

/// Faults that a report names. Further ones are counted.
const FAULTS_NAMED: usize = 20;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// It is no line of a trail.
    #[error("this is no line of an audit trail")]
    NoLine,
    /// It was changed, or the line before it was changed or removed.
    #[error("the chain breaks: this line was changed, or lines before it were changed or removed")]
    Broken,
    /// Its number does not follow.
    #[error("lines are missing before this one")]
    Missing,
    /// It is older than the line above.
    #[error("the time goes back")]
    TimeBack,
    /// A segment does not begin with the line that ties it to the one before.
    #[error("the segment does not begin with its first line")]
    NoHead,
    /// The oldest segments are not there, and nothing says that they were let go.
    #[error("older segments are missing, and no line says that they were let go")]
    OldestMissing,
}

/// Where it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the segment.
    pub segment: String,
    /// Line in it, from 1.
    pub line: u64,
    /// What is wrong.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.segment, self.line, self.kind)
    }
}

/// What a check of the whole trail came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: usize,
    /// Lines read.
    pub lines: u64,
    /// Number of the first line that is still there.
    pub first: Option<u64>,
    /// Number of the last.
    pub last: Option<u64>,
    /// When the first was written.
    pub from: Option<UnixMillis>,
    /// When the last was written.
    pub to: Option<UnixMillis>,
    /// What is wrong, at most 20 of them.
    pub faults: Vec<Fault>,
    /// How much is wrong.
    pub fault_count: u64,
    /// Lines that the trail itself says were lost.
    pub lost: u64,
    /// Places where the trail itself says that a run did not stop in good order.
    pub cuts: u64,
    /// The last line is not whole: it is being written, or the power went.
    pub is_unfinished: bool,
    /// The last line is that of a stop in good order.
    pub is_stopped: bool,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.fault_count == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last), Some(from), Some(to)) =
            (self.first, self.last, self.from, self.to)
        else {
            return write!(f, "The audit trail has no lines.");
        };
        writeln!(
            f,
            "{} lines in {} segments, number {first} to {last}, {} to {}.",
            self.lines,
            self.segments,
            from.to_iso(),
            to.to_iso()
        )?;
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        let named = u64::try_from(self.faults.len()).unwrap_or(u64::MAX);
        if self.fault_count > named {
            writeln!(f, "… and {} more faults.", self.fault_count - named)?;
        }
        if self.lost > 0 {
            writeln!(
                f,
                "The trail says itself that {} lines were lost to a disk that took none.",
                self.lost
            )?;
        }
        if self.cuts > 0 {
            writeln!(
                f,
                "The trail says itself that it was cut off {} times, by a power cut or a kill.",
                self.cuts
            )?;
        }
        if self.is_unfinished {
            writeln!(
                f,
                "The last line is not whole: it is being written, or the power went."
            )?;
        } else if !self.is_stopped {
            writeln!(
                f,
                "The last run has not stopped in good order: it is running, or it was cut off."
            )?;
        }
        f.write_str(if self.is_whole() {
            "The chain is whole."
        } else {
            "THE CHAIN IS BROKEN."
        })
    }
}

/// Checks a trail segment by segment, oldest first.
#[derive(Debug, Default)]
pub struct Verifier {
    report: Report,
    before: Option<Hash>,
    /// The last number up to which lines were let go.
    retired: u64,
    /// Lines before the next one that the trail itself says are lost.
    text: Vec<u8>,
}

impl Verifier {
    /// Reads one segment.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn segment(&mut self, name: &str, mut from: impl BufRead) -> io::Result<()> {
        if std::mem::take(&mut self.report.is_unfinished) {
            // Whatever was not whole at the end of the segment before was no end of the trail.
            self.fault(name, 1, FaultKind::Missing);
        }
        self.report.segments += 1;
        let mut text = std::mem::take(&mut self.text);
        let mut number = 0;
        loop {
            let (piece, _) = chain::read_piece(&mut from, &mut text)?;
            number += 1;
            match piece {
                Piece::End => break,
                Piece::Unfinished => self.report.is_unfinished = true,
                Piece::TooLong => self.fault(name, number, FaultKind::NoLine),
                Piece::Line => match Line::parse(&text) {
                    Some(line) => self.line(name, number, &line),
                    None => self.fault(name, number, FaultKind::NoLine),
                },
            }
        }
        self.text = text;
        Ok(())
    }

    fn line(&mut self, segment: &str, number: u64, line: &Line<'_>) {
        let entry = &line.entry;
        let is_head = entry.kind == Kind::Segment;
        if (number == 1) != is_head {
            self.fault(segment, number, FaultKind::NoHead);
        }
        let before = match self.before {
            Some(before) => before,
            // The oldest segment that is left says itself what came before it.
            None => said_before(&entry.detail()).unwrap_or(GENESIS),
        };
        if !line.follows(&before) {
            self.fault(segment, number, FaultKind::Broken);
        }
        if let Some(last) = self.report.last
            && entry.seq != last.saturating_add(1)
        {
            self.fault(segment, number, FaultKind::Missing);
        }
        if self.report.to.is_some_and(|to| entry.at < to) {
            self.fault(segment, number, FaultKind::TimeBack);
        }
        let number_in = |name: &str| entry.detail().get(name).and_then(Value::as_u64);
        match entry.kind {
            Kind::Gap => self.report.lost += number_in("lost").unwrap_or(0),
            Kind::Cut => self.report.cuts += 1,
            Kind::Retired => self.retired = number_in("through").unwrap_or(0),
            _ => {}
        }
        self.report.lines += 1;
        self.report.first.get_or_insert(entry.seq);
        self.report.from.get_or_insert(entry.at);
        self.report.last = Some(entry.seq);
        self.report.to = Some(entry.at);
        self.report.is_stopped = entry.kind == Kind::Stop;
        self.before = Some(line.hash);
    }

    fn fault(&mut self, segment: &str, line: u64, kind: FaultKind) {
        self.report.fault_count += 1;
        if self.report.faults.len() < FAULTS_NAMED {
            self.report.faults.push(Fault {
                segment: segment.to_owned(),
                line,
                kind,
            });
        }
    }

    /// What came of it.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if let Some(first) = self.report.first
            && first > self.retired.saturating_add(1)
        {
            self.fault("the oldest segment", 1, FaultKind::OldestMissing);
        }
        self.report
    }
}

/// The hash that the first line of a segment carries.
pub(super) fn said_before(detail: &Value) -> Option<Hash> {
    chain::from_hex(detail.get("before")?.as_str()?.as_bytes())
}
