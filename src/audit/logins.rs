//! Which uses of a credential are a login: the first from an address in a while. Pure: time is an argument.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::limits::{AUDIT_LOGINS_KEPT, AUDIT_LOGINS_PER_MINUTE};

/// After so long without a request, the next one is a login again.
const AWAY: Duration = Duration::from_hours(1);

/// What a use of a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// One of many.
    Known,
    /// A login.
    Login,
    /// A login, and too many got a line of their own in this minute already.
    LoginTooMany,
}

/// Who was here lately.
#[derive(Debug, Default)]
pub(super) struct Logins {
    seen: HashMap<(Arc<str>, Option<IpAddr>), Instant>,
    in_minute: u32,
}

impl Logins {
    pub(super) fn of(&mut self, caller: &Arc<str>, address: Option<IpAddr>, now: Instant) -> Use {
        let who = (Arc::clone(caller), address);
        if let Some(last) = self.seen.get_mut(&who) {
            let was_away = now.duration_since(*last) >= AWAY;
            *last = now;
            if !was_away {
                return Use::Known;
            }
        } else {
            if self.seen.len() >= AUDIT_LOGINS_KEPT {
                self.forget_oldest();
            }
            self.seen.insert(who, now);
        }
        self.in_minute += 1;
        if self.in_minute > AUDIT_LOGINS_PER_MINUTE {
            Use::LoginTooMany
        } else {
            Use::Login
        }
    }

    /// A new minute has begun.
    pub(super) fn minute(&mut self) {
        self.in_minute = 0;
    }

    fn forget_oldest(&mut self) {
        let oldest = self.seen.iter().min_by_key(|(_, last)| **last);
        if let Some(who) = oldest.map(|(who, _)| who.clone()) {
            self.seen.remove(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn the_first_use_from_an_address_in_a_while_is_a_login() {
        let mut logins = Logins::default();
        let (desk, start): (Arc<str>, _) = ("desk".into(), Instant::now());
        let here = Some(IpAddr::from([10, 0, 0, 1]));
        let minute = Duration::from_mins(1);
        assert_eq!(logins.of(&desk, here, start), Use::Login);
        assert_eq!(logins.of(&desk, here, start + 30 * minute), Use::Known);
        assert_eq!(logins.of(&desk, here, start + 89 * minute), Use::Known);
        assert_eq!(logins.of(&desk, None, start + 89 * minute), Use::Login);
        assert_eq!(logins.of(&desk, here, start + 149 * minute), Use::Login);
    }

    #[test]
    fn one_key_from_ever_new_addresses_is_bounded_in_memory_and_in_lines() {
        let mut logins = Logins::default();
        let (desk, start): (Arc<str>, _) = ("desk".into(), Instant::now());
        let uses = (0..5_000)
            .map(|number| logins.of(&desk, Some(Ipv6Addr::from_bits(number).into()), start));
        let with_line = uses.filter(|one| *one == Use::Login).count();
        assert_eq!(with_line, 60);
        assert_eq!(logins.seen.len(), AUDIT_LOGINS_KEPT);
        logins.minute();
        assert_eq!(logins.of(&desk, None, start), Use::Login);
    }
}
