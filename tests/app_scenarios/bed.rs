//! The box with its Cores at one end and clients at the other, all over in-memory pipes.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rackhand::app::Running;
use rackhand::base::clock::UnixMillis;
use rackhand::base::secret::Secret;
use rackhand::base::shutdown::Stop;
use rackhand::config::Config;
use rackhand::guard::{Guard, KeySource, NewKey, Open, Role, Scope, key};
use rackhand::http::Front;
use rackhand::link::Dial;
use rackhand::link::dial::ByteStream;
use rackhand::sim::SimCore;
use rackhand::sim::design::Design;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const REVISION: &str = "2026-07-28";

static EXCHANGES: AtomicU32 = AtomicU32::new(0);

/// The Cores by host name.
#[derive(Debug)]
pub(crate) struct Network {
    hosts: BTreeMap<String, SimCore>,
    /// When somebody tried to connect.
    dialled: Mutex<Vec<Instant>>,
    serving: Mutex<JoinSet<()>>,
}

impl Dial for Network {
    fn dial(&self, host: String, _: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        self.dialled.lock().push(Instant::now());
        let Some(core) = self.hosts.get(&host).filter(|core| core.accepts()).cloned() else {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        };
        let (here, there) = duplex(64 << 10);
        let mut serving = self.serving.lock();
        while serving.try_join_next().is_some() {}
        serving.spawn(async move { core.serve_websocket(there).await });
        Box::pin(async move {
            let stream: Box<dyn ByteStream> = Box::new(here);
            Ok(stream)
        })
    }
}

/// A running box. To drop it is to pull its plug.
pub(crate) struct Bed {
    pub(crate) sim: SimCore,
    pub(crate) front: Arc<Front>,
    pub(crate) network: Arc<Network>,
    pub(crate) stop: Stop,
    keys: BTreeMap<&'static str, Secret>,
    clients: JoinSet<()>,
    running: JoinSet<anyhow::Result<()>>,
    folder: TempDir,
    settings: String,
}

/// What a box with one Core and nothing forbidden is told.
pub(crate) const OPEN: &str = "[safety]\nwrites = true\n";

/// What the key of `bounded` reaches.
pub(crate) const REACH: &str = "Hall A*";

/// The `[[core]]` table of a host.
fn core_table(name: &str) -> String {
    format!(
        "[[core]]\nname = \"{name}\"\naddress = \"{name}\"\ntransport = \"ws\"\nnamed-controls = [\"MainGain\", \"MainMute\", \"FoyerGain\"]\n"
    )
}

impl Bed {
    /// A box with one Core `hall`, live, under these settings besides its `[[core]]`.
    pub(crate) async fn live(design: Design, settings: &str) -> Self {
        let sim = SimCore::new(design, rackhand::sim::Options::default());
        let bed = Self::begin(&[("hall", sim)], &(core_table("hall") + settings));
        bed.reached("live").await;
        bed
    }

    /// A box with these Cores, under these settings, from the start. The first is the bed's own.
    pub(crate) fn with_cores(cores: &[(&str, SimCore)], settings: &str) -> Self {
        let tables: String = cores.iter().map(|(name, _)| core_table(name)).collect();
        Self::begin(cores, &(tables + settings))
    }

    /// A box with hosts and a whole configuration, from the start.
    pub(crate) fn begin(hosts: &[(&str, SimCore)], settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let owned = hosts
            .iter()
            .map(|(name, core)| ((*name).to_owned(), core.clone()));
        let network = Arc::new(Network {
            hosts: owned.collect(),
            dialled: Mutex::default(),
            serving: Mutex::default(),
        });
        Self::start(hosts[0].1.clone(), network, folder, settings.to_owned())
    }

