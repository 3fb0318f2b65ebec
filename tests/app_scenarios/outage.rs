//! The Core is away, half away, or was away.

use std::collections::BTreeMap;
use std::time::Duration;

use rackhand::sim::{Outage, design};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{Bed, Client, OPEN, change, code};

/// Everything that may be answered while there is no Core to ask.
const HONEST: [&str; 4] = ["LINK_DOWN", "BREAKER_OPEN", "BUSY", "OUTCOME_UNKNOWN"];

/// Tries to write a value of its own until it is written or its outcome unknown; returns every answer.
async fn insists(client: Client, value: f64) -> Vec<Result<Value, Value>> {
    let mut answers = Vec::new();
    loop {
        let wish = change("Foyer Gain", "gain", value);
        let answer = client.call("qsys_set_controls", wish).await;
        let is_done = match &answer {
            Ok(_) => true,
            Err(fault) => fault["code"] == "OUTCOME_UNKNOWN",
        };
        answers.push(answer);
        if is_done {
            return answers;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Reads from the Core itself until that succeeds; returns why it did not.
async fn asks(client: Client) -> Vec<String> {
    let mut faults = Vec::new();
    loop {
        let asked = json!({ "controls": [{ "component": "Foyer Gain", "control": "gain" }], "max_age_ms": 0 });
        let answer = client.call("qsys_get_controls", asked).await.unwrap();
        // A cached value is there at every moment.
        assert!(answer["controls"][0]["value"].is_number());
        match answer.get("refresh_failed") {
            None => return faults,
            Some(fault) => faults.push(fault["code"].as_str().unwrap().to_owned()),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_clients_waiting_for_a_core_that_is_away_are_no_connect_storm() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let (began, seen) = (Instant::now(), bed.sim.connections_seen());
    bed.sim.outage(Outage {
        refuse: Duration::from_secs(90),
        ..Outage::default()
    });
    let mut writers = JoinSet::new();
    let mut readers = JoinSet::new();
    for number in 1..=50_u8 {
        let value = -50.0 - f64::from(number) / 4.0;
        writers.spawn(insists(bed.client("operator"), value));
        readers.spawn(asks(bed.client("viewer")));
    }
    let mut most = 0;
    let answers = async {
        let (mut answers, mut faults) = (Vec::new(), Vec::new());
        while let Some(insisted) = writers.join_next().await {
            answers.extend(insisted.unwrap());
        }
        while let Some(asked) = readers.join_next().await {
            faults.extend(asked.unwrap());
        }
        (answers, faults)
    };
    let mut answers = std::pin::pin!(answers);
    let (answers, faults) = loop {
        tokio::select! {
            both = &mut answers => break both,
            () = sleep(Duration::from_millis(50)) => most = most.max(bed.sim.connections()),
        }
    };
    assert!(most <= 1, "{most} connections at once");
    assert_eq!(bed.sim.connections_seen(), seen + 1);
    let tries = bed.dialled_since(began);
    assert!(tries <= 40, "{tries} attempts in 90 s");
    let since_back = began.elapsed().saturating_sub(Duration::from_secs(90));
    assert!(
        since_back < Duration::from_secs(20),
        "served {since_back:?} after the Core"
    );
    for code in faults {
        assert!(HONEST.contains(&code.as_str()), "{code}");
    }
    let (mut written, mut unknown) = (0, 0);
    for answer in answers {
        match answer {
            Ok(_) => written += 1,
            Err(fault) => {
                let code = fault["code"].as_str().unwrap();
                assert!(HONEST.contains(&code), "{fault:#}");
                unknown += usize::from(code == "OUTCOME_UNKNOWN");
            }
        }
    }
    let mut carried_out = BTreeMap::<String, usize>::new();
    for write in bed.sim.writes() {
        *carried_out.entry(write.wish).or_default() += 1;
    }
    assert!(
        carried_out.values().all(|times| *times == 1),
        "{carried_out:?}"
    );
    assert!((written..=written + unknown).contains(&carried_out.len()));
}

#[tokio::test(start_paused = true)]
async fn what_was_known_is_served_as_stale_after_a_restart_and_fresh_once_the_core_is_back() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let set = change("Hall A Gain", "gain", -11.0);
    bed.call("qsys_set_controls", set).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    bed.sim.refuse(true);
    bed.sim.drop_connections();
    // Somebody moves it while nobody looks.
    assert!(bed.sim.set_value("Hall A Gain", "gain", -17.0));

    let bed = bed.restarted().await;
    let reading = bed.reading("Hall A Gain", "gain").await;
    assert_eq!(
        (&reading["value"], &reading["quality"]),
        (&json!(-11.0), &json!("stale"))
    );
    assert_eq!(bed.client("nobody").get("/readyz").await.status, 200);
    let health = bed.health().await;
    assert_eq!(health["status"], "DEGRADED");
    let overview = bed.call("qsys_get_overview", json!({})).await.unwrap();
    assert_eq!(overview["design"], "Lakeside Convention Centre");
    assert_eq!(overview["quality"], "stale");
    let refused = bed
        .call("qsys_set_controls", change("Hall A Gain", "gain", -3.0))
        .await;
    assert!(HONEST.contains(&code(refused).as_str()));

    bed.sim.refuse(false);
    bed.reached("live").await;
    let reading = bed.reading("Hall A Gain", "gain").await;
    assert_eq!(
        (&reading["value"], &reading["quality"]),
        (&json!(-17.0), &json!("live"))
    );
    assert_eq!(bed.health().await["status"], "HEALTHY");
}

#[tokio::test(start_paused = true)]
async fn a_box_that_never_saw_its_core_says_so_and_does_not_hang() {
    let core = rackhand::sim::SimCore::new(design::venue(), rackhand::sim::Options::default());
    core.refuse(true);
    let bed = Bed::with_cores(&[("hall", core)], OPEN);
    assert_eq!(bed.client("nobody").get("/livez").await.status, 200);
    assert_eq!(bed.client("nobody").get("/readyz").await.status, 503);
    let overview = bed.call("qsys_get_overview", json!({})).await.unwrap();
    assert_eq!(
        (&overview["design"], &overview["components"]),
        (&json!(""), &json!(0))
    );
    let asked = json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }] });
    let fault = bed.call("qsys_get_controls", asked).await.unwrap_err();
    assert!(
        fault["problem"].as_str().unwrap().contains("known"),
        "{fault:#}"
    );
    let why = bed.call("qsys_explain_visibility", json!({})).await;
    assert!(!why.unwrap()["reasons"].as_array().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_half_open_link_is_noticed_and_nobody_waits_for_it_for_ever() {
    let bed = Bed::live(design::venue(), OPEN).await;
    bed.sim.freeze(true);
    let asked =
        json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }], "max_age_ms": 0 });
    let read = timeout(
        Duration::from_secs(20),
        bed.call("qsys_get_controls", asked),
    );
    let answer = read.await.unwrap().unwrap();
    assert!(answer["refresh_failed"].is_object(), "{answer:#}");
    let write = bed.call("qsys_set_controls", change("Hall A Gain", "gain", -3.0));
    let outcome = timeout(Duration::from_secs(20), write).await.unwrap();
    assert!(HONEST.contains(&code(outcome).as_str()));
    bed.sim.freeze(false);
    bed.reached("live").await;
    assert_eq!(bed.reading("Hall A Gain", "gain").await["quality"], "live");
}

