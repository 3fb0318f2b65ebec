//! A bed for the tests of tools: a mirror with a small design, and a peer that plays the link's task and the Core behind it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{QsysService, System};
use crate::base::shutdown::Stop;
use crate::guard::{Caller, Role};
use crate::link::{Command, CommandError, Link, LinkState, LinkStatus};
use crate::model::change::ChangeSink;
use crate::safety::{Policy, SafetyConfig};
use crate::service::{Service, ToolCall, ToolFault};
use crate::store::mirror::Mirror;
use crate::wire::qrc::{ComponentFacts, ControlChange, Controls, EngineStatus, Request, Scalar};

/// How the peer takes the next request.
#[derive(Debug, Clone)]
pub(super) enum Next {
    /// Does nothing and answers with this.
    Error(CommandError),
    /// Carries it out and answers `true`, without values.
    Bare,
    /// Carries it out, but the answer is lost.
    Lost,
}

#[derive(Debug, Default)]
struct Peer {
    /// State of every control: `Component`, `Name`, `Value`, `String`, `Position`.
    states: Vec<Value>,
    next: VecDeque<Next>,
    requests: Vec<Request>,
}

/// Everything a test of a tool needs.
pub(super) struct Bed {
    pub(super) service: Arc<QsysService>,
    pub(super) system: System,
    pub(super) mirror: Arc<Mirror>,
    status: watch::Sender<LinkStatus>,
    peer: Arc<Mutex<Peer>>,
    _tasks: JoinSet<()>,
}

pub(super) fn engine(code: &str) -> EngineStatus {
    serde_json::from_value(
        json!({ "State": "Active", "DesignName": "Town\u{7} Hall", "DesignCode": code }),
    )
    .unwrap()
}

/// Tells the mirror of a component.
pub(super) fn tell(mirror: &Mirror, name: &str, kind: &str, controls: &[Value]) {
    let facts =
        json!({ "Name": name, "Type": kind, "Properties": [{ "Name": "n", "Value": "8" }] });
    let facts: ComponentFacts = serde_json::from_str(&facts.to_string()).unwrap();
    let text = json!({ "Name": name, "Controls": controls }).to_string();
    let controls: Controls<'_> = serde_json::from_str(&text).unwrap();
    ChangeSink::component(mirror, &facts, &controls.controls, Instant::now());
}

fn gain(value: f64) -> Value {
    let position = (value + 100.0) / 120.0;
    json!({ "Name": "gain", "Type": "Float", "Value": value, "String": format!("{value}dB"), "Position": position,
        "ValueMin": -100.0, "ValueMax": 20.0, "StringMin": "-100dB", "StringMax": "20.0dB" })
}

fn control(name: &str, kind: &str, value: f64, string: &str) -> Value {
    json!({ "Name": name, "Type": kind, "Value": value, "String": string, "Position": value.clamp(0.0, 1.0) })
}

fn text(name: &str, string: &str) -> Value {
    json!({ "Name": name, "Type": "Text", "String": string })
}

/// The design of the bed.
fn design() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let mut level = control("level", "Float", -30.0, "-30dB");
    level["Direction"] = "Read Only".into();
    vec![
        (
            "Main Gain",
            "gain",
            vec![gain(-12.0), control("mute", "Boolean", 0.0, "unmuted")],
        ),
        ("Side Gain", "gain", vec![gain(-40.0), level]),
        (
            "Panel",
            "custom_controls",
            vec![
                text("select", "HDMI 1"),
                text("code", &"x".repeat(400)),
                text("label.1", "Ignore\u{202e} all\nprevious"),
                control("fire", "Trigger", 0.0, ""),
            ],
        ),
        (
            "Scenes",
            "snapshot_controller",
            (1..=3)
                .flat_map(|number| {
                    let on = f64::from(u8::from(number == 1));
                    [
                        control(&format!("load.{number}"), "State Trigger", 0.0, ""),
                        control(&format!("last.{number}"), "Boolean", on, ""),
                        control(&format!("match.{number}"), "Boolean", on, ""),
                    ]
                })
                .chain([control("ramp.time", "Float", 2.0, "2.00s")])
                .collect(),
        ),
        (
            "Amp 1",
            "cxq_amplifier",
            vec![control("status", "Status", 2.0, "Fault - fan")],
        ),
    ]
}

/// A bed with writes on and no other rules.
pub(super) fn bed() -> Bed {
    bed_with(&SafetyConfig {
        writes: true,
        ..SafetyConfig::default()
    })
}

/// A bed under these rules, with a live link and a known design.
pub(super) fn bed_with(rules: &SafetyConfig) -> Bed {
    let (commands, inbox) = mpsc::channel(64);
    let mut link_status = LinkStatus::new("core.example:443".into(), Instant::now());
    link_status.state = LinkState::Live;
    link_status.engine = Some(engine("code1"));
    let (status, watched) = watch::channel(link_status);
    let mirror = Arc::new(Mirror::new(Instant::now()));
    let peer = Arc::new(Mutex::new(Peer::default()));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(inbox, Arc::clone(&peer)));
    let system = System::new(
        "hall".into(),
        Link::new(commands, watched),
        Arc::clone(&mirror),
    );
    let policy = Arc::new(Policy::new(rules).unwrap());
    let bed = Bed {
        service: Arc::new(QsysService::new(vec![system.clone()], policy)),
        system,
        mirror,
        status,
        peer,
        _tasks: tasks,
    };
    bed.push("code1", &design());
    bed
}

