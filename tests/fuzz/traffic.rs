//! Clients of every kind that come, ask, listen, break off and go, in any order: whatever they do, what the server holds for them stays
//! below its limits, and nothing is left when they are gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bolero::TypeGenerator;
use futures_util::FutureExt as _;
use rackhand::limits::TASK_TTL_SECS;
use rackhand::mcp::{
    Connection, EventStream, Field, Load, Outgoing, Reply, ReplyBody, Routing, Server,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::desk::{self, Desk};
use super::house;
use super::json::{Bent, Mcp, Odd};
use super::mcp::is_answer;

const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const TOOLS: [&str; 4] = ["desk_wait", "desk_set", "desk_ask", "desk_task"];

/// Requests that have no answer yet; what a client may have on its way at once is bounded elsewhere.
const POSTS_MAX: usize = 400;

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Call {
    tool: u8,
    ms: u16,
    says: u8,
    bytes: u16,
    has_tasks: bool,
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Op {
    /// Callers, revision, and how many sessions.
    Open(u8, u8, u8),
    End(u8),
    /// The stream of a session, so many times.
    Stream(u8, u8),
    /// A stream of the newest revision, on so many resources, so many times.
    Listen(u8, u8, u8),
    Subscribe(u8, u8),
    Unsubscribe(u8, u8),
    /// A call in a session, so many times.
    CallIn(u8, Call, u8),
    /// A call of the newest revision.
    CallBy(u8, Call, u8),
    /// Any message in a session.
    Post(u8, Bent<Mcp>),
    /// What a client says to questions.
    Answer(u8, u8, Odd),
    Cancel(u8, u8),
    Resume(u8, u8, u8),
    /// A connection on which everything travels.
    Connect(u8),
    Say(u8, Bent<Mcp>),
    SayCall(u8, Call, u8),
    Hear(u8, u8),
    CloseIn(u8),
    Hang(u8),
    Read(u8, u8),
    Drop(u8),
    /// Breaks off a request that is not answered yet.
    BreakOff(u8),
    Change(u8),
    ChangeTools,
    /// So many times 50 ms.
    Passes(u8),
    /// Seconds; seldom an hour, in which sessions and tasks grow old.
    Ages(u8),
}

pub(crate) fn holds(ops: &Vec<Op>) {
    house::runtime().block_on(async {
        let mut crowd = Crowd::new();
        for op in ops.iter().take(80) {
            crowd.carry_out(op).await;
            crowd.desk.is_bounded();
        }
        crowd.goes().await;
    });
}

struct Session {
    caller: u8,
    id: String,
}

struct Wire {
    way_in: Option<Connection>,
    way_out: Outgoing,
}

struct Crowd {
    desk: Desk,
    sessions: Vec<Session>,
    streams: Vec<EventStream>,
    wires: Vec<Wire>,
    posts: JoinSet<Reply>,
    asked: u64,
}

/// One of several, if there are any.
fn pick<T>(list: &[T], number: u8) -> Option<&T> {
    list.get(usize::from(number) % list.len().max(1))
}

impl Crowd {
    fn new() -> Self {
        Self {
            desk: Desk::new(),
            sessions: Vec::new(),
            streams: Vec::new(),
            wires: Vec::new(),
            posts: JoinSet::new(),
            asked: 0,
        }
    }

    fn server(&self) -> Arc<Server> {
        Arc::clone(&self.desk.server)
    }

    #[expect(clippy::too_many_lines, reason = "a table of what each operation is")]
    async fn carry_out(&mut self, op: &Op) {
        match op {
            Op::Open(caller, revision, times) => {
                for _ in 0..=times / 4 {
                    self.open(*caller, *revision).await;
                }
            }
            Op::End(session) => {
                if !self.sessions.is_empty() {
                    let at = usize::from(*session) % self.sessions.len();
                    let session = self.sessions.swap_remove(at);
                    self.end(&session);
                }
            }
            Op::Stream(session, times) => {
                for _ in 0..=times % 16 {
                    self.stream(*session, None);
                }
            }
            Op::Listen(caller, resources, times) => {
                for _ in 0..=times / 4 {
                    self.listen(*caller, *resources).await;
                }
            }
            Op::Subscribe(session, resource) => {
                self.in_session(*session, &subscribe("resources/subscribe", *resource))
                    .await;
            }
            Op::Unsubscribe(session, resource) => {
                self.in_session(*session, &subscribe("resources/unsubscribe", *resource))
                    .await;
            }
            Op::CallIn(session, call, times) => {
                for _ in 0..=times % 80 {
                    let message = self.tool_call(call, false);
                    self.send_in(*session, message.to_string());
                }
            }
            Op::CallBy(caller, call, times) => {
                for _ in 0..=times / 2 {
                    let message = self.tool_call(call, true);
                    self.send(*caller, None, message.to_string());
                }
            }
            Op::Post(session, body) => self.send_in(*session, body.text.clone()),
            Op::Answer(session, number, odd) => {
                let answer = format!(
                    r#"{{"jsonrpc":"2.0","id":{number},"result":{}}}"#,
                    odd.clone().text()
                );
                self.send_in(*session, answer);
            }
            Op::Cancel(session, back) => {
                let id = self.asked.saturating_sub(u64::from(*back));
                let message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
                self.in_session(*session, &message).await;
            }
            Op::Resume(session, stream, number) => {
                self.stream(*session, Some(&format!("{}-{number}", stream % 24)));
            }
            Op::Connect(caller) => {
                if let Ok((way_in, way_out)) = self.server().connect(desk::caller(*caller)) {
                    self.wires.push(Wire {
                        way_in: Some(way_in),
                        way_out,
                    });
                }
            }
            Op::Say(wire, body) => self.say(*wire, &body.text),
            Op::SayCall(wire, call, times) => {
                for _ in 0..=times / 4 {
                    let message = self.tool_call(call, true);
                    self.say(*wire, &message.to_string());
                }
            }
            Op::Hear(wire, count) => self.hear(*wire, *count),
            Op::CloseIn(wire) => {
                let at = usize::from(*wire) % self.wires.len().max(1);
                if let Some(wire) = self.wires.get_mut(at) {
                    wire.way_in = None;
                }
            }
            Op::Hang(wire) => {
                if !self.wires.is_empty() {
                    let at = usize::from(*wire) % self.wires.len();
                    drop(self.wires.swap_remove(at));
                }
            }
            Op::Read(stream, count) => self.read(*stream, *count),
            Op::Drop(stream) => {
                if !self.streams.is_empty() {
                    let at = usize::from(*stream) % self.streams.len();
                    drop(self.streams.swap_remove(at));
                }
            }
            Op::BreakOff(many) => {
                if many % 4 == 0 {
                    self.posts.abort_all();
                }
            }
            Op::Change(resource) => {
                let stamp = &self.desk.knobs.stamps[usize::from(resource % desk::RESOURCES)];
                stamp.fetch_add(1, Ordering::Relaxed);
            }
            Op::ChangeTools => {
                self.desk.knobs.tools.fetch_add(1, Ordering::Relaxed);
            }
            Op::Passes(times) => sleep(Duration::from_millis(u64::from(*times) * 50)).await,
            Op::Ages(seconds) if seconds % 64 == 0 => sleep(Duration::from_mins(61)).await,
            Op::Ages(seconds) => sleep(Duration::from_secs((*seconds).into())).await,
        }
        tokio::task::yield_now().await;
        self.take_replies();
    }

    async fn open(&mut self, caller: u8, revision: u8) {
        let revision = REVISIONS[usize::from(revision) % REVISIONS.len()];
        let capabilities = json!({"elicitation": {}, "sampling": {}});
        let params = json!({"protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let reply = desk::post(self.server(), desk::caller(caller), None, body.to_string()).await;
        let id = reply
            .session
            .expect("there is always room for one more")
            .to_string();
        self.sessions.push(Session { caller, id });
    }

    fn end(&self, session: &Session) {
        let routing = Routing {
            session: Field::One(&session.id),
            ..Routing::default()
        };
        let ended = self
            .desk
            .server
            .end_session(&routing, &desk::caller(session.caller));
        // Others may have pushed it out, or it was idle for too long.
        assert!(matches!(ended.status, 204 | 404), "{ended:?}");
    }

    fn stream(&mut self, session: u8, heard: Option<&str>) {
        let Some(session) = pick(&self.sessions, session) else {
            return;
        };
        let routing = Routing {
            session: Field::One(&session.id),
            ..Routing::default()
        };
        let reply = self
            .desk
            .server
            .open_stream(&routing, &desk::caller(session.caller), heard);
        self.keep(reply);
    }

    async fn listen(&mut self, caller: u8, resources: u8) {
        let uris: Vec<_> = (0..desk::RESOURCES)
            .filter(|number| resources >> number & 1 == 1)
            .map(|number| format!("desk://{number}"))
            .collect();
        let notifications =
            json!({"toolsListChanged": resources & 1 == 1, "resourceSubscriptions": uris});
        let params = json!({"notifications": notifications, "_meta": desk::meta(false)});
        self.asked += 1;
        let body = json!({"jsonrpc": "2.0", "id": self.asked, "method": "subscriptions/listen", "params": params});
        let reply = desk::post(self.server(), desk::caller(caller), None, body.to_string()).await;
        self.keep(reply);
    }

    fn tool_call(&mut self, call: &Call, is_modern: bool) -> Value {
        self.asked += 1;
        let tool = TOOLS[usize::from(call.tool) % TOOLS.len()];
        let arguments = json!({"ms": call.ms, "says": call.says, "bytes": call.bytes});
        let meta = if is_modern {
            desk::meta(call.has_tasks)
        } else {
            json!({"progressToken": self.asked})
        };
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        json!({"jsonrpc": "2.0", "id": self.asked, "method": "tools/call", "params": params})
    }

    /// Posts without waiting for the answer.
    fn send(&mut self, caller: u8, session: Option<String>, body: String) {
        if self.posts.len() < POSTS_MAX {
            let server = self.server();
            self.posts
                .spawn(desk::post(server, desk::caller(caller), session, body));
        }
    }

    fn send_in(&mut self, session: u8, body: String) {
        if let Some(session) = pick(&self.sessions, session) {
            let (caller, id) = (session.caller, session.id.clone());
            self.send(caller, Some(id), body);
        }
    }

    async fn in_session(&mut self, session: u8, message: &Value) {
        let Some(session) = pick(&self.sessions, session) else {
            return;
        };
        let (caller, id) = (desk::caller(session.caller), session.id.clone());
        let reply = desk::post(self.server(), caller, Some(id), message.to_string()).await;
        self.keep(reply);
    }

    fn take_replies(&mut self) {
        while let Some(ended) = self.posts.try_join_next() {
            match ended {
                Ok(reply) => self.keep(reply),
                Err(fault) => assert!(fault.is_cancelled(), "{fault}"),
            }
        }
    }

    fn keep(&mut self, reply: Reply) {
        match reply.body {
            ReplyBody::Events(events) => self.streams.push(events),
            ReplyBody::Json(json) => are_messages(&json),
            ReplyBody::Empty => {}
        }
        if let Some(id) = reply.session {
            // An odd message has opened one; whose it is, is not known any more.
            let id = id.to_string();
            self.sessions.extend((0..3).map(|caller| Session {
                caller,
                id: id.clone(),
            }));
        }
    }

    fn say(&mut self, wire: u8, text: &str) {
        let at = usize::from(wire) % self.wires.len().max(1);
        let Some(wire) = self.wires.get_mut(at) else {
            return;
        };
        if let Some(way_in) = &wire.way_in
            && way_in.take(text.as_bytes()).is_err()
        {
            // It sends and does not read: its connection is cut.
            drop(self.wires.swap_remove(at));
        }
    }

    fn hear(&mut self, wire: u8, count: u8) {
        let at = usize::from(wire) % self.wires.len().max(1);
        let Some(wire) = self.wires.get_mut(at) else {
            return;
        };
        for _ in 0..count {
            match wire.way_out.next().now_or_never() {
                None => return,
                Some(Some(message)) => are_messages(&message),
                Some(None) => {
                    assert!(wire.way_in.is_none(), "the way out ended before the way in");
                    drop(self.wires.swap_remove(at));
                    return;
                }
            }
        }
    }

    fn read(&mut self, stream: u8, count: u8) {
        let at = usize::from(stream) % self.streams.len().max(1);
        let Some(stream) = self.streams.get_mut(at) else {
            return;
        };
        for _ in 0..count {
            match desk::next(stream) {
                None => return,
                Some(Some(event)) if event.message.is_empty() => assert!(event.id.is_some()),
                Some(Some(event)) => are_messages(&event.message),
                Some(None) => {
                    drop(self.streams.swap_remove(at));
                    return;
                }
            }
        }
    }

    /// Everybody goes. What they held is given back, and the next one finds room.
    async fn goes(mut self) {
        self.streams.clear();
        self.wires.clear();
        self.posts.shutdown().await;
        for session in std::mem::take(&mut self.sessions) {
            self.end(&session);
        }
        // Calls of sessions outlive their clients.
        sleep(Duration::from_secs(TASK_TTL_SECS) + Duration::from_mins(5)).await;
        let load = self.desk.is_bounded();
        // Tasks that are over wait for the next one to be made.
        let left = Load {
            tasks: 0,
            task_bytes: 0,
            ..load
        };
        assert_eq!(
            left,
            Load::default(),
            "somebody is gone and something is left"
        );
        for _ in 0..4 {
            let before = self.streams.len();
            self.listen(0, 1).await;
            assert_eq!(self.streams.len(), before + 1, "there is room again");
        }
        self.streams.clear();
        self.desk.closes().await;
    }
}

fn subscribe(method: &str, resource: u8) -> Value {
    let uri = format!("desk://{}", resource % (desk::RESOURCES + 1));
    json!({"jsonrpc": "2.0", "id": "s", "method": method, "params": {"uri": uri}})
}

/// What goes out is a message or an array of them: an answer, a question, or a notice.
fn are_messages(text: &[u8]) {
    let value: Value = serde_json::from_slice(text)
        .unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(text)));
    match value.as_array() {
        Some(list) => list.iter().for_each(is_message),
        None => is_message(&value),
    }
}

/// A message of the server.
pub(crate) fn is_message(message: &Value) {
    match message.get("method") {
        None => is_answer(message),
        Some(method) => {
            assert_eq!(message["jsonrpc"], "2.0", "{message}");
            let params = message.get("params");
            assert!(
                method.is_string() && params.is_none_or(Value::is_object),
                "{message}"
            );
        }
    }
}
