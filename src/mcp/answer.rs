//! Results as they go out: written once, into one buffer.

use serde::Serialize;

use super::revision::Revision;

/// The type of a result that is the last word (2026-07-28, Basic, Results).
const COMPLETE: &str = "complete";

/// A result under construction: `{"jsonrpc":"2.0","id":…,"result":{…}}`, or what stands in its innermost braces.
#[derive(Debug)]
pub(super) struct Answer {
    out: Vec<u8>,
    is_empty: bool,
    end: &'static [u8],
}

impl Answer {
    /// Opens a result with room for `expect` bytes of fields.
    pub(super) fn open(id: &str, revision: Revision, expect: usize) -> Self {
        Self::open_as(COMPLETE, id, revision, expect)
    }

    /// Opens a result that is not the last word.
    pub(super) fn open_as(result_type: &str, id: &str, revision: Revision, expect: usize) -> Self {
        let mut out = Vec::with_capacity(256 + id.len() + expect);
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b",\"result\":");
        Self::begin(out, result_type, revision, b"}}")
    }

    /// Opens a result that will be part of another one.
    pub(super) fn inner(revision: Revision, expect: usize) -> Self {
        Self::begin(Vec::with_capacity(64 + expect), COMPLETE, revision, b"}")
    }

    fn begin(mut out: Vec<u8>, result_type: &str, revision: Revision, end: &'static [u8]) -> Self {
        out.push(b'{');
        let mut answer = Self {
            out,
            is_empty: true,
            end,
        };
        if revision.marks_results() {
            answer.field("resultType", result_type);
        }
        answer
    }

    /// A field whose JSON exists already.
    pub(super) fn raw(&mut self, name: &str, json: &str) {
        self.name(name).extend_from_slice(json.as_bytes());
    }

    /// A field.
    pub(super) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let out = self.name(name);
        push_json(out, value);
    }

    /// All fields of an object whose JSON exists already.
    pub(super) fn fields(&mut self, object: &str) {
        let inner = object.trim().strip_prefix('{');
        let inner = inner
            .and_then(|inner| inner.strip_suffix('}'))
            .map(str::trim);
        if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
            if !std::mem::replace(&mut self.is_empty, false) {
                self.out.push(b',');
            }
            self.out.extend_from_slice(inner.as_bytes());
        }
    }

    /// A field that the caller writes.
    pub(super) fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        &mut self.out
    }

    /// Closes the result; a revision that marks results gets `meta`, the ready-made `_meta` that names the server.
    pub(super) fn close(mut self, revision: Revision, meta: &str) -> Vec<u8> {
        if revision.marks_results() {
            self.raw("_meta", meta);
        }
        self.end()
    }

    /// Closes a result without metadata.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.out.extend_from_slice(self.end);
        self.out
    }
}

/// Appends JSON. What is written here are texts, numbers and JSON values, whose serialization into memory cannot fail; should a
/// later type break that, `null` keeps the document whole.
pub(super) fn push_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}
