//! One line of the trail: what it says, and how it looks as JSON.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::redact;
use crate::base::clock::UnixMillis;
use crate::limits::AUDIT_DETAIL_MAX_BYTES;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first line of a segment: carries the hash of the line before.
    Segment,
    /// The service started, with this configuration.
    Start,
    /// The service stopped in good order.
    Stop,
    /// A call that changes something is about to be carried out.
    Intent,
    /// What came of it.
    Write,
    /// A credential came from an address for the first time in a while.
    Login,
    /// Keys were made, revoked or changed.
    Key,
    /// The configuration changed.
    Config,
    /// What one caller read, and was refused, in a minute.
    Reads,
    /// Who was turned away without a credential, in a minute, over all addresses.
    Refusals,
    /// Lines that could not be written and are lost.
    Gap,
    /// A half-written end was cut off after a power cut, or the run before did not stop in good order.
    Cut,
    /// Old segments that were let go, for their age or for their bytes.
    Retired,
    /// One call that reads: in memory alone.
    Read,
    /// One request that was refused: in memory alone.
    Refused,
}

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Number on disk, without holes; 0 for what is in memory alone.
    #[serde(default)]
    pub seq: u64,
    /// When, never before the line above it.
    #[serde(with = "stamp")]
    pub at: UnixMillis,
    /// The clock was not synchronised.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsynchronised: bool,
    /// What the clock said, where that was before the line above.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "stamp_or_none"
    )]
    pub clock_said: Option<UnixMillis>,
    /// What it is about.
    pub kind: Kind,
    /// Common to the intent and the outcome of one write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<CompactString>,
    /// Name of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shared_text")]
    pub caller: Option<Arc<str>>,
    /// Where the caller is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Correlation id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<CompactString>,
    /// The tool that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<CompactString>,
    /// The Core that was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<CompactString>,
    /// Arguments without secrets, cut at a bound.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shared_json")]
    pub arguments: Option<Arc<RawValue>>,
    /// `OK`, or the code of the fault. Absent while a write is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CompactString>,
    /// How long it took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Whatever else a line of this kind says.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shared_json")]
    pub detail: Option<Arc<RawValue>>,
}

impl Entry {
    /// A line of this kind that says nothing yet.
    #[must_use]
    pub fn new(kind: Kind, at: UnixMillis) -> Self {
        Self {
            seq: 0,
            at,
            unsynchronised: false,
            clock_said: None,
            kind,
            write: None,
            caller: None,
            address: None,
            request: None,
            tool: None,
            core: None,
            arguments: None,
            outcome: None,
            took_ms: None,
            detail: None,
        }
    }

    /// What came of it; `PENDING` for a write under way.
    #[must_use]
    pub fn outcome(&self) -> Option<&str> {
        match (&self.outcome, self.kind) {
            (Some(outcome), _) => Some(outcome),
            (None, Kind::Intent) => Some("PENDING"),
            (None, _) => None,
        }
    }

    /// The same with details, cut if they are too long for a line.
    #[must_use]
    pub fn with_detail(mut self, detail: &serde_json::Value) -> Self {
        self.detail = redact::bounded(detail, AUDIT_DETAIL_MAX_BYTES);
        self
    }

    /// Details as JSON; `Null` if there are none.
    #[must_use]
    pub fn detail(&self) -> serde_json::Value {
        let raw = self.detail.as_deref().map(RawValue::get);
        raw.and_then(|raw| serde_json::from_str(raw).ok())
            .unwrap_or_default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands fields over like this"
)]
mod stamp {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::UnixMillis;

    pub(super) fn serialize<S: Serializer>(at: &UnixMillis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&at.to_iso_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixMillis, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        UnixMillis::from_iso(&text).ok_or_else(|| D::Error::custom("this is no time"))
    }
}

#[expect(clippy::ref_option, reason = "serde hands fields over like this")]
mod stamp_or_none {
    use serde::{Deserializer, Serializer};

    use super::UnixMillis;

    pub(super) fn serialize<S: Serializer>(
        at: &Option<UnixMillis>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        super::stamp::serialize(&at.unwrap_or(UnixMillis(0)), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<UnixMillis>, D::Error> {
        super::stamp::deserialize(from).map(Some)
    }
}

#[expect(clippy::ref_option, reason = "serde hands fields over like this")]
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        text: &Option<Arc<str>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text.as_deref().unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<str>>, D::Error> {
        String::deserialize(from).map(|text| Some(text.into()))
    }
}

#[expect(clippy::ref_option, reason = "serde hands fields over like this")]
mod shared_json {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    pub(super) fn serialize<S: Serializer>(
        json: &Option<Arc<RawValue>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        json.as_deref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<RawValue>>, D::Error> {
        Box::<RawValue>::deserialize(from).map(|json| Some(json.into()))
    }
}
