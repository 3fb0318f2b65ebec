//! What the box says of itself: the log and the numbers.

pub mod logging;
pub mod metrics;
