//! Streams of calls that break and are taken up again at any event, by the right id, an old one, or nonsense.

use std::collections::BTreeMap;
use std::time::Duration;

use bolero::TypeGenerator;
use rackhand::mcp::{Event, EventStream, Field, Reply, ReplyBody, Routing};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::desk::{self, Desk};
use super::house;
use super::json::Odd;

/// A call of a tool: how long it takes, how often it speaks, how much it answers.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Call {
    ms: u16,
    says: u8,
    bytes: u16,
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Behind {
    /// What was heard last.
    Last,
    /// So many events before that.
    Earlier(u8),
    Beginning,
    /// Past everything that was told.
    Future(u8),
    Odd(Odd),
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Op {
    Read(u8, u8),
    Break(u8),
    Resume(u8, Behind),
    /// So many times 20 ms.
    Passes(u8),
}

/// Calls, and what becomes of their streams.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Case {
    calls: Vec<Call>,
    #[generator(bolero::produce::<Vec<Op>>().with().len(0_usize..60))]
    ops: Vec<Op>,
}

/// What is known of one call.
#[derive(Default)]
struct Known {
    /// The number of its stream, once it has one.
    stream: Option<u64>,
    /// Every event that was ever heard, by its number. An event is the same whenever it is heard.
    heard: BTreeMap<u64, String>,
    /// The number of the last event that was heard.
    last: u64,
}

/// A stream in somebody's hands.
struct Open {
    events: EventStream,
    /// The call that it belongs to, from its first event on.
    call: Option<usize>,
    /// The number of the event before the next.
    at: u64,
}

pub(crate) fn holds(case: &Case) {
    house::runtime().block_on(async {
        let mut bed = Bed::new().await;
        for (number, call) in case.calls.iter().take(4).enumerate() {
            bed.call(number, call);
        }
        for op in &case.ops {
            bed.carry_out(op).await;
            bed.desk.is_bounded();
        }
        bed.ends().await;
    });
}

struct Bed {
    desk: Desk,
    session: String,
    posts: JoinSet<(usize, Reply)>,
    known: Vec<Known>,
    open: Vec<Open>,
}

impl Bed {
    async fn new() -> Self {
        let desk = Desk::new();
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let server = std::sync::Arc::clone(&desk.server);
        let reply = desk::post(server, desk::caller(0), None, body.to_string()).await;
        Self {
            session: reply.session.expect("a session was opened").to_string(),
            desk,
            posts: JoinSet::new(),
            known: Vec::new(),
            open: Vec::new(),
        }
    }

