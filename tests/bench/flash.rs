//! Bytes that reach the flash: for changes, and for nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rackhand::base::shutdown::Stop;
use rackhand::model::change::ChangeSink as _;
use rackhand::store::Store;
use rackhand::wire::poll::read_frame;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::child::{self, Role};
use crate::design::{self, Mix};
use crate::random::Random;
use crate::table::Row;
use crate::{Scale, clock};

const CONTROLS: usize = 50_000;

/// Changes a second.
const RATE: usize = 10_000;

/// Changes of one frame.
const CHANGES: usize = 1_000;

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let (changes, idle_secs) = scale.pick((6_000_000, 10), (1_000_000, 3));
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().display().to_string();
    let mut role = Role::start(&["flash", &path, &changes.to_string(), &idle_secs.to_string()])?;
    let said: Vec<f64> = (0..4)
        .map(|_| Ok(role.hear()?.parse()?))
        .collect::<Result<_>>()?;
    let [filled, per_million, idle, idle_day] = said
        .try_into()
        .map_err(|said| anyhow::anyhow!("{said:?}"))?;
    let mix = format!("{CONTROLS} controls, {RATE} changes a second, nine of ten of meters");
    Ok(vec![
        Row {
            what: format!(
                "Bytes written to flash per million control changes ({mix}; meters are not stored)"
            ),
            reach: "≤ 8 MB",
            measured: format!(
                "**{:.1} MB** over {} million changes; the first fill took {:.1} MB",
                per_million / 1e6,
                changes / 1_000_000,
                filled / 1e6
            ),
            is_reached: Some(per_million <= 8e6),
            only: "flash",
        },
        Row {
            what: format!(
                "Bytes written to flash while nothing changes ({idle_secs} s on the clock, then a day of the writer's own time)"
            ),
            reach: "0 B/s",
            measured: format!("**{idle:.0} B**, then {idle_day:.0} B"),
            is_reached: Some(idle + idle_day == 0.0),
            only: "flash",
        },
    ])
}

/// The process that writes. Its time is paused and runs on when nobody works, so that hours of writing take seconds, and are exact.
pub(crate) fn role(arguments: &[String]) -> Result<()> {
    let [folder, changes, idle_secs] = arguments else {
        anyhow::bail!("a folder, changes and seconds are missing");
    };
    let (changes, idle_secs): (usize, u64) = (changes.parse()?, idle_secs.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(work(
        Path::new(folder),
        changes,
        Duration::from_secs(idle_secs),
    ))
}

async fn work(folder: &Path, changes: usize, idle: Duration) -> Result<()> {
    let pid = std::process::id();
    let mut tasks = JoinSet::new();
    let stop = Stop::new();
    let opened = Store::open(folder, &["core"], Instant::now())?;
    let mirror = opened.mirrors.first().context("no mirror")?;
    let status = opened.store.watch_status();
    tasks.spawn(opened.store.run(stop.clone()));
    let settled = || async {
        sleep(Duration::from_secs(60)).await;
        let status = status.borrow().clone();
        ensure!(
            status.queue == 0 && status.fault.is_none(),
            "the store does not write: {status:?}"
        );
        Ok(())
    };

    let start = clock::written_by(pid)?;
    design::tell(&**mirror, CONTROLS);
    settled().await?;
    let filled = clock::written_by(pid)?;
    child::say(filled - start);

    let mut random = Random(4);
    for _ in 0..changes / CHANGES {
        let frame = design::poll(CONTROLS, 1, CHANGES, Mix::Meters, &mut random);
        read_frame(&frame, &mut |batch| mirror.values(batch, Instant::now()))?;
        sleep(Duration::from_secs(1) * u32::try_from(CHANGES)? / u32::try_from(RATE)?).await;
    }
    settled().await?;
    let changed = clock::written_by(pid)?;
    child::say((changed - filled) as f64 * 1e6 / changes as f64);

    // Threads of the database live in real time: they would write here, if they did.
    std::thread::sleep(idle);
    let idled = clock::written_by(pid)?;
    child::say(idled - changed);
    sleep(Duration::from_hours(24)).await;
    child::say(clock::written_by(pid)? - idled);
    stop.cancel();
    tasks.join_all().await;
    Ok(())
}
