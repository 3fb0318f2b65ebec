//! What the box knows of a Core: the mirror in memory, which everybody reads, and the store behind it, which only its writer touches.

mod codec;
pub mod mirror;
mod schema;
pub mod view;

pub use mirror::Mirror;
