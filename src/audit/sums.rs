//! Reads and refusals of one minute as one line per caller, and one for all who have no credential: nobody without a key decides how much
//! is written. Pure: the caller says when a minute is over.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use serde_json::{Value, json};

use super::entry::{Entry, Kind};
use crate::base::clock::UnixMillis;
use crate::limits::{AUDIT_CALLERS_SUMMED, AUDIT_STRANGERS_NAMED};

/// Different reasons of refusals that are counted apart in one line; further ones count as `OTHER`.
const REASONS: usize = 16;

/// The name under which callers are summed who find no place of their own.
const OTHERS: &str = "(others)";

/// Counts by word.
#[derive(Debug, Default)]
struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    fn add(&mut self, word: &'static str) {
        let has_room = self.0.len() < REASONS;
        let known = self.0.iter_mut().find(|(known, _)| *known == word);
        match known {
            Some((_, count)) => *count += 1,
            None if has_room => self.0.push((word, 1)),
            None => {
                if let Some(last) = self.0.last_mut() {
                    *last = ("OTHER", last.1 + 1);
                }
            }
        }
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn json(&self) -> Value {
        self.0
            .iter()
            .map(|(word, count)| ((*word).to_owned(), json!(count)))
            .collect()
    }
}

#[derive(Debug, Default)]
struct Sum {
    reads: u64,
    logins: u64,
    refused: Counts,
    address: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Strangers {
    refused: Counts,
    addresses: Vec<(IpAddr, u64)>,
    /// Refusals of addresses that are not named.
    elsewhere: u64,
}

/// The minute that is running.
#[derive(Debug, Default)]
pub(super) struct Sums {
    callers: HashMap<Arc<str>, Sum>,
    strangers: Strangers,
}

impl Sums {
    fn of(&mut self, caller: &Arc<str>, address: Option<IpAddr>) -> &mut Sum {
        let is_full = self.callers.len() >= AUDIT_CALLERS_SUMMED;
        let name = if is_full && !self.callers.contains_key(caller) {
            Arc::from(OTHERS)
        } else {
            Arc::clone(caller)
        };
        let sum = self.callers.entry(name).or_default();
        sum.address = address.or(sum.address);
        sum
    }

    pub(super) fn read(&mut self, caller: &Arc<str>, address: Option<IpAddr>) {
        self.of(caller, address).reads += 1;
    }

    /// A login that got no line of its own.
    pub(super) fn login(&mut self, caller: &Arc<str>, address: Option<IpAddr>) {
        self.of(caller, address).logins += 1;
    }

    pub(super) fn refused(
        &mut self,
        caller: Option<&Arc<str>>,
        address: Option<IpAddr>,
        reason: &'static str,
    ) {
        let Some(caller) = caller else {
            self.strangers.refused(address, reason);
            return;
        };
        self.of(caller, address).refused.add(reason);
    }

    /// The lines of the minute that is over.
    pub(super) fn close(&mut self, at: UnixMillis) -> Vec<Entry> {
        let mut callers: Vec<_> = std::mem::take(&mut self.callers).into_iter().collect();
        callers.sort_by(|a, b| a.0.cmp(&b.0));
        let mut lines: Vec<_> = callers
            .into_iter()
            .map(|(caller, sum)| {
                let mut detail = json!({"reads": sum.reads, "refused": sum.refused.json()});
                if let (Some(fields), true) = (detail.as_object_mut(), sum.logins > 0) {
                    fields.insert("logins".to_owned(), sum.logins.into());
                }
                Entry {
                    caller: Some(caller),
                    address: sum.address,
                    ..Entry::new(Kind::Reads, at).with_detail(&detail)
                }
            })
            .collect();
        lines.extend(std::mem::take(&mut self.strangers).line(at));
        lines
    }
}

impl Strangers {
    fn refused(&mut self, address: Option<IpAddr>, reason: &'static str) {
        self.refused.add(reason);
        let Some(address) = address else { return };
        let has_room = self.addresses.len() < AUDIT_STRANGERS_NAMED;
        match self
            .addresses
            .iter_mut()
            .find(|(known, _)| *known == address)
        {
            Some((_, count)) => *count += 1,
            None if has_room => self.addresses.push((address, 1)),
            None => self.elsewhere += 1,
        }
    }

    fn line(self, at: UnixMillis) -> Option<Entry> {
        let total = self.refused.total();
        let addresses = self.addresses.iter();
        let addresses: Vec<_> = addresses
            .map(|(address, count)| json!({"address": address, "refused": count}))
            .collect();
        let detail = json!({
            "refused": total,
            "reasons": self.refused.json(),
            "addresses": addresses,
            "elsewhere": self.elsewhere,
        });
        (total > 0).then(|| Entry::new(Kind::Refusals, at).with_detail(&detail))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_minute_is_one_line_for_each_caller_and_one_for_all_strangers() {
        let mut sums = Sums::default();
        let (desk, wall): (Arc<str>, Arc<str>) = ("desk".into(), "wall".into());
        let address = IpAddr::from([192, 168, 5, 20]);
        for _ in 0..100 {
            sums.read(&desk, Some(address));
        }
        sums.read(&wall, None);
        sums.refused(Some(&desk), None, "FORBIDDEN");
        for number in 0..100_000 {
            let address = Ipv6Addr::from_bits(number).into();
            sums.refused(None, Some(address), "UNKNOWN_KEY");
        }
        let lines = sums.close(UnixMillis(0));
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[0].detail(),
            json!({"reads": 100, "refused": {"FORBIDDEN": 1}})
        );
        assert_eq!(lines[0].address, Some(address));
        let strangers = lines[2].detail();
        assert_eq!(strangers["refused"], 100_000);
        assert_eq!(strangers["elsewhere"], 100_000 - 8);
        assert!(sums.close(UnixMillis(0)).is_empty());
    }

    #[test]
    fn more_callers_than_places_share_one_line() {
        let mut sums = Sums::default();
        for number in 0..2_000 {
            sums.read(&format!("caller {number}").into(), None);
        }
        let lines = sums.close(UnixMillis(0));
        assert_eq!(lines.len(), AUDIT_CALLERS_SUMMED + 1);
        let others = lines
            .iter()
            .find(|line| line.caller.as_deref() == Some(OTHERS));
        assert_eq!(others.unwrap().detail()["reads"], 2_000 - 512);
    }
}