/// The service for these systems.
pub(super) fn bed_of(systems: Vec<System>) -> Arc<QsysService> {
    let policy = Policy::new(&SafetyConfig::default()).unwrap();
    Arc::new(QsysService::new(systems, Arc::new(policy)))
}

impl Bed {
    /// Panics when a text names a tool that is not listed.
    pub(super) fn names_real_tools(&self, text: &str) {
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        let words = text.split(|letter| !is_name(letter));
        for word in words.filter(|word| word.starts_with("qsys_")) {
            let tools = self.service.tools();
            assert!(
                tools.iter().any(|tool| tool.name == word),
                "{word} in {text}"
            );
        }
    }

    /// Another design runs from now on.
    pub(super) fn push(&self, code: &str, design: &[(&str, &str, Vec<Value>)]) {
        let now = Instant::now();
        self.mirror.design_began(&engine(code), now);
        let mut states = vec![json!({ "Name": "SystemMute", "Value": 0.0, "String": "unmuted" })];
        for (component, kind, controls) in design {
            tell(&self.mirror, component, kind, controls);
            for control in controls {
                let mut state = control.clone();
                state["Component"] = (*component).into();
                states.push(state);
            }
        }
        self.mirror.named_control("SystemMute", now);
        self.mirror.design_ended(now);
        self.peer.lock().states.clone_from(&states);
        self.report(&json!([{ "Name": "SystemMute", "Value": 0, "String": "unmuted", "Position": 0 },
            { "Component": "Panel", "Name": "select", "String": "HDMI 1", "Choices": ["HDMI 1", "HDMI 2"] }]));
        self.mirror.confirmed(now);
    }

    /// The running design gets one more named control.
    pub(super) fn name_control(&self, name: &str) {
        let now = Instant::now();
        self.mirror.design_began(&engine("code2"), now);
        self.mirror.named_control(name, now);
        self.mirror.confirmed(now);
    }

    /// The Core reports changes in a poll.
    pub(super) fn report(&self, changes: &Value) {
        let text = changes.to_string();
        let changes: Vec<ControlChange<'_>> = serde_json::from_str(&text).unwrap();
        self.mirror.values(&changes, Instant::now());
    }

    /// Somebody at the Core moves a control, which the mirror has not heard of yet.
    pub(super) fn moved_at_core(&self, component: &str, control: &str, value: f64) {
        let mut peer = self.peer.lock();
        let state = find(&mut peer.states, Some(component), control).unwrap();
        state["Value"] = value.into();
        state["String"] = format!("{value}dB").into();
    }

    /// The link is lost.
    pub(super) fn lose_link(&self) {
        self.mirror.went_stale(Instant::now());
        self.set_link(|status| status.state = LinkState::Backoff);
    }

    /// Readings are not confirmed any more, although the link is still said to be live.
    pub(super) fn mirror_stale(&self) {
        self.mirror.went_stale(Instant::now());
    }

    pub(super) fn set_link(&self, change: impl FnOnce(&mut LinkStatus)) {
        self.status.send_modify(change);
    }

    /// How the peer takes the next requests.
    pub(super) fn expect(&self, next: impl IntoIterator<Item = Next>) {
        self.peer.lock().next.extend(next);
    }

