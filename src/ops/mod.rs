//! How the box looks after itself.

pub mod watchdog;
