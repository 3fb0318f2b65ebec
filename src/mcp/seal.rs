//! What a client carries for us between two rounds of one call: sealed, so that it comes back unchanged, and only from whom it was
//! given to, for the same call, in time, and once where that matters.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::hmac;
use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::limits::{REQUEST_STATE_SECS, STATES_REMEMBERED_MAX};

/// Sets this use of the key apart from any other.
const PURPOSE: &[u8] = b"rackhand requestState 1";

const LIFETIME: Duration = Duration::from_secs(REQUEST_STATE_SECS);

const MAC_BYTES: usize = 32;

/// The call that a state belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bond<'a> {
    /// Who calls.
    pub(super) caller: &'a str,
    /// The method.
    pub(super) method: &'static str,
    /// The tool or prompt.
    pub(super) name: &'a str,
    /// Its arguments.
    pub(super) arguments: &'a Value,
}

/// Why a state is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// It was not made here for this call and caller.
    #[error("it was not made for this call")]
    Foreign,
    /// It is too old, or so many were used since that it cannot be told whether this one was.
    #[error("it is too old")]
    Old,
    /// It was used already.
    #[error("it was used already")]
    Used,
}

/// Seals states with a secret of this process.
pub(super) struct Seal {
    key: hmac::Key,
    /// Time is told from here on.
    started: Instant,
    used: Mutex<Used>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

/// States that may not be used again.
#[derive(Debug, Default)]
struct Used {
    /// When each was made, and its nonce; the first to be used in front.
    recent: VecDeque<(Stamp, Nonce)>,
    /// Whatever was made up to then may have been forgotten, and is refused.
    forgotten: Option<Stamp>,
}

/// Milliseconds since [`Seal::started`].
type Stamp = u64;

type Nonce = [u8; 16];

impl Seal {
    /// A seal with a secret of its own.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            started: Instant::now(),
            used: Mutex::default(),
        })
    }

    /// Seals a state for the next round of this call.
    pub(super) fn close(&self, bond: &Bond<'_>, state: &Value) -> Result<String, getrandom::Error> {
        let mut nonce = Nonce::default();
        getrandom::fill(&mut nonce)?;
        let mut content = nonce.to_vec();
        content.extend_from_slice(&self.stamp().to_be_bytes());
        super::answer::push_json(&mut content, state);
        let mac = self.mac(bond, &content);
        content.extend_from_slice(mac.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(content))
    }

    /// Opens what [`Seal::close`] made for this very call. One that is to be used `once` is refused from then on.
    pub(super) fn open(&self, bond: &Bond<'_>, text: &str, once: bool) -> Result<Value, Broken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Broken::Foreign)?;
        let (content, mac) = bytes
            .split_last_chunk::<MAC_BYTES>()
            .ok_or(Broken::Foreign)?;
        self.verify(bond, content, mac)?;
        let (nonce, rest) = content.split_first_chunk().ok_or(Broken::Foreign)?;
        let (made, state) = rest.split_first_chunk().ok_or(Broken::Foreign)?;
        let (made, now) = (Stamp::from_be_bytes(*made), self.stamp());
        if now.saturating_sub(made) > millis(LIFETIME) {
            return Err(Broken::Old);
        }
        if once {
            self.used.lock().take(made, *nonce, now)?;
        }
        serde_json::from_slice(state).map_err(|_| Broken::Foreign)
    }

    fn verify(&self, bond: &Bond<'_>, content: &[u8], mac: &[u8]) -> Result<(), Broken> {
        let expected = self.mac(bond, content);
        let is_same = bool::from(expected.as_ref().ct_eq(mac));
        is_same.then_some(()).ok_or(Broken::Foreign)
    }

    fn mac(&self, bond: &Bond<'_>, content: &[u8]) -> hmac::Tag {
        let mut mac = hmac::Context::with_key(&self.key);
        for part in [
            PURPOSE,
            bond.caller.as_bytes(),
            bond.method.as_bytes(),
            bond.name.as_bytes(),
            content,
        ] {
            feed(&mut mac, b'b', part);
        }
        feed_value(&mut mac, bond.arguments);
        mac.sign()
    }

    fn stamp(&self) -> Stamp {
        millis(self.started.elapsed())
    }
}

fn millis(time: Duration) -> Stamp {
    Stamp::try_from(time.as_millis()).unwrap_or(Stamp::MAX)
}

impl Used {
    fn take(&mut self, made: Stamp, nonce: Nonce, now: Stamp) -> Result<(), Broken> {
        // Those that are too old by themselves need not be remembered.
        self.recent
            .retain(|(made, _)| now.saturating_sub(*made) <= millis(LIFETIME));
        if self.forgotten.is_some_and(|until| made <= until) {
            return Err(Broken::Old);
        }
        if self.recent.iter().any(|(_, used)| *used == nonce) {
            return Err(Broken::Used);
        }
        if self.recent.len() >= STATES_REMEMBERED_MAX
            && let Some((made, _)) = self.recent.pop_front()
        {
            self.forgotten = self.forgotten.max(Some(made));
        }
        self.recent.push_back((made, nonce));
        Ok(())
    }
}

