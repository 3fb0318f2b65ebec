//! Records as they lie on the disk: one byte of version, then postcard.
//!
//! Postcard names no fields, so the layout is the version: a record that changes shape gets another version byte and a decoder for
//! the old one stays. A version that this program does not know costs that record and is counted, nothing else.

use serde::{Deserialize, Serialize};

/// The only version so far, of every record.
const V1: u8 = 1;

/// Why a record does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    /// A later version of the program wrote it.
    #[error("unknown record version {0}")]
    UnknownVersion(u8),
    /// It is not what its version says.
    #[error("malformed record")]
    Malformed,
}

/// Which design the other records belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DesignRecord<'a> {
    pub(super) platform: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) code: &'a str,
    pub(super) is_redundant: bool,
    pub(super) is_emulator: bool,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ComponentRecord<'a> {
    #[serde(borrow)]
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) properties: Vec<(&'a str, &'a str)>,
}

/// What controls share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MetaRecord<'a> {
    pub(super) kind: &'a str,
    pub(super) direction: &'a str,
    pub(super) range: Option<(f64, f64)>,
    #[serde(borrow)]
    pub(super) strings: Option<(&'a str, &'a str)>,
}

/// A control's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NameRecord<'a>(pub(super) &'a str);

/// A control. Of a meter only that it exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ControlRecord<'a> {
    pub(super) value: Option<f64>,
    pub(super) position: Option<f32>,
    pub(super) meta: u16,
    /// Bits of the mirror's own flags that outlive a restart.
    pub(super) flags: u16,
    pub(super) text: &'a str,
}

/// A number that only goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CounterRecord(pub(super) u64);

/// The record's bytes, in place of what `into` held.
pub(super) fn encode<T: Serialize>(record: &T, into: &mut Vec<u8>) -> Result<(), CodecError> {
    into.clear();
    into.push(V1);
    let taken = std::mem::take(into);
    *into = postcard::to_extend(record, taken).map_err(|_| CodecError::Malformed)?;
    Ok(())
}

/// The record that the bytes hold.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&V1, body)) => match postcard::take_from_bytes(body) {
            Ok((record, [])) => Ok(record),
            _ => Err(CodecError::Malformed),
        },
        Some((version, _)) => Err(CodecError::UnknownVersion(*version)),
        None => Err(CodecError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as version 0.1.0 wrote them. They never change; a new layout gets a new version byte.
    #[test]
    fn records_of_the_first_release_still_read() {
        let control = [
            1, 1, 0, 0, 0, 0, 0, 0, 24, 192, 1, 0, 0, 0, 63, 5, 14, 4, 45, 54, 100, 66,
        ];
        assert_eq!(
            decode(&control),
            Ok(ControlRecord {
                value: Some(-6.0),
                position: Some(0.5),
                meta: 5,
                flags: 14,
                text: "-6dB"
            })
        );
        let component = [
            1, 4, 71, 97, 105, 110, 4, 103, 97, 105, 110, 1, 1, 110, 1, 56,
        ];
        assert_eq!(
            decode(&component),
            Ok(ComponentRecord {
                name: "Gain",
                kind: "gain",
                properties: vec![("n", "8")]
            })
        );
        assert_eq!(decode(&[1, 3, 102, 111, 111]), Ok(NameRecord("foo")));
        assert_eq!(decode(&[1, 200, 1]), Ok(CounterRecord(200)));
    }

    #[test]
    fn another_version_and_leftover_bytes_are_told_apart() {
        assert_eq!(
            decode::<CounterRecord>(&[9, 1]),
            Err(CodecError::UnknownVersion(9))
        );
        assert_eq!(
            decode::<CounterRecord>(&[1, 1, 0]),
            Err(CodecError::Malformed)
        );
        assert_eq!(decode::<CounterRecord>(&[]), Err(CodecError::Malformed));
    }
}

/// Tried for a moment here, and longer by `tests/fuzz/run`.
#[cfg(test)]
mod fuzz {
    use std::time::Duration;

    use bolero::TypeGenerator;

    use super::*;

    const BLINK: Duration = Duration::from_millis(300);

    /// Compared as bytes, in which even a number that is none equals itself.
    macro_rules! read_back {
        ($kind:ty, $record:expr) => {{
            let (mut bytes, mut again) = (Vec::new(), Vec::new());
            encode(&$record, &mut bytes).unwrap();
            encode(&decode::<$kind>(&bytes).unwrap(), &mut again).unwrap();
            assert_eq!(bytes, again);
            bytes
        }};
    }

    #[derive(Debug, Clone, TypeGenerator)]
    struct Facts {
        numbers: (Option<f64>, Option<f32>, u16, u16, u64),
        range: Option<(f64, f64)>,
        texts: [String; 3],
        properties: Vec<(String, String)>,
        flags: [bool; 2],
        slip: Option<(u16, u8)>,
    }

    /// Whatever was written reads as it was. One wrong byte in it makes another record or none, and no harm.
    #[test]
    fn every_record_reads_back_as_it_was() {
        let check = bolero::check!().with_type::<Facts>();
        check.with_test_time(BLINK).for_each(|facts| {
            let [one, two, three] = facts.texts.each_ref().map(String::as_str);
            let (value, position, meta, flags, number) = facts.numbers;
            let [is_redundant, is_emulator] = facts.flags;
            let text = one;
            let control = ControlRecord {
                value,
                position,
                meta,
                flags,
                text,
            };
            let bytes = read_back!(ControlRecord<'_>, control);
            if let Some((at, bits)) = facts.slip {
                let mut bytes = bytes;
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= bits;
                decode::<ControlRecord<'_>>(&bytes).ok();
            }
            let properties = facts.properties.iter();
            read_back!(
                ComponentRecord<'_>,
                ComponentRecord {
                    name: one,
                    kind: two,
                    properties: properties
                        .map(|(name, value)| (name.as_str(), value.as_str()))
                        .collect(),
                }
            );
            read_back!(
                MetaRecord<'_>,
                MetaRecord {
                    kind: one,
                    direction: two,
                    range: facts.range,
                    strings: is_emulator.then_some((two, three)),
                }
            );
            read_back!(
                DesignRecord<'_>,
                DesignRecord {
                    platform: is_redundant.then_some(three),
                    name: one,
                    code: two,
                    is_redundant,
                    is_emulator,
                }
            );
            read_back!(NameRecord<'_>, NameRecord(one));
            read_back!(CounterRecord, CounterRecord(number));
        });
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_harm() {
        let check = bolero::check!().with_type::<Vec<u8>>();
        check.with_test_time(BLINK).for_each(|body| {
            let mut bytes = body.clone();
            for version in [None, Some(V1)] {
                bytes.splice(0..0, version);
                decode::<ControlRecord<'_>>(&bytes).ok();
                decode::<ComponentRecord<'_>>(&bytes).ok();
                decode::<MetaRecord<'_>>(&bytes).ok();
                decode::<DesignRecord<'_>>(&bytes).ok();
                decode::<NameRecord<'_>>(&bytes).ok();
                decode::<CounterRecord>(&bytes).ok();
            }
        });
    }
}
