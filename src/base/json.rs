//! JSON objects from outside. What serde derives for a struct also takes an array of its fields, which nobody means.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Reads one JSON object, and nothing else, as `T`.
///
/// # Errors
/// The text is not JSON, is no object, or does not fit `T`.
pub fn object<'de, T: Deserialize<'de>>(text: &'de [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).map(|Object(read)| read)
}

/// The same of a text.
///
/// # Errors
/// As [`object`].
pub fn object_of_text<'de, T: Deserialize<'de>>(text: &'de str) -> serde_json::Result<T> {
    serde_json::from_str(text).map(|Object(read)| read)
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair<'a> {
        name: &'a str,
        #[serde(default)]
        count: Option<u8>,
    }

    #[test]
    fn an_array_is_no_object_even_if_its_items_fit_the_fields() {
        let read = object::<Pair<'_>>(br#"{"name":"a"}"#).unwrap();
        assert_eq!(
            read,
            Pair {
                name: "a",
                count: None
            }
        );
        for odd in [
            r#"["a",1]"#,
            "[]",
            "null",
            r#""a""#,
            r#"{"name":"a"} {}"#,
            "",
        ] {
            assert!(object::<Pair<'_>>(odd.as_bytes()).is_err(), "{odd}");
            assert!(object_of_text::<Pair<'_>>(odd).is_err(), "{odd}");
        }
    }
}
