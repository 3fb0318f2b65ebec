//! Everything a simulated Core knows: the running design, its connections, its faults. One lock around it, no I/O in it.
//!
//! A redundant pair is one world with two halves: the design runs once, and each half has its own connections and faults.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use super::Options;
use super::fault::Faults;
use super::groups::Group;
use super::paging::Paging;
use super::plant::Plant;
use crate::wire::jsonrpc::{self, Answer, Call, ErrorObject, Frame, Id};
use crate::wire::qrc::{
    EngineState, EngineStatus, Method, Request, StatusCode, code, notification,
};

/// Frames that may wait for one client. Beyond it the connection reads no more and pushes are left out.
pub(super) const OUTBOX_MAX: usize = 1_024;

/// Writes remembered for inspection; older ones are forgotten.
const WRITES_KEPT: usize = 10_000;

/// The answer to a request: its result, or a refusal.
pub(super) type Reply = Result<Box<RawValue>, ErrorObject>;

/// One write that reached the Core, whether or not its answer reached the client.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteSeen {
    /// When.
    pub at: Instant,
    /// Which connection, counted from 1.
    pub connection: u64,
    /// By which method.
    pub method: &'static str,
    /// The component, or the snapshot bank; empty for a named control.
    pub component: String,
    /// The control, or what was done.
    pub control: String,
    /// The value as the client wished it.
    pub wish: String,
    /// Seconds, if the client gave them.
    pub ramp: Option<f64>,
}

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In order: a close frame on a WebSocket, then FIN.
    Close,
    /// RST where the transport has it.
    Reset,
}

/// One client.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) groups: Vec<Group>,
    pub(super) is_logged_on: bool,
    pub(super) wants_zone_status: bool,
    /// Whether the first `EngineStatus` was sent; until then the Core is mute.
    is_greeted: bool,
    last_heard: Instant,
    outbox: VecDeque<(Instant, String)>,
    pub(super) end: Option<End>,
}

/// One Core of the pair, or the only one.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) options: Options,
    pub(super) state: EngineState,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) faults: Faults,
    pub(super) writes: VecDeque<WriteSeen>,
    pub(super) seen: HashMap<Method, u64>,
    accepted: u64,
}

impl Half {
    pub(super) fn new(options: Options, state: EngineState) -> Self {
        Self {
            options,
            state,
            conns: BTreeMap::new(),
            faults: Faults::default(),
            writes: VecDeque::new(),
            seen: HashMap::new(),
            accepted: 0,
        }
    }

    /// Connections made so far.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(super) fn end_all(&mut self, end: End) {
        self.conns
            .values_mut()
            .for_each(|conn| conn.end = Some(end));
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plant: Plant,
    pub(super) halves: Vec<Half>,
    pub(super) paging: Paging,
}

/// Which client of which half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) half: usize,
    pub(super) conn: u64,
}

impl World {
    pub(super) fn half(&self, half: usize) -> Option<&Half> {
        self.halves.get(half)
    }

    pub(super) fn half_mut(&mut self, half: usize) -> Option<&mut Half> {
        self.halves.get_mut(half)
    }

    pub(super) fn conn(&self, peer: Peer) -> Option<&Conn> {
        self.halves.get(peer.half)?.conns.get(&peer.conn)
    }

    pub(super) fn conn_mut(&mut self, peer: Peer) -> Option<&mut Conn> {
        self.halves.get_mut(peer.half)?.conns.get_mut(&peer.conn)
    }

    /// Takes a client in. Its first `EngineStatus` waits in the outbox before anything is read of it.
    pub(super) fn open(&mut self, half: usize, now: Instant) -> Option<Peer> {
        let entry = self.halves.get_mut(half)?;
        entry.accepted += 1;
        let conn = Conn {
            groups: Vec::new(),
            is_logged_on: false,
            wants_zone_status: false,
            is_greeted: false,
            last_heard: now,
            outbox: VecDeque::new(),
            end: None,
        };
        let peer = Peer {
            half,
            conn: entry.accepted,
        };
        entry.conns.insert(peer.conn, conn);
        Some(peer)
    }

    pub(super) fn close(&mut self, peer: Peer) {
        if let Some(half) = self.half_mut(peer.half) {
            half.conns.remove(&peer.conn);
        }
    }

    /// What is due for a client, in order.
    pub(super) fn take_due(&mut self, peer: Peer, now: Instant) -> Vec<String> {
        self.tick(peer, now);
        let Some(conn) = self.conn_mut(peer) else {
            return Vec::new();
        };
        let due = conn
            .outbox
            .iter()
            .take_while(|(due, _)| *due <= now)
            .count();
        conn.outbox.drain(..due).map(|(_, frame)| frame).collect()
    }

