//! What is on record: the sections `[audit]` and `[log]`.

use std::path::PathBuf;
use std::time::Duration;

/// Section `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Whether the arguments of calls that read are kept in memory.
    pub detail: bool,
    /// Whether a write is refused whose intent cannot be put on disk.
    pub required: bool,
    /// Bytes of all segments.
    pub bytes_max: u64,
    /// Age at which a segment is let go.
    pub age_max: Duration,
    /// A file that is there once the clock is synchronised; absent if the clock is believed as it is.
    pub clock_file: Option<PathBuf>,
    /// Where lines are forwarded to as syslog.
    pub syslog: Option<SyslogTarget>,
    /// The socket of journald, if lines are forwarded to it.
    pub journald: Option<PathBuf>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            detail: false,
            required: false,
            bytes_max: 16 << 20,
            age_max: Duration::from_hours(400 * 24),
            clock_file: Some(PathBuf::from("/run/systemd/timesync/synchronized")),
            syslog: None,
            journald: None,
        }
    }
}

/// A receiver of syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogTarget {
    /// `udp://HOST:PORT`
    Udp(String),
    /// `tcp://HOST:PORT`
    Tcp(String),
    /// `unix:/dev/log`
    Socket(PathBuf),
}

impl std::str::FromStr for SyslogTarget {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let address = |rest: &str| {
            let (host, port) = rest.rsplit_once(':').ok_or(())?;
            let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
            let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
            (is_port && is_host).then(|| rest.to_owned()).ok_or(())
        };
        if let Some(rest) = text.strip_prefix("udp://") {
            return address(rest).map(Self::Udp);
        }
        if let Some(rest) = text.strip_prefix("tcp://") {
            return address(rest).map(Self::Tcp);
        }
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Socket(path.into())),
            _ => Err(()),
        }
    }
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Level or filter.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether each HTTP request gets a line.
    pub requests: bool,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Sentences for people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}
