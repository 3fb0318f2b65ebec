//! How often somebody may ask: token buckets of credentials, of addresses without one, and of all together.

mod bucket;
mod table;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use self::bucket::{Bucket, Left, Nanos};
use self::table::Buckets;
use super::throttle::network;
use super::{KeyId, Role};
use crate::base::rate::Rate;

impl Role {
    /// How often a credential of this role may ask, unless the configuration says otherwise.
    #[must_use]
    pub const fn rate(self) -> Rate {
        match self {
            Self::Guest => Rate::new(10, 10),
            Self::Viewer => Rate::new(300, 60),
            Self::Operator => Rate::new(600, 60),
            Self::Engineer => Rate::new(1_000, 100),
            Self::Admin => Rate::new(10_000, 200),
        }
    }
}

/// The rates of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateRules {
    /// Of each key of this role with its tokens; weakest role first. The first is also that of an address let in without a credential.
    pub roles: [Rate; 5],
    /// Of each address for requests that need no credential or have none that is taken.
    pub strangers: Rate,
    /// Of all credentials together.
    pub all: Option<Rate>,
}

impl Default for RateRules {
    fn default() -> Self {
        Self {
            roles: Role::ALL.map(Role::rate),
            strangers: Rate::new(300, 60),
            all: None,
        }
    }
}

impl RateRules {
    fn of(&self, role: Role) -> Rate {
        let [guest, viewer, operator, engineer, admin] = self.roles;
        match role {
            Role::Guest => guest,
            Role::Viewer => viewer,
            Role::Operator => operator,
            Role::Engineer => engineer,
            Role::Admin => admin,
        }
    }
}

/// What may still be spent, for clients that pace themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Whose bucket it is.
    pub whose: Whose,
    /// The rate that counts.
    pub rate: Rate,
    /// Units that may still come at once.
    pub left: u32,
    /// Time until as many are there again as may come at once.
    pub full_in: Duration,
}

/// Whose a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// That of the key and its tokens.
    Key,
    /// That of an address without a credential.
    Address,
    /// That of a person whom the identity provider vouches for.
    Person,
    /// That of all together.
    All,
}

/// Somebody asked more often than they may. The bucket that is too empty was not spent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Whose bucket is empty.
    pub whose: Whose,
    /// Its rate.
    pub rate: Rate,
    /// After how long the same request would be taken.
    pub retry_after: Duration,
}

impl Exceeded {
    /// Whole seconds to wait, rounded up: who comes back a moment too early is refused once more.
    #[must_use]
    pub fn retry_after_secs(&self) -> u64 {
        whole_secs(self.retry_after).max(1)
    }

    /// Milliseconds to wait, rounded up.
    #[must_use]
    pub fn retry_after_ms(&self) -> u64 {
        let millis = self.retry_after.as_nanos().div_ceil(1_000_000).max(1);
        u64::try_from(millis).unwrap_or(u64::MAX)
    }
}

/// Whole seconds, rounded up.
fn whole_secs(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rate { per_minute, burst } = self.rate;
        let who = match self.whose {
            Whose::Key => "This API key, with its tokens,",
            Whose::Person => "A person, with all tokens,",
            Whose::Address => "An address without an API key",
            Whose::All => "All clients together",
        };
        write!(
            f,
            "{who} may ask {per_minute} times a minute, {burst} at once; changes and long waits count several times. Wait {} s, and ask for several things in one call.",
            self.retry_after_secs()
        )
    }
}

impl std::error::Error for Exceeded {}

/// All buckets but those of keys, which are with the keys.
#[derive(Debug)]
pub(super) struct Rates {
    rules: RateRules,
    began: Instant,
    /// By network.
    strangers: Mutex<Buckets<IpAddr>>,
    /// By network.
    anonymous: Mutex<Buckets<IpAddr>>,
    /// By person and role: a bucket has one rate.
    outside: Mutex<Buckets<(KeyId, Role)>>,
    all: Option<Bucket>,
}

impl Rates {
    pub(super) fn new(rules: RateRules) -> Self {
        Self {
            rules,
            began: Instant::now(),
            strangers: Mutex::default(),
            anonymous: Mutex::default(),
            outside: Mutex::default(),
            all: rules.all.map(Bucket::full),
        }
    }

    fn now(&self) -> Nanos {
        bucket::nanos(self.began.elapsed())
    }

    /// Spends for a request that needs no credential, or has none that is taken.
    pub(super) fn spend_as_stranger(&self, address: IpAddr) -> Result<Allowance, Exceeded> {
        let rate = self.rules.strangers;
        let mut strangers = self.strangers.lock();
        let left = strangers.spend(network(address), rate, 1, self.now());
        drop(strangers);
        outcome(Whose::Address, rate, left)
    }

