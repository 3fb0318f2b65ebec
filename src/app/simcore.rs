//! `rackhand simcore`: a simulated Core on real sockets, until a signal.

pub use crate::sim::Options;
pub use crate::sim::listen::{Addresses, SimcoreOptions};

use super::stop_on_signals;
use crate::base::shutdown::Stop;
use crate::sim::listen;

/// Serves a simulated Core, or a pair, until a signal.
///
/// # Errors
///
/// A socket could not be bound, or no certificate could be made.
pub async fn run(options: SimcoreOptions) -> anyhow::Result<()> {
    let stop = Stop::new();
    let served = listen::run(options, stop.clone());
    stop_on_signals(async { Ok(served.await?) }, stop).await
}
