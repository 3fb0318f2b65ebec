//! A collector that is well, and each way in which one is not.

use std::io;

use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::base::trace::Traces;
use crate::telemetry::spans::{OnlySpans, Share, SpanLayer};

/// Hands each connection to the test; refuses when the test does not want them any more.
#[derive(Debug)]
struct Pipes(mpsc::Sender<DuplexStream>);

impl Dial for Pipes {
    fn dial(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        assert_eq!((host.as_str(), port), ("collector.local", 4318));
        let (ours, theirs) = duplex(1 << 20);
        let sent = self.0.try_send(theirs);
        Box::pin(async move {
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            let stream: Box<dyn ByteStream> = Box::new(ours);
            Ok(stream)
        })
    }
}

struct Bed {
    spans: Arc<Spans>,
    traces: Traces,
    connections: mpsc::Receiver<DuplexStream>,
    last: Stop,
    stop: Stop,
    sender: tokio::task::JoinSet<&'static str>,
    _subscriber: tracing::subscriber::DefaultGuard,
}

fn config() -> TracingConfig {
    TracingConfig {
        endpoint: Some("http://collector.local:4318/v1/traces?x=1".to_owned()),
        percent: 100.0,
        follows_callers: true,
        timeout: Duration::from_secs(10),
        ca_file: "/none".into(),
        headers: vec![("Api-Key".to_owned(), Secret::new("k"))],
        headers_file: None,
        attributes: vec![("service.name".to_owned(), "rack-7".to_owned())],
    }
}

impl Bed {
    fn new() -> Self {
        let spans = Arc::new(Spans::default());
        let layer = SpanLayer(Arc::clone(&spans)).with_filter(OnlySpans(Arc::clone(&spans)));
        let subscriber =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        spans.begin(Share::ALL, true);
        let (dialled, connections) = mpsc::channel(64);
        let collector = Collector::new(&config(), Vec::new(), Arc::new(Pipes(dialled)));
        let (last, stop) = (Stop::new(), Stop::new());
        let mut sender = tokio::task::JoinSet::new();
        let collector = collector.unwrap().unwrap();
        sender.spawn(collector.serve(Arc::clone(&spans), last.clone(), stop.clone()));
        Self {
            spans,
            traces: Traces::default(),
            connections,
            last,
            stop,
            sender,
            _subscriber: subscriber,
        }
    }

    fn trace(&self, requests: usize) {
        for _ in 0..requests {
            let trace = self.spans.decide(self.traces.of(None, None));
            assert!(trace.is_recorded());
            drop(spans::request(&trace, "ping", "2026-07-28"));
        }
    }

    /// Stops, and waits for it: nothing but the call to stop may be needed.
    async fn stopped(&mut self) {
        let before = Instant::now();
        self.stop.cancel();
        assert_eq!(
            self.sender.join_next().await.unwrap().unwrap(),
            "sender of traces"
        );
        assert_eq!(Instant::now(), before);
        assert_eq!(self.spans.status().waiting_bytes, 0);
        assert!(!self.spans.is_on());
    }
}

/// Reads one request: its head, and how many spans are in it.
async fn request(stream: &mut DuplexStream) -> (String, usize) {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4_096];
        let count = stream.read(&mut more).await.unwrap();
        assert_ne!(count, 0, "the request ended early");
        bytes.extend_from_slice(&more[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map(|length| length.parse::<usize>().unwrap());
        let body = &bytes[end + 4..];
        if body.len() == length.unwrap() {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let spans = request.resource_spans[0].scope_spans[0].spans.len();
            return (head, spans);
        }
    }
}

