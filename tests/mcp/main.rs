//! The protocol layer behind its HTTP surface, over in-memory pipes: every row of the validation ladder, sessions of older
//! revisions, the guard, and the bounds. Every JSON-RPC answer is checked against the official schema of its revision.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail loudly"
)]

mod asker;
mod bad_arguments;
mod bed;
mod board;
mod bridge;
mod completion;
mod connection;
mod doors;
mod fixture;
mod front;
mod hang_up;
mod hostile;
mod jobs;
mod keys;
mod legacy;
mod modern;
mod mrtr;
mod pages;
mod pipe_questions;
mod pipes;
mod prompts;
mod rates;
mod resources;
mod resume;
mod schemas;
mod sessions;
mod shelf;
mod sse;
mod streams;
mod subscriptions;
mod tasks;
mod trail;
mod websocket;
