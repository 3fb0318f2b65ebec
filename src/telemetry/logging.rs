//! Sentences for people, on standard error: with time and colour on a terminal, bare under journald, which stamps them itself.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging at a level or filter such as `info,rackhand::link=debug`.
///
/// # Errors
///
/// The filter cannot be read.
pub fn start(filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let is_terminal = std::io::stderr().is_terminal();
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal);
    // A second call, in a test, keeps the first subscriber.
    let _already_started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        format.without_time().with_target(false).try_init()
    } else {
        format.with_target(false).try_init()
    };
    Ok(())
}
