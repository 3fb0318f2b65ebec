//! Messages as they come in: parsed once into borrowed parts, each part decoded only by whom it concerns.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The methods that are answered. Which revision has which is told by [`Revision::has`](super::Revision::has).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `server/discover`
    Discover,
    /// `initialize`
    Initialize,
    /// `ping`
    Ping,
    /// `logging/setLevel`
    SetLogLevel,
    /// `tools/list`
    ListTools,
    /// `tools/call`
    CallTool,
    /// `resources/list`
    ListResources,
    /// `resources/templates/list`
    ListTemplates,
    /// `resources/read`
    ReadResource,
    /// `prompts/list`
    ListPrompts,
    /// `prompts/get`
    GetPrompt,
    /// `completion/complete`
    Complete,
    /// `tasks/get`
    GetTask,
    /// `tasks/update`
    UpdateTask,
    /// `tasks/cancel`
    CancelTask,
    /// `subscriptions/listen`
    Listen,
    /// `resources/subscribe`
    Subscribe,
    /// `resources/unsubscribe`
    Unsubscribe,
}

impl Method {
    /// Every method with its name.
    const NAMES: [(&'static str, Self); 18] = [
        ("tools/call", Self::CallTool),
        ("tools/list", Self::ListTools),
        ("server/discover", Self::Discover),
        ("initialize", Self::Initialize),
        ("ping", Self::Ping),
        ("logging/setLevel", Self::SetLogLevel),
        ("resources/list", Self::ListResources),
        ("resources/templates/list", Self::ListTemplates),
        ("resources/read", Self::ReadResource),
        ("prompts/list", Self::ListPrompts),
        ("prompts/get", Self::GetPrompt),
        ("completion/complete", Self::Complete),
        ("tasks/get", Self::GetTask),
        ("tasks/update", Self::UpdateTask),
        ("tasks/cancel", Self::CancelTask),
        ("subscriptions/listen", Self::Listen),
        ("resources/subscribe", Self::Subscribe),
        ("resources/unsubscribe", Self::Unsubscribe),
    ];

    /// The method of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, method)| *method)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, method)| *method == self);
        found.map_or("other", |(name, _)| *name)
    }
}

/// What a message is by its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// It wants an answer under this id: a JSON string or integer, repeated byte by byte.
    Request(&'a RawId),
    /// It wants none.
    Notification,
    /// It is the answer to a request of ours.
    Response,
}

/// The text of an id.
pub(super) type RawId = str;

/// A message with its envelope checked.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind<'a>,
    /// Empty for a response.
    pub(super) method: Cow<'a, str>,
    pub(super) params: Params<'a>,
    pub(super) meta: Meta<'a>,
    /// Empty for anything but a response.
    pub(super) response: Response<'a>,
}

/// Why a body is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It is not JSON.
    NotJson,
    /// It is JSON, but not one message, for this reason.
    NotAMessage(&'static str),
}

/// The parts of a message; `P` is what its parameters are read as.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a, P: Deserialize<'de>"))]
struct Envelope<'a, P> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    params: Option<P>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// The parameters that any method takes. Each stays raw until its method asks.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Params<'a> {
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    meta: Option<Nested<Meta<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) uri: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "taskId", deserialize_with = "present")]
    pub(super) task_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) cursor: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "inputResponses",
        deserialize_with = "present"
    )]
    pub(super) input_responses: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestState", deserialize_with = "present")]
    pub(super) request_state: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "ref", deserialize_with = "present")]
    pub(super) reference: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) argument: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) context: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) level: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) notifications: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "protocolVersion",
        deserialize_with = "present"
    )]
    pub(super) protocol_version: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "clientInfo", deserialize_with = "present")]
    pub(super) client_info: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestId", deserialize_with = "present")]
    pub(super) request_id: Option<&'a RawValue>,
    /// The parameters were given, but are no object.
    #[serde(skip)]
    pub(super) is_malformed: bool,
}

/// The metadata of a request: of any revision, what concerns the delivery; of a modern one, who sends it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Meta<'a> {
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/protocolVersion",
        deserialize_with = "present"
    )]
    pub(super) protocol_version: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/clientCapabilities",
        deserialize_with = "present"
    )]
    pub(super) client_capabilities: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/logLevel",
        deserialize_with = "present"
    )]
    pub(super) log_level: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "progressToken",
        deserialize_with = "present"
    )]
    pub(super) progress_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) traceparent: Option<&'a RawValue>,
}

/// What a response says to a request of ours.
#[derive(Debug, Default)]
pub(super) struct Response<'a> {
    pub(super) id: Option<&'a RawValue>,
    pub(super) result: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
}

/// A field that is there, even as `null`: absent and `null` are different faults.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An object, read in the same walk as what holds it. Anything but an object or `null` is an error.
#[derive(Debug)]
enum Nested<T> {
    Object(T),
    Null,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NestedVisitor(PhantomData))
    }
}

struct NestedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NestedVisitor<T> {
    type Value = Nested<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Nested<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Nested::Object)
    }

    fn visit_unit<E>(self) -> Result<Nested<T>, E> {
        Ok(Nested::Null)
    }
}

