//! From the first sign of the engine to being let in, and what engine states mean afterwards.

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::exchange::Purpose;
use super::{Enumeration, Event, Phase, Session};
use crate::link::config::{ENGINE_STATUS_WAIT, LIST_WAIT, Transport};
use crate::model::change::ChangeSink;
use crate::wire::jsonrpc::ErrorObject;
use crate::wire::qrc::{EngineState, EngineStatus, Logon, Request, code};

/// Logons on one connection without a live link between them: the first, and one more when the Core asks for it again.
const LOGONS_MAX: u8 = 2;

impl Session {
    /// Asks for the status half-way, since some firmware may not push it, and gives up in the end: a Core that boots accepts
    /// connections and stays mute.
    pub(super) fn await_engine(&mut self, now: Instant, sink: &dyn ChangeSink) {
        let Phase::AwaitEngine { until, asked } = self.phase else {
            return;
        };
        if now >= until {
            let fault = "the Core accepted the connection but its engine does not report; it may be starting";
            self.end(now, false, fault, sink);
        } else if !asked && now >= until - ENGINE_STATUS_WAIT / 2 {
            self.phase = Phase::AwaitEngine { until, asked: true };
            self.ask(now, &Request::StatusGet, Purpose::Status);
        }
    }

    fn ask(&mut self, now: Instant, request: &Request, purpose: Purpose) {
        let patience = match purpose {
            Purpose::Components => LIST_WAIT,
            _ => ENGINE_STATUS_WAIT,
        };
        // There is always room: these stand at the beginning of everything else.
        let _room = self.exchange.ask(now, patience, request, purpose);
    }

