//! Who may come in and what they may do: one decision for every transport, before any handler runs.

use std::sync::Arc;

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

/// Who is asking, once the guard has let them in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Stable name for logs, audit and handles: the key's name, or `anonymous`.
    pub name: Arc<str>,
    /// What they may do.
    pub scopes: Scopes,
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
}
