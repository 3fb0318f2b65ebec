//! Failed logins per address, in a bounded table, pure: time is an argument.

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::limits::LOGIN_FAILURES_MAX;

/// Failures that cost nothing: a wrong key in a fresh client configuration is tried a few times by every client.
const FREE_FAILURES: u32 = 5;

/// Failed logins that are logged in a minute, over all addresses.
const LOGGED_PER_MINUTE: u32 = 30;

/// Longest rest after a failure.
const REST_MAX: Duration = Duration::from_mins(1);

/// Failures are forgotten after this much quiet.
const FORGET_AFTER: Duration = Duration::from_mins(10);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// When the address may try again.
    fn end(&self) -> Instant {
        self.last + self.rest()
    }

    /// The rest doubles from 1 s with every failure past the free ones.
    fn rest(&self) -> Duration {
        match self.count.checked_sub(FREE_FAILURES) {
            None => Duration::ZERO,
            Some(past) => {
                Duration::from_secs(1_u64.checked_shl(past).unwrap_or(u64::MAX)).min(REST_MAX)
            }
        }
    }
}

/// Who failed to log in, and how long they have to rest.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    table: HashMap<IpAddr, Failures>,
    /// The minute that is running, and how many failed logins of it were logged.
    logged: Option<(Instant, u32)>,
}

impl Throttle {
    /// How long the address has to rest still; `None` if it may try.
    pub(super) fn rest(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.table.get(&network(address))?;
        failures
            .end()
            .checked_duration_since(now)
            .filter(|rest| !rest.is_zero())
    }

    /// Whether a failed login is worth a line of the log: a flood of addresses must not wear out the disk that the log is on. The record
    /// counts them all.
    pub(super) fn is_logged(&mut self, now: Instant) -> bool {
        let minute = Duration::from_mins(1);
        match &mut self.logged {
            Some((since, count)) if now.duration_since(*since) < minute => {
                *count += 1;
                *count <= LOGGED_PER_MINUTE
            }
            other => {
                *other = Some((now, 1));
                true
            }
        }
    }

    /// Notes a failed login.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) {
        let address = network(address);
        if !self.table.contains_key(&address) && self.table.len() >= LOGIN_FAILURES_MAX {
            self.make_room(now);
        }
        let entry = self.table.entry(address).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.duration_since(entry.last) >= FORGET_AFTER {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
    }

    /// Forgets what is old, or else the eighth that may try again soonest: a flood of addresses with one failure each pushes its own
    /// out, and never an address that has to rest. An eighth at once, since looking for them takes as long for one.
    fn make_room(&mut self, now: Instant) {
        self.table
            .retain(|_, failures| now.duration_since(failures.last) < FORGET_AFTER);
        if self.table.len() < LOGIN_FAILURES_MAX {
            return;
        }
        let mut ends: Vec<Instant> = self.table.values().map(Failures::end).collect();
        let eighth = ends.len() / 8;
        if eighth < ends.len() {
            let (_, soonest, _) = ends.select_nth_unstable(eighth);
            self.table.retain(|_, failures| failures.end() > *soonest);
        }
    }
}

/// One IPv4 address, or the /64 that one IPv6 host can wander through at will.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_first_failures_are_free_and_then_the_rest_grows_to_its_bound() {
        let mut throttle = Throttle::default();
        let address = IpAddr::from([192, 168, 1, 9]);
        let now = Instant::now();
        let mut rests = Vec::new();
        for _ in 0..14 {
            throttle.failed(address, now);
            rests.push(throttle.rest(address, now).map_or(0, |rest| rest.as_secs()));
        }
        assert_eq!(rests, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(throttle.rest(address, now + REST_MAX), None);
        throttle.failed(address, now + FORGET_AFTER);
        assert_eq!(throttle.rest(address, now + FORGET_AFTER), None);
    }

    #[test]
    fn a_flood_of_failed_logins_does_not_flood_the_log() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let logged = |throttle: &mut Throttle, minute: u64| {
            let now = start + Duration::from_mins(minute);
            (0..1_000).filter(|_| throttle.is_logged(now)).count()
        };
        assert_eq!(logged(&mut throttle, 0), 30);
        assert_eq!(logged(&mut throttle, 0), 0);
        assert_eq!(logged(&mut throttle, 1), 30);
    }

    #[test]
    fn a_flood_of_addresses_stays_within_the_table() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        for number in 0..5_000_u32 {
            let now = start + Duration::from_millis(u64::from(number));
            throttle.failed(IpAddr::V4(Ipv4Addr::from_bits(number)), now);
        }
        assert!(throttle.table.len() <= LOGIN_FAILURES_MAX);
    }

    #[test]
    fn a_flood_of_addresses_does_not_let_one_that_rests_off() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let guesser = IpAddr::from([192, 168, 1, 9]);
        for _ in 0..10 {
            throttle.failed(guesser, now);
        }
        for number in 0..5_000_u32 {
            throttle.failed(IpAddr::V4(Ipv4Addr::from_bits(number)), now);
        }
        assert_eq!(throttle.rest(guesser, now), Some(Duration::from_secs(32)));
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for host in 0..9_u128 {
            throttle.failed(IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) | host)), now);
        }
        assert_eq!(throttle.table.len(), 1);
        assert!(
            throttle
                .rest(IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) | 0x4d)), now)
                .is_some()
        );
    }
}
