use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use hyper::header::HeaderMap;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::guard::keyfile::NewKey;
use crate::guard::{Caller, CredentialId, Guard, KeySource, MintFault, Refusal, Wish, key};
use crate::link::Dial;
use crate::link::dial::ByteStream;

const PEER: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// An identity provider: it signs with one key of each kind that can be made here.
struct Issuer {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            ec: EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    fn ec_key(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": text(&point[1..33]), "y": text(&point[33..])})
    }

    fn ed_key(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.ed.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x})
    }

    fn keys(&self) -> Value {
        json!({"keys": [self.ec_key(), self.ed_key()]})
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(head), part(claims));
        let signature = match head["alg"].as_str() {
            Some("ES256") => {
                let random = SystemRandom::new();
                let signature = self.ec.sign(&random, text.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            _ => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A good token with some claims changed, `null` for none.
    fn token(&self, changes: &Value) -> String {
        self.sign(
            &json!({"alg": "ES256", "kid": "ec", "typ": "at+jwt"}),
            &claims(changes),
        )
    }
}

fn claims(changes: &Value) -> Value {
    let now = UnixMillis::now().0 / 1000;
    let mut claims = json!({
        "iss": "https://idp.example", "aud": ["other", "http://box/mcp"], "sub": "alice",
        "iat": now, "exp": now + 600, "roles": ["staff", "av-team"],
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn rules() -> ProviderRules {
    ProviderRules {
        issuer: "https://idp.example".to_owned(),
        audience: "http://box/mcp".to_owned(),
        resource: "http://box/mcp".to_owned(),
        name_claim: "sub".to_owned(),
        role_claim: "roles".to_owned(),
        roles: vec![
            ("av-team".to_owned(), Role::Operator),
            ("staff".to_owned(), Role::Viewer),
            ("boss".to_owned(), Role::Admin),
        ],
    }
}

fn by_file(path: &Path, rules: ProviderRules) -> Arc<Provider> {
    Arc::new(Provider::new(rules, KeySetSource::File(path.to_owned())))
}

/// A guard with one key, and a provider whose keys are known.
async fn guard(issuer: &Issuer, rules: ProviderRules) -> (Guard, Arc<Provider>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, issuer.keys().to_string()).unwrap();
    let provider = by_file(&path, rules);
    provider.refresh().await.unwrap();
    let desk = NewKey::new("alice", Role::Admin);
    let keys = KeySource::memory(&[(desk, key::generate().unwrap())]);
    let guard = Guard::new(keys).unwrap();
    (guard.with_provider(Arc::clone(&provider)), provider)
}

fn admit(guard: &Guard, token: &str) -> Result<Caller, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    guard.admit(&headers, PEER)
}

fn fault(outcome: Result<Caller, Refusal>) -> TokenFault {
    match outcome {
        Err(Refusal::Token(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_gives_the_strongest_role_that_the_site_lists_and_a_name_of_its_own() {
    let issuer = Issuer::new();
    let (guard, _) = guard(&issuer, rules()).await;
    for head in [
        json!({"alg": "ES256", "kid": "ec"}),
        json!({"alg": "EdDSA", "kid": "ed"}),
        json!({"alg": "EdDSA"}),
    ] {
        let caller = admit(&guard, &issuer.sign(&head, &claims(&json!({})))).unwrap();
        assert_eq!((&*caller.name, caller.role), ("idp:alice", Role::Operator));
        assert_eq!(caller.scopes, Role::Operator.scopes());
        assert!(matches!(caller.credential, CredentialId::Outside(_)));
        assert!(guard.is_in_force(&caller));
        let minted = guard.mint(&caller, &Wish::default());
        assert_eq!(minted.unwrap_err(), MintFault::NotByKey);
    }
}

#[tokio::test]
async fn claims_of_every_wrong_kind_are_refused() {
    let issuer = Issuer::new();
    let (guard, _) = guard(&issuer, rules()).await;
    let now = UnixMillis::now().0 / 1000;
    for (changes, wanted) in [
        (json!({"iss": "https://evil.example"}), TokenFault::Issuer),
        (json!({"iss": ["https://idp.example"]}), TokenFault::Issuer),
        (json!({"iss": null}), TokenFault::Issuer),
        (json!({"aud": "http://other/mcp"}), TokenFault::Audience),
        (json!({"aud": []}), TokenFault::Audience),
        (json!({"aud": null}), TokenFault::Audience),
        (json!({"exp": now - 61}), TokenFault::Expired),
        (json!({"exp": null}), TokenFault::Unreadable),
        (json!({"exp": "never"}), TokenFault::Unreadable),
        (json!({"exp": -1e300}), TokenFault::Expired),
        (json!({"nbf": now + 120}), TokenFault::Early),
        (json!({"nbf": "0"}), TokenFault::Unreadable),
        (json!({"iat": now + 120}), TokenFault::Early),
        (json!({"sub": null}), TokenFault::Name),
        (json!({"sub": "a\nb"}), TokenFault::Name),
        (json!({"sub": "x".repeat(65)}), TokenFault::Name),
        (json!({"sub": 7}), TokenFault::Name),
        (json!({"roles": null}), TokenFault::NoRole),
        (json!({"roles": ["visitor"]}), TokenFault::NoRole),
        (json!({"roles": {"av-team": true}}), TokenFault::NoRole),
        (json!({"roles": "AV-TEAM"}), TokenFault::NoRole),
    ] {
        let found = fault(admit(&guard, &issuer.token(&changes)));
        assert_eq!(found, wanted, "{changes}");
    }
    for (changes, role) in [
        (json!({"roles": "staff"}), Role::Viewer),
        (json!({"roles": "profile boss openid"}), Role::Admin),
        (json!({"exp": now - 30}), Role::Operator),
        (json!({"exp": 1e300}), Role::Operator),
        (json!({"aud": "http://box/mcp"}), Role::Operator),
    ] {
        let caller = admit(&guard, &issuer.token(&changes)).unwrap();
        assert_eq!(caller.role, role, "{changes}");
    }
}

#[tokio::test]
async fn a_claim_inside_another_gives_the_role_too() {
    let issuer = Issuer::new();
    let rules = ProviderRules {
        role_claim: "realm_access.roles".to_owned(),
        ..rules()
    };
    let (guard, _) = guard(&issuer, rules).await;
    let inside = json!({"realm_access": {"roles": ["boss"]}});
    assert_eq!(
        admit(&guard, &issuer.token(&inside)).unwrap().role,
        Role::Admin
    );
    let flat = json!({"realm_access.roles": ["staff"]});
    assert_eq!(
        admit(&guard, &issuer.token(&flat)).unwrap().role,
        Role::Viewer
    );
    assert_eq!(
        fault(admit(&guard, &issuer.token(&json!({})))),
        TokenFault::NoRole
    );
}

#[tokio::test]
async fn keys_and_algorithms_are_never_confused() {
    let issuer = Issuer::new();
    let (guard, _) = guard(&issuer, rules()).await;
    let good = claims(&json!({}));
    let hmac_by = |secret: &[u8]| {
        let head = jsonwebtoken::Header {
            kid: Some("ec".to_owned()),
            ..jsonwebtoken::Header::default()
        };
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&head, &good, &key).unwrap()
    };
    // The public key as the secret of HS256: the classic.
    for secret in [
        issuer.ec.public_key().as_ref(),
        issuer.ed.public_key().as_ref(),
        issuer.keys().to_string().as_bytes(),
        b"",
    ] {
        assert_eq!(fault(admit(&guard, &hmac_by(secret))), TokenFault::Foreign);
    }
    let stranger = Issuer::new();
    for (signer, head, wanted) in [
        (
            &stranger,
            json!({"alg": "ES256", "kid": "ec"}),
            TokenFault::Foreign,
        ),
        (&stranger, json!({"alg": "EdDSA"}), TokenFault::Foreign),
        (
            &issuer,
            json!({"alg": "EdDSA", "kid": "ec"}),
            TokenFault::UnknownKey,
        ),
        (
            &issuer,
            json!({"alg": "ES256", "kid": "ed"}),
            TokenFault::UnknownKey,
        ),
        (
            &issuer,
            json!({"alg": "ES256", "kid": "../ec"}),
            TokenFault::UnknownKey,
        ),
        (
            &issuer,
            json!({"alg": "RS256", "kid": "ec"}),
            TokenFault::UnknownKey,
        ),
        (
            &issuer,
            json!({"alg": "ES384", "kid": "ec"}),
            TokenFault::Algorithm,
        ),
        (
            &issuer,
            json!({"alg": "PS256", "kid": "ec"}),
            TokenFault::Algorithm,
        ),
        (&issuer, json!({"alg": "none"}), TokenFault::Algorithm),
        (
            &issuer,
            json!({"alg": "ES256", "kid": "ec", "crit": ["kid"]}),
            TokenFault::Algorithm,
        ),
        (
            &issuer,
            json!({"alg": "ES256", "kid": {"a": 1}}),
            TokenFault::Unreadable,
        ),
        (
            &stranger,
            json!({"alg": "ES256", "kid": "new", "jwk": stranger.ec_key(), "jku": "http://evil/keys", "x5u": "http://evil"}),
            TokenFault::UnknownKey,
        ),
    ] {
        let found = fault(fresh(&guard, &signer.sign(&head, &good)));
        assert_eq!(found, wanted, "{head}");
    }
}

/// Comes from another address each time, so that no attempt counts against the next.
fn fresh(guard: &Guard, token: &str) -> Result<Caller, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let random = getrandom::u32().unwrap();
    guard.admit(&headers, std::net::Ipv4Addr::from_bits(random).into())
}

#[tokio::test]
async fn without_a_provider_its_tokens_are_of_a_kind_that_nobody_takes() {
    let issuer = Issuer::new();
    let key = key::generate().unwrap();
    let desk = NewKey::new("desk", Role::Admin);
    let guard = Guard::new(KeySource::memory(&[(desk, key)])).unwrap();
    let found = fault(admit(&guard, &issuer.token(&json!({}))));
    assert_eq!(found, TokenFault::Algorithm);
}

#[tokio::test]
async fn outside_tokens_need_no_key_on_the_box_and_a_clock_that_is_set() {
    let issuer = Issuer::new();
    let (_, provider) = guard(&issuer, rules()).await;
    let guard = Guard::new(KeySource::memory(&[])).unwrap();
    let guard = guard.with_provider(Arc::clone(&provider));
    assert!(admit(&guard, &issuer.token(&json!({}))).is_ok());
    let claims = claims(&json!({}));
    let said = provider.understood(claims.as_object().unwrap(), 0).unwrap();
    let said = Arc::new(said);
    let in_an_hour = UnixMillis::now().0 + 3_600_000;
    for (wall, wanted) in [
        (1_000, TokenFault::ClockUnset),
        (in_an_hour, TokenFault::Expired),
    ] {
        let judged = Provider::judge(Arc::clone(&said), Instant::now(), UnixMillis(wall));
        assert_eq!(judged.unwrap_err(), wanted);
    }
}

#[tokio::test]
async fn a_withdrawn_key_ends_what_came_in_by_the_provider() {
    let issuer = Issuer::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, issuer.keys().to_string()).unwrap();
    let provider = by_file(&path, rules());
    provider.refresh().await.unwrap();
    let guard = Guard::new(KeySource::memory(&[])).unwrap();
    let guard = guard.with_provider(Arc::clone(&provider));
    let token = issuer.token(&json!({}));
    let caller = admit(&guard, &token).unwrap();
    assert!(provider.said(&token, Instant::now()).is_some());
    let more = json!({"keys": [issuer.ec_key(), issuer.ed_key(), {"kty": "OKP", "crv": "Ed25519", "kid": "x", "x": URL_SAFE_NO_PAD.encode([1; 32])}]});
    std::fs::write(&path, more.to_string()).unwrap();
    provider.refresh().await.unwrap();
    assert!(guard.is_in_force(&caller));
    let fewer = json!({"keys": [issuer.ed_key()]});
    std::fs::write(&path, fewer.to_string()).unwrap();
    provider.refresh().await.unwrap();
    assert!(!guard.is_in_force(&caller));
    assert_eq!(fault(admit(&guard, &token)), TokenFault::UnknownKey);
    // A set that cannot be used leaves the keys as they are.
    std::fs::write(&path, "{}").unwrap();
    assert!(provider.refresh().await.is_err());
    let other = issuer.sign(&json!({"alg": "EdDSA"}), &claims(&json!({})));
    assert!(admit(&guard, &other).is_ok());
}

/// A provider's server behind an in-memory pipe; counts how often it was asked.
#[derive(Debug)]
struct Server {
    answer: parking_lot::Mutex<String>,
    asked: std::sync::atomic::AtomicU32,
    serving: parking_lot::Mutex<tokio::task::JoinSet<()>>,
}

impl Dial for Server {
    fn dial(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        assert_eq!((&*host, port), ("idp.example", 8080));
        self.asked
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (ours, mut theirs) = duplex(256 << 10);
        let body = self.answer.lock().clone();
        self.serving.lock().spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if theirs.read_buf(&mut head).await.unwrap() == 0 {
                    return;
                }
            }
            assert!(head.starts_with(b"GET /keys?v=1 HTTP/1.1\r\n"));
            let answer = if body.is_empty() {
                "HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"
                    .to_owned()
            } else {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            };
            let _ = theirs.write_all(answer.as_bytes()).await;
        });
        Box::pin(async move {
            let stream: Box<dyn ByteStream> = Box::new(ours);
            Ok(stream)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_bring_one_fetch_a_minute_and_no_request_waits_for_it() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let server = Arc::new(Server {
        answer: old.keys().to_string().into(),
        asked: 0.into(),
        serving: parking_lot::Mutex::default(),
    });
    let asked = || server.asked.load(std::sync::atomic::Ordering::Relaxed);
    let dial: Arc<dyn Dial> = Arc::<Server>::clone(&server);
    let source = KeySetSource::Url {
        url: "http://idp.example:8080/keys?v=1".parse().unwrap(),
        ca_file: "/nonexistent".into(),
        dial,
    };
    let provider = Arc::new(Provider::new(rules(), source));
    let guard = Guard::new(KeySource::memory(&[])).unwrap();
    let guard = guard.with_provider(Arc::clone(&provider));
    let token = old.token(&json!({}));
    assert_eq!(fault(fresh(&guard, &token)), TokenFault::NoProviderKeys);
    let stop = Stop::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&provider).keep(stop.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(fresh(&guard, &token).is_ok());
    let unknown = old.sign(&json!({"alg": "ES256", "kid": "new"}), &claims(&json!({})));
    let before = asked();
    for _ in 0..600 {
        assert_eq!(fault(fresh(&guard, &unknown)), TokenFault::UnknownKey);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(
        (9..=10).contains(&(asked() - before)),
        "{}",
        asked() - before
    );
    // Whatever the provider answers, the keys known before hold, for a day.
    for answer in [String::new(), "garbage".to_owned(), " ".repeat(100_000)] {
        *server.answer.lock() = answer;
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert!(fresh(&guard, &token).is_ok());
    }
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert_eq!(fault(fresh(&guard, &token)), TokenFault::NoProviderKeys);
    *server.answer.lock() = new.keys().to_string();
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(fresh(&guard, &new.token(&json!({}))).is_ok());
    stop.cancel();
    assert_eq!(
        tasks.join_next().await.unwrap().unwrap(),
        "identity provider"
    );
}
