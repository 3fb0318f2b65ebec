//! How a connection to a Core is made: a byte stream, TLS, the upgrade, and the order in which transports are tried.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite;

use super::config::{CONNECT_WAIT, CoreAddress, LinkConfig, TlsTrust, Transport};
use super::connection::{Connection, over_tcp, over_websocket, websocket_config};
use super::error::ConnectError;
use super::pin;
use crate::wire::qrc::WEBSOCKET_PATH;

/// A stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Opens byte streams to a host and port. TLS, WebSocket and framing are laid over them, so that tests dial an in-memory pipe and
/// still run everything above.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Opens one. The caller limits the time.
    fn dial(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>>;
}

/// Dials over the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetDial;

impl Dial for NetDial {
    fn dial(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            // Commands are small, and people wait for their effect.
            stream.set_nodelay(true)?;
            let stream: Box<dyn ByteStream> = Box::new(stream);
            Ok(stream)
        })
    }
}

/// A connection that is ready for QRC.
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    /// What carries it; never [`Transport::Auto`].
    pub(crate) transport: Transport,
    /// The certificate's fingerprint, if it was seen for the first time.
    pub(crate) first_seen: Option<String>,
}

/// Everything that an attempt needs.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) config: Arc<LinkConfig>,
    pub(crate) address: CoreAddress,
    /// What worked last.
    pub(crate) last_good: Option<Transport>,
}

impl Route {
    /// The transports to try, in order. What was once reached with TLS is not spoken to without: a key would go out in clear.
    fn transports(&self) -> Vec<Transport> {
        let order = [Transport::Wss, Transport::Ws, Transport::Tcp];
        match (self.config.transport, self.last_good) {
            (Transport::Auto, _) if self.is_pinned() => vec![Transport::Wss],
            (Transport::Auto, Some(last)) => {
                let others = order.into_iter().filter(|other| *other != last);
                std::iter::once(last).chain(others).collect()
            }
            (Transport::Auto, None) => order.to_vec(),
            (fixed, _) => vec![fixed],
        }
    }

    fn is_pinned(&self) -> bool {
        match &self.config.trust {
            TlsTrust::Pin(store) => store.pinned(&self.address.to_string()).is_some(),
            TlsTrust::CaFile(_) | TlsTrust::Insecure => false,
        }
    }

    /// Makes a connection. The fault of the first transport is the one told: it is the one that should have worked.
    pub(crate) async fn connect(self) -> Result<Connected, ConnectError> {
        let mut first_fault = None;
        for transport in self.transports() {
            match self.connect_over(transport).await {
                Ok(connected) => return Ok(connected),
                // Nobody answers at all, or what answers is not to be trusted: another port would not change that.
                Err(fault) if fault.is_refusal() || fault == ConnectError::Silent => {
                    return Err(fault);
                }
                Err(fault) => first_fault = Some(first_fault.unwrap_or(fault)),
            }
        }
        Err(first_fault.unwrap_or(ConnectError::Silent))
    }

    async fn connect_over(&self, transport: Transport) -> Result<Connected, ConnectError> {
        let until = Instant::now() + CONNECT_WAIT;
        let stream = open(&*self.dial, &self.address, transport, until).await?;
        let (connection, first_seen) = match transport {
            Transport::Tcp => (over_tcp(stream), None),
            Transport::Ws => (self.upgrade("ws", stream, until).await?, None),
            Transport::Auto | Transport::Wss => {
                let stream = secure(&self.config.trust, &self.address, stream, until).await?;
                let (_, session) = stream.get_ref();
                let shown = session.peer_certificates().and_then(<[_]>::first);
                let address = self.address.to_string();
                let first_seen = pin::check(&self.config.trust, &address, shown)?;
                (self.upgrade("wss", stream, until).await?, first_seen)
            }
        };
        Ok(Connected {
            connection,
            transport,
            first_seen,
        })
    }

