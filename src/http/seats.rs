//! Places for connections, few in all and fewer for each address. Nobody who only holds a place keeps another client out: when there is
//! none left, who was idle longest at the address that holds most has to go.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::base::shutdown::Stop;

/// Places of one kind.
#[derive(Debug)]
pub(super) struct Seats {
    all: usize,
    per_address: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    taken: HashMap<u64, Taken>,
    by_network: HashMap<IpAddr, usize>,
    next: u64,
}

#[derive(Debug)]
struct Taken {
    network: IpAddr,
    usage: Arc<Usage>,
}

/// Why there is no place: everybody who holds one is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// None in all.
    All,
    /// None for this address.
    Address,
}

/// What the holder of a place does.
#[derive(Debug)]
pub(super) struct Usage {
    busy: AtomicUsize,
    idle_since: Mutex<Instant>,
    leave: Stop,
}

/// Keeps a place from being taken away while it lives.
#[derive(Debug)]
pub(super) struct Busy(Arc<Usage>);

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    id: u64,
    pub(super) usage: Arc<Usage>,
}

impl Usage {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            busy: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            leave: Stop::new(),
        })
    }

    /// Begins with some work.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Since when nothing is done, if nothing is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.busy.load(Ordering::Relaxed) == 0).then(|| *self.idle_since.lock())
    }

    /// Ends what it is about.
    pub(super) fn cut(&self) {
        self.leave.cancel();
    }

    /// Returns when the place was given to somebody else, or the connection is to end.
    pub(super) async fn left(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seats {
    pub(super) fn new(all: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            per_address,
            table: Mutex::default(),
        })
    }

    /// Whoever holds this holds up the acceptors.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop {
        self.table.lock()
    }

    /// How many are taken, at this moment.
    pub(super) fn taken(&self) -> usize {
        self.table.lock().taken.len()
    }

    /// Takes the places of those away who have been idle for so long. How many.
    pub(super) fn cut_idle(&self, since: Duration) -> usize {
        let now = Instant::now();
        let table = self.table.lock();
        let idle = table.taken.values().filter(|taken| {
            let idle = taken.usage.idle_since();
            idle.is_some_and(|at| now.saturating_duration_since(at) >= since)
                && !taken.usage.leave.is_cancelled()
        });
        idle.map(|taken| taken.usage.cut()).count()
    }

    /// A place for a client at this address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let network = network(address);
        let usage = Usage::new();
        let mut table = self.table.lock();
        let own = table.by_network.get(&network).copied().unwrap_or(0);
        if own >= self.per_address {
            table.make_room(Some(network)).ok_or(Full::Address)?;
        } else if table.taken.len() >= self.all {
            table.make_room(None).ok_or(Full::All)?;
        }
        let id = table.next;
        table.next += 1;
        *table.by_network.entry(network).or_insert(0) += 1;
        let taken = Taken {
            network,
            usage: Arc::clone(&usage),
        };
        table.taken.insert(id, taken);
        drop(table);
        Ok(Seat {
            seats: Arc::clone(self),
            id,
            usage,
        })
    }
}

impl Table {
    /// Takes the place of somebody idle away: of this network, or of the one that holds most.
    fn make_room(&mut self, network: Option<IpAddr>) -> Option<()> {
        let idle = self.taken.iter().filter_map(|(id, taken)| {
            let is_asked = network.is_none_or(|network| network == taken.network);
            let since = taken.usage.idle_since().filter(|_| is_asked)?;
            let held = self.by_network.get(&taken.network).copied();
            Some((held, Reverse(since), *id))
        });
        let (_, _, id) = idle.max()?;
        let left = self.free(id)?;
        left.usage.cut();
        Some(())
    }

    fn free(&mut self, id: u64) -> Option<Taken> {
        let freed = self.taken.remove(&id)?;
        if let Some(held) = self.by_network.get_mut(&freed.network) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.by_network.remove(&freed.network);
            }
        }
        Some(freed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let freed = self.seats.table.lock().free(self.id);
        drop(freed);
    }
}

/// One IPv4 address, or the /64 that one IPv6 host can wander through at will.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 168, 1, last])
    }

    fn has_left(seat: &Seat) -> bool {
        seat.usage.leave.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_idle_longest_at_the_fullest_address_makes_room() {
        let seats = Seats::new(4, 3);
        let quiet = seats.take(address(1)).unwrap();
        let mut crowd = Vec::new();
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
            crowd.push(seats.take(address(2)).unwrap());
        }
        let _newcomer = seats.take(address(3)).unwrap();
        assert!(has_left(&crowd[0]) && !has_left(&crowd[1]) && !has_left(&quiet));
        drop(crowd.remove(0));
        let _another = seats.take(address(4)).unwrap();
        assert!(has_left(&crowd[0]) && !has_left(&quiet));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_makes_room_for_itself_and_who_is_at_work_keeps_his_place() {
        let seats = Seats::new(8, 2);
        let first = seats.take(address(1)).unwrap();
        let work = first.usage.begin();
        let second = seats.take(address(1)).unwrap();
        let third = seats.take(address(1)).unwrap();
        assert!(!has_left(&first) && has_left(&second));
        let _more = third.usage.begin();
        assert_eq!(seats.take(address(1)).err(), Some(Full::Address));
        drop(work);
        seats.take(address(1)).unwrap();
        assert!(has_left(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn only_when_all_are_at_work_there_is_no_place() {
        let seats = Seats::new(2, 2);
        let held = [1, 2].map(|last| seats.take(address(last)).unwrap());
        let work = held.each_ref().map(|seat| seat.usage.begin());
        assert_eq!(seats.take(address(3)).err(), Some(Full::All));
        drop((work, held));
        assert!(seats.table.lock().by_network.is_empty());
        seats.take(address(3)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_ipv6_network_counts_as_one_address() {
        let seats = Seats::new(8, 1);
        let first = seats.take("2001:db8::1".parse().unwrap()).unwrap();
        let _second = seats.take("2001:db8::ffff".parse().unwrap()).unwrap();
        assert!(has_left(&first));
    }
}
