//! How the box fares: what it measures of itself and of the machine, and the verdicts over that.

pub mod health;
pub mod host;
pub mod pulse;