    /// Whether the Core can be reached at all: TCP, and TLS where it is spoken, but no upgrade, so that the Core's engine is left alone.
    pub(crate) async fn probe(self) -> bool {
        for transport in self.transports() {
            let until = Instant::now() + CONNECT_WAIT;
            let Ok(stream) = open(&*self.dial, &self.address, transport, until).await else {
                continue;
            };
            let secured = match transport {
                Transport::Ws | Transport::Tcp => true,
                Transport::Auto | Transport::Wss => {
                    secure(&self.config.trust, &self.address, stream, until)
                        .await
                        .is_ok()
                }
            };
            if secured {
                return true;
            }
        }
        false
    }

    async fn upgrade<S: ByteStream + 'static>(
        &self,
        scheme: &str,
        stream: S,
        until: Instant,
    ) -> Result<Connection, ConnectError> {
        let host = if self.address.host.contains(':') {
            format!("[{}]", self.address.host)
        } else {
            self.address.host.clone()
        };
        let url = match self.address.port {
            Some(port) => format!("{scheme}://{host}:{port}{WEBSOCKET_PATH}"),
            None => format!("{scheme}://{host}{WEBSOCKET_PATH}"),
        };
        let upgraded = client_async_with_config(url, stream, Some(websocket_config()));
        match timeout_at(until, Box::pin(upgraded)).await {
            Err(_elapsed) => Err(timed_out("opening the WebSocket")),
            Ok(Ok((socket, _response))) => Ok(over_websocket(socket)),
            Ok(Err(tungstenite::Error::Http(response))) => Err(ConnectError::Upgrade {
                status: response.status().as_u16(),
            }),
            Ok(Err(fault)) => Err(ConnectError::Handshake(fault.to_string())),
        }
    }
}

/// A byte stream to a Core, for a transport.
async fn open(
    dial: &dyn Dial,
    address: &CoreAddress,
    transport: Transport,
    until: Instant,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    let dialled = dial.dial(address.host.clone(), address.port_for(transport));
    timeout_at(until, dialled)
        .await
        .map_err(|_elapsed| ConnectError::Silent)?
        .map_err(|fault| ConnectError::Unreachable(fault.to_string()))
}

/// TLS over a byte stream.
async fn secure(
    trust: &TlsTrust,
    address: &CoreAddress,
    stream: Box<dyn ByteStream>,
    until: Instant,
) -> Result<Box<TlsStream<Box<dyn ByteStream>>>, ConnectError> {
    let connector = TlsConnector::from(Arc::new(pin::client_config(trust)?));
    let host = ServerName::try_from(address.host.clone())
        .map_err(|fault| ConnectError::Tls(fault.to_string()))?;
    let secured = timeout_at(until, connector.connect(host, stream)).await;
    let secured = secured.map_err(|_elapsed| timed_out("agreeing on TLS"))?;
    secured.map(Box::new).map_err(|fault| {
        let cause = fault.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(why)) => {
                ConnectError::Certificate(why.to_string())
            }
            _ => ConnectError::Tls(fault.to_string()),
        }
    })
}

/// The fingerprint of the certificate that a Core shows now, trusted or not.
///
/// # Errors
///
/// The Core cannot be reached, or does not speak TLS.
pub async fn shown_by(address: &CoreAddress, dial: &dyn Dial) -> Result<String, ConnectError> {
    let until = Instant::now() + CONNECT_WAIT;
    let stream = open(dial, address, Transport::Wss, until).await?;
    let stream = secure(&TlsTrust::Insecure, address, stream, until).await?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    shown
        .map(pin::fingerprint)
        .ok_or_else(|| ConnectError::Tls("the Core shows no certificate".into()))
}

/// Whom to take for the peer that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerTrust {
    /// Who shows the certificate of this SHA-256, in hex of either case, or one that is signed by it.
    Fingerprint(String),
    /// Who shows a certificate for its name that an authority in this PEM file signed.
    Authority(PathBuf),
}

impl From<String> for PeerTrust {
    fn from(fingerprint: String) -> Self {
        Self::Fingerprint(fingerprint)
    }
}

