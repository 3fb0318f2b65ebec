//! Where the keys of an identity provider come from: a file, or one short GET. No redirects, no cookies, no more than is needed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use crate::limits::PROVIDER_KEYS_MAX_BYTES;
use crate::link::Dial;
use crate::link::dial::{self, ByteStream};

/// How long everything may take, from the name lookup to the last byte.
const WAIT: Duration = Duration::from_secs(10);

/// Where keys are read.
#[derive(Debug, Clone)]
pub enum KeySetSource {
    /// A file that somebody keeps current.
    File(PathBuf),
    /// A URL of the provider.
    Url {
        /// `https`, or `http` on this machine.
        url: Uri,
        /// The authorities that may sign its certificate, as PEM.
        ca_file: PathBuf,
        /// How it is reached.
        dial: Arc<dyn Dial>,
    },
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("{0} could not be read: {1}")]
    File(PathBuf, std::io::Error),
    #[error("it has more than {PROVIDER_KEYS_MAX_BYTES} bytes")]
    TooLong,
    #[error("it did not come within {} s", WAIT.as_secs())]
    TooSlow,
    #[error("{0}")]
    Connect(String),
    #[error("it answered with status {0}")]
    Status(u16),
}

impl KeySetSource {
    /// Reads the keys' document.
    pub(super) async fn read(&self) -> Result<Bytes, FetchFault> {
        match self {
            Self::File(path) => read_file(path.clone()).await,
            Self::Url { url, ca_file, dial } => {
                let until = Instant::now() + WAIT;
                let fetched = timeout_at(until, Box::pin(get(url, ca_file.clone(), dial, until)));
                fetched.await.unwrap_or(Err(FetchFault::TooSlow))
            }
        }
    }
}

async fn read_file(path: PathBuf) -> Result<Bytes, FetchFault> {
    let read = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            use std::io::Read as _;
            let mut text = Vec::new();
            let at_most = u64::try_from(PROVIDER_KEYS_MAX_BYTES).unwrap_or(u64::MAX) + 1;
            std::fs::File::open(path)?
                .take(at_most)
                .read_to_end(&mut text)?;
            Ok(text)
        }
    });
    let text = read
        .await
        .unwrap_or_else(|fault| Err(std::io::Error::other(fault)))
        .map_err(|fault| FetchFault::File(path, fault))?;
    if text.len() > PROVIDER_KEYS_MAX_BYTES {
        return Err(FetchFault::TooLong);
    }
    Ok(text.into())
}

async fn get(
    url: &Uri,
    ca_file: PathBuf,
    dial: &Arc<dyn Dial>,
    until: Instant,
) -> Result<Bytes, FetchFault> {
    let connect = |fault: &dyn std::fmt::Display| FetchFault::Connect(fault.to_string());
    let authority = url
        .authority()
        .ok_or_else(|| connect(&"the URL names no host"))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let is_secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let mut stream: Box<dyn ByteStream> = dial
        .dial(host.clone(), port)
        .await
        .map_err(|fault| connect(&fault))?;
    if is_secure {
        stream = dial::secure_by_authority(stream, &host, ca_file, until)
            .await
            .map_err(|fault| connect(&fault))?;
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|fault| connect(&fault))?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|fault| connect(&fault))?;
    let exchange = async move {
        let response = sender.send_request(request).await;
        let response = response.map_err(|fault| FetchFault::Connect(fault.to_string()))?;
        if response.status() != 200 {
            return Err(FetchFault::Status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), PROVIDER_KEYS_MAX_BYTES);
        let whole = body.collect().await.map_err(|fault| {
            if fault.is::<http_body_util::LengthLimitError>() {
                FetchFault::TooLong
            } else {
                FetchFault::Connect(fault.to_string())
            }
        })?;
        Ok(whole.to_bytes())
    };
    // The connection ends when the exchange lets go of its sender.
    let (answer, _ended) = tokio::join!(exchange, connection);
    answer
}
