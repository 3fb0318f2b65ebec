//! One-use tickets for event streams that a browser opens: it cannot send headers there, and a key in a URL ends up in logs.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::key::{self, KeyHash};
use super::{Caller, CredentialId};
use crate::base::secret::Secret;
use crate::limits::{TICKET_LIFE_SECS, TICKETS_MAX, TICKETS_PER_CREDENTIAL_MAX};

/// What every ticket begins with.
const PREFIX: &str = "rt_";

/// Letters after the prefix: as many as of a key.
const LETTERS: usize = 49;

/// How long a ticket is good.
pub const TICKET_LIFE: Duration = Duration::from_secs(TICKET_LIFE_SECS);

/// Whether a text has the form of a ticket.
pub(super) fn is_ticket(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == LETTERS && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Why no ticket is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketFault {
    /// The caller was let in by something that makes no tickets.
    #[error("Only an API key or a bearer token gets a ticket.")]
    NotByKey,
    /// Too many are out.
    #[error("Too many tickets are out at this moment. Use one, or try again in a minute.")]
    Busy,
    /// The operating system gave no random bytes.
    #[error("No ticket can be made at this moment.")]
    Unavailable,
}

#[derive(Debug)]
struct Row {
    caller: Caller,
    ends: Instant,
}

/// The tickets that are out, by their hash.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<HashMap<KeyHash, Row>>);

impl Tickets {
    /// A ticket with the rights of a caller.
    pub(super) fn make(&self, caller: &Caller, now: Instant) -> Result<Secret, TicketFault> {
        if !matches!(
            caller.credential,
            CredentialId::Key(_) | CredentialId::Token(_)
        ) {
            return Err(TicketFault::NotByKey);
        }
        let random = key::generate().map_err(|_| TicketFault::Unavailable)?;
        let letters = random.expose().strip_prefix(key::PREFIX);
        let ticket = format!("{PREFIX}{}", letters.unwrap_or_default());
        let mut rows = self.0.lock();
        rows.retain(|_, row| now < row.ends);
        let own = |row: &&Row| row.caller.credential.holder() == caller.credential.holder();
        let is_full = rows.len() >= TICKETS_MAX
            || rows.values().filter(own).count() >= TICKETS_PER_CREDENTIAL_MAX;
        if is_full {
            return Err(TicketFault::Busy);
        }
        let row = Row {
            caller: caller.clone(),
            ends: now + TICKET_LIFE,
        };
        rows.insert(key::hash(&ticket), row);
        Ok(Secret::new(&ticket))
    }

    /// Takes a ticket, which is gone then. Looked up by its hash, whose bits a client cannot steer.
    pub(super) fn take(&self, ticket: &str, now: Instant) -> Option<Caller> {
        let row = self.0.lock().remove(&key::hash(ticket))?;
        (now < row.ends).then_some(row.caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{KeyId, Role};

    fn caller(number: u8) -> Caller {
        Caller {
            credential: CredentialId::Key(KeyId::of(&[number; 32])),
            ..Caller::local("desk", Role::Viewer)
        }
    }

    #[test]
    fn a_ticket_is_good_once_and_for_a_minute() {
        let tickets = Tickets::default();
        let now = Instant::now();
        let ticket = tickets.make(&caller(1), now).unwrap();
        assert!(is_ticket(ticket.expose()) && !is_ticket("rt_short"));
        assert_eq!(tickets.take("rt_other", now), None);
        assert_eq!(tickets.take(ticket.expose(), now), Some(caller(1)));
        assert_eq!(tickets.take(ticket.expose(), now), None);
        let late = tickets.make(&caller(1), now).unwrap();
        assert_eq!(tickets.take(late.expose(), now + TICKET_LIFE), None);
        assert_eq!(tickets.take(late.expose(), now), None);
    }

    #[test]
    fn the_table_of_tickets_is_bounded_for_each_and_for_all() {
        let tickets = Tickets::default();
        let now = Instant::now();
        let local = Caller::local("me", Role::Admin);
        assert_eq!(
            tickets.make(&local, now).unwrap_err(),
            TicketFault::NotByKey
        );
        for _ in 0..TICKETS_PER_CREDENTIAL_MAX {
            tickets.make(&caller(0), now).unwrap();
        }
        assert_eq!(
            tickets.make(&caller(0), now).unwrap_err(),
            TicketFault::Busy
        );
        let made = (1..=255).filter(|number| tickets.make(&caller(*number), now).is_ok());
        assert_eq!(made.count(), TICKETS_MAX - TICKETS_PER_CREDENTIAL_MAX);
        assert!(tickets.make(&caller(0), now + TICKET_LIFE).is_ok());
        assert_eq!(tickets.0.lock().len(), 1);
    }
}
