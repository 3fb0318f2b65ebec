//! Faults of the protocol: JSON-RPC code, HTTP status, one plain sentence. Faults of tools become results instead.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::revision::Revision;
use super::schema::Malformed;
use crate::guard::{Exceeded, Scope};
use crate::limits::{CALL_TIMEOUT_SECS, RECONNECT_SHORT_MIN_SECS};
use crate::service::{FaultCode, ToolFault};

/// Longest URI repeated in an error, characters.
const URI_SHOWN_MAX: usize = 300;

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
    /// The client did not declare a capability that the answer needs.
    MissingCapability,
    /// The revision is not spoken.
    UnsupportedVersion,
    /// There is no such resource, told to an older peer.
    LegacyResourceNotFound,
    /// Authentication failed, told to an older peer.
    LegacyAuthentication,
    /// Too much at once, told to an older peer.
    LegacyRate,
    /// A refusal before the request was read, told to a modern peer: the HTTP status as a positive number.
    Http(u16),
}

impl Code {
    /// The kind of the error, for those who count.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ParseError => "parse_error",
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotFound => "method_not_found",
            Self::InvalidParams => "invalid_params",
            Self::Internal => "internal",
            Self::HeaderMismatch => "header_mismatch",
            Self::MissingCapability => "missing_capability",
            Self::UnsupportedVersion => "unsupported_version",
            Self::LegacyResourceNotFound => "not_found",
            Self::LegacyAuthentication => "authentication",
            Self::LegacyRate => "too_often",
            Self::Http(_) => "refused",
        }
    }

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
            Self::MissingCapability => -32021,
            Self::UnsupportedVersion => -32022,
            Self::LegacyResourceNotFound => -32002,
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
    /// Why the caller has to wait.
    pub(super) exceeded: Option<Box<Exceeded>>,
    /// Seconds to wait, where it is more than one.
    pub(super) retry_after_secs: Option<u16>,
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
            exceeded: None,
            retry_after_secs: None,
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

    /// Parameters that are no object of which each field can be told.
    pub(super) fn malformed_params() -> Self {
        Self::params(
            "`params` must be an object, and `params._meta` too, in which no field comes twice.",
        )
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

    /// There is no resource of this URI, or not for this caller.
    pub(super) fn unknown_resource(uri: &str, revision: Revision) -> Self {
        let code = if revision.has_code_for_unknown_resources() {
            Code::LegacyResourceNotFound
        } else {
            Code::InvalidParams
        };
        let uri: String = uri.chars().take(URI_SHOWN_MAX).collect();
        let message = "Resource not found. `resources/list` and `resources/templates/list` tell which there are; names in a URI are spelt exactly.";
        Self::new(code, message).with_data(json!({"uri": uri}))
    }

    /// The client did not declare what the answer needs: `required` is shaped like its capabilities.
    pub(super) fn missing_capability(required: &Value) -> Self {
        let message = "The answer needs a capability that the client does not declare.";
        Self::new(Code::MissingCapability, message)
            .with_status(400)
            .with_data(json!({"requiredCapabilities": required}))
    }

    /// What a service could not do, where there is no result that could tell it.
    pub(super) fn of_service(fault: &ToolFault) -> Self {
        let code = match fault.code {
            FaultCode::BadArguments | FaultCode::NotFound => Code::InvalidParams,
            _ => Code::Internal,
        };
        let data = serde_json::to_value(ServiceFault::of(fault)).unwrap_or_default();
        Self::new(code, fault.to_string()).with_data(data)
    }

    /// `what` took longer than [`CALL_TIMEOUT_SECS`].
    pub(super) fn too_slow(what: &str) -> Self {
        let message = format!("{what} took longer than {CALL_TIMEOUT_SECS} s. Try again later.");
        Self::new(Code::Internal, message)
    }

    /// The caller lacks a scope. `what` is what they may not do: `call x`.
    pub(super) fn forbidden(what: &str, scope: Scope, is_modern: bool) -> Self {
        let version = is_modern.then_some(Revision::SPOKEN[0].as_str());
        Self {
            needed_scope: Some(scope),
            ..Self::new(
                Code::of_refusal(403, version),
                format!(
                    "This API key may not {what}: it lacks the scope {}. Ask for a key of role {} or higher.",
                    scope.as_str(),
                    scope.lowest_role().as_str()
                ),
            )
            .with_status(403)
        }
    }

    /// The key ended while the call was under way.
    pub(super) fn revoked(is_modern: bool) -> Self {
        let version = is_modern.then_some(Revision::SPOKEN[0].as_str());
        Self::new(
            Code::of_refusal(401, version),
            "The API key has ended, and this call with it.",
        )
    }

    /// Too much of something at once.
    pub(super) fn busy(status: u16, message: &str, is_modern: bool) -> Self {
        let version = is_modern.then_some(Revision::SPOKEN[0].as_str());
        Self::new(Code::of_refusal(status, version), message)
            .with_status(status)
            .with_data(json!({"retryAfterMs": 1000}))
    }

    /// Nothing that lasts is begun while memory is critical.
    pub(super) fn short_of_memory(is_modern: bool) -> Self {
        let secs = RECONNECT_SHORT_MIN_SECS;
        let message = "The box is short of memory and opens no more streams for now. Calls are answered; try this again in half a minute.";
        Self {
            retry_after_secs: Some(secs),
            ..Self::busy(503, message, is_modern)
                .with_data(json!({"retryAfterMs": u32::from(secs) * 1_000}))
        }
    }

    /// The caller asks more often than they may.
    pub(super) fn too_often(exceeded: &Exceeded, is_modern: bool) -> Self {
        let busy = Self::busy(429, &exceeded.to_string(), is_modern);
        Self {
            exceeded: Some(Box::new(*exceeded)),
            ..busy.with_data(json!({"retryAfterMs": exceeded.retry_after_ms()}))
        }
    }

    /// The error alone, to stand in another message.
    pub(super) fn to_error(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(&self.body()).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }

    fn body(&self) -> Body<'_> {
        Body {
            code: self.code.number(),
            message: &self.message,
            data: &self.data,
        }
    }

    /// The message on the wire.
    pub(super) fn to_json(&self, id: Option<&str>) -> Vec<u8> {
        error_json(self.code, &self.message, &self.data, id)
    }
}

/// A fault of a service as programs read it.
#[derive(Debug, Serialize)]
pub(super) struct ServiceFault<'a> {
    code: &'static str,
    problem: &'a str,
    next_step: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: &'a Value,
}

impl<'a> ServiceFault<'a> {
    pub(super) fn of(fault: &'a ToolFault) -> Self {
        Self {
            code: fault.code.as_str(),
            problem: &fault.problem,
            next_step: &fault.next_step,
            data: &fault.data,
        }
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
