//! Real sockets for a simulated Core: `ws`, `wss` with a self-signed certificate, TCP with NUL, and the control port, all at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::world::End;
use super::{Options, SimCore, console, design};
use crate::base::shutdown::Stop;
use crate::base::text;

/// Clients on one port. One more is closed at once.
const CLIENTS_MAX: usize = 512;

/// Longest line on the control port, bytes. A longer one ends the connection.
const LINE_MAX_BYTES: u64 = 64 << 10;

/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long to wait before a port that the Core gave up while it refused is tried again.
const REBIND_DELAY: Duration = Duration::from_millis(100);

/// Why the simulated Core could not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address could not be bound.
    #[error("could not listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The self-signed certificate could not be made.
    #[error("could not make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS did not take the certificate.
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
}

/// A self-signed certificate with its key, as a Core has from the factory.
#[derive(Clone)]
pub struct Identity {
    acceptor: TlsAcceptor,
    certificate: CertificateDer<'static>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A new certificate; each call makes another one.
    ///
    /// # Errors
    ///
    /// [`ListenError::Certificate`] and [`ListenError::Tls`], neither of which is expected.
    pub fn self_signed() -> Result<Self, ListenError> {
        let names = ["localhost", "127.0.0.1", "core-110f.local"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names)?;
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate,
        })
    }

    /// What makes TLS of a stream, real or in memory.
    #[must_use]
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the certificate, lower-case hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        text::hex(&Sha256::digest(&self.certificate)).collect()
    }
}

/// Addresses of one Core; port 0 lets the system choose.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// `ws`.
    pub websocket: Option<SocketAddr>,
    /// `wss`.
    pub tls: Option<SocketAddr>,
    /// TCP with NUL framing.
    pub tcp: Option<SocketAddr>,
    /// The control port, lines of [`console`]. It has no access control: bind it to a loopback address.
    pub control: Option<SocketAddr>,
}

/// What `rackhand simcore` is told.
#[derive(Debug, Clone, Default)]
pub struct SimcoreOptions {
    /// Where the Core listens.
    pub addresses: Addresses,
    /// Where the second Core of a redundant pair listens; `None` is a single Core.
    pub twin: Option<Addresses>,
    /// Components and controls per component of a generated design; `None` is the default design.
    pub generated: Option<(u32, u32)>,
    /// Access control, idle limit, meters.
    pub core: Options,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speech {
    WebSocket,
    Tls,
    Tcp,
    Control,
}

/// Sockets that are bound and not yet served.
#[derive(Debug)]
pub struct Listening {
    core: SimCore,
    identity: Identity,
    ports: Vec<Port>,
    bound: Addresses,
}

#[derive(Debug)]
struct Port {
    listener: TcpListener,
    address: SocketAddr,
    speech: Speech,
}

impl std::fmt::Debug for Speech {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WebSocket => "ws",
            Self::Tls => "wss",
            Self::Tcp => "tcp",
            Self::Control => "control",
        })
    }
}

