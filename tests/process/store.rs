//! What is kept on disk, through kills, full disks and folders that cannot be written; and what it takes in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use crate::bed::{Box, Core, PROGRAM, Place, Process, until};

/// Kills in a usual run; `RACKHAND_TEST_KILLS` asks for another number.
const KILLS: usize = 20;

/// Waits until the box has written everything that it knew at this moment: two rounds, for one may have begun before.
async fn stored(core: &Core, served: &Box) {
    for lights in [11, 12] {
        core.tell(&format!("set \"Wall Panel\" lights {lights}"))
            .await;
        let since = Instant::now();
        until("stored", async || {
            let health = served.health().await;
            match health["detail"]["store"]["flushed_ms"].as_u64() {
                Some(age) if u128::from(age) < since.elapsed().as_millis() => Ok(()),
                _ => Err(health.to_string()),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn killed_again_and_again_it_starts_each_time_with_what_was_known() {
    let kills = std::env::var("RACKHAND_TEST_KILLS");
    let kills = kills.map_or(KILLS, |number| number.parse().unwrap());
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("test", "operator").await;
    let mut served = place.serve(&key).await;
    served.reached("live").await;
    stored(&core, &served).await;
    let mut known = vec![served.reading("Hall A Gain", "gain").await["value"].clone()];
    for kill in 0..kills {
        let value = -90.0 + f64::from(u32::try_from(kill).unwrap()) / 4.0;
        core.tell(&format!("set \"Hall A Gain\" gain {value}"))
            .await;
        core.tell(&format!("set \"Wall Panel\" lights {}", kill % 100))
            .await;
        until("the change seen", async || {
            let reading = served.reading("Hall A Gain", "gain").await;
            if reading["value"] == value && reading["quality"] == "live" {
                Ok(())
            } else {
                Err(reading.to_string())
            }
        })
        .await;
        // Every tenth time the box has the time to write; otherwise it dies with the change still in memory, or half written.
        if kill % 10 == 0 {
            stored(&core, &served).await;
            known.clear();
        }
        known.push(json!(value));
        assert!(served.process.signal("KILL").await);
        assert_eq!(served.process.ended().await, None);

        core.tell("refuse on").await;
        served = place.serve(&key).await;
        let reading = served.reading("Hall A Gain", "gain").await;
        assert_eq!(reading["quality"], "stale", "kill {kill}: {reading}");
        assert!(
            known.contains(&reading["value"]),
            "kill {kill}: {} is none of {known:?}",
            reading["value"]
        );
        let overview = served.must("qsys_get_overview", json!({})).await;
        assert_eq!(overview["design"], "Lakeside Convention Centre");
        let health = served.health().await;
        assert!(health["detail"]["store"]["fault"].is_null(), "{health:#}");
        core.tell("refuse off").await;
        served.reached("live").await;
    }
    served.process.stopped().await;
}

/// The box serves and follows the Core, and says what it cannot do.
async fn serves_without_a_store(core: &Core, served: &Box) {
    served.reached("live").await;
    core.tell("set \"Hall A Gain\" gain -44").await;
    until("the change seen", async || {
        let reading = served.reading("Hall A Gain", "gain").await;
        if reading["value"] == -44.0 {
            Ok(())
        } else {
            Err(reading.to_string())
        }
    })
    .await;
    let health = until("the fault told", async || {
        let health = served.health().await;
        if health["detail"]["store"]["fault"].is_string() {
            Ok(health)
        } else {
            Err(health.to_string())
        }
    })
    .await;
    assert_eq!(health["status"], "DEGRADED");
    assert!(
        health["summary"]
            .as_str()
            .unwrap()
            .contains("Nothing is stored"),
        "{health:#}"
    );
}

/// The service with no room for any file: a write to one fails as on a full disk.
fn with_a_full_disk(place: &Place) -> Process {
    let mut command = Command::new("bash");
    command.args([
        "-c",
        "trap '' XFSZ; ulimit -f 0; exec \"$@\"",
        "full",
        PROGRAM,
        "run",
        "--config",
        &place.config(),
    ]);
    Process::spawn(command)
}

#[tokio::test]
async fn on_a_full_disk_the_first_start_serves_all_the_same() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("test", "operator").await;
    let served = Box::of(with_a_full_disk(&place), &key).await;
    serves_without_a_store(&core, &served).await;
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn a_disk_that_filled_up_between_two_starts_does_not_cost_what_was_stored() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("test", "operator").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    let known = served.reading("Hall A Gain", "gain").await["value"].clone();
    stored(&core, &served).await;
    served.process.stopped().await;

    let served = Box::of(with_a_full_disk(&place), &key).await;
    serves_without_a_store(&core, &served).await;
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());

    // With room again what was stored before is there, and everything is stored as ever.
    core.tell("refuse on").await;
    let served = place.serve(&key).await;
    let reading = served.reading("Hall A Gain", "gain").await;
    assert_eq!(
        (&reading["value"], &reading["quality"]),
        (&known, &Value::from("stale"))
    );
    assert!(!served.process.said().contains("moved aside"));
    core.tell("refuse off").await;
    served.reached("live").await;
    stored(&core, &served).await;
    served.process.stopped().await;
}

/// The service as a user who may only read what is there. Nothing where no such user can be had.
async fn as_somebody_else(place: &Place) -> Option<Process> {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let can = Command::new("setpriv")
        .args(user)
        .args([PROGRAM, "--version"])
        .output();
    if !can.await.is_ok_and(|ended| ended.status.success()) {
        return None;
    }
    let mut command = Command::new("setpriv");
    command
        .args(user)
        .args([PROGRAM, "run", "--config", &place.config()]);
    Some(Process::spawn(command))
}

fn set_modes(path: &std::path::Path, folder: u32, file: u32) {
    let is_folder = path.is_dir();
    if is_folder {
        for entry in fs::read_dir(path).unwrap() {
            set_modes(&entry.unwrap().path(), folder, file);
        }
    }
    let mode = if is_folder { folder } else { file };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn from_a_folder_that_cannot_be_written_the_box_serves_all_the_same() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("test", "operator").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    stored(&core, &served).await;
    served.process.stopped().await;

    set_modes(place.path(), 0o555, 0o444);
    let probe = place.path().join("data/probe");
    let process = if fs::write(&probe, "x").is_err() {
        Some(Process::start(&["run", "--config", &place.config()]))
    } else {
        // The superuser writes anywhere, so the service runs as somebody else.
        fs::remove_file(probe).unwrap();
        as_somebody_else(&place).await
    };
    if let Some(process) = process {
        let served = Box::of(process, &key).await;
        serves_without_a_store(&core, &served).await;
        let mut process = served.process;
        assert!(process.signal("TERM").await);
        assert_eq!(process.ended().await, Some(0), "{}", process.said());
    }
    set_modes(place.path(), 0o755, 0o644);
}

#[tokio::test]
async fn fifty_thousand_controls_fit_into_the_memory_budget() {
    let core = Core::start(&["--components", "500", "--controls-per", "100"]).await;
    let place = Place::of(&core);
    let key = place.key("test", "operator").await;
    let served = place.serve(&key).await;
    let link = served.reached("live").await;
    assert_eq!(
        (&link["controls"], &link["refused"]),
        (&json!(50_000), &json!(0))
    );
    until("stored", async || {
        let store = served.health().await["detail"]["store"].clone();
        if store["flushed_ms"].is_u64() && store["queue"] == 0 {
            Ok(())
        } else {
            Err(store.to_string())
        }
    })
    .await;
    let status = fs::read_to_string(format!("/proc/{}/status", served.process.pid())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: usize = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("most memory ever: {kib} KiB");
    assert!(
        kib << 10 <= rackhand::limits::MEMORY_BUDGET_BYTES,
        "{kib} KiB"
    );
    served.process.stopped().await;
}