    /// Asks for a sign of life. A session that waits asks for the status, which it waits for anyway.
    pub(super) fn probe(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting => self.ask(now, &Request::StatusGet, Purpose::Status),
            _ => self.ask(now, &Request::NoOp, Purpose::Probe),
        }
    }

    fn log_on(&mut self, now: Instant) {
        // Whether `Logon` works over WebSocket is not known: there it is tried only when the Core asks for it.
        if self.transport != Transport::Tcp || !self.send_logon(now) {
            self.check(now);
        }
        self.events.push_back(Event::Moved);
    }

    /// Logs on, if there is a user to do it with.
    fn send_logon(&mut self, now: Instant) -> bool {
        let Some(credentials) = &self.config.logon else {
            return false;
        };
        let request = Request::Logon(Logon {
            user: credentials.user.clone(),
            password: credentials.pin.expose().to_owned(),
        });
        self.logons += 1;
        self.phase = Phase::LoggingOn;
        self.ask(now, &request, Purpose::Logon);
        true
    }

    fn check(&mut self, now: Instant) {
        self.phase = Phase::Checking;
        self.ask(now, &Request::StatusGet, Purpose::Status);
    }

    pub(super) fn logon_answered(
        &mut self,
        now: Instant,
        outcome: Result<&RawValue, ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        match outcome {
            Ok(raw) if raw.get() != "false" => self.check(now),
            Ok(_) => self.end(now, true, "the Core refused user or PIN", sink),
            Err(error) if error.code == code::STANDBY => {
                self.phase = Phase::Checking;
                self.found_standby(now, sink);
            }
            Err(error) => {
                let fault = format!("the Core refused user or PIN: {error}");
                self.end(now, true, &fault, sink);
            }
        }
    }

    /// The Core answered that a logon is required.
    pub(super) fn found_locked(&mut self, now: Instant, sink: &dyn ChangeSink) {
        if matches!(self.phase, Phase::LoggingOn | Phase::Ended) {
            return;
        }
        if self.logons < LOGONS_MAX && self.config.logon.is_some() {
            self.disengage(now, sink);
            self.send_logon(now);
            self.events.push_back(Event::Moved);
            return;
        }
        let fault = match self.transport {
            Transport::Tcp => "the Core asks for a user and a PIN with external control permission",
            _ => {
                "the Core asks for a QRC access key, or for a user and a PIN, or for others than it was given"
            }
        };
        self.end(now, true, fault, sink);
    }

    pub(super) fn status_answered(
        &mut self,
        now: Instant,
        outcome: Result<&RawValue, ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        let status = outcome.map(|raw| serde_json::from_str::<EngineStatus>(raw.get()));
        match status {
            Ok(Ok(engine)) => {
                self.prove(true);
                let is_let_in = matches!(self.phase, Phase::Checking);
                if is_let_in {
                    self.phase = Phase::Waiting;
                    self.engine = None;
                    self.events.push_back(Event::Moved);
                }
                self.engine_said(now, engine, sink);
            }
            Ok(Err(fault)) if matches!(self.phase, Phase::Checking) => {
                let fault = format!("the Core's status could not be read: {fault}");
                self.end(now, false, &fault, sink);
            }
            // Without a running design a Core refuses everything; it says when that changes.
            Err(_) if matches!(self.phase, Phase::Checking) && !self.is_active() => {
                self.phase = Phase::Waiting;
                self.events.push_back(Event::Moved);
            }
            // The engine reports, and yet refuses the first question: that is how a wrong key looks.
            Err(error) if matches!(self.phase, Phase::Checking) => {
                let fault = format!(
                    "the Core refused the first question, perhaps for its access control: {error}"
                );
                self.end(now, true, &fault, sink);
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }

    /// The Core told its engine's state, asked or not.
    pub(super) fn engine_said(
        &mut self,
        now: Instant,
        mut engine: EngineStatus,
        sink: &dyn ChangeSink,
    ) {
        let before = self.engine.take();
        if let Some(before) = &before
            && before.design_code == engine.design_code
        {
            // Notifications leave these out.
            engine.platform = engine.platform.or_else(|| before.platform.clone());
            engine.status = engine.status.or_else(|| before.status.clone());
        }
        if before.as_ref() != Some(&engine) {
            self.events.push_back(Event::Moved);
        }
        self.engine = Some(engine);
        match self.phase {
            Phase::AwaitEngine { .. } => self.log_on(now),
            Phase::LoggingOn | Phase::Checking | Phase::Ended => {}
            Phase::Waiting | Phase::Enumerating(_) | Phase::Subscribing | Phase::Live => {
                self.weigh(now, before.as_ref(), sink);
            }
        }
    }

    fn is_active(&self) -> bool {
        let engine = self.engine.as_ref();
        engine.is_some_and(|engine| engine.state == EngineState::Active)
    }

    fn weigh(&mut self, now: Instant, before: Option<&EngineStatus>, sink: &dyn ChangeSink) {
        let Some(engine) = &self.engine else {
            return;
        };
        let was_active = before.is_some_and(|before| before.state == EngineState::Active);
        if engine.state != EngineState::Active {
            self.disengage(now, sink);
            if was_active {
                self.events.push_back(Event::Unready);
            }
        } else if !self.engaged {
            if !was_active {
                let took_over = before.is_some_and(|before| before.state == EngineState::Standby);
                self.events.push_back(Event::Ready { took_over });
            }
        } else if before.is_some_and(|before| before.design_code != engine.design_code) {
            tracing::info!("The Core runs another design now: {}", engine.design_name);
            self.begin_design(now, sink);
        }
    }

    /// The Core answered that it is the standby of a pair.
    pub(super) fn found_standby(&mut self, now: Instant, sink: &dyn ChangeSink) {
        let state = EngineState::Standby;
        let engine = match self.engine.clone() {
            Some(engine) => EngineStatus { state, ..engine },
            None => EngineStatus {
                platform: None,
                state,
                design_name: String::new(),
                design_code: String::new(),
                is_redundant: true,
                is_emulator: false,
                status: None,
            },
        };
        if matches!(self.phase, Phase::Checking) {
            self.phase = Phase::Waiting;
        }
        self.engine_said(now, engine, sink);
    }

    /// Uses the Core: learns the design and keeps everything fresh from now on. Only after [`Event::Ready`].
    pub fn engage(&mut self, now: Instant, sink: &dyn ChangeSink) {
        if matches!(self.phase, Phase::Waiting) && !self.engaged {
            self.engaged = true;
            self.begin_design(now, sink);
            self.pump(now, sink);
        }
    }

    /// Keeps the connection, but uses it no more. Callers whose requests are on the wire keep waiting for their answers.
    pub fn disengage(&mut self, now: Instant, sink: &dyn ChangeSink) {
        if std::mem::take(&mut self.engaged) {
            self.exchange.forget_own();
            self.groups.start_over();
            self.phase = Phase::Waiting;
            sink.went_stale(now);
            self.events.push_back(Event::Moved);
        }
    }

    pub(super) fn begin_design(&mut self, now: Instant, sink: &dyn ChangeSink) {
        let Some(engine) = self.engine.clone() else {
            return;
        };
        self.exchange.forget_own();
        self.groups.start_over();
        self.oversize.for_design(&engine.design_code);
        self.unlisted.clear();
        self.relearn = None;
        sink.design_began(&engine, now);
        self.phase = Phase::Enumerating(Enumeration::default());
        self.ask(now, &Request::ComponentGetComponents, Purpose::Components);
        self.events.push_back(Event::Moved);
    }
}
