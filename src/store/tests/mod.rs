//! The store as its owner sees it: what is written when, and what a restart brings back.

mod damage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::Disk;
use super::mirror::tests::{change, engine, id, reading, tell};
use super::*;
use crate::base::shutdown::Stop;
use crate::limits::{DIRTY_WAKES, STORE_INTERVAL};
use crate::model::change::ChangeSink;
use crate::model::control::Quality;

const CORE: &str = "core";
const ROUND: Duration = Duration::from_secs(30);
const COMPONENTS: usize = 40;

fn open(dir: &Path) -> Opened {
    Store::open(dir, &[CORE], Instant::now()).unwrap()
}

/// Forty components of three controls, the value of each its component's number plus `offset`; one is a meter.
fn design(mirror: &Mirror, code: &str, offset: f64) {
    let now = Instant::now();
    mirror.design_began(&engine(code), now);
    for n in 0..COMPONENTS {
        let value = f64::from(u32::try_from(n).unwrap()) + offset;
        let controls = [
            ("gain", "Float", "Read/Write", value),
            ("mute", "Boolean", "Read/Write", 1.0),
            ("meter.1", "Float", "Read Only", -20.0),
        ];
        tell(mirror, &format!("Gain {n}"), "gain", &controls, now);
    }
    mirror.named_control("MainVolume", now);
    mirror.design_ended(now);
    change(mirror, None, "MainVolume", 0.25, now);
}

/// A folder with a store of that design, written and closed.
async fn stored() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let Opened { mut store, mirrors } = open(dir.path());
    design(&mirrors[0], "a", 0.0);
    store.round(ROUND).await;
    assert_eq!(store.status.borrow().fault, None);
    dir
}

fn status(store: &Store) -> StoreStatus {
    store.status.borrow().clone()
}

fn generation(dir: &Path) -> PathBuf {
    let name = fs::read_to_string(dir.join("state/CURRENT")).unwrap();
    dir.join("state").join(name)
}

/// How many gains came back. None may be wrong.
fn restored(mirror: &Mirror) -> usize {
    let now = Instant::now();
    let is_there = |n: &usize| id(mirror, Some(&format!("Gain {n}")), "gain").is_some();
    let there = (0..COMPONENTS).filter(is_there);
    there
        .inspect(|n| {
            let gain = reading(mirror, &format!("Gain {n}"), "gain", now);
            assert_eq!(gain.value, Some(f64::from(u32::try_from(*n).unwrap())));
            assert_eq!((gain.quality, gain.age), (Quality::Stale, None));
        })
        .count()
}

#[tokio::test]
async fn a_restart_serves_the_last_known_state_as_stale() {
    let dir = stored().await;
    let Opened { store, mirrors } = open(dir.path());
    let mirror = &mirrors[0];
    assert_eq!(restored(mirror), COMPONENTS);
    let gain = mirror
        .control(id(mirror, Some("Gain 7"), "gain").unwrap())
        .unwrap();
    assert_eq!(
        (
            gain.range,
            gain.reading.string.as_str(),
            gain.reading.position
        ),
        (Some((-100.0, 20.0)), "7dB", Some(0.5))
    );
    let meter = mirror
        .control(id(mirror, Some("Gain 7"), "meter.1").unwrap())
        .unwrap();
    assert_eq!(
        (meter.is_meter, meter.reading.quality, meter.reading.value),
        (true, Quality::Unknown, None)
    );
    assert_eq!(mirror.named_controls()[0].reading.value, Some(0.25));
    let facts = mirror.component("Gain 7").unwrap();
    assert_eq!(
        (facts.kind.as_str(), facts.controls, facts.properties.len()),
        ("gain", 3, 1)
    );
    assert_eq!(mirror.status().engine, Some(engine("a").into()));
    assert_eq!(
        (status(&store).counters.starts, status(&store).quarantined),
        (2, None)
    );
}

#[tokio::test]
async fn the_same_design_confirms_what_was_restored_and_another_one_drops_it() {
    let dir = stored().await;
    let Opened { mut store, mirrors } = open(dir.path());
    design(&mirrors[0], "a", 0.0);
    assert_eq!(mirrors[0].status().generation, 0);
    assert_eq!(
        reading(&mirrors[0], "Gain 1", "gain", Instant::now()).quality,
        Quality::Live
    );
    let before = generation(dir.path());
    design(&mirrors[0], "b", 0.5);
    store.round(ROUND).await;
    assert_ne!(generation(dir.path()), before);
    assert!(!before.exists());
    drop((store, mirrors));
    let Opened { mirrors, .. } = open(dir.path());
    assert_eq!(mirrors[0].status().engine, Some(engine("b").into()));
    assert_eq!(
        reading(&mirrors[0], "Gain 1", "gain", Instant::now()).value,
        Some(1.5)
    );
}

#[tokio::test]
async fn a_design_half_told_is_not_stored_and_nothing_of_it_mixes_with_the_last_one() {
    let dir = stored().await;
    let Opened { mut store, mirrors } = open(dir.path());
    let now = Instant::now();
    mirrors[0].design_began(&engine("b"), now);
    tell(
        &mirrors[0],
        "Other",
        "gain",
        &[("gain", "Float", "Read/Write", 99.0)],
        now,
    );
    mirrors[0].went_stale(now);
    store.round(ROUND).await;
    drop((store, mirrors));
    assert_eq!(restored(&open(dir.path()).mirrors[0]), COMPONENTS);
}

