//! Names from the running design: bounded, checked once, compared as they are spelt.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

use crate::limits::NAME_MAX_BYTES;

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing in it.
    #[error("a name cannot be empty")]
    Empty,
    /// It is longer than any name of a real design.
    #[error("a name has at most {NAME_MAX_BYTES} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Something in it cannot be shown.
    #[error("a name has no control characters, this one has one at byte {at}")]
    ControlCharacter {
        /// Where it stands.
        at: usize,
    },
}

fn check(text: &str) -> Result<CompactString, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_MAX_BYTES {
        return Err(NameError::TooLong { bytes: text.len() });
    }
    match text
        .char_indices()
        .find(|(_, character)| character.is_control())
    {
        Some((at, _)) => Err(NameError::ControlCharacter { at }),
        None => Ok(text.into()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
            #[serde(transparent)]
            pub struct $name(CompactString);

            impl $name {
                /// The name as it is spelt.
                #[must_use]
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl FromStr for $name {
                type Err = NameError;

                fn from_str(text: &str) -> Result<Self, NameError> {
                    check(text).map(Self)
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }
        )+
    };
}

names! {
    /// A component's Code Name, spelt as in Q-SYS Designer: case matters, spaces and dots are common.
    ComponentName,
    /// A control's name inside its component (`input.1.gain`), or a named control's.
    ControlName,
}

/// Which control: one of a component, or a named control, which has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControlRef {
    /// Absent for a named control.
    pub component: Option<ComponentName>,
    /// The control.
    pub control: ControlName,
}

impl fmt::Display for ControlRef {
    /// `Component/control`, or the bare name of a named control.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.component {
            Some(component) => write!(f, "{component}/{}", self.control),
            None => self.control.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_designs_pass_and_others_say_why_not() {
        for good in ["Gain", "input.1.gain", "Zone 4 / Foyer", "Überlauf", "a"] {
            assert_eq!(good.parse::<ComponentName>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<ControlName>(), Err(NameError::Empty));
        assert_eq!(
            "a\u{0}b".parse::<ControlName>(),
            Err(NameError::ControlCharacter { at: 1 })
        );
        let long = "x".repeat(NAME_MAX_BYTES + 1);
        assert_eq!(
            long.parse::<ControlName>(),
            Err(NameError::TooLong {
                bytes: NAME_MAX_BYTES + 1
            })
        );
    }
}
