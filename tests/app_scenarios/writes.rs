//! Writes: their fate told honestly, and the rules of the box held by every tool.

use std::collections::BTreeMap;
use std::time::Duration;

use rackhand::sim::{Options, SimCore, design};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bed::{Bed, OPEN, change, code};

fn wishes(cores: &[&SimCore]) -> BTreeMap<String, usize> {
    let mut wishes = BTreeMap::new();
    for write in cores.iter().flat_map(|core| core.writes()) {
        *wishes.entry(write.wish).or_default() += 1;
    }
    wishes
}

fn load(bank: &str, number: u32) -> Value {
    json!({ "bank": bank, "number": number, "reason": "a test" })
}

/// Writes forty values while the active Core of a pair stops being it, and compares what is said with what was done.
async fn fates_through(event: impl FnOnce(&SimCore)) -> BTreeMap<String, usize> {
    let (first, second) = SimCore::pair(design::venue(), Options::default());
    let settings = "[[core]]\nname = \"hall\"\naddress = \"first\"\nstandby-address = \"second\"\ntransport = \"ws\"\n";
    let hosts = [("first", first.clone()), ("second", second.clone())];
    let bed = Bed::begin(&hosts, &(settings.to_owned() + OPEN));
    bed.reached("live").await;
    first.slow_replies(Duration::from_millis(300));
    let mut calls = JoinSet::new();
    for number in 0..40_u8 {
        let client = bed.client("operator");
        calls.spawn(async move {
            sleep(Duration::from_millis(u64::from(number) * 25)).await;
            let value = -10.0 - f64::from(number);
            let wish = change("Hall A Gain", "gain", value);
            (value, client.call("qsys_set_controls", wish).await)
        });
    }
    sleep(Duration::from_millis(510)).await;
    event(&first);
    assert!(second.is_active());
    let outcomes = calls.join_all().await;
    let seen = wishes(&[&first, &second]);
    let mut fates = BTreeMap::<String, usize>::new();
    for (value, outcome) in outcomes {
        let times = seen.get(&value.to_string()).copied().unwrap_or(0);
        let fate = match outcome {
            Ok(answer) => {
                assert_eq!(times, 1, "{value}: {answer:#}");
                "written".to_owned()
            }
            Err(fault) => {
                let code = fault["code"].as_str().unwrap().to_owned();
                let most = usize::from(code == "OUTCOME_UNKNOWN");
                assert!(times <= most, "{value} was sent {times} times: {fault:#}");
                code
            }
        };
        *fates.entry(fate).or_default() += 1;
    }
    bed.reached("live").await;
    let set = change("Hall A Gain", "gain", -77.0);
    bed.call("qsys_set_controls", set).await.unwrap();
    assert_eq!(wishes(&[&second]).get("-77"), Some(&1));
    assert_eq!(wishes(&[&first]).get("-77"), None);
    fates
}

#[tokio::test(start_paused = true)]
async fn a_standby_switch_with_writes_in_flight_tells_the_fate_of_each() {
    let fates = fates_through(SimCore::switch_over).await;
    assert!(fates["written"] >= 20, "{fates:?}");
    assert!(!fates.contains_key("OUTCOME_UNKNOWN"), "{fates:?}");
}

