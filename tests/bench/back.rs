//! From a Core that is back to a link that is live and a mirror that is fresh.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{self, BoxFuture};
use parking_lot::Mutex;
use rackhand::base::shutdown::Stop;
use rackhand::link::dial::ByteStream;
use rackhand::link::{self, Dial, Link, LinkConfig, LinkState, NetDial, Transport};
use rackhand::model::control::Quality;
use rackhand::model::name::ControlRef;
use rackhand::sim::listen::{Addresses, Identity, Listening};
use rackhand::sim::{Options, SimCore, design};
use rackhand::store::Mirror;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::Scale;
use crate::program::PATIENCE;
use crate::random::Random;
use crate::table::{Row, median, range};

const COMPONENTS: u32 = 100;
const CONTROLS_PER: u32 = 50;
const COMPONENT: &str = "Block 100";
const CONTROL: &str = "channel.49.gain";

/// Blinks of one link in a row. The fifth within half a minute of the one before opens the breaker, whose rest is another promise.
const BLINKS_IN_A_ROW: usize = 4;

/// A simulated Core, and a link to it.
struct Bed {
    core: SimCore,
    link: Link,
    mirror: Arc<Mirror>,
    stop: Stop,
    /// What a person moved the control to, last.
    value: f64,
    _tasks: JoinSet<&'static str>,
}

/// A way to a simulated Core through memory.
#[derive(Debug)]
struct Pipes {
    core: SimCore,
    connections: Mutex<JoinSet<()>>,
}

impl Dial for Pipes {
    fn dial(
        &self,
        _host: String,
        _port: u16,
    ) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        if !self.core.accepts() {
            return Box::pin(future::ready(Err(io::ErrorKind::ConnectionRefused.into())));
        }
        let (near, far) = tokio::io::duplex(64 << 10);
        let core = self.core.clone();
        self.connections
            .lock()
            .spawn(async move { core.serve_websocket(far).await });
        let near: Box<dyn ByteStream> = Box::new(near);
        Box::pin(future::ready(Ok(near)))
    }
}

impl Bed {
    /// On a real socket.
    async fn start() -> Result<Self> {
        let core = SimCore::new(
            design::generated(COMPONENTS, CONTROLS_PER),
            Options::default(),
        );
        let stop = Stop::new();
        let mut tasks = JoinSet::new();
        let addresses = Addresses {
            websocket: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            ..Addresses::default()
        };
        let listening = Listening::bind(&core, &addresses, Identity::self_signed()?).await?;
        let address = listening.addresses().websocket.context("no address")?;
        let stopped = stop.clone();
        tasks.spawn(async move {
            listening.serve(stopped).await;
            "core"
        });
        Self::with(core, Arc::new(NetDial), &address.to_string(), stop, tasks).await
    }

    /// Through memory, in time that runs on when nobody works.
    async fn start_paused() -> Result<Self> {
        let core = SimCore::new(
            design::generated(COMPONENTS, CONTROLS_PER),
            Options::default(),
        );
        let dial = Pipes {
            core: core.clone(),
            connections: Mutex::default(),
        };
        Self::with(core, Arc::new(dial), "core", Stop::new(), JoinSet::new()).await
    }

    async fn with(
        core: SimCore,
        dial: Arc<dyn Dial>,
        address: &str,
        stop: Stop,
        mut tasks: JoinSet<&'static str>,
    ) -> Result<Self> {
        let mirror = Arc::new(Mirror::new(Instant::now()));
        let config = LinkConfig {
            addresses: vec![address.parse()?],
            transport: Transport::Ws,
            ..LinkConfig::default()
        };
        let link = link::spawn(config, dial, mirror.clone(), stop.clone(), &mut tasks);
        let mut bed = Self {
            core,
            link,
            mirror,
            stop,
            value: 0.0,
            _tasks: tasks,
        };
        bed.fresh().await?;
        Ok(bed)
    }

