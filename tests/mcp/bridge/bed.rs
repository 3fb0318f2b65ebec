//! A host on one side of a bridge, and on the other side a box: the product's HTTP surface, or a script.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rackhand::base::secret::Secret;
use rackhand::base::shutdown::Stop;
use rackhand::guard::{Guard, KeySource, NewKey, Role};
use rackhand::http::{Front, Limits, OriginRules};
use rackhand::link::dial::{ByteStream, Dial};
use rackhand::mcp::{Server, ServerInfo};
use rackhand::ops::health::{Report, Source};
use rackhand::service::Service;
use rackhand::stdio::{Bridge, Client};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::bed::meta;
use crate::fixture::{Fixture, Knobs};
use crate::schemas;

pub(crate) const KEY: &str = "rh_the_key_of_the_bridge_0123456789";

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(20);

/// What answers on the other side.
#[derive(Clone)]
enum Behind {
    /// Nothing.
    Nobody,
    /// The product.
    Front(Arc<Front>),
    /// A script that answers each request.
    Script(Arc<dyn Fn(&Seen) -> Told + Send + Sync>),
}

/// A request as a script sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `POST /mcp`
    pub(crate) line: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }
}

/// What a script says.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    bytes: String,
    stays_open: bool,
}

impl Told {
    /// Hangs up without a word.
    pub(crate) fn nothing() -> Self {
        Self {
            bytes: String::new(),
            stays_open: false,
        }
    }

    pub(crate) fn json(status: u16, extra: &str, body: &Value) -> Self {
        let body = body.to_string();
        Self {
            bytes: format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {}\r\n\r\n{body}",
                body.len()
            ),
            stays_open: false,
        }
    }

    pub(crate) fn page(status: u16) -> Self {
        Self {
            bytes: format!(
                "HTTP/1.1 {status} X\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi"
            ),
            stays_open: false,
        }
    }

    pub(crate) fn taken() -> Self {
        Self {
            bytes: "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
            stays_open: false,
        }
    }

    /// Events, of which nothing says that they are all.
    pub(crate) fn events(events: &str) -> Self {
        Self {
            bytes: format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{events}\r\n",
                events.len()
            ),
            stays_open: false,
        }
    }

    pub(crate) fn open(self) -> Self {
        Self {
            stays_open: true,
            ..self
        }
    }
}

/// An answer of a box to the request with this id.
pub(crate) fn result(seen: &Seen, result: &Value) -> Told {
    Told::json(200, "", &answer(seen, result))
}

pub(crate) fn answer(seen: &Seen, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": result})
}

#[derive(Debug)]
struct Healthy;

impl Source for Healthy {
    fn report(&self) -> Arc<Report> {
        Arc::new(Report::new(Instant::now()))
    }

    fn detail(&self) -> Value {
        Value::Null
    }
}

/// The place where the box stands.
#[derive(Clone)]
pub(crate) struct Rack {
    behind: Arc<Mutex<Behind>>,
    serving: Arc<Mutex<JoinSet<()>>>,
    pub(crate) knobs: Arc<Knobs>,
    /// Every request that a script has seen.
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) dialled: Arc<Mutex<usize>>,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Rack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rack")
    }
}

impl Rack {
    fn with(behind: Behind) -> Self {
        Self {
            behind: Arc::new(Mutex::new(behind)),
            serving: Arc::default(),
            knobs: Arc::default(),
            seen: Arc::default(),
            dialled: Arc::default(),
            tls: None,
        }
    }

    pub(crate) fn empty() -> Self {
        Self::with(Behind::Nobody)
    }

    /// A rack with the product in it.
    pub(crate) fn new() -> Self {
        let rack = Self::empty();
        rack.start();
        rack
    }

    pub(crate) fn scripted(script: impl Fn(&Seen) -> Told + Send + Sync + 'static) -> Self {
        Self::with(Behind::Script(Arc::new(script)))
    }

    /// Starts the product, with nothing of what an earlier one knew but the key.
    pub(crate) fn start(&self) {
        let services: Vec<Arc<dyn Service>> = vec![Arc::new(Fixture::new(Arc::clone(&self.knobs)))];
        let info = ServerInfo {
            name: "rackhand",
            title: "rackhand".to_owned(),
            version: "0.1.0",
            instructions: "Read before you write.".to_owned(),
        };
        let person = NewKey::new("host", Role::Operator);
        let guard = Guard::new(KeySource::memory(&[(person, Secret::new(KEY))])).unwrap();
        let front = Front::new(
            Arc::new(Server::new(&services, info).unwrap()),
            Arc::new(guard),
            Arc::new(Healthy),
            OriginRules::new([], []),
            Limits::default(),
        );
        *self.behind.lock().unwrap() = Behind::Front(Arc::new(front));
    }

    /// The same box behind TLS.
    pub(crate) fn behind_tls(&self, acceptor: TlsAcceptor) -> Self {
        Self {
            tls: Some(acceptor),
            ..self.clone()
        }
    }

    /// Pulls the plug.
    pub(crate) fn stop(&self) {
        *self.behind.lock().unwrap() = Behind::Nobody;
        self.serving.lock().unwrap().abort_all();
    }

