//! The `qsys://` space: names of the design in URIs, percent-encoded (RFC 3986, section 2.1).

use super::guide::{self, Guide};
use crate::limits::NAME_MAX_BYTES;
use crate::service::ToolFault;
use crate::service::qsys::fault;

/// Longest URI that is read, bytes: two names of which every byte is encoded, and a query.
const URI_MAX_BYTES: usize = 8 * NAME_MAX_BYTES;

/// What a URI names.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) place: Place,
    /// The Core, if one is named.
    pub(super) core: Option<String>,
    /// Where a list goes on.
    pub(super) cursor: Option<String>,
    /// Only components of this type.
    pub(super) kind: Option<String>,
}

#[derive(Debug)]
pub(super) enum Place {
    Overview,
    Design,
    Components,
    Link,
    Guide(&'static Guide),
    Component(String),
    /// Without a component it is a named control.
    Control(Option<String>, String),
}

impl Address {
    /// Reads a URI. Nothing for one that is not of this space.
    pub(super) fn of(uri: &str) -> Option<Result<Self, ToolFault>> {
        let (scheme, rest) = uri.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("qsys") || uri.len() > URI_MAX_BYTES {
            return None;
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (first, names) = path.split_once('/').unwrap_or((path, ""));
        let place = match (first, names) {
            ("overview", "") => Ok(Place::Overview),
            ("design", "") => Ok(Place::Design),
            ("components", "") => Ok(Place::Components),
            ("health", "link") => Ok(Place::Link),
            ("guide", name) => {
                let guide = guide::ALL.iter().find(|guide| guide.name == name)?;
                Ok(Place::Guide(guide))
            }
            ("component", name) if is_one(name) => decoded(name).map(Place::Component),
            ("named-control", name) if is_one(name) => {
                decoded(name).map(|name| Place::Control(None, name))
            }
            ("control", names) => {
                let (component, control) = names.split_once('/')?;
                if !is_one(component) || !is_one(control) {
                    return None;
                }
                let component = decoded(component);
                component
                    .and_then(|component| Ok(Place::Control(Some(component), decoded(control)?)))
            }
            _ => return None,
        };
        Some(place.and_then(|place| Self::with_query(place, query)))
    }

    fn with_query(place: Place, query: &str) -> Result<Self, ToolFault> {
        let mut address = Self {
            place,
            core: None,
            cursor: None,
            kind: None,
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = Some(decoded(value)?);
            match (name, &address.place) {
                ("core", _) => address.core = value,
                ("cursor", Place::Components | Place::Component(_)) => address.cursor = value,
                ("type", Place::Components) => address.kind = value,
                _ => {
                    return Err(fault::bad_argument(
                        "uri",
                        "its query has a part that nothing here has",
                        "`core` goes with every resource, `cursor` with lists, `type` with qsys://components.",
                    ));
                }
            }
        }
        Ok(address)
    }
}

/// Whether this is one part of a path.
fn is_one(part: &str) -> bool {
    !part.is_empty() && !part.contains('/')
}

/// The text that stands percent-encoded. What need not be encoded, or should have been, stands for itself.
fn decoded(text: &str) -> Result<String, ToolFault> {
    let bad = || {
        fault::bad_argument(
            "uri",
            "its percent-encoding is no UTF-8 text",
            "Encode each byte of a name that is no letter, digit, `-`, `.`, `_` or `~` as `%` and two hexadecimal digits.",
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = rest.next().and_then(digit).ok_or_else(bad)?;
            let low = rest.next().and_then(digit).ok_or_else(bad)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// A name as one part of a URI.
pub(in crate::service::qsys) fn encoded(name: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn component(uri: &str) -> String {
        match Address::of(uri).unwrap().unwrap().place {
            Place::Component(name) => name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_real_designs_come_through() {
        for (uri, name) in [
            ("qsys://component/Hall%20A%20Gain", "Hall A Gain"),
            ("qsys://component/Hall A Gain", "Hall A Gain"),
            ("QSYS://component/a%2Fb%3Fc%23d.e", "a/b?c#d.e"),
            ("qsys://component/%E9%9F%B3%C3%A9", "音é"),
            ("qsys://component/音é", "音é"),
            ("qsys://component/50%25", "50%"),
            ("qsys://component/a+b", "a+b"),
        ] {
            assert_eq!(component(uri), name);
        }
        for bad in [
            "qsys://component/%",
            "qsys://component/%2",
            "qsys://component/%zz",
            "qsys://component/%FF",
            "qsys://overview?what=1",
            "qsys://overview?cursor=1",
        ] {
            assert!(Address::of(bad).unwrap().is_err(), "{bad}");
        }
        for foreign in [
            "qsys://",
            "qsys://none",
            "qsys://component",
            "qsys://component/",
            "qsys://component/a/b",
            "qsys://control/a",
            "qsys://guide/none",
            "file:///overview",
            "overview",
            "",
        ] {
            assert!(Address::of(foreign).is_none(), "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_as_it_was(name in ".{1,60}", control in ".{1,60}") {
            let uri = format!("qsys://control/{}/{}?core={}", encoded(&name), encoded(&control), encoded(&name));
            let address = Address::of(&uri).unwrap().unwrap();
            let Place::Control(Some(component), read) = address.place else { panic!("no control") };
            prop_assert_eq!((component.as_str(), read, address.core), (name.as_str(), control, Some(name.clone())));
        }

        #[test]
        fn whatever_comes_as_uri_is_answered(uri in ".{0,80}") {
            drop(Address::of(&uri));
            drop(Address::of(&format!("qsys://control/{uri}")));
        }
    }
}
