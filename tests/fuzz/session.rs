//! A session of the link, sans I/O: frames, commands, cuts and time in any order, against a Core that answers well, badly or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bolero::TypeGenerator;
use rackhand::base::secret::Secret;
use rackhand::config::Transport;
use rackhand::limits::{COMMANDS_IN_FLIGHT_MAX, IN_FLIGHT_MAX};
use rackhand::link::session::{Answer, Event, Oversize, Session};
use rackhand::link::{CommandError, Credentials, Cut, LinkConfig, LinkState};
use rackhand::model::change::ChangeSink;
use rackhand::wire::jsonrpc::{Frame, Id};
use rackhand::wire::poll::BATCH_MAX;
use rackhand::wire::qrc::{
    ComponentFacts, ComponentSet, ControlChange, ControlFacts, EngineStatus, Named, Request,
    Scalar, SetItem,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::json::{Bent, FromCore, Odd};

/// What the Core makes of a request.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Reply {
    Right,
    /// As a string, as one example of the help does.
    RightAsText,
    Odd(Odd),
    Error(u8),
    /// Nobody hears of it.
    Lost,
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Op {
    /// Answers everything, as long as there are questions, for so many rounds.
    Serve(u8),
    Answer(u8, Reply),
    Frame(Bent<FromCore>),
    Engine(u8, u8),
    Write(u8),
    Read(u8),
    Watch(u8),
    /// So many times 40 ms: answers are waited for 5 s, signs of life 10 s.
    Passes(u8),
    /// To the next deadline, as the driver waits for it.
    Due,
    /// The wire takes nothing for a while.
    Jam(bool),
    Noise,
    Beat,
    Engage(bool),
    /// Seldom, for it is the end.
    Cut([bool; 3], bool),
}

/// How the link is set up, and what happens.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Case {
    over_tcp: bool,
    has_logon: bool,
    has_key: bool,
    starts_well: bool,
    #[generator(bolero::produce::<Vec<Op>>().with().len(1_usize..80))]
    ops: Vec<Op>,
}

/// Whatever happens: nothing panics, what waits is bounded, every caller is answered once, and no write goes out twice.
pub(crate) fn holds(case: &Case) {
    let mut bed = Bed::new(case);
    if case.starts_well {
        bed.does(&Op::Engine(0, 0));
        bed.does(&Op::Serve(40));
    }
    for op in &case.ops {
        if bed.session.has_ended() {
            break;
        }
        bed.does(op);
    }
    bed.ends();
}

/// Holds the session to what it owes its sink.
#[derive(Debug, Default)]
struct StrictSink {
    has_begun: AtomicBool,
    is_telling: AtomicBool,
}

impl ChangeSink for StrictSink {
    fn design_began(&self, _engine: &EngineStatus, _now: Instant) {
        self.has_begun.store(true, Ordering::Relaxed);
        self.is_telling.store(true, Ordering::Relaxed);
    }

