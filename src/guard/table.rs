//! The keys in force, by their hash.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use subtle::ConstantTimeEq;

use super::key::{self, KeyHash};
use super::keyfile::KeyRecord;
use super::network::Network;
use super::rate::{Purse, Rates};
use super::{Caller, CredentialId, KeyId, Reach, Scopes};
use crate::base::clock::UnixMillis;
use crate::limits::REACH_TEXT_MAX_BYTES;

/// What a key gives.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) caller: Caller,
    pub(super) expires: Option<UnixMillis>,
    /// From where it may be used; none is from everywhere.
    pub(super) networks: Arc<[Network]>,
}

impl Holder {
    fn of(record: KeyRecord) -> Option<Self> {
        let reach = match Reach::new(&record.components) {
            Ok(reach) => reach,
            Err(fault) => {
                tracing::error!(key = %record.name, %fault, "a key is left out");
                return None;
            }
        };
        let scopes = record.scopes.as_deref();
        Some(Self {
            caller: Caller {
                scopes: scopes.map_or_else(|| record.role.scopes(), Scopes::of),
                name: record.name.into(),
                role: record.role,
                reach,
                tools: None,
                credential: CredentialId::Key(KeyId::of(&record.sha256)),
                address: None,
                purse: Purse::default(),
            },
            expires: record.expires,
            networks: record.networks.into(),
        })
    }

    pub(super) fn is_in_force(&self, now: UnixMillis) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    /// Whether the key may be used from an address.
    pub(super) fn is_at_home(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.has(address))
    }

    /// Whether somebody who was let in by it would get the same rights now, where they are.
    pub(super) fn has_the_rights_of(&self, caller: &Caller) -> bool {
        let Caller {
            name,
            role,
            scopes,
            reach,
            credential,
            tools,
            address,
            purse: _,
        } = caller;
        let own = &self.caller;
        own.credential == *credential
            && own.name == *name
            && own.role == *role
            && own.scopes == *scopes
            && own.reach == *reach
            && own.tools == *tools
            && address.is_none_or(|address| self.is_at_home(address))
    }
}

/// The keys in force. Names in it are unique.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<KeyHash, Holder>);

impl Table {
    /// The keys of the environment, and those of the file that are not of the same name.
    pub(super) fn of(given: &[KeyRecord], kept: Vec<KeyRecord>) -> Self {
        let mut all = HashMap::new();
        let is_new = |record: &KeyRecord| {
            let is_given = given.iter().any(|given| given.name == record.name);
            if is_given {
                tracing::warn!(key = %record.name, "a key of the environment takes the place of the one in the key file");
            }
            !is_given
        };
        // What was given comes last, and wins.
        let kept = kept.into_iter().filter(is_new);
        let mut pattern_bytes = 0;
        for record in kept.chain(given.iter().cloned()) {
            let hash = record.sha256;
            let bytes = pattern_bytes + record.pattern_bytes();
            if bytes > REACH_TEXT_MAX_BYTES {
                tracing::error!(key = %record.name, "a key is left out: the patterns of components of all keys together are too long");
                continue;
            }
            pattern_bytes = bytes;
            if let Some(holder) = Holder::of(record) {
                all.insert(hash, holder);
            }
        }
        Self(all)
    }

    /// Gives each key its bucket: the one that it had before, at the rate of its role, or a full one.
    pub(super) fn fund(&mut self, before: &Self, rates: &Arc<Rates>) {
        for (hash, holder) in &mut self.0 {
            let caller = &mut holder.caller;
            if let Some(known) = before.0.get(hash) {
                caller.purse = known.caller.purse.clone();
                caller.purse.set_role(caller.role);
            } else {
                caller.purse = Purse::of_key(rates, caller.role);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.0.values()
    }

    /// Looks a key up by its hash, whose bits a client cannot steer, and compares the whole hash in constant time.
    pub(super) fn find(&self, key: &str) -> Option<&Holder> {
        let hash = key::hash(key);
        let (known, holder) = self.0.get_key_value(&hash)?;
        bool::from(known.ct_eq(&hash)).then_some(holder)
    }

    /// The key of this id.
    pub(super) fn holder_of(&self, key: KeyId) -> Option<&Holder> {
        self.holders()
            .find(|holder| holder.caller.credential == CredentialId::Key(key))
    }

    /// The names of keys that are new here, gone from here, and changed, compared with the table before.
    pub(super) fn changes_since(&self, before: &Self) -> Changes {
        let mut changes = Changes::default();
        for (hash, holder) in &self.0 {
            let name = Arc::clone(&holder.caller.name);
            match before.0.get(hash) {
                None => changes.added.push(name),
                Some(old) if !is_same(old, holder) => changes.changed.push(name),
                Some(_) => {}
            }
        }
        let gone = before
            .0
            .iter()
            .filter(|(hash, _)| !self.0.contains_key(*hash));
        changes
            .gone
            .extend(gone.map(|(_, holder)| Arc::clone(&holder.caller.name)));
        changes
    }
}

fn is_same(old: &Holder, new: &Holder) -> bool {
    old.caller == new.caller && old.expires == new.expires && old.networks == new.networks
}

/// Names of keys that a new reading of the file brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<Arc<str>>,
    pub(super) changed: Vec<Arc<str>>,
    pub(super) gone: Vec<Arc<str>>,
}