#[tokio::test(start_paused = true)]
async fn an_active_core_that_dies_with_writes_in_flight_leaves_those_alone_unknown() {
    let fates = fates_through(|first| first.reboot(Duration::from_mins(5))).await;
    let unknown = fates.get("OUTCOME_UNKNOWN").copied().unwrap_or(0);
    // Every 25 ms a write, each unanswered for 300 ms.
    assert!((1..=16).contains(&unknown), "{fates:?}");
    assert!(fates["written"] >= 8, "{fates:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_not_sent_again_and_its_value_is_read() {
    let bed = Bed::live(design::venue(), OPEN).await;
    bed.sim.lose_next_write_replies(1);
    let set = change("Hall A Gain", "gain", -21.0);
    let fault = bed.call("qsys_set_controls", set).await.unwrap_err();
    assert_eq!(fault["code"], "OUTCOME_UNKNOWN");
    let row = &fault["data"]["changes"][0];
    assert_eq!(
        (&row["outcome"], &row["value"], &row["source"]),
        (&json!("outcome_unknown"), &json!(-21.0), &json!("core")),
        "{fault:#}"
    );
    sleep(Duration::from_mins(2)).await;
    assert_eq!(bed.sim.writes().len(), 1);
    assert_eq!(bed.reading("Hall A Gain", "gain").await["value"], -21.0);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_connection_dies_is_not_sent_again_on_the_next_one() {
    let bed = Bed::live(design::venue(), OPEN).await;
    bed.sim.slow_replies(Duration::from_secs(2));
    let write = bed.call("qsys_set_controls", change("Hall A Gain", "gain", -22.0));
    let cut = async {
        sleep(Duration::from_secs(1)).await;
        bed.sim.slow_replies(Duration::ZERO);
        bed.sim.reset_connections();
    };
    let (outcome, ()) = tokio::join!(write, cut);
    assert_eq!(code(outcome), "OUTCOME_UNKNOWN");
    bed.reached("live").await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(bed.sim.writes().len(), 1);
    assert_eq!(bed.reading("Hall A Gain", "gain").await["value"], -22.0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_snapshot_is_an_unknown_outcome_too() {
    let bed = Bed::live(design::venue(), OPEN).await;
    bed.sim.lose_next_write_replies(1);
    let outcome = bed
        .call("qsys_load_snapshot", load("House Scenes", 3))
        .await;
    assert_eq!(code(outcome), "OUTCOME_UNKNOWN");
    sleep(Duration::from_mins(1)).await;
    assert_eq!(bed.sim.writes().len(), 1);
}

/// A call of each form in which something can be written.
fn every_way() -> Vec<(&'static str, Value)> {
    let single = |change: Value| json!({ "changes": [change], "reason": "a test" });
    let set = |rest: Value| {
        let mut change = json!({ "component": "Hall A Gain", "control": "gain" });
        for (key, value) in rest.as_object().unwrap() {
            change[key] = value.clone();
        }
        single(change)
    };
    vec![
        ("qsys_set_controls", set(json!({ "value": -3 }))),
        (
            "qsys_set_controls",
            set(json!({ "value": -3, "ramp_s": 5 })),
        ),
        ("qsys_set_controls", set(json!({ "position": 0.81 }))),
        (
            "qsys_set_controls",
            single(json!({ "component": "Hall A Gain", "control": "mute", "value": true })),
        ),
        (
            "qsys_set_controls",
            single(
                json!({ "component": "Hall A Gain", "control": "stepper.increase", "value": 1 }),
            ),
        ),
        (
            "qsys_set_controls",
            single(json!({ "component": "Wall Panel", "control": "text.1", "string": "hello" })),
        ),
        (
            "qsys_set_controls",
            single(json!({ "component": "Wall Panel", "control": "combo.1", "string": "Concert" })),
        ),
        (
            "qsys_set_controls",
            single(json!({ "control": "MainGain", "value": -3 })),
        ),
        (
            "qsys_set_controls",
            single(json!({ "control": "MainMute", "value": true })),
        ),
        (
            "qsys_set_controls",
            single(json!({ "component": "House Scenes", "control": "load.2", "value": 1 })),
        ),
        ("qsys_load_snapshot", load("House Scenes", 2)),
        ("qsys_load_snapshot", load("Hidden Bank", 2)),
    ]
}

#[tokio::test(start_paused = true)]
async fn with_writes_off_nothing_leaves_the_box_whatever_the_tool() {
    let bed = Bed::live(design::venue(), "").await;
    for (tool, arguments) in every_way() {
        let outcome = bed.client("admin").call(tool, arguments).await;
        assert_eq!(code(outcome), "WRITES_OFF", "{tool}");
    }
    assert!(bed.sim.writes().is_empty());
    let overview = bed.call("qsys_get_overview", json!({})).await.unwrap();
    assert_eq!(overview["writes_allowed"], false);
}

#[tokio::test(start_paused = true)]
async fn what_is_protected_is_protected_from_every_tool_and_spelling() {
    let settings = "[safety]\nwrites = true\nprotected = [\"hall a gain\", \"Wall Panel/*\", \"Main*\", \"House Scenes/load.*\", \"Hidden Bank\"]\n";
    let bed = Bed::live(design::venue(), settings).await;
    for (tool, arguments) in every_way() {
        let outcome = bed.client("admin").call(tool, arguments.clone()).await;
        assert_eq!(code(outcome), "PROTECTED", "{tool} {arguments}");
    }
    let spelt = change("House Scenes", "load_2", 1);
    assert_eq!(
        code(bed.call("qsys_set_controls", spelt).await),
        "PROTECTED"
    );
    // One protected change among good ones stops all of them.
    let mixed = json!({ "reason": "a test", "changes": [
        { "component": "Foyer Gain", "control": "gain", "value": -30 },
        { "component": "Hall A Gain", "control": "gain", "value": -30 }] });
    assert_eq!(
        code(bed.call("qsys_set_controls", mixed).await),
        "PROTECTED"
    );
    assert!(bed.sim.writes().is_empty());
    bed.call("qsys_set_controls", change("Foyer Gain", "gain", -30))
        .await
        .unwrap();
    assert_eq!(bed.sim.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_ceiling_holds_in_every_form_that_a_level_can_be_given() {
    let settings = "[safety]\nwrites = true\n[[safety.ceiling]]\npattern = \"Hall * Gain/gain\"\nmax = -6.0\nmax-step-up = 6.0\n\
        [[safety.ceiling]]\npattern = \"MainGain\"\nmax = -6.0\n";
    let bed = Bed::live(design::venue(), settings).await;
    let form = |key: &str, value: Value| {
        let mut change = json!({ "component": "Hall A Gain", "control": "gain" });
        change[key] = value;
        json!({ "changes": [change], "reason": "a test" })
    };
    for (arguments, refusal) in [
        (form("value", json!(-5.5)), "LIMIT_EXCEEDED"),
        (form("position", json!(0.81)), "LIMIT_EXCEEDED"),
        (form("string", json!("0dB")), "BAD_ARGUMENTS"),
        (form("value", json!(21)), "OUT_OF_RANGE"),
        (
            json!({ "changes": [{ "control": "MainGain", "value": 0 }], "reason": "a test" }),
            "LIMIT_EXCEEDED",
        ),
        (
            json!({ "changes": [{ "control": "MainGain", "position": 1 }], "reason": "a test" }),
            "LIMIT_EXCEEDED",
        ),
    ] {
        let outcome = bed.call("qsys_set_controls", arguments.clone()).await;
        assert_eq!(code(outcome), refusal, "{arguments}");
    }
    assert!(bed.sim.writes().is_empty());
    // The step counts from where the Core is now, not from what the mirror heard last.
    assert!(bed.sim.set_value("Hall A Gain", "gain", -40.0));
    let outcome = bed
        .call("qsys_set_controls", form("value", json!(-20)))
        .await;
    assert_eq!(code(outcome), "LIMIT_EXCEEDED");
    for value in [-34.0, -28.0, -60.0] {
        let answer = bed.call("qsys_set_controls", form("value", json!(value)));
        assert_eq!(answer.await.unwrap()["changes"][0]["value"], value);
    }
    assert_eq!(bed.sim.writes().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_over_what_somebody_else_just_moved() {
    let bed = Bed::live(design::venue(), OPEN).await;
    assert!(bed.sim.set_value("Hall A Gain", "gain", -33.0));
    let set = json!({ "reason": "a test", "changes": [
        { "component": "Hall A Gain", "control": "gain", "value": -3, "expect": { "value": -6 } }] });
    let outcome = bed.call("qsys_set_controls", set).await;
    assert_eq!(code(outcome), "MOVED");
    assert!(bed.sim.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_ramp_moves_over_its_time_and_is_seen_moving_and_arriving() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let set = json!({ "reason": "a test", "changes": [
        { "component": "Hall A Gain", "control": "gain", "value": -30, "ramp_s": 10 }] });
    let answer = bed.call("qsys_set_controls", set).await.unwrap();
    let row = &answer["changes"][0];
    assert_eq!(row["outcome"], "written");
    assert!(row.get("as_asked").is_none(), "{row:#}");
    sleep(Duration::from_secs(5)).await;
    let half_way = bed.sim.value("Hall A Gain", "gain").unwrap();
    assert!((-20.0..=-16.0).contains(&half_way), "{half_way}");
    let seen = bed.reading("Hall A Gain", "gain").await["value"].clone();
    assert!(
        (-20.0..=-14.0).contains(&seen.as_f64().unwrap()),
        "{seen} is seen"
    );
    let wait = json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }], "timeout_s": 20,
        "condition": { "equals": -30 } });
    let arrived = bed.call("qsys_wait_for_change", wait).await.unwrap();
    assert_eq!(arrived["outcome"], "condition_met");
    assert!(arrived["waited_ms"].as_u64().unwrap() < 7_000);
    assert_eq!(bed.sim.value("Hall A Gain", "gain"), Some(-30.0));
    assert_eq!(bed.sim.writes()[0].ramp, Some(10.0));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_moves_the_room_and_says_that_it_matches() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let answer = bed.call("qsys_load_snapshot", load("House Scenes", 2));
    let answer = answer.await.unwrap();
    assert_eq!(
        (&answer["via"], &answer["state"]),
        (&json!("controller"), &json!("matching")),
        "{answer:#}"
    );
    assert_eq!(bed.sim.value("Hall A Gain", "gain"), Some(-3.0));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bed.reading("Foyer Gain", "gain").await["value"], -26.0);
    let listed = bed.call("qsys_list_snapshots", json!({})).await.unwrap();
    assert!(listed.to_string().contains("House Scenes"));
}

#[tokio::test(start_paused = true)]
async fn named_controls_are_read_and_written_without_a_component() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let read = json!({ "controls": [{ "control": "MainGain" }, { "control": "MainMute" }] });
    let answer = bed.call("qsys_get_controls", read).await.unwrap();
    assert_eq!(
        (
            &answer["controls"][0]["value"],
            &answer["controls"][1]["value"]
        ),
        (&json!(-6.0), &json!(0.0))
    );
    let set = json!({ "reason": "a test", "changes": [
        { "control": "MainGain", "value": -9 }, { "control": "MainMute", "value": true }] });
    let answer = bed.call("qsys_set_controls", set).await.unwrap();
    for row in answer["changes"].as_array().unwrap() {
        assert_eq!(
            (&row["outcome"], &row["as_asked"]),
            (&json!("written"), &json!(true)),
            "{answer:#}"
        );
    }
    assert_eq!(bed.sim.named_value("MainGain"), Some(-9.0));
    // The same control under both its names.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bed.reading("Hall A Gain", "gain").await["value"], -9.0);
    let unknown = json!({ "controls": [{ "control": "MainGian" }] });
    let fault = bed.call("qsys_get_controls", unknown).await.unwrap_err();
    assert_eq!(fault["code"], "NOT_FOUND");
    assert!(fault["data"]["nearest"].to_string().contains("MainGain"));
}

#[tokio::test(start_paused = true)]
async fn of_two_cores_the_one_that_is_named_is_read_and_written() {
    let [hall, annex] = [design::venue(), design::generated(3, 4)]
        .map(|design| SimCore::new(design, Options::default()));
    let bed = Bed::with_cores(&[("hall", hall.clone()), ("annex", annex.clone())], OPEN);
    bed.reached("live").await;
    let status = json!({ "core": "annex" });
    let mut link = bed.call("qsys_get_link_status", status.clone()).await;
    while link.unwrap()["state"] != "live" {
        sleep(Duration::from_millis(100)).await;
        link = bed.call("qsys_get_link_status", status.clone()).await;
    }
    let mut set = change("Block 2", "channel.1.gain", -12.0);
    assert_eq!(
        code(bed.call("qsys_set_controls", set.clone()).await),
        "BAD_ARGUMENTS"
    );
    set["core"] = "hall".into();
    assert_eq!(
        code(bed.call("qsys_set_controls", set.clone()).await),
        "NOT_FOUND"
    );
    set["core"] = "attic".into();
    assert_eq!(
        code(bed.call("qsys_set_controls", set.clone()).await),
        "NOT_FOUND"
    );
    assert_eq!(
        code(
            bed.call("qsys_load_snapshot", load("House Scenes", 1))
                .await
        ),
        "BAD_ARGUMENTS"
    );
    set["core"] = "annex".into();
    let answer = bed.call("qsys_set_controls", set).await.unwrap();
    assert_eq!(answer["core"], "annex");
    assert_eq!(annex.value("Block 2", "channel.1.gain"), Some(-12.0));
    assert!(hall.writes().is_empty());
    // A Core that is away says nothing of the other one.
    annex.outage(rackhand::sim::Outage {
        refuse: Duration::from_hours(1),
        ..rackhand::sim::Outage::default()
    });
    sleep(Duration::from_mins(1)).await;
    assert_eq!(bed.link().await["state"], "live");
    let health = bed.health().await;
    assert_eq!(health["status"], "DEGRADED");
    assert!(health["summary"].as_str().unwrap().contains("annex"));
}
