//! What travels between the box and a Core: the JSON-RPC envelope and QRC's methods, and what a Core announces of itself. Types only, no
//! sockets, no state.
//!
//! Exact when sending, lenient when reading: the same types serve the link (a client) and the simulated Core (a server).

pub mod jsonrpc;
pub mod poll;
pub mod qdp;
pub mod qrc;