async fn answer(stream: &mut DuplexStream, head: &str) {
    let text = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_together_after_a_short_while() {
    let mut bed = Bed::new();
    bed.trace(3);
    let began = Instant::now();
    let mut stream = bed.connections.recv().await.unwrap();
    assert_eq!(began.elapsed(), SPANS_SENT_EVERY);
    let (head, spans) = request(&mut stream).await;
    assert_eq!(spans, 3);
    assert!(
        head.starts_with("POST /v1/traces?x=1 HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "host: collector.local:4318",
        "content-type: application/x-protobuf",
        "api-key: k",
    ] {
        assert!(head.contains(line), "{head}");
    }
    answer(&mut stream, "200 OK").await;
    bed.trace(1);
    let mut stream = bed.connections.recv().await.unwrap();
    assert_eq!(request(&mut stream).await.1, 1);
    assert_eq!(bed.spans.status().sent, 3);
    bed.stopped().await;
    assert_eq!(bed.spans.status().not_taken, 1);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_says_when_to_come_again_is_asked_then_and_not_for_ever() {
    let mut bed = Bed::new();
    bed.trace(2);
    let mut at = Vec::new();
    for status in [
        "503 Busy\r\nretry-after: 7",
        "429 Busy\r\nretry-after: 86400",
        "503 Busy",
    ] {
        let mut stream = bed.connections.recv().await.unwrap();
        at.push(Instant::now());
        assert_eq!(request(&mut stream).await.1, 2);
        answer(&mut stream, status).await;
    }
    assert_eq!(at[1] - at[0], Duration::from_secs(7));
    assert_eq!(at[2] - at[1], SPANS_REST_MAX);
    while bed.spans.status().not_taken == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bed.spans.status().not_taken, 2);
    assert!(bed.spans.fault().unwrap().contains("503"));
    // What comes later is sent as if nothing had been.
    bed.trace(1);
    let mut stream = bed.connections.recv().await.unwrap();
    assert_eq!(request(&mut stream).await.1, 1);
    answer(&mut stream, "204 Good").await;
    while bed.spans.status().sent == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bed.spans.fault(), None);
    bed.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_for_good_is_not_offered_again() {
    let mut bed = Bed::new();
    for (status, lost) in [
        ("400 Bad", 1),
        ("404 None", 2),
        ("301 Elsewhere\r\nlocation: http://a/", 3),
    ] {
        bed.trace(1);
        let mut stream = bed.connections.recv().await.unwrap();
        request(&mut stream).await;
        answer(&mut stream, status).await;
        while bed.spans.status().not_taken < lost {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(bed.connections.try_recv().is_err());
    bed.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_takes_and_never_answers_holds_nothing_up() {
    let mut bed = Bed::new();
    bed.trace(1);
    let mut held = Vec::new();
    for _ in 0..SPANS_OFFERED_TIMES {
        held.push(bed.connections.recv().await.unwrap());
    }
    assert_eq!(bed.spans.status().not_taken, 0);
    // Meanwhile spans go on being built, up to the bound.
    bed.trace(5);
    let built = bed.spans.status().built;
    assert_eq!(built, 6);
    bed.stopped().await;
    assert_eq!(bed.spans.status().not_taken, 6);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_gone_or_speaks_nonsense_costs_what_was_offered() {
    let mut bed = Bed::new();
    bed.trace(2);
    for _ in 0..SPANS_OFFERED_TIMES {
        let mut stream = bed.connections.recv().await.unwrap();
        stream
            .write_all(b"SSH-2.0-OpenSSH_9.9\r\n\0\xff")
            .await
            .unwrap();
    }
    while bed.spans.status().not_taken < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    bed.connections.close();
    bed.trace(1);
    while bed.spans.status().not_taken < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bed.spans.status().sent, 0);
    bed.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_spans_are_sent_while_the_rest_of_the_box_still_stops() {
    let mut bed = Bed::new();
    bed.trace(2);
    tokio::task::yield_now().await;
    let began = Instant::now();
    bed.last.cancel();
    let mut stream = bed.connections.recv().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(request(&mut stream).await.1, 2);
    answer(&mut stream, "200 OK").await;
    while bed.spans.status().sent < 2 {
        tokio::task::yield_now().await;
    }
    bed.stopped().await;
    assert_eq!(bed.spans.status().not_taken, 0);
}

#[test]
fn a_header_that_cannot_be_one_is_named_without_its_value() {
    let headers = |name: &str, value: &str| vec![(name.to_owned(), Secret::new(value))];
    let dial: Arc<dyn Dial> = Arc::new(crate::link::NetDial);
    for (name, value) in [("a b", "c"), ("a", "b\nc"), ("", "c")] {
        let fault = Collector::new(&config(), headers(name, value), Arc::clone(&dial)).unwrap_err();
        assert!(matches!(fault, CollectorFault::Header(said) if said == name));
    }
    let shown = format!(
        "{:?}",
        Collector::new(&config(), headers("b", "hush"), dial).unwrap()
    );
    assert!(!shown.contains("hush"), "{shown}");
    let off = TracingConfig {
        endpoint: None,
        ..config()
    };
    assert!(
        Collector::new(&off, Vec::new(), Arc::new(crate::link::NetDial))
            .unwrap()
            .is_none()
    );
}
