//! What clients make the server hold at a moment: the counters behind its limits.

use super::Server;

/// What clients make the server hold. Each figure stays below its limit in [`crate::limits`], whatever clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Sessions of older revisions.
    pub sessions: usize,
    /// Event streams and connections on which everything travels.
    pub streams: usize,
    /// Calls under way that may speak before their answer.
    pub calls: usize,
    /// Bytes of their messages.
    pub call_bytes: usize,
    /// Subscriptions to resources and tasks.
    pub subscriptions: usize,
    /// Bytes of their names.
    pub subscription_bytes: usize,
    /// Clients that hear of changes.
    pub listeners: usize,
    /// Bytes kept of streams, to be taken up again.
    pub kept_bytes: usize,
    /// Tasks, those that are over included until they expire.
    pub tasks: usize,
    /// Bytes of their results and questions.
    pub task_bytes: usize,
}

impl Server {
    /// What clients make it hold now.
    #[must_use]
    pub fn load(&self) -> Load {
        let (calls, call_bytes) = self.attended.taken();
        let (listeners, (subscriptions, subscription_bytes)) = self.hub.taken();
        let (tasks, task_bytes) = self.tasks.taken();
        Load {
            sessions: self.sessions.lock().len(),
            streams: self.streams.count(),
            calls,
            call_bytes,
            subscriptions,
            subscription_bytes,
            listeners,
            kept_bytes: self.shelf.bytes(),
            tasks,
            task_bytes,
        }
    }
}
