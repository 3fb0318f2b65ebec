//! Clients that are slow, many, or gone.

use std::time::Duration;

use rackhand::sim::design;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{Bed, OPEN, change, one};

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_read_their_answers_hold_up_nobody() {
    let mut bed = Bed::live(design::venue(), OPEN).await;
    let request = bed
        .client("viewer")
        .tool_request("qsys_list_components", &json!({ "limit": 500 }));
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut stream = bed.connect(512);
        let sent = timeout(
            Duration::from_secs(10),
            stream.write_all(request.as_bytes()),
        );
        sent.await.unwrap().unwrap();
        deaf.push(stream);
    }
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        let reading = bed.reading("Hall A Gain", "gain").await;
        assert_eq!(reading["quality"], "live");
        assert!(asked.elapsed() < Duration::from_millis(100));
    }
    let set = change("Hall A Gain", "gain", -3.0);
    bed.call("qsys_set_controls", set).await.unwrap();
    assert_eq!(bed.link().await["drops"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_the_middle_of_a_wait_frees_its_place() {
    let mut bed = Bed::live(design::venue(), OPEN).await;
    let wait =
        json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }], "timeout_s": 60 });
    let request = bed
        .client("viewer")
        .tool_request("qsys_wait_for_change", &wait);
    // More than may wait at once, one batch after the other.
    for _ in 0..3 {
        let mut waiting = Vec::new();
        for _ in 0..60 {
            let mut stream = bed.connect(8 << 10);
            stream.write_all(request.as_bytes()).await.unwrap();
            waiting.push(stream);
        }
        sleep(Duration::from_secs(1)).await;
        drop(waiting);
        sleep(Duration::from_secs(1)).await;
    }
    let wait = bed.call("qsys_wait_for_change", wait);
    let push = async {
        sleep(Duration::from_secs(1)).await;
        bed.sim.set_value("Hall A Gain", "gain", -40.0);
    };
    let (answer, ()) = tokio::join!(wait, push);
    assert_eq!(answer.unwrap()["outcome"], "changed");
}

#[tokio::test(start_paused = true)]
async fn a_wait_through_a_storm_of_other_changes_misses_nothing_of_its_own() {
    let bed = Bed::live(design::generated(100, 100), OPEN).await;
    bed.sim.meter_clock(Duration::from_millis(10));
    let mut waits = JoinSet::new();
    for number in 1..=40 {
        let client = bed.client(["viewer", "operator"][number % 2]);
        waits.spawn(async move {
            let mut wait = one(&format!("Block {number}"), "channel.1.gain");
            wait["timeout_s"] = 30.into();
            client.call("qsys_wait_for_change", wait).await.unwrap()
        });
    }
    sleep(Duration::from_secs(5)).await;
    for number in 1..=40 {
        let is_there = bed
            .sim
            .set_value(&format!("Block {number}"), "channel.1.gain", -31.0);
        assert!(is_there);
    }
    for answer in waits.join_all().await {
        assert_eq!(answer["outcome"], "changed");
        assert_eq!(answer["controls"][0]["now"]["value"], -31.0);
        let waited = answer["waited_ms"].as_u64().unwrap();
        assert!((4_000..8_000).contains(&waited), "{waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_waits_than_there_are_places_are_refused_as_busy() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let mut waits = JoinSet::new();
    for number in 0..100 {
        let client = bed.client(["viewer", "operator"][number % 2]);
        waits.spawn(async move {
            let mut wait = one("Hall A Gain", "gain");
            wait["timeout_s"] = 10.into();
            client.call("qsys_wait_for_change", wait).await
        });
    }
    let (mut timed_out, mut busy) = (0, 0);
    for answer in waits.join_all().await {
        match answer {
            Ok(answer) => timed_out += usize::from(answer["outcome"] == "timed_out"),
            Err(fault) => busy += usize::from(fault["code"] == "BUSY"),
        }
    }
    assert_eq!((timed_out, busy), (rackhand::limits::WAITS_MAX, 36));
}

#[tokio::test(start_paused = true)]
async fn one_key_does_not_take_the_places_of_all_who_wait_or_write() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let mut waits = JoinSet::new();
    for _ in 0..rackhand::limits::WAITS_MAX {
        let client = bed.client("viewer");
        waits.spawn(async move {
            let mut wait = one("Hall A Gain", "gain");
            wait["timeout_s"] = 30.into();
            client.call("qsys_wait_for_change", wait).await
        });
    }
    sleep(Duration::from_secs(1)).await;
    let mut wait = one("Hall A Gain", "gain");
    wait["timeout_s"] = 1.into();
    let answer = bed.call("qsys_wait_for_change", wait).await.unwrap();
    assert_eq!(answer["outcome"], "timed_out");
    let answers = waits.join_all().await;
    let busy = answers.iter().filter(|answer| answer.is_err()).count();
    let of_one = rackhand::limits::WAITS_PER_CALLER_MAX;
    assert_eq!(busy, rackhand::limits::WAITS_MAX - of_one);

    bed.sim.slow_replies(Duration::from_secs(1));
    let mut writes = JoinSet::new();
    for number in 0..rackhand::limits::WRITES_RUNNING_MAX {
        let client = bed.client("engineer");
        let set = change(
            "Hall A Gain",
            "gain",
            -20.0 - f64::from(u8::try_from(number).unwrap()),
        );
        writes.spawn(async move { client.call("qsys_set_controls", set).await });
    }
    sleep(Duration::from_millis(100)).await;
    let set = change("Foyer Gain", "gain", -20.0);
    let other = bed.call("qsys_set_controls", set).await;
    let told = other.err().unwrap_or_default().to_string();
    assert!(!told.contains("of this key or of all"), "{told}");
    let answers = writes.join_all().await;
    let refused = answers.iter().filter(|answer| {
        let fault = answer.as_ref().err().map(ToString::to_string);
        fault.is_some_and(|fault| fault.contains("of this key or of all"))
    });
    let of_one = rackhand::limits::WRITES_PER_CALLER_MAX;
    assert_eq!(
        refused.count(),
        rackhand::limits::WRITES_RUNNING_MAX - of_one
    );
}

#[tokio::test(start_paused = true)]
async fn a_box_that_is_stopped_finishes_the_write_under_way_and_goes() {
    let mut bed = Bed::live(design::venue(), OPEN).await;
    bed.sim.slow_replies(Duration::from_secs(1));
    let client = bed.client("operator");
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        let set = change("Hall A Gain", "gain", -3.0);
        client.call("qsys_set_controls", set).await
    });
    sleep(Duration::from_millis(300)).await;
    bed.stopped().await;
    assert_eq!(bed.sim.writes().len(), 1);
    assert_eq!(bed.sim.connections(), 0);
}
