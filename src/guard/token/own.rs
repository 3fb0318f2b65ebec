//! Tokens of this server's own: made from a key, judged by the clock that cannot be set.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::RwLock;
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::checked::Checked;
use super::secret::{self, SecretFile, SecretFileError};
use super::{TokenFault, backend};
use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::guard::{KeyId, Role, Scope, Scopes};
use crate::limits::TOKEN_LIFE_MAX_SECS;

/// Who makes the tokens, and whom they are for: this server and nobody else.
const SELF: &str = "rackhand";

/// Sets this use of the secret apart from signing.
const FINGERPRINT: &[u8] = b"rackhand key fingerprint 1";

/// How long tokens last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTimes {
    /// Each of them.
    pub life: Duration,
    /// All that come from one showing of a key, one refreshed from the other.
    pub chain: Duration,
}

impl Default for TokenTimes {
    fn default() -> Self {
        Self {
            life: Duration::from_hours(1),
            chain: Duration::from_hours(24),
        }
    }
}

/// A token that was just made.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The token itself, for the one answer that tells it.
    pub token: Secret,
    /// How long it lasts.
    pub life: Duration,
    /// How long refreshing can go on after that, without the key.
    pub left: Duration,
    /// What it may do.
    pub scopes: Scopes,
    /// The role that it has.
    pub role: Role,
}

/// Whose token is made, and what for.
#[derive(Debug, Clone, Copy)]
pub(in crate::guard) struct Subject<'a> {
    pub(in crate::guard) name: &'a str,
    pub(in crate::guard) role: Role,
    pub(in crate::guard) scopes: Scopes,
    pub(in crate::guard) key: KeyId,
    /// Longest life that is wanted.
    pub(in crate::guard) life: Duration,
    /// What is left of the time since the key was shown.
    pub(in crate::guard) chain: Duration,
}

/// A token whose signature and time are right. Whether its key is still in force is for the guard to see.
#[derive(Debug)]
pub(in crate::guard) struct Own {
    pub(in crate::guard) said: Arc<Said>,
    pub(in crate::guard) ends: Instant,
}

/// What a token of ours says.
#[derive(Debug)]
pub(in crate::guard) struct Said {
    pub(in crate::guard) name: String,
    pub(in crate::guard) role: Role,
    pub(in crate::guard) scopes: Scopes,
    /// What is left for refreshing when it ends.
    pub(in crate::guard) left: Duration,
    /// From when until when, seconds since 1970, and how long.
    begins: u64,
    ends: u64,
    life: Duration,
    /// When it was made, counted from the beginning of this run, if this run made it.
    made: Option<Duration>,
    fingerprint: [u8; 16],
    signing: Arc<Signing>,
}

impl Said {
    pub(in crate::guard) fn generation(&self) -> Generation {
        self.signing.generation
    }

    /// Whether this key made it.
    pub(in crate::guard) fn is_of(&self, key: KeyId) -> bool {
        self.signing
            .fingerprint(key)
            .ct_eq(&self.fingerprint)
            .into()
    }
}

/// Counts the secrets of this run: what was made under an earlier one has ended.
pub(in crate::guard) type Generation = u32;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    /// Seconds since 1970, as are `nbf` and `exp`.
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    role: Role,
    scopes: Vec<Scope>,
    /// Fingerprint of the key, under the secret: nothing can be learnt of the key from it.
    key: String,
    /// The run of the process that made it, and the milliseconds since that run began.
    run: String,
    at: u64,
    /// Seconds left for refreshing when it ends.
    left: u64,
}

struct Signing {
    encoding: EncodingKey,
    decoding: DecodingKey,
    fingerprints: hmac::Key,
    generation: Generation,
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signing").finish_non_exhaustive()
    }
}

impl Signing {
    fn new(secret: &Secret, generation: Generation) -> Self {
        let secret = secret.expose().as_bytes();
        let whole = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let apart = hmac::sign(&whole, FINGERPRINT);
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            fingerprints: hmac::Key::new(hmac::HMAC_SHA256, apart.as_ref()),
            generation,
        }
    }

    fn fingerprint(&self, key: KeyId) -> [u8; 16] {
        let whole = hmac::sign(&self.fingerprints, &key.0);
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(whole.as_ref()) {
            *to = *from;
        }
        half
    }
}

