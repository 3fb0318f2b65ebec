//! A whole link on a cable that loses, repeats and invents frames, to a Core that restarts, freezes and changes its mind.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rackhand::base::shutdown::Stop;
use rackhand::link::dial::ByteStream;
use rackhand::link::{Dial, Link, LinkConfig, LinkState, Transport};
use rackhand::model::change::ChangeSink;
use rackhand::sim::design::{Component, Control, Design, Unit};
use rackhand::sim::{Options, SimCore};
use rackhand::wire::qrc::{
    ComponentFacts, ControlChange, ControlFacts, EngineStatus, Scalar, SetItem,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy, duplex, split};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::json::{Bent, FromCore};

/// Longer than any caller waits: in the queue, and then for an answer.
const PATIENCE: Duration = Duration::from_secs(11);

/// Longer than a link waits after it was refused, which an invented frame can make it believe.
const RECOVERY: Duration = Duration::from_secs(420);

/// What happens.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Op {
    /// Milliseconds pass.
    Pass(u16),
    /// The next frame from the Core is lost.
    Lose,
    /// The next frame from the Core comes twice.
    Repeat,
    /// A frame comes that the Core never sent.
    Invent(Bent<FromCore>),
    /// Every connection is cut.
    Cut,
    /// The Core freezes or thaws.
    Freeze(bool),
    /// The Core refuses connections, or takes them again.
    Refuse(bool),
    /// The Core is a standby, or active.
    Standby(bool),
    /// The Core forgets its change groups.
    Forget,
    /// Another compile of the design runs.
    Recompile(u8),
    /// Somebody writes.
    Write(i8),
    /// Somebody watches, or nobody any more.
    Watch(bool),
    /// A person closes the breaker.
    Reset,
}

#[derive(Debug, Default)]
struct Mischief {
    lose: u32,
    repeat: u32,
    invented: Vec<String>,
}

/// Connects to the one Core there is.
#[derive(Debug)]
struct Cable {
    core: SimCore,
    mischief: Arc<Mutex<Mischief>>,
    strands: Mutex<JoinSet<()>>,
}

impl Dial for Cable {
    fn dial(
        &self,
        _host: String,
        _port: u16,
    ) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        if !self.core.accepts() {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let (here, link_side) = duplex(64 << 10);
        let (core_side, there) = duplex(64 << 10);
        let (core, mischief) = (self.core.clone(), Arc::clone(&self.mischief));
        let mut strands = self.strands.lock();
        strands.spawn(async move { core.serve_tcp(there).await });
        strands.spawn(async move {
            let (mut from_link, mut to_link) = split(link_side);
            let (from_core, mut to_core) = split(core_side);
            let mut from_core = BufReader::new(from_core);
            let down = async {
                let mut frame = Vec::new();
                while from_core
                    .read_until(0, &mut frame)
                    .await
                    .is_ok_and(|bytes| bytes > 0)
                {
                    for frame in bent(&mischief, std::mem::take(&mut frame)) {
                        if to_link.write_all(&frame).await.is_err() {
                            return;
                        }
                    }
                }
            };
            tokio::select! {
                () = down => {}
                _ = copy(&mut from_link, &mut to_core) => {}
            }
        });
        Box::pin(async move {
            let stream: Box<dyn ByteStream> = Box::new(here);
            Ok(stream)
        })
    }
}

/// What arrives instead of a frame.
fn bent(mischief: &Mutex<Mischief>, frame: Vec<u8>) -> Vec<Vec<u8>> {
    let mut mischief = mischief.lock();
    let mut arrives: Vec<Vec<u8>> = mischief
        .invented
        .drain(..)
        .map(|text| text.replace('\0', " ").into_bytes())
        .map(|mut text| {
            text.push(0);
            text
        })
        .collect();
    if mischief.lose > 0 {
        mischief.lose -= 1;
        return arrives;
    }
    if mischief.repeat > 0 {
        mischief.repeat -= 1;
        arrives.push(frame.clone());
    }
    arrives.push(frame);
    arrives
}

/// Remembers the last value of one control.
#[derive(Debug, Default)]
struct Gain(Mutex<Option<f64>>);

impl ChangeSink for Gain {
    fn design_began(&self, _engine: &EngineStatus, _now: tokio::time::Instant) {}

