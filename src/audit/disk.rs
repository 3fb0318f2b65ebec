//! The segment files: opened and mended at the start, appended to in batches, closed at a size, let go by bytes and days. Everything
//! here waits for the disk, so it runs on blocking threads alone.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compact_str::CompactString;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::chain::{self, GENESIS, Hash, Line, Piece};
use super::entry::{Entry, Kind};
use super::verify::said_before;
use super::writing::UNKNOWN;
use crate::base::clock::UnixMillis;
use crate::base::file::make_private_folder;
use crate::limits::AUDIT_SEGMENT_BYTES;

/// What is shown of a half-written end, bytes.
const CUT_SHOWN: usize = 200;

/// Smallest segment, bytes.
const SEGMENT_MIN: u64 = 64 << 10;

/// What one file of the trail is called.
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Bytes of all segments.
    pub(super) bytes: u64,
    /// Age after which a segment is let go.
    pub(super) age: Duration,
}

impl Keep {
    fn segment(&self) -> u64 {
        (self.bytes / 16).clamp(SEGMENT_MIN, AUDIT_SEGMENT_BYTES)
    }
}

/// A segment by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    /// Number of its first line.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

/// The last line that is on disk.
#[derive(Debug, Clone, Copy)]
struct Head {
    seq: u64,
    hash: Hash,
    at: UnixMillis,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    head: Head,
    is_synced: bool,
}

/// The folder of segments.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    keep: Keep,
    open: Option<Open>,
    /// Lines to write before any other.
    owed: Vec<Entry>,
    /// It was open before in this run.
    is_known: bool,
    /// Bytes of all segments, as of the last look.
    pub(super) total: u64,
}

/// What a round came to.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Entries of the batch that are on disk.
    pub(super) entries: usize,
    /// The stamp of the last line: none may be below it.
    pub(super) floor: Option<UnixMillis>,
}

impl Disk {
    pub(super) fn new(folder: PathBuf, keep: Keep) -> Self {
        Self {
            folder,
            keep,
            open: None,
            owed: Vec::new(),
            is_known: false,
            total: 0,
        }
    }

    /// Appends a batch, and syncs it if asked to. What was written before a fault is counted in `written`.
    pub(super) fn round(
        &mut self,
        batch: &[Entry],
        is_clock_good: bool,
        sync: bool,
        written: &mut Written,
    ) -> io::Result<()> {
        let outcome = self.try_round(batch, is_clock_good, sync, written);
        if outcome.is_err() {
            // The next round looks at what is really there, and mends it.
            self.open = None;
        }
        written.floor = self.open.as_ref().map(|open| open.head.at);
        outcome
    }