    fn call(&mut self, number: usize, call: &Call) {
        let arguments = json!({"ms": call.ms, "says": call.says, "bytes": call.bytes});
        let params = json!({"name": "desk_wait", "arguments": arguments, "_meta": {"progressToken": number}});
        let body =
            json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params});
        let server = std::sync::Arc::clone(&self.desk.server);
        let session = Some(self.session.clone());
        let posting = desk::post(server, desk::caller(0), session, body.to_string());
        self.known.push(Known::default());
        self.posts.spawn(async move { (number, posting.await) });
    }

    async fn carry_out(&mut self, op: &Op) {
        match op {
            Op::Read(which, count) => {
                if !self.open.is_empty() {
                    let which = usize::from(*which) % self.open.len();
                    for _ in 0..*count {
                        if !self.read(which) {
                            break;
                        }
                    }
                }
            }
            Op::Break(which) => {
                if !self.open.is_empty() {
                    let which = usize::from(*which) % self.open.len();
                    drop(self.open.swap_remove(which));
                }
            }
            Op::Resume(call, behind) => {
                if let Some(id) = self.id(*call, behind) {
                    self.resume(&id);
                }
            }
            Op::Passes(times) => {
                sleep(Duration::from_millis(u64::from(*times) * 20)).await;
                self.take_replies();
            }
        }
    }

    fn take_replies(&mut self) {
        while let Some(ended) = self.posts.try_join_next() {
            let (call, reply) = ended.expect("a post panicked");
            assert_eq!(reply.status, 200);
            match reply.body {
                ReplyBody::Json(json) => {
                    let answer: Value = serde_json::from_slice(&json).unwrap();
                    assert_eq!(answer["id"], call, "{answer}");
                }
                ReplyBody::Events(events) => self.open.push(Open {
                    events,
                    call: Some(call),
                    at: 0,
                }),
                ReplyBody::Empty => panic!("a call was answered with nothing"),
            }
        }
    }

    fn id(&self, call: u8, behind: &Behind) -> Option<String> {
        if let Behind::Odd(odd) = behind {
            return Some(odd.clone().text());
        }
        let known = self
            .known
            .get(usize::from(call) % self.known.len().max(1))?;
        let number = match behind {
            Behind::Last => known.last,
            Behind::Earlier(less) => known.last.saturating_sub(u64::from(*less)),
            Behind::Beginning | Behind::Odd(_) => 0,
            Behind::Future(more) => known.last + 2 + u64::from(*more),
        };
        Some(format!("{}-{number}", known.stream?))
    }

    fn resume(&mut self, id: &str) {
        let routing = Routing {
            session: Field::One(&self.session),
            ..Routing::default()
        };
        let reply = self
            .desk
            .server
            .open_stream(&routing, &desk::caller(0), Some(id));
        match reply.body {
            ReplyBody::Events(events) => self.open.push(Open {
                events,
                call: None,
                at: 0,
            }),
            _ => assert!(matches!(reply.status, 429 | 503), "{id}: {reply:?}"),
        }
    }

    /// Reads one event; false if there is none yet, or the stream has ended.
    fn read(&mut self, which: usize) -> bool {
        let open = &mut self.open[which];
        match desk::next(&mut open.events) {
            None => false,
            Some(None) => {
                drop(self.open.swap_remove(which));
                false
            }
            Some(Some(event)) => {
                hear(open, &mut self.known, &event);
                true
            }
        }
    }

    /// When all calls are over, each whose stream could be taken up again is heard whole, with its answer at the end, as it was told
    /// before.
    async fn ends(mut self) {
        sleep(Duration::from_mins(1)).await;
        self.take_replies();
        for which in (0..self.open.len()).rev() {
            while self.read(which) {}
        }
        assert!(self.open.is_empty(), "a stream of a call does not end");
        for call in 0..self.known.len() {
            let Some(stream) = self.known[call].stream else {
                continue;
            };
            self.resume(&format!("{stream}-0"));
            let at = self.open.len() - 1;
            while self.read(at) {}
            let known = &self.known[call];
            let (last, answer) = known.heard.last_key_value().expect("something was told");
            assert_eq!(*last, u64::try_from(known.heard.len()).unwrap());
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!(answer["id"], call, "{answer}");
            assert!(answer["result"].is_object(), "{answer}");
        }
        let routing = Routing {
            session: Field::One(&self.session),
            ..Routing::default()
        };
        let ended = self.desk.server.end_session(&routing, &desk::caller(0));
        assert_eq!(ended.status, 204);
        drop(self.open);
        let load = self.desk.is_bounded();
        assert_eq!(load, rackhand::mcp::Load::default());
        self.desk.closes().await;
    }
}

fn hear(open: &mut Open, known: &mut [Known], event: &Event) {
    let Some(id) = event.id else {
        // The stream of the session itself, to which an odd id may lead.
        assert!(open.call.is_none(), "an event without an id: {event:?}");
        return;
    };
    let id = id.to_string();
    let (stream, number) = id.split_once('-').expect("an id names stream and event");
    let (stream, number): (u64, u64) = (stream.parse().unwrap(), number.parse().unwrap());
    if stream == 0 {
        return;
    }
    let is_first = event.message.is_empty();
    if is_first {
        let found = known.iter().position(|known| known.stream == Some(stream));
        let call = found.or(open.call).expect("a stream of an unknown call");
        assert!(
            open.call.is_none_or(|own| own == call),
            "the stream of another call"
        );
        known[call].stream = Some(stream);
        open.call = Some(call);
        open.at = number;
        return;
    }
    let call = open.call.expect("the first event names the stream");
    let known = &mut known[call];
    assert_eq!(known.stream, Some(stream), "an event of another call");
    assert_eq!(number, open.at + 1, "an event is missing or comes twice");
    open.at = number;
    known.last = number;
    let message = String::from_utf8(event.message.to_vec()).unwrap();
    let before = known.heard.entry(number).or_insert_with(|| message.clone());
    assert_eq!(*before, message, "an event has changed");
}
