//! How a connection to a Core is made: a byte stream, TLS, the upgrade, and the order in which transports are tried.

use std::fmt;
use std::io;
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
