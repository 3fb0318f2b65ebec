//! Lines on their way to other receivers: syslog (RFC 5424) over UDP, TCP or the local socket, and journald. What a receiver does not take
//! at once is dropped and counted: the trail is on this box's own disk, and a receiver that is gone must cost nothing here.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::entry::{Entry, Kind};
use crate::base::text::plain_json;
use crate::config::{AuditConfig, SyslogTarget};
use crate::limits::AUDIT_FORWARD_QUEUE;

/// Longest that one line may take to be sent, a connection included.
const SEND_LIMIT: Duration = Duration::from_secs(3);

/// Rest after a receiver could not be reached. Lines of that time are dropped.
const REST: Duration = Duration::from_secs(5);

/// Facility "log audit" and severity "informational" or "notice" (RFC 5424, section 6.2.1).
const LOG_AUDIT: u8 = 13 * 8;

/// Where lines go in.
#[derive(Debug)]
pub(super) struct Outbox {
    lines: mpsc::Sender<Arc<Entry>>,
    dropped: Arc<AtomicU64>,
}

impl Outbox {
    pub(super) fn put(&self, entry: Arc<Entry>) {
        if self.lines.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Sends lines on, as a part of the keeper's task.
#[derive(Debug)]
pub(super) struct Forwarder {
    lines: mpsc::Receiver<Arc<Entry>>,
    dropped: Arc<AtomicU64>,
    receivers: Vec<Receiver>,
    host: String,
}

/// The two ends, if the configuration names any receiver.
pub(super) fn open(config: &AuditConfig) -> Option<(Outbox, Forwarder)> {
    let syslog = config.syslog.clone().map(Target::Syslog);
    let journald = config.journald.clone().map(Target::Journald);
    let receivers: Vec<_> = syslog
        .into_iter()
        .chain(journald)
        .map(Receiver::new)
        .collect();
    if receivers.is_empty() {
        return None;
    }
    let (sender, lines) = mpsc::channel(AUDIT_FORWARD_QUEUE);
    let dropped = Arc::<AtomicU64>::default();
    let outbox = Outbox {
        lines: sender,
        dropped: Arc::clone(&dropped),
    };
    let forwarder = Forwarder {
        lines,
        dropped,
        receivers,
        host: host_name(),
    };
    Some((outbox, forwarder))
}

impl Forwarder {
    /// Sends what comes, for ever.
    pub(super) async fn run(mut self) {
        while let Some(entry) = self.lines.recv().await {
            let Ok(json) = serde_json::to_string(&*entry) else {
                continue;
            };
            let json = plain_json(json);
            for receiver in &mut self.receivers {
                let line = receiver.target.line(&entry, &json, &self.host);
                if !receiver.send(&line).await {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Target {
    Syslog(SyslogTarget),
    Journald(PathBuf),
}

#[derive(Debug)]
enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

#[derive(Debug)]
struct Receiver {
    target: Target,
    link: Option<Link>,
    rest_until: Option<Instant>,
}

impl Target {
    /// A line in the form of the receiver.
    fn line(&self, entry: &Entry, json: &str, host: &str) -> Vec<u8> {
        let severity = if is_notable(entry) { 5 } else { 6 };
        match self {
            Self::Journald(_) => format!(
                "MESSAGE={json}\nPRIORITY={severity}\nSYSLOG_IDENTIFIER=rackhand\nSYSLOG_FACILITY=13\n"
            )
            .into_bytes(),
            Self::Syslog(target) => {
                let message = format!(
                    "<{}>1 {} {host} rackhand {} audit - {json}",
                    LOG_AUDIT + severity,
                    entry.at.to_iso_millis(),
                    std::process::id()
                );
                match target {
                    // Each message is counted, since a stream has no borders (RFC 6587, section 3.4.1).
                    SyslogTarget::Tcp(_) => format!("{} {message}", message.len()).into_bytes(),
                    SyslogTarget::Udp(_) | SyslogTarget::Socket(_) => message.into_bytes(),
                }
            }
        }
    }

    async fn connect(&self) -> io::Result<Link> {
        match self {
            Self::Syslog(SyslogTarget::Udp(address)) => {
                let to = first(address).await?;
                let any: SocketAddr = if to.is_ipv4() {
                    (Ipv4Addr::UNSPECIFIED, 0).into()
                } else {
                    (Ipv6Addr::UNSPECIFIED, 0).into()
                };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(to).await?;
                Ok(Link::Udp(socket))
            }
            Self::Syslog(SyslogTarget::Tcp(address)) => {
                Ok(Link::Tcp(TcpStream::connect(first(address).await?).await?))
            }
            Self::Syslog(SyslogTarget::Socket(path)) | Self::Journald(path) => unix(path),
        }
    }
}

/// What somebody who reads a log should not miss.
fn is_notable(entry: &Entry) -> bool {
    matches!(
        entry.kind,
        Kind::Login | Kind::Key | Kind::Config | Kind::Start | Kind::Refusals
    )
}

async fn first(address: &str) -> io::Result<SocketAddr> {
    let mut found = lookup_host(address).await?;
    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn unix(path: &Path) -> io::Result<Link> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(Link::Unix(socket))
}

impl Receiver {
    const fn new(target: Target) -> Self {
        Self {
            target,
            link: None,
            rest_until: None,
        }
    }

    /// Sends a line now or not at all. Answers whether it was sent.
    async fn send(&mut self, line: &[u8]) -> bool {
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let sent = timeout(SEND_LIMIT, self.try_send(line)).await;
        let fault = match sent {
            Ok(Ok(())) => {
                if self.rest_until.take().is_some() {
                    tracing::info!(target = ?self.target, "the audit trail is forwarded again");
                }
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it does not answer".to_owned(),
        };
        if self.rest_until.is_none() {
            tracing::warn!(target = ?self.target, fault, "the audit trail cannot be forwarded; lines are dropped");
        }
        self.link = None;
        self.rest_until = Some(Instant::now() + REST);
        false
    }

    async fn try_send(&mut self, line: &[u8]) -> io::Result<()> {
        if self.link.is_none() {
            self.link = Some(self.target.connect().await?);
        }
        match &mut self.link {
            Some(Link::Udp(socket)) => socket.send(line).await.map(drop),
            Some(Link::Unix(socket)) => socket.send(line).await.map(drop),
            Some(Link::Tcp(stream)) => stream.write_all(line).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// The name of this machine as syslog takes it: printable ASCII, or nothing.
fn host_name() -> String {
    sysinfo::System::host_name()
        .ok()
        .filter(|name| (1..=255).contains(&name.len()))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()))
        .unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, BufReader};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::base::clock::UnixMillis;

    /// Sends two lines to a receiver of this configuration.
    fn sending(config: &AuditConfig) -> (Outbox, JoinSet<()>) {
        let (outbox, forwarder) = open(config).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(forwarder.run());
        for note in ["first", "second\n<34>1 forged"] {
            let entry = Entry::new(Kind::Login, UnixMillis(1_337_014_641_999));
            outbox.put(Arc::new(entry.with_detail(&json!({"note": note}))));
        }
        (outbox, tasks)
    }

    fn is_first(line: &str) {
        let (head, json) = line.split_once(" audit - ").unwrap();
        assert!(
            head.starts_with("<109>1 2012-05-14T16:57:21.999Z "),
            "{head}"
        );
        let parts: Vec<_> = head.split(' ').collect();
        assert_eq!((parts.len(), parts[3]), (5, "rackhand"));
        let json: Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["detail"]["note"], "first");
    }

    #[tokio::test]
    async fn syslog_over_udp_is_one_datagram_a_line() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let config = AuditConfig {
            syslog: Some(SyslogTarget::Udp(
                receiver.local_addr().unwrap().to_string(),
            )),
            ..AuditConfig::default()
        };
        let (outbox, _tasks) = sending(&config);
        let mut buffer = [0; 4096];
        let count = receiver.recv(&mut buffer).await.unwrap();
        is_first(std::str::from_utf8(&buffer[..count]).unwrap());
        let count = receiver.recv(&mut buffer).await.unwrap();
        assert!(!buffer[..count].contains(&b'\n'));
        assert_eq!(outbox.dropped(), 0);
    }

    #[tokio::test]
    async fn syslog_over_tcp_counts_each_message() {
        let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = AuditConfig {
            syslog: Some(SyslogTarget::Tcp(
                receiver.local_addr().unwrap().to_string(),
            )),
            ..AuditConfig::default()
        };
        let (_outbox, _tasks) = sending(&config);
        let mut stream = BufReader::new(receiver.accept().await.unwrap().0);
        for number in 0..2 {
            let mut digits = String::new();
            while let digit @ b'0'..=b'9' = stream.read_u8().await.unwrap() {
                digits.push(char::from(digit));
            }
            let mut message = vec![0; digits.parse().unwrap()];
            stream.read_exact(&mut message).await.unwrap();
            if number == 0 {
                is_first(std::str::from_utf8(&message).unwrap());
            }
            assert_eq!((message[0], message.last()), (b'<', Some(&b'}')));
        }
    }

    #[tokio::test]
    async fn the_local_socket_and_journald_get_a_datagram_each() {
        let folder = tempfile::tempdir().unwrap();
        let (log, journal) = (folder.path().join("log"), folder.path().join("journal"));
        let (log_end, journal_end) = (
            UnixDatagram::bind(&log).unwrap(),
            UnixDatagram::bind(&journal).unwrap(),
        );
        let config = AuditConfig {
            syslog: Some(SyslogTarget::Socket(log)),
            journald: Some(journal),
            ..AuditConfig::default()
        };
        let (_outbox, _tasks) = sending(&config);
        let mut buffer = [0; 4096];
        let count = log_end.recv(&mut buffer).await.unwrap();
        is_first(std::str::from_utf8(&buffer[..count]).unwrap());
        let count = journal_end.recv(&mut buffer).await.unwrap();
        let fields = std::str::from_utf8(&buffer[..count]).unwrap();
        let lines: Vec<_> = fields.lines().collect();
        assert!(lines[0].starts_with("MESSAGE={") && lines[0].ends_with('}'));
        assert_eq!(
            lines[1..],
            [
                "PRIORITY=5",
                "SYSLOG_IDENTIFIER=rackhand",
                "SYSLOG_FACILITY=13"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_gone_costs_nothing_but_its_lines() {
        let config = AuditConfig {
            journald: Some("/nonexistent/socket".into()),
            ..AuditConfig::default()
        };
        let (outbox, _tasks) = sending(&config);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(outbox.dropped(), 2);
        for _ in 0..10_000 {
            outbox.put(Arc::new(Entry::new(Kind::Login, UnixMillis(0))));
        }
        assert_eq!(outbox.dropped(), 2 + 10_000 - 256);
    }

    #[test]
    fn nothing_is_forwarded_unless_somebody_says_so() {
        assert!(open(&AuditConfig::default()).is_none());
    }
}
