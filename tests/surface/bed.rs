//! A server on real sockets, with TLS and without, and clients that say exactly what they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::SendRequest;
use hyper::{Request, Response};
use rackhand::base::secret::Secret;
use rackhand::base::shutdown::Stop;
use rackhand::guard::{Guard, KeySource, NewKey, Role, key};
use rackhand::http::{Front, Limits, OriginRules};
use rackhand::mcp::{Server, ServerInfo};
use rackhand::ops::health::{self, Report};
use rackhand::tls::{Certificates, Source};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest wait for anything that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Healthy;

impl health::Source for Healthy {
    fn report(&self) -> Arc<Report> {
        Arc::new(Report::new(Instant::now()))
    }

    fn detail(&self) -> Value {
        Value::Null
    }
}

/// A box.
pub(crate) struct Bed {
    pub(crate) plain: SocketAddr,
    pub(crate) secure: SocketAddr,
    pub(crate) key: String,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) stop: Stop,
    pub(crate) tasks: JoinSet<()>,
    _folder: TempDir,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::Own {
            data: folder.path().to_owned(),
            names: vec!["rack.local".to_owned()],
        };
        Self::showing(source, limits, folder).await
    }

    pub(crate) async fn showing(source: Source, limits: Limits, folder: TempDir) -> Self {
        let secret = key::generate().unwrap();
        let guard = Arc::new(Guard::new(KeySource::memory(&[record(&secret)])).unwrap());
        let info = ServerInfo {
            name: "rackhand",
            title: "rackhand".to_owned(),
            version: "0.1.0",
            instructions: String::new(),
        };
        let server = Arc::new(Server::new(&[], info).unwrap());
        let origins = OriginRules::new(
            ["rack.local".to_owned()],
            ["https://panel.example".to_owned()],
        );
        let front = Arc::new(Front::new(
            Arc::clone(&server),
            guard,
            Arc::new(Healthy),
            origins,
            limits,
        ));
        let certificates = Certificates::open(source).unwrap();
        let (stop, mut tasks) = (Stop::new(), JoinSet::new());
        let (plain, secure) = (listener().await, listener().await);
        let addresses = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
        tasks.spawn(Arc::clone(&server).keep(stop.clone()).map(drop));
        tasks.spawn(Arc::clone(&front).serve(plain, stop.clone()).map(drop));
        let shown = Arc::clone(&certificates);
        tasks.spawn(front.serve_secure(secure, shown, stop.clone()).map(drop));
        Self {
            plain: addresses.0,
            secure: addresses.1,
            key: secret.expose().to_owned(),
            certificates,
            stop,
            tasks,
            _folder: folder,
        }
    }

    /// A connection without TLS.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.plain).await.unwrap()
    }

    /// Says something on a connection without TLS, and hears everything until it ends.
    pub(crate) async fn say(&self, words: impl AsRef<[u8]>) -> String {
        converse(self.connect().await, words).await
    }

    /// A connection with TLS as a client makes it that trusts the box's authority and goes to it under `name`.
    pub(crate) async fn connect_tls(
        &self,
        name: &str,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_with(name, protocols, rustls::ALL_VERSIONS)
            .await
    }

    pub(crate) async fn connect_with(
        &self,
        name: &str,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let pem = self.certificates.authority_pem().unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.secure).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
            .await
    }

    /// A client with HTTP/2.
    pub(crate) async fn http2(&mut self) -> SendRequest<Bytes> {
        let stream = self.connect_tls("rack.local", &[b"h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        self.tasks.spawn(connection.map(drop));
        client.ready().await.unwrap()
    }

    /// A request as HTTP/2 asks it, with the key.
    pub(crate) fn request(&self, verb: &str, path: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(verb)
            .uri(format!("https://rack.local:{}{path}", self.secure.port()))
            .header("authorization", format!("Bearer {}", self.key))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
    }

    /// A head as HTTP/1.1 writes it, with the key, up to the empty line.
    pub(crate) fn head(&self, verb: &str, path: &str, more: &str) -> String {
        format!(
            "{verb} {path} HTTP/1.1\r\nhost: rack.local\r\nauthorization: Bearer {}\r\naccept: application/json, text/event-stream\r\n{more}\r\n",
            self.key
        )
    }

    /// Whether a right client is served.
    pub(crate) async fn serves(&self) -> bool {
        let words = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        self.say(words).await.starts_with("HTTP/1.1 200")
    }
}

fn record(secret: &Secret) -> (NewKey, Secret) {
    let new = NewKey::new("operator", Role::Operator);
    (new, secret.clone())
}

async fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

/// A connection from another address of this machine.
pub(crate) async fn connect_from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    socket.connect(to).await
}

/// Says something and hears everything until the connection ends.
pub(crate) async fn converse<S>(mut stream: S, words: impl AsRef<[u8]>) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Who refuses need not read to the end.
    let _sent = stream.write_all(words.as_ref()).await;
    let _flushed = stream.flush().await;
    rest(&mut stream).await
}

/// Everything that comes until the connection ends.
pub(crate) async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut heard = Vec::new();
    let _cut = timeout(PATIENCE, stream.read_to_end(&mut heard))
        .await
        .expect("the connection ends");
    String::from_utf8_lossy(&heard).into_owned()
}

/// What comes until `mark` was heard.
pub(crate) async fn until<S: AsyncRead + Unpin>(stream: &mut S, mark: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(mark) {
        let mut buffer = [0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("no {mark:?} in {heard:?}"));
        let count = count.unwrap();
        assert!(count > 0, "ended without {mark:?}: {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    heard
}

/// The body of an answer over HTTP/2, whole.
pub(crate) async fn body(response: Response<h2::RecvStream>) -> String {
    let mut body = response.into_body();
    let mut whole = Vec::new();
    while let Some(piece) = timeout(PATIENCE, body.data()).await.unwrap() {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        whole.extend_from_slice(&piece);
    }
    String::from_utf8(whole).unwrap()
}