    fn try_round(
        &mut self,
        batch: &[Entry],
        is_clock_good: bool,
        sync: bool,
        written: &mut Written,
    ) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let owed = std::mem::take(&mut self.owed);
        let mut mended = 0;
        let result = self.append(&mut open, &owed, is_clock_good, &mut mended);
        self.owed = owed.into_iter().skip(mended).collect();
        result?;
        self.append(&mut open, batch, is_clock_good, &mut written.entries)?;
        if sync && !open.is_synced {
            open.file.sync_data()?;
            open.is_synced = true;
        }
        self.open = Some(open);
        Ok(())
    }

    fn append(
        &mut self,
        open: &mut Open,
        entries: &[Entry],
        is_clock_good: bool,
        done: &mut usize,
    ) -> io::Result<()> {
        let mut rest = entries;
        while !rest.is_empty() {
            if open.bytes >= self.keep.segment() {
                self.roll(open, is_clock_good)?;
            }
            let (mut text, mut head, mut count) = (String::new(), open.head, 0);
            for entry in rest {
                if open.bytes.saturating_add(bytes(&text)) >= self.keep.segment() {
                    break;
                }
                text.push_str(&follow(&mut head, entry.clone())?);
                count += 1;
            }
            put(open, &text, head)?;
            *done += count;
            rest = rest.get(count..).unwrap_or_default();
            self.total = self.total.saturating_add(bytes(&text));
        }
        Ok(())
    }

    /// Closes the segment, opens the next one, and lets go of what is too old or too much.
    fn roll(&mut self, open: &mut Open, is_clock_good: bool) -> io::Result<()> {
        open.file.sync_data()?;
        *open = self.new_segment(open.head)?;
        self.retire(open, is_clock_good)
    }

    fn new_segment(&self, head: Head) -> io::Result<Open> {
        let first = head.seq.saturating_add(1);
        let path = self.folder.join(format!("{PREFIX}{first:012}{SUFFIX}"));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        // Nothing of it counts yet.
        file.set_len(0)?;
        let mut open = Open {
            file,
            bytes: 0,
            head,
            is_synced: false,
        };
        let entry = Entry::new(Kind::Segment, UnixMillis::now())
            .with_detail(&json!({"format": 1, "before": chain::hex(&head.hash)}));
        let mut next = head;
        let text = follow(&mut next, entry)?;
        put(&mut open, &text, next)?;
        open.file.sync_data()?;
        open.is_synced = true;
        File::open(&self.folder)?.sync_all()?;
        Ok(open)
    }

    /// Lets go of the oldest segments, after a line that says so is safe. By age only while the clock is right: one that runs wild must
    /// not cost the trail.
    fn retire(&mut self, open: &mut Open, is_clock_good: bool) -> io::Result<()> {
        let all = segments(&self.folder)?;
        let sizes = all.iter().map(|one| {
            let size = fs::metadata(&one.path).map_or(0, |data| data.len());
            (one, size)
        });
        let sizes: Vec<_> = sizes.collect();
        self.total = sizes.iter().map(|(_, size)| size).sum();
        let room = self.keep.bytes.saturating_sub(self.keep.segment());
        let age = u64::try_from(self.keep.age.as_millis()).unwrap_or(u64::MAX);
        let oldest_kept = UnixMillis::now().0.saturating_sub(age);
        let mut through = None;
        let mut gone = Vec::new();
        let mut rest = sizes.as_slice();
        while let [(oldest, size), after @ ..] = rest {
            let Some((next, _)) = after.first() else {
                break;
            };
            let is_too_old =
                is_clock_good && first_stamp(&next.path).is_some_and(|at| at.0 < oldest_kept);
            if self.total <= room && !is_too_old {
                break;
            }
            through = Some(next.first.saturating_sub(1));
            self.total = self.total.saturating_sub(*size);
            gone.push(oldest.path.clone());
            rest = after;
        }
        let Some(through) = through else {
            return Ok(());
        };
        let entry = Entry::new(Kind::Retired, UnixMillis::now())
            .with_detail(&json!({"through": through, "segments": gone.len()}));
        let mut head = open.head;
        let text = follow(&mut head, entry)?;
        put(open, &text, head)?;
        self.total = self.total.saturating_add(bytes(&text));
        open.file.sync_data()?;
        open.is_synced = true;
        for path in gone {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Finds the end of the trail, mends it, and goes on behind it.
    fn open(&mut self) -> io::Result<Open> {
        make_private_folder(&self.folder)?;
        let mut all = segments(&self.folder)?;
        self.total = 0;
        let mut damaged = None;
        let found = loop {
            let Some(last) = all.pop() else { break None };
            let end = end_of(&last.path)?;
            if let Some(head) = end.head {
                break Some((last, end, head));
            }
            // Nothing of it reads: it was begun when the power went. The last such file is kept aside.
            let aside = self.folder.join("audit-damaged");
            fs::rename(&last.path, aside)?;
            damaged = Some(last);
        };
        let is_first_look = !std::mem::replace(&mut self.is_known, true);
        let open = match found {
            None => self.new_segment(Head {
                seq: 0,
                hash: GENESIS,
                at: UnixMillis(0),
            })?,
            Some((last, end, head)) => {
                let file = OpenOptions::new()
                    .append(true)
                    .read(true)
                    .open(&last.path)?;
                if end.bytes > end.good {
                    let cut = cut_line(&file, &end, &last.path)?;
                    file.set_len(end.good)?;
                    file.sync_data()?;
                    self.owed.insert(0, cut);
                } else if is_first_look && !end.is_stopped {
                    let note = json!({"note": "the run before did not stop in good order"});
                    let entry = Entry::new(Kind::Cut, UnixMillis::now()).with_detail(&note);
                    self.owed.insert(0, entry);
                }
                Open {
                    file,
                    bytes: end.good,
                    head,
                    is_synced: true,
                }
            }
        };
        if let Some(damaged) = damaged {
            let name = damaged.path.file_name().map(|name| name.to_string_lossy());
            let note = json!({"note": "a segment did not read and was put aside as audit-damaged", "segment": name});
            self.owed.insert(
                0,
                Entry::new(Kind::Cut, UnixMillis::now()).with_detail(&note),
            );
        }
        for one in segments(&self.folder)? {
            self.total += fs::metadata(&one.path).map_or(0, |data| data.len());
        }
        Ok(open)
    }

    /// The newest actions of the last two segments, oldest first, each write as one: begun by its intent, and ended as its outcome says.
    pub(super) fn newest(&self, most: usize) -> Vec<Entry> {
        let all = segments(&self.folder).unwrap_or_default();
        let mut found: VecDeque<Entry> = VecDeque::new();
        let mut text = Vec::new();
        for one in all.iter().rev().take(2).rev() {
            let Ok(file) = File::open(&one.path) else {
                continue;
            };
            let mut from = BufReader::new(file);
            while let Ok((piece, _)) = chain::read_piece(&mut from, &mut text) {
                let line = match piece {
                    Piece::End => break,
                    Piece::Line => Line::parse(&text),
                    Piece::Unfinished | Piece::TooLong => None,
                };
                let Some(mut entry) = line.map(|line| line.entry) else {
                    continue;
                };
                match entry.kind {
                    // Until its outcome is found: the process may have ended before that.
                    Kind::Intent => entry.outcome = Some(CompactString::const_new(UNKNOWN)),
                    Kind::Write => {
                        let mut begun = found.iter_mut().rev();
                        let begun =
                            begun.find(|one| one.kind == Kind::Intent && one.write == entry.write);
                        if let Some(begun) = begun {
                            let arguments = begun.arguments.take();
                            let at = begun.at;
                            *begun = Entry {
                                at,
                                arguments,
                                ..entry
                            };
                            continue;
                        }
                    }
                    Kind::Login | Kind::Key | Kind::Config | Kind::Start => {}
                    _ => continue,
                }
                if found.len() >= most {
                    found.pop_front();
                }
                found.push_back(entry);
            }
        }
        found.into()
    }
}

/// The text of the next line. Its number, stamp and hash follow those of the head, which moves on.
fn follow(head: &mut Head, mut entry: Entry) -> io::Result<String> {
    entry.seq = head.seq.saturating_add(1);
    if entry.at < head.at {
        entry.clock_said.get_or_insert(entry.at);
        entry.at = head.at;
    }
    let (text, hash) = chain::write(&entry, &head.hash)?;
    *head = Head {
        seq: entry.seq,
        hash,
        at: entry.at,
    };
    Ok(text)
}

fn bytes(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// Writes whole lines or none.
fn put(open: &mut Open, text: &str, head: Head) -> io::Result<()> {
    if let Err(error) = open.file.write_all(text.as_bytes()) {
        // On a full disk a part may be there; where it cannot be taken back, the next opening does it.
        let _ = open.file.set_len(open.bytes);
        return Err(error);
    }
    open.bytes = open.bytes.saturating_add(bytes(text));
    open.head = head;
    open.is_synced = false;
    Ok(())
}

/// Segments of a folder, oldest first.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<Named>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .and_then(|digits| digits.parse().ok());
        if let Some(first) = number {
            all.push(Named { first, path });
        }
    }
    all.sort();
    Ok(all)
}

