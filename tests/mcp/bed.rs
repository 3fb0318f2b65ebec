//! The test bed: a server with the fixture service, keys of each role, and clients that write HTTP by hand.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use rackhand::base::secret::Secret;
use rackhand::base::shutdown::Stop;
use rackhand::guard::{Guard, KeyFile, KeySource, NewKey, RateRules, Role, Scope, key};
use rackhand::http::{Front, Limits, OriginRules};
use rackhand::mcp::{Server, ServerInfo};
use rackhand::ops::health::{Level, Report, Source, Standing};
use rackhand::service::Service;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, Knobs};
pub(crate) use crate::schemas::MODERN;
use crate::schemas::Tape;
use tokio::time::Instant;

#[derive(Debug)]
struct Healthy;

impl Source for Healthy {
    fn report(&self) -> Arc<Report> {
        let now = Instant::now();
        Arc::new(Report {
            level: Level::Degraded,
            not_ready: Some("No design is known yet."),
            standings: vec![Standing {
                name: "link",
                tells_names: true,
                level: Level::Degraded,
                reason: "The Core <cannot> be reached.".into(),
                since: now,
                last_good: None,
                changes: 0,
            }],
            ..Report::new(now)
        })
    }

    fn detail(&self) -> Value {
        json!({"link": "backoff"})
    }
}

pub(crate) struct Bed {
    pub(crate) front: Arc<Front>,
    pub(crate) server: Arc<Server>,
    pub(crate) knobs: Arc<Knobs>,
    pub(crate) stop: Stop,
    keys: HashMap<&'static str, Secret>,
    tasks: JoinSet<()>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default(), 50)
    }

    pub(crate) fn with(limits: Limits, page: usize) -> Self {
        Self::serving(&[], limits, page)
    }

    /// A bed with one more service.
    pub(crate) fn serving_also(service: Arc<dyn Service>) -> Self {
        Self::serving(&[service], Limits::default(), 50)
    }

    /// A bed that counts requests.
    pub(crate) fn with_rates(rules: RateRules) -> Self {
        Self::counting(Some(rules), &[], Limits::default(), 50)
    }

    pub(crate) fn serving(more: &[Arc<dyn Service>], limits: Limits, page: usize) -> Self {
        Self::counting(None, more, limits, page)
    }

    fn counting(
        rates: Option<RateRules>,
        more: &[Arc<dyn Service>],
        limits: Limits,
        page: usize,
    ) -> Self {
        let mut keys = HashMap::new();
        let mut records = Vec::new();
        let roles = Role::ALL.map(|role| (role.as_str(), role, None));
        let odd = ("writes-only", Role::Operator, Some(vec![Scope::Operate]));
        for (name, role, scopes) in roles.into_iter().chain([odd]) {
            let secret = key::generate().unwrap();
            keys.insert(name, secret.clone());
            let new = NewKey {
                scopes,
                ..NewKey::new(name, role)
            };
            records.push((new, secret));
        }
        let guard = Guard::new(KeySource::memory(&records)).unwrap();
        let guard = match rates {
            Some(wanted) => guard.with_rates(wanted),
            None => guard,
        };
        Self::behind(guard, keys, more, limits, page)
    }

    /// A bed whose keys stand in a file, which is watched. Needs real time.
    pub(crate) fn with_keys(file: KeyFile) -> Self {
        let guard = Guard::new(KeySource::File(file)).unwrap();
        Self::behind(guard, HashMap::new(), &[], Limits::default(), 50)
    }

    /// A bed behind this guard.
    pub(crate) fn guarded(guard: Guard) -> Self {
        Self::behind(guard, HashMap::new(), &[], Limits::default(), 50)
    }

    fn behind(
        guard: Guard,
        keys: HashMap<&'static str, Secret>,
        more: &[Arc<dyn Service>],
        limits: Limits,
        page: usize,
    ) -> Self {
        let knobs = Arc::new(Knobs::default());
        let mut services: Vec<Arc<dyn Service>> = vec![Arc::new(Fixture::new(Arc::clone(&knobs)))];
        services.extend_from_slice(more);
        let info = ServerInfo {
            name: "rackhand",
            title: "rackhand".to_owned(),
            version: "0.1.0",
            instructions: "Read before you write.".to_owned(),
        };
        let server = Arc::new(Server::new(&services, info).unwrap().with_page(page));
        let stop = Stop::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&server).keep(stop.clone()).map(drop));
        let guard = Arc::new(guard);
        let watching = Arc::clone(&guard).watch(stop.clone());
        tasks.spawn(watching.map(drop));
        let origins = OriginRules::new([], ["https://panel.example".to_owned()]);
        let front = Front::new(
            Arc::clone(&server),
            guard,
            Arc::new(Healthy),
            origins,
            limits,
        )
        .with_request_log(true);
        Self {
            front: Arc::new(front),
            server,
            knobs,
            stop,
            keys,
            tasks,
        }
    }

    pub(crate) fn key(&self, role: &str) -> &str {
        self.keys[role].expose()
    }

    /// A client at another address.
    pub(crate) fn client_at(&mut self, role: &str, peer: IpAddr) -> Client {
        let (ours, theirs) = tokio::io::duplex(256 << 10);
        self.serve_at(theirs, peer);
        self.client_on(role, ours)
    }

    /// A connection of an operator.
    pub(crate) fn client(&mut self) -> Client {
        self.client_as("operator")
    }

    /// A connection with the key of `role`; an unknown role sends none.
    pub(crate) fn client_as(&mut self, role: &str) -> Client {
        self.client_over(role, 256 << 10)
    }

    /// The same over a connection that takes this many bytes while nobody reads.
    pub(crate) fn client_over(&mut self, role: &str, bytes: usize) -> Client {
        let (ours, theirs) = tokio::io::duplex(bytes);
        self.serve(theirs);
        self.client_on(role, ours)
    }

    fn client_on(&self, role: &str, stream: DuplexStream) -> Client {
        Client {
            stream,
            read: Vec::new(),
            key: self.keys.get(role).map(|key| key.expose().to_owned()),
            session: None,
            version: None,
            tape: Arc::default(),
        }
    }

    /// Serves a connection of any kind.
    pub(crate) fn serve<S>(&mut self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve_at(stream, IpAddr::V4(Ipv4Addr::new(192, 168, 1, 9)));
    }

    fn serve_at<S>(&mut self, stream: S, peer: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let front = Arc::clone(&self.front);
        self.tasks
            .spawn(front.serve_connection(stream, peer, self.stop.clone()));
    }

    /// Whether the next part of the server that ends does so by a panic.
    pub(crate) async fn ends_by_panic(&mut self) -> bool {
        let ended = self.tasks.join_next().await.unwrap();
        ended.is_err_and(|error| error.is_panic())
    }

    /// Another connection of the same client: it knows what the client asked and in which session.
    pub(crate) fn sibling(&mut self, client: &Client) -> Client {
        let mut sibling = self.client();
        sibling.key.clone_from(&client.key);
        sibling.session.clone_from(&client.session);
        sibling.version = client.version;
        sibling.tape = Arc::clone(&client.tape);
        sibling
    }
}

