//! Watches through what happens to a Core and to those who watch.

use std::time::Duration;

use rackhand::sim::design;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::bed::{Bed, OPEN};

async fn start(bed: &Bed, arguments: Value) -> Value {
    let answer = bed.call("qsys_start_watch", arguments).await.unwrap();
    json!({ "watch_id": answer["watch_id"] })
}

async fn poll(bed: &Bed, watch: &Value) -> Value {
    let answer = bed.call("qsys_poll_watch", watch.clone()).await;
    answer.unwrap()
}

/// Polls until something changed, for at most so many seconds. Why something may have been missed comes with it.
async fn changes(bed: &Bed, watch: &Value, secs: u32) -> (Vec<Value>, Vec<Value>) {
    let mut lagged = Vec::new();
    for _ in 0..secs {
        sleep(Duration::from_secs(1)).await;
        let answer = poll(bed, watch).await;
        lagged.extend(answer["lagged"].as_array().cloned().unwrap_or_default());
        let rows = answer["changes"].as_array().unwrap();
        if !rows.is_empty() {
            return (rows.clone(), lagged);
        }
    }
    panic!("nothing changed within {secs} s");
}

/// Change groups that the box has on the Core: one more while something is polled fast.
async fn groups(bed: &Bed) -> u64 {
    bed.link().await["change_groups"].as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_outlives_a_reboot_of_the_core() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let before = groups(&bed).await;
    let one =
        json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }], "ttl_s": 60 });
    let watch = start(&bed, one).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(groups(&bed).await, before + 1);
    bed.sim.reboot(Duration::from_secs(40));
    sleep(Duration::from_secs(2)).await;
    let answer = poll(&bed, &watch).await;
    assert_eq!(
        (&answer["lagged"], &answer["total"]),
        (&json!(["link_lost"]), &json!(0))
    );
    assert_ne!(answer["link"], "live");
    // Somebody moves it while nobody can look.
    assert!(bed.sim.set_value("Hall A Gain", "gain", -17.0));
    let (rows, _) = changes(&bed, &watch, 120).await;
    let row = &rows[0];
    assert_eq!(
        (&row["before"]["value"], &row["value"], &row["quality"]),
        (&json!(-6.0), &json!(-17.0), &json!("live"))
    );
    bed.reached("live").await;
    poll(&bed, &watch).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        groups(&bed).await,
        before + 1,
        "polled fast again by itself"
    );
    assert!(bed.sim.set_value("Hall A Gain", "gain", -3.0));
    let (rows, lagged) = changes(&bed, &watch, 2).await;
    assert_eq!((&rows[0]["value"], lagged), (&json!(-3.0), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_design_pushed_while_watched_is_told_and_the_watch_goes_on() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let gone = start(
        &bed,
        json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }] }),
    )
    .await;
    let kept = start(&bed, json!({ "component": "Foyer Gain" })).await;
    let renamed = bed.sim.design().renamed("Hall A Gain", "Hall A Gains");
    bed.sim.push_design(renamed.recompiled("ReNaMeD00001"));
    let mut lagged = Vec::new();
    loop {
        let (rows, lag) = changes(&bed, &gone, 60).await;
        lagged.extend(lag);
        if rows[0]["gone"] == true {
            break;
        }
        assert_eq!(
            rows[0]["quality"], "unknown",
            "the values of before are not told for those of the new design"
        );
    }
    assert!(lagged.contains(&json!("design_changed")), "{lagged:?}");
    bed.reached("live").await;
    sleep(Duration::from_secs(2)).await;
    poll(&bed, &kept).await;
    assert!(bed.sim.set_value("Foyer Gain", "gain", -21.0));
    let (rows, lagged) = changes(&bed, &kept, 3).await;
    assert_eq!(
        (&rows[0]["control"], &rows[0]["value"]),
        (&json!("gain"), &json!(-21.0))
    );
    assert_eq!(lagged, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_polls_any_more_is_not_polled_fast_for_nobody() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let before = groups(&bed).await;
    let gain = |component: &str| json!({ "controls": [{ "component": component, "control": "gain" }], "ttl_s": 10 });
    for _ in 0..20 {
        start(&bed, gain("Hall A Gain")).await;
        start(&bed, gain("Foyer Gain")).await;
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(groups(&bed).await, before + 1);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(groups(&bed).await, before, "the fast group is empty again");
    assert_eq!(bed.link().await["drops"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_does_not_outlive_a_restart_of_the_box_and_says_what_to_do() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let watch = start(&bed, json!({ "component": "Foyer Gain" })).await;
    let bed = bed.restarted().await;
    let fault = bed.call("qsys_poll_watch", watch).await.unwrap_err();
    assert_eq!(fault["code"], "NOT_FOUND");
    assert!(
        fault["problem"]
            .as_str()
            .unwrap()
            .contains("qsys_start_watch")
    );
}