/// How a segment ends.
#[derive(Clone, Copy)]
struct End {
    /// The last line that reads and follows the one before it; none if no line reads at all.
    head: Option<Head>,
    /// Bytes up to it.
    good: u64,
    /// Bytes of the file.
    bytes: u64,
    is_stopped: bool,
}

fn end_of(path: &Path) -> io::Result<End> {
    let file = File::open(path)?;
    let mut end = End {
        head: None,
        good: 0,
        bytes: 0,
        is_stopped: false,
    };
    let mut from = BufReader::new(file);
    let mut text = Vec::new();
    let mut before: Option<Hash> = None;
    // How it ends in front of the first hole: where a sector was not written before the power went, while later ones were.
    let mut at_hole: Option<End> = None;
    loop {
        let (piece, count) = chain::read_piece(&mut from, &mut text)?;
        end.bytes = end.bytes.saturating_add(count);
        if text.contains(&0) {
            at_hole.get_or_insert(end);
        }
        match piece {
            // Behind a hole nothing was synced; a run that stopped in good order has left none, so that one is for whoever verifies.
            Piece::End if !end.is_stopped => {
                let bytes = end.bytes;
                return Ok(at_hole.map_or(end, |hole| End { bytes, ..hole }));
            }
            Piece::End => return Ok(end),
            Piece::Unfinished | Piece::TooLong => continue,
            Piece::Line => {}
        }
        let Some(line) = Line::parse(&text) else {
            continue;
        };
        // What comes first says itself what came before; a line in the middle is judged by the one above it, whole or not.
        let known = before.or_else(|| said_before(&line.entry.detail()));
        before = Some(line.hash);
        if known.is_none_or(|known| line.follows(&known)) {
            end.good = end.bytes;
            end.is_stopped = line.entry.kind == Kind::Stop;
            end.head = Some(Head {
                seq: line.entry.seq,
                hash: line.hash,
                at: line.entry.at,
            });
        }
    }
}

/// The line that says what was cut off behind the last good line.
fn cut_line(file: &File, end: &End, path: &Path) -> io::Result<Entry> {
    let mut file = file;
    file.seek(SeekFrom::Start(end.good))?;
    let mut from = file.take(end.bytes.saturating_sub(end.good));
    let (mut hasher, mut shown, mut buffer) = (Sha256::new(), Vec::new(), [0; 4096]);
    loop {
        let count = from.read(&mut buffer)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            break;
        };
        hasher.update(piece);
        let room = CUT_SHOWN.saturating_sub(shown.len());
        shown.extend(piece.iter().take(room));
    }
    let detail = json!({
        "note": "the end of the segment was half written and was cut off",
        "segment": path.file_name().map(|name| name.to_string_lossy()),
        "bytes": end.bytes.saturating_sub(end.good),
        "sha256": chain::hex(&hasher.finalize().into()),
        "began": String::from_utf8_lossy(&shown),
    });
    Ok(Entry::new(Kind::Cut, UnixMillis::now()).with_detail(&detail))
}

/// The stamp of the first line of a segment.
fn first_stamp(path: &Path) -> Option<UnixMillis> {
    let mut text = Vec::new();
    let mut from = BufReader::new(File::open(path).ok()?);
    chain::read_piece(&mut from, &mut text).ok()?;
    Line::parse(&text).map(|line| line.entry.at)
}