impl<'a> Message<'a> {
    /// Parses one message.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        match body.trim_ascii_start().first() {
            Some(b'{') => {}
            // A scalar is a JSON text, but no message.
            _ if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
                return Err(Malformed::NotAMessage("a message is a JSON object"));
            }
            _ => return Err(Malformed::NotJson),
        }
        let envelope = Envelope::read(body)?;
        if envelope
            .jsonrpc
            .is_none_or(|version| version.get() != "\"2.0\"")
        {
            return Err(Malformed::NotAMessage("`jsonrpc` must be \"2.0\""));
        }
        let is_response =
            envelope.method.is_none() && (envelope.result.is_some() || envelope.error.is_some());
        if is_response {
            return Ok(Self {
                kind: Kind::Response,
                method: Cow::Borrowed(""),
                params: Params::default(),
                meta: Meta::default(),
                response: Response {
                    id: envelope.id,
                    result: envelope.result,
                    error: envelope.error,
                },
            });
        }
        let method = envelope
            .method
            .and_then(text)
            .ok_or(Malformed::NotAMessage("`method` must be a string"))?;
        let kind = match envelope.id.map(RawValue::get) {
            None => Kind::Notification,
            Some(id) if is_id(id) => Kind::Request(id),
            Some(_) => {
                return Err(Malformed::NotAMessage(
                    "`id` must be a string or an integer",
                ));
            }
        };
        let mut params = envelope.params.unwrap_or_default();
        let meta = match params.meta.take() {
            Some(Nested::Object(meta)) => meta,
            Some(Nested::Null) | None => Meta::default(),
        };
        Ok(Self {
            kind,
            method,
            params,
            meta,
            response: Response::default(),
        })
    }
}

impl<'a> Envelope<'a, Params<'a>> {
    /// Reads a good message in one walk. Anything else is walked again, to find out where it is wrong.
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        if let Ok(envelope) = serde_json::from_slice::<Envelope<'a, Nested<Params<'a>>>>(body) {
            return Ok(envelope.map(|params| match params {
                Nested::Object(params) => params,
                Nested::Null => Params::malformed(),
            }));
        }
        let envelope: Envelope<'a, &'a RawValue> =
            serde_json::from_slice(body).map_err(|error| {
                if error.is_data() {
                    Malformed::NotAMessage("a field of the message comes twice")
                } else {
                    Malformed::NotJson
                }
            })?;
        Ok(envelope.map(|raw| object(Some(raw)).unwrap_or_else(Params::malformed)))
    }
}

impl<'a, P> Envelope<'a, P> {
    fn map<Q>(self, read: impl FnOnce(P) -> Q) -> Envelope<'a, Q> {
        Envelope {
            jsonrpc: self.jsonrpc,
            id: self.id,
            method: self.method,
            params: self.params.map(read),
            result: self.result,
            error: self.error,
        }
    }
}

impl Params<'_> {
    fn malformed() -> Self {
        Self {
            is_malformed: true,
            ..Self::default()
        }
    }
}

/// Decodes an object; anything else is `None`. Derived decoding would take an array for an object.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    let text = raw.filter(|raw| is_object(raw))?.get();
    serde_json::from_str(text).ok()
}

/// Whether a raw value is an object.
pub(super) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// The text of a JSON string, borrowed where it has no escapes; `None` for anything else.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// Digits of the longest number that is taken as an id: readers of JSON that know floats alone refuse more than 308.
const ID_DIGITS_MAX: usize = 100;

/// Whether it is a string or an integer, and such that every reader of the answer can read it back: an escape of half a character,
/// which JSON allows, makes some refuse the whole answer.
pub(super) fn is_id(raw: &str) -> bool {
    if raw.starts_with('"') {
        return !raw.contains('\\') || serde_json::from_str::<String>(raw).is_ok();
    }
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    (1..=ID_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_some_reader_could_not_read_back_is_refused() {
        for id in [r#""\ud800""#.to_owned(), "9".repeat(400)] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert!(Message::parse(body.as_bytes()).is_err(), "{id}");
        }
    }

    #[test]
    fn parts_are_found_in_any_order_and_ids_of_any_legal_kind_are_kept() {
        for id in ["0", "-7", "12345678901234567890123", r#""""#, r#""a\"b""#] {
            let body = format!(
                r#" {{"params":{{"name":"x","_meta":{{}}}},"method":"tools\/call","id":{id},"jsonrpc":"2.0"}}"#
            );
            let message = Message::parse(body.as_bytes()).unwrap();
            assert_eq!(message.kind, Kind::Request(id));
            assert_eq!(message.method, "tools/call");
            assert_eq!(message.params.name.and_then(text).as_deref(), Some("x"));
        }
    }

    #[test]
    fn what_is_not_json_and_what_is_no_message_are_told_apart() {
        for body in [
            "",
            "{",
            "nonsense",
            "{\"jsonrpc\":\"2.0\"",
            "{\"a\":\u{1}}",
            "\u{feff}{}",
        ] {
            assert_eq!(
                Message::parse(body.as_bytes()).err(),
                Some(Malformed::NotJson),
                "{body}"
            );
        }
        assert_eq!(
            Message::parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").err(),
            Some(Malformed::NotJson)
        );
        for body in [
            "[]",
            "7",
            "\"text\"",
            "null",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        ] {
            assert!(
                matches!(
                    Message::parse(body.as_bytes()),
                    Err(Malformed::NotAMessage(_))
                ),
                "{body}"
            );
        }
    }

    #[test]
    fn parameters_that_are_no_object_are_flagged_and_arrays_are_not_taken_for_objects() {
        for params in ["[1,2,3]", "7", "null", r#"{"name":1,"name":2}"#] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{params}}}"#);
            let message = Message::parse(body.as_bytes()).unwrap();
            assert!(
                message.params.is_malformed && message.params.name.is_none(),
                "{params}"
            );
        }
    }

    #[test]
    fn responses_and_notifications_are_recognised() {
        let response =
            Message::parse(br#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#)
                .unwrap();
        assert_eq!(response.kind, Kind::Response);
        let notification =
            Message::parse(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert_eq!(notification.kind, Kind::Notification);
    }
}
