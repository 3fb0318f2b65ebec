//! What is switched while the box runs: by a signal, by an admin, and back by itself.

use std::sync::Arc;

use serde_json::{Map, json};
use tokio::signal::unix::{SignalKind, signal};

use super::parts::Parts;
use super::traces;
use crate::audit::{Audit, Kind};
use crate::config::Config;
use crate::limits::SIGNALLED_FOR;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::Share;
use crate::telemetry::switches::Switches;

/// Puts every switch where the configuration has it, and looks after them. What they act on begins with them: traces and numbers.
///
/// # Errors
///
/// The collector cannot be used, or the signal cannot be heard.
pub(super) fn begin(
    config: &Config,
    audit: &Audit,
    parts: &mut Parts,
) -> anyhow::Result<(Arc<Switches>, Arc<Metrics>)> {
    let (spans, metrics) = (traces::begin(config, parts)?, Arc::<Metrics>::default());
    let switches = Arc::new(Switches::new(
        Share::of_percent(config.tracing.percent),
        spans,
        (Arc::clone(audit.detail()), config.audit.detail),
        (Arc::clone(metrics.detail()), config.metrics.detail),
    ));
    let mut toggles = signal(SignalKind::user_defined1())?;
    let (kept, audit, stop) = (
        Arc::clone(&switches),
        audit.clone(),
        parts.stop_http.clone(),
    );
    parts.http.spawn(async move {
        loop {
            let by = tokio::select! {
                biased;
                () = stop.cancelled() => return "switches",
                over = kept.ended() => {
                    let names: Vec<&str> = over.iter().map(|one| one.as_str()).collect();
                    tracing::info!("As usual again: {}.", names.join(", "));
                    "time"
                }
                _ = toggles.recv() => {
                    if kept.toggle() {
                        let minutes = SIGNALLED_FOR.as_secs() / 60;
                        tracing::info!("Everything is logged and traced for {minutes} minutes, or until the next SIGUSR1.");
                    } else {
                        tracing::info!("Logged and traced as usual again, by SIGUSR1.");
                    }
                    "SIGUSR1"
                }
            };
            note(&audit, &kept, by);
        }
    });
    Ok((switches, metrics))
}

/// What an admin switches is on record as a call; this is the rest.
fn note(audit: &Audit, switches: &Switches, by: &str) {
    let standings = switches.standings().into_iter();
    let now: Map<_, _> = standings
        .map(|one| {
            let name = one.now.switch().as_str();
            (name.to_owned(), one.now.words().into())
        })
        .collect();
    audit.note(Kind::Config, None, &json!({ "telemetry": now, "by": by }));
}
