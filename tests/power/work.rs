//! A box at work: in every turn controls change, lines are noted, and small files are replaced, and each is noted as kept when the part
//! that keeps it says so.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rackhand::audit::{Audit, Kind};
use rackhand::base::file;
use rackhand::base::shutdown::Stop;
use rackhand::config::AuditConfig;
use rackhand::model::change::ChangeSink;
use rackhand::store::{Mirror, Store, StoreStatus};
use rackhand::wire::qrc::{ComponentFacts, ControlChange, Controls, EngineStatus, Scalar};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{COMPONENT, CONTROLS, CORE, text};

/// The small files, as a box names them.
const FILES: [&str; 4] = ["keys.json", "identity.json", "claim.json", "site.toml"];

/// Lines of the audit trail in one turn.
const LINES: u32 = 20;

/// Every so many turns another design comes, and the store is written anew.
const TURNS_OF_A_DESIGN: u32 = 30;

/// Bytes of the audit trail: so few that segments are closed and let go.
pub(crate) const AUDIT_BYTES: u64 = 1 << 20;

/// What was begun and kept. Its writes stand among those of the store in the recording.
struct Told(File);

impl Told {
    fn say(&self, what: &str) {
        (&self.0).write_all(format!("{what}\n").as_bytes()).unwrap();
    }
}

/// Works for `turns` turns, the first of which has the number `first`, and stops in good order.
pub(crate) async fn work(folder: &Path, first: u32, turns: u32) {
    let told = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("told"));
    let told = Told(told.unwrap());
    let data = folder.join("data");
    let opened = Store::open(&data, &[CORE], Instant::now()).unwrap();
    let mirror = Arc::clone(&opened.mirrors[0]);
    let mut status = opened.store.watch_status();
    let config = AuditConfig {
        bytes_max: AUDIT_BYTES,
        clock_file: None,
        ..AuditConfig::default()
    };
    let (audit, keeper) = Audit::new(&config, &data);
    let stop = Stop::new();
    let mut tasks = tokio::task::JoinSet::new();
    let stored = opened.store.run(stop.clone());
    tasks.spawn(async { stored.await.to_owned() });
    let kept = keeper.run(stop.clone());
    tasks.spawn(async { kept.await.to_owned() });
    for turn in first..first + turns {
        // Every turn has a moment of its own, after that of the last write.
        tokio::time::sleep(Duration::from_millis(1)).await;
        told.say(&format!("begin {turn}"));
        let is_all = turn == first || turn.is_multiple_of(TURNS_OF_A_DESIGN);
        let now = Instant::now();
        if is_all {
            tell_design(&mirror, turn, now);
        }
        change(&mirror, turn, is_all, now);
        note(&audit, turn);
        let store = async {
            let starts = stored_since(&mut status, now).await;
            told.say(&format!("starts {starts}"));
            told.say(&format!("store {turn}"));
        };
        let trail = async {
            synced_since(&audit, now).await;
            told.say(&format!("audit {turn}"));
        };
        let files = async {
            let data = data.clone();
            let replaced = tokio::task::spawn_blocking(move || replace(&data, turn));
            replaced.await.unwrap();
            told.say(&format!("files {turn}"));
        };
        tokio::join!(store, trail, files);
    }
    stop.cancel();
    while tasks.join_next().await.is_some() {}
}

fn tell_design(mirror: &Mirror, turn: u32, now: Instant) {
    let engine = json!({"State": "Active", "DesignName": "Hall", "DesignCode": turn.to_string()});
    let engine: EngineStatus = serde_json::from_value(engine).unwrap();
    let facts = json!({"Name": COMPONENT, "Type": "mixer"}).to_string();
    let facts: ComponentFacts = serde_json::from_str(&facts).unwrap();
    let controls = (0..CONTROLS).map(|n| json!({"Name": format!("c{n}"), "Type": "Float"}));
    let controls: Vec<_> = controls.collect();
    let controls = json!({"Name": COMPONENT, "Controls": controls}).to_string();
    let controls: Controls<'_> = serde_json::from_str(&controls).unwrap();
    mirror.design_began(&engine, now);
    ChangeSink::component(mirror, &facts, &controls.controls, now);
    mirror.design_ended(now);
}

/// Changes every third control, or all.
fn change(mirror: &Mirror, turn: u32, is_all: bool, now: Instant) {
    for n in (0..CONTROLS).filter(|n| is_all || (n + turn).is_multiple_of(3)) {
        let mut change = ControlChange::new(Some(COMPONENT.into()), format!("c{n}").into());
        change.value = Some(Scalar::Number(turn.into()));
        change.string = Some(text(n, turn).into());
        mirror.values(&[change], now);
    }
}

fn note(audit: &Audit, turn: u32) {
    for line in 0..LINES {
        let padding = text(line, turn);
        let detail = json!({"turn": turn, "line": line, "lines": LINES, "text": padding});
        audit.note(Kind::Config, None, &detail);
    }
}

fn replace(data: &Path, turn: u32) {
    for (n, name) in (0..).zip(FILES) {
        // From less than a sector to several pages, and never the same length twice in a row.
        let length = (turn * 977 + n * 331) % 9_000;
        let filling = turn.to_string().repeat(usize::try_from(length).unwrap());
        let text = json!({"turn": turn, "file": name, "filling": filling}).to_string();
        file::replace(&data.join(name), text.as_bytes()).unwrap();
    }
}

/// Returns when everything that changed up to `changed` is said to be stored, with the number of starts that is stored with it.
async fn stored_since(status: &mut watch::Receiver<StoreStatus>, changed: Instant) -> u64 {
    let is_stored = |status: &StoreStatus| {
        assert_eq!(status.fault, None);
        status.queue == 0 && status.last_flush.is_some_and(|at| at >= changed)
    };
    let stored = status.wait_for(is_stored).await.unwrap();
    stored.counters.starts
}

/// Returns when everything noted up to `noted` is said to be safe from a power cut.
async fn synced_since(audit: &Audit, noted: Instant) {
    loop {
        let status = audit.status();
        assert_eq!((status.fault, status.lost), (None, 0));
        // Time moves only while no thread is at the disk: a later moment is that of a later round.
        if status.last_sync.is_some_and(|at| at > noted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
