//! Bearer tokens at the guard: a token is worth what it says, and never more than its key is worth now.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Guard, Refusal, Table};
use crate::base::clock::UnixMillis;
use crate::guard::keyfile::{self, Stamp};
use crate::guard::token::{
    self, Ends, Minted, Outside, Own, Provider, Read, Subject, TokenFault, TokenTimes, Tokens, Wall,
};
use crate::guard::{Caller, CredentialId, KeyId, Reach, Scope, Scopes, TokenId};

/// What the guard keeps for tokens.
#[derive(Debug)]
pub(super) struct Bearers {
    tokens: Tokens,
    /// The state of the secret's file that was read last, and whether it was told that a later one cannot be read.
    secret_seen: Mutex<(Stamp, bool)>,
    provider: Option<Arc<Provider>>,
    ends: Mutex<Ends>,
    /// How often the provider had withdrawn a key at the last look.
    withdrawals: AtomicU32,
    began: Instant,
}

impl Bearers {
    /// Forgets which tokens were checked. How many.
    pub(super) fn forget_checked(&self) -> usize {
        let others = self.provider.as_ref();
        self.tokens.forget_checked() + others.map_or(0, |provider| provider.forget_checked())
    }

    pub(super) fn new(tokens: Tokens) -> Self {
        let seen = tokens.file().map(|file| Stamp::of(file.path()));
        Self {
            tokens,
            secret_seen: Mutex::new((seen.unwrap_or_default(), false)),
            provider: None,
            ends: Mutex::new(Ends::new(Instant::now())),
            withdrawals: AtomicU32::new(0),
            began: Instant::now(),
        }
    }

    /// Notes that a token was let in, and what matters of it from then on.
    fn credential(&self, key: KeyId, ends: Instant, left: u32, generation: u32) -> TokenId {
        self.ends.lock().note(ends);
        let since_began = ends.saturating_duration_since(self.began);
        TokenId {
            key,
            ends: u32::try_from(since_began.as_secs()).unwrap_or(u32::MAX),
            left,
            generation,
        }
    }

    /// When a token ends, in whole seconds: its last fraction of one is not waited for.
    fn end_of(&self, token: &TokenId) -> Instant {
        self.began + Duration::from_secs(token.ends.into())
    }

    /// Whether the provider withdrew a key since the last look.
    fn has_withdrawn(&self) -> bool {
        let Some(provider) = &self.provider else {
            return false;
        };
        let withdrawals = provider.withdrawals();
        self.withdrawals.swap(withdrawals, Ordering::Relaxed) != withdrawals
    }

    /// Whether the secret stands in a file.
    pub(super) const fn has_file(&self) -> bool {
        self.tokens.file().is_some()
    }

    /// Reads the secret again if its file changed. Answers whether tokens ended with that.
    fn reload_if_changed(&self) -> bool {
        let Some(file) = self.tokens.file() else {
            return false;
        };
        let mut seen = self.secret_seen.lock();
        let stamp = Stamp::of(file.path());
        if seen.0 == stamp {
            return false;
        }
        let read = self.tokens.reload();
        let was_told = std::mem::replace(&mut seen.1, read.is_err());
        // What could not be read is tried again with the next look.
        if read.is_ok() {
            seen.0 = stamp;
        }
        drop(seen);
        match read {
            Ok(true) => {
                tracing::warn!(
                    "the secret of bearer tokens was changed: all tokens made before have ended"
                );
                true
            }
            Ok(false) => false,
            Err(fault) => {
                if !was_told {
                    let fault = anyhow::Error::from(fault);
                    tracing::error!("{fault:#}: the secret known before stays in use");
                }
                false
            }
        }
    }
}

impl Default for Bearers {
    fn default() -> Self {
        Self::new(Tokens::passing(TokenTimes::default()))
    }
}

/// What a new token shall be, less than the credential behind it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// Longest life; that of the configuration otherwise.
    pub life: Option<Duration>,
    /// What it may do; what its maker may do otherwise.
    pub scopes: Option<Scopes>,
}

/// Why no token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintFault {
    /// The caller was let in by something that makes no tokens.
    #[error("Only an API key or a token made from one makes a token.")]
    NotByKey,
    /// A right is wanted that the caller does not have.
    #[error("The scope {} cannot be given: what makes the token does not have it.", .0.as_str())]
    Lacks(Scope),
    /// The time since the key was shown is over.
    #[error(
        "This token was refreshed for as long as one showing of the API key allows. Get a new one from /auth/token with the key."
    )]
    ChainOver,
    /// The operating system gave no random bytes.
    #[error("No token can be made at this moment.")]
    Unavailable,
}

