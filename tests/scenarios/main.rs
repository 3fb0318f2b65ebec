//! Incidents, each told as a test with its name: the real parts against the simulated Core over in-memory pipes, under a paused clock.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

mod bed;
mod link;
mod pair;