/// One connection, and what a client remembers.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    read: Vec<u8>,
    pub(crate) key: Option<String>,
    pub(crate) session: Option<String>,
    /// The version header of a legacy client.
    pub(crate) version: Option<&'static str>,
    pub(crate) tape: Arc<Mutex<Tape>>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Status and JSON-RPC code.
    pub(crate) fn code(&self) -> (u16, i64) {
        (
            self.status,
            self.json()["error"]["code"].as_i64().unwrap_or(0),
        )
    }
}

/// The code of a result that is a fault; it stands in front of its text.
pub(crate) fn fault_code(result: &Value) -> &str {
    assert_eq!(result["isError"], true, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    text.split_once(':').map_or(text, |(code, _)| code)
}

/// The metadata of a modern request.
pub(crate) fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": MODERN,
           "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
           "io.modelcontextprotocol/clientCapabilities": {}})
}

/// A modern request and the headers that go with it.
pub(crate) fn modern(method: &str, mut params: Value) -> (Vec<(String, String)>, Value) {
    let wishes = params["_meta"].take();
    params["_meta"] = meta();
    for (name, wish) in wishes.as_object().into_iter().flatten() {
        params["_meta"][name] = wish.clone();
    }
    let mut headers = vec![
        ("MCP-Protocol-Version".to_owned(), MODERN.to_owned()),
        ("Mcp-Method".to_owned(), method.to_owned()),
    ];
    let name = match method {
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => "name",
    };
    if let Some(name) = params[name].as_str() {
        headers.push(("Mcp-Name".to_owned(), name.to_owned()));
    }
    (
        headers,
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}),
    )
}

/// Owned headers as they are sent.
pub(crate) fn refs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Header fields on the wire.
pub(crate) fn lines<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text
}

