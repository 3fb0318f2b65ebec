//! The store is killed at random moments, a hundred times. It always opens again, and what it had said to be written is there.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets a surprise has to fail loudly"
)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rackhand::base::shutdown::Stop;
use rackhand::model::change::ChangeSink;
use rackhand::store::{Mirror, Store};
use rackhand::wire::qrc::{ComponentFacts, ControlChange, Controls, EngineStatus, Scalar};
use tokio::time::Instant;

const CONTROLS: u32 = 300;
const DIR: &str = "RACKHAND_STORE_KILL_DIR";

/// As many as are asked for, or a hundred.
fn kills() -> u64 {
    let asked = std::env::var("RACKHAND_TEST_KILLS").ok();
    asked.map_or(100, |kills| kills.parse().unwrap())
}

fn told(folder: &Path) -> PathBuf {
    folder.join("told")
}

fn tell_design(mirror: &Mirror) {
    let now = Instant::now();
    let engine: EngineStatus =
        serde_json::from_str(r#"{"State":"Active","DesignName":"Hall","DesignCode":"a"}"#).unwrap();
    let facts: ComponentFacts = serde_json::from_str(r#"{"Name":"Mix","Type":"mixer"}"#).unwrap();
    let controls: Vec<String> = (0..CONTROLS)
        .map(|n| format!(r#"{{"Name":"c{n}","Type":"Float"}}"#))
        .collect();
    let text = format!(r#"{{"Name":"Mix","Controls":[{}]}}"#, controls.join(","));
    let controls: Controls<'_> = serde_json::from_str(&text).unwrap();
    mirror.design_began(&engine, now);
    ChangeSink::component(mirror, &facts, &controls.controls, now);
    mirror.design_ended(now);
}

/// The smallest and largest value of all controls.
fn values(mirror: &Mirror) -> Option<(f64, f64)> {
    let controls = mirror.component_controls("Mix")?;
    let values = controls
        .iter()
        .map(|control| control.reading.value.unwrap_or(0.0));
    Some(values.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    }))
}

/// The program that is killed: it changes every control, waits until the store says that all is written, notes that, and goes on.
/// Its time is paused, so that the write-behind interval costs none.
#[tokio::test(start_paused = true)]
async fn the_writer_that_is_killed() {
    let Some(folder) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let opened = Store::open(&folder.join("data"), &["core"], Instant::now()).unwrap();
    let mirror = Arc::clone(&opened.mirrors[0]);
    tell_design(&mirror);
    let mut status = opened.store.watch_status();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(opened.store.run(Stop::new()));
    let mut notes = OpenOptions::new()
        .create(true)
        .append(true)
        .open(told(&folder))
        .unwrap();
    let mut turn = values(&mirror).map_or(0.0, |(_, high)| high);
    loop {
        turn += 1.0;
        // Every turn has a moment of its own, after that of the last write.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let changed = Instant::now();
        for n in 0..CONTROLS {
            let mut change = ControlChange::new(Some("Mix".into()), format!("c{n}").into());
            change.value = Some(Scalar::Number(turn));
            mirror.values(&[change], changed);
        }
        let is_written = |status: &rackhand::store::StoreStatus| {
            status.queue == 0 && status.last_flush.is_some_and(|at| at >= changed)
        };
        status.wait_for(is_written).await.unwrap();
        notes.write_all(format!("{turn}\n").as_bytes()).unwrap();
    }
}

/// The program under way; killed, as with `kill -9`, when this value goes.
struct Writer(Child);

impl Writer {
    fn start(folder: &Path) -> Self {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "the_writer_that_is_killed", "--nocapture"]);
        program.env(DIR, folder);
        program.stdout(Stdio::null()).stderr(Stdio::null());
        Self(program.spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Returns when the program has noted something more; half of the deaths are to come while it writes, not while it starts.
fn wait_for_a_turn(folder: &Path) {
    let noted = || fs::metadata(told(folder)).map_or(0, |facts| facts.len());
    let before = noted();
    for _ in 0..3_000 {
        if noted() > before {
            return;
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    panic!("the writer came to nothing in 30 s");
}

#[test]
fn a_hundred_kills_cost_no_start_and_nothing_that_was_written() {
    // In memory where there is such a place: a kill does not ask what had reached the disk.
    let place = ["/dev/shm", "/tmp"].map(Path::new);
    let place = place.iter().find(|place| place.is_dir()).unwrap();
    let folder = tempfile::tempdir_in(place).unwrap();
    let mut seed: u64 = 0x2545_F491_4F6C_DD1D;
    let mut turns = 0.0;
    for kill in 0..kills() {
        let child = Writer::start(folder.path());
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if kill % 2 == 0 {
            wait_for_a_turn(folder.path());
        }
        // Real time: the moment of death is what this test is about.
        thread::park_timeout(Duration::from_millis(seed % 100));
        drop(child);
        let promised = fs::read_to_string(told(folder.path())).unwrap_or_default();
        let promised: f64 = promised
            .lines()
            .last()
            .map_or(0.0, |turn| turn.parse().unwrap());
        let opened = Store::open(&folder.path().join("data"), &["core"], Instant::now()).unwrap();
        let status = opened.store.watch_status().borrow().clone();
        assert_eq!(
            (status.fault, status.quarantined, status.dropped),
            (None, None, 0),
            "kill {kill}"
        );
        let (low, high) = values(&opened.mirrors[0]).unwrap_or_default();
        assert!(
            low >= promised,
            "kill {kill}: {promised} was written, {low} came back"
        );
        assert!(high <= promised + 1.0, "kill {kill}: {high} was never told");
        turns = high;
    }
    assert!(
        turns > 20.0,
        "the writer came to {turns} turns only: nothing was tested"
    );
}
