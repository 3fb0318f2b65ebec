//! Sends spans to a collector: OTLP over HTTP, protobuf, one short POST for all that wait. A collector that is gone or slow costs what
//! waits within its bound, and nobody else waits for it: not a call, and not the end of the process.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout_at};

use crate::base::secret::Secret;
use crate::base::shutdown::Stop;
use crate::config::TracingConfig;
use crate::limits::{SPANS_OFFERED_TIMES, SPANS_REST_MAX, SPANS_SENT_EVERY};
use crate::link::Dial;
use crate::link::dial::{self, ByteStream};
use crate::telemetry::spans::{self, Spans, Waiting};

/// Why there is nobody to send to.
#[derive(Debug, thiserror::Error)]
pub enum CollectorFault {
    /// The endpoint is none.
    #[error("\"{0}\" is not the URL of a collector")]
    Url(String),
    /// A header that cannot be one. Its value is not told.
    #[error("the header \"{0}\" for the collector has a name or a value that no header can have")]
    Header(String),
}

/// Where spans go.
#[derive(Debug)]
pub struct Collector {
    uri: Uri,
    host: String,
    headers: HeaderMap,
    timeout: Duration,
    ca_file: std::path::PathBuf,
    dial: Arc<dyn Dial>,
    resource: Vec<u8>,
}

/// Why spans did not arrive.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it did not answer within {0:?}")]
    TooSlow(Duration),
    #[error("{0}")]
    Connect(String),
    #[error("it answered with status {status}")]
    Status {
        status: StatusCode,
        /// When it wants to be asked again.
        again: Option<Duration>,
    },
}

impl Fault {
    /// Whether it may take them later (OTLP specification, Failures).
    fn may_pass(&self) -> bool {
        match self {
            Self::TooSlow(_) | Self::Connect(_) => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl Collector {
    /// The collector of a configuration, if it has one. `headers` come from a file.
    ///
    /// # Errors
    ///
    /// There is one that cannot be used.
    pub fn new(
        config: &TracingConfig,
        headers: Vec<(String, Secret)>,
        dial: Arc<dyn Dial>,
    ) -> Result<Option<Self>, CollectorFault> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        let uri: Option<Uri> = endpoint.parse().ok();
        let uri = uri.filter(|uri| uri.host().is_some());
        let uri = uri.ok_or_else(|| CollectorFault::Url(endpoint.clone()))?;
        let mut all = HeaderMap::new();
        for (name, value) in config.headers.iter().cloned().chain(headers) {
            let found = name.to_ascii_lowercase().parse::<HeaderName>().ok();
            let mut value = HeaderValue::try_from(value.expose()).ok();
            if let (Some(found), Some(value)) = (found, &mut value) {
                value.set_sensitive(true);
                all.insert(found, value.clone());
            } else {
                return Err(CollectorFault::Header(name));
            }
        }
        let version = ("service.version", env!("CARGO_PKG_VERSION"));
        let attributes = config.attributes.iter();
        let attributes = attributes.map(|(name, value)| (name.as_str(), value.as_str()));
        Ok(Some(Self {
            host: uri
                .host()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            uri,
            headers: all,
            timeout: config.timeout,
            ca_file: config.ca_file.clone(),
            dial,
            resource: spans::resource(attributes.chain([version])),
        }))
    }

    /// Sends what waits until `stop`. From `last` on nothing new is to be expected, and what waits is sent at once.
    pub async fn serve(self, spans: Arc<Spans>, last: Stop, stop: Stop) -> &'static str {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.send_all(&spans, &last) => {}
        }
        spans.end();
        spans.lost(spans.take().spans);
        "sender of traces"
    }

    async fn send_all(&self, spans: &Spans, last: &Stop) {
        let mut was_told = false;
        loop {
            spans.something().await;
            tokio::select! {
                biased;
                () = last.cancelled() => {}
                () = spans.much() => {}
                () = sleep(SPANS_SENT_EVERY) => {}
            }
            let fault = self.offer(spans, Taken::from(spans)).await;
            match &fault {
                Some(fault) if !was_told => tracing::warn!(
                    "The collector at {} does not take traces: {fault}. They are dropped and counted until it does.",
                    self.host
                ),
                None if was_told => {
                    tracing::info!("The collector at {} takes traces again.", self.host);
                }
                _ => {}
            }
            was_told = fault.is_some();
            spans.set_fault(fault.map(|fault| fault.to_string()));
        }
    }

    /// Offers spans a few times. Answers why they were dropped, if they were.
    async fn offer(&self, spans: &Spans, taken: Taken<'_>) -> Option<Fault> {
        let body = Bytes::from(spans::envelope(&self.resource, &taken.waiting));
        let mut rest = Duration::from_secs(1);
        let mut times = 0;
        loop {
            let until = Instant::now() + self.timeout;
            let sent = timeout_at(until, self.post(body.clone(), until)).await;
            let fault = match sent {
                Ok(Ok(())) => {
                    spans.arrived(taken.arrived());
                    return None;
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::TooSlow(self.timeout),
            };
            times += 1;
            if times >= SPANS_OFFERED_TIMES || !fault.may_pass() {
                return Some(fault);
            }
            let again = match fault {
                Fault::Status { again, .. } => again,
                Fault::TooSlow(_) | Fault::Connect(_) => None,
            };
            sleep(again.unwrap_or(rest).min(SPANS_REST_MAX)).await;
            rest *= 2;
        }
    }

    async fn post(&self, body: Bytes, until: Instant) -> Result<(), Fault> {
        let connect = |fault: &dyn std::fmt::Display| Fault::Connect(fault.to_string());
        let is_secure = self.uri.scheme_str() == Some("https");
        let port = if is_secure { 443 } else { 80 };
        let port = self.uri.port_u16().unwrap_or(port);
        let dialled = self.dial.dial(self.host.clone(), port).await;
        let mut stream: Box<dyn ByteStream> = dialled.map_err(|fault| connect(&fault))?;
        if is_secure {
            let file = self.ca_file.clone();
            let secured = dial::secure_by_authority(stream, &self.host, file, until).await;
            stream = secured.map_err(|fault| connect(&fault))?;
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|fault| connect(&fault))?;
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|fault| connect(&fault))?;
        request.headers_mut().extend(self.headers.clone());
        // Whatever stands in the answer's body: its head says enough, and the connection is dropped with the rest unread.
        let mut answer = pin!(sender.send_request(request));
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ended = connection => answer.await,
        };
        let head = answer.map_err(|fault| connect(&fault))?;
        let status = head.status();
        if status.is_success() {
            return Ok(());
        }
        let again = head.headers().get(RETRY_AFTER);
        let again = again.and_then(|value| value.to_str().ok()?.parse().ok());
        let again = again.map(Duration::from_secs);
        Err(Fault::Status { status, again })
    }
}

/// Spans that were taken away to be sent: lost, unless they arrive.
struct Taken<'a> {
    spans: &'a Spans,
    waiting: Waiting,
}

impl<'a> From<&'a Spans> for Taken<'a> {
    fn from(spans: &'a Spans) -> Self {
        let waiting = spans.take();
        Self { spans, waiting }
    }
}

impl Taken<'_> {
    /// They did.
    fn arrived(mut self) -> u64 {
        std::mem::take(&mut self.waiting.spans)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.spans.lost(self.waiting.spans);
    }
}

#[cfg(test)]
mod tests;