impl Client {
    /// Sends exactly this head and body.
    pub(crate) async fn send_raw(&mut self, text: &str) {
        let body = text.split_once("\r\n\r\n").map_or(text, |(_, body)| body);
        self.tape.lock().unwrap().sent(body);
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends a request with the headers of a well-behaved client, `extra` on top; an empty value takes a header away.
    pub(crate) async fn send(
        &mut self,
        verb: &str,
        path: &str,
        extra: &[(&str, &str)],
        body: &str,
    ) {
        let mut headers = vec![("host", "127.0.0.1:8080".to_owned())];
        if verb == "POST" {
            headers.push(("content-type", "application/json".to_owned()));
            headers.push(("accept", "application/json, text/event-stream".to_owned()));
            headers.push(("content-length", body.len().to_string()));
        }
        if let Some(key) = &self.key {
            headers.push(("authorization", format!("Bearer {key}")));
        }
        if let Some(session) = &self.session {
            headers.push(("mcp-session-id", session.clone()));
        }
        if let Some(version) = self.version {
            headers.push(("mcp-protocol-version", version.to_owned()));
        }
        headers.retain(|(name, _)| {
            !extra
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
        });
        let given = extra.iter().filter(|(_, value)| !value.is_empty());
        headers.extend(given.map(|(name, value)| (*name, (*value).to_owned())));
        let head = lines(headers.iter().map(|(name, value)| (*name, value.as_str())));
        self.send_raw(&format!("{verb} {path} HTTP/1.1\r\n{head}\r\n{body}"))
            .await;
    }

    /// The next response, with a body if its length is given.
    pub(crate) async fn receive(&mut self) -> Response {
        let mut response = self.receive_head().await;
        let length: usize = response
            .headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more().await, "the body ended early");
        }
        response.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        if response.header("content-type") == "application/json"
            && let Ok(message) = serde_json::from_str::<Value>(&response.body)
            && (message.is_array() || message.get("jsonrpc").is_some())
        {
            self.tape.lock().unwrap().received(&message);
        }
        response
    }

    /// The head of the next response alone.
    pub(crate) async fn receive_head(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(
                self.more().await,
                "the connection ended: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        };
        let head = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Response {
            status,
            headers,
            body: String::new(),
        }
    }

    /// What comes next on a stream, chunk framing taken off; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let size =
                    usize::from_str_radix(std::str::from_utf8(&self.read[..at]).unwrap(), 16)
                        .unwrap();
                if self.read.len() >= at + size + 4 {
                    let data = self.read[at + 2..at + 2 + size].to_vec();
                    self.read.drain(..at + size + 4);
                    let data = String::from_utf8(data).unwrap();
                    let is_message = !data.starts_with("event: shutdown_pending");
                    for line in data.lines().filter(|_| is_message) {
                        if let Some(text) = line
                            .strip_prefix("data: ")
                            .filter(|text| text.starts_with(['{', '[']))
                        {
                            let message = serde_json::from_str(text).unwrap();
                            self.tape.lock().unwrap().received(&message);
                        }
                    }
                    return (size > 0).then_some(data);
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next message on a stream, comments and events without a message passed over; `None` at its end.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        loop {
            let chunk = self.chunk().await?;
            let data = chunk.lines().find_map(|line| line.strip_prefix("data: "));
            if let Some(data) = data.filter(|data| data.starts_with(['{', '['])) {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// Whether the connection was ended by the server.
    pub(crate) async fn is_cut(&mut self) -> bool {
        !self.more().await
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0_u8; 4096];
        let read = tokio::time::timeout(Duration::from_mins(10), self.stream.read(&mut buffer));
        let read = read.await.unwrap().unwrap_or(0);
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }

    pub(crate) async fn request(
        &mut self,
        verb: &str,
        path: &str,
        extra: &[(&str, &str)],
        body: &str,
    ) -> Response {
        self.send(verb, path, extra, body).await;
        self.receive().await
    }

    /// Posts a body as it is.
    pub(crate) async fn post(&mut self, extra: &[(&str, &str)], body: &str) -> Response {
        self.request("POST", "/mcp", extra, body).await
    }

    /// Posts a modern request.
    pub(crate) async fn modern(&mut self, method: &str, params: Value) -> Response {
        let (headers, body) = modern(method, params);
        let extra = refs(&headers);
        self.post(&extra, &body.to_string()).await
    }

    /// Posts a legacy request in the session.
    pub(crate) async fn legacy(&mut self, method: &str, params: Value) -> Response {
        let body = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params});
        self.post(&[], &body.to_string()).await
    }

    /// Opens a session.
    pub(crate) async fn initialize(&mut self, version: &'static str) -> Response {
        self.initialize_with(version, json!({})).await
    }

    /// Opens a session as a client that can do this.
    pub(crate) async fn initialize_with(
        &mut self,
        version: &'static str,
        capabilities: Value,
    ) -> Response {
        let params = json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}});
        let response = self.legacy("initialize", params).await;
        self.session = Some(response.header("mcp-session-id").to_owned());
        self.version = Some(version);
        response
    }
}
