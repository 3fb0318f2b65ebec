//! The simulated Core: QRC as real Cores speak it, over WebSocket and TCP, with faults that can be switched while it runs.
//!
//! It is part of the product, since the demo runs on it. [`SimCore`] is a handle; [`design`] makes designs; [`listen`] binds
//! sockets. Everything it knows is in one `World` behind one lock that is never held over an await; time is `tokio`'s, so that it
//! runs under a paused clock. Nothing ticks: ramps and meters are brought up to date when somebody looks.

pub mod console;
mod control;
pub mod core;
pub mod design;
mod designs;
mod fault;
mod groups;
pub mod listen;
mod methods;
mod mixer;
mod paging;
mod plant;
#[cfg(test)]
mod tests;
mod world;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use self::control::Write;
use self::design::Design;
pub use self::fault::Outage;
use self::plant::{Key, Plant};
pub use self::world::WriteSeen;
use self::world::{Half, World};
use crate::base::secret::Secret;
use crate::wire::qrc::{EngineState, Method};

/// How a simulated Core is set up. The default has no access control, closes after 60 s of silence and moves its meters at 10 Hz.
#[derive(Debug, Clone)]
pub struct Options {
    /// User and PIN; with them, commands need a `Logon` first.
    pub logon: Option<(String, Secret)>,
    /// Access key; with it, every frame needs it (or the connection a `Logon`).
    pub api_key: Option<Secret>,
    /// How long a client may be silent (Q-SYS Help, QRC Overview: 60 s).
    pub idle_close: Duration,
    /// How often meters move; zero stops them.
    pub meter_period: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            logon: None,
            api_key: None,
            idle_close: Duration::from_mins(1),
            meter_period: Duration::from_millis(100),
        }
    }
}

impl Options {
    fn admits_everybody(&self) -> bool {
        self.logon.is_none() && self.api_key.is_none()
    }

    fn admits_key(&self, key: Option<&str>) -> bool {
        self.api_key
            .as_ref()
            .zip(key)
            .is_some_and(|(own, key)| *own == Secret::new(key))
    }

    fn admits_user(&self, user: &str, pin: &str) -> bool {
        self.logon
            .as_ref()
            .is_none_or(|(own_user, own_pin)| own_user == user && *own_pin == Secret::new(pin))
    }
}

/// A simulated Core. Clones are handles to the same Core.
#[derive(Debug, Clone)]
pub struct SimCore {
    shared: Arc<Shared>,
    half: usize,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    /// Rung when something changed that a connection may have to act on.
    bell: watch::Sender<()>,
}

impl SimCore {
    /// One Core that runs a design.
    #[must_use]
    pub fn new(design: Design, options: Options) -> Self {
        Self::of(design, vec![(options, EngineState::Active)])
    }

    /// A redundant pair that runs one design, the first of the two active.
    #[must_use]
    pub fn pair(design: Design, options: Options) -> (Self, Self) {
        let first = Self::of(
            design,
            vec![
                (options.clone(), EngineState::Active),
                (options, EngineState::Standby),
            ],
        );
        let second = Self {
            half: 1,
            ..first.clone()
        };
        (first, second)
    }

    fn of(design: Design, halves: Vec<(Options, EngineState)>) -> Self {
        let period = halves
            .first()
            .map_or(Duration::ZERO, |(options, _)| options.meter_period);
        let world = World {
            plant: Plant::new(design, period, Instant::now()),
            halves: halves
                .into_iter()
                .map(|(options, state)| Half::new(options, state))
                .collect(),
            paging: paging::Paging::default(),
        };
        Self {
            shared: Arc::new(Shared {
                world: Mutex::new(world),
                bell: watch::Sender::new(()),
            }),
            half: 0,
        }
    }

