//! What the box says of itself: the log now, metrics and traces beside it.

pub mod logging;
