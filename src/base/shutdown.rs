//! The stop token, shared by all tasks, and the two ways in which the process ends by it.

pub use tokio_util::sync::CancellationToken as Stop;

/// How a part of the process has the whole of it end.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// In order: what is under way is finished.
    pub stop: Stop,
    /// At once, once `stop` is cancelled as well: what is under way is cut.
    pub hurry: Stop,
}
