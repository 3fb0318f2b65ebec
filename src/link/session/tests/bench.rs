//! A session, a sink that remembers, and a small Core that carries out what it reads and answers when it is told to.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::base::secret::Secret;
use crate::link::config::Credentials;
use crate::link::session::*;
use crate::wire::qrc::{
    ComponentFacts, ComponentSet, ControlFacts, Method, Named, Request, Scalar, SetItem,
};

/// Writes down what it hears.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) log: Mutex<Vec<String>>,
    pub(super) values: Mutex<BTreeMap<String, f64>>,
}

impl Recorder {
    pub(super) fn note(&self, text: impl Into<String>) {
        self.log.lock().push(text.into());
    }

    pub(super) fn count(&self, word: &str) -> usize {
        self.log
            .lock()
            .iter()
            .filter(|line| line.starts_with(word))
            .count()
    }
}

impl ChangeSink for Recorder {
    fn design_began(&self, engine: &EngineStatus, _now: Instant) {
        self.note(format!("began {}", engine.design_code));
    }

    fn component(&self, facts: &ComponentFacts, controls: &[ControlFacts<'_>], _now: Instant) {
        self.note(format!("component {} {}", facts.name, controls.len()));
    }

    fn named_control(&self, name: &str, _now: Instant) {
        self.note(format!("named {name}"));
    }

    fn design_ended(&self, _now: Instant) {
        self.note("ended");
    }

    fn values(&self, changes: &[ControlChange<'_>], _now: Instant) {
        for change in changes {
            let component = change.component.as_ref().map_or("", |name| name.as_str());
            let value = change
                .value
                .as_ref()
                .and_then(Scalar::as_number)
                .unwrap_or_default();
            self.values
                .lock()
                .insert(format!("{component}/{}", change.name.as_str()), value);
        }
    }

    fn confirmed(&self, _now: Instant) {
        self.note("confirmed");
    }

    fn went_stale(&self, _now: Instant) {
        self.note("stale");
    }
}

/// Session, sink and a Core that carries out what it reads at once, and answers when told to.
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) sink: Recorder,
    pub(super) now: Instant,
    /// Frames from the session that the Core has not read.
    pub(super) sent: Vec<String>,
    /// Every request that the Core has read.
    pub(super) read: Vec<Request>,
    pub(super) events: Vec<Event>,
    pub(super) values: BTreeMap<(String, String), f64>,
    /// Which groups have which controls, and what changed since their last poll.
    pub(super) groups: BTreeMap<String, BTreeMap<(String, String), bool>>,
    pub(super) refuse: BTreeMap<&'static str, i64>,
    pub(super) code: &'static str,
}

impl Bench {
    pub(super) fn new(transport: Transport) -> Self {
        Self::with(transport, LinkConfig::default())
    }

    pub(super) fn with(transport: Transport, config: LinkConfig) -> Self {
        let now = Instant::now();
        let mut values = BTreeMap::new();
        for component in ["Gain", "Mixer", "Meter", "Camera"] {
            for control in ["gain", "mute", "level"] {
                values.insert((component.to_owned(), control.to_owned()), 0.0);
            }
        }
        Self {
            session: Session::new(Arc::new(config), transport, Oversize::default(), now),
            sink: Recorder::default(),
            now,
            sent: Vec::new(),
            read: Vec::new(),
            events: Vec::new(),
            values,
            groups: BTreeMap::new(),
            refuse: BTreeMap::new(),
            code: "first",
        }
    }

    pub(super) fn engine(&self, state: &str) -> Value {
        json!({"State": state, "DesignName": "Hall", "DesignCode": self.code, "IsRedundant": false, "IsEmulator": false})
    }

    /// The Core pushes its engine status.
    pub(super) fn push_engine(&mut self, state: &str) {
        let frame =
            json!({"jsonrpc": "2.0", "method": "EngineStatus", "params": self.engine(state)});
        self.frame(&frame.to_string());
    }

