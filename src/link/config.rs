//! What a link needs to know, checked and typed. The composition root fills it from the configuration file and the secret files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::pin::{FingerprintStore, MemoryFingerprints};
use crate::base::secret::Secret;
pub use crate::config::{BreakerConfig, LinkTiming, Transport};
use crate::model::name::ControlName;

/// How long a connection may take to be made, per transport: name, TCP, TLS and upgrade together.
pub(crate) const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How long the Core may take to say that its engine is there. A Core that boots accepts connections and stays mute.
pub(crate) const ENGINE_STATUS_WAIT: Duration = Duration::from_secs(5);

/// How long a caller waits for an answer to a command.
pub(crate) const COMMAND_WAIT: Duration = Duration::from_secs(5);

/// How long the answer to a poll or a registration may take before it counts as lost.
pub(crate) const GROUP_WAIT: Duration = Duration::from_secs(5);

/// How long the list of components may take.
pub(crate) const LIST_WAIT: Duration = Duration::from_secs(15);

/// How long one component's controls may take: longer than a dead connection lives, so that only a component which the Core cannot
/// tell about runs into it.
pub(crate) const CONTROLS_WAIT: Duration = Duration::from_secs(30);

/// The Core closes a client that is silent for 60 s (Q-SYS Help, QRC Overview, keep-alive note): something is sent at least this often.
pub(crate) const SEND_AT_LEAST_EVERY: Duration = Duration::from_secs(25);

/// First ceiling of the pauses between attempts; it doubles up to [`LinkTiming::retry_max`].
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(250);

/// A link that lived this long counts as a success: its loss is no failure.
pub(crate) const LASTED: Duration = Duration::from_secs(30);

/// Pause before a Core that refused key or PIN is tried again, ±20 %: a wrong key must cause no storm, but a Core that boots can look
/// like one.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_mins(5);

/// Everything that a link is told at its start.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The Core; or both Cores of a redundant pair. At most [`crate::limits::CORES_PER_SYSTEM_MAX`] are used.
    pub addresses: Vec<CoreAddress>,
    /// How to reach them.
    pub transport: Transport,
    /// How far to trust their certificates.
    pub trust: TlsTrust,
    /// Whom to log on as, on TCP.
    pub logon: Option<Credentials>,
    /// The key that goes into every frame, on WebSocket.
    pub api_key: Option<Secret>,
    /// Named controls to mirror: the Core cannot list them.
    pub named_controls: Vec<ControlName>,
    /// Intervals and pauses.
    pub timing: LinkTiming,
    /// When to leave a failing Core alone.
    pub breaker: BreakerConfig,
}

impl Default for LinkConfig {
    /// Designer's emulator on this machine, with the numbers of the documented configuration.
    fn default() -> Self {
        Self {
            addresses: vec![CoreAddress {
                host: "127.0.0.1".into(),
                port: None,
            }],
            transport: Transport::Auto,
            trust: TlsTrust::Pin(Arc::new(MemoryFingerprints::default())),
            logon: None,
            api_key: None,
            named_controls: Vec::new(),
            timing: LinkTiming {
                poll: Duration::from_millis(350),
                fast_poll: Duration::from_millis(100),
                keepalive: Duration::from_secs(10),
                probe_timeout: Duration::from_secs(5),
                retry_max: Duration::from_secs(30),
            },
            breaker: BreakerConfig {
                failures: 5,
                successes: 3,
                open_max: Duration::from_mins(1),
            },
        }
    }
}

/// A user of Q-SYS Administrator.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The PIN.
    pub pin: Secret,
}

/// How far a Core's certificate is trusted.
#[derive(Debug, Clone)]
pub enum TlsTrust {
    /// The first one seen is remembered here, and only that one is accepted until a person decides otherwise.
    Pin(Arc<dyn FingerprintStore>),
    /// It must be signed by an authority of this PEM file, and name the host as it is configured.
    CaFile(PathBuf),
    /// Any.
    Insecure,
}

/// Where a Core is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CoreAddress {
    /// Name or address.
    pub host: String,
    /// A port other than the transport's own.
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no host in it.
    #[error("there is no host in it")]
    NoHost,
    /// What follows the colon is no port.
    #[error("'{port}' is not a port from 1 to 65535")]
    BadPort {
        /// What stands there.
        port: String,
    },
    /// Something in it belongs to no host name.
    #[error(
        "a host has no '{character}' in it: write only the name or address, and the port if it is unusual"
    )]
    BadCharacter {
        /// What stands there.
        character: char,
    },
}

impl CoreAddress {
    /// The port for a transport: the written one, else the transport's own.
    pub(crate) fn port_for(&self, transport: Transport) -> u16 {
        self.port.unwrap_or(match transport {
            Transport::Auto | Transport::Wss => 443,
            Transport::Ws => 80,
            Transport::Tcp => crate::wire::qrc::TCP_PORT,
        })
    }
}

impl FromStr for CoreAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest
                .split_once(']')
                .ok_or(AddressError::BadCharacter { character: '[' })?;
            (host, after.strip_prefix(':'))
        } else {
            match text.split_once(':') {
                // More than one colon without brackets is an IPv6 address without a port.
                Some((_, rest)) if rest.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if let Some(character) = host.chars().find(|c| !allowed(*c)) {
            return Err(AddressError::BadCharacter { character });
        }
        let port = port
            .map(|port| match port.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(AddressError::BadPort { port: port.into() }),
            })
            .transpose()?;
        Ok(Self {
            host: host.into(),
            port,
        })
    }
}

impl fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, _) => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_and_prints_as_people_write_it() {
        for (text, host, port) in [
            ("192.168.5.10", "192.168.5.10", None),
            ("core.local:1710", "core.local", Some(1710)),
            ("fe80::1", "fe80::1", None),
            ("[fe80::1]:8443", "fe80::1", Some(8443)),
        ] {
            let address: CoreAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let fault = |text: &str| text.parse::<CoreAddress>().unwrap_err();
        assert_eq!(fault(""), AddressError::NoHost);
        assert_eq!(fault(":80"), AddressError::NoHost);
        assert_eq!(fault("core:0"), AddressError::BadPort { port: "0".into() });
        assert_eq!(
            fault("core/qrc"),
            AddressError::BadCharacter { character: '/' }
        );
    }

    #[test]
    fn the_port_follows_the_transport_unless_one_is_written() {
        let plain: CoreAddress = "core".parse().unwrap();
        assert_eq!(plain.port_for(Transport::Wss), 443);
        assert_eq!(plain.port_for(Transport::Tcp), 1710);
        let written: CoreAddress = "core:99".parse().unwrap();
        assert_eq!(written.port_for(Transport::Ws), 99);
    }
}