/// TLS over a byte stream, with a peer that must be the one that is meant.
///
/// # Errors
///
/// The peer does not speak TLS, is not the one that is meant, or is not done at `until`.
pub async fn secure_with(
    stream: Box<dyn ByteStream>,
    host: &str,
    trust: &PeerTrust,
    until: Instant,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    let address = CoreAddress {
        host: host.to_owned(),
        port: None,
    };
    let fingerprint = match trust {
        PeerTrust::Authority(file) => {
            let trust = TlsTrust::CaFile(file.clone());
            return Ok(secure(&trust, &address, stream, until).await?);
        }
        PeerTrust::Fingerprint(fingerprint) => fingerprint,
    };
    let stream = secure(&TlsTrust::Insecure, &address, stream, until).await?;
    let (_, session) = stream.get_ref();
    pin::check_chain(fingerprint, session.peer_certificates().unwrap_or_default())?;
    Ok(stream)
}

/// TLS over a byte stream, with a peer whose certificate an authority of this PEM file signed for this host.
///
/// # Errors
///
/// The peer does not speak TLS, is not to be trusted, or is not done at `until`.
pub async fn secure_by_authority(
    stream: Box<dyn ByteStream>,
    host: &str,
    ca_file: PathBuf,
    until: Instant,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    let address = CoreAddress {
        host: host.to_owned(),
        port: None,
    };
    let stream = secure(&TlsTrust::CaFile(ca_file), &address, stream, until).await?;
    Ok(stream)
}

const fn timed_out(step: &'static str) -> ConnectError {
    ConnectError::TimedOut {
        step,
        waited: CONNECT_WAIT,
    }
}

