//! The stop token, shared by all tasks, and the row of phases in which the process stops.

pub use tokio_util::sync::CancellationToken as Stop;
