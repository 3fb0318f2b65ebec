//! **rackhand**: the flight recorder and the safety rail between AI clients and a live Q-SYS system.

pub mod base;
pub mod guard;
pub mod limits;
pub mod link;
pub mod model;
pub mod service;
pub mod sim;
pub mod store;
pub mod wire;