/// Says goodbye to the Core, if it still listens.
pub(crate) async fn close(mut connection: Connection) {
    use futures_util::SinkExt;
    let _heard = timeout(Duration::from_secs(1), connection.close()).await;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use parking_lot::Mutex;
    use rcgen::generate_simple_self_signed;
    use rustls::ServerConfig;
    use rustls::crypto::ring;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::task::JoinSet;
    use tokio_rustls::TlsAcceptor;
    use tokio_tungstenite::accept_async;

    use super::*;
    use crate::link::pin::{FingerprintStore as _, MemoryFingerprints};

    /// What listens on a port of the host that is dialled.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Service {
        /// A WebSocket.
        Plain,
        /// A WebSocket under TLS, with the first or second certificate.
        Secure(usize),
        /// An HTTP server that upgrades nothing, under TLS.
        Http(usize),
        /// Something that accepts and says nothing.
        Mute,
    }

    #[derive(Debug)]
    struct Host {
        certificates: Vec<(CertificateDer<'static>, Vec<u8>)>,
        services: Mutex<HashMap<u16, Service>>,
        dialled: Mutex<Vec<u16>>,
        tasks: Mutex<JoinSet<()>>,
    }

    impl Host {
        fn new(services: &[(u16, Service)]) -> Arc<Self> {
            let certificate = || {
                let made = generate_simple_self_signed(vec!["core".to_owned()]).unwrap();
                (made.cert.der().clone(), made.signing_key.serialize_der())
            };
            Arc::new(Self {
                certificates: vec![certificate(), certificate()],
                services: Mutex::new(services.iter().copied().collect()),
                dialled: Mutex::default(),
                tasks: Mutex::default(),
            })
        }

        fn acceptor(&self, which: usize) -> TlsAcceptor {
            let (certificate, key) = self.certificates[which].clone();
            let key = PrivateKeyDer::try_from(key).unwrap();
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .unwrap();
            TlsAcceptor::from(Arc::new(config))
        }

        fn route(self: &Arc<Self>, store: &Arc<MemoryFingerprints>) -> Route {
            let trust = TlsTrust::Pin(store.clone());
            Route {
                dial: self.clone(),
                config: Arc::new(LinkConfig {
                    trust,
                    ..LinkConfig::default()
                }),
                address: "core".parse().unwrap(),
                last_good: None,
            }
        }
    }

    impl Dial for Host {
        fn dial(
            &self,
            _host: String,
            port: u16,
        ) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
            self.dialled.lock().push(port);
            let Some(service) = self.services.lock().get(&port).copied() else {
                return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
            };
            let (here, there) = duplex(64 << 10);
            let acceptor = match service {
                Service::Secure(which) | Service::Http(which) => Some(self.acceptor(which)),
                Service::Plain | Service::Mute => None,
            };
            self.tasks.lock().spawn(async move {
                match (service, acceptor) {
                    (Service::Secure(_), Some(acceptor)) => {
                        let Ok(stream) = acceptor.accept(there).await else {
                            return;
                        };
                        let _socket = Box::pin(accept_async(stream)).await;
                    }
                    (Service::Http(_), Some(acceptor)) => {
                        let Ok(mut stream) = acceptor.accept(there).await else {
                            return;
                        };
                        let _read = stream.read(&mut [0; 1024]).await;
                        let _sent = stream
                            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                            .await;
                    }
                    (Service::Plain, _) => drop(accept_async(there).await),
                    _ => std::future::pending().await,
                }
            });
            Box::pin(async move {
                let stream: Box<dyn ByteStream> = Box::new(here);
                Ok(stream)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_certificate_is_told_and_another_one_later_is_refused() {
        let host = Host::new(&[(443, Service::Secure(0))]);
        let store = Arc::new(MemoryFingerprints::default());
        let connected = host.route(&store).connect().await.unwrap();
        let shown = pin::fingerprint(&host.certificates[0].0);
        assert_eq!(
            (connected.transport, connected.first_seen.as_ref()),
            (Transport::Wss, Some(&shown))
        );
        store.pin("core", &shown).unwrap();
        assert_eq!(host.route(&store).connect().await.unwrap().first_seen, None);
        host.services.lock().insert(443, Service::Secure(1));
        let fingerprint = pin::fingerprint(&host.certificates[1].0);
        assert_eq!(
            host.route(&store).connect().await.err(),
            Some(ConnectError::Untrusted {
                fingerprint: fingerprint.clone()
            })
        );
        assert_eq!(
            shown_by(&"core".parse().unwrap(), &*host).await,
            Ok(fingerprint)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn transports_are_tried_in_order_and_what_worked_comes_first_the_next_time() {
        let host = Host::new(&[(1710, Service::Mute)]);
        let store = Arc::new(MemoryFingerprints::default());
        let mut route = host.route(&store);
        assert_eq!(
            route.clone().connect().await.unwrap().transport,
            Transport::Tcp
        );
        assert_eq!(*host.dialled.lock(), [443, 80, 1710]);
        route.last_good = Some(Transport::Tcp);
        route.connect().await.unwrap();
        assert_eq!(*host.dialled.lock(), [443, 80, 1710, 1710]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_once_seen_with_tls_is_never_spoken_to_without() {
        let host = Host::new(&[(80, Service::Plain), (1710, Service::Mute)]);
        let store = Arc::new(MemoryFingerprints::default());
        store.pin("core", "00").unwrap();
        assert!(matches!(
            host.route(&store).connect().await,
            Err(ConnectError::Unreachable(_))
        ));
        assert_eq!(*host.dialled.lock(), [443]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_off_is_named_and_the_next_transport_is_tried() {
        let host = Host::new(&[(443, Service::Http(0))]);
        let store = Arc::new(MemoryFingerprints::default());
        assert_eq!(
            host.route(&store).connect().await.err(),
            Some(ConnectError::Upgrade { status: 404 })
        );
        assert_eq!(*host.dialled.lock(), [443, 80, 1710]);
        assert_eq!(store.pinned("core"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mute_peer_costs_five_seconds_and_a_probe_asks_only_for_tls() {
        let host = Host::new(&[(443, Service::Mute)]);
        let store = Arc::new(MemoryFingerprints::default());
        store.pin("core", "00").unwrap();
        let begun = Instant::now();
        assert!(matches!(
            host.route(&store).connect().await,
            Err(ConnectError::TimedOut { .. })
        ));
        assert_eq!(begun.elapsed(), CONNECT_WAIT);
        assert!(!host.route(&store).probe().await);
        host.services.lock().insert(443, Service::Http(0));
        assert!(host.route(&store).probe().await);
    }
}
