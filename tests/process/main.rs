//! The real program: processes, sockets of this machine, signals, and real time. Everything waits for what a process says or
//! answers, never for a while.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail loudly"
)]

mod audit;
mod bed;
mod commands;
mod first;
mod health;
mod life;
mod manager;
mod memory;
mod stdio;
mod store;
mod tls;
mod traces;