    fn component(&self, _facts: &ComponentFacts, _controls: &[ControlFacts<'_>], _now: Instant) {
        assert!(
            self.is_telling.load(Ordering::Relaxed),
            "a component of no design"
        );
    }

    fn named_control(&self, _name: &str, _now: Instant) {
        assert!(
            self.is_telling.load(Ordering::Relaxed),
            "a named control of no design"
        );
    }

    fn design_ended(&self, _now: Instant) {
        assert!(
            self.is_telling.swap(false, Ordering::Relaxed),
            "a design ended that had not begun"
        );
    }

    fn values(&self, changes: &[ControlChange<'_>], _now: Instant) {
        assert!(
            self.has_begun.load(Ordering::Relaxed),
            "values of no design"
        );
        assert!(changes.len() <= BATCH_MAX);
    }

    fn confirmed(&self, _now: Instant) {
        assert!(self.has_begun.load(Ordering::Relaxed), "nothing to confirm");
    }

    fn went_stale(&self, _now: Instant) {
        self.is_telling.store(false, Ordering::Relaxed);
        self.has_begun.store(false, Ordering::Relaxed);
    }
}

/// A request that the Core has before it.
#[derive(Debug)]
struct Question {
    id: Id,
    method: String,
    params: String,
}

/// A caller's request.
#[derive(Debug)]
struct Caller {
    answer: oneshot::Receiver<Answer>,
    was_sent: bool,
    is_write: bool,
    asked: Instant,
}

struct Bed {
    session: Session,
    sink: StrictSink,
    now: Instant,
    questions: Vec<Question>,
    ids: BTreeSet<i64>,
    /// By the mark that each command carries.
    callers: BTreeMap<u32, Caller>,
    marks: u32,
    engages: bool,
    is_jammed: bool,
    code: u8,
    ended: usize,
}

impl Bed {
    fn new(case: &Case) -> Self {
        let config = LinkConfig {
            logon: case.has_logon.then(|| Credentials {
                user: "tech".into(),
                pin: Secret::new("1234"),
            }),
            api_key: case.has_key.then(|| Secret::new("k")),
            named_controls: vec!["MainGain".parse().unwrap()],
            ..LinkConfig::default()
        };
        let transport = if case.over_tcp {
            Transport::Tcp
        } else {
            Transport::Wss
        };
        let now = Instant::now();
        let mut bed = Self {
            session: Session::new(Arc::new(config), transport, Oversize::default(), now),
            sink: StrictSink::default(),
            now,
            questions: Vec::new(),
            ids: BTreeSet::new(),
            callers: BTreeMap::new(),
            marks: 0,
            engages: true,
            is_jammed: false,
            code: 0,
            ended: 0,
        };
        bed.follow();
        bed
    }

    fn does(&mut self, op: &Op) {
        match op {
            Op::Serve(rounds) => {
                for _ in 0..rounds % 64 {
                    if self.questions.is_empty() {
                        break;
                    }
                    self.answer(0, &Reply::Right);
                }
            }
            Op::Answer(which, reply) => self.answer(*which, reply),
            Op::Frame(frame) => self.hears(&frame.text),
            Op::Engine(state, code) => {
                self.code = code % 3;
                let state = ["Active", "Active", "Active", "Standby", "Idle", "Rebooting"]
                    [usize::from(state % 6)];
                let code = self.code;
                self.hears(&format!(
                    r#"{{"jsonrpc":"2.0","method":"EngineStatus","params":{{"State":"{state}","DesignName":"Hall","DesignCode":"{code}","IsRedundant":false}}}}"#
                ));
            }
            Op::Write(control) => self.command(true, *control),
            Op::Read(control) => self.command(false, *control),
            Op::Watch(bits) => {
                let wanted = (0..4).filter(|bit| bits & (1 << bit) != 0);
                let names = wanted.map(|bit| rackhand::model::name::ControlRef {
                    component: Some(format!("C{}", bit % 2).parse().unwrap()),
                    control: format!("c{bit}").parse().unwrap(),
                });
                self.session.watch(self.now, names.collect());
            }
            Op::Passes(steps) => {
                let until = self.now + Duration::from_millis(40) * u32::from(*steps);
                while !self.session.has_ended() && self.session.next_deadline() <= until {
                    self.due();
                }
                self.now = until;
            }
            Op::Due => self.due(),
            Op::Jam(is_jammed) => self.is_jammed = *is_jammed,
            Op::Noise => self.session.noise(self.now, &self.sink),
            Op::Beat => self.session.beat(self.now),
            Op::Engage(engages) => {
                self.engages = *engages;
                if *engages {
                    self.session.engage(self.now, &self.sink);
                } else {
                    self.session.disengage(self.now, &self.sink);
                }
            }
            Op::Cut([true, true, true], is_oversize) => {
                let cut = if *is_oversize {
                    Cut::Oversize
                } else {
                    Cut::Closed(String::new())
                };
                self.session.cut(self.now, &cut, &self.sink);
            }
            Op::Cut(..) => {}
        }
        self.follow();
    }

    /// The driver's timer goes off. What was due has to be done then, or the driver would spin.
    fn due(&mut self) {
        self.now = self.now.max(self.session.next_deadline());
        for _ in 0..4 {
            self.session.timeout(self.now, &self.sink);
            self.follow();
            if self.session.has_ended() || self.session.next_deadline() > self.now {
                return;
            }
        }
        panic!(
            "the deadline stays in the past while {:?}",
            self.session.state()
        );
    }

    fn hears(&mut self, text: &str) {
        self.session.frame(self.now, text, &self.sink);
        self.follow();
    }

    fn command(&mut self, is_write: bool, control: u8) {
        if !self.session.has_room_for_command() {
            return;
        }
        self.marks += 1;
        let component = format!("C{}", control % 2);
        let request = if is_write {
            Request::ComponentSet(ComponentSet {
                name: component,
                controls: vec![SetItem {
                    name: format!("c{}", control % 4),
                    value: Some(Scalar::Number(f64::from(self.marks))),
                    ..SetItem::default()
                }],
                response_values: Some(true),
            })
        } else {
            Request::ComponentGetControls(Named {
                name: format!("mark {}", self.marks),
            })
        };
        let (reply, answer) = oneshot::channel();
        self.callers.insert(
            self.marks,
            Caller {
                answer,
                was_sent: false,
                is_write,
                asked: self.now,
            },
        );
        self.session.command(self.now, &request, reply);
        self.follow();
    }

    /// What the driver does after each call.
    fn follow(&mut self) {
        loop {
            let mut sent = 0;
            while !self.is_jammed
                && let Some(frame) = self.session.transmit(self.now)
            {
                self.sent(&frame);
                sent += 1;
                assert!(sent <= IN_FLIGHT_MAX, "more requests at once than may wait");
            }
            let mut has_news = sent > 0;
            while let Some(event) = self.session.event() {
                has_news = true;
                match event {
                    Event::Ready { .. } if self.engages => {
                        self.session.engage(self.now, &self.sink);
                    }
                    Event::Ended { .. } => self.ended += 1,
                    Event::Live { .. } => assert_eq!(self.session.state(), LinkState::Live),
                    _ => {}
                }
            }
            if !has_news {
                break;
            }
        }
        assert_eq!(
            self.ended,
            usize::from(self.session.has_ended()),
            "it ends once and says so"
        );
        self.hear_answers();
    }

    fn sent(&mut self, frame: &str) {
        assert!(!self.session.has_ended(), "sent after the end: {frame}");
        let read: Frame<'_> = serde_json::from_str(frame).expect("a request is JSON");
        let method = read.method.expect("a request has a method").to_string();
        let params = read.params.map_or("null", |params| params.get()).to_owned();
        let Some(Id::Number(number)) = read.id else {
            panic!("a request without a number: {frame}")
        };
        assert!(
            self.ids.insert(number),
            "the number was used before: {frame}"
        );
        let request = Request::read(&method, read.params).expect("a request can be read");
        let mark = match &request {
            Request::ComponentSet(set) => {
                let value = set.controls.first().and_then(|item| item.value.as_ref());
                let number = value
                    .and_then(Scalar::as_number)
                    .expect("a write has its mark");
                (1..=self.marks).find(|mark| f64::from(*mark) == number)
            }
            Request::ComponentGetControls(named) => named
                .name
                .strip_prefix("mark ")
                .map(|mark| mark.parse().unwrap()),
            other => {
                assert!(!other.changes_the_room(), "nobody asked for {frame}");
                None
            }
        };
        if let Some(mark) = mark {
            let caller = self
                .callers
                .get_mut(&mark)
                .expect("it was sent after its caller had been answered");
            assert!(
                !std::mem::replace(&mut caller.was_sent, true),
                "sent twice: {frame}"
            );
        }
        self.questions.push(Question {
            id: Id::Number(number),
            method,
            params,
        });
    }

    fn answer(&mut self, which: u8, reply: &Reply) {
        if self.questions.is_empty() {
            return;
        }
        let question = self
            .questions
            .remove(usize::from(which) % self.questions.len());
        let Id::Number(number) = question.id else {
            return;
        };
        let frame = match reply {
            Reply::Right => format!(
                r#"{{"jsonrpc":"2.0","id":{number},"result":{}}}"#,
                self.right(&question)
            ),
            Reply::RightAsText => format!(
                r#"{{"jsonrpc":"2.0","result":{},"id":"{number}"}}"#,
                self.right(&question)
            ),
            Reply::Odd(odd) => format!(
                r#"{{"jsonrpc":"2.0","id":{number},"result":{}}}"#,
                odd.clone().text()
            ),
            Reply::Error(code) => {
                let code = [-32_604, 10, 6, 5, 7, 8, -32_601, -32_603][usize::from(code % 8)];
                format!(
                    r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":{code},"message":"no"}}}}"#
                )
            }
            Reply::Lost => return,
        };
        self.hears(&frame);
    }

    fn right(&self, question: &Question) -> String {
        let params: serde_json::Value = serde_json::from_str(&question.params).unwrap();
        match question.method.as_str() {
            "StatusGet" => format!(r#"{{"Platform":"Core","State":"Active","DesignName":"Hall","DesignCode":"{}","Status":{{"Code":0,"String":"OK"}}}}"#, self.code),
            "Component.GetComponents" => r#"[{"Name":"C0","Type":"gain"},{"Name":"C1","Type":"mixer","Properties":[]},{"Name":"C2"}]"#.to_owned(),
            "Component.GetControls" => format!(r#"{{"Name":{},"Controls":[{}]}}"#, params["Name"], controls()),
            "Component.Get" => format!(r#"{{"Name":{},"Controls":[{}]}}"#, params["Name"], controls()),
            "Component.Set" => format!(r#"[{{"Component":{},"Name":"c0","Value":1,"String":"1","Position":0}}]"#, params["Name"]),
            "Control.Get" => r#"[{"Name":"MainGain","Value":-12,"String":"-12dB","Position":0.7}]"#.to_owned(),
            "ChangeGroup.Poll" => format!(r#"{{"Id":{},"Changes":[{{"Component":"C0","Name":"c1","Value":0,"String":"off"}}]}}"#, params["Id"]),
            _ => "true".to_owned(),
        }
    }

    fn hear_answers(&mut self) {
        let now = self.now;
        let has_ended = self.session.has_ended();
        self.callers.retain(|mark, caller| {
            let answer = match caller.answer.try_recv() {
                Ok(answer) => answer,
                Err(oneshot::error::TryRecvError::Empty) => {
                    assert!(!has_ended, "command {mark} was left without an answer");
                    return true;
                }
                Err(oneshot::error::TryRecvError::Closed) => panic!("command {mark} was dropped"),
            };
            match answer {
                Ok(_) | Err(CommandError::Refused { .. } | CommandError::Standby) => {
                    assert!(
                        caller.was_sent,
                        "command {mark} was answered before it was sent"
                    );
                }
                Err(CommandError::OutcomeUnknown { .. }) => {
                    assert!(caller.was_sent && caller.is_write);
                }
                Err(CommandError::NoAnswer { .. }) => assert!(caller.was_sent && !caller.is_write),
                Err(CommandError::Down { .. } | CommandError::Busy) => {
                    assert!(
                        !caller.was_sent,
                        "command {mark} was sent and then disowned"
                    );
                }
                Err(other) => panic!("command {mark} after {:?}: {other}", now - caller.asked),
            }
            false
        });
        assert!(
            self.callers.len() <= COMMANDS_IN_FLIGHT_MAX,
            "too many commands on the wire"
        );
    }

    /// A Core that says nothing any more is given up, and then nobody waits.
    fn ends(&mut self) {
        let start = self.now;
        while !self.session.has_ended() {
            self.due();
            assert!(
                self.now - start < Duration::from_mins(5),
                "a silent Core is still believed in"
            );
        }
        assert!(self.callers.is_empty());
    }
}

fn controls() -> String {
    let mut text = String::new();
    for number in 0..4 {
        let comma = if number == 0 { "" } else { "," };
        write!(text, r#"{comma}{{"Name":"c{number}","Type":"Float","Value":0,"ValueMin":-100,"ValueMax":20,"String":"0","Position":0.5,"Direction":"Read/Write"}}"#).unwrap();
    }
    text
}