/// A part with its kind and length, so that no two lists of parts read the same.
fn feed(context: &mut hmac::Context, kind: u8, bytes: &[u8]) {
    context.update(&[kind]);
    context.update(&bytes.len().to_be_bytes());
    context.update(bytes);
}

/// A value whatever the order of its fields, which clients may change between two rounds.
fn feed_value(context: &mut hmac::Context, value: &Value) {
    match value {
        Value::Array(items) => {
            feed(context, b'[', &items.len().to_be_bytes());
            for item in items {
                feed_value(context, item);
            }
        }
        Value::Object(fields) => {
            feed(context, b'{', &fields.len().to_be_bytes());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in fields {
                feed(context, b'k', name.as_bytes());
                feed_value(context, value);
            }
        }
        Value::String(text) => feed(context, b's', text.as_bytes()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            feed(context, b'v', value.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MADE: Duration = Duration::from_secs(1);

    fn bond<'a>(caller: &'a str, name: &'a str, arguments: &'a Value) -> Bond<'a> {
        Bond {
            caller,
            method: "tools/call",
            name,
            arguments,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_comes_back_for_the_same_call_whatever_the_order_of_its_arguments() {
        let seal = Seal::new().unwrap();
        let given = json!({"a": [1, {"x": 1, "y": 2}], "b": null});
        let again: Value = serde_json::from_str(r#"{"b":null,"a":[1,{"y":2,"x":1}]}"#).unwrap();
        let state = json!({"step": 2, "text": "ä"});
        let text = seal.close(&bond("me", "set", &given), &state).unwrap();
        for _ in 0..2 {
            let opened = seal.open(&bond("me", "set", &again), &text, false);
            assert_eq!(opened, Ok(state.clone()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_for_anybody_or_anything_else_is_foreign() {
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        let arguments = json!({"a": "b", "c": ["d", "e"]});
        let mine = bond("me", "set", &arguments);
        let text = seal.close(&mine, &json!(1)).unwrap();
        for arguments in [
            json!({}),
            json!({"a": "b", "c": ["d"]}),
            json!({"a": "b", "c": ["de"]}),
            json!({"a": "b", "c": ["e", "d"]}),
            json!({"a": "b", "c": {"d": "e"}}),
            json!({"a": "b", "c": ["d", "e"], "f": null}),
        ] {
            let theirs = bond("me", "set", &arguments);
            assert_eq!(seal.open(&theirs, &text, false), Err(Broken::Foreign));
        }
        let prompt = Bond {
            method: "prompts/get",
            ..mine
        };
        for theirs in [
            bond("you", "set", &arguments),
            bond("me", "sets", &arguments),
            bond("mes", "et", &arguments),
            prompt,
        ] {
            assert_eq!(seal.open(&theirs, &text, false), Err(Broken::Foreign));
        }
        assert_eq!(other.open(&mine, &text, false), Err(Broken::Foreign));
    }

    #[tokio::test(start_paused = true)]
    async fn no_change_goes_unnoticed() {
        let seal = Seal::new().unwrap();
        let nothing = json!({});
        let mine = bond("me", "set", &nothing);
        let text = seal.close(&mine, &json!({"may": "not"})).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(seal.open(&mine, &changed, false), Err(Broken::Foreign));
        }
        for length in 0..text.len() {
            assert!(seal.open(&mine, &text[..length], false).is_err());
        }
        let longer = format!("{text}-TAMPERED");
        assert_eq!(seal.open(&mine, &longer, false), Err(Broken::Foreign));
        assert_eq!(seal.open(&mine, &text, false), Ok(json!({"may": "not"})));
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_ends_after_five_minutes() {
        let seal = Seal::new().unwrap();
        let nothing = json!({});
        let mine = bond("me", "set", &nothing);
        let text = seal.close(&mine, &json!(1)).unwrap();
        tokio::time::advance(LIFETIME).await;
        assert!(seal.open(&mine, &text, false).is_ok());
        tokio::time::advance(MADE).await;
        assert_eq!(seal.open(&mine, &text, false), Err(Broken::Old));
        assert!(LIFETIME <= Duration::from_mins(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_used_once_is_used_once_even_when_it_was_forgotten() {
        let seal = Seal::new().unwrap();
        let nothing = json!({});
        let mine = bond("me", "set", &nothing);
        let first = seal.close(&mine, &json!(0)).unwrap();
        assert!(seal.open(&mine, &first, true).is_ok());
        assert_eq!(seal.open(&mine, &first, true), Err(Broken::Used));
        tokio::time::advance(MADE).await;
        for _ in 0..STATES_REMEMBERED_MAX {
            let text = seal.close(&mine, &json!(0)).unwrap();
            assert!(seal.open(&mine, &text, true).is_ok());
        }
        assert_eq!(seal.used.lock().recent.len(), STATES_REMEMBERED_MAX);
        assert_eq!(seal.open(&mine, &first, true), Err(Broken::Old));
        tokio::time::advance(LIFETIME + MADE).await;
        let late = seal.close(&mine, &json!(0)).unwrap();
        assert!(seal.open(&mine, &late, true).is_ok());
        assert_eq!(seal.used.lock().recent.len(), 1, "old ones need no memory");
    }
}
