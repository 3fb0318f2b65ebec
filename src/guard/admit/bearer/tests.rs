use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderMap;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::base::secret::Secret;
use crate::guard::keyfile::{KeyFile, NewKey};
use crate::guard::token::SecretFile;
use crate::guard::{KeySource, Role};
use crate::limits::TOKEN_MAX_BYTES;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 20));

const CHOSEN: &str = "0123456789abcdef0123456789abcdef";

/// A box with two keys in a file, and tokens under a secret in another.
struct Desk {
    folder: tempfile::TempDir,
    guard: Guard,
    keys: KeyFile,
    key: Secret,
}

fn new(name: &str, role: Role) -> NewKey {
    NewKey::new(name, role)
}

fn times(life: u64, chain: u64) -> TokenTimes {
    TokenTimes {
        life: Duration::from_secs(life),
        chain: Duration::from_secs(chain),
    }
}

fn bearer(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {text}").parse().unwrap());
    headers
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFile::new(folder.path().join("keys.json"));
        let key = keys.create(&new("desk", Role::Operator)).unwrap();
        keys.create(&new("other", Role::Admin)).unwrap();
        let guard = begin(&folder);
        Self {
            folder,
            guard,
            keys,
            key,
        }
    }

    fn secret_file(&self) -> SecretFile {
        SecretFile::new(self.folder.path().join("token-secret.json"))
    }

    fn by_key(&self) -> Caller {
        self.admit(self.key.expose()).unwrap()
    }

    fn admit(&self, text: &str) -> Result<Caller, Refusal> {
        self.guard.admit(&bearer(text), PEER)
    }

    fn minted(&self) -> Minted {
        self.guard.mint(&self.by_key(), &Wish::default()).unwrap()
    }

    /// The restart of the process: the same files, and nothing else.
    fn restarted(self) -> Self {
        let guard = begin(&self.folder);
        Self { guard, ..self }
    }
}

fn begin(folder: &tempfile::TempDir) -> Guard {
    let keys = KeyFile::new(folder.path().join("keys.json"));
    let secret = SecretFile::new(folder.path().join("token-secret.json"));
    let (tokens, fault) = Tokens::kept(secret, times(3_600, 7_200));
    assert!(fault.is_none());
    Guard::new(KeySource::File(keys))
        .unwrap()
        .with_tokens(tokens)
}