/// Runs a simulated Core, or a pair, until it is told to stop.
///
/// # Errors
///
/// A socket could not be bound, or no certificate could be made. Once it serves, it ends only by `stop`.
pub async fn run(options: SimcoreOptions, stop: Stop) -> Result<(), ListenError> {
    let design = options
        .generated
        .map_or_else(design::venue, |(components, controls)| {
            design::generated(components, controls)
        });
    let identity = Identity::self_signed()?;
    let (core, twin) = match options.twin {
        None => (SimCore::new(design, options.core), None),
        Some(addresses) => {
            let (first, second) = SimCore::pair(design, options.core);
            (first, Some((second, addresses)))
        }
    };
    let mut cores = vec![Listening::bind(&core, &options.addresses, identity.clone()).await?];
    if let Some((twin, addresses)) = twin {
        cores.push(Listening::bind(&twin, &addresses, identity).await?);
    }
    let mut tasks = JoinSet::new();
    for core in cores {
        core.announce();
        tasks.spawn(core.serve(stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

impl Listening {
    /// Binds a Core's sockets.
    ///
    /// # Errors
    ///
    /// [`ListenError::Bind`] names the address that could not be had.
    pub async fn bind(
        core: &SimCore,
        addresses: &Addresses,
        identity: Identity,
    ) -> Result<Self, ListenError> {
        let mut ports = Vec::new();
        let mut bound = Addresses::default();
        for (wanted, speech, slot) in [
            (addresses.websocket, Speech::WebSocket, &mut bound.websocket),
            (addresses.tls, Speech::Tls, &mut bound.tls),
            (addresses.tcp, Speech::Tcp, &mut bound.tcp),
            (addresses.control, Speech::Control, &mut bound.control),
        ] {
            let Some(address) = wanted else { continue };
            let fault = |source| ListenError::Bind { address, source };
            let listener = TcpListener::bind(address).await.map_err(fault)?;
            let address = listener.local_addr().map_err(fault)?;
            *slot = Some(address);
            ports.push(Port {
                listener,
                address,
                speech,
            });
        }
        Ok(Self {
            core: core.clone(),
            identity,
            ports,
            bound,
        })
    }

    /// The addresses that were bound, ports filled in.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.bound
    }

    fn announce(&self) {
        for port in &self.ports {
            tracing::info!(address = %port.address, speech = ?port.speech, "simulated Core listens");
        }
        if self.bound.tls.is_some() {
            tracing::info!(fingerprint = %self.identity.fingerprint(), "simulated Core's certificate");
        }
    }

    /// Serves until `stop`; connections that are open then are dropped.
    pub async fn serve(self, stop: Stop) {
        let mut tasks = JoinSet::new();
        for port in self.ports {
            tasks.spawn(serve_port(
                self.core.clone(),
                port,
                self.identity.clone(),
                stop.clone(),
            ));
        }
        while tasks.join_next().await.is_some() {}
    }
}

async fn serve_port(core: SimCore, port: Port, identity: Identity, stop: Stop) {
    let Port {
        mut listener,
        address,
        speech,
    } = port;
    let mut clients = JoinSet::new();
    loop {
        let is_core = speech != Speech::Control;
        if is_core && !core.accepts() {
            // Only a port that nobody listens on refuses.
            drop(listener);
            tokio::select! {
                () = stop.cancelled() => return,
                bound = rebind(&core, address) => listener = bound,
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = core.until_accepts(false), if is_core => (),
            Some(_) = clients.join_next() => (),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < CLIENTS_MAX => {
                    clients.spawn(serve_client(core.clone(), stream, identity.clone(), speech));
                }
                Ok(_) => (),
                // Out of descriptors, most likely: let some be closed first.
                Err(_) => sleep(REBIND_DELAY).await,
            },
        }
    }
}

async fn rebind(core: &SimCore, address: SocketAddr) -> TcpListener {
    loop {
        core.until_accepts(true).await;
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(fault) => {
                tracing::warn!(%address, %fault, "simulated Core could not listen again yet");
                sleep(REBIND_DELAY).await;
            }
        }
    }
}

async fn serve_client(core: SimCore, mut stream: TcpStream, identity: Identity, speech: Speech) {
    let _ = stream.set_nodelay(true);
    let end = match speech {
        Speech::WebSocket => core.websocket(&mut stream).await,
        Speech::Tcp => core.tcp(&mut stream).await,
        Speech::Control => return control(core, stream).await,
        Speech::Tls => {
            let Ok(Ok(mut tls)) = timeout(HANDSHAKE_MAX, identity.acceptor.accept(stream)).await
            else {
                return;
            };
            let end = core.websocket(&mut tls).await;
            stream = tls.into_inner().0;
            end
        }
    };
    if end == End::Reset {
        let _ = stream.set_zero_linger();
    }
}

async fn control(core: SimCore, stream: TcpStream) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = String::new();
        match (&mut lines).take(LINE_MAX_BYTES).read_line(&mut line).await {
            Ok(1..) if line.ends_with('\n') => (),
            _ => return,
        }
        let answer = match console::command(&core, line.trim()) {
            Ok(text) if text.is_empty() => "ok\n".to_owned(),
            Ok(text) => format!("{text}\nok\n"),
            Err(fault) => format!("error: {fault}\n"),
        };
        if write.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl SimCore {
    /// Waits until the Core accepts connections, or until it refuses them.
    async fn until_accepts(&self, accepts: bool) {
        let mut bell = self.shared.bell.subscribe();
        loop {
            bell.borrow_and_update();
            if self.accepts() == accepts {
                return;
            }
            let until = self.look(|world| {
                world
                    .half(self.half)
                    .and_then(|half| half.faults.refuse_until())
            });
            let until = until.filter(|until| *until > Instant::now());
            tokio::select! {
                rung = bell.changed() => if rung.is_err() {
                    return;
                },
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn serving() -> (SimCore, Addresses, Stop, JoinSet<()>) {
        let local = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let wanted = Addresses {
            websocket: local,
            tls: local,
            tcp: local,
            control: local,
        };
        let core = SimCore::new(design::generated(2, 4), Options::default());
        let listening = Listening::bind(&core, &wanted, Identity::self_signed().unwrap())
            .await
            .unwrap();
        let (addresses, stop, mut tasks) =
            (listening.addresses().clone(), Stop::new(), JoinSet::new());
        tasks.spawn(listening.serve(stop.clone()));
        (core, addresses, stop, tasks)
    }

    #[tokio::test]
    async fn a_port_that_refuses_is_closed_and_comes_back_as_the_same() {
        let (core, addresses, stop, mut tasks) = serving().await;
        let tcp = addresses.tcp.unwrap();
        let mut client = TcpStream::connect(tcp).await.unwrap();
        let mut hello = [0; 16];
        client.read_exact(&mut hello).await.unwrap();
        assert!(hello.starts_with(b"{\"jsonrpc\""));
        core.refuse(true);
        while TcpStream::connect(tcp).await.is_ok() {
            tokio::task::yield_now().await;
        }
        core.refuse(false);
        while TcpStream::connect(tcp).await.is_err() {
            tokio::task::yield_now().await;
        }
        core.reset_connections();
        let mut rest = Vec::new();
        let fault = client.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::ConnectionReset);
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }

    #[tokio::test]
    async fn the_control_port_answers_each_line_and_names_faults() {
        let (core, addresses, stop, mut tasks) = serving().await;
        let mut client = TcpStream::connect(addresses.control.unwrap())
            .await
            .unwrap();
        client
            .write_all(b"set \"Block 1\" channel.1.gain -7\nget \"Block 1\" channel.1.gain\nfly\n")
            .await
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(&mut client);
        while !said.contains("error") {
            lines.read_line(&mut said).await.unwrap();
        }
        assert!(
            said.starts_with("ok\n-7 -7.00dB\nok\nerror: unknown command"),
            "{said}"
        );
        assert_eq!(
            core.text("Block 1", "channel.1.gain").as_deref(),
            Some("-7.00dB")
        );
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }

    #[test]
    fn each_certificate_is_another() {
        let (one, two) = (
            Identity::self_signed().unwrap(),
            Identity::self_signed().unwrap(),
        );
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint().len(), 64);
    }
}
