//! Facts about a Q-SYS system, free of wire, store and protocol: names, control states, engine states, and the one way up for changes.

pub mod change;
pub mod control;
pub mod name;