    /// Requests that a script has seen, by their methods; those without a body by their verbs.
    pub(crate) fn methods(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let names = seen.iter().map(|seen| match seen.method() {
            "" => seen.line.clone(),
            method => method.to_owned(),
        });
        names.collect()
    }

    /// Takes one connection.
    async fn take(self, stream: DuplexStream) {
        match &self.tls {
            None => self.serve(stream).await,
            Some(acceptor) => {
                if let Ok(stream) = acceptor.accept(stream).await {
                    self.serve(stream).await;
                }
            }
        }
    }

    async fn serve<S: ByteStream + 'static>(&self, stream: S) {
        let behind = self.behind.lock().unwrap().clone();
        match behind {
            Behind::Nobody => {}
            Behind::Front(front) => {
                let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
                front.serve_connection(stream, peer, Stop::new()).await;
            }
            Behind::Script(script) => self.play(stream, &*script).await,
        }
    }

    async fn play<S: ByteStream>(
        &self,
        mut stream: S,
        script: &(dyn Fn(&Seen) -> Told + Send + Sync),
    ) {
        let Some(seen) = read_request(&mut stream).await else {
            return;
        };
        self.seen.lock().unwrap().push(seen.clone());
        let told = script(&seen);
        stream.write_all(told.bytes.as_bytes()).await.ok();
        if told.stays_open {
            // Until the other side hangs up.
            stream.read_u8().await.ok();
        }
    }
}

impl Dial for Rack {
    fn dial(&self, _: String, _: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        *self.dialled.lock().unwrap() += 1;
        if matches!(*self.behind.lock().unwrap(), Behind::Nobody) {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let (ours, theirs) = tokio::io::duplex(256 << 10);
        self.serving
            .lock()
            .unwrap()
            .spawn(self.clone().take(theirs));
        Box::pin(async move {
            let ours: Box<dyn ByteStream> = Box::new(ours);
            Ok(ours)
        })
    }
}

async fn read_request<S: ByteStream>(stream: &mut S) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let (line, rest) = text.split_once("\r\n").unwrap();
    let headers: HashMap<_, _> = rest
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(head + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(Seen {
        line: line.rsplit_once(' ').unwrap().0.to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// A host that has started a bridge.
pub(crate) struct Host {
    to: WriteHalf<DuplexStream>,
    from: BufReader<ReadHalf<DuplexStream>>,
    bridge: JoinSet<()>,
    pub(crate) stop: Stop,
}

impl Host {
    pub(crate) fn new(rack: &Rack) -> Self {
        Self::with(rack, Some(KEY), "http://127.0.0.1:8080/mcp", "")
    }

    pub(crate) fn with(rack: &Rack, key: Option<&str>, url: &str, fingerprint: &str) -> Self {
        let client = Client::new(
            Arc::new(rack.clone()),
            url.parse().unwrap(),
            key.map(Secret::new).as_ref(),
            fingerprint.to_owned(),
        );
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (input, output) = tokio::io::split(theirs);
        let stop = Stop::new();
        let mut bridge = JoinSet::new();
        bridge.spawn(Bridge::new(client).run(input, output, stop.clone()));
        let (from, to) = tokio::io::split(ours);
        Self {
            to,
            from: BufReader::new(from),
            bridge,
            stop,
        }
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        self.to.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.say_text(&format!("{message}\n")).await;
    }

    /// The next message; `None` when the bridge has ended.
    pub(crate) async fn hear_or_end(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.from.read_line(&mut line));
        if read.await.unwrap().unwrap() == 0 {
            return None;
        }
        assert!(line.ends_with('\n'), "a line without an end: {line}");
        Some(serde_json::from_str(&line).unwrap_or_else(|fault| panic!("{fault}: {line}")))
    }

    pub(crate) async fn hear(&mut self) -> Value {
        self.hear_or_end().await.unwrap()
    }

    /// Asks, and checks the answer against the schema.
    pub(crate) async fn ask(&mut self, method: &'static str, params: Value) -> Value {
        let is_modern = params.get("_meta").is_some();
        self.say(&json!({"jsonrpc": "2.0", "id": "q", "method": method, "params": params}))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], "q", "{answer}");
        schemas::check_answer(is_modern, method, &answer);
        answer
    }

    /// A modern call of a tool.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", call(tool, &arguments)).await
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await;
    }

    /// Opens a session as older clients do.
    pub(crate) async fn initialize(&mut self) -> Value {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}});
        let answer = self.ask("initialize", params).await;
        self.notify("notifications/initialized", json!({})).await;
        answer
    }

    /// Closes the bridge's input and waits for its end; what it still said.
    pub(crate) async fn leaves(mut self) -> Vec<Value> {
        self.to.shutdown().await.unwrap();
        self.ends().await
    }

    /// Waits for its end.
    pub(crate) async fn ends(&mut self) -> Vec<Value> {
        let mut said = Vec::new();
        while let Some(message) = self.hear_or_end().await {
            said.push(message);
        }
        let ended = timeout(PATIENCE, self.bridge.join_next()).await;
        ended.unwrap().unwrap().unwrap();
        said
    }
}

/// The parameters of a modern call.
pub(crate) fn call(tool: &str, arguments: &Value) -> Value {
    json!({"name": tool, "arguments": arguments, "_meta": meta()})
}
