//! The JSON-RPC 2.0 envelope, read tolerantly and without copying, written exactly.

use std::borrow::Cow;

use compact_str::CompactString;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::base::json;

/// A request id: a number or a string, echoed exactly as it came.
///
/// QRC help asks for numbers, the official client sends UUID strings, and one library sends a whole JSON document as its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A JSON number without fraction.
    Number(i64),
    /// A JSON string.
    Text(CompactString),
}

impl Id {
    /// Whether an answer's id means this request: `"1"` and `1` count as equal, since one PARAPI example answers so.
    #[must_use]
    pub fn means(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Number(number), Self::Text(text)) | (Self::Text(text), Self::Number(number)) => {
                text.parse() == Ok(*number)
            }
        }
    }
}

/// Error codes of JSON-RPC 2.0 itself; those that QRC adds are in [`super::qrc::code`].
pub mod code {
    /// The frame is not JSON.
    pub const PARSE_ERROR: i64 = -32_700;
    /// The frame is JSON, but no request.
    pub const INVALID_REQUEST: i64 = -32_600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32_601;
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: i64 = -32_602;
    /// The server failed while it worked.
    pub const INTERNAL_ERROR: i64 = -32_603;
}

/// The `error` member of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct ErrorObject {
    /// What went wrong, as a number: dispatch on this, never on the text.
    pub code: i64,
    /// What went wrong, in words of the peer.
    #[serde(default)]
    pub message: String,
    /// Details of the peer's choosing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValueEq>>,
}

impl ErrorObject {
    /// An error without details.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }
}

/// Raw JSON that compares by its text, so that errors can be compared in tests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawValueEq(pub Box<RawValue>);

impl PartialEq for RawValueEq {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for RawValueEq {}

/// Any frame, its payload still raw. Unknown members are ignored.
#[derive(Debug, Deserialize)]
pub struct Frame<'a> {
    /// Present on requests that want an answer and on answers. `null` reads as absent.
    #[serde(default, deserialize_with = "id_or_nothing")]
    pub id: Option<Id>,
    /// Present on requests and notifications.
    #[serde(borrow, default)]
    pub method: Option<Text<'a>>,
    /// Parameters of a request or notification.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
    /// The payload of a good answer. `null` counts as present and is kept as raw `null`.
    #[serde(borrow, default, deserialize_with = "present")]
    pub result: Option<&'a RawValue>,
    /// The payload of a refusal.
    #[serde(default)]
    pub error: Option<ErrorObject>,
    /// The access key that clients of a Core with access control send in every frame.
    #[serde(borrow, default, rename = "apiKey")]
    pub api_key: Option<Text<'a>>,
}

impl<'a> Frame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// It is not JSON, is no object, or a member of it is of the wrong kind.
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        json::object_of_text(text)
    }
}

/// Ids that are neither number nor string (a fraction, an object) read as absent: nobody can be answered by them.
fn id_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A string of a frame: borrowed when it has no escapes, owned otherwise.
///
/// A plain `Cow<str>` inside an `Option` is always copied by serde; this one is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, free of the frame.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A request or, without `id`, a notification, ready to be written.
#[derive(Debug, Serialize)]
pub struct Call<'a, P: Serialize> {
    /// First in the object, as the official client sends it; absent when the Core has no access control.
    #[serde(rename = "apiKey", skip_serializing_if = "Option::is_none")]
    pub api_key: Option<&'a str>,
    /// Always [`VERSION`].
    pub jsonrpc: &'static str,
    /// The method's name.
    pub method: &'a str,
    /// The parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<P>,
    /// Absent on notifications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a Id>,
}

/// An answer, ready to be written.
#[derive(Debug, Serialize)]
pub struct Answer<'a, R: Serialize> {
    /// Always [`VERSION`].
    pub jsonrpc: &'static str,
    /// Present on a good answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<R>,
    /// Present on a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a ErrorObject>,
    /// The id of the request, or `null` when it could not be read.
    pub id: Option<&'a Id>,
}

/// The value of `jsonrpc` in every frame.
pub const VERSION: &str = "2.0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_number_or_a_string_and_anything_else_is_nobody() {
        let frame: Frame<'_> =
            serde_json::from_str(r#"{"id":7,"method":"NoOp","params":{},"other":[1]}"#).unwrap();
        assert_eq!(frame.id, Some(Id::Number(7)));
        let frame: Frame<'_> = serde_json::from_str(r#"{"id":"a-b","result":null}"#).unwrap();
        assert_eq!(frame.id, Some(Id::Text("a-b".into())));
        assert_eq!(frame.result.map(RawValue::get), Some("null"));
        for id in ["null", "1.5", "{}", "[1]", "true"] {
            let text = format!(r#"{{"id":{id},"result":true}}"#);
            assert_eq!(
                serde_json::from_str::<Frame<'_>>(&text).unwrap().id,
                None,
                "{id}"
            );
        }
    }

    #[test]
    fn a_string_id_answered_as_a_number_still_means_the_request() {
        assert!(Id::Text("8561".into()).means(&Id::Number(8561)));
        assert!(!Id::Text("8561".into()).means(&Id::Number(1)));
        assert!(!Id::Text("x".into()).means(&Id::Number(1)));
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        let plain: Text<'_> = serde_json::from_str(r#""gain""#).unwrap();
        assert!(matches!(plain.0, Cow::Borrowed("gain")));
        let escaped: Text<'_> = serde_json::from_str(r#""a\u00b0""#).unwrap();
        assert_eq!(escaped.as_str(), "a°");
    }
}
