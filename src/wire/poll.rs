//! Poll frames, read as a stream: the changes of a frame pass by in small batches and are never collected.
//!
//! A poll of a large design is hundreds of kilobytes with a thousand changes. Reading it in one pass into a reused batch costs
//! a handful of allocations a frame, and gives the mirror the small pieces that it applies under one lock each.

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::jsonrpc::{Id, Text};
use super::qrc::ControlChange;

/// Changes handed over at once; the mirror holds its lock for one batch.
pub const BATCH_MAX: usize = 64;

/// What a poll frame says besides its changes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PollFrame {
    /// The request's id; absent on a pushed poll.
    pub id: Option<Id>,
    /// The change group, as text whatever its JSON type was.
    pub group: Option<String>,
    /// How many changes passed by.
    pub changes: usize,
    /// Whether a `Changes` array was there at all.
    pub is_poll: bool,
}

/// Whether a frame looks like a poll, judged by its first bytes. A frame that is one and does not look so is still read
/// correctly through [`super::jsonrpc::Frame`] and [`changes_of`], only slower.
#[must_use]
pub fn looks_like_poll(frame: &str) -> bool {
    let head = frame.as_bytes().get(..200).unwrap_or(frame.as_bytes());
    head.windows(9).any(|window| window == b"\"Changes\"")
}

/// Reads a whole frame, answer or pushed notification, and hands its changes to `take` in batches of at most [`BATCH_MAX`].
///
/// # Errors
///
/// The frame is not JSON, or a change in it has no name. Batches handed over before the fault stay handed over: each
/// change is whole in itself.
pub fn read_frame(
    frame: &str,
    take: &mut dyn FnMut(&[ControlChange<'_>]),
) -> Result<PollFrame, serde_json::Error> {
    let mut found = PollFrame::default();
    let mut reader = serde_json::Deserializer::from_str(frame);
    FrameSeed {
        found: &mut found,
        take,
    }
    .deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

/// Reads the `{"Id", "Changes"}` object of a poll's `result` or `params`; see [`read_frame`].
///
/// # Errors
///
/// As [`read_frame`].
pub fn changes_of(
    payload: &str,
    take: &mut dyn FnMut(&[ControlChange<'_>]),
) -> Result<PollFrame, serde_json::Error> {
    let mut found = PollFrame::default();
    let mut reader = serde_json::Deserializer::from_str(payload);
    PayloadSeed {
        found: &mut found,
        take,
    }
    .deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

struct FrameSeed<'s, 't> {
    found: &'s mut PollFrame,
    take: &'t mut dyn FnMut(&[ControlChange<'_>]),
}

impl<'de> DeserializeSeed<'de> for FrameSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FrameSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a poll frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match key.as_str() {
                "id" => self.found.id = map.next_value::<LenientId>()?.0,
                "result" | "params" => map.next_value_seed(PayloadSeed {
                    found: self.found,
                    take: self.take,
                })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct PayloadSeed<'s, 't> {
    found: &'s mut PollFrame,
    take: &'t mut dyn FnMut(&[ControlChange<'_>]),
}

impl<'de> DeserializeSeed<'de> for PayloadSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PayloadSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with Id and Changes")
    }

    /// `null` is an absent payload, as the envelope reads it.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match key.as_str() {
                "Id" => {
                    self.found.group = map.next_value::<LenientId>()?.0.map(|id| match id {
                        Id::Number(number) => number.to_string(),
                        Id::Text(text) => text.into_string(),
                    });
                }
                "Changes" => {
                    self.found.is_poll = true;
                    self.found.changes += map.next_value_seed(ChangesSeed { take: self.take })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct ChangesSeed<'t> {
    take: &'t mut dyn FnMut(&[ControlChange<'_>]),
}

impl<'de> DeserializeSeed<'de> for ChangesSeed<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ChangesSeed<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of changes")
    }

    fn visit_unit<E: de::Error>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
        let mut batch: Vec<ControlChange<'de>> = Vec::with_capacity(BATCH_MAX);
        let mut total = 0;
        while let Some(change) = seq.next_element()? {
            batch.push(change);
            total += 1;
            if batch.len() == BATCH_MAX {
                (self.take)(&batch);
                batch.clear();
            }
        }
        if !batch.is_empty() {
            (self.take)(&batch);
        }
        Ok(total)
    }
}

/// An id of any JSON type; those that cannot be echoed read as absent.
struct LenientId(Option<Id>);

impl<'de> de::Deserialize<'de> for LenientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::qrc::Scalar;

    #[test]
    fn a_poll_answer_passes_by_in_batches() {
        let changes: Vec<_> = (0..150).map(|n| format!(r#"{{"Component":"Mix","Name":"input.{n}.gain","String":"{n}dB","Value":{n},"Position":0.5}}"#)).collect();
        let frame = format!(
            r#"{{"jsonrpc":"2.0","id":8,"result":{{"Id":"g1","Changes":[{}]}}}}"#,
            changes.join(",")
        );
        assert!(looks_like_poll(&frame));
        let mut sizes = Vec::new();
        let mut last = None;
        let found = read_frame(&frame, &mut |batch| {
            sizes.push(batch.len());
            last = batch
                .last()
                .and_then(|change| change.value.clone())
                .map(Scalar::into_owned);
        })
        .unwrap();
        assert_eq!(
            found,
            PollFrame {
                id: Some(Id::Number(8)),
                group: Some("g1".into()),
                changes: 150,
                is_poll: true
            }
        );
        assert_eq!(sizes, [64, 64, 22]);
        assert_eq!(last, Some(Scalar::Number(149.0)));
    }

    #[test]
    fn an_array_was_a_frame_in_one_piece_and_none_as_a_stream() {
        let array = r#"[{"Name":"MainMute","Value":null},"g1",{"Name":"x"}]"#;
        assert!(read_frame(array, &mut |_| {}).is_err());
        assert!(crate::wire::jsonrpc::Frame::parse(array).is_err());
    }

    #[test]
    fn a_null_next_to_the_payload_is_no_payload() {
        let frame = r#"{"params":null,"jsonrpc":"2.0","id":8,"result":{"Id":"g1","Changes":[{"Name":"MainMute","Value":true}]}}"#;
        let mut seen = 0;
        let found = read_frame(frame, &mut |batch| seen += batch.len()).unwrap();
        assert_eq!((found.group.as_deref(), seen), (Some("g1"), 1));
    }

    #[test]
    fn a_pushed_poll_a_null_array_and_a_broken_frame() {
        let mut seen = 0;
        let pushed = r#"{"jsonrpc":"2.0","method":"ChangeGroup.Poll","params":{"Id":3,"Changes":[{"Name":"MainMute","Value":true}]}}"#;
        let found = read_frame(pushed, &mut |batch| seen += batch.len()).unwrap();
        assert_eq!(
            (found.id, found.group.as_deref(), seen),
            (None, Some("3"), 1)
        );
        assert!(
            read_frame(
                r#"{"id":1,"result":{"Id":"g","Changes":null}}"#,
                &mut |_| ()
            )
            .unwrap()
            .is_poll
        );
        assert!(
            read_frame(
                r#"{"id":1,"result":{"Id":"g","Changes":[{"Name":"#,
                &mut |_| ()
            )
            .is_err()
        );
        assert!(
            read_frame(
                r#"{"id":1,"result":{"Id":"g","Changes":[{"Value":1}]}}"#,
                &mut |_| ()
            )
            .is_err()
        );
    }
}
