//! Statistics over a scripted meter.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::base::shutdown::Stop;
use crate::limits::NOTICES_MAX;
use crate::link::FastWatch;
use crate::service::qsys::testing::{Bed, bed, call};
use crate::service::{Listener, LogLevel, Voice};

const TOOL: &str = "qsys_read_meters";

fn meter() -> Value {
    json!({ "component": "Side Gain", "control": "level" })
}

fn moves(bed: &Bed, value: f64) {
    bed.report(&json!([{ "Component": "Side Gain", "Name": "level", "Value": value, "String": format!("{value}dB") }]));
}

async fn read(bed: &Bed, arguments: Value, then: impl Future<Output = ()>) -> Value {
    let (answer, ()) = tokio::join!(bed.call(TOOL, arguments), then);
    answer.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_value_counts_for_as_long_as_it_stood() {
    let bed = bed();
    let arguments = json!({ "meters": [meter(), { "component": "Main Gain", "control": "gain" }], "window_s": 4, "above": -25 });
    let script = async {
        // What is reported while fast polling begins does not count.
        moves(&bed, -3.0);
        sleep(Duration::from_millis(250)).await;
        moves(&bed, -100.0);
        sleep(Duration::from_millis(1_250)).await;
        moves(&bed, -20.0);
        sleep(Duration::from_secs(1)).await;
        moves(&bed, -30.0);
    };
    let answer = read(&bed, arguments, script).await;
    let row = &answer["meters"][0];
    assert_eq!(
        [
            &row["min"],
            &row["max"],
            &row["mean"],
            &row["above_share"],
            &row["samples"],
            &row["measured_ms"]
        ],
        [
            &json!(-100.0),
            &json!(-20.0),
            &json!(-45.0),
            &json!(0.25),
            &json!(3),
            &json!(4_000)
        ]
    );
    assert_eq!(
        (&row["last"]["value"], &row["last"]["quality"]),
        (&json!(-30.0), &json!("live"))
    );
    let still = &answer["meters"][1];
    assert_eq!(
        [&still["mean"], &still["samples"]],
        [&json!(-12.0), &json!(1)]
    );
    assert_eq!(
        (&answer["window_ms"], &answer["pace"], answer.get("lagged")),
        (&json!(4_000), &json!("fast"), None)
    );
    assert_eq!(bed.fast(), 0, "nobody looks any more");
}

#[tokio::test(start_paused = true)]
async fn meters_are_polled_fast_only_while_somebody_reads() {
    let bed = bed();
    let look = async {
        sleep(Duration::from_millis(600)).await;
        assert_eq!(bed.fast(), 1);
    };
    read(&bed, json!({ "meters": [meter(), meter()] }), look).await;
    let cancel = Stop::new();
    let reading = bed.call_until(
        TOOL,
        json!({ "meters": [meter()], "window_s": 30 }),
        cancel.clone(),
    );
    let (answer, ()) = tokio::join!(reading, async {
        sleep(Duration::from_secs(2)).await;
        cancel.cancel();
    });
    assert!(answer.is_err() && bed.fast() == 0);
    let many = (0..crate::limits::FAST_CONTROLS_MAX).map(|number| crate::model::name::ControlRef {
        component: None,
        control: format!("{number}").parse().unwrap(),
    });
    let _full: FastWatch = bed.system.link.watch_fast(many.collect()).unwrap();
    let answer = read(&bed, json!({ "meters": [meter()] }), async {}).await;
    assert_eq!(answer["pace"], "usual");
}

#[tokio::test(start_paused = true)]
async fn time_without_a_live_value_does_not_count() {
    let bed = bed();
    let script = async {
        sleep(Duration::from_millis(1_500)).await;
        bed.mirror_stale();
    };
    let answer = read(&bed, json!({ "meters": [meter()], "window_s": 5 }), script).await;
    let row = &answer["meters"][0];
    assert_eq!(
        (&row["measured_ms"], &row["mean"]),
        (&json!(1_000), &json!(-30.0))
    );
    assert_eq!(row["last"]["quality"], "stale");
    bed.lose_link();
    let fault = bed
        .call(TOOL, json!({ "meters": [meter()] }))
        .await
        .unwrap_err();
    assert_eq!(fault.code, FaultCode::LinkDown);
}

#[tokio::test(start_paused = true)]
async fn a_window_in_which_the_link_broke_was_told_as_read_from_end_to_end() {
    let bed = bed();
    let whole = bed.text(TOOL, json!({ "meters": [meter()] })).await;
    assert!(!whole.contains("only"), "{whole}");
    let script = async {
        sleep(Duration::from_millis(1_500)).await;
        bed.mirror_stale();
    };
    let arguments = json!({ "meters": [meter()], "window_s": 5 });
    let (text, ()) = tokio::join!(bed.text(TOOL, arguments), script);
    assert!(text.contains("live for 1.0 s of it only"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_meter_that_another_design_lacks_is_measured_until_then() {
    let bed = bed();
    let script = async {
        sleep(Duration::from_millis(1_500)).await;
        bed.push("code2", &[]);
    };
    let answer = read(&bed, json!({ "meters": [meter()], "window_s": 5 }), script).await;
    let row = &answer["meters"][0];
    assert_eq!(
        (&row["measured_ms"], row.get("last")),
        (&json!(1_000), None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_reports_is_told_as_lag() {
    let bed = bed();
    let flood = async {
        sleep(Duration::from_secs(2)).await;
        for turn in 0..=NOTICES_MAX {
            moves(&bed, -40.0 - f64::from(u32::try_from(turn % 7).unwrap()));
        }
    };
    let answer = read(&bed, json!({ "meters": [meter()] }), flood).await;
    assert_eq!(answer["lagged"], true);
}

#[tokio::test(start_paused = true)]
async fn texts_and_wrong_windows_are_refused() {
    let bed = bed();
    for arguments in [
        json!({ "meters": [{ "component": "Panel", "control": "select" }] }),
        json!({ "meters": [meter()], "window_s": 1e300 }),
        json!({ "meters": [] }),
    ] {
        let call = call(TOOL, arguments, Stop::new());
        let fault = bed.service_call(call).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::BadArguments);
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<(f64, Option<f64>)>>);

impl Listener for Heard {
    fn progress(&self, progress: f64, total: Option<f64>, _message: &str) {
        self.0.lock().push((progress, total));
    }

    fn log(&self, _level: LogLevel, _text: &str) {}
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_every_second() {
    let bed = bed();
    let heard = Arc::new(Heard::default());
    let mut call = call(
        TOOL,
        json!({ "meters": [meter()], "window_s": 3.5 }),
        Stop::new(),
    );
    call.voice = Voice::heard_by(heard.clone());
    bed.answered(call).await.unwrap();
    let total = Some(3.5);
    assert_eq!(*heard.0.lock(), [(1.0, total), (2.0, total), (3.0, total)]);
}
