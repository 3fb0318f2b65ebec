//! The protocol layer behind its HTTP surface, over in-memory pipes: every row of the validation ladder, sessions of older
//! revisions, the guard, and the bounds. Every JSON-RPC answer is checked against the official schema of its revision.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail loudly"
)]

mod bed;
mod bridge;
mod fixture;
mod front;
mod legacy;
mod modern;
mod schemas;
