//! Answers of a box as they come off the wire: as much of HTTP/1.1 (RFC 9112) as a client needs that asks once on each connection.

use bytes::{Buf as _, Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Status, parse_chunk_size};

use crate::limits::{HEAD_MAX_BYTES, HEADERS_MAX};

/// What came is no HTTP, or more of it than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbled;

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Content-Type`, without its parameters, in lower case.
    pub(super) content_type: String,
    /// `Mcp-Session-Id`
    pub(super) session: Option<String>,
    body: Body,
}

/// How much body follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Body {
    /// All until the connection ends.
    #[default]
    ToTheEnd,
    /// So many bytes more.
    Length(u64),
    /// Chunks; so many bytes more of the present one.
    Chunk(u64),
    /// A line end, and then another chunk.
    ChunkEnd,
    /// Nothing more but perhaps trailers, which nobody reads.
    Done,
}

/// What there is of a body at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Some of it.
    Some(Bytes),
    /// Nothing before more has come.
    Wait,
    /// Nothing any more.
    End,
}

impl Head {
    /// Takes a head off the front of what has come; `None` if it is not whole. Interim answers are passed over.
    pub(super) fn take(come: &mut BytesMut) -> Result<Option<Self>, Garbled> {
        loop {
            let mut fields = [EMPTY_HEADER; HEADERS_MAX];
            let mut parsed = httparse::Response::new(&mut fields);
            let length = match parsed.parse(come).map_err(|_| Garbled)? {
                Status::Complete(length) => length,
                Status::Partial if come.len() > HEAD_MAX_BYTES => return Err(Garbled),
                Status::Partial => return Ok(None),
            };
            let head = Self::read(&parsed)?;
            come.advance(length);
            if head.status >= 200 {
                return Ok(Some(head));
            }
        }
    }

    fn read(parsed: &httparse::Response<'_, '_>) -> Result<Self, Garbled> {
        let mut head = Self {
            status: parsed.code.ok_or(Garbled)?,
            ..Self::default()
        };
        let mut length = None;
        let mut is_chunked = false;
        for field in &*parsed.headers {
            let Ok(value) = std::str::from_utf8(field.value).map(str::trim) else {
                continue;
            };
            match &*field.name.to_ascii_lowercase() {
                "content-type" => {
                    let essence = value.split(';').next().unwrap_or_default();
                    head.content_type = essence.trim().to_ascii_lowercase();
                }
                "mcp-session-id" => head.session = Some(value.to_owned()),
                "content-length" => length = Some(value.parse().map_err(|_| Garbled)?),
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => is_chunked = true,
                "transfer-encoding" => return Err(Garbled),
                _ => {}
            }
        }
        head.body = match (is_chunked, length) {
            _ if matches!(head.status, 204 | 304) => Body::Done,
            (true, _) => Body::Chunk(0),
            (false, Some(length)) => Body::Length(length),
            (false, None) => Body::ToTheEnd,
        };
        Ok(head)
    }

    /// Takes what has come of the body. `is_over` when nothing more will come.
    pub(super) fn piece(&mut self, come: &mut BytesMut, is_over: bool) -> Result<Piece, Garbled> {
        loop {
            match self.body {
                Body::Done | Body::Length(0) => return Ok(Piece::End),
                Body::ToTheEnd if come.is_empty() && is_over => return Ok(Piece::End),
                Body::ToTheEnd if come.is_empty() => return Ok(Piece::Wait),
                Body::ToTheEnd => return Ok(Piece::Some(come.split().freeze())),
                _ if come.is_empty() && is_over => return Err(Garbled),
                _ if come.is_empty() => return Ok(Piece::Wait),
                Body::Length(left) => {
                    let (piece, left) = split(come, left);
                    self.body = Body::Length(left);
                    return Ok(Piece::Some(piece));
                }
                Body::Chunk(0) => match parse_chunk_size(come).map_err(|_| Garbled)? {
                    Status::Complete((length, size)) => {
                        come.advance(length);
                        self.body = if size == 0 {
                            Body::Done
                        } else {
                            Body::Chunk(size)
                        };
                    }
                    Status::Partial if is_over || come.len() > HEAD_MAX_BYTES => {
                        return Err(Garbled);
                    }
                    Status::Partial => return Ok(Piece::Wait),
                },
                Body::Chunk(left) => {
                    let (piece, left) = split(come, left);
                    self.body = if left == 0 {
                        Body::ChunkEnd
                    } else {
                        Body::Chunk(left)
                    };
                    return Ok(Piece::Some(piece));
                }
                Body::ChunkEnd => {
                    if come.starts_with(b"\r\n") {
                        come.advance(2);
                        self.body = Body::Chunk(0);
                    } else if come.len() < 2 && !is_over {
                        return Ok(Piece::Wait);
                    } else {
                        return Err(Garbled);
                    }
                }
            }
        }
    }
}

/// Takes at most `left` bytes; they, and how many are still to come.
fn split(come: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(come.len());
    let piece = come.split_to(most).freeze();
    (
        piece,
        left.saturating_sub(u64::try_from(most).unwrap_or(left)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an answer that comes in pieces of `size` bytes: its head and whole body.
    fn read(wire: &[u8], size: usize) -> Result<(Head, Vec<u8>), Garbled> {
        let mut come = BytesMut::new();
        let mut pieces = wire.chunks(size);
        let mut head = loop {
            if let Some(head) = Head::take(&mut come)? {
                break head;
            }
            come.extend_from_slice(pieces.next().ok_or(Garbled)?);
        };
        let mut body = Vec::new();
        let mut is_over = false;
        loop {
            match head.piece(&mut come, is_over)? {
                Piece::Some(piece) => body.extend_from_slice(&piece),
                Piece::End => return Ok((head, body)),
                Piece::Wait => match pieces.next() {
                    Some(piece) => come.extend_from_slice(piece),
                    None => is_over = true,
                },
            }
        }
    }

    #[test]
    fn each_form_of_a_body_is_read_however_it_is_cut() {
        for (wire, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
            ("HTTP/1.1 204 No Content\r\n\r\n", ""),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
                "",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\ntrailer: 1\r\n\r\n",
                "abc0123456789",
            ),
        ] {
            for size in 1..=wire.len() {
                let (_, read) = read(wire.as_bytes(), size).unwrap();
                assert_eq!(read, body.as_bytes(), "pieces of {size}: {wire}");
            }
        }
    }

    #[test]
    fn a_head_tells_what_is_needed() {
        let wire = b"HTTP/1.1 404 Not Found\r\nContent-Type: Application/JSON; charset=utf-8\r\nMCP-Session-Id:  s1 \r\ncontent-length: 0\r\n\r\n";
        let (head, _) = read(wire, 7).unwrap();
        assert_eq!(head.status, 404);
        assert_eq!(head.content_type, "application/json");
        assert_eq!(head.session.as_deref(), Some("s1"));
    }

    #[test]
    fn what_is_cut_off_or_no_http_is_no_answer() {
        let endless = "HTTP/1.1 200 OK\r\nx: ".to_owned() + &"x".repeat(2 * HEAD_MAX_BYTES);
        for wire in [
            "",
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            &endless,
        ] {
            for size in [1, 3, 1_000_000] {
                assert_eq!(read(wire.as_bytes(), size), Err(Garbled), "{wire}");
            }
        }
    }
}
