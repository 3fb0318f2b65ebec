//! The whole box under paused time: simulated Cores, links, mirrors, the store, tools, and MCP over HTTP, each test an incident.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail loudly"
)]

mod access;
mod bed;
mod clients;
mod designs;
mod health;
mod memory;
mod metrics;
mod offers;
mod older;
mod outage;
mod roles;
mod routes;
mod size;
mod telemetry;
mod tokens;
mod watches;
mod writes;
