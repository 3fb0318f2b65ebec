//! Standard input and output as a transport: one message a line, so that hosts which start a program and talk to it need nothing
//! else. [`Bridge`] carries the messages to a box that runs elsewhere; [`serve`] is a box by itself.
//!
//! Standard output belongs to the protocol alone; whatever a person should read goes to the log on standard error.

mod address;
mod answer;
mod bridge;
mod carry;
mod client;
mod events;
mod fault;
mod lines;
mod serve;
mod session;

pub use address::{Address, AddressError};
pub use bridge::Bridge;
pub use client::Client;
pub use serve::serve;
