//! Watches through the tools that start, poll and stop them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::base::shutdown::Stop;
use crate::limits::{
    PAGE_MAX, WATCH_FAST_IDLE, WATCH_FAST_MAX, WATCH_SWEEP, WATCHED_CONTROLS_PER_CALLER_MAX,
    WATCHES_FAST_MAX, WATCHES_MAX, WATCHES_PER_CALLER_MAX,
};
use crate::link::LinkState;
use crate::service::FaultCode;
use crate::service::qsys::testing::{Bed, bed};

const GAIN: &str = "Main Gain";

async fn start(bed: &Bed, arguments: Value) -> String {
    let answer = bed.call("qsys_start_watch", arguments).await.unwrap();
    answer["watch_id"].as_str().unwrap().to_owned()
}

async fn start_gain(bed: &Bed) -> String {
    start(
        bed,
        json!({ "controls": [{ "component": GAIN, "control": "gain" }], "ttl_s": 30 }),
    )
    .await
}

async fn poll(bed: &Bed, id: &str) -> Value {
    let arguments = json!({ "watch_id": id });
    bed.call("qsys_poll_watch", arguments).await.unwrap()
}

fn moves(bed: &Bed, control: &str, value: f64) {
    bed.report(&json!([{ "Component": GAIN, "Name": control, "Value": value, "String": format!("{value}dB") }]));
}

