//! Who may come in and what they may do: one decision for every transport, before any handler runs.

mod admit;
pub mod claim;
mod door;
pub mod given;
mod hightime;
pub mod key;
pub mod keyfile;
mod manage;
mod network;
mod open;
mod rate;
mod reach;
mod refusal;
mod spend;
mod table;
mod throttle;
mod ticket;
pub mod token;

mod witness;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use admit::{Guard, KeySource, MintFault, Wish};
pub use door::Door;
pub use hightime::HighTime;
pub use keyfile::{KeyFile, KeyFileError, KeyRecord, NewKey};
pub use manage::{Granted, KeyEntry, ManageFault};
pub use network::Network;
pub use open::Open;
pub use rate::{Allowance, Exceeded, Purse, RateRules, Whose};
pub use reach::Reach;
pub use refusal::Refusal;
pub use ticket::{TICKET_LIFE, TicketFault};
pub use witness::Witness;

/// What a right covers. A credential has a set of these; a tool asks for one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See values, components, status.
    Read,
    /// Run diagnoses.
    Diagnose,
    /// Change the room.
    Operate,
    /// Store and restore states, set protection.
    Engineer,
    /// Keys, configuration, the box itself.
    Admin,
    /// Reach services behind the box.
    Gateway,
}

impl Scope {
    /// Every scope, weakest first.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Diagnose,
        Self::Operate,
        Self::Engineer,
        Self::Admin,
        Self::Gateway,
    ];

    /// The word on the wire and in the key file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Diagnose => "diagnose",
            Self::Operate => "operate",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
            Self::Gateway => "gateway",
        }
    }

    /// The lowest role that has this scope by default.
    #[must_use]
    pub const fn lowest_role(self) -> Role {
        match self {
            Self::Read => Role::Guest,
            Self::Diagnose => Role::Viewer,
            Self::Operate => Role::Operator,
            Self::Engineer => Role::Engineer,
            Self::Admin | Self::Gateway => Role::Admin,
        }
    }
}

/// What a key is for: a default set of scopes under a name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees values.
    Guest,
    /// Sees values and runs diagnoses.
    Viewer,
    /// Changes the room.
    #[serde(alias = "user")]
    Operator,
    /// Stores and restores states too.
    #[serde(alias = "premium")]
    Engineer,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Self; 5] = [
        Self::Guest,
        Self::Viewer,
        Self::Operator,
        Self::Engineer,
        Self::Admin,
    ];

    /// The word on the command line and in the key file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
        }
    }

    /// The scopes that come with it.
    #[must_use]
    pub fn scopes(self) -> Scopes {
        use Scope::{Admin, Diagnose, Engineer, Gateway, Operate, Read};
        match self {
            Self::Guest => Scopes::of(&[Read]),
            Self::Viewer => Scopes::of(&[Read, Diagnose]),
            Self::Operator => Scopes::of(&[Read, Diagnose, Operate]),
            Self::Engineer => Scopes::of(&[Read, Diagnose, Operate, Engineer]),
            Self::Admin => Scopes::of(&[Read, Diagnose, Operate, Engineer, Admin, Gateway]),
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    /// A role, or the name of a tier as older servers call it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        let found = found.or(match text {
            "user" => Some(Self::Operator),
            "premium" => Some(Self::Engineer),
            _ => None,
        });
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is no role; there are {names}")
        })
    }
}

/// Who is asking, once the guard has let them in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Stable name for logs, audit and handles: the key's name, or `anonymous`.
    pub name: Arc<str>,
    /// What they were let in as.
    pub role: Role,
    /// What they may do.
    pub scopes: Scopes,
    /// What of the design they may know of.
    pub reach: Reach,
    /// The only tools that they may call, whatever their scopes; all that their scopes allow, if absent.
    pub tools: Option<Arc<[String]>>,
    /// What let them in.
    pub credential: CredentialId,
    /// Where they are, if they came over a network.
    pub address: Option<IpAddr>,
    /// What they spend from with each request.
    pub purse: Purse,
}

