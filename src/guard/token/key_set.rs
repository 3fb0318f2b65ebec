//! The public keys of an identity provider (JWK Set, RFC 7517): read strictly, bounded, each good for one algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::base::json;
use crate::limits::{PROVIDER_KEY_ID_MAX_BYTES, PROVIDER_KEYS_MAX};

/// Bytes of an RSA modulus: 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// Bytes of a coordinate of P-256, and of a key of Ed25519.
const CURVE_BYTES: usize = 32;

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part, which has no business here.
    d: Option<serde_json::Value>,
}

/// One public key.
#[derive(Debug, Clone)]
struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    /// What it is, to tell it from another under the same id.
    bytes: Vec<u8>,
    decoding: DecodingKey,
}

/// The keys of a provider that can be used here.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet(Vec<PublicKey>);

/// Why a document is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetFault {
    #[error("it is no JSON Web Key Set")]
    NotOne,
    #[error("it has more than {PROVIDER_KEYS_MAX} keys")]
    TooMany,
    #[error("it has no key for RS256, ES256 or EdDSA")]
    NoKey,
}

impl KeySet {
    /// Reads a set. Keys of other kinds are left out, as RFC 7517, section 5 asks for.
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeySetFault> {
        let document: Document = json::object(text).map_err(|_| KeySetFault::NotOne)?;
        if document.keys.len() > PROVIDER_KEYS_MAX {
            return Err(KeySetFault::TooMany);
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        for key in document.keys.into_iter().filter_map(usable) {
            // Of two under one id and algorithm, the first: an id that means two keys means neither for sure.
            let is_taken = keys.iter().any(|other| {
                other.id == key.id && other.algorithm == key.algorithm && key.id.is_some()
            });
            if !is_taken {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(KeySetFault::NoKey);
        }
        Ok(Self(keys))
    }

    /// The key of a token. One that names none gets the only one of its algorithm, if there is only one.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let first = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then_some(&first.decoding)
    }

    /// Whether every key of `other` is here too.
    pub(super) fn has_all_of(&self, other: &Self) -> bool {
        other.0.iter().all(|key| {
            self.0
                .iter()
                .any(|own| own.bytes == key.bytes && own.id == key.id)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn usable(value: serde_json::Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let is_for_signatures = jwk
        .purpose
        .as_deref()
        .is_none_or(|purpose| purpose == "sig")
        && jwk
            .key_ops
            .as_ref()
            .is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    let is_short = jwk
        .kid
        .as_ref()
        .is_none_or(|id| id.len() <= PROVIDER_KEY_ID_MAX_BYTES);
    if !is_for_signatures || !is_short {
        return None;
    }
    if jwk.d.is_some() {
        tracing::warn!(kid = ?jwk.kid, "the identity provider shows a private key to everybody: it is not used");
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
    let (algorithm, name, bytes, decoding) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
            if !MODULUS_BYTES.contains(&n.len()) || !(1..=8).contains(&e.len()) {
                return None;
            }
            let key = DecodingKey::from_rsa_raw_components(&n, &e);
            (Algorithm::RS256, "RS256", [n, e].concat(), key)
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            if x.len() != CURVE_BYTES || y.len() != CURVE_BYTES {
                return None;
            }
            // Uncompressed, as X9.62 writes a point.
            let point = [vec![4], x, y].concat();
            let key = DecodingKey::from_ec_der(&point);
            (Algorithm::ES256, "ES256", point, key)
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes(&jwk.x)?;
            if x.len() != CURVE_BYTES {
                return None;
            }
            let key = DecodingKey::from_ed_der(&x);
            (Algorithm::EdDSA, "EdDSA", x, key)
        }
        _ => return None,
    };
    if jwk
        .alg
        .as_deref()
        .is_some_and(|alg| alg != name && !(alg == "Ed25519" && name == "EdDSA"))
    {
        return None;
    }
    Some(PublicKey {
        id: jwk.kid,
        algorithm,
        bytes,
        decoding,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ed(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode([7; 32])})
    }

    fn rsa(kid: &str, bytes: usize) -> Value {
        json!({"kty": "RSA", "kid": kid, "n": URL_SAFE_NO_PAD.encode(vec![200; bytes]), "e": "AQAB"})
    }

    fn ec(kid: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": URL_SAFE_NO_PAD.encode([1; 32]), "y": URL_SAFE_NO_PAD.encode([2; 32])})
    }

    fn set(keys: &[Value]) -> Result<KeySet, KeySetFault> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn each_key_is_good_for_its_own_algorithm_alone() {
        let set = set(&[rsa("r", 256), ec("c"), ed("d")]).unwrap();
        for (id, algorithm) in [
            ("r", Algorithm::RS256),
            ("c", Algorithm::ES256),
            ("d", Algorithm::EdDSA),
        ] {
            for asked in [
                Algorithm::HS256,
                Algorithm::RS256,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::ES256,
                Algorithm::EdDSA,
            ] {
                let found = set.find(Some(id), asked).is_some();
                assert_eq!(found, asked == algorithm, "{id} {asked:?}");
            }
        }
        assert!(set.find(Some("x"), Algorithm::RS256).is_none());
        assert!(set.find(None, Algorithm::RS256).is_some());
    }

    #[test]
    fn a_token_that_names_no_key_gets_one_only_where_there_is_one() {
        let set = set(&[ed("one"), ed("two")]).unwrap();
        assert!(set.find(None, Algorithm::EdDSA).is_none());
    }

    #[test]
    fn what_is_no_public_key_for_signatures_is_left_out() {
        let with = |mut key: Value, name: &str, value: Value| {
            key[name] = value;
            key
        };
        for key in [
            with(ed("a"), "use", json!("enc")),
            with(ed("a"), "key_ops", json!(["encrypt"])),
            with(ed("a"), "alg", json!("RS256")),
            with(ed("a"), "d", json!("AAAA")),
            with(ed("a"), "x", json!("AAAA")),
            with(ed("a"), "crv", json!("Ed448")),
            with(
                ed("a"),
                "kid",
                json!("k".repeat(PROVIDER_KEY_ID_MAX_BYTES + 1)),
            ),
            with(ed("a"), "kid", json!(5)),
            with(ec("a"), "crv", json!("P-384")),
            with(ec("a"), "y", json!("")),
            with(rsa("a", 256), "alg", json!("RS512")),
            with(rsa("a", 256), "alg", json!("HS256")),
            with(rsa("a", 256), "e", json!("")),
            rsa("a", 128),
            rsa("a", 2_000),
            json!({"kty": "oct", "k": "AAAA", "kid": "a"}),
            json!("key"),
        ] {
            assert_eq!(
                set(std::slice::from_ref(&key)).unwrap_err(),
                KeySetFault::NoKey,
                "{key}"
            );
        }
        for key in [
            with(ed("a"), "use", json!("sig")),
            with(ed("a"), "key_ops", json!(["verify"])),
            with(ed("a"), "alg", json!("EdDSA")),
            with(ed("a"), "alg", json!("Ed25519")),
            with(rsa("a", 256), "alg", json!("RS256")),
        ] {
            assert!(set(std::slice::from_ref(&key)).is_ok(), "{key}");
        }
    }

    #[test]
    fn a_set_is_bounded_and_a_lost_key_shows() {
        let many: Vec<Value> = (0..=PROVIDER_KEYS_MAX)
            .map(|n| ed(&n.to_string()))
            .collect();
        assert_eq!(set(&many).unwrap_err(), KeySetFault::TooMany);
        assert_eq!(KeySet::parse(b"{}").unwrap_err(), KeySetFault::NotOne);
        let (one, both) = (set(&[ed("a")]).unwrap(), set(&[ed("a"), ec("b")]).unwrap());
        assert!(both.has_all_of(&one) && !one.has_all_of(&both));
        assert_eq!(both.len(), 2);
    }
}
