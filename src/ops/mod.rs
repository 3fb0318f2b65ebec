//! How the box fares and looks after itself: what it measures of itself and of the machine, the verdicts over that, and what keeps the
//! service manager content.

pub mod export;
pub mod health;
pub mod host;
pub mod pressure;
pub mod pulse;
pub mod watchdog;
