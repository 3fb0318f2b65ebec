//! Types of arguments that schemas describe by hand.

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use crate::service::schema::{input, output};

/// A number, or `true` and `false`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum NumberOrSwitch {
    Number(f64),
    Switch(bool),
}

impl NumberOrSwitch {
    pub(super) fn as_number(self) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Switch(on) => f64::from(u8::from(on)),
        }
    }
}

impl JsonSchema for NumberOrSwitch {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NumberOrSwitch".into()
    }

    fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // One type per alternative: clients that check schemas strictly do not take a list of types.
        schemars::json_schema!({ "anyOf": [{ "type": "number" }, { "type": "boolean" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Sample {
        value: Option<NumberOrSwitch>,
    }

    #[test]
    fn a_number_or_a_switch_has_one_type_per_alternative() {
        let schema = input::<Sample>();
        assert_eq!(
            schema["properties"]["value"],
            serde_json::json!({ "anyOf": [{ "type": "number" }, { "type": "boolean" }] })
        );
    }
}
