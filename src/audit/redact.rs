//! Arguments as the trail keeps them: without secrets, and no longer than a bound.

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::base::text::{mask_keys, plain_json};
use crate::limits::{AUDIT_ARGUMENTS_MAX_BYTES, AUDIT_TEXT_MAX_BYTES};

/// Words of a name that tell of a secret.
const SECRETS: [&str; 19] = [
    "apikey",
    "authorization",
    "bearer",
    "credential",
    "credentials",
    "kennwort",
    "key",
    "otp",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "passwort",
    "pin",
    "pincode",
    "psk",
    "pwd",
    "secret",
    "token",
];

/// Fields that name what the other fields of their object are for.
const NAMES: [&str; 8] = [
    "control",
    "name",
    "path",
    "component",
    "id",
    // As older tools call them.
    "control_name",
    "component_name",
    "componentName",
];

/// Fields that hold what is written.
const VALUES: [&str; 5] = ["value", "string", "text", "position", "values"];

const HIDDEN: &str = "***";

/// The arguments of a call.
pub(super) fn arguments(arguments: &Value) -> Option<Arc<RawValue>> {
    bounded(
        &without_secrets(arguments, false),
        AUDIT_ARGUMENTS_MAX_BYTES,
    )
}

/// JSON that takes no more room than this, as far as its texts have no more than that of quotes.
pub(super) fn bounded(json: &Value, most: usize) -> Option<Arc<RawValue>> {
    let text = plain_json(json.to_string());
    if text.len() <= most {
        return RawValue::from_string(text).ok().map(Arc::from);
    }
    let end = text.floor_char_boundary(most / 2);
    let shown = text.get(..end).unwrap_or_default();
    let cut = json!({"cut": shown, "bytes": text.len()});
    to_raw_value(&cut).ok().map(Arc::from)
}

/// `is_of_secret`: what stands around it is about a secret, as the value that one is expected to have.
fn without_secrets(value: &Value, is_of_secret: bool) -> Value {
    match value {
        Value::Object(fields) => Value::Object(object_without_secrets(fields, is_of_secret)),
        Value::Array(items) => items
            .iter()
            .map(|item| without_secrets(item, is_of_secret))
            .collect(),
        Value::String(text) => Value::String(shortened(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn object_without_secrets(fields: &Map<String, Value>, is_of_secret: bool) -> Map<String, Value> {
    let is_of_secret = is_of_secret
        || NAMES
            .iter()
            .filter_map(|name| fields.get(*name).and_then(Value::as_str))
            .any(tells_of_secret);
    let clean = fields.iter().map(|(name, value)| {
        let is_secret = tells_of_secret(name) || (is_of_secret && VALUES.contains(&name.as_str()));
        let value = if is_secret && !value.is_null() {
            HIDDEN.into()
        } else {
            without_secrets(value, is_of_secret)
        };
        (shortened(name), value)
    });
    clean.collect()
}

/// Whether one of the words of a name is that of a secret: `admin.PIN`, `apiKey`, `User Password 2`; but not `keyboard` or `pinned`.
#[must_use]
pub fn tells_of_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let has_long_word = SECRETS
        .iter()
        .any(|word| word.len() > 6 && lower.contains(word));
    has_long_word
        || words(name).any(|word| {
            SECRETS
                .iter()
                .any(|secret| word.eq_ignore_ascii_case(secret))
        })
}

/// Words between signs and digits, and of names in camel case.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|letter: char| !letter.is_ascii_alphabetic())
        .flat_map(|word| {
            let mut rest = word;
            std::iter::from_fn(move || {
                if rest.is_empty() {
                    return None;
                }
                let mut was_small = false;
                let end = rest
                    .char_indices()
                    .find(|(_, letter)| {
                        let is_border = was_small && letter.is_ascii_uppercase();
                        was_small = letter.is_ascii_lowercase();
                        is_border
                    })
                    .map_or(rest.len(), |(at, _)| at);
                let (word, after) = rest.split_at(end);
                rest = after;
                Some(word)
            })
        })
}

fn shortened(text: &str) -> String {
    let masked = mask_keys(text);
    if masked.len() <= AUDIT_TEXT_MAX_BYTES {
        return masked.into_owned();
    }
    let end = masked.floor_char_boundary(AUDIT_TEXT_MAX_BYTES);
    format!(
        "{}… ({} bytes)",
        masked.get(..end).unwrap_or_default(),
        text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(value: &Value) -> String {
        arguments(value).unwrap().get().to_owned()
    }

    #[test]
    fn secrets_are_left_out_by_the_names_of_fields_and_of_controls() {
        let kept = kept(&json!({
            "pin": "1234", "apiKey": "k1", "user_password": "p1", "reason": "the key of the door",
            "keyboard": "shown",
            "controls": [
                {"component": "Door", "control": "Admin.PIN", "value": 4711},
                {"component": "Lobby", "control": "gain", "value": -6.5},
                {"control": "WifiPassword", "string": "hush"},
            ],
            "text": "rh_0123456789ABCDEFGHJKMNPQRSTVWXYZ0123456789ABCDEFG",
        }));
        for secret in ["1234", "k1", "p1", "4711", "hush", "0123456789"] {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
        for shown in ["-6.5", "gain", "keyboard\":\"shown", "door"] {
            assert!(kept.contains(shown), "{shown} not in {kept}");
        }
    }

    #[test]
    fn a_pin_written_by_an_older_name_or_expected_stood_in_the_record() {
        for arguments in [
            json!({"component_name": "Door", "control_name": "Admin.PIN", "value": 4711}),
            json!({"controls": [{"name": "Door.wifi.psk", "value": "4711"}]}),
            json!({"changes": [{"component": "Door", "control": "pin", "value": 1, "expect": {"value": 4711, "string": "4711"}}]}),
            json!({"changes": [{"component": "Tür Kennwort", "control": "text.1", "string": "4711"}]}),
        ] {
            let kept = kept(&arguments);
            assert!(!kept.contains("4711"), "{kept}");
        }
        // A filter is none.
        let kept = kept(&json!({"component": "EQ", "control": "high.pass.frequency", "value": 80}));
        assert!(kept.contains("80"), "{kept}");
    }

    #[test]
    fn long_arguments_are_cut_and_say_so() {
        let long = kept(&json!({"a": "x".repeat(5_000)}));
        assert!(long.contains("(5000 bytes)") && long.len() < 400, "{long}");
        let many: Vec<_> = (0..500).map(|n| json!({"control": n})).collect();
        let many = kept(&json!(many));
        assert!(
            many.len() <= AUDIT_ARGUMENTS_MAX_BYTES + 64,
            "{}",
            many.len()
        );
        assert!(
            serde_json::from_str::<Value>(&many).unwrap()["bytes"]
                .as_u64()
                .unwrap()
                > 5_000
        );
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        let kept = kept(&json!({"a\u{202e}": "b\u{1b}[2J\nc"}));
        assert_eq!(kept, r#"{"a\u202e":"b\u001b[2J\nc"}"#);
    }
}