    /// Waits until the link is live and the mirror has what a person has done meanwhile.
    async fn fresh(&mut self) -> Result<()> {
        let control: ControlRef = ControlRef {
            component: Some(COMPONENT.parse()?),
            control: CONTROL.parse()?,
        };
        let is_fresh = || {
            let reading = self
                .mirror
                .find(&control)
                .and_then(|id| self.mirror.reading(id));
            self.link.state() == LinkState::Live
                && self.mirror.status().quality == Quality::Live
                && reading.is_some_and(|reading| {
                    reading.value == Some(self.value) && reading.quality == Quality::Live
                })
        };
        timeout(4 * PATIENCE, async {
            while !is_fresh() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .with_context(|| format!("the link did not come back: {:?}", self.link.status()))
    }

    async fn lost(&self) -> Result<()> {
        timeout(PATIENCE, async {
            while self.link.state() == LinkState::Live {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .context("the link did not notice")
    }

    /// The connections end and the Core is there at once.
    async fn blink(&mut self, number: usize) -> Result<f64> {
        let begun = Instant::now();
        self.core.drop_connections();
        self.move_it(number)?;
        self.lost().await?;
        self.fresh().await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// The Core is away for a time: refuses at first, then accepts and closes.
    async fn reboot(&mut self, length: Duration) -> Result<f64> {
        let begun = Instant::now();
        self.core.reboot(length);
        self.move_it(7)?;
        self.lost().await?;
        self.fresh().await?;
        Ok(begun.elapsed().saturating_sub(length).as_secs_f64())
    }

    /// A person moves a control while nobody looks.
    fn move_it(&mut self, number: usize) -> Result<()> {
        self.value = -1.0 - (number % 50) as f64;
        ensure!(
            self.core.set_value(COMPONENT, CONTROL, self.value),
            "the Core has no {CONTROL}"
        );
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let mut rows = on_the_clock(scale)?;
    rows.push(reboots_by_chance(scale.pick(200, 10))?);
    Ok(rows)
}

fn on_the_clock(scale: &Scale) -> Result<Vec<Row>> {
    let blinks = scale.pick(5, 1);
    let reboots: &[u64] = scale.pick(&[3, 10, 20, 45, 60, 75, 90, 90], &[4, 8]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut blinked = Vec::new();
        for _ in 0..blinks {
            let mut bed = Bed::start().await?;
            for number in 0..BLINKS_IN_A_ROW {
                blinked.push(bed.blink(number).await?);
            }
        }
        let mut under_way = JoinSet::new();
        for &length in reboots {
            let mut bed = Bed::start().await?;
            under_way.spawn(async move { bed.reboot(Duration::from_secs(length)).await });
        }
        let mut rebooted = Vec::new();
        while let Some(took) = under_way.join_next().await {
            rebooted.push(took??);
        }
        let lengths: Vec<_> = reboots.iter().map(ToString::to_string).collect();
        let reboot = format!("Core back after {} s away to live and fresh, over a real socket (time on the clock)", lengths.join(", "));
        Ok(vec![
            row("Link blinked up to four times in a row, Core there, to live and fresh, over a real socket (time on the clock)", "≤ 3 s", &blinked, 3.0),
            row(&reboot, "≤ 15 s", &rebooted, 15.0),
        ])
    })
}

/// Many reboots, of lengths and at distances that chance chooses.
fn reboots_by_chance(count: usize) -> Result<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let mut random = Random(5);
        let mut bed = Bed::start_paused().await?;
        let mut times = Vec::new();
        for _ in 0..count {
            let up = Duration::from_millis(random.below(60_000) as u64);
            sleep(up).await;
            let length = Duration::from_millis(1_000 + random.below(119_000) as u64);
            times.push(bed.reboot(length).await?);
        }
        Ok(row(
            "Core back after 1 to 120 s away, up for 0 to 60 s in between, to live and fresh (the link's own time, paused while it works)",
            "≤ 15 s",
            &times,
            15.0,
        ))
    })
}

fn row(what: &str, reach: &'static str, times: &[f64], most: f64) -> Row {
    let (low, high) = range(times);
    Row {
        what: format!("{what}, {} controls", COMPONENTS * CONTROLS_PER),
        reach,
        measured: format!(
            "**{high:.1} s** worst ({low:.1} to {high:.1}, median {:.1}, of {})",
            median(times),
            times.len()
        ),
        is_reached: Some(high <= most),
        only: "back",
    }
}