    fn start(sim: SimCore, network: Arc<Network>, folder: TempDir, settings: String) -> Self {
        let text = format!(
            "{settings}\n[store]\npath = {folder:?}\n[rate]\nenabled = false\n[health]\nroot = \"{folder}/machine\"\ndisk-degraded-percent = 100\ndisk-unhealthy-percent = 100\n",
            folder = folder.path().to_str().unwrap()
        );
        let config = Config::load(&text, &BTreeMap::new())
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let mut keys = BTreeMap::new();
        let mut records = Vec::new();
        let roles = Role::ALL.map(|role| (role.as_str(), role, None, None));
        let expired = ("expired", Role::Admin, None, Some(UnixMillis(1)));
        // Good for something, but not for looking.
        let blind = ("blind", Role::Guest, Some(vec![Scope::Diagnose]), None);
        let bounded = ("bounded", Role::Operator, None, None);
        for (name, role, scopes, expires) in roles.into_iter().chain([expired, blind, bounded]) {
            let secret = key::generate().unwrap();
            keys.insert(name, secret.clone());
            let components = match name {
                "bounded" => vec![REACH.to_owned()],
                _ => Vec::new(),
            };
            let new = NewKey {
                scopes,
                expires,
                components,
                ..NewKey::new(name, role)
            };
            records.push((new, secret));
        }
        let guard = Guard::new(KeySource::memory(&records)).unwrap();
        let access = &config.access;
        let tools = access.anonymous_tools.iter().filter(|tool| *tool != "ping");
        let guard = guard.with_open(Open {
            scrapers: Vec::new(),
            loopback: access
                .loopback_role
                .as_ref()
                .map(|role| role.parse().unwrap()),
            tools: tools.cloned().collect(),
            answers_ping: access.anonymous_tools.iter().any(|tool| tool == "ping"),
        });
        let stop = Stop::new();
        let dial: Arc<dyn Dial> = network.clone();
        let begun = Running::begin(&config, guard, &dial, stop.clone()).unwrap();
        let front = Arc::clone(begun.front());
        let mut running = JoinSet::new();
        running.spawn(begun.until_stopped());
        Self {
            sim,
            front,
            network,
            stop,
            keys,
            clients: JoinSet::new(),
            running,
            folder,
            settings,
        }
    }

    /// Has the machine say this in a file of `/proc` or `/sys`.
    pub(crate) fn machine_says(&self, file: &str, text: &str) {
        let file = self.folder.path().join("machine").join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// Stops the box in order and starts it again with the same data folder.
    pub(crate) async fn restarted(mut self) -> Self {
        self.stopped().await;
        drop(self.running);
        Self::start(self.sim, self.network, self.folder, self.settings)
    }

    /// Stops the box in order.
    pub(crate) async fn stopped(&mut self) {
        self.stop.cancel();
        let ended = timeout(Duration::from_mins(1), self.running.join_next());
        ended.await.unwrap().unwrap().unwrap().unwrap();
    }

    /// Attempts to connect since a moment.
    pub(crate) fn dialled_since(&self, since: Instant) -> usize {
        let dialled = self.network.dialled.lock();
        dialled.iter().filter(|at| **at >= since).count()
    }

    /// A new connection of a client; its pipe holds `room` bytes.
    pub(crate) fn connect(&mut self, room: usize) -> DuplexStream {
        let (ours, theirs) = duplex(room);
        let peer = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 9));
        let served = Arc::clone(&self.front).serve_connection(theirs, peer, self.stop.clone());
        while self.clients.try_join_next().is_some() {}
        self.clients.spawn(served);
        ours
    }

    /// A client that calls tools with the key of a role; an unknown role has none.
    pub(crate) fn client(&self, role: &str) -> Client {
        Client {
            front: Arc::clone(&self.front),
            stop: self.stop.clone(),
            key: self.keys.get(role).map(|key| key.expose().to_owned()),
        }
    }

    /// Calls a tool as an operator.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        self.client("operator").call(tool, arguments).await
    }

    /// What the box says of its links.
    pub(crate) async fn link(&self) -> Value {
        self.call("qsys_get_link_status", json!({})).await.unwrap()
    }

    /// Waits until the link is in a state, for up to ten minutes.
    pub(crate) async fn reached(&self, state: &str) -> Value {
        for _ in 0..6_000 {
            let link = self.link().await;
            if link["state"] == state {
                return link;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("never {state}: {:#}", self.link().await);
    }

    /// Reads one control as the box has it.
    pub(crate) async fn reading(&self, component: &str, control: &str) -> Value {
        let answer = self.call("qsys_get_controls", one(component, control));
        answer.await.unwrap()["controls"][0].clone()
    }

    /// The health of the box, in full.
    pub(crate) async fn health(&self) -> Value {
        let reply = self.client("viewer").get("/health?detail").await;
        assert_eq!(reply.status, 200);
        serde_json::from_str(&reply.body).unwrap()
    }
}

/// The argument that names one control.
pub(crate) fn one(component: &str, control: &str) -> Value {
    json!({ "controls": [{ "component": component, "control": control }] })
}

/// One change, with a reason.
pub(crate) fn change(component: &str, control: &str, value: impl Into<Value>) -> Value {
    json!({ "changes": [{ "component": component, "control": control, "value": value.into() }], "reason": "a test" })
}

/// The parts of a fault as its text has them: the code, words, and JSON at its end where there is some.
fn fault(text: &str) -> Value {
    let (code, problem) = text.split_once(": ").unwrap_or((text, ""));
    let data = problem
        .match_indices(['{', '['])
        .find_map(|(at, _)| serde_json::from_str::<Value>(problem.get(at..)?).ok());
    json!({"code": code, "problem": problem, "data": data})
}

/// The code of a fault.
pub(crate) fn code(outcome: Result<Value, Value>) -> String {
    let fault = outcome.unwrap_err();
    fault["code"].as_str().unwrap_or_default().to_owned()
}

/// A client that opens a connection per request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    front: Arc<Front>,
    stop: Stop,
    pub(crate) key: Option<String>,
}