/// Every file of a folder with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let facts = entry.metadata().unwrap();
        if facts.is_dir() {
            found.append(&mut files(&entry.path()));
        } else {
            found.insert(
                entry.path(),
                (fs::read(entry.path()).unwrap(), facts.modified().unwrap()),
            );
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn while_nothing_changes_nothing_is_written_and_a_moving_meter_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { store, mirrors } = open(dir.path());
    let mirror = Arc::clone(&mirrors[0]);
    design(&mirror, "a", 0.0);
    let (stop, watched) = (Stop::new(), store.watch_status());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(store.run(stop.clone()));
    tokio::time::sleep(STORE_INTERVAL * 3).await;
    let (before, flushed) = (files(dir.path()), watched.borrow().last_flush);
    for n in 0..50 {
        change(
            &mirror,
            Some("Gain 1"),
            "meter.1",
            f64::from(n),
            Instant::now(),
        );
        tokio::time::sleep(STORE_INTERVAL).await;
    }
    assert_eq!(watched.borrow().last_flush, flushed);
    assert_eq!(files(dir.path()), before);
    change(&mirror, Some("Gain 1"), "gain", 1.5, Instant::now());
    tokio::time::sleep(STORE_INTERVAL * 2).await;
    assert!(watched.borrow().last_flush > flushed);
    change(&mirror, Some("Gain 1"), "gain", 2.5, Instant::now());
    stop.cancel();
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), "store writer");
    let reopened = open(dir.path());
    assert_eq!(
        reading(&reopened.mirrors[0], "Gain 1", "gain", Instant::now()).value,
        Some(2.5)
    );
}

#[tokio::test(start_paused = true)]
async fn many_changes_wake_the_writer_before_its_interval_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { store, mirrors } = open(dir.path());
    let watched = store.watch_status();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(store.run(Stop::new()));
    tokio::time::sleep(STORE_INTERVAL + Duration::from_secs(1)).await;
    let before = watched.borrow().last_flush;
    let now = Instant::now();
    mirrors[0].design_began(&engine("a"), now);
    let names: Vec<String> = (0..DIRTY_WAKES).map(|n| n.to_string()).collect();
    let controls: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "Float", "", 1.0))
        .collect();
    tell(&mirrors[0], "Big", "gain", &controls, now);
    mirrors[0].design_ended(now);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(watched.borrow().last_flush > before);
}

#[tokio::test]
async fn a_file_that_grew_too_large_is_written_anew() {
    let dir = stored().await;
    let Opened { mut store, mirrors } = open(dir.path());
    let before = generation(dir.path());
    store.disk.max_bytes = 1;
    change(&mirrors[0], Some("Gain 0"), "mute", 0.0, Instant::now());
    store.round(ROUND).await;
    assert_ne!(generation(dir.path()), before);
    drop((store, mirrors));
    assert_eq!(restored(&open(dir.path()).mirrors[0]), COMPONENTS);
}

#[tokio::test]
async fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = stored().await;
    let others = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
    for path in files(dir.path())
        .into_keys()
        .chain([generation(dir.path()), dir.path().join("state")])
    {
        assert_eq!(others(&path), 0, "{}", path.display());
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_folder() {
    let dir = stored().await;
    let first = open(dir.path());
    let second = Store::open(dir.path(), &[CORE], Instant::now()).unwrap_err();
    assert!(
        second
            .to_string()
            .contains("another rackhand uses the data folder"),
        "{second}"
    );
    drop(first);
    open(dir.path());
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused_and_not_touched() {
    let dir = stored().await;
    let state = generation(dir.path());
    let mut database = database::Database::open(&state).unwrap();
    database
        .put(
            schema::META,
            schema::FORMAT_KEY,
            &schema::key(schema::FORMAT + 1),
        )
        .unwrap();
    database.sync().unwrap();
    drop(database);
    let refused = Store::open(dir.path(), &[CORE], Instant::now()).unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{refused}"
    );
    assert!(state.exists());
}

#[tokio::test]
async fn a_record_of_an_unknown_version_costs_itself_and_is_counted() {
    let dir = stored().await;
    let mut database = database::Database::open(&generation(dir.path())).unwrap();
    let tree = schema::Tree::Values.of(CORE);
    let (key, _) = database
        .tree(&tree)
        .unwrap()
        .iter()
        .next()
        .unwrap()
        .unwrap();
    database.put(&tree, &key, &[200, 1, 2, 3]).unwrap();
    database.sync().unwrap();
    drop(database);
    let Opened { store, mirrors } = open(dir.path());
    assert_eq!(
        (status(&store).dropped, status(&store).quarantined),
        (1, None)
    );
    assert_eq!(mirrors[0].status().controls, COMPONENTS * 3);
}

#[tokio::test]
async fn a_writer_that_did_not_come_back_is_replaced_by_a_new_generation() {
    let dir = stored().await;
    let Opened { mut store, mirrors } = open(dir.path());
    let before = generation(dir.path());
    let lost = Disk::lost(&store.disk);
    drop(std::mem::replace(&mut store.disk, lost));
    store.round(ROUND).await;
    assert_eq!(status(&store).fault, None);
    assert_ne!(generation(dir.path()), before);
    drop((store, mirrors));
    assert_eq!(restored(&open(dir.path()).mirrors[0]), COMPONENTS);
}
