//! The way to the collector of traces, as the configuration has it.

use std::sync::Arc;

use super::parts::Parts;
use super::secrets;
use crate::base::secret::Secret;
use crate::config::{Config, tracing::pairs_in};
use crate::limits::COLLECTOR_HEADERS_MAX;
use crate::link::{Dial, NetDial};
use crate::ops::export::Collector;
use crate::telemetry::spans::{self, Share, Spans};

/// Begins to send traces, if there is somebody to send them to.
///
/// # Errors
///
/// The collector cannot be used.
pub(super) fn begin(config: &Config, parts: &mut Parts) -> anyhow::Result<Arc<Spans>> {
    let spans = Arc::clone(spans::of_process());
    if let Some(collector) = collector(config)? {
        let rules = &config.tracing;
        spans.begin(Share::of_percent(rules.percent), rules.follows_callers);
        // Clients are done when links begin to stop. Whatever is not sent when the store has stopped, too, is left behind.
        let (last, stop) = (parts.stop_links.clone(), parts.stop_store.clone());
        parts
            .store
            .spawn(collector.serve(Arc::clone(&spans), last, stop));
    }
    Ok(spans)
}

/// The collector, with the headers of the file that the configuration names.
///
/// # Errors
///
/// It cannot be used.
pub(super) fn collector(config: &Config) -> anyhow::Result<Option<Collector>> {
    let rules = &config.tracing;
    let headers = match &rules.headers_file {
        Some(file) if rules.endpoint.is_some() => {
            let text = secrets::secret("tracing.headers-file", file)?;
            let pairs: Vec<_> = pairs_in(text.expose())
                .map(|(name, value)| (name, Secret::new(&value)))
                .collect();
            anyhow::ensure!(
                (1..=COLLECTOR_HEADERS_MAX).contains(&pairs.len()),
                "tracing.headers-file: {} needs 1 to {COLLECTOR_HEADERS_MAX} headers, `name=value` on a line each",
                file.display()
            );
            pairs
        }
        _ => Vec::new(),
    };
    // Not as Cores are reached: a collector is no Core, also where those are simulated.
    let network: Arc<dyn Dial> = Arc::new(NetDial);
    Ok(Collector::new(rules, headers, network)?)
}
