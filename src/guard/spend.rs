//! What requests cost, at the guard.

use std::net::IpAddr;
use std::sync::Arc;

use super::rate::Rates;
use super::table::Table;
use super::{Allowance, Caller, CredentialId, Exceeded, Guard, KeyId, Purse, RateRules, Role};

impl Guard {
    /// The guard with these rates. Without, everybody may ask as often as they like.
    #[must_use]
    pub fn with_rates(mut self, rules: RateRules) -> Self {
        let rates = Arc::new(Rates::new(rules));
        if let Some(table) = Arc::get_mut(&mut *self.table.write()) {
            table.fund(&Table::default(), &rates);
        }
        self.rates = Some(rates);
        self
    }

    /// Spends for a caller who was let in: 1 for a request, and what a tool weighs beyond that once it is known.
    ///
    /// # Errors
    /// There is too little left.
    pub fn spend(&self, caller: &Caller, units: u32) -> Result<Option<Allowance>, Exceeded> {
        caller.purse.spend(units)
    }

    /// What somebody spends from who was let in without a credential: addresses each for themselves, all programs of this machine together.
    pub(super) fn purse_of_open(&self, caller: &Caller) -> Purse {
        match (&self.rates, caller.credential, caller.address) {
            (Some(rates), CredentialId::Anonymous, Some(address)) => {
                Purse::of_address(rates, address)
            }
            (Some(rates), _, _) => Purse::of_person(rates, KeyId::of(&[0; 32]), caller.role),
            (None, _, _) => Purse::default(),
        }
    }

    /// What a person spends from whom the identity provider vouches for.
    pub(super) fn purse_of_person(&self, who: KeyId, role: Role) -> Purse {
        let rates = self.rates.as_ref();
        rates.map_or_else(Purse::default, |rates| Purse::of_person(rates, who, role))
    }

    /// Spends for a request that needs no credential, or has none that is taken.
    ///
    /// # Errors
    /// The address has too little left.
    pub fn spend_as_stranger(&self, peer: IpAddr) -> Result<Option<Allowance>, Exceeded> {
        let rates = self.rates.as_ref();
        rates.map(|rates| rates.spend_as_stranger(peer)).transpose()
    }
}
