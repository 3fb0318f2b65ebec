//! A link, what it tells, and the simulated Core at its other end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rackhand::base::shutdown::Stop;
use rackhand::link::dial::ByteStream;
use rackhand::link::{
    BreakerState, CommandError, CoreAddress, Dial, Link, LinkConfig, LinkState, LinkStatus,
    Transport,
};
use rackhand::model::change::ChangeSink;
use rackhand::model::name::{ComponentName, ControlRef};
use rackhand::sim::SimCore;
use rackhand::sim::listen::Identity;
use rackhand::wire::qrc::{
    ComponentFacts, ControlChange, ControlFacts, EngineStatus, Scalar, SetItem,
};
use tokio::io::duplex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// What the sink heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Design codes, in order.
    pub(crate) designs: Vec<String>,
    /// Components of the last design, with their number of controls.
    pub(crate) components: BTreeMap<String, usize>,
    /// Last value of everything, as `Component/control`.
    pub(crate) values: BTreeMap<String, f64>,
    /// Times that the link went stale.
    pub(crate) stale: usize,
    /// When everything was last confirmed.
    pub(crate) confirmed: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Heard>);

impl ChangeSink for Recorder {
    fn design_began(&self, engine: &EngineStatus, _now: Instant) {
        let mut heard = self.0.lock();
        heard.designs.push(engine.design_code.clone());
        heard.components.clear();
        heard.values.clear();
    }

    fn component(&self, facts: &ComponentFacts, controls: &[ControlFacts<'_>], _now: Instant) {
        let mut heard = self.0.lock();
        heard.components.insert(facts.name.clone(), controls.len());
    }

    fn named_control(&self, _name: &str, _now: Instant) {}

    fn design_ended(&self, _now: Instant) {}

    fn values(&self, changes: &[ControlChange<'_>], _now: Instant) {
        let mut heard = self.0.lock();
        for change in changes {
            let component = change.component.as_ref().map_or("", |name| name.as_str());
            let value = change.value.as_ref().and_then(Scalar::as_number);
            let name = format!("{component}/{}", change.name.as_str());
            heard.values.insert(name, value.unwrap_or(f64::NAN));
        }
    }

    fn confirmed(&self, now: Instant) {
        self.0.lock().confirmed = Some(now);
    }

    fn went_stale(&self, _now: Instant) {
        self.0.lock().stale += 1;
    }
}

impl Recorder {
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.0.lock().values.get(name).copied()
    }

    pub(crate) fn stale(&self) -> usize {
        self.0.lock().stale
    }

    pub(crate) fn components(&self) -> BTreeSet<String> {
        self.0.lock().components.keys().cloned().collect()
    }
}

/// The network: hosts by name, each a simulated Core with its services.
#[derive(Debug)]
pub(crate) struct Network {
    hosts: BTreeMap<String, SimCore>,
    identity: Mutex<Identity>,
    /// When somebody connected, or tried to.
    pub(crate) dialled: Mutex<Vec<Instant>>,
    serving: Mutex<JoinSet<()>>,
}

impl Network {
    /// The Cores get a new certificate, as after a reset to factory settings.
    pub(crate) fn change_certificate(&self) -> String {
        let identity = Identity::self_signed().unwrap();
        let fingerprint = identity.fingerprint();
        *self.identity.lock() = identity;
        fingerprint
    }

    pub(crate) fn dialled_since(&self, since: Instant) -> usize {
        let dialled = self.dialled.lock();
        dialled.iter().filter(|at| **at >= since).count()
    }
}

impl Dial for Network {
    fn dial(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        self.dialled.lock().push(Instant::now());
        let core = self.hosts.get(&host).filter(|core| core.accepts()).cloned();
        let Some(core) = core else {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        };
        let (here, there) = duplex(64 << 10);
        let acceptor = self.identity.lock().acceptor().clone();
        self.serving.lock().spawn(async move {
            match port {
                443 => {
                    if let Ok(stream) = acceptor.accept(there).await {
                        core.serve_websocket(stream).await;
                    }
                }
                80 => core.serve_websocket(there).await,
                _ => core.serve_tcp(there).await,
            }
        });
        Box::pin(async move {
            let stream: Box<dyn ByteStream> = Box::new(here);
            Ok(stream)
        })
    }
}

/// A running link.
pub(crate) struct Bed {
    pub(crate) link: Link,
    pub(crate) sink: Arc<Recorder>,
    pub(crate) network: Arc<Network>,
    stop: Stop,
    tasks: JoinSet<&'static str>,
}

impl Bed {
    /// A link to one Core, over plain WebSocket, not yet live.
    pub(crate) fn to(sim: &SimCore) -> Self {
        Self::with(
            &[("core", sim)],
            LinkConfig {
                transport: Transport::Ws,
                ..LinkConfig::default()
            },
        )
    }