    /// Looks at the world as it is now.
    fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.shared.world.lock())
    }

    /// Works in the world; for a connection, which sees to itself afterwards.
    fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.shared.world.lock())
    }

    /// Changes the world and lets every connection see to it.
    fn change<T>(&self, change: impl FnOnce(&mut World, Instant) -> T) -> T {
        let now = Instant::now();
        let outcome = self.with(|world| {
            world.advance(now);
            change(world, now)
        });
        self.shared.bell.send_replace(());
        outcome
    }

    fn read<T>(
        &self,
        component: &str,
        control: &str,
        read: impl FnOnce(&control::Control) -> T,
    ) -> Option<T> {
        self.with(|world| {
            world.advance(Instant::now());
            let key = world.plant.find(component, control)?;
            world.plant.control(key).map(read)
        })
    }

    /// A control's value at this moment; 0 and 1 for booleans. Invisible components count too.
    #[must_use]
    pub fn value(&self, component: &str, control: &str) -> Option<f64> {
        self.read(component, control, |control| control.value)
    }

    /// A control's text as Designer shows it at this moment.
    #[must_use]
    pub fn text(&self, component: &str, control: &str) -> Option<String> {
        self.read(component, control, |control| control.string().into_owned())
    }

    /// A named control's value at this moment.
    #[must_use]
    pub fn named_value(&self, name: &str) -> Option<f64> {
        self.with(|world| {
            world.advance(Instant::now());
            let key = world.plant.named(name)?;
            world.plant.control(key).map(|control| control.value)
        })
    }

    /// Moves a control as if a person or the Core itself did, read-only ones too. False if there is no such control.
    #[expect(clippy::must_use_candidate, reason = "what was meant is the effect")]
    pub fn set_value(&self, component: &str, control: &str, value: f64) -> bool {
        self.set(component, control, &Write::number(value, None))
    }

    /// Like [`SimCore::set_value`], by text.
    #[expect(clippy::must_use_candidate, reason = "what was meant is the effect")]
    pub fn set_text(&self, component: &str, control: &str, text: &str) -> bool {
        self.set(component, control, &Write::text(text))
    }

    fn set(&self, component: &str, control: &str, write: &Write) -> bool {
        self.change(|world, now| {
            let key: Option<Key> = world.plant.find(component, control);
            let Some(key) = key else { return false };
            world.plant.force(key, write, now);
            world.advance(now);
            true
        })
    }

    /// The latest writes that reached this Core, answered or not, oldest first; at most 10,000.
    #[must_use]
    pub fn writes(&self) -> Vec<WriteSeen> {
        self.look(|world| {
            world
                .half(self.half)
                .map_or_else(Vec::new, |half| half.writes.iter().cloned().collect())
        })
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.look(|world| world.half(self.half).map_or(0, |half| half.conns.len()))
    }

    /// Connections that were ever taken in (refused ones and those closed at once do not count).
    #[must_use]
    pub fn connections_seen(&self) -> u64 {
        self.look(|world| world.half(self.half).map_or(0, Half::accepted))
    }

    /// Requests of a method that reached this Core.
    #[must_use]
    pub fn requests_seen(&self, method: Method) -> u64 {
        self.look(|world| {
            world
                .half(self.half)
                .and_then(|half| half.seen.get(&method).copied())
                .unwrap_or(0)
        })
    }

    /// Whether a connection attempt would be accepted: false while the Core refuses. For dialers of in-memory streams.
    #[must_use]
    pub fn accepts(&self) -> bool {
        let now = Instant::now();
        self.look(|world| {
            world
                .half(self.half)
                .is_some_and(|half| half.faults.admission(now) != fault::Admission::Refuse)
        })
    }

    /// The design as it runs, for another compile of it.
    #[must_use]
    pub fn design(&self) -> Design {
        self.look(|world| world.plant.design().clone())
    }

    /// Whether this is the Core that takes commands.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.look(|world| {
            world
                .half(self.half)
                .is_some_and(|half| half.state == EngineState::Active)
        })
    }
}