/// Makes and reads the tokens of this server.
#[derive(Debug)]
pub struct Tokens {
    /// None only where the operating system has no randomness: then no token is made and none is taken.
    signing: RwLock<Option<Arc<Signing>>>,
    file: Option<SecretFile>,
    validation: Validation,
    times: TokenTimes,
    /// Tells this run of the process from any other.
    run: String,
    started: Instant,
    checked: Checked<Said>,
}

impl Tokens {
    /// Tokens under a secret that nobody keeps: they end with the process.
    #[must_use]
    pub fn passing(times: TokenTimes) -> Self {
        Self::under(secret::random().ok(), times)
    }

    /// Tokens under a secret that somebody chose, of at least [`TOKEN_SECRET_MIN_BYTES`](crate::limits::TOKEN_SECRET_MIN_BYTES).
    #[must_use]
    pub fn chosen(secret: &Secret, times: TokenTimes) -> Self {
        Self::under(Some(secret.clone()), times)
    }

    /// Tokens under the secret in a file, which is made if there is none or it is damaged. If it cannot be had, the tokens end with the
    /// process, and the fault says why.
    #[must_use]
    pub fn kept(file: SecretFile, times: TokenTimes) -> (Self, Option<SecretFileError>) {
        let read = match file.read() {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) | Err(SecretFileError::Damaged { .. }) => file.make(),
            Err(fault) => Err(fault),
        };
        let (secret, fault) = match read {
            Ok(secret) => (Some(secret), None),
            Err(fault) => (secret::random().ok(), Some(fault)),
        };
        let mut tokens = Self::under(secret, times);
        tokens.file = Some(file);
        (tokens, fault)
    }

    fn under(secret: Option<Secret>, times: TokenTimes) -> Self {
        backend::install();
        let mut validation = Validation::new(Algorithm::HS256);
        // Claims are looked at here, by the clock of this module.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self {
            signing: RwLock::new(secret.map(|secret| Arc::new(Signing::new(&secret, 0)))),
            file: None,
            validation,
            times,
            run: secret::random().map_or_else(
                |_| String::new(),
                |random| random.expose().chars().take(16).collect(),
            ),
            started: Instant::now(),
            checked: Checked::default(),
        }
    }

    /// Forgets which tokens were checked. How many.
    pub(in crate::guard) fn forget_checked(&self) -> usize {
        self.checked.clear()
    }

    /// How long tokens last here.
    pub(in crate::guard) const fn times(&self) -> TokenTimes {
        self.times
    }

    /// The secret now in use: what was made under an earlier one has ended.
    pub(in crate::guard) fn generation(&self) -> Option<Generation> {
        self.signing
            .read()
            .as_ref()
            .map(|signing| signing.generation)
    }

    /// The file of the secret, if there is one.
    pub(in crate::guard) const fn file(&self) -> Option<&SecretFile> {
        self.file.as_ref()
    }

    /// Reads the secret again, after its file changed. Answers whether it is another one.
    pub(in crate::guard) fn reload(&self) -> Result<bool, SecretFileError> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        // A file that is gone leaves the secret as it is: losing it must not cost anybody anything.
        let Some(secret) = file.read()? else {
            return Ok(false);
        };
        let mut signing = self.signing.write();
        let generation = signing.as_ref().map_or(0, |old| old.generation);
        let next = Signing::new(&secret, generation.wrapping_add(1));
        let probe = KeyId([0; 16]);
        let is_same = signing
            .as_ref()
            .is_some_and(|old| old.fingerprint(probe) == next.fingerprint(probe));
        if !is_same {
            *signing = Some(Arc::new(next));
        }
        Ok(!is_same)
    }

    /// Makes a token. `None` if it would last no time, or there is no secret.
    pub(in crate::guard) fn mint(
        &self,
        subject: &Subject<'_>,
        now: Instant,
        wall: UnixMillis,
    ) -> Option<Minted> {
        let signing = self.signing.read().clone()?;
        let life = subject.life.min(self.times.life).min(subject.chain);
        let life = Duration::from_secs(life.as_secs());
        if life.is_zero() {
            return None;
        }
        let left = subject.chain.checked_sub(life)?;
        let iat = wall.0 / 1000;
        let since = now.saturating_duration_since(self.started);
        let claims = Claims {
            iss: SELF.to_owned(),
            sub: subject.name.to_owned(),
            aud: SELF.to_owned(),
            iat,
            nbf: iat,
            exp: iat.checked_add(life.as_secs())?,
            jti: secret::random().ok()?.expose().chars().take(22).collect(),
            role: subject.role,
            scopes: subject.scopes.iter().collect(),
            key: URL_SAFE_NO_PAD.encode(signing.fingerprint(subject.key)),
            run: self.run.clone(),
            at: u64::try_from(since.as_millis()).ok()?,
            left: left.as_secs(),
        };
        let token = jsonwebtoken::encode(&Header::default(), &claims, &signing.encoding).ok()?;
        Some(Minted {
            token: Secret::new(&token),
            life,
            left,
            scopes: subject.scopes,
            role: subject.role,
        })
    }

    /// Reads a token: signature, maker, time.
    pub(in crate::guard) fn read(
        &self,
        token: &str,
        now: Instant,
        wall: UnixMillis,
    ) -> Result<Own, TokenFault> {
        let signing = self.signing.read().clone().ok_or(TokenFault::Foreign)?;
        let generation = signing.generation;
        let data = jsonwebtoken::decode::<Claims>(token, &signing.decoding, &self.validation);
        let claims = data.map_err(|fault| fault_of(&fault))?.claims;
        let said = self
            .understood(claims, signing)
            .ok_or(TokenFault::Foreign)?;
        let said = Arc::new(said);
        self.checked.keep(token, generation, &said);
        self.judge(said, now, wall)
    }

    /// What a token says that was read before under the secret now in use.
    pub(in crate::guard) fn said(&self, token: &str) -> Option<Arc<Said>> {
        self.checked.find(token, self.generation()?)
    }

    fn understood(&self, claims: Claims, signing: Arc<Signing>) -> Option<Said> {
        let life = claims
            .exp
            .checked_sub(claims.iat)
            .filter(|life| *life <= TOKEN_LIFE_MAX_SECS)?;
        let fingerprint = URL_SAFE_NO_PAD.decode(&claims.key).ok()?;
        (claims.iss == SELF && claims.aud == SELF).then_some(())?;
        Some(Said {
            name: claims.sub,
            role: claims.role,
            scopes: Scopes::of(&claims.scopes),
            left: Duration::from_secs(claims.left),
            begins: claims.nbf,
            ends: claims.exp,
            life: Duration::from_secs(life),
            made: (claims.run == self.run).then(|| Duration::from_millis(claims.at)),
            fingerprint: fingerprint.try_into().ok()?,
            signing,
        })
    }

    /// Whether a token's time has come and is not over.
    ///
    /// One of this run is judged by the monotonic clock alone, whatever the wall clock did since. One of a former run can only be
    /// judged by the wall clock; but it was made before this run began, so that it never lasts longer into it than its whole life.
    pub(super) fn judge(
        &self,
        said: Arc<Said>,
        now: Instant,
        wall: UnixMillis,
    ) -> Result<Own, TokenFault> {
        let up = now.saturating_duration_since(self.started);
        let remaining = if let Some(made) = said.made {
            let age = up.checked_sub(made).ok_or(TokenFault::Early)?;
            said.life.checked_sub(age)
        } else {
            let wall = Duration::from_millis(wall.0);
            if wall < Duration::from_secs(said.begins) {
                return Err(TokenFault::Early);
            }
            let by_wall = Duration::from_secs(said.ends).checked_sub(wall);
            by_wall
                .zip(said.life.checked_sub(up))
                .map(|(a, b)| a.min(b))
        };
        let remaining = remaining
            .filter(|remaining| !remaining.is_zero())
            .ok_or(TokenFault::Expired)?;
        Ok(Own {
            said,
            ends: now + remaining,
        })
    }
}

pub(super) fn fault_of(fault: &jsonwebtoken::errors::Error) -> TokenFault {
    use jsonwebtoken::errors::ErrorKind;
    match fault.kind() {
        ErrorKind::InvalidSignature => TokenFault::Foreign,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenFault::Algorithm,
        _ => TokenFault::Unreadable,
    }
}
