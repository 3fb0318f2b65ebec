//! The product from the socket to the simulated Core, in memory and under paused time: built once per thread, for that takes longer
//! than a thousand inputs.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rackhand::base::secret::Secret;
use rackhand::base::shutdown::Stop;
use rackhand::config::Transport;
use rackhand::guard::{Caller, Guard, KeySource, NewKey, Role};
use rackhand::http::{Front, Limits, OriginRules};
use rackhand::link::dial::ByteStream;
use rackhand::link::{self, Dial, LinkConfig, LinkState};
use rackhand::mcp::{Server, ServerInfo};
use rackhand::ops::health::{Report, Source};
use rackhand::safety::{Ceiling, Policy, SafetyConfig};
use rackhand::service::Service;
use rackhand::service::qsys::{QsysService, System};
use rackhand::sim::{self, SimCore, design};
use rackhand::store::Mirror;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// An operator's key.
pub(crate) const KEY: &str = "the-operator-of-the-fuzz-targets";

/// No client may write these.
const PROTECTED: [(&str, &str); 2] = [("Hall A Gain", "mute"), ("", "MainMute")];

/// No client may set a gain higher.
const CEILING: f64 = -10.0;

/// Everything, from the HTTP surface down.
pub(crate) struct House {
    pub(crate) front: Arc<Front>,
    pub(crate) server: Arc<Server>,
    pub(crate) caller: Caller,
    pub(crate) stop: Stop,
    sim: SimCore,
    tasks: JoinSet<&'static str>,
}

#[derive(Debug)]
struct Healthy;

impl Source for Healthy {
    fn report(&self) -> Arc<Report> {
        Arc::new(Report::new(Instant::now()))
    }

    fn detail(&self) -> Value {
        Value::Null
    }
}

/// Dials the simulated Core through a pipe.
#[derive(Debug)]
struct Pipe {
    sim: SimCore,
    serving: Arc<Mutex<JoinSet<()>>>,
}

impl Dial for Pipe {
    fn dial(&self, _: String, _: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        let (sim, serving) = (self.sim.clone(), Arc::clone(&self.serving));
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            serving
                .lock()
                .spawn(async move { sim.serve_tcp(theirs).await });
            let ours: Box<dyn ByteStream> = Box::new(ours);
            Ok(ours)
        })
    }
}

/// Does something in the house, and looks afterwards whether all of it still stands.
pub(crate) fn visit<T>(what: impl AsyncFnOnce(&mut House) -> T) -> T {
    thread_local! {
        static HOUSE: RefCell<Option<(House, Runtime)>> = const { RefCell::new(None) };
    }
    HOUSE.with_borrow_mut(|place| {
        let (house, runtime) = place.get_or_insert_with(|| {
            let runtime = runtime();
            (runtime.block_on(House::new()), runtime)
        });
        runtime.block_on(async {
            let outcome = timeout(Duration::from_mins(10), what(house)).await;
            house.stands();
            outcome.expect("it took more than ten minutes")
        })
    })
}

/// A runtime whose clock stands still unless everybody waits.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets can be had")
}

impl House {
    async fn new() -> Self {
        let quiet = sim::Options {
            meter_period: Duration::ZERO,
            ..sim::Options::default()
        };
        let sim = SimCore::new(design::venue(), quiet);
        let mirror = Arc::new(Mirror::new(Instant::now()));
        let config = LinkConfig {
            transport: Transport::Tcp,
            named_controls: ["MainGain", "MainMute"]
                .map(|name| name.parse().unwrap())
                .to_vec(),
            ..LinkConfig::default()
        };
        let pipe = Pipe {
            sim: sim.clone(),
            serving: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        let stop = Stop::new();
        let link = link::spawn(
            config,
            Arc::new(pipe),
            mirror.clone(),
            stop.clone(),
            &mut tasks,
        );
        let live = async {
            link.watch_status()
                .wait_for(|status| status.state == LinkState::Live)
                .await
                .expect("the link runs");
        };
        timeout(Duration::from_mins(1), live)
            .await
            .expect("the simulated Core can be learnt");
        let core = System::new("core".into(), link, mirror);
        let services: Vec<Arc<dyn Service>> =
            vec![Arc::new(QsysService::new(vec![core], Arc::new(policy())))];
        let info = ServerInfo {
            name: "rackhand",
            title: "rackhand".to_owned(),
            version: "0",
            instructions: "Read before you write.".to_owned(),
        };
        let server = Arc::new(Server::new(&services, info).unwrap());
        let person = NewKey::new("operator", Role::Operator);
        let guard = Guard::new(KeySource::memory(&[(person, Secret::new(KEY))])).unwrap();
        let origins = OriginRules::new([], ["https://panel.example".to_owned()]);
        let front = Front::new(
            Arc::clone(&server),
            Arc::new(guard),
            Arc::new(Healthy),
            origins,
            Limits::default(),
        );
        Self {
            front: Arc::new(front),
            server,
            caller: Caller::local("operator", Role::Operator),
            stop,
            sim,
            tasks,
        }
    }

    /// The link runs, and nothing reached the Core that the rules forbid.
    fn stands(&mut self) {
        if let Some(ended) = self.tasks.try_join_next() {
            panic!("a part ended: {ended:?}");
        }
        for write in self.sim.writes() {
            let name = (write.component.as_str(), write.control.as_str());
            assert!(
                !PROTECTED.contains(&name),
                "a protected control was written: {write:?}"
            );
            let value: Option<f64> = write.wish.parse().ok();
            if name.1.ends_with("ain")
                && let Some(value) = value
            {
                assert!(value <= CEILING, "a ceiling was passed: {write:?}");
            }
        }
    }
}

fn policy() -> Policy {
    let ceiling = |pattern: &str| Ceiling {
        pattern: pattern.to_owned(),
        max_value: CEILING,
        max_step_up: None,
    };
    Policy::new(&SafetyConfig {
        writes: true,
        protected: PROTECTED
            .map(|(component, control)| {
                if component.is_empty() {
                    control.to_owned()
                } else {
                    format!("{component}/{control}")
                }
            })
            .to_vec(),
        snapshots: true,
        ceilings: vec![ceiling("*gain")],
    })
    .unwrap()
}