fn fault(outcome: Result<Caller, Refusal>) -> TokenFault {
    match outcome {
        Err(Refusal::Token(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn claims_of(token: &Minted) -> Value {
    let claims = token.token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// A token under the desk's own secret, with these claims changed.
fn forged_inside(desk: &Desk, changes: &Value) -> String {
    let secret = std::fs::read(desk.secret_file().path()).unwrap();
    let secret: Value = serde_json::from_slice(&secret).unwrap();
    let mut claims = claims_of(&desk.minted());
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_secret(secret["secret"].as_str().unwrap().as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

#[test]
fn a_token_is_its_key_for_an_hour_in_every_header() {
    let desk = Desk::new();
    let minted = desk.minted();
    assert_eq!(
        (minted.life.as_secs(), minted.left.as_secs()),
        (3_600, 3_600)
    );
    let by_key = desk.by_key();
    let token = minted.token.expose();
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("authorization", format!("ApiKey {token}")),
        ("x-api-key", token.to_owned()),
        ("x-mcp-key", token.to_owned()),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let caller = desk.guard.admit(&headers, PEER).unwrap();
        assert_eq!(
            (&caller.name, caller.role, caller.scopes),
            (&by_key.name, by_key.role, by_key.scopes)
        );
        assert_eq!(caller.reach, by_key.reach);
        assert_eq!(caller.credential.holder(), by_key.credential.holder());
        assert!(desk.guard.is_in_force(&caller));
    }
}

#[test]
fn a_token_holds_every_claim_and_nothing_of_the_key() {
    let desk = Desk::new();
    let minted = desk.minted();
    let claims = claims_of(&minted);
    for name in [
        "iss", "sub", "aud", "iat", "nbf", "exp", "jti", "role", "scopes", "key",
    ] {
        assert!(!claims[name].is_null(), "{name}: {claims}");
    }
    assert_eq!(claims["scopes"], json!(["read", "diagnose", "operate"]));
    assert_ne!(claims["jti"], claims_of(&desk.minted())["jti"]);
    let kept = std::fs::read_to_string(desk.keys.path()).unwrap();
    let hash = kept
        .split("sha256\": \"")
        .nth(1)
        .unwrap()
        .get(..32)
        .unwrap();
    let fingerprint = URL_SAFE_NO_PAD
        .decode(claims["key"].as_str().unwrap())
        .unwrap();
    let fingerprint = fingerprint
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_ne!(fingerprint, hash);
}

#[test]
fn a_token_has_what_was_wished_for_and_never_more_than_its_maker() {
    let desk = Desk::new();
    let caller = desk.by_key();
    let read = Scopes::of(&[Scope::Read]);
    let wish = Wish {
        life: Some(Duration::from_mins(1)),
        scopes: Some(read),
    };
    let small = desk.guard.mint(&caller, &wish).unwrap();
    assert_eq!(small.life.as_secs(), 60);
    let caller = desk.admit(small.token.expose()).unwrap();
    assert_eq!(caller.scopes, read);
    let more = Wish {
        scopes: Some(Scopes::of(&[Scope::Read, Scope::Operate])),
        ..Wish::default()
    };
    assert_eq!(
        desk.guard.mint(&caller, &more).unwrap_err(),
        MintFault::Lacks(Scope::Operate)
    );
    let long = Wish {
        life: Some(Duration::from_secs(99_999)),
        ..Wish::default()
    };
    let long = desk.guard.mint(&caller, &long).unwrap();
    assert_eq!((long.life.as_secs(), long.scopes), (3_600, read));
}

#[tokio::test(start_paused = true)]
async fn refreshing_goes_on_for_as_long_as_one_showing_of_the_key_allows() {
    let desk = Desk::new();
    let mut minted = desk.minted();
    let began = Instant::now();
    let end = loop {
        tokio::time::sleep(Duration::from_secs(1_700)).await;
        let caller = desk.admit(minted.token.expose());
        match caller.map(|caller| desk.guard.mint(&caller, &Wish::default())) {
            Ok(Ok(next)) => minted = next,
            other => break other,
        }
    };
    assert_eq!(fault(end.map(|_| panic!())), TokenFault::Expired);
    let lasted = began.elapsed().as_secs();
    assert!((7_200..7_200 + 1_700).contains(&lasted), "{lasted}");
    assert_eq!(minted.left, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_this_run_is_judged_by_the_clock_that_cannot_be_set() {
    let desk = Desk::new();
    // Whatever the wall clock said when it was made, or says now.
    let token = forged_inside(&desk, &json!({"iat": 5, "nbf": 5, "exp": 3_605}));
    tokio::time::sleep(Duration::from_secs(3_598)).await;
    assert!(desk.admit(&token).is_ok());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fault(desk.admit(&token)), TokenFault::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_former_run_is_judged_by_the_wall_clock_and_lasts_no_longer_than_its_life() {
    let desk = Desk::new();
    let token = desk.minted().token.expose().to_owned();
    let desk = desk.restarted();
    assert!(desk.admit(&token).is_ok());
    let wall = UnixMillis::now().0 / 1000;
    for (iat, exp, wanted) in [
        (wall - 4_000, wall - 400, TokenFault::Expired),
        (wall + 400, wall + 4_000, TokenFault::Early),
        (wall - 10, wall + 86_500, TokenFault::Foreign),
        (wall + 10, wall, TokenFault::Foreign),
    ] {
        let changes = json!({"run": "another", "iat": iat, "nbf": iat, "exp": exp});
        let token = forged_inside(&desk, &changes);
        assert_eq!(fault(desk.admit(&token)), wanted, "{changes}");
    }
    // The wall clock stands still, as one that nobody sets; the process does not.
    tokio::time::sleep(Duration::from_secs(3_601)).await;
    assert_eq!(fault(desk.admit(&token)), TokenFault::Expired);
}

#[test]
fn a_revoked_key_takes_its_tokens_along() {
    let desk = Desk::new();
    let token = desk.minted().token;
    let caller = desk.admit(token.expose()).unwrap();
    desk.keys.revoke("desk").unwrap();
    desk.guard.reload_if_changed().unwrap();
    assert_eq!(fault(desk.admit(token.expose())), TokenFault::KeyEnded);
    assert!(!desk.guard.is_in_force(&caller));
    // Another key of the same name is another key.
    desk.keys.create(&new("desk", Role::Admin)).unwrap();
    desk.guard.reload_if_changed().unwrap();
    assert_eq!(fault(desk.admit(token.expose())), TokenFault::KeyEnded);
    assert!(!desk.guard.is_in_force(&caller));
}

#[test]
fn a_token_loses_the_rights_that_its_key_loses() {
    let desk = Desk::new();
    let token = desk.minted().token;
    let caller = desk.admit(token.expose()).unwrap();
    let text = std::fs::read_to_string(desk.keys.path()).unwrap();
    std::fs::write(desk.keys.path(), text.replace("\"operator\"", "\"viewer\"")).unwrap();
    desk.guard.reload_if_changed().unwrap();
    assert!(!desk.guard.is_in_force(&caller));
    let caller = desk.admit(token.expose()).unwrap();
    assert_eq!(
        (caller.role, caller.scopes),
        (Role::Viewer, Role::Viewer.scopes())
    );
    assert!(desk.guard.is_in_force(&caller));
}

#[test]
fn another_secret_ends_all_tokens_at_once() {
    let desk = Desk::new();
    let token = desk.minted().token;
    let caller = desk.admit(token.expose()).unwrap();
    let mut changes = desk.guard.changes();
    changes.mark_unchanged();
    desk.guard.reload_secret_if_changed();
    assert!(!changes.has_changed().unwrap() && desk.guard.is_in_force(&caller));
    desk.secret_file().rotate().unwrap();
    desk.guard.reload_secret_if_changed();
    assert!(changes.has_changed().unwrap() && !desk.guard.is_in_force(&caller));
    assert_eq!(fault(desk.admit(token.expose())), TokenFault::Foreign);
    assert!(desk.admit(desk.minted().token.expose()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_checked_before_is_judged_anew_each_time() {
    let desk = Desk::new();
    let is_checked = |token: &Secret| desk.guard.bearers.tokens.said(token.expose()).is_some();
    let late = desk.minted().token;
    assert!(!is_checked(&late));
    assert!(desk.admit(late.expose()).is_ok() && is_checked(&late));
    tokio::time::sleep(Duration::from_secs(3_601)).await;
    assert!(is_checked(&late));
    assert_eq!(fault(desk.admit(late.expose())), TokenFault::Expired);
    let orphan = desk.minted().token;
    assert!(desk.admit(orphan.expose()).is_ok() && is_checked(&orphan));
    desk.keys.revoke("desk").unwrap();
    desk.guard.reload_if_changed().unwrap();
    assert!(is_checked(&orphan));
    assert_eq!(fault(desk.admit(orphan.expose())), TokenFault::KeyEnded);
    desk.secret_file().rotate().unwrap();
    desk.guard.reload_secret_if_changed();
    assert!(!is_checked(&orphan));
    assert_eq!(fault(desk.admit(orphan.expose())), TokenFault::Foreign);
    // What is no good is looked at each time, and counts each time.
    assert!(!is_checked(&orphan));
}

#[test]
fn the_loss_of_the_secret_costs_a_running_box_nothing() {
    let desk = Desk::new();
    let token = desk.minted().token;
    std::fs::remove_file(desk.secret_file().path()).unwrap();
    desk.guard.reload_secret_if_changed();
    assert!(desk.admit(token.expose()).is_ok());
    let desk = desk.restarted();
    assert_eq!(fault(desk.admit(token.expose())), TokenFault::Foreign);
    assert!(desk.admit(desk.minted().token.expose()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_token_is_told_to_what_is_open_on_its_strength() {
    let desk = Desk::new();
    let caller = desk.admit(desk.minted().token.expose()).unwrap();
    let mut changes = desk.guard.changes();
    changes.mark_unchanged();
    tokio::time::sleep(Duration::from_secs(3_590)).await;
    desk.guard.tell_of_token_ends();
    assert!(!changes.has_changed().unwrap() && desk.guard.is_in_force(&caller));
    tokio::time::sleep(Duration::from_secs(20)).await;
    desk.guard.tell_of_token_ends();
    assert!(changes.has_changed().unwrap() && !desk.guard.is_in_force(&caller));
}

#[test]
fn no_trick_with_algorithms_and_heads_makes_a_token() {
    let desk = Desk::new();
    let good = desk.minted();
    let mut parts = good.token.expose().split('.');
    let (head, claims, signature) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let with_head = |head: Value| format!("{}.{claims}.{signature}", part(&head));
    for (token, wanted) in [
        (with_head(json!({"alg": "none"})), TokenFault::Algorithm),
        (
            with_head(json!({"alg": "None", "typ": "JWT"})),
            TokenFault::Algorithm,
        ),
        (with_head(json!({"alg": "hs256"})), TokenFault::Algorithm),
        (with_head(json!({"alg": "HS384"})), TokenFault::Algorithm),
        (with_head(json!({"alg": "PS256"})), TokenFault::Algorithm),
        (with_head(json!({"alg": "RS256"})), TokenFault::Algorithm),
        (with_head(json!({"alg": ["HS256"]})), TokenFault::Unreadable),
        (with_head(json!({"typ": "JWT"})), TokenFault::Unreadable),
        (
            with_head(json!({"alg": "HS256", "crit": ["exp"]})),
            TokenFault::Algorithm,
        ),
        (
            with_head(json!({"alg": "HS256", "b64": false, "crit": ["b64"]})),
            TokenFault::Algorithm,
        ),
        (
            with_head(json!({"alg": "HS256", "kid": "../../../dev/null"})),
            TokenFault::Foreign,
        ),
        (
            with_head(json!({"alg": "HS256", "kid": "' OR 1=1 --"})),
            TokenFault::Foreign,
        ),
        (
            with_head(json!({"alg": "HS256", "jku": "http://evil/keys"})),
            TokenFault::Foreign,
        ),
        (
            with_head(json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}})),
            TokenFault::Foreign,
        ),
        (
            with_head(json!({"alg": "HS256", "kid": "k".repeat(4_000)})),
            TokenFault::Unreadable,
        ),
        (format!("{head}.{claims}."), TokenFault::Foreign),
        (
            format!("{head}.{claims}.{}", "A".repeat(43)),
            TokenFault::Foreign,
        ),
        (format!("{head}..{signature}"), TokenFault::Foreign),
        (
            format!("{head}.{claims}.{signature}="),
            TokenFault::Unreadable,
        ),
        (format!("eyJ.{claims}.{signature}"), TokenFault::Unreadable),
        (
            format!("eyJhbGci\u{7f}.{claims}.{signature}").replace('\u{7f}', "!"),
            TokenFault::Unreadable,
        ),
    ] {
        let found = fault(Desk::admit(&desk, &token));
        assert_eq!(found, wanted, "{token}");
        // A fresh table of failures for each.
        *desk.guard.throttle.lock() = super::super::Throttle::default();
    }
    let two = format!("{head}.{}.{signature}", part(&json!({"sub": "other"})));
    assert_eq!(fault(desk.admit(&two)), TokenFault::Foreign);
    let huge = format!("{head}.{}.{signature}", "A".repeat(TOKEN_MAX_BYTES));
    assert_eq!(desk.admit(&huge), Err(Refusal::Unreadable));
    assert!(desk.admit(good.token.expose()).is_ok());
}

#[test]
fn claims_that_this_server_does_not_make_are_refused_under_its_own_secret_too() {
    let desk = Desk::new();
    for (changes, wanted) in [
        (json!({"iss": "elsewhere"}), TokenFault::Foreign),
        (json!({"aud": "elsewhere"}), TokenFault::Foreign),
        (json!({"aud": ["rackhand"]}), TokenFault::Unreadable),
        (json!({"sub": "other"}), TokenFault::KeyEnded),
        (json!({"sub": "nobody"}), TokenFault::KeyEnded),
        (
            json!({"key": "AAAAAAAAAAAAAAAAAAAAAA"}),
            TokenFault::KeyEnded,
        ),
        (json!({"key": "short"}), TokenFault::Foreign),
        (json!({"role": "king"}), TokenFault::Unreadable),
        (json!({"exp": "soon"}), TokenFault::Unreadable),
        (json!({"exp": -1}), TokenFault::Unreadable),
        (json!({"exp": u64::MAX}), TokenFault::Foreign),
        (json!({"at": u64::MAX}), TokenFault::Early),
        (json!({"nbf": null}), TokenFault::Unreadable),
        (json!({"admin": true}), TokenFault::Unreadable),
    ] {
        let token = forged_inside(&desk, &changes);
        assert_eq!(fault(desk.admit(&token)), wanted, "{changes}");
        *desk.guard.throttle.lock() = super::super::Throttle::default();
    }
    let stronger = json!({"role": "admin", "scopes": ["read", "admin"]});
    let caller = desk.admit(&forged_inside(&desk, &stronger)).unwrap();
    assert_eq!(caller.role, Role::Operator);
    assert_eq!(caller.scopes, Scopes::of(&[Scope::Read]));
}

#[test]
fn a_shared_secret_does_not_carry_a_token_to_a_box_without_its_key() {
    let tokens = || Tokens::chosen(&Secret::new(CHOSEN), TokenTimes::default());
    let (here, there) = (Desk::new(), Desk::new());
    let here_guard = begin(&here.folder).with_tokens(tokens());
    let there_guard = begin(&there.folder).with_tokens(tokens());
    let caller = here_guard.admit(&bearer(here.key.expose()), PEER).unwrap();
    let minted = here_guard.mint(&caller, &Wish::default()).unwrap();
    let headers = bearer(minted.token.expose());
    assert!(here_guard.admit(&headers, PEER).is_ok());
    assert_eq!(
        fault(there_guard.admit(&headers, PEER)),
        TokenFault::KeyEnded
    );
}

#[test]
fn forged_tokens_count_as_failed_logins_and_old_ones_do_not() {
    let desk = Desk::new();
    let old = forged_inside(&desk, &json!({"iat": 5, "nbf": 5, "exp": 5}));
    let good = desk.minted().token;
    for _ in 0..20 {
        assert_eq!(fault(desk.admit(&old)), TokenFault::Expired);
    }
    let forged = format!("{}x", good.expose());
    for _ in 0..20 {
        let _ = desk.admit(&forged);
    }
    assert!(matches!(
        desk.admit(&forged),
        Err(Refusal::Throttled { .. })
    ));
    // Who has a good one is not kept out by others at the same address.
    assert!(desk.admit(good.expose()).is_ok());
}

#[test]
fn what_makes_no_token_is_told_so() {
    let desk = Desk::new();
    let local = Caller::local("local", Role::Admin);
    let fault = desk.guard.mint(&local, &Wish::default()).unwrap_err();
    assert_eq!(fault, MintFault::NotByKey);
    assert!(desk.guard.is_in_force(&desk.by_key()));
    let _shared: Arc<Guard> = Arc::new(desk.guard);
}

#[test]
fn tokens_of_a_key_that_was_rotated_go_on_with_it_and_end_with_it() {
    let desk = Desk::new();
    let minted = desk.minted();
    let old = desk.keys.rotate("desk", 7, UnixMillis::now()).unwrap().old;
    desk.guard.reload().unwrap();
    let caller = desk.admit(minted.token.expose()).unwrap();
    assert_eq!(Some(&*caller.name), old.as_deref());
    assert!(desk.guard.is_in_force(&caller));
    let next = desk.guard.mint(&caller, &Wish::default()).unwrap();
    assert!(desk.admit(next.token.expose()).is_ok());
    desk.keys.revoke(&caller.name).unwrap();
    desk.guard.reload().unwrap();
    assert!(!desk.guard.is_in_force(&caller));
    for token in [minted, next] {
        let ended = desk.admit(token.token.expose());
        assert_eq!(ended, Err(Refusal::Token(TokenFault::KeyEnded)));
    }
}
