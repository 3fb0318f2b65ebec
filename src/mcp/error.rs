//! Faults of the protocol: JSON-RPC code, HTTP status, one plain sentence. Faults of tools become results instead.

use serde::Serialize;
use serde_json::{Value, json};

use super::revision::Revision;
use super::schema::Malformed;
use crate::guard::Scope;

/// The codes that are sent. Others of the range that JSON-RPC reserves are not ours to use (2026-07-28, Basic, Error Codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The body is not JSON.
    ParseError,
    /// The body is no message that can be taken here.
    InvalidRequest,
    /// The method is not known to this revision.
    MethodNotFound,
    /// The parameters do not fit the method.
    InvalidParams,
    /// The server failed.
    Internal,
    /// Headers and body contradict each other.
    HeaderMismatch,
    /// The revision is not spoken.
    UnsupportedVersion,
    /// Authentication failed, told to an older peer.
    LegacyAuthentication,
    /// Too much at once, told to an older peer.
    LegacyRate,
    /// A refusal before the request was read, told to a modern peer: the HTTP status as a positive number.
    Http(u16),
}

impl Code {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::ParseError => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::HeaderMismatch => -32020,
            Self::UnsupportedVersion => -32022,
            Self::LegacyAuthentication => -32001,
            Self::LegacyRate => -32005,
            #[expect(
                clippy::as_conversions,
                reason = "u16 into i32 loses nothing, and From is not const"
            )]
            Self::Http(status) => status as i32,
        }
    }

    /// The code of a refusal by the guard or a limit, for a peer whose version header is `version`: older peers know two numbers
    /// of the range that modern ones must not be sent.
    #[must_use]
    pub fn of_refusal(status: u16, version: Option<&str>) -> Self {
        match status {
            _ if version.is_some_and(Revision::is_modern_date) => Self::Http(status),
            429 | 503 => Self::LegacyRate,
            401 | 403 => Self::LegacyAuthentication,
            _ => Self::InvalidRequest,
        }
    }
}

/// A request that is answered with a JSON-RPC error.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// HTTP status, where HTTP carries it.
    pub(super) status: u16,
    pub(super) code: Code,
    pub(super) message: String,
    /// `Null` if there is none.
    pub(super) data: Value,
    /// The scope that the caller lacks.
    pub(super) needed_scope: Option<Scope>,
}

impl Fault {
    /// A fault that is told with HTTP 200, as ordinary answers are.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: 200,
            code,
            message: message.into(),
            data: Value::Null,
            needed_scope: None,
        }
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with_data(self, data: Value) -> Self {
        Self { data, ..self }
    }

    /// The body is no message.
    pub(super) fn malformed(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NotJson => Self::new(Code::ParseError, "The body is not valid JSON."),
            Malformed::NotAMessage(why) => Self::new(
                Code::InvalidRequest,
                format!("The body is not a JSON-RPC message: {why}."),
            ),
        }
        .with_status(400)
    }

    /// Parameters that do not fit the method.
    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParams, message)
    }

    /// The method is not there in this revision. In HTTP a modern client tells this 404 from a missing page by its body; an older
    /// one would take a 404 for the end of its session.
    pub(super) fn method_not_found(method: &str, is_modern: bool) -> Self {
        let method: String = method.chars().take(80).collect();
        Self::new(Code::MethodNotFound, format!("Method not found: {method}"))
            .with_status(if is_modern { 404 } else { 200 })
    }

    /// The session is not known, or belongs to somebody else, which is told in the same words.
    pub(super) fn unknown_session() -> Self {
        Self::new(
            Code::InvalidRequest,
            "This session has ended or never was. Send `initialize` again to open a new one.",
        )
        .with_status(404)
    }

    /// The caller lacks a scope.
    pub(super) fn forbidden(tool: &str, scope: Scope, is_modern: bool) -> Self {
        let version = is_modern.then_some(Revision::SPOKEN[0].as_str());
        Self {
            needed_scope: Some(scope),
            ..Self::new(
                Code::of_refusal(403, version),
                format!(
                    "This API key may not call {tool}: it lacks the scope {}. Ask for a key of role {} or higher.",
                    scope.as_str(),
                    scope.lowest_role().as_str()
                ),
            )
            .with_status(403)
        }
    }

    /// Too much of something at once.
    pub(super) fn busy(status: u16, message: &str, is_modern: bool) -> Self {
        let version = is_modern.then_some(Revision::SPOKEN[0].as_str());
        Self::new(Code::of_refusal(status, version), message)
            .with_status(status)
            .with_data(json!({"retryAfterMs": 1000}))
    }

    /// The message on the wire.
    pub(super) fn to_json(&self, id: Option<&str>) -> Vec<u8> {
        error_json(self.code, &self.message, &self.data, id)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: &'a Value,
}

/// A JSON-RPC error; without an id if it is not known to which request it belongs.
#[must_use]
pub fn error_json(code: Code, message: &str, data: &Value, id: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + message.len());
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",");
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        out.extend_from_slice(id.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"\"error\":");
    let body = Body {
        code: code.number(),
        message,
        data,
    };
    super::answer::push_json(&mut out, &body);
    out.push(b'}');
    out
}
