//! Which era a request belongs to, and the checks that a modern one has to pass, in the order in which the first failure wins.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

use super::error::{Code, Fault};
use super::offers::Offers;
use super::param_headers::ParamHeaders;
use super::revision::Revision;
use super::schema::{self, Message, Method};

/// Longest text repeated in an error, characters.
const SHOWN_MAX: usize = 80;

/// One header field that routes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Field<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there once, as text.
    One(&'a str),
    /// It is there several times, or is no text: whoever reads the first and whoever reads the last would disagree.
    Unusable,
}

impl<'a> Field<'a> {
    /// The text, if there is exactly one.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::One(text) => Some(text.trim_matches([' ', '\t'])),
            Self::Absent | Self::Unusable => None,
        }
    }

    fn trimmed(self) -> Self {
        self.text().map_or(self, Self::One)
    }
}

/// The header fields that MCP gives a meaning.
#[derive(Clone, Copy, Default)]
pub struct Routing<'a> {
    /// `MCP-Protocol-Version`
    pub version: Field<'a>,
    /// `Mcp-Method`
    pub method: Field<'a>,
    /// `Mcp-Name`
    pub name: Field<'a>,
    /// `Mcp-Session-Id`
    pub session: Field<'a>,
    /// `Mcp-Param-…`
    pub params: Option<&'a dyn ParamHeaders>,
}

impl fmt::Debug for Routing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routing")
            .field("version", &self.version)
            .field("method", &self.method)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How a request is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// It carries its own metadata.
    Modern,
    /// It opens a session.
    Opening,
    /// It belongs to a session.
    Legacy,
}

/// Decides the era. `initialize` with modern metadata is modern, and so a method that does not exist there.
pub(super) fn era(message: &Message<'_>, version: Field<'_>) -> Era {
    let is_modern = message.meta.protocol_version.is_some()
        || version.text().is_some_and(Revision::is_modern_date)
        || matches!(
            Method::parse(&message.method),
            Some(Method::Discover | Method::Listen)
        );
    match (is_modern, Method::parse(&message.method)) {
        (true, _) => Era::Modern,
        (false, Some(Method::Initialize)) => Era::Opening,
        (false, _) => Era::Legacy,
    }
}

/// Checks a modern request up to its method. `routing` is `None` on transports without headers.
pub(super) fn check(
    message: &Message<'_>,
    routing: Option<&Routing<'_>>,
    offers: Offers,
) -> Result<(Revision, Method), Fault> {
    let version = metadata(message)?;
    if let Some(routing) = routing {
        headers(message, routing, &version)?;
    }
    let revision = Revision::parse(&version)
        .filter(|revision| revision.is_modern())
        .ok_or_else(|| unsupported(&version))?;
    let method = Method::parse(&message.method)
        .filter(|method| revision.has(*method) && offers.has(*method))
        .ok_or_else(|| Fault::method_not_found(&message.method, true))?;
    Ok((revision, method))
}

/// Step 1: the metadata is there.
fn metadata<'a>(message: &Message<'a>) -> Result<Cow<'a, str>, Fault> {
    if message.params.is_malformed {
        return Err(Fault::malformed_params().with_status(400));
    }
    let missing = |what: &str| {
        Err(Fault::params(format!("The request lacks {what} in params._meta.")).with_status(400))
    };
    let Some(version) = message.meta.protocol_version.and_then(schema::text) else {
        return missing("`io.modelcontextprotocol/protocolVersion` (a string)");
    };
    if !message
        .meta
        .client_capabilities
        .is_some_and(schema::is_object)
    {
        return missing("`io.modelcontextprotocol/clientCapabilities` (an object)");
    }
    Ok(version)
}

/// Steps 2 to 4: what the headers say is what the body says.
fn headers(message: &Message<'_>, routing: &Routing<'_>, version: &str) -> Result<(), Fault> {
    same("MCP-Protocol-Version", routing.version.trimmed(), version)?;
    same("Mcp-Method", routing.method.trimmed(), &message.method)?;
    let Some(part) = NamedPart::of(&message.method) else {
        return Ok(());
    };
    match (part.find(message).and_then(schema::text), routing.name) {
        // Both say nothing: the method's own check tells what it needs.
        (None, Field::Absent) => Ok(()),
        (body, header) => same_decoded("Mcp-Name", header, &body.unwrap_or_default()),
    }
}

/// Whether a header that may have been encoded says what the body says.
pub(super) fn same_decoded(header: &str, field: Field<'_>, body: &str) -> Result<(), Fault> {
    match field.text() {
        Some(text) => same(header, Field::One(&unwrap_base64(header, text)?), body),
        None => same(header, field, body),
    }
}

/// The part of a message that its header `Mcp-Name` repeats (2026-07-28, Transports; Tasks extension, Headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedPart {
    Name,
    Uri,
    TaskId,
}

impl NamedPart {
    /// The part for a method; `None` for one without the header.
    pub(super) fn of(method: &str) -> Option<Self> {
        Some(match method {
            "tools/call" | "prompts/get" => Self::Name,
            "resources/read" => Self::Uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => Self::TaskId,
            _ => return None,
        })
    }

    /// The part in a message.
    pub(super) fn find<'a>(self, message: &Message<'a>) -> Option<&'a RawValue> {
        match self {
            Self::Name => message.params.name,
            Self::Uri => message.params.uri,
            Self::TaskId => message.params.task_id,
        }
    }
}

fn same(header: &str, field: Field<'_>, body: &str) -> Result<(), Fault> {
    let problem = match field {
        Field::Absent => format!("The header {header} is missing."),
        Field::Unusable => format!("The header {header} must be there once, as plain text."),
        Field::One(text) if text == body => return Ok(()),
        Field::One(text) => {
            let (text, body) = (shown(text), shown(body));
            format!("The header {header} is {text:?}, the body says {body:?}.")
        }
    };
    Err(mismatch(problem))
}

/// As much of a text as is repeated to who sent it.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

pub(super) fn mismatch(problem: String) -> Fault {
    Fault::new(Code::HeaderMismatch, problem).with_status(400)
}

/// A header value that could not be sent as it is travels as `=?base64?…?=` (2026-07-28, Transports, Header encoding).
fn unwrap_base64<'a>(header: &str, value: &'a str) -> Result<Cow<'a, str>, Fault> {
    let Some(encoded) = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    else {
        return Ok(Cow::Borrowed(value));
    };
    STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Cow::Owned)
        .ok_or_else(|| {
            mismatch(format!(
                "The header {header} holds no base64 of UTF-8 text."
            ))
        })
}

/// Step 5. A revision that has a handshake is spoken, but not in this way: then only the modern ones are offered.
fn unsupported(requested: &str) -> Fault {
    let is_legacy = Revision::parse(requested).is_some();
    let supported: Vec<_> = Revision::SPOKEN
        .into_iter()
        .filter(|revision| !is_legacy || revision.is_modern())
        .map(Revision::as_str)
        .collect();
    let requested = shown(requested);
    Fault::new(Code::UnsupportedVersion, "Unsupported protocol version")
        .with_status(400)
        .with_data(json!({"supported": supported, "requested": requested}))
}
