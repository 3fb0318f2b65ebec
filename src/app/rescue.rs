//! `rackhand rescue`: says why the service does not stay up, at the addresses where it would be. It opens no store and reaches no Core, so
//! that what broke the service cannot break it as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::systemd::Inherited;
use super::{bind, certificate, endpoint, keys, server_info, stop_on_signals, surface};
use crate::base::clock::UnixMillis;
use crate::base::file;
use crate::base::shutdown::Stop;
use crate::base::text::for_log;
use crate::config::Config;
use crate::guard::Guard;
use crate::limits::{LAST_FAILURE_AGE_MAX, LAST_FAILURE_MAX_BYTES, RESCUE_TIME};
use crate::mcp::Server;
use crate::ops::health::{Level, Report, Source, Standing};
use crate::tls::Certificates;

/// What the service said last before it ended with a fault.
const LAST_FAILURE: &str = "last-failure.txt";

/// Keeps what the service ended with, for [`run`]. That it cannot be kept is no further fault.
pub fn remember(data: &Path, fault: &anyhow::Error) {
    let text = format!(
        "{} {}\n",
        UnixMillis::now().to_iso(),
        for_log(&format!("{fault:#}"))
    );
    let end = text.floor_char_boundary(LAST_FAILURE_MAX_BYTES);
    let _ = file::replace(
        &data.join(LAST_FAILURE),
        text.get(..end).unwrap_or_default().as_bytes(),
    );
}

/// Why the service is not there, as far as it can be known: the service manager's word, faults of the configuration, its own last words.
fn reason(
    variable: impl Fn(&str) -> Option<String>,
    problems: Option<&str>,
    data: &Path,
) -> String {
    let status = variable("MONITOR_EXIT_STATUS").unwrap_or_default();
    let mut reason = match variable("MONITOR_SERVICE_RESULT").as_deref() {
        Some("watchdog") => {
            "The service stopped answering its watchdog, again and again.".to_owned()
        }
        Some("oom-kill") => "The service took more memory than it may, again and again.".to_owned(),
        Some("timeout") => "The service did not start or stop in time.".to_owned(),
        Some(result) => format!(
            "The service does not stay up ({} {}).",
            for_log(result),
            for_log(&status)
        ),
        None => "The service does not run.".to_owned(),
    };
    if let Some(problems) = problems {
        reason.push_str(" Its configuration cannot be used: ");
        reason.push_str(problems);
    }
    if let Some(last) = last_words(&data.join(LAST_FAILURE)) {
        reason.push_str(" Its last words: ");
        reason.push_str(&for_log(last.trim_end()));
    }
    reason
}

/// What was said lately; older words are of another matter.
fn last_words(path: &Path) -> Option<String> {
    let age = fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()?;
    (age < LAST_FAILURE_AGE_MAX)
        .then(|| fs::read_to_string(path).ok())
        .flatten()
}

/// Serves the page until a signal, or for as long as it takes until another try is worth it.
///
/// # Errors
///
/// The addresses cannot be had.
pub async fn run(file: &Path, data: Option<PathBuf>, inherited: Inherited) -> anyhow::Result<()> {
    let (mut config, problems) = match super::read(file, data.as_deref()) {
        Ok((config, problems)) => (config, problems.to_string()),
        Err(fault) => (Config::read("", &BTreeMap::new()).0, fault.to_string()),
    };
    if let Some(data) = data {
        config.store.path = data;
    }
    let problems = Some(problems.as_str()).filter(|problems| !problems.is_empty());
    let reason = reason(
        |name| std::env::var(name).ok(),
        problems,
        &config.store.path,
    );
    let stop = Stop::new();
    stop_on_signals(serve(config, reason, inherited, stop.clone()), stop).await
}

async fn serve(
    config: Config,
    reason: String,
    inherited: Inherited,
    stop: Stop,
) -> anyhow::Result<()> {
    let minutes = RESCUE_TIME.as_secs() / 60;
    tracing::error!("{reason} A page keeps its place and says so, for {minutes} minutes.");
    let data = &config.store.path;
    let (guard, _told_on_the_page) = Guard::over(keys::key_file(data));
    let guard = Arc::new(keys::limited(
        guard.with_time(keys::time(data)),
        &config.rate,
    ));
    let server = Arc::new(Server::new(&[], server_info())?);
    let broken = Arc::new(Broken::new(reason));
    let front = Arc::new(surface(&config, server, guard, broken));
    let mut tasks = JoinSet::new();
    inherited.check_plain(config.listen.address)?;
    let plain = bind(config.listen.address, &inherited).await?;
    let address = plain.local_addr()?;
    tasks.spawn(Arc::clone(&front).serve(plain, stop.clone()));
    tracing::info!("Serving the page on {}", endpoint("http", address));
    match secure(&config, &inherited).await {
        Ok(Some((listener, certificates))) => {
            let address = listener.local_addr()?;
            tasks.spawn(front.serve_secure(listener, certificates, stop.clone()));
            tracing::info!(
                "Serving the page with TLS on {}",
                endpoint("https", address)
            );
        }
        Ok(None) => {}
        Err(fault) => tracing::warn!("there is no page with TLS: {fault:#}"),
    }
    let _over = timeout(RESCUE_TIME, stop.cancelled()).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn secure(
    config: &Config,
    inherited: &Inherited,
) -> anyhow::Result<Option<(TcpListener, Arc<Certificates>)>> {
    let Some(tls) = &config.listen.tls else {
        return Ok(None);
    };
    let certificates = Certificates::open(certificate::source(config, tls))?;
    Ok(Some((bind(tls.address, inherited).await?, certificates)))
}

/// A service that is not there.
struct Broken(Arc<Report>);

impl Broken {
    fn new(reason: String) -> Self {
        let now = Instant::now();
        let mut report = Report::new(now);
        report.level = Level::Unhealthy;
        report.not_ready = Some("The service does not run.");
        report.standings.push(Standing {
            name: "service",
            tells_names: true,
            level: Level::Unhealthy,
            reason: reason.into(),
            since: now,
            last_good: None,
            changes: 0,
        });
        Self(Arc::new(report))
    }
}

impl Source for Broken {
    fn report(&self) -> Arc<Report> {
        Arc::clone(&self.0)
    }

    fn detail(&self) -> Value {
        json!({})
    }
}
