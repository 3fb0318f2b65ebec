//! Lists, a page at a time. Where a page ends is told to the client as an opaque text and not remembered here.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::answer::Answer;
use super::error::Fault;
use super::{Request, Server, schema};
use crate::limits::LIST_CACHE_MS;

/// A list as it stands at this moment.
#[derive(Debug)]
pub(super) struct List<'a, T> {
    /// The field of the result, which tells one list from another.
    pub(super) field: &'static str,
    /// All entries, whoever may see them, in a stable order.
    pub(super) entries: &'a [T],
    /// What no two entries share.
    pub(super) name: fn(&T) -> &str,
}

/// A place in a list.
///
/// It carries the list's edition, so that a cursor of another list, or from before the list changed, is refused instead of leaving
/// entries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    edition: u64,
    next: u32,
}

impl Cursor {
    fn to_text(self) -> String {
        let mut bytes = [0_u8; 12];
        let (edition, next) = bytes.split_at_mut(8);
        edition.copy_from_slice(&self.edition.to_be_bytes());
        next.copy_from_slice(&self.next.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (edition, next) = bytes.split_first_chunk()?;
        Some(Self {
            edition: u64::from_be_bytes(*edition),
            next: u32::from_be_bytes(next.try_into().ok()?),
        })
    }
}

impl<T> List<'_, T> {
    /// Answers with the page that the request asks for. `write` gives the JSON of an entry, or nothing for one that the caller may
    /// not see.
    pub(super) fn answer<'e>(
        &'e self,
        server: &Server,
        request: &Request<'_>,
        write: impl Fn(&'e T) -> Option<Cow<'e, str>>,
    ) -> Result<Vec<u8>, Fault> {
        let edition = self.edition();
        let start = start(request, edition)?;
        let mut answer = Answer::open(request.id, request.revision, 16 << 10);
        let out = answer.name(self.field);
        out.push(b'[');
        let mut next = None;
        let visible = self.entries.iter().enumerate().skip(start);
        let visible = visible.filter_map(|(index, entry)| Some((index, write(entry)?)));
        for (count, (index, json)) in visible.enumerate() {
            if count == server.page {
                next = u32::try_from(index).ok();
                break;
            }
            if count > 0 {
                out.push(b',');
            }
            out.extend_from_slice(json.as_bytes());
        }
        out.push(b']');
        if let Some(next) = next {
            answer.field("nextCursor", &Cursor { edition, next }.to_text());
        }
        if request.revision.has_cache_hints() {
            // What is listed depends on the key's scopes.
            answer.field("ttlMs", &LIST_CACHE_MS);
            answer.raw("cacheScope", "\"private\"");
        }
        Ok(answer.close(request.revision, &server.meta))
    }

    /// A number that is another one for each list and whenever its names change (FNV-1a over the field and all names).
    fn edition(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let names = self.entries.iter().map(self.name);
        std::iter::once(self.field)
            .chain(names)
            .flat_map(|name| name.bytes().chain([0xff]))
            .fold(OFFSET, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(PRIME)
            })
    }
}

/// Index of the first entry that is asked for.
fn start(request: &Request<'_>, edition: u64) -> Result<usize, Fault> {
    let Some(raw) = request.message.params.cursor else {
        return Ok(0);
    };
    let text = schema::text(raw);
    // Clients that always send the field send it empty at first; no cursor made here is empty.
    if text.as_deref() == Some("") {
        return Ok(0);
    }
    text.as_deref()
        .and_then(Cursor::parse)
        .filter(|cursor| cursor.edition == edition)
        .and_then(|cursor| usize::try_from(cursor.next).ok())
        .ok_or_else(|| {
            Fault::params(
                "The cursor is not one of this list as it is now. Start again without a cursor.",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list<'a>(field: &'static str, entries: &'a [&'a str]) -> List<'a, &'a str> {
        List {
            field,
            entries,
            name: |entry| entry,
        }
    }

    #[test]
    fn a_cursor_survives_the_way_to_the_client_and_nothing_else_is_one() {
        let cursor = Cursor {
            edition: u64::MAX - 7,
            next: 50,
        };
        assert_eq!(Cursor::parse(&cursor.to_text()), Some(cursor));
        for text in [
            "",
            "AAAA",
            "not a cursor",
            &"A".repeat(17),
            &"A".repeat(4000),
        ] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_list_and_each_edition_has_a_number_of_its_own() {
        let lists = [
            list("tools", &["a", "b"]),
            list("prompts", &["a", "b"]),
            list("tools", &["b", "a"]),
            list("tools", &["ab"]),
            list("tools", &["a", "b", "c"]),
            list("tools", &[]),
        ];
        for (index, one) in lists.iter().enumerate() {
            for other in &lists[index + 1..] {
                assert_ne!(one.edition(), other.edition(), "{one:?} {other:?}");
            }
        }
    }
}
