//! Designs that come with the simulated Core.

mod generated;
mod parts;
mod venue;

pub use generated::generated;
pub use venue::venue;
