//! Messages as lines: one JSON text each, none longer than a bound.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// What stood on a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A text, without its end of line. Blank lines are left out.
    Whole(Bytes),
    /// More than was allowed; it was thrown away as it came.
    TooLong,
}

/// Splits at line ends and holds no more than `longest` bytes and what one read adds. The end of the input ends a line too.
#[derive(Debug)]
pub(super) struct LineFraming {
    longest: usize,
    /// Bytes at the start of the buffer without a line end, so that a long line is not searched again at every read.
    scanned: usize,
    /// The rest of the line belongs to one that was too long.
    is_skipping: bool,
}

impl LineFraming {
    /// Lines of at most that many bytes.
    pub(super) const fn new(longest: usize) -> Self {
        Self {
            longest,
            scanned: 0,
            is_skipping: false,
        }
    }

    fn end_line(&mut self, line: BytesMut) -> Option<Line> {
        self.scanned = 0;
        if std::mem::take(&mut self.is_skipping) || line.len() > self.longest {
            return Some(Line::TooLong);
        }
        let is_blank = line.trim_ascii().is_empty();
        (!is_blank).then(|| Line::Whole(line.freeze()))
    }
}

impl Decoder for LineFraming {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        loop {
            let unseen = buffer.get(self.scanned..).unwrap_or_default();
            let Some(at) = unseen.iter().position(|byte| *byte == b'\n') else {
                // One more than fits may be the first half of a line end.
                if buffer.len() > self.longest + 1 {
                    buffer.clear();
                    self.is_skipping = true;
                }
                self.scanned = buffer.len();
                return Ok(None);
            };
            let mut line = buffer.split_to(self.scanned + at + 1);
            let end = if line.ends_with(b"\r\n") { 2 } else { 1 };
            line.truncate(line.len() - end);
            if let Some(line) = self.end_line(line) {
                return Ok(Some(line));
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        if buffer.is_empty() && !self.is_skipping {
            return Ok(None);
        }
        let line = buffer.split();
        Ok(self.end_line(line))
    }
}

/// A JSON text as one line with its end: line ends can only stand between tokens there, where a blank is as good.
pub(super) fn as_line(json: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(json.len() + 1);
    line.extend(json.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        other => *other,
    }));
    line.push(b'\n');
    Bytes::from(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `input` in pieces of `size` bytes.
    fn lines(input: &[u8], size: usize) -> Vec<Line> {
        let mut framing = LineFraming::new(8);
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for piece in input.chunks(size) {
            buffer.extend_from_slice(piece);
            while let Some(line) = framing.decode(&mut buffer).unwrap() {
                found.push(line);
            }
            assert!(buffer.len() <= 9 + size);
        }
        while let Some(line) = framing.decode_eof(&mut buffer).unwrap() {
            found.push(line);
        }
        found
    }

    fn whole(text: &str) -> Line {
        Line::Whole(Bytes::from(text.to_owned()))
    }

    #[test]
    fn lines_end_with_any_line_end_or_with_the_input_and_blank_ones_are_nothing() {
        for size in 1..30 {
            assert_eq!(
                lines(b"{}\n\r\n  \n[1]\r\n12345678\n7", size),
                [whole("{}"), whole("[1]"), whole("12345678"), whole("7")]
            );
        }
        assert_eq!(lines(b"", 1), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_the_next_one_is_read() {
        for size in 1..40 {
            assert_eq!(
                lines(b"123456789\n{}\nabcdefghijklmnopqrst\n[]\n123456789", size),
                [
                    Line::TooLong,
                    whole("{}"),
                    Line::TooLong,
                    whole("[]"),
                    Line::TooLong
                ],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_text_over_several_lines_becomes_one() {
        assert_eq!(&as_line(b"{\r\n\"a\": 1\n}")[..], b"{  \"a\": 1 }\n");
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(input in prop::collection::vec(prop::sample::select(b"ab \r\n".to_vec()), 0..60), size in 1_usize..20) {
            prop_assert_eq!(lines(&input, size), lines(&input, input.len().max(1)));
        }
    }
}