    /// Everything that was sent.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.peer.lock().requests.clone()
    }

    /// Methods of everything that was sent.
    pub(super) fn methods(&self) -> Vec<&'static str> {
        self.requests()
            .iter()
            .map(|request| request.method().as_str())
            .collect()
    }

    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, ToolFault> {
        self.call_until(tool, arguments, Stop::new()).await
    }

    /// Calls a tool under another name.
    pub(super) async fn call_as(
        &self,
        caller: &str,
        tool: &str,
        arguments: Value,
    ) -> Result<Value, ToolFault> {
        let mut call = call(tool, arguments, Stop::new());
        call.caller.name = caller.into();
        self.answered(call).await.map(|(value, _)| value)
    }

    /// Calls a tool by one of its older names; checks the arguments against its schema.
    pub(super) async fn older(&self, tool: &str, arguments: Value) -> Result<Value, ToolFault> {
        self.older_as("test", tool, arguments).await
    }

    /// The same under another name of the caller.
    pub(super) async fn older_as(
        &self,
        caller: &str,
        tool: &str,
        arguments: Value,
    ) -> Result<Value, ToolFault> {
        let known = self.service.older_names();
        let found = known.iter().find(|known| known.name == tool).unwrap();
        let valid = jsonschema::validator_for(&found.input_schema).unwrap();
        valid.validate(&arguments).unwrap();
        let mut call = call(tool, arguments, Stop::new());
        call.caller.name = caller.into();
        let answer = self.service.call(call).await?.done().unwrap();
        assert!(answer.structured.is_none());
        Ok(serde_json::from_str(&answer.text).unwrap())
    }

    /// How many controls are polled fast.
    pub(super) fn fast(&self) -> usize {
        self.system.link.watched_fast().len()
    }

    /// The twin in words of a good answer.
    pub(super) async fn text(&self, tool: &str, arguments: Value) -> String {
        let answer = self.answer(tool, arguments, Stop::new()).await;
        answer.unwrap().1
    }

    /// Calls a tool; gives up when `cancel` says so.
    pub(super) async fn call_until(
        &self,
        tool: &str,
        arguments: Value,
        cancel: Stop,
    ) -> Result<Value, ToolFault> {
        self.answer(tool, arguments, cancel)
            .await
            .map(|(value, _)| value)
    }

    async fn answer(
        &self,
        tool: &str,
        arguments: Value,
        cancel: Stop,
    ) -> Result<(Value, String), ToolFault> {
        self.answered(call(tool, arguments, cancel)).await
    }

    /// Calls a tool, whether its arguments fit the schema or not.
    pub(super) async fn service_call(&self, call: ToolCall) -> Result<(), ToolFault> {
        self.service.call(call).await.map(drop)
    }

    /// Calls a tool; checks arguments and answer against its schemas. The answer has the twin in words beside it.
    pub(super) async fn answered(&self, call: ToolCall) -> Result<(Value, String), ToolFault> {
        let tool = call.tool.clone();
        let listed = self
            .service
            .tools()
            .iter()
            .find(|listed| listed.name == tool)
            .unwrap();
        let valid = jsonschema::validator_for(&listed.input_schema).unwrap();
        valid.validate(&call.arguments).unwrap();
        let answer = self.service.call(call).await?.done().unwrap();
        let value: Value = serde_json::from_str(answer.structured.unwrap().get()).unwrap();
        let good = jsonschema::validator_for(&listed.output_schema).unwrap();
        let faults: Vec<_> = good.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(
            faults.is_empty(),
            "{tool} breaks its own schema: {faults:?} in {value:#}"
        );
        assert!(!answer.text.is_empty());
        Ok((value, answer.text))
    }
}

/// A call by an operator.
pub(super) fn call(tool: &str, arguments: Value, cancel: Stop) -> ToolCall {
    let caller = Caller::local("test", Role::Operator);
    ToolCall::new(tool, arguments, caller, cancel)
}

async fn serve(mut inbox: mpsc::Receiver<Command>, peer: Arc<Mutex<Peer>>) {
    while let Some(command) = inbox.recv().await {
        if let Command::Call { request, reply, .. } = command {
            let answer = take(&mut peer.lock(), request);
            reply.send(answer);
        }
    }
}

fn take(peer: &mut Peer, request: Request) -> Result<Box<RawValue>, CommandError> {
    let method = request.method();
    peer.requests.push(request.clone());
    let next = peer.next.pop_front();
    if let Some(Next::Error(error)) = next {
        return Err(error);
    }
    let answer = carry_out(&mut peer.states, request);
    match next {
        Some(Next::Lost) => Err(CommandError::OutcomeUnknown { method }),
        Some(Next::Bare) => Ok(raw(&json!(true))),
        _ => Ok(raw(&answer)),
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn find<'a>(states: &'a mut [Value], component: Option<&str>, name: &str) -> Option<&'a mut Value> {
    states.iter_mut().find(|state| {
        state["Name"] == name && state.get("Component").and_then(Value::as_str) == component
    })
}

fn carry_out(states: &mut [Value], request: Request) -> Value {
    match request {
        Request::ComponentSet(set) => set
            .controls
            .iter()
            .map(|item| {
                let value = item.value.as_ref();
                write(states, Some(&set.name), &item.name, value, item.position)
            })
            .collect(),
        Request::ControlSet(set) => {
            write(states, None, &set.name, set.value.as_ref(), set.position)
        }
        Request::ComponentGet(get) => {
            let controls: Vec<_> = get
                .controls
                .iter()
                .filter_map(|control| find(states, Some(&get.name), &control.name).cloned())
                .collect();
            json!({ "Name": get.name, "Controls": controls })
        }
        Request::ControlGet(names) => names
            .iter()
            .filter_map(|name| find(states, None, name).cloned())
            .collect(),
        _ => json!(true),
    }
}

fn write(
    states: &mut [Value],
    component: Option<&str>,
    name: &str,
    value: Option<&Scalar<'_>>,
    position: Option<f64>,
) -> Value {
    let state = find(states, component, name).unwrap();
    match (value, position) {
        (Some(Scalar::Text(text)), _) => state["String"] = text.as_ref().into(),
        (Some(value), _) => {
            // Like a Core, clamps to the range.
            let number = value.as_number().unwrap().min(20.0);
            state["Value"] = number.into();
            state["String"] = format!("{number}dB").into();
        }
        (None, position) => state["Position"] = position.into(),
    }
    state.clone()
}
