//! Results as they go out: written once, into one buffer.

use serde::Serialize;

use super::revision::Revision;

/// A result under construction: `{"jsonrpc":"2.0","id":…,"result":{…}}`.
#[derive(Debug)]
pub(super) struct Answer {
    out: Vec<u8>,
    is_empty: bool,
}

impl Answer {
    /// Opens a result with room for `expect` bytes of fields.
    pub(super) fn open(id: &str, revision: Revision, expect: usize) -> Self {
        let mut out = Vec::with_capacity(256 + id.len() + expect);
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b",\"result\":{");
        let mut answer = Self {
            out,
            is_empty: true,
        };
        if revision.marks_results() {
            answer.raw("resultType", "\"complete\"");
        }
        answer
    }

    /// A field whose JSON exists already.
    pub(super) fn raw(&mut self, name: &str, json: &str) {
        self.name(name).extend_from_slice(json.as_bytes());
    }

    /// A field.
    pub(super) fn field(&mut self, name: &str, value: &impl Serialize) {
        let out = self.name(name);
        push_json(out, value);
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
        self.out.extend_from_slice(b"}}");
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
