//! The lines on disk from a moment on, in pieces: whoever reads slowly costs one piece of memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use super::chain::{self, Line, Piece};
use super::disk::{self, Named};
use crate::base::clock::UnixMillis;
use crate::limits::AUDIT_EXPORT_CHUNK_BYTES;

/// An export under way. Reads from disk: for blocking threads.
#[derive(Debug)]
pub struct Export {
    since: Option<UnixMillis>,
    rest: VecDeque<Named>,
    open: Option<BufReader<File>>,
    text: Vec<u8>,
}

impl Export {
    /// Begins with the oldest line that is not older than `since`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn begin(folder: &Path, since: Option<UnixMillis>) -> io::Result<Self> {
        Ok(Self {
            since,
            rest: disk::segments(folder)?.into(),
            open: None,
            text: Vec::new(),
        })
    }

    /// The next lines, whole, some 64 KiB of them; `None` at the end. What does not read is left out: the check of the trail names it.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut chunk = Vec::new();
        while chunk.len() < AUDIT_EXPORT_CHUNK_BYTES {
            let Some(from) = &mut self.open else {
                let Some(next) = self.rest.pop_front() else {
                    break;
                };
                match File::open(&next.path) {
                    Ok(file) => self.open = Some(BufReader::new(file)),
                    // Let go for its age in the meantime.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            match chain::read_piece(from, &mut self.text)?.0 {
                Piece::End => self.open = None,
                Piece::Line if self.is_wanted() => {
                    chunk.extend_from_slice(&self.text);
                    chunk.push(b'\n');
                }
                Piece::Line | Piece::Unfinished | Piece::TooLong => {}
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    fn is_wanted(&self) -> bool {
        let line = Line::parse(&self.text);
        line.is_some_and(|line| self.since.is_none_or(|since| line.entry.at >= since))
    }
}