    pub(super) fn frame(&mut self, text: &str) {
        self.session.frame(self.now, text, &self.sink);
        self.collect();
    }

    pub(super) fn collect(&mut self) {
        while let Some(frame) = self.session.transmit(self.now) {
            self.sent.push(frame);
        }
        while let Some(event) = self.session.event() {
            if matches!(event, Event::Ready { .. }) {
                self.session.engage(self.now, &self.sink);
                while let Some(frame) = self.session.transmit(self.now) {
                    self.sent.push(frame);
                }
            }
            self.events.push(event);
        }
    }

    /// The Core reads the oldest frame, and gives its answer.
    pub(super) fn read_one(&mut self) -> Option<String> {
        if self.sent.is_empty() {
            return None;
        }
        let text = self.sent.remove(0);
        let frame: Frame<'_> = serde_json::from_str(&text).unwrap();
        let method = frame.method.clone().unwrap();
        let request = Request::read(&method, frame.params).unwrap();
        let id = frame.id.clone();
        let answer = match self.refuse.get(method.as_str()) {
            Some(code) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}})
            }
            None => match self.carry_out(&request) {
                Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                Err(code) => {
                    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}})
                }
            },
        };
        self.read.push(request);
        Some(answer.to_string())
    }

    pub(super) fn carry_out(&mut self, request: &Request) -> Result<Value, i64> {
        match request {
            Request::StatusGet => Ok(self.engine("Active")),
            Request::ComponentGetComponents => {
                let mut names: Vec<&str> = self
                    .values
                    .keys()
                    .map(|(component, _)| component.as_str())
                    .collect();
                names.dedup();
                Ok(names
                    .into_iter()
                    .filter(|name| !name.is_empty())
                    .map(|name| json!({"Name": name, "Type": "gain", "Properties": []}))
                    .collect())
            }
            Request::ComponentGetControls(Named { name }) => {
                let controls: Vec<Value> = self
                    .values
                    .keys()
                    .filter(|(component, _)| component == name)
                    .map(|(_, control)| json!({"Name": control, "Type": "Float", "Value": 0.0}))
                    .collect();
                Ok(json!({"Name": name, "Controls": controls}))
            }
            Request::ComponentSet(set) => {
                let mut states = Vec::new();
                for item in &set.controls {
                    let name = (set.name.clone(), item.name.clone());
                    let value = item
                        .value
                        .as_ref()
                        .and_then(Scalar::as_number)
                        .unwrap_or_default();
                    self.change(&name, value);
                    states.push(change(&name, value));
                }
                Ok(json!(states))
            }
            Request::ComponentGet(get) => {
                let states: Vec<Value> = get.controls.iter().map(|control| json!({"Name": control.name, "Value": self.values[&(get.name.clone(), control.name.clone())]})).collect();
                Ok(json!({"Name": get.name, "Controls": states}))
            }
            other => self.carry_out_groups(other),
        }
    }

    fn carry_out_groups(&mut self, request: &Request) -> Result<Value, i64> {
        match request {
            Request::ChangeGroupAddComponentControl(add) => {
                let group = self
                    .groups
                    .entry(add.id.as_str().unwrap().to_owned())
                    .or_default();
                group.extend(
                    add.component
                        .controls
                        .iter()
                        .map(|control| ((add.component.name.clone(), control.name.clone()), true)),
                );
                Ok(json!(true))
            }
            Request::ChangeGroupAddControl(add) => {
                let group = self
                    .groups
                    .entry(add.id.as_str().unwrap().to_owned())
                    .or_default();
                group.extend(
                    add.controls
                        .iter()
                        .map(|control| ((String::new(), control.clone()), true)),
                );
                Ok(json!(true))
            }
            Request::ChangeGroupPoll(poll) => {
                let group = self
                    .groups
                    .get_mut(poll.id.as_str().unwrap())
                    .ok_or(code::UNKNOWN_GROUP)?;
                let values = &self.values;
                let report = |(name, dirty): (&(String, String), &mut bool)| {
                    std::mem::take(dirty)
                        .then(|| change(name, values.get(name).copied().unwrap_or(0.5)))
                };
                let changes: Vec<Value> = group.iter_mut().filter_map(report).collect();
                Ok(json!({"Id": poll.id, "Changes": changes}))
            }
            Request::ChangeGroupInvalidate(group) => {
                let group = self
                    .groups
                    .get_mut(group.id.as_str().unwrap())
                    .ok_or(code::UNKNOWN_GROUP)?;
                for dirty in group.values_mut() {
                    *dirty = true;
                }
                Ok(json!(true))
            }
            Request::ChangeGroupDestroy(group) => {
                self.groups.remove(group.id.as_str().unwrap());
                Ok(json!(true))
            }
            _ => Ok(json!(true)),
        }
    }

    pub(super) fn change(&mut self, name: &(String, String), value: f64) {
        self.values.insert(name.clone(), value);
        for group in self.groups.values_mut() {
            group.entry(name.clone()).and_modify(|dirty| *dirty = true);
        }
    }

    /// The Core reads and answers everything.
    pub(super) fn converse(&mut self) {
        for _ in 0..10_000 {
            let Some(answer) = self.read_one() else {
                return;
            };
            self.frame(&answer);
        }
        panic!("the two never stop talking");
    }

    /// The Core reads everything, and no answer arrives.
    pub(super) fn lose_answers(&mut self) {
        while self.read_one().is_some() {}
    }

    /// Time passes, and timeouts fire when they are due.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..10_000 {
            let deadline = self.session.next_deadline();
            if deadline > end || self.session.has_ended() {
                self.now = end;
                return;
            }
            self.now = self.now.max(deadline);
            self.session.timeout(self.now, &self.sink);
            self.collect();
        }
        panic!("timeouts never end");
    }

    /// As [`Bench::pass`], and the Core answers all the while.
    pub(super) fn live_on(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end && !self.session.has_ended() {
            self.pass(Duration::from_millis(50));
            self.converse();
        }
    }

    pub(super) fn live(transport: Transport) -> Self {
        let mut bench = Self::new(transport);
        bench.become_live();
        bench
    }

    pub(super) fn become_live(&mut self) {
        self.push_engine("Active");
        self.converse();
        assert_eq!(self.session.state(), LinkState::Live);
    }

    pub(super) fn count(&self, method: Method) -> usize {
        self.read
            .iter()
            .filter(|request| request.method() == method)
            .count()
    }

    pub(super) fn write(&mut self, value: f64) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let set = ComponentSet {
            name: "Gain".into(),
            controls: vec![SetItem {
                name: "gain".into(),
                value: Some(Scalar::Number(value)),
                ..SetItem::default()
            }],
            response_values: Some(true),
        };
        self.session
            .command(self.now, &Request::ComponentSet(set), reply);
        self.collect();
        answer
    }

    pub(super) fn ended(&self) -> Option<(bool, &str)> {
        self.events.iter().find_map(|event| match event {
            Event::Ended { refused, fault } => Some((*refused, fault.as_str())),
            _ => None,
        })
    }
}

pub(super) fn with_logon() -> LinkConfig {
    LinkConfig {
        logon: Some(Credentials {
            user: "tech".into(),
            pin: Secret::new("1234"),
        }),
        api_key: Some(Secret::new("k")),
        ..LinkConfig::default()
    }
}

/// A control's state as polls and answers to writes tell it.
fn change(name: &(String, String), value: f64) -> Value {
    let mut state = json!({"Name": name.1, "Value": value, "String": "x", "Position": 0.5});
    if !name.0.is_empty() {
        state["Component"] = json!(name.0);
    }
    state
}