    fn component(
        &self,
        _facts: &ComponentFacts,
        _controls: &[ControlFacts<'_>],
        _now: tokio::time::Instant,
    ) {
    }

    fn named_control(&self, _name: &str, _now: tokio::time::Instant) {}

    fn design_ended(&self, _now: tokio::time::Instant) {}

    fn values(&self, changes: &[ControlChange<'_>], _now: tokio::time::Instant) {
        for change in changes {
            if change
                .component
                .as_ref()
                .is_some_and(|name| name.as_str() == "Block A")
                && change.name.as_str() == "gain"
            {
                *self.0.lock() = change.value.as_ref().and_then(Scalar::as_number);
            }
        }
    }

    fn confirmed(&self, _now: tokio::time::Instant) {}

    fn went_stale(&self, _now: tokio::time::Instant) {}
}

fn design() -> Design {
    let gain = || Control::float("gain", (-100.0, 20.0), Unit::Db, 0.0);
    let block =
        |name: &str| Component::new(name, "gain", vec![gain(), Control::mute("mute", false)]);
    Design::new("Fuzz", "fuzz00000001")
        .with(block("Block A"))
        .with(block("Block B"))
        .with(block("Block C"))
        .with(block("Block D"))
}

/// Every caller is answered in time, the task never ends, and once the cable is honest the link is live and right again.
pub(crate) fn holds(ops: &Vec<Op>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run(ops));
}

async fn run(ops: &[Op]) {
    let core = SimCore::new(design(), Options::default());
    let mischief = Arc::<Mutex<Mischief>>::default();
    let cable = Arc::new(Cable {
        core: core.clone(),
        mischief: Arc::clone(&mischief),
        strands: Mutex::default(),
    });
    let sink = Arc::new(Gain::default());
    let stop = Stop::new();
    let mut tasks = JoinSet::new();
    let config = LinkConfig {
        transport: Transport::Tcp,
        ..LinkConfig::default()
    };
    let link = rackhand::link::spawn(config, cable, sink.clone(), stop.clone(), &mut tasks);
    let mut writes = JoinSet::new();
    let mut watch = None;
    for op in ops {
        match op {
            Op::Pass(millis) => sleep(Duration::from_millis(u64::from(*millis) / 8)).await,
            Op::Lose => mischief.lock().lose += 1,
            Op::Repeat => mischief.lock().repeat += 1,
            Op::Invent(frame) => mischief.lock().invented.push(frame.text.clone()),
            Op::Cut => core.reset_connections(),
            Op::Freeze(on) => core.freeze(*on),
            Op::Refuse(on) => core.refuse(*on),
            Op::Standby(on) => core.standby(*on),
            Op::Forget => core.forget_groups(),
            Op::Recompile(number) => {
                core.swap_design(design().recompiled(&format!("fuzz{number:08}")))
            }
            Op::Write(value) => drop(writes.spawn(write(link.clone(), f64::from(*value) / 8.0))),
            Op::Watch(on) => {
                watch = on.then(|| {
                    link.watch_fast(
                        vec!["gain"]
                            .into_iter()
                            .map(|control| rackhand::model::name::ControlRef {
                                component: "Block A".parse().ok(),
                                control: control.parse().unwrap(),
                            })
                            .collect(),
                    )
                })
            }
            Op::Reset => drop(link.reset_breaker()),
        }
    }
    drop(watch);
    while let Some(answered) = writes.join_next().await {
        assert!(answered.unwrap(), "a caller waits for ever");
    }
    assert!(tasks.try_join_next().is_none(), "the link's task has ended");
    *mischief.lock() = Mischief::default();
    core.freeze(false);
    core.refuse(false);
    core.standby(false);
    core.reset_connections();
    recovers(&link, &core, &sink).await;
    stop.cancel();
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), "link");
}

async fn write(link: Link, value: f64) -> bool {
    let component = "Block A".parse().unwrap();
    let item = SetItem {
        name: "gain".into(),
        value: Some(Scalar::Number(value)),
        ..SetItem::default()
    };
    timeout(PATIENCE, link.set_component(&component, vec![item]))
        .await
        .is_ok()
}

async fn recovers(link: &Link, core: &SimCore, sink: &Gain) {
    sleep(Duration::from_secs(1)).await;
    let mut status = link.watch_status();
    // What `wait_for` gives would keep the link's task out while it lives.
    let live = status.wait_for(|status| status.state == LinkState::Live);
    let live = timeout(RECOVERY, live).await.is_ok();
    assert!(live, "the link does not come back: {:?}", link.status());
    core.set_value("Block A", "gain", -77.0);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(*sink.0.lock(), Some(-77.0));
}
