//! What a control is and where it stands.

use serde::{Deserialize, Serialize};

/// How far a reading can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// The link is live and the Core has reported or confirmed the value on it.
    Live,
    /// The value was true once: the link is down, or has not confirmed it yet since it came back.
    Stale,
    /// The control is known but no value of it was ever seen.
    Unknown,
}

/// A control's type, as `Component.GetControls` names it; kept open for words that no source lists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// dB, Hz, seconds, …
    Float,
    /// A whole number.
    Integer,
    /// On or off; 1 or 0 on the wire.
    Boolean,
    /// Text, also a combo box when it has choices.
    Text,
    /// Fires when written with 1.
    Trigger,
    /// A trigger that shows a state.
    StateTrigger,
    /// A status number with a text.
    Status,
    /// A time.
    Time,
    /// Any other word, the empty one included.
    Other(compact_str::CompactString),
}

impl ControlKind {
    /// Reads the Core's word.
    #[must_use]
    pub fn from_wire(word: &str) -> Self {
        match word {
            "Float" => Self::Float,
            "Integer" => Self::Integer,
            "Boolean" => Self::Boolean,
            "Text" => Self::Text,
            "Trigger" => Self::Trigger,
            "State Trigger" => Self::StateTrigger,
            "Status" => Self::Status,
            "Time" => Self::Time,
            other => Self::Other(other.into()),
        }
    }

    /// The Core's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Float => "Float",
            Self::Integer => "Integer",
            Self::Boolean => "Boolean",
            Self::Text => "Text",
            Self::Trigger => "Trigger",
            Self::StateTrigger => "State Trigger",
            Self::Status => "Status",
            Self::Time => "Time",
            Self::Other(word) => word,
        }
    }
}

/// Whether a control takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The Core says `Read/Write`, or says nothing.
    ReadWrite,
    /// The Core says `Read Only`.
    ReadOnly,
    /// The Core says `Write Only`: never seen, but allowed for.
    WriteOnly,
}

impl Direction {
    /// Reads the Core's word; an unknown or absent one counts as read and write, for the Core has the last word anyway.
    #[must_use]
    pub fn from_wire(word: Option<&str>) -> Self {
        match word {
            Some("Read Only") => Self::ReadOnly,
            Some("Write Only") => Self::WriteOnly,
            _ => Self::ReadWrite,
        }
    }

    /// The Core's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "Read/Write",
            Self::ReadOnly => "Read Only",
            Self::WriteOnly => "Write Only",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_directions_keep_the_cores_words() {
        for word in [
            "Float",
            "Integer",
            "Boolean",
            "Text",
            "Trigger",
            "State Trigger",
            "Status",
            "Time",
            "Virtual",
            "",
        ] {
            assert_eq!(ControlKind::from_wire(word).as_str(), word);
        }
        assert_eq!(Direction::from_wire(Some("Read Only")), Direction::ReadOnly);
        assert_eq!(Direction::from_wire(None), Direction::ReadWrite);
    }
}
