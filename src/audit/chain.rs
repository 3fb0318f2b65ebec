//! The hash that ties each line to the one before, and the form of a line on disk: JSON whose last field is `chain`.

use std::io::{self, BufRead};

use sha2::{Digest, Sha256};

use super::entry::Entry;
use crate::base::text::{self, plain_json};
use crate::limits::AUDIT_LINE_MAX_BYTES;

/// SHA-256 over the hash of the line before and this line's text up to its own hash.
pub(super) type Hash = [u8; 32];

/// What the first line of all is tied to.
pub(super) const GENESIS: Hash = [0; 32];

const FIELD: &[u8] = b",\"chain\":\"";
const END: &[u8] = b"\"}";

/// The text of a line with its end of line, and its hash.
pub(super) fn write(entry: &Entry, before: &Hash) -> serde_json::Result<(String, Hash)> {
    let mut text = plain_json(serde_json::to_string(entry)?);
    // The closing brace, which comes again behind the hash.
    text.pop();
    let hash = next(before, text.as_bytes());
    text.push_str(",\"chain\":\"");
    text.extend(text::hex(&hash));
    text.push_str("\"}\n");
    Ok((text, hash))
}

/// The hash of a line.
pub(super) fn next(before: &Hash, body: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(body);
    hasher.finalize().into()
}

/// A hash as text.
pub(super) fn hex(hash: &Hash) -> String {
    text::hex(hash).collect()
}

/// Reads a hash.
pub(super) fn from_hex(text: &[u8]) -> Option<Hash> {
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes?.try_into().ok()
}

/// A line as it was read.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// What its hash covers.
    pub(super) body: &'a [u8],
    /// The hash that stands in it.
    pub(super) hash: Hash,
    /// What it says.
    pub(super) entry: Entry,
}

impl<'a> Line<'a> {
    /// Reads a line without its end. `None` if it is none.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let rest = text.strip_suffix(END)?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        let body = rest.strip_suffix(FIELD)?;
        Some(Self {
            body,
            hash: from_hex(hash)?,
            entry: serde_json::from_slice(text).ok()?,
        })
    }

    /// Whether it follows a line with this hash, unchanged.
    pub(super) fn follows(&self, before: &Hash) -> bool {
        next(before, self.body) == self.hash
    }
}

/// One piece of a file up to an end of line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line, with its end taken off.
    Line,
    /// The last one, without an end of line.
    Unfinished,
    /// Longer than a line can be; read past, and cut.
    TooLong,
    /// The end of the file.
    End,
}

/// Reads the next piece into `text`. Takes no more memory than a line can have. The number is of bytes read.
pub(super) fn read_piece(from: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<(Piece, u64)> {
    text.clear();
    let mut count = 0_u64;
    let mut is_too_long = false;
    loop {
        let buffer = match from.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            let piece = match (count, is_too_long) {
                (0, _) => Piece::End,
                (_, true) => Piece::TooLong,
                (_, false) => Piece::Unfinished,
            };
            return Ok((piece, count));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffer.len());
        let room = AUDIT_LINE_MAX_BYTES.saturating_sub(text.len());
        text.extend(buffer.iter().take(taken.min(room)));
        is_too_long |= taken > room;
        let used = taken + usize::from(end.is_some());
        from.consume(used);
        count = count.saturating_add(u64::try_from(used).unwrap_or(u64::MAX));
        if end.is_some() {
            let piece = if is_too_long {
                Piece::TooLong
            } else {
                Piece::Line
            };
            return Ok((piece, count));
        }
    }
}
