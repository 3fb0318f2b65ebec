//! What the box says of itself: the log, the numbers, and the traces.

pub mod logging;
pub mod meter;
pub mod metrics;
pub mod spans;
pub mod switches;