/// Paused time passes without the wall clock: to the box this is a wall clock that was set back by half an hour.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_half_an_hour_changes_nothing() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let before = bed.link().await;
    sleep(Duration::from_mins(30)).await;
    let link = bed.link().await;
    assert_eq!(link["state"], "live");
    assert_eq!(
        (&link["drops"], &link["attempts"]),
        (&before["drops"], &before["attempts"])
    );
    assert!(link["state_ms"].as_u64().unwrap() >= 1_800_000);
    let reading = bed.reading("Hall A Gain", "gain").await;
    assert!(reading["age_ms"].as_u64().unwrap() < 5_000, "{reading}");
    let set = change("Hall A Gain", "gain", -3.0);
    bed.call("qsys_set_controls", set).await.unwrap();
}

#[test]
fn the_wall_clock_is_read_for_stamps_and_for_the_ends_of_credentials_alone() {
    let allowed = [
        "src/app/archive/backup.rs",
        "src/app/archive/support.rs",
        "src/app/audit.rs",
        "src/app/certificate.rs",
        "src/app/health.rs",
        "src/app/keys.rs",
        "src/app/provision/mod.rs",
        "src/app/rescue.rs",
        "src/audit/clock.rs",
        "src/audit/disk.rs",
        "src/audit/mod.rs",
        "src/base/clock.rs",
        "src/guard/admit/bearer.rs",
        "src/guard/hightime.rs",
        "src/guard/keyfile.rs",
        "src/guard/manage.rs",
        "src/guard/token/secret.rs",
        "src/mcp/tasks/table.rs",
        "src/ops/host/mod.rs",
        "src/service/qsys/older/groups.rs",
        "src/service/qsys/older/system.rs",
        "src/service/system/keys.rs",
        "src/sim/methods.rs",
        "src/sim/paging.rs",
        "src/telemetry/logging.rs",
        "src/tls/mod.rs",
    ];
    let mut folders = vec![std::path::PathBuf::from("src")];
    let mut readers = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.to_str().unwrap().to_owned();
                let is_reader =
                    text.contains("UnixMillis::now") || text.contains("SystemTime::now");
                if is_reader && !path.ends_with("tests.rs") {
                    readers.push(path);
                }
            }
        }
    }
    for reader in readers {
        assert!(
            allowed.contains(&reader.as_str()),
            "{reader} reads the wall clock"
        );
    }
}
