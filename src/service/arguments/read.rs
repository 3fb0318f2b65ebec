//! Arguments as they come in, read so that no two readers take them for different things.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Numbers up to here are told apart as floats: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads the arguments of a tool. A whole number is an integer however it is written, since to JSON Schema `3.0` is one, and some
/// clients know floats alone. A field that comes twice is refused, for whoever reads the first and whoever reads the last would disagree.
///
/// # Errors
/// What cannot be read, and where.
pub fn read(json: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Read>(json).map(|read| read.0)
}

struct Read(Value);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadVisitor).map(Self)
    }
}

struct ReadVisitor;

impl<'de> Visitor<'de> for ReadVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(whole(value)
            .unwrap_or_else(|| Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Read(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Read(value))) = fields.next_entry::<String, Read>()? {
            if object.contains_key(&name) {
                let name: String = name.chars().take(super::SHOWN_MAX).collect();
                return Err(de::Error::custom(format_args!(
                    "the field {name:?} comes twice"
                )));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// A whole number as an integer.
fn whole(value: f64) -> Option<Value> {
    if value.fract() != 0.0 || value.abs() > EXACT_MAX {
        return None;
    }
    // Printed without a fraction, it is read back as the integer it is.
    format!("{value:.0}").parse::<i64>().ok().map(Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_number_written_as_a_float_was_refused_where_an_integer_is_due() {
        for (json, expected) in [
            ("3.0", json!(3)),
            ("-2e2", json!(-200)),
            ("-0.0", json!(0)),
            ("0.5", json!(0.5)),
            ("7", json!(7)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1e300", json!(1e300)),
        ] {
            assert_eq!(read(json).unwrap(), expected, "{json}");
        }
        assert_eq!(
            read(r#"{"a":[1.0,{"b":2.0}],"c":null,"d":"3.0","e":true}"#).unwrap(),
            json!({"a": [1, {"b": 2}], "c": null, "d": "3.0", "e": true})
        );
    }

    #[test]
    fn a_field_that_comes_twice_is_refused_wherever_it_is() {
        for json in [r#"{"value":0,"value":10}"#, r#"{"a":[{"b":1,"\u0062":1}]}"#] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains("comes twice"), "{error}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
