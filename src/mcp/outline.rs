//! What a transport that only carries messages has to know of one: which kind and era it is, what goes into its headers, and what it
//! refers to.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::batch;
use super::error::Fault;
use super::ladder::{self, Era, Field, NamedPart};
use super::schema::{self, Kind, Malformed, Message};

/// What sort of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort<'a> {
    /// It wants an answer under this id, as it stands in the message.
    Request(&'a str),
    /// It wants none.
    Notification,
    /// It answers the request with this id, or one that nobody knows.
    Response(Option<&'a str>),
    /// An array of messages.
    Batch,
}

/// A message of either side, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline<'a> {
    /// What sort it is.
    pub sort: Sort<'a>,
    /// Its method; empty for a response and a batch.
    pub method: Cow<'a, str>,
    /// Whether it carries its own metadata and so needs no session.
    pub is_modern: bool,
    /// Whether it opens a session.
    pub is_opening: bool,
    /// The value of `MCP-Protocol-Version` that a modern message needs.
    pub version: Option<Cow<'a, str>>,
    /// The value of `Mcp-Name` that a modern message needs, fit for a header.
    pub name: Option<Cow<'a, str>>,
    /// The resource that it is about.
    pub uri: Option<Cow<'a, str>>,
    /// The id of the request that it takes back.
    pub cancels: Option<&'a str>,
    /// The result that a response brings, as JSON.
    pub result: Option<&'a str>,
    /// The error that a response brings, as JSON.
    pub error: Option<&'a str>,
}

impl<'a> Outline<'a> {
    /// Looks at a message.
    ///
    /// # Errors
    ///
    /// It is none; the error is the answer to it, a JSON-RPC error without an id.
    pub fn of(message: &'a [u8]) -> Result<Self, Vec<u8>> {
        if batch::is_batch(message) {
            return match serde_json::from_slice::<serde::de::IgnoredAny>(message) {
                Ok(_) => Ok(Self::batch()),
                Err(_) => Err(Fault::malformed(Malformed::NotJson).to_json(None)),
            };
        }
        let message = Message::parse(message)
            .map_err(|malformed| Fault::malformed(malformed).to_json(None))?;
        let era = match message.kind {
            Kind::Response => Era::Legacy,
            Kind::Request(_) | Kind::Notification => ladder::era(&message, Field::Absent),
        };
        let is_modern = era == Era::Modern;
        let part = NamedPart::of(&message.method).filter(|_| is_modern);
        let name = part.and_then(|part| part.find(&message));
        let response = &message.response;
        Ok(Self {
            sort: match message.kind {
                Kind::Request(id) => Sort::Request(id),
                Kind::Notification => Sort::Notification,
                Kind::Response => {
                    let id = response.id.map(RawValue::get);
                    Sort::Response(id.filter(|id| schema::is_id(id)))
                }
            },
            is_modern,
            is_opening: era == Era::Opening,
            version: message.meta.protocol_version.and_then(schema::text),
            name: name.and_then(schema::text).map(wrap_base64),
            uri: message.params.uri.and_then(schema::text),
            cancels: message.params.request_id.map(RawValue::get),
            result: response.result.map(RawValue::get),
            error: response.error.map(RawValue::get),
            method: message.method,
        })
    }

    const fn batch() -> Self {
        Self {
            sort: Sort::Batch,
            method: Cow::Borrowed(""),
            is_modern: false,
            is_opening: false,
            version: None,
            name: None,
            uri: None,
            cancels: None,
            result: None,
            error: None,
        }
    }
}

/// The counterpart of the ladder's decoding: a value that a header cannot carry as it is, or that would be taken for an encoded one.
fn wrap_base64(value: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && value.trim_matches(' ') == value
        && !value.starts_with("=?base64?");
    if is_plain {
        value
    } else {
        Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(&*value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(message: &str) -> Outline<'_> {
        Outline::of(message.as_bytes()).unwrap()
    }

    #[test]
    fn a_modern_request_has_what_its_headers_need() {
        let call = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let seen = outline(call);
        assert_eq!(seen.sort, Sort::Request("\"a\""));
        assert!(seen.is_modern && !seen.is_opening);
        assert_eq!(seen.method, "tools/call");
        assert_eq!(seen.version.as_deref(), Some("2026-07-28"));
        assert_eq!(seen.name.as_deref(), Some("x"));
    }

    #[test]
    fn the_era_is_told_from_the_message_alone() {
        for (message, is_modern, is_opening) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#,
                false,
                true,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#,
                true,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
                false,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                false,
                false,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, false, false),
            (
                r#" [{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
                false,
                false,
            ),
        ] {
            let seen = outline(message);
            assert_eq!(
                (seen.is_modern, seen.is_opening),
                (is_modern, is_opening),
                "{message}"
            );
        }
        assert_eq!(outline("[]").sort, Sort::Batch);
    }

    #[test]
    fn a_response_is_told_by_its_id_and_a_notice_by_what_it_takes_back() {
        let seen = outline(r#"{"jsonrpc":"2.0","id":7,"result":{"a":1}}"#);
        assert_eq!(seen.sort, Sort::Response(Some("7")));
        assert_eq!(seen.result, Some(r#"{"a":1}"#));
        let seen = outline(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#);
        assert_eq!(
            (seen.sort, seen.error),
            (Sort::Response(None), Some(r#"{"code":1}"#))
        );
        let seen = outline(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#,
        );
        assert_eq!(seen.cancels, Some("\"a\""));
    }

    #[test]
    fn a_name_that_no_header_carries_is_encoded() {
        for (name, header) in [
            ("qsys_get_overview", "qsys_get_overview"),
            ("two words", "two words"),
            ("", ""),
            (" x", "=?base64?IHg=?="),
            ("é", "=?base64?w6k=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert_eq!(wrap_base64(Cow::Borrowed(name)), header);
        }
    }

    #[test]
    fn what_is_no_message_is_answered_in_place() {
        for (message, code) in [("nonsense", "-32700"), ("[1,", "-32700"), ("7", "-32600")] {
            let answer = String::from_utf8(Outline::of(message.as_bytes()).unwrap_err()).unwrap();
            assert!(
                answer.contains(code) && !answer.contains("\"id\""),
                "{answer}"
            );
        }
    }
}