impl Caller {
    /// Somebody whom no credential let in, since they run this program themselves: everything of the role, everywhere.
    #[must_use]
    pub fn local(name: &str, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
            scopes: role.scopes(),
            reach: Reach::everything(),
            tools: None,
            credential: CredentialId::Local,
            address: None,
            purse: Purse::default(),
        }
    }

    /// Whether they may call a tool that asks for a scope.
    #[must_use]
    pub fn may_call(&self, tool: &str, scope: Scope) -> bool {
        match &self.tools {
            Some(only) => only.iter().any(|name| name == tool),
            None => self.scopes.has(scope),
        }
    }
}

/// Which credential let somebody in. Tells credentials apart; says nothing about what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialId {
    /// None: the caller started this program, on its pipes.
    Local,
    /// A key.
    Key(KeyId),
    /// A bearer token that a key made.
    Token(TokenId),
    /// A bearer token of the identity provider.
    Outside(TokenId),
    /// None: the caller is on this machine, which the configuration trusts.
    Loopback,
    /// None: the caller may be anybody.
    Anonymous,
}

impl CredentialId {
    /// The key or the person behind it, however many tokens they have: what is done with any of them counts to it.
    #[must_use]
    pub const fn holder(self) -> Option<KeyId> {
        match self {
            Self::Local | Self::Loopback | Self::Anonymous => None,
            Self::Key(key)
            | Self::Token(TokenId { key, .. })
            | Self::Outside(TokenId { key, .. }) => Some(key),
        }
    }
}

/// A bearer token, as far as it matters while something is open on its strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId {
    key: KeyId,
    /// When it ends, seconds since the guard began.
    ends: u32,
    /// For how long it can be refreshed when it ends, seconds.
    left: u32,
    /// The secret that it was made under, or the withdrawals of the identity provider's keys before it.
    generation: u32,
}

/// Tells keys apart, also those of the same name one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The first half of the key's hash: enough to tell keys apart, and it is never shown.
    fn of(hash: &key::KeyHash) -> Self {
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(hash) {
            *to = *from;
        }
        Self(half)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId")
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// The set of exactly these.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(
            scopes
                .iter()
                .fold(0, |bits, scope| bits | Self::bit(*scope)),
        )
    }

    /// Whether the set has this one.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & Self::bit(scope) != 0
    }

    /// What both sets have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in the set, weakest first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn bit(scope: Scope) -> u8 {
        match scope {
            Scope::Read => 1,
            Scope::Diagnose => 2,
            Scope::Operate => 4,
            Scope::Engineer => 8,
            Scope::Admin => 16,
            Scope::Gateway => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of_and_nothing_else() {
        let scopes = Scopes::of(&[Scope::Read, Scope::Operate]);
        assert!(scopes.has(Scope::Read) && scopes.has(Scope::Operate));
        assert!(!scopes.has(Scope::Admin) && !Scopes::default().has(Scope::Read));
    }

    #[test]
    fn each_role_has_the_scopes_of_the_one_before_and_more() {
        let mut before = Scopes::default();
        for role in Role::ALL {
            let now = role.scopes();
            assert_eq!(now.0 & before.0, before.0);
            assert!(now.0 > before.0, "{role:?}");
            assert_eq!(role.as_str().parse(), Ok(role));
            before = now;
        }
        assert!("root".parse::<Role>().unwrap_err().contains("operator"));
    }

    #[test]
    fn tiers_of_older_servers_are_roles_wherever_a_role_is_read() {
        for (tier, role) in [
            ("guest", Role::Guest),
            ("user", Role::Operator),
            ("premium", Role::Engineer),
            ("admin", Role::Admin),
        ] {
            assert_eq!(tier.parse(), Ok(role));
            let read: Role = serde_json::from_value(tier.into()).unwrap();
            assert_eq!(read, role);
        }
    }

    #[test]
    fn a_stronger_role_may_ask_at_least_as_often() {
        let rates = Role::ALL.map(|role| (role.rate().per_minute, role.rate().burst));
        assert_eq!(rates[0], (10, 10));
        assert!(rates.is_sorted());
    }

    #[test]
    fn the_lowest_role_of_a_scope_has_it() {
        use Scope::{Admin, Diagnose, Engineer, Gateway, Operate, Read};
        for scope in [Read, Diagnose, Operate, Engineer, Admin, Gateway] {
            assert!(scope.lowest_role().scopes().has(scope));
        }
    }
}
