//! What a mirrored control costs in memory.

use std::sync::Arc;

use anyhow::Result;
use rackhand::model::change::ChangeSink as _;
use rackhand::store::Mirror;
use rackhand::wire::poll::read_frame;
use tokio::time::Instant;

use crate::child::{self, Role};
use crate::design::{self, Mix};
use crate::random::Random;
use crate::table::Row;
use crate::{Scale, clock};

const CONTROLS: usize = 50_000;

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let changes = scale.pick(2_000_000, 300_000);
    let mut role = Role::start(&["memory", &changes.to_string()])?;
    let told: f64 = role.hear()?.parse()?;
    let moved: f64 = role.hear()?.parse()?;
    Ok(vec![Row {
        what: format!("Memory per mirrored control, mirror of {CONTROLS} controls alone"),
        reach: "≤ 100 bytes RSS",
        measured: format!("**{told:.0}** bytes; {moved:.0} after {changes} changes"),
        is_reached: Some(told <= 100.0 && moved <= 100.0),
        only: "memory",
    }])
}

/// The process that is measured.
pub(crate) fn role(arguments: &[String]) -> Result<()> {
    let changes: usize = arguments.first().map_or(Ok(0), |text| text.parse())?;
    let pid = std::process::id();
    // What the tellers use for themselves is touched before the first reading, with a mirror that stays small.
    let mut random = Random(3);
    let small = Mirror::new(Instant::now());
    design::tell(&small, design::CONTROLS_PER);
    apply(&small, CONTROLS, &mut random)?;
    let before = clock::rss_of(pid)?;
    let mirror = Arc::new(Mirror::new(Instant::now()));
    design::tell(&*mirror, CONTROLS);
    let each = |rss: u64| rss.saturating_sub(before) as f64 / CONTROLS as f64;
    child::say(each(clock::rss_of(pid)?));
    for _ in 0..changes / 1_000 {
        apply(&mirror, CONTROLS, &mut random)?;
    }
    child::say(each(clock::rss_of(pid)?));
    anyhow::ensure!(
        mirror.status().controls == CONTROLS,
        "the mirror lost controls"
    );
    Ok(())
}

fn apply(mirror: &Mirror, controls: usize, random: &mut Random) -> Result<()> {
    let frame = design::poll(controls, 1, 1_000, Mix::Any, random);
    read_frame(&frame, &mut |batch| mirror.values(batch, Instant::now()))?;
    Ok(())
}
