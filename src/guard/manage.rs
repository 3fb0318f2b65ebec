//! Keys made and revoked by those who were let in: the same file as the command line, and never more than they have themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::keyfile::{KeyFileError, KeyRecord, NewKey};
use super::table::Holder;
use super::{Caller, Guard, Reach, Scope, Scopes};
use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;

/// Why a key is not made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum ManageFault {
    /// The keys do not stand in a file.
    #[error("The keys of this server stand in no file: they live as long as its process")]
    NoFile,
    /// It would have a right that its maker lacks.
    #[error("The new key would have more than your own: {0}")]
    MoreThanOwn(String),
    /// Nobody could make keys any more.
    #[error(
        "\"{0}\" is the last key with the scope admin: without it, keys are made on the server alone, with `rackhand key new`"
    )]
    LastAdmin(String),
    /// The environment brought it.
    #[error("\"{0}\" comes from the environment of the service, and is taken away there")]
    Given(String),
    /// The file.
    #[error("{}", told(.0))]
    File(#[from] KeyFileError),
}

/// A fault of the file with its cause, but without its path.
fn told(fault: &KeyFileError) -> String {
    match fault {
        KeyFileError::Io { source, .. } => format!("the key file cannot be used: {source}"),
        KeyFileError::Damaged { .. } => "the key file is damaged".to_owned(),
        KeyFileError::Newer { .. } => {
            "the key file was written by a newer version of this program".to_owned()
        }
        KeyFileError::TooLong { .. } => "the key file would be too long".to_owned(),
        other => other.to_string(),
    }
}

/// A key as it is listed.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// Everything but the key.
    pub record: KeyRecord,
    /// Whether it comes from the environment, where it cannot be revoked from here.
    pub is_given: bool,
    /// Whether its time is over.
    pub has_expired: bool,
}

/// A key that was made.
#[derive(Debug)]
pub struct Granted {
    /// The key, shown this once.
    pub key: Secret,
    /// Everything else of it.
    pub entry: NewKey,
}

impl Guard {
    /// All keys, those of the environment first. Blocks.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn keys(&self) -> Result<Vec<KeyEntry>, ManageFault> {
        let kept = match &self.file {
            Some((file, _)) => file.list()?,
            None => Vec::new(),
        };
        let now = self.time.now();
        let entry = |record: KeyRecord, is_given| KeyEntry {
            has_expired: record.expires.is_some_and(|end| end <= now),
            record,
            is_given,
        };
        let given = self.given.iter().cloned().map(|record| entry(record, true));
        let kept = kept.into_iter().map(|record| entry(record, false));
        Ok(given.chain(kept).collect())
    }

    /// A mark of each key in force, by its name: another one as soon as the key or its rights are others. `None` where the keys stand in no
    /// file. Of keys of the environment, which nobody writes down, it tells no more than the rights.
    #[must_use]
    pub fn marks(&self) -> Option<BTreeMap<String, String>> {
        self.file.as_ref()?;
        let table = self.table.read().clone();
        let marks = table.holders().map(|holder| {
            let caller = &holder.caller;
            let is_given = self.given.iter().any(|given| given.name == *caller.name);
            let key = caller.credential.holder().filter(|_| !is_given);
            let rights = (
                key.map(|key| key.0),
                caller.role,
                caller.scopes,
                caller.reach.patterns(),
                holder.expires,
                &holder.networks,
            );
            let mut mark = String::with_capacity(32);
            for byte in Sha256::digest(format!("{rights:?}")).iter().take(16) {
                let _ = write!(mark, "{byte:02x}");
            }
            (caller.name.to_string(), mark)
        });
        Some(marks.collect())
    }

    /// Makes a key for a caller, in force when this returns. Blocks.
    ///
    /// # Errors
    ///
    /// It would have more than its maker, or the file takes it not.
    pub fn new_key(&self, new: NewKey, maker: &Caller) -> Result<Granted, ManageFault> {
        let (file, _) = self.file.as_ref().ok_or(ManageFault::NoFile)?;
        self.is_no_more_than(&new, maker)?;
        if self.given.iter().any(|given| given.name == new.name) {
            return Err(KeyFileError::NameTaken(new.name).into());
        }
        let key = file.create(&new)?;
        self.reload_if_changed()?;
        tracing::info!(key = %new.name, role = new.role.as_str(), by = %maker.name, "a key was made");
        Ok(Granted { key, entry: new })
    }

    /// Revokes a key, out of force when this returns. The last one with the scope admin needs a word of its own. Blocks.
    ///
    /// # Errors
    ///
    /// There is no such key here, it is the last with the scope admin, or the file cannot be changed.
    pub fn revoke_key(
        &self,
        name: &str,
        even_last_admin: bool,
        by: &Caller,
    ) -> Result<(), ManageFault> {
        if self.given.iter().any(|given| given.name == name) {
            return Err(ManageFault::Given(name.to_owned()));
        }
        let (file, _) = self.file.as_ref().ok_or(ManageFault::NoFile)?;
        let mut admins = self.keys()?;
        admins.retain(|entry| !entry.has_expired && scopes_of(&entry.record).has(Scope::Admin));
        let is_last = matches!(admins.as_slice(), [only] if only.record.name == name);
        if is_last && !even_last_admin {
            return Err(ManageFault::LastAdmin(name.to_owned()));
        }
        file.revoke(name)?;
        self.reload_if_changed()?;
        tracing::info!(key = %name, by = %by.name, "a key was revoked");
        Ok(())
    }

    fn is_no_more_than(&self, new: &NewKey, maker: &Caller) -> Result<(), ManageFault> {
        let more = |what: String| Err(ManageFault::MoreThanOwn(what));
        if new.role > maker.role {
            return more(format!("the role {}", new.role.as_str()));
        }
        let scopes = new.scopes.as_deref();
        let scopes = scopes.map_or_else(|| new.role.scopes(), Scopes::of);
        if let Some(scope) = scopes.iter().find(|scope| !maker.scopes.has(*scope)) {
            return more(format!("the scope {}", scope.as_str()));
        }
        // Whether one pattern fits all that another fits is a riddle; the very same pattern surely does.
        let own = maker.reach.patterns();
        let is_within = new.components.iter().all(|one| own.contains(one));
        let is_bounded = Reach::new(&new.components).is_ok_and(|reach| !reach.is_everything());
        if !(maker.reach.is_everything() || is_within && is_bounded) {
            return more(format!(
                "give it `components`, each one of {}",
                own.join(", ")
            ));
        }
        let table = self.table.read().clone();
        let holder = maker
            .credential
            .holder()
            .and_then(|key| table.holder_of(key));
        holder.map_or(Ok(()), |holder| is_no_wider(new, holder))
    }
}

