//! Small tools without knowledge of Q-SYS or MCP: delays, clocks, stopping, secrets, names of wall-clock moments.

pub mod backoff;
pub mod clock;
pub mod file;
pub mod flight;
pub mod glob;
pub mod json;
pub mod life;
pub(crate) mod places;
pub mod rate;
pub mod secret;
pub mod shutdown;
pub mod text;
pub mod trace;