fn gains(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({ "Name": format!("input.{number}.gain"), "Type": "Float", "Value": 0.0, "String": "0dB" }))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_poll_tells_what_changed_since_the_last_one_and_nothing_twice() {
    let bed = bed();
    let started = bed
        .call("qsys_start_watch", json!({ "component": GAIN }))
        .await
        .unwrap();
    assert_eq!(
        (&started["total"], &started["pace"]),
        (&json!(2), &json!("fast"))
    );
    assert_eq!(started["controls"][0]["value"], -12.0);
    let id = started["watch_id"].as_str().unwrap();
    assert_eq!(poll(&bed, id).await["changes"], json!([]));
    sleep(Duration::from_secs(3)).await;
    moves(&bed, "gain", -6.0);
    sleep(Duration::from_secs(2)).await;
    let answer = poll(&bed, id).await;
    assert_eq!(
        answer["changes"],
        json!([{ "component": GAIN, "control": "gain", "before": { "value": -12.0, "string": "-12dB" },
            "value": -6.0, "string": "-6dB", "position": 0.733_333_35, "age_ms": answer["changes"][0]["age_ms"],
            "quality": "live", "source": "cache" }])
    );
    assert_eq!(
        (&answer["since_ms"], answer.get("lagged")),
        (&json!(5_000), None)
    );
    assert_eq!(poll(&bed, id).await["total"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_button_pressed_and_let_go_between_two_polls_is_told() {
    let bed = bed();
    let id = start_gain(&bed).await;
    moves(&bed, "gain", -3.0);
    sleep(Duration::from_secs(1)).await;
    moves(&bed, "gain", -12.0);
    sleep(Duration::from_secs(1)).await;
    let answer = poll(&bed, &id).await;
    let row = &answer["changes"][0];
    assert_eq!(
        (&row["moved_back"], &row["value"]),
        (&json!(true), &json!(-12.0))
    );
    assert_eq!(poll(&bed, &id).await["total"], 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_one_answer_comes_with_the_next() {
    let bed = bed();
    bed.push("code2", &[("Mix", "mixer", gains(700))]);
    let id = start(&bed, json!({ "component": "Mix" })).await;
    let moved: Vec<_> = (0..700)
        .map(|number| json!({ "Component": "Mix", "Name": format!("input.{number}.gain"), "Value": 1, "String": "x".repeat(200) }))
        .collect();
    bed.report(&json!(moved));
    let (mut seen, mut polls) = (0, 0);
    loop {
        let arguments = json!({ "watch_id": id, "limit": PAGE_MAX });
        let answer = bed.call("qsys_poll_watch", arguments).await.unwrap();
        let rows = answer["changes"].as_array().unwrap();
        assert_eq!(rows[0]["control"], format!("input.{seen}.gain"));
        (seen, polls) = (seen + rows.len(), polls + 1);
        if answer.get("more").is_none() {
            break;
        }
    }
    assert!(seen == 700 && polls > 3, "{seen} in {polls}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_says_when_the_link_was_lost_meanwhile() {
    let bed = bed();
    let id = start_gain(&bed).await;
    bed.lose_link();
    let answer = poll(&bed, &id).await;
    assert_eq!(
        (&answer["quality"], &answer["lagged"]),
        (&json!("stale"), &json!(["link_lost"]))
    );
    assert_eq!(answer["total"], 0, "losing the link is no change");
    bed.set_link(|status| {
        status.state = LinkState::Live;
        status.drops += 1;
    });
    assert_eq!(poll(&bed, &id).await["lagged"], json!(["link_lost"]));
    assert_eq!(poll(&bed, &id).await.get("lagged"), None);
}

#[tokio::test(start_paused = true)]
async fn another_design_takes_controls_away_and_brings_others_to_a_whole_component() {
    let bed = bed();
    let id = start(&bed, json!({ "component": GAIN })).await;
    let mute = json!({ "Name": "mute", "Type": "Boolean", "Value": 1.0, "String": "muted" });
    let bypass = json!({ "Name": "bypass", "Type": "Boolean", "Value": 0.0, "String": "no" });
    bed.push("code2", &[(GAIN, "gain", vec![mute.clone(), bypass])]);
    let answer = poll(&bed, &id).await;
    assert_eq!(answer["lagged"], json!(["design_changed"]));
    let rows: Vec<_> = answer["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["control"].as_str().unwrap(),
                row["gone"] == true,
                row["value"].as_f64(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("gain", true, None),
            ("mute", false, Some(1.0)),
            ("bypass", false, Some(0.0))
        ]
    );
    assert_eq!(
        poll(&bed, &id).await["total"],
        0,
        "what is gone is told once"
    );
    bed.push(
        "code3",
        &[("Other", "gain", vec![]), (GAIN, "gain", vec![mute])],
    );
    let answer = poll(&bed, &id).await;
    assert_eq!(
        (&answer["changes"][0]["control"], &answer["total"]),
        (&json!("bypass"), &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_lives_as_long_as_it_is_polled() {
    let bed = bed();
    let id = start_gain(&bed).await;
    for _ in 0..10 {
        sleep(Duration::from_secs(29)).await;
        poll(&bed, &id).await;
    }
    sleep(Duration::from_secs(30)).await;
    let fault = bed
        .call("qsys_poll_watch", json!({ "watch_id": id }))
        .await
        .unwrap_err();
    assert_eq!(fault.code, FaultCode::NotFound);
    assert!(fault.next_step.contains("qsys_start_watch"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_another_caller_is_not_there() {
    let bed = bed();
    let id = start_gain(&bed).await;
    let asked = json!({ "watch_id": id });
    let fault = bed.call_as("other", "qsys_poll_watch", asked.clone()).await;
    assert_eq!(fault.unwrap_err().code, FaultCode::NotFound);
    let stopped = bed.call_as("other", "qsys_stop_watch", asked.clone()).await;
    assert_eq!(stopped.unwrap()["stopped"], false);
    assert_eq!(
        bed.call("qsys_stop_watch", asked.clone()).await.unwrap()["stopped"],
        true
    );
    assert_eq!(
        bed.call("qsys_stop_watch", asked).await.unwrap()["stopped"],
        false
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_polled_fast_for_nobody() {
    let bed = bed();
    let (stop, mut tasks) = (Stop::new(), JoinSet::new());
    tasks.spawn(bed.service.clone().sweep(stop.clone()));
    let id = start_gain(&bed).await;
    assert_eq!(bed.fast(), 1);
    bed.call("qsys_stop_watch", json!({ "watch_id": id }))
        .await
        .unwrap();
    assert_eq!(bed.fast(), 0, "stopped");
    start_gain(&bed).await;
    sleep(Duration::from_secs(29)).await;
    assert_eq!(bed.fast(), 1);
    sleep(Duration::from_secs(1) + WATCH_SWEEP).await;
    assert_eq!(bed.fast(), 0, "expired, and nobody asked");
    let long = json!({ "component": GAIN, "ttl_s": 600 });
    let id = start(&bed, long).await;
    sleep(WATCH_FAST_IDLE + WATCH_SWEEP).await;
    assert_eq!(bed.fast(), 0, "not asked for a while");
    assert_eq!(poll(&bed, &id).await["pace"], "fast");
    assert_eq!(bed.fast(), 2);
    stop.cancel();
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), "watches");
}

#[tokio::test(start_paused = true)]
async fn one_caller_cannot_take_all_watches_and_is_told_the_bound() {
    let bed = bed();
    let arguments = json!({ "controls": [{ "component": GAIN, "control": "gain" }] });
    for _ in 0..WATCHES_PER_CALLER_MAX {
        start_gain(&bed).await;
    }
    let fault = bed
        .call("qsys_start_watch", arguments.clone())
        .await
        .unwrap_err();
    assert_eq!(
        (fault.code, &fault.data["limit"]),
        (FaultCode::Busy, &json!(WATCHES_PER_CALLER_MAX))
    );
    assert!(fault.data["own"][0].as_str().unwrap().starts_with("w_"));
    let left = WATCHES_MAX - WATCHES_PER_CALLER_MAX;
    for number in 0..left {
        let caller = format!("caller {}", number / 200);
        let started = bed
            .call_as(&caller, "qsys_start_watch", arguments.clone())
            .await;
        started.unwrap();
    }
    let fault = bed
        .call_as("last", "qsys_start_watch", arguments.clone())
        .await;
    let fault = fault.unwrap_err();
    assert_eq!(
        (fault.code, &fault.data["limit"]),
        (FaultCode::Busy, &json!(WATCHES_MAX))
    );
    sleep(Duration::from_secs(30)).await;
    bed.call("qsys_start_watch", arguments).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn controls_of_all_watches_of_a_caller_are_bounded_and_large_ones_go_at_the_usual_pace() {
    let bed = bed();
    let small = gains(WATCH_FAST_MAX);
    bed.push(
        "code2",
        &[
            ("Mix", "mixer", gains(1_000)),
            ("Huge", "mixer", gains(1_001)),
            ("Small", "mixer", small),
        ],
    );
    let whole = |name: &str| bed.call("qsys_start_watch", json!({ "component": name }));
    assert_eq!(whole("Huge").await.unwrap_err().data["limit"], 1_000);
    for _ in 0..WATCHES_FAST_MAX / WATCH_FAST_MAX {
        assert_eq!(whole("Small").await.unwrap()["pace"], "fast");
    }
    assert_eq!(whole("Small").await.unwrap()["pace"], "usual");
    assert_eq!(bed.fast(), WATCH_FAST_MAX);
    for _ in 0..3 {
        let started = whole("Mix").await.unwrap();
        assert_eq!(
            (&started["pace"], &started["more"]),
            (&json!("usual"), &json!(900))
        );
    }
    let fault = whole("Mix").await.unwrap_err();
    assert_eq!(fault.data["limit"], WATCHED_CONTROLS_PER_CALLER_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_only_with_what_is_there() {
    let bed = bed();
    for (arguments, code) in [
        (json!({}), FaultCode::BadArguments),
        (
            json!({ "component": GAIN, "controls": [{ "control": "SystemMute" }] }),
            FaultCode::BadArguments,
        ),
        (json!({ "component": "Main Gian" }), FaultCode::NotFound),
        (
            json!({ "controls": [{ "component": GAIN, "control": "gian" }] }),
            FaultCode::NotFound,
        ),
    ] {
        let fault = bed.call("qsys_start_watch", arguments).await.unwrap_err();
        assert_eq!(fault.code, code);
    }
    let named = json!({ "controls": [{ "control": "SystemMute" }, { "control": "SystemMute" }], "core": "hall" });
    let started = bed.call("qsys_start_watch", named).await.unwrap();
    assert_eq!(started["total"], 1);
    let elsewhere = json!({ "watch_id": started["watch_id"], "core": "attic" });
    assert!(bed.call("qsys_poll_watch", elsewhere).await.is_err());
}