    /// A link to one Core or a pair.
    pub(crate) fn with(cores: &[(&str, &SimCore)], config: LinkConfig) -> Self {
        let hosts = cores
            .iter()
            .map(|(name, core)| ((*name).to_owned(), (*core).clone()));
        let addresses = cores
            .iter()
            .map(|(name, _)| name.parse::<CoreAddress>().unwrap());
        let network = Arc::new(Network {
            hosts: hosts.collect(),
            identity: Mutex::new(Identity::self_signed().unwrap()),
            dialled: Mutex::default(),
            serving: Mutex::default(),
        });
        let sink = Arc::new(Recorder::default());
        let stop = Stop::new();
        let mut tasks = JoinSet::new();
        let config = LinkConfig {
            addresses: addresses.collect(),
            ..config
        };
        let dial: Arc<dyn Dial> = network.clone();
        let link = rackhand::link::spawn(config, dial, sink.clone(), stop.clone(), &mut tasks);
        Self {
            link,
            sink,
            network,
            stop,
            tasks,
        }
    }

    /// A link to one Core over plain WebSocket, live.
    pub(crate) async fn live(sim: &SimCore) -> Self {
        let bed = Self::to(sim);
        bed.reaches(LinkState::Live, Duration::from_secs(10)).await;
        bed
    }

    /// Waits until the status is as wished, and gives how long that took.
    pub(crate) async fn sees(
        &self,
        within: Duration,
        wish: impl FnMut(&LinkStatus) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        let mut status = self.link.watch_status();
        let seen = timeout(within, status.wait_for(wish)).await.is_ok();
        assert!(
            seen,
            "not within {within:?}; the link stands so: {:#?}",
            self.link.status()
        );
        begun.elapsed()
    }

    pub(crate) async fn reaches(&self, state: LinkState, within: Duration) -> Duration {
        self.sees(within, |status| status.state == state).await
    }

    /// Waits until the link is not live.
    pub(crate) async fn drops(&self, within: Duration) -> Duration {
        self.sees(within, |status| status.state != LinkState::Live)
            .await
    }

    /// Waits until the sink heard a value, and gives how long that took.
    pub(crate) async fn hears(&self, name: &str, value: f64, within: Duration) -> Duration {
        let begun = Instant::now();
        while !self
            .sink
            .value(name)
            .is_some_and(|heard| (heard - value).abs() < 1e-6)
        {
            assert!(
                begun.elapsed() < within,
                "{name} is {:?} and not {value}",
                self.sink.value(name)
            );
            sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    }

    /// Sets a gain by a command.
    pub(crate) async fn set(
        &self,
        component: &str,
        control: &str,
        value: f64,
    ) -> Result<f64, CommandError> {
        set(&self.link, component, control, value).await
    }

    pub(crate) fn breaker(&self) -> BreakerState {
        self.link.status().breaker
    }

    /// Stops the link and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        assert_eq!(self.tasks.join_next().await.unwrap().unwrap(), "link");
    }
}

pub(crate) async fn set(
    link: &Link,
    component: &str,
    control: &str,
    value: f64,
) -> Result<f64, CommandError> {
    let component: ComponentName = component.parse().unwrap();
    let item = SetItem {
        name: control.to_owned(),
        value: Some(Scalar::Number(value)),
        ..SetItem::default()
    };
    let states = link.set_component(&component, vec![item]).await?;
    Ok(states
        .first()
        .and_then(|state| state.value.as_ref()?.as_number())
        .unwrap_or(f64::NAN))
}

pub(crate) fn control(component: &str, control: &str) -> ControlRef {
    ControlRef {
        component: Some(component.parse().unwrap()),
        control: control.parse().unwrap(),
    }
}
