//! Tokens from an identity provider: issuer, audience, time and signature checked, a role given by the site's own list.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation};
use parking_lot::RwLock;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::checked::Checked;
use super::fetch::KeySetSource;
use super::key_set::KeySet;
use super::own::fault_of;
use super::{Head, TokenFault, backend};
use crate::base::clock::UnixMillis;
use crate::base::shutdown::Stop;
use crate::guard::{KeyId, Role};
use crate::limits::{PROVIDER_FETCH_MIN_SECS, PROVIDER_KEYS_AGE_MAX_SECS, PROVIDER_REFRESH_SECS};

/// How far two clocks may be apart, seconds.
const LEEWAY_SECS: f64 = 60.0;

/// Longest time for which something stays open on the strength of one token, seconds: a day.
const WATCHED_MAX_SECS: f64 = 86_400.0;

/// Before this the wall clock was not set yet: 2026-01-01, in milliseconds since 1970.
const CLOCK_IS_SET_FROM: UnixMillis = UnixMillis(1_767_225_600_000);

/// Longest name of a person that is taken, characters: as for keys.
const NAME_MAX: usize = 64;

/// What people from outside are called here, before their own name. No key may be called so.
pub const OUTSIDE_PREFIX: &str = "idp:";

/// What a site says of its identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRules {
    /// The issuer that every token must name, letter by letter.
    pub issuer: String,
    /// The audience that every token must be for.
    pub audience: String,
    /// The URL under which clients reach `/mcp`.
    pub resource: String,
    /// The claim with the person's name.
    pub name_claim: String,
    /// The claim whose values give roles; a dot leads into an object.
    pub role_claim: String,
    /// Values of that claim, and the role that each gives.
    pub roles: Vec<(String, Role)>,
}

/// A token of the provider whose signature and time are right.
#[derive(Debug)]
pub(in crate::guard) struct Outside {
    pub(in crate::guard) said: Arc<Said>,
    pub(in crate::guard) ends: Instant,
}

/// Somebody whom the provider vouches for, and when.
#[derive(Debug)]
pub(in crate::guard) struct Said {
    pub(in crate::guard) name: Arc<str>,
    pub(in crate::guard) who: KeyId,
    pub(in crate::guard) role: Role,
    /// From when until when, seconds since 1970.
    times: Times,
    /// How often a key had been withdrawn.
    pub(in crate::guard) generation: u32,
}

#[derive(Debug)]
struct Known {
    keys: KeySet,
    since: Instant,
    /// Counts the times that a key was withdrawn.
    generation: u32,
    /// Counts the times that the keys were read.
    readings: u32,
}

/// The identity provider of a site.
#[derive(Debug)]
pub struct Provider {
    rules: ProviderRules,
    source: KeySetSource,
    known: RwLock<Option<Arc<Known>>>,
    checked: Checked<Said>,
    /// Somebody came with a key that is not known.
    wanted: Notify,
}

impl Provider {
    /// A provider whose keys are not known yet: [`Provider::keep`] gets them.
    #[must_use]
    pub fn new(rules: ProviderRules, source: KeySetSource) -> Self {
        backend::install();
        Self {
            rules,
            source,
            known: RwLock::default(),
            checked: Checked::default(),
            wanted: Notify::new(),
        }
    }

    /// Forgets which tokens were checked. How many.
    pub(in crate::guard) fn forget_checked(&self) -> usize {
        self.checked.clear()
    }

    /// What the site says of it.
    #[must_use]
    pub const fn rules(&self) -> &ProviderRules {
        &self.rules
    }

    /// How often a key was withdrawn.
    pub(in crate::guard) fn withdrawals(&self) -> u32 {
        self.known
            .read()
            .as_ref()
            .map_or(0, |known| known.generation)
    }

    /// Whether what was let in under this count of withdrawals would be let in again.
    pub(in crate::guard) fn holds(&self, generation: u32) -> bool {
        let known = self.known.read();
        known
            .as_ref()
            .is_some_and(|known| known.generation == generation)
    }