    /// When a client needs attention next, if it says nothing.
    pub(super) fn next_wake(&self, peer: Peer, now: Instant) -> Instant {
        let Some((half, conn)) = self.half(peer.half).zip(self.conn(peer)) else {
            return now;
        };
        let polls = conn.groups.iter().filter_map(Group::next_push);
        let sends = conn.outbox.front().map(|(due, _)| *due);
        let greeting = (!conn.is_greeted)
            .then(|| half.faults.mute_until(now))
            .flatten();
        let idle = conn.last_heard + half.options.idle_close;
        polls
            .chain(sends)
            .chain(greeting)
            .chain(self.paging.next_event())
            .chain([idle])
            .min()
            .unwrap_or(now)
    }

    /// Whether a connection's time without a frame from the client is over.
    pub(super) fn is_idle(&self, peer: Peer, now: Instant) -> bool {
        self.half(peer.half)
            .zip(self.conn(peer))
            .is_some_and(|(half, conn)| now >= conn.last_heard + half.options.idle_close)
    }

    pub(super) fn may_read(&self, peer: Peer) -> bool {
        self.conn(peer)
            .is_some_and(|conn| conn.outbox.len() < OUTBOX_MAX)
    }

    fn tick(&mut self, peer: Peer, now: Instant) {
        self.advance(now);
        let is_mute = self
            .half(peer.half)
            .is_none_or(|half| half.faults.is_mute(now));
        if !is_mute && self.conn(peer).is_some_and(|conn| !conn.is_greeted) {
            let status = self.engine_status_frame(peer.half);
            if let Some(conn) = self.conn_mut(peer) {
                conn.is_greeted = true;
                conn.push(status, now);
            }
        }
        let Self { plant, halves, .. } = self;
        let Some(half) = halves.get_mut(peer.half) else {
            return;
        };
        let is_silent = half.state != EngineState::Active || half.faults.auto_poll_is_silent;
        let Some(conn) = half.conns.get_mut(&peer.conn) else {
            return;
        };
        for index in 0..conn.groups.len() {
            let Some(group) = conn.groups.get_mut(index) else {
                return;
            };
            if is_silent || conn.outbox.len() >= OUTBOX_MAX {
                group.skip_due(now);
            } else if let Some(frame) = group.push_if_due(plant, now) {
                conn.push(frame, now);
            }
        }
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.plant.advance(now);
        self.advance_pages(now);
        if self.plant.take_status_changed() {
            (0..self.halves.len()).for_each(|half| self.tell_engine_status(half, now));
        }
    }

    /// Sends every greeted client of a half the engine status again.
    pub(super) fn tell_engine_status(&mut self, half: usize, now: Instant) {
        let frame = self.engine_status_frame(half);
        if let Some(half) = self.half_mut(half) {
            for conn in half.conns.values_mut().filter(|conn| conn.is_greeted) {
                conn.push(frame.clone(), now);
            }
        }
    }

    fn engine_status_frame(&self, half: usize) -> String {
        push_frame(notification::ENGINE_STATUS, &self.engine_status(half))
    }

    fn engine_status(&self, half: usize) -> EngineStatus {
        EngineStatus {
            platform: None,
            state: self
                .half(half)
                .map_or(EngineState::Idle, |half| half.state.clone()),
            design_name: self.plant.design().name.clone(),
            design_code: self.plant.design().code.clone(),
            is_redundant: self.halves.len() > 1,
            is_emulator: self.plant.design().platform == "Emulator",
            status: None,
        }
    }

    pub(super) fn full_status(&self, half: usize) -> EngineStatus {
        let (code, text) = self.plant.worst_status();
        EngineStatus {
            platform: Some(self.plant.design().platform.clone()),
            status: Some(StatusCode {
                code,
                string: text.to_owned(),
            }),
            ..self.engine_status(half)
        }
    }