impl Guard {
    /// The guard with tokens of this kind, in place of those that end with the process.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        let provider = self.bearers.provider;
        let bearers = Bearers {
            provider,
            ..Bearers::new(tokens)
        };
        Self { bearers, ..self }
    }

    /// The guard with an identity provider, whose tokens it takes too.
    #[must_use]
    pub fn with_provider(mut self, provider: Arc<Provider>) -> Self {
        self.bearers.provider = Some(provider);
        self
    }

    /// The identity provider, if there is one.
    #[must_use]
    pub const fn provider(&self) -> Option<&Arc<Provider>> {
        self.bearers.provider.as_ref()
    }

    /// Makes a token for a caller that was let in: with a key, or with a token whose chain is not over.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn mint(&self, caller: &Caller, wish: &Wish) -> Result<Minted, MintFault> {
        let now = Instant::now();
        let tokens = &self.bearers.tokens;
        let (key, chain) = match caller.credential {
            CredentialId::Key(key) => (key, tokens.times().chain),
            CredentialId::Token(token) => {
                let remaining = self.bearers.end_of(&token).saturating_duration_since(now);
                let chain = Duration::from_secs(token.left.into()) + remaining;
                (token.key, chain)
            }
            CredentialId::Local
            | CredentialId::Loopback
            | CredentialId::Anonymous
            | CredentialId::Outside(_) => return Err(MintFault::NotByKey),
        };
        let scopes = wish.scopes.unwrap_or(caller.scopes);
        if let Some(scope) = scopes.iter().find(|scope| !caller.scopes.has(*scope)) {
            return Err(MintFault::Lacks(scope));
        }
        if chain.as_secs() == 0 {
            return Err(MintFault::ChainOver);
        }
        let subject = Subject {
            name: &caller.name,
            role: caller.role,
            scopes,
            key,
            life: wish.life.unwrap_or(Duration::MAX),
            chain,
        };
        tokens
            .mint(&subject, now, UnixMillis::now())
            .ok_or(MintFault::Unavailable)
    }

    /// Lets a token in, or says why not.
    pub(super) fn admit_token(
        &self,
        table: &Table,
        token: &str,
        peer: IpAddr,
    ) -> Result<Caller, Refusal> {
        let fault = match self.caller_of(table, token, peer) {
            Ok(caller) => {
                return Ok(Caller {
                    address: Some(peer.to_canonical()),
                    ..caller
                });
            }
            Err(fault) => fault,
        };
        // What was once a good token is no attempt at guessing one.
        if fault.is_guess() {
            if let Some(retry_after) = self.rest(peer) {
                return Err(Refusal::Throttled { retry_after });
            }
            self.throttle.lock().failed(peer, Instant::now());
        }
        let refusal = Refusal::Token(fault);
        self.log_failed(peer, &refusal);
        Err(refusal)
    }

    fn caller_of(&self, table: &Table, token: &str, peer: IpAddr) -> Result<Caller, TokenFault> {
        let now = Instant::now();
        let bearers = &self.bearers;
        let read = token::read(
            token,
            &bearers.tokens,
            bearers.provider.as_deref(),
            now,
            Wall {
                now: UnixMillis::now(),
                highest: self.time.now(),
            },
        )?;
        let (said, ends) = match read {
            Read::Own(Own { said, ends }) => (said, ends),
            Read::Outside(outside) => return Ok(self.caller_outside(&outside)),
        };
        let holder = table
            .holders()
            .filter(|holder| keyfile::is_same_or_rotated(&said.name, &holder.caller.name))
            .filter_map(|holder| Some((holder, holder.caller.credential.holder()?)))
            .find(|(_, key)| said.is_of(*key));
        let (holder, key) = holder
            .filter(|(holder, _)| holder.is_in_force(self.time.now()))
            .ok_or(TokenFault::KeyEnded)?;
        if !holder.is_at_home(peer) {
            return Err(TokenFault::Elsewhere);
        }
        let left = u32::try_from(said.left.as_secs()).unwrap_or(u32::MAX);
        let credential = bearers.credential(key, ends, left, said.generation());
        Ok(Caller {
            role: said.role.min(holder.caller.role),
            scopes: said.scopes.and(holder.caller.scopes),
            credential: CredentialId::Token(credential),
            ..holder.caller.clone()
        })
    }

    fn caller_outside(&self, outside: &Outside) -> Caller {
        let Outside { said, ends } = outside;
        let (who, role) = (said.who, said.role);
        let credential = self.bearers.credential(who, *ends, 0, said.generation);
        Caller {
            name: Arc::clone(&said.name),
            role,
            scopes: role.scopes(),
            reach: Reach::everything(),
            tools: None,
            credential: CredentialId::Outside(credential),
            address: None,
            purse: self.purse_of_person(who, role),
        }
    }

    /// Whether a token of the identity provider that let a caller in would let them in again.
    pub(super) fn is_outside_in_force(&self, token: &TokenId) -> bool {
        let bearers = &self.bearers;
        let provider = bearers.provider.as_ref();
        provider.is_some_and(|provider| provider.holds(token.generation))
            && Instant::now() < bearers.end_of(token)
    }

    /// Whether a token that let a caller in would let them in again with no fewer rights.
    pub(super) fn is_token_in_force(&self, caller: &Caller, token: &TokenId) -> bool {
        let table = self.table.read().clone();
        self.bearers.tokens.generation() == Some(token.generation)
            && Instant::now() < self.bearers.end_of(token)
            && table.holder_of(token.key).is_some_and(|holder| {
                let own = &holder.caller;
                holder.is_in_force(self.time.now())
                    && caller
                        .address
                        .is_none_or(|address| holder.is_at_home(address))
                    && own.name == caller.name
                    && own.role >= caller.role
                    && own.scopes.and(caller.scopes) == caller.scopes
                    && own.reach == caller.reach
            })
    }

    /// Tells of tokens that ended between two looks: by their time, or with their secret.
    pub(super) fn tell_of_token_ends(&self) {
        let has_withdrawn = self.bearers.has_withdrawn();
        if self.bearers.ends.lock().came(Instant::now()) || has_withdrawn {
            self.changes.send_replace(());
        }
    }

    /// Looks at the file of the secret.
    pub(super) fn reload_secret_if_changed(&self) {
        if self.bearers.reload_if_changed() {
            self.changes.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests;