/// Whether a key would last no longer, and be used from nowhere else, than its maker's.
fn is_no_wider(new: &NewKey, own: &Holder) -> Result<(), ManageFault> {
    let more = |what: String| Err(ManageFault::MoreThanOwn(what));
    if let Some(end) = own.expires
        && new.expires.is_none_or(|new| new > end)
    {
        let last = UnixMillis(end.0.saturating_sub(1)).to_iso();
        return more(format!(
            "yours ends, give it `expires` of {} at most",
            last.get(..10).unwrap_or_default()
        ));
    }
    let is_within = |one| own.networks.iter().any(|network| network.covers(one));
    if !own.networks.is_empty()
        && (new.networks.is_empty() || !new.networks.iter().copied().all(is_within))
    {
        let own: Vec<_> = own.networks.iter().map(ToString::to_string).collect();
        return more(format!("give it `networks` within {}", own.join(", ")));
    }
    Ok(())
}

fn scopes_of(record: &KeyRecord) -> Scopes {
    let scopes = record.scopes.as_deref();
    scopes.map_or_else(|| record.role.scopes(), Scopes::of)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hyper::header::HeaderMap;

    use super::*;
    use crate::guard::keyfile::KeyFile;
    use crate::guard::{KeySource, Role};

    fn guard(folder: &tempfile::TempDir) -> (Guard, KeyFile) {
        let keys = KeyFile::new(folder.path().join("keys.json"));
        let guard = Guard::new(KeySource::File(keys.clone())).unwrap();
        (guard, keys)
    }

    fn admit(guard: &Guard, key: &Secret) -> Caller {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", key.expose().parse().unwrap());
        guard
            .admit(&headers, IpAddr::from([192, 168, 5, 1]))
            .unwrap()
    }

    /// A key that may make keys and is bounded in every way.
    fn bounded() -> NewKey {
        NewKey {
            scopes: Some(vec![Scope::Read, Scope::Admin]),
            expires: Some(UnixMillis(UnixMillis::now().0 + 1_000_000)),
            components: vec!["Zone.*".to_owned()],
            networks: vec!["192.168.0.0/16".parse().unwrap()],
            ..NewKey::new("maker", Role::Engineer)
        }
    }

    #[test]
    fn nobody_makes_a_key_that_has_more_than_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, keys) = guard(&folder);
        let secret = keys.create(&bounded()).unwrap();
        guard.reload().unwrap();
        let maker = admit(&guard, &secret);
        let wishes: [fn(&mut NewKey); 9] = [
            |new| new.role = Role::Admin,
            |new| new.scopes = None,
            |new| new.expires = new.expires.map(|end| UnixMillis(end.0 + 1)),
            |new| new.expires = None,
            |new| new.components.clear(),
            |new| new.components = vec!["*".to_owned()],
            |new| new.components = vec!["Amp*".to_owned()],
            |new| new.networks.clear(),
            |new| new.networks = vec!["10.0.0.0/8".parse().unwrap()],
        ];
        let mut fit = NewKey {
            name: "fit".to_owned(),
            ..bounded()
        };
        fit.expires = keys.list().unwrap()[0].expires;
        for (number, wish) in wishes.iter().enumerate() {
            let mut more = fit.clone();
            wish(&mut more);
            let fault = guard.new_key(more, &maker).unwrap_err().to_string();
            assert!(fault.contains("more than your own"), "{number}: {fault}");
        }
        let made = guard.new_key(fit, &maker).unwrap();
        let caller = admit(&guard, &made.key);
        assert!(caller.reach.covers("Zone.1") && !caller.reach.covers("Amp"));
    }

    #[test]
    fn the_last_admin_key_is_not_revoked_without_saying_so() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, keys) = guard(&folder);
        let old = NewKey {
            expires: Some(UnixMillis(1)),
            ..NewKey::new("old", Role::Admin)
        };
        for new in [
            NewKey::new("root", Role::Admin),
            old,
            NewKey::new("desk", Role::Viewer),
        ] {
            keys.create(&new).unwrap();
        }
        guard.reload().unwrap();
        let me = Caller::local("me", Role::Admin);
        let fault = guard.revoke_key("root", false, &me).unwrap_err();
        assert!(fault.to_string().contains("last key"), "{fault}");
        guard.revoke_key("desk", false, &me).unwrap();
        guard.revoke_key("old", false, &me).unwrap();
        guard
            .new_key(NewKey::new("second", Role::Admin), &me)
            .unwrap();
        guard.revoke_key("root", false, &me).unwrap();
        guard.revoke_key("second", true, &me).unwrap();
        assert!(!guard.has_keys());
        assert!(guard.revoke_key("second", true, &me).is_err());
    }
}