    /// Takes a frame of a client; what is to be said about it goes into the outbox.
    pub(super) fn receive(&mut self, peer: Peer, text: &str, now: Instant) {
        self.advance(now);
        let Some(conn) = self.conn_mut(peer) else {
            return;
        };
        conn.last_heard = now;
        if !conn.is_greeted {
            return;
        }
        let text = text.trim();
        let frame = match serde_json::from_str::<Frame<'_>>(text) {
            Ok(frame) if text.starts_with('{') => frame,
            Ok(_) => {
                return self.answer(
                    peer,
                    None,
                    &refuse(jsonrpc::code::INVALID_REQUEST, "Invalid Request"),
                    now,
                );
            }
            Err(_) => {
                return self.answer(
                    peer,
                    None,
                    &refuse(jsonrpc::code::PARSE_ERROR, "Parse error"),
                    now,
                );
            }
        };
        let Some(method) = frame.method.as_deref() else {
            return self.answer(
                peer,
                frame.id.as_ref(),
                &refuse(jsonrpc::code::INVALID_REQUEST, "Invalid Request"),
                now,
            );
        };
        let request = Request::read(method, frame.params);
        let is_write = request.as_ref().is_ok_and(Request::changes_the_room);
        let reply = self.reply(peer, request, frame.api_key.as_deref(), now);
        self.advance(now);
        let Some(id) = frame.id else { return };
        if self
            .half_mut(peer.half)
            .is_some_and(|half| half.faults.loses_reply(is_write))
        {
            return;
        }
        self.answer(peer, Some(&id), &reply, now);
    }

    fn reply(
        &mut self,
        peer: Peer,
        request: Result<Request, ErrorObject>,
        key: Option<&str>,
        now: Instant,
    ) -> Reply {
        let request = request?;
        let method = request.method();
        let half = self
            .half_mut(peer.half)
            .ok_or_else(|| ErrorObject::new(jsonrpc::code::INTERNAL_ERROR, "closing"))?;
        *half.seen.entry(method).or_default() += 1;
        if let Some(error) = half.faults.planned_failure(method) {
            return Err(error);
        }
        let is_free = matches!(method, Method::Logon | Method::NoOp);
        let is_known = half.options.admits_everybody() || half.options.admits_key(key);
        let is_standby = half.state != EngineState::Active;
        let is_logged_on = self.conn(peer).is_some_and(|conn| conn.is_logged_on);
        if !is_free && !is_known && !is_logged_on {
            return refuse(code::LOGON_REQUIRED, "Logon required");
        }
        if is_standby && !is_free && method != Method::StatusGet {
            return refuse(code::STANDBY, "Core is on Standby");
        }
        self.carry_out(peer, request, now)
    }

    fn answer(&mut self, peer: Peer, id: Option<&Id>, reply: &Reply, now: Instant) {
        let answer = Answer {
            jsonrpc: jsonrpc::VERSION,
            result: reply.as_ref().ok(),
            error: reply.as_ref().err(),
            id,
        };
        let Ok(mut frame) = serde_json::to_string(&answer) else {
            return;
        };
        let Some(half) = self.half_mut(peer.half) else {
            return;
        };
        if let Some(size) = half.faults.oversize.take() {
            frame.insert_str(1, &format!("\"Padding\":\"{}\",", "x".repeat(size)));
        }
        let due = now + half.faults.reply_delay;
        if let Some(conn) = half.conns.get_mut(&peer.conn) {
            conn.push(frame, due);
        }
    }

    /// Sends a client a notification, unless it is too far behind.
    pub(super) fn notify<P: Serialize>(
        &mut self,
        peer: Peer,
        method: &str,
        params: &P,
        now: Instant,
    ) {
        if let Some(conn) = self.conn_mut(peer)
            && conn.outbox.len() < OUTBOX_MAX
        {
            conn.push(push_frame(method, params), now);
        }
    }

    pub(super) fn log_write(&mut self, peer: Peer, write: WriteSeen) {
        if let Some(half) = self.half_mut(peer.half) {
            if half.writes.len() == WRITES_KEPT {
                half.writes.pop_front();
            }
            half.writes.push_back(write);
        }
    }
}

impl Conn {
    /// Queues a frame for `due`, or for when what waits before it is due.
    pub(super) fn push(&mut self, frame: String, due: Instant) {
        let due = self.outbox.back().map_or(due, |(last, _)| due.max(*last));
        self.outbox.push_back((due, frame));
    }
}

/// A notification as one frame.
pub(super) fn push_frame<P: Serialize>(method: &str, params: &P) -> String {
    let call = Call {
        api_key: None,
        jsonrpc: jsonrpc::VERSION,
        method,
        params: Some(params),
        id: None,
    };
    serde_json::to_string(&call).unwrap_or_default()
}

pub(super) fn refuse(code: i64, message: impl Into<String>) -> Reply {
    Err(ErrorObject::new(code, message))
}

pub(super) fn done(result: &impl Serialize) -> Reply {
    to_raw_value(result)
        .map_err(|fault| ErrorObject::new(jsonrpc::code::INTERNAL_ERROR, fault.to_string()))
}