/// An answer of HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    /// The same client on connections that do not end with the box's stop: as one that had come in before.
    pub(crate) fn come_before(self) -> Self {
        Self {
            stop: Stop::new(),
            ..self
        }
    }

    /// Calls a tool: the structured answer, or the fault.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        let reply = self.exchange(&self.tool_request(tool, &arguments)).await;
        let answer: Value =
            serde_json::from_str(&reply.body).unwrap_or_else(|fault| panic!("{fault}: {reply:?}"));
        let result = &answer["result"];
        assert!(result.is_object(), "{reply:?}");
        let said = result["content"][0]["text"].as_str().unwrap_or_default();
        let structured = match result.get("structuredContent") {
            Some(structured) => structured.clone(),
            // An older name answers with JSON in text.
            None => serde_json::from_str(said).unwrap_or_default(),
        };
        assert!(!said.is_empty());
        assert!(
            !said.contains(|c: char| c.is_control() && c != '\n'),
            "{said:?}"
        );
        if result["isError"] == true {
            Err(fault(said))
        } else {
            Ok(structured)
        }
    }

    /// The request that calls a tool, as it goes over the wire.
    pub(crate) fn tool_request(&self, tool: &str, arguments: &Value) -> String {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientInfo": { "name": "scenario", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {} } },
        })
        .to_string();
        format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             mcp-protocol-version: {REVISION}\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n{}content-length: {}\r\n\r\n{body}",
            self.authorization(),
            body.len()
        )
    }

    /// Gets a page.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        let head = self.authorization();
        self.exchange(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n"
        ))
        .await
    }

    fn authorization(&self) -> String {
        let key = self.key.as_ref();
        key.map_or_else(String::new, |key| {
            format!("authorization: Bearer {key}\r\n")
        })
    }

    /// Sends a request on a connection of its own and reads the whole answer.
    pub(crate) async fn exchange(&self, request: &str) -> Reply {
        let (mut ours, theirs) = duplex(256 << 10);
        // An address for each, so that none is throttled for what another did.
        let [_, _, high, low] = EXCHANGES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let peer = IpAddr::V4(Ipv4Addr::new(10, 1, high, low));
        let mut serving = JoinSet::new();
        let served = Arc::clone(&self.front).serve_connection(theirs, peer, self.stop.clone());
        serving.spawn(served);
        ours.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        loop {
            if let Some(reply) = parse(&read) {
                return reply;
            }
            let more = timeout(Duration::from_mins(10), ours.read_buf(&mut read));
            let count = more.await.unwrap().unwrap();
            assert!(
                count > 0,
                "the connection ended: {:?}",
                String::from_utf8_lossy(&read)
            );
        }
    }
}

/// The answer, once it is whole.
fn parse(read: &[u8]) -> Option<Reply> {
    let text = std::str::from_utf8(read).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().unwrap())
    });
    let length = length.unwrap_or(0);
    (body.len() >= length).then(|| Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.get(..length).unwrap().to_owned(),
    })
}