    /// Spends from the bucket of all, after that of who asks: one who has nothing left takes nothing from the others.
    fn spend_of_all(&self, units: u32, now: Nanos) -> Result<(), Exceeded> {
        let Some(all) = &self.all else {
            return Ok(());
        };
        match all.spend(units, now) {
            Ok(_) => Ok(()),
            Err(wait) => Err(exceeded(Whose::All, all.rate(), wait)),
        }
    }
}

fn outcome(whose: Whose, rate: Rate, left: Result<Left, Duration>) -> Result<Allowance, Exceeded> {
    match left {
        Ok(left) => Ok(allowance(whose, rate, left)),
        Err(wait) => Err(exceeded(whose, rate, wait)),
    }
}

const fn allowance(whose: Whose, rate: Rate, left: Left) -> Allowance {
    Allowance {
        whose,
        rate,
        left: left.units,
        full_in: left.full_in,
    }
}

const fn exceeded(whose: Whose, rate: Rate, retry_after: Duration) -> Exceeded {
    Exceeded {
        whose,
        rate,
        retry_after,
    }
}

/// What somebody who was let in spends from. Clones share it. That of whoever runs this program themselves is never empty.
#[derive(Clone, Default)]
pub struct Purse(Option<Arc<Account>>);

struct Account {
    kind: Kind,
    rates: Arc<Rates>,
}

enum Kind {
    Key(Bucket),
    Address(IpAddr),
    Outside(KeyId, Role),
}

impl Account {
    fn spend(&self, units: u32) -> Result<Allowance, Exceeded> {
        let (rates, now) = (&self.rates, self.rates.now());
        let allowance = match &self.kind {
            Kind::Key(bucket) => outcome(Whose::Key, bucket.rate(), bucket.spend(units, now)),
            Kind::Address(address) => {
                let rate = rates.rules.of(Role::Guest);
                let left = rates.anonymous.lock().spend(*address, rate, units, now);
                outcome(Whose::Address, rate, left)
            }
            Kind::Outside(who, role) => {
                let rate = rates.rules.of(*role);
                let whose = (*who, *role);
                let left = rates.outside.lock().spend(whose, rate, units, now);
                outcome(Whose::Person, rate, left)
            }
        }?;
        rates.spend_of_all(units, now)?;
        Ok(allowance)
    }
}

impl Purse {
    /// That of a new key.
    pub(super) fn of_key(rates: &Arc<Rates>, role: Role) -> Self {
        let bucket = Bucket::full(rates.rules.of(role));
        Self::new(Kind::Key(bucket), rates)
    }

    /// That of an address which is let in without a credential.
    pub(super) fn of_address(rates: &Arc<Rates>, address: IpAddr) -> Self {
        Self::new(Kind::Address(network(address)), rates)
    }

    /// That of a person whom the identity provider vouches for.
    pub(super) fn of_person(rates: &Arc<Rates>, who: KeyId, role: Role) -> Self {
        Self::new(Kind::Outside(who, role), rates)
    }

    fn new(kind: Kind, rates: &Arc<Rates>) -> Self {
        let rates = Arc::clone(rates);
        Self(Some(Arc::new(Account { kind, rates })))
    }

    /// From now on the rate of another role, for everybody who shares this.
    pub(super) fn set_role(&self, role: Role) {
        if let Some(account) = &self.0
            && let Kind::Key(bucket) = &account.kind
        {
            let rates = &account.rates;
            bucket.set_rate(rates.rules.of(role), rates.now());
        }
    }

    /// Spends, or says how long to wait. `None` where nothing is counted.
    ///
    /// # Errors
    /// There is too little left.
    pub fn spend(&self, units: u32) -> Result<Option<Allowance>, Exceeded> {
        let account = self.0.as_ref();
        account.map(|account| account.spend(units)).transpose()
    }
}

impl PartialEq for Purse {
    /// Whether both spend from the same bucket.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => match (&one.kind, &two.kind) {
                (Kind::Address(one), Kind::Address(two)) => one == two,
                (Kind::Outside(one, of_one), Kind::Outside(two, of_two)) => {
                    (one, of_one) == (two, of_two)
                }
                _ => Arc::ptr_eq(one, two),
            },
            _ => false,
        }
    }
}

impl Eq for Purse {}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.0.as_ref().map(|account| &account.kind);
        match kind {
            None => f.write_str("Unlimited"),
            Some(Kind::Key(bucket)) => bucket.rate().fmt(f),
            Some(Kind::Address(address)) => address.fmt(f),
            Some(Kind::Outside(_, role)) => role.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