    /// Keeps the keys current until `stop`; the owner spawns this once. No request ever waits for it.
    pub async fn keep(self: Arc<Self>, stop: Stop) -> &'static str {
        let mut last_fault = None;
        loop {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return "identity provider",
                read = self.refresh() => read,
            };
            let read_at = Instant::now();
            let pause = match read {
                Ok(()) => {
                    last_fault = None;
                    PROVIDER_REFRESH_SECS
                }
                Err(fault) => {
                    // Said once, not every minute.
                    if last_fault.as_ref() != Some(&fault) {
                        tracing::error!(
                            "The keys of the identity provider {} cannot be had: {fault}. Those known before hold for a day.",
                            self.rules.issuer
                        );
                    }
                    last_fault = Some(fault);
                    PROVIDER_FETCH_MIN_SECS
                }
            };
            let soonest = read_at + Duration::from_secs(PROVIDER_FETCH_MIN_SECS);
            tokio::select! {
                biased;
                () = stop.cancelled() => return "identity provider",
                () = sleep_until(read_at + Duration::from_secs(pause)) => {}
                () = async {
                    self.wanted.notified().await;
                    sleep_until(soonest).await;
                } => {}
            }
        }
    }

    async fn refresh(&self) -> Result<(), String> {
        let text = self
            .source
            .read()
            .await
            .map_err(|fault| fault.to_string())?;
        let keys = KeySet::parse(&text).map_err(|fault| fault.to_string())?;
        let mut known = self.known.write();
        let (is_kept, generation, readings) = known.as_ref().map_or((true, 0, 0), |old| {
            (keys.has_all_of(&old.keys), old.generation, old.readings)
        });
        if known.is_none() {
            tracing::info!(keys = keys.len(), issuer = %self.rules.issuer, "the keys of the identity provider are known");
        }
        *known = Some(Arc::new(Known {
            keys,
            since: Instant::now(),
            generation: generation.wrapping_add(u32::from(!is_kept)),
            readings: readings.wrapping_add(1),
        }));
        Ok(())
    }

    /// Reads a token: signature, issuer, audience, time, name and role.
    pub(super) fn read(
        &self,
        token: &str,
        head: &Head,
        algorithm: Algorithm,
        now: Instant,
        wall: UnixMillis,
    ) -> Result<Outside, TokenFault> {
        let Some(known) = self.current(now) else {
            self.wanted.notify_one();
            return Err(TokenFault::NoProviderKeys);
        };
        let Some(key) = known.keys.find(head.kid.as_deref(), algorithm) else {
            self.wanted.notify_one();
            return Err(TokenFault::UnknownKey);
        };
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let data = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation);
        let claims = data.map_err(|fault| fault_of(&fault))?.claims;
        let said = Arc::new(self.understood(&claims, known.generation)?);
        self.checked.keep(token, known.readings, &said);
        Self::judge(said, now, wall)
    }

    /// What a token says that was read before with the keys now known.
    pub(super) fn said(&self, token: &str, now: Instant) -> Option<Arc<Said>> {
        self.checked.find(token, self.current(now)?.readings)
    }

    /// The keys, if they are not too old.
    fn current(&self, now: Instant) -> Option<Arc<Known>> {
        let age_max = Duration::from_secs(PROVIDER_KEYS_AGE_MAX_SECS);
        let known = self.known.read().clone();
        known.filter(|known| now.duration_since(known.since) <= age_max)
    }

    fn understood(&self, claims: &Map<String, Value>, generation: u32) -> Result<Said, TokenFault> {
        let rules = &self.rules;
        if claims.get("iss").and_then(Value::as_str) != Some(&*rules.issuer) {
            return Err(TokenFault::Issuer);
        }
        let is_for_us = match claims.get("aud") {
            Some(Value::String(one)) => *one == rules.audience,
            Some(Value::Array(several)) => several.iter().any(|one| *one == *rules.audience),
            _ => false,
        };
        if !is_for_us {
            return Err(TokenFault::Audience);
        }
        let times = Times::of(claims)?;
        let subject = claims.get(&rules.name_claim).and_then(Value::as_str);
        let name = subject
            .filter(|name| {
                (1..=NAME_MAX).contains(&name.chars().count())
                    && !name.chars().any(char::is_control)
            })
            .ok_or(TokenFault::Name)?;
        let role = self.role(claims).ok_or(TokenFault::NoRole)?;
        Ok(Said {
            name: format!("{OUTSIDE_PREFIX}{name}").into(),
            who: KeyId::of_person(&rules.issuer, name),
            role,
            times,
            generation,
        })
    }

    /// Whether a token's time has come and is not over.
    pub(super) fn judge(
        said: Arc<Said>,
        now: Instant,
        wall: UnixMillis,
    ) -> Result<Outside, TokenFault> {
        let ends = now + said.times.remaining(wall)?;
        Ok(Outside { said, ends })
    }

    /// The strongest role that any value of the claim gives.
    fn role(&self, claims: &Map<String, Value>) -> Option<Role> {
        let whole = claims.get(&self.rules.role_claim);
        let value = whole.or_else(|| {
            let mut parts = self.rules.role_claim.split('.');
            let first = claims.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        })?;
        let words: Vec<&str> = match value {
            Value::String(text) => text
                .split_ascii_whitespace()
                .chain([text.as_str()])
                .collect(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            _ => return None,
        };
        let given = self.rules.roles.iter();
        given
            .filter(|(value, _)| words.contains(&value.as_str()))
            .map(|(_, role)| *role)
            .max()
    }
}

/// From when until when a token is good, seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Times {
    from: f64,
    until: f64,
}

impl Times {
    fn of(claims: &Map<String, Value>) -> Result<Self, TokenFault> {
        let number = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(TokenFault::Unreadable),
        };
        let from = |name| Ok(number(name)?.unwrap_or(f64::MIN));
        Ok(Self {
            from: f64::max(from("nbf")?, from("iat")?),
            until: number("exp")?.ok_or(TokenFault::Unreadable)?,
        })
    }

    /// How long it lasts still, by the wall clock: nothing else tells time between two machines.
    fn remaining(self, wall: UnixMillis) -> Result<Duration, TokenFault> {
        if wall < CLOCK_IS_SET_FROM {
            return Err(TokenFault::ClockUnset);
        }
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "milliseconds of today fit a double exactly"
        )]
        let wall = wall.0 as f64 / 1000.0;
        if wall + LEEWAY_SECS < self.from {
            return Err(TokenFault::Early);
        }
        let remaining = (self.until + LEEWAY_SECS - wall).min(WATCHED_MAX_SECS);
        Duration::try_from_secs_f64(remaining)
            .ok()
            .filter(|remaining| !remaining.is_zero())
            .ok_or(TokenFault::Expired)
    }
}

impl KeyId {
    /// Tells people of a provider apart, and from keys.
    fn of_person(issuer: &str, name: &str) -> Self {
        let whole = digest(&SHA256, format!("{issuer}\0{name}").as_bytes());
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(whole.as_ref()) {
            *to = *from;
        }
        Self(half)
    }
}

#[cfg(test)]
mod tests;
