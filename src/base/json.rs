//! JSON objects from outside. What serde derives for a struct also takes an array of its fields, which nobody means.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

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

/// The first items of an array, at most so many, and how many more there were. What is beyond them is read and takes no memory: an item of
/// two bytes can be one of hundreds here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtMost<T, const MOST: usize> {
    /// The first of them.
    pub items: Vec<T>,
    /// The number of the others.
    pub more: usize,
}

impl<T, const MOST: usize> Default for AtMost<T, MOST> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            more: 0,
        }
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Items(PhantomData))
    }
}

/// The first items of an array alone, for fields of structs.
///
/// # Errors
/// It is no array, or one of these items does not fit.
pub fn first_items<'de, D, T, const MOST: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    AtMost::<T, MOST>::deserialize(from).map(|read| read.items)
}

struct Items<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
    type Value = AtMost<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut read = AtMost::default();
        while read.items.len() < MOST {
            let Some(item) = array.next_element()? else {
                return Ok(read);
            };
            read.items.push(item);
        }
        while array.next_element::<IgnoredAny>()?.is_some() {
            read.more += 1;
        }
        Ok(read)
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
    fn of_a_long_array_the_first_items_are_kept_and_the_others_counted() {
        type Two<'a> = AtMost<&'a str, 2>;
        let read = |text| serde_json::from_str::<Two<'_>>(text);
        for (text, items, more) in [
            ("[]", &[][..], 0),
            (r#"["a","b"]"#, &["a", "b"], 0),
            // What is not kept need not fit.
            (r#"["a","b","c",4,{}]"#, &["a", "b"], 3),
        ] {
            let read = read(text).unwrap();
            assert_eq!((&*read.items, read.more), (items, more), "{text}");
        }
        for odd in ["[1]", r#"["a","b""#, "{}", "null"] {
            assert!(read(odd).is_err(), "{odd}");
        }
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
