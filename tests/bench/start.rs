//! From the start of the process to the first answer with last-known state.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rackhand::base::shutdown::Stop;
use rackhand::store::Store;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::load::tool_call;
use crate::program::{self, PATIENCE, Site};
use crate::table::{Row, median, range};
use crate::{Scale, clock, design};

const CONTROLS: usize = 50_000;

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let starts = scale.pick(15, 3);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Nobody listens there: what is answered can only come from the store.
        let site = Site::new(program::free_port()?)?;
        fill(&site.data()).await?;

        let last = design::component_name(CONTROLS / design::CONTROLS_PER - 1);
        let wanted = json!({"controls": [{"component": last, "control": design::control_name(0)}]});
        let request = tool_call(site.listen, &site.key, "qsys_get_controls", &wanted);
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..starts {
            let begun = Instant::now();
            let program = site.run()?;
            program::until(site.listen, &request, Duration::from_millis(1), |answer| {
                answer["result"]["structuredContent"]["controls"][0]["quality"] == "stale"
            })
            .await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            memory.push(clock::rss_of(program.pid())? as f64 / f64::from(1 << 20));
            program.stop()?;
        }
        let (low, high) = range(&times);
        Ok(vec![Row {
            what: format!("`rackhand run`: start of the process to the first answer with last-known state, {CONTROLS} controls (time on the clock)"),
            reach: "≤ 250 ms",
            measured: format!(
                "**{:.0} ms** ({low:.0} to {high:.0} over {starts} starts); {:.0} MiB RSS then",
                median(&times),
                median(&memory)
            ),
            is_reached: Some(median(&times) <= 250.0),
            only: "start",
        }])
    })
}

/// A store in which a whole design is.
async fn fill(folder: &Path) -> Result<()> {
    let opened = Store::open(folder, &["core"], Instant::now())?;
    for mirror in &opened.mirrors {
        design::tell(&**mirror, CONTROLS);
    }
    let mut status = opened.store.watch_status();
    let stop = Stop::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(opened.store.run(stop.clone()));
    let is_written = status.wait_for(|status| status.last_flush.is_some() && status.queue == 0);
    timeout(PATIENCE, is_written)
        .await
        .context("the store does not write")??;
    stop.cancel();
    tasks.join_all().await;
    Ok(())
}
