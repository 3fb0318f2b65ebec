//! Older names: their shapes, and that no rule is looser under them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::limits::{ANSWER_MAX_BYTES, WATCHES_PER_CALLER_MAX};
use crate::safety::{Ceiling, SafetyConfig};
use crate::service::qsys::testing::{Bed, Next, bed, bed_with};
use crate::service::{Effect, FaultCode, Registry, Service};
use crate::wire::qrc::{Request, Scalar};

fn write(component: &str, control: &str, value: impl Into<Value>) -> Value {
    json!({ "component_name": component, "control_name": control, "value": value.into() })
}

#[tokio::test(start_paused = true)]
async fn older_names_are_no_tools_of_the_list_and_say_what_they_do_to_the_world() {
    let bed = bed();
    let listed: Vec<_> = bed.service.tools().iter().map(|tool| tool.name).collect();
    for tool in bed.service.older_names() {
        assert!(!listed.contains(&tool.name));
        let writes = tool.name.contains("set_control");
        assert_eq!(
            (tool.effect != Effect::Read, tool.is_destructive),
            (writes, writes),
            "{}",
            tool.name
        );
        assert_eq!(
            tool.input_schema["additionalProperties"], false,
            "{}",
            tool.name
        );
    }
    let service: Arc<dyn Service> = bed.service.clone();
    Registry::new(&[service]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn values_are_read_by_two_names_or_by_one() {
    let bed = bed();
    let one = json!({ "component_name": "Main Gain", "control_name": "gain" });
    let answer = bed.older("qsys.get_control", one).await.unwrap();
    let gain = json!({ "component": "Main Gain", "name": "gain", "value": -12.0, "string": "-12dB",
        "position": 0.733_333_35, "quality": "live", "ageMs": 0 });
    assert_eq!(answer, gain);
    let many = json!({ "controls": [{ "component": "Main Gain", "name": "gain" }, "Main Gain.gain", "Scenes.load_2", "SystemMute", "Main Gain.gian"] });
    let answer = bed.older("get_control_values", many).await.unwrap();
    let values = answer["values"].as_array().unwrap();
    assert_eq!((&values[0], &values[1]), (&gain, &gain));
    assert_eq!(
        (
            &values[2]["name"],
            &values[3]["name"],
            values[3].get("component")
        ),
        (&json!("load.2"), &json!("SystemMute"), None)
    );
    assert_eq!(answer["missing"][0]["error"], "NOT_FOUND");
    assert!(
        answer["missing"][0]["message"]
            .as_str()
            .unwrap()
            .contains("nearest names are: gain")
    );
    let nothing = json!({ "controls": ["No.such.thing"] });
    assert_eq!(
        bed.older("get_control_values", nothing)
            .await
            .unwrap_err()
            .code,
        FaultCode::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn a_component_whose_name_has_dots_is_found_in_a_name_in_one() {
    let bed = bed();
    let controls =
        vec![json!({ "Name": "input.1.gain", "Type": "Float", "Value": -3.0, "String": "-3dB" })];
    bed.push(
        "code2",
        &[("Hall", "gain", vec![]), ("Hall.A v2.0", "mixer", controls)],
    );
    let asked = json!({ "controls": ["Hall.A v2.0.input.1.gain", "Hall.A v2.0.input_1_gain"] });
    let answer = bed.older("get_control_values", asked).await.unwrap();
    for row in answer["values"].as_array().unwrap() {
        assert_eq!(
            (&row["component"], &row["name"]),
            (&json!("Hall.A v2.0"), &json!("input.1.gain"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn writes_go_out_as_those_of_the_present_tool() {
    let bed = bed();
    let mut one = write("Main Gain", "gain", -6.0);
    one["ramp_time"] = 2.5.into();
    let answer = bed.older("qsys.set_control", one).await.unwrap();
    assert_eq!(
        (&answer["success"], &answer["value"]),
        (&json!(true), &json!(-6.0))
    );
    let many = json!({ "controls": [{ "name": "Main Gain.mute", "value": true }, { "component": "Panel", "name": "select", "value": "HDMI 2" },
        { "component": "Side Gain", "name": "gain", "position": 0.25, "ramp": 1 }], "validate": true });
    let answer = bed.older("set_control_values", many).await.unwrap();
    assert_eq!(
        (&answer["success"], &answer["controls"][1]["string"]),
        (&json!(true), &json!("HDMI 2"))
    );
    let sets: Vec<_> = bed
        .requests()
        .into_iter()
        .filter_map(|request| match request {
            Request::ComponentSet(set) => Some((set.name, set.controls)),
            _ => None,
        })
        .collect();
    assert_eq!(
        (sets[0].1[0].ramp, &sets[0].1[0].value),
        (Some(2.5), &Some(Scalar::Number(-6.0)))
    );
    let names: Vec<_> = sets.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Main Gain", "Main Gain", "Panel", "Side Gain"]);
    assert_eq!(
        (sets[3].1[0].position, sets[3].1[0].ramp),
        (Some(0.25), Some(1.0))
    );
}

fn ceiling() -> Ceiling {
    Ceiling {
        pattern: "Main Gain/gain".into(),
        max_value: -6.0,
        max_step_up: Some(3.0),
    }
}

/// What the present tool answers to the same wish.
async fn present(bed: &Bed, wish: &Value) -> FaultCode {
    let mut change =
        json!({ "component": wish["component_name"], "control": wish["control_name"] });
    let field = if wish["value"].is_string() {
        "string"
    } else {
        "value"
    };
    change[field] = wish["value"].clone();
    if let Some(ramp) = wish.get("ramp_time") {
        change["ramp_s"] = ramp.clone();
    }
    let arguments = json!({ "changes": [change], "reason": "test" });
    bed.call("qsys_set_controls", arguments)
        .await
        .unwrap_err()
        .code
}

#[tokio::test(start_paused = true)]
async fn no_rule_is_looser_under_an_older_name() {
    let off = bed_with(&SafetyConfig::default());
    let safety = SafetyConfig {
        writes: true,
        protected: vec!["*/mute".into()],
        ceilings: vec![ceiling()],
        ..SafetyConfig::default()
    };
    let ruled = bed_with(&safety);
    for (bed, wish, code) in [
        (
            &off,
            write("Main Gain", "gain", -20.0),
            FaultCode::WritesOff,
        ),
        (
            &ruled,
            write("Main Gain", "mute", true),
            FaultCode::Protected,
        ),
        (
            &ruled,
            write("Main Gain", "gain", 0.0),
            FaultCode::LimitExceeded,
        ),
        (
            &ruled,
            write("Main Gain", "gain", -7.0),
            FaultCode::LimitExceeded,
        ),
        (
            &ruled,
            write("Main Gain", "gain", 500.0),
            FaultCode::OutOfRange,
        ),
        (
            &ruled,
            write("Side Gain", "level", 0.0),
            FaultCode::ReadOnly,
        ),
        (
            &ruled,
            write("Panel", "select", "HDMI 9"),
            FaultCode::OutOfRange,
        ),
        (
            &ruled,
            write("Panel", "select", 1.0),
            FaultCode::BadArguments,
        ),
        (&ruled, write("Main Gian", "gain", 1.0), FaultCode::NotFound),
        (&ruled, write("Scenes", "load.1", 1.0), FaultCode::Protected),
    ] {
        assert_eq!(present(bed, &wish).await, code, "{wish}");
        let fault = bed
            .older("qsys.set_control", wish.clone())
            .await
            .unwrap_err();
        assert_eq!(fault.code, code, "{wish}");
        let mut many = json!({ "controls": [{ "name": wish["control_name"], "component": wish["component_name"], "value": wish["value"] }] });
        let fault = bed
            .older("set_control_values", many.clone())
            .await
            .unwrap_err();
        assert_eq!(fault.code, code, "{wish}");
        let path = format!(
            "{}.{}",
            wish["component_name"].as_str().unwrap(),
            wish["control_name"].as_str().unwrap()
        );
        many["controls"] = json!([{ "name": path, "value": wish["value"] }]);
        let fault = bed.older("set_control_values", many).await.unwrap_err();
        assert_eq!(fault.code, code, "{wish}");
    }
    for bed in [&off, &ruled] {
        let writes = |method: &&str| method.ends_with(".Set");
        assert!(!bed.methods().iter().any(writes), "{:?}", bed.methods());
    }
    let lost = bed();
    lost.expect([Next::Lost]);
    let wish = write("Main Gain", "gain", -6.0);
    let fault = lost.older("qsys.set_control", wish).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::OutcomeUnknown);
}

#[tokio::test(start_paused = true)]
async fn lists_have_the_shapes_that_older_clients_know() {
    let bed = bed();
    let asked = json!({ "filter": "Mixer|gain", "includeProperties": true });
    let answer = bed.older("list_components", asked).await.unwrap();
    assert_eq!((&answer["count"], &answer["total"]), (&json!(2), &json!(2)));
    assert_eq!(
        answer["components"][0],
        json!({ "name": "Main Gain", "type": "gain", "properties": { "n": "8" } })
    );
    let asked = json!({ "componentName": "Main Gain" });
    let answer = bed.older("get_component_controls", asked).await.unwrap();
    let gain = &answer["controls"][0];
    assert_eq!(
        (&gain["name"], &gain["type"], &gain["value"]),
        (&json!("gain"), &json!("gain"), &json!(-12.0))
    );
    assert_eq!(
        gain["metadata"],
        json!({ "min": -100.0, "max": 20.0, "units": "dB", "direction": "Read/Write" })
    );
    let asked = json!({ "controlType": "mute", "includeMetadata": false });
    let answer = bed.older("list_controls", asked).await.unwrap();
    let names: Vec<_> = answer["controls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["SystemMute", "mute"]);
    let answer = bed
        .older("get_all_controls", json!({ "groupByComponent": true }))
        .await
        .unwrap();
    assert_eq!(answer["components"]["Side Gain"][0]["name"], "gain");
    assert_eq!(
        (&answer["count"], answer.get("truncated")),
        (&answer["total"], None)
    );
    let status = bed
        .older("query_core_status", json!({ "includeDesignInfo": true }))
        .await
        .unwrap();
    assert_eq!(
        (&status["status"]["designName"], &status["connected"]),
        (&json!("Town Hall"), &json!(true))
    );
    for absent in ["coreId", "uptime"] {
        assert!(status["status"].get(absent).is_none());
    }
    assert_eq!(
        bed.older("system.ping", json!({})).await.unwrap()["status"],
        "ok"
    );
    assert_eq!(
        bed.older("system.health", json!({})).await.unwrap()["status"],
        "healthy"
    );
    bed.lose_link();
    let health = bed.older("system.health", json!({})).await.unwrap();
    assert_eq!(
        (&health["status"], &health["cores"][0]["link"]),
        (&json!("unhealthy"), &json!("backoff"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_design_comes_in_answers_that_go_on_where_the_last_one_ended() {
    let bed = bed();
    let controls: Vec<Value> = (0..900)
        .map(|number| json!({ "Name": format!("input.{number}.gain"), "Type": "Float", "Value": 0.0, "String": "0dB" }))
        .collect();
    bed.push(
        "code2",
        &[("A", "mixer", controls.clone()), ("B", "mixer", controls)],
    );
    let (mut offset, mut seen) = (json!(0), 0);
    while !offset.is_null() {
        let asked = json!({ "offset": offset, "includeMetadata": true });
        let answer = bed.older("get_all_controls", asked).await.unwrap();
        assert!(answer.to_string().len() <= ANSWER_MAX_BYTES);
        seen += answer["controls"].as_array().unwrap().len();
        offset = answer.get("nextOffset").cloned().unwrap_or_default();
    }
    assert_eq!(seen, 1_801);
}

async fn group(bed: &Bed, tool: &str, rest: Value) -> Value {
    let mut arguments = json!({ "groupId": "desk" });
    arguments
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    bed.older(tool, arguments).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_change_group_tells_everything_once_and_then_what_changed() {
    let bed = bed();
    let made = group(&bed, "create_change_group", json!({ "pollRate": 0.1 })).await;
    assert_eq!(
        (&made["success"], &made["frequency"]),
        (&json!(true), &json!("10.0Hz"))
    );
    let controls = json!({ "controls": [{ "component": "Main Gain", "name": "gain" }, "Main Gain.mute", "No.such"] });
    let added = group(&bed, "add_controls_to_change_group", controls).await;
    assert_eq!(
        (&added["controlsAdded"], &added["notFound"][0]["name"]),
        (&json!(2), &json!("No.such"))
    );
    assert_eq!(bed.fast(), 2);
    let again = json!({ "controlNames": ["Main Gain.gain"] });
    assert_eq!(
        group(&bed, "add_controls_to_change_group", again).await["controlsAdded"],
        0
    );
    let first = group(&bed, "poll_change_group", json!({})).await;
    assert_eq!(
        (&first["changeCount"], &first["hasChanges"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(
        group(&bed, "poll_change_group", json!({})).await["changes"],
        json!([])
    );
    bed.report(
        &json!([{ "Component": "Main Gain", "Name": "gain", "Value": -5, "String": "-5.0dB" }]),
    );
    let answer = bed
        .older("poll_change_group", json!({ "id": "desk" }))
        .await
        .unwrap();
    let row = &answer["changes"][0];
    assert_eq!(
        [
            &row["component"],
            &row["name"],
            &row["value"],
            &row["string"]
        ],
        [
            &json!("Main Gain"),
            &json!("gain"),
            &json!(-5.0),
            &json!("-5.0dB")
        ]
    );
    assert!(row["timestamp"].is_u64());
    let listed = bed.older("list_change_groups", json!({})).await.unwrap();
    assert_eq!(
        listed["groups"],
        json!([{ "id": "desk", "controlCount": 2, "hasAutoPoll": true }])
    );
    let gone = json!({ "controls": ["Main Gain.gain"] });
    assert_eq!(
        group(&bed, "remove_controls_from_change_group", gone).await["controlsRemoved"],
        1
    );
    assert_eq!(bed.fast(), 1);
    group(&bed, "clear_change_group", json!({})).await;
    assert_eq!(bed.fast(), 0);
    group(&bed, "destroy_change_group", json!({})).await;
    let fault = bed
        .older("poll_change_group", json!({ "id": "desk" }))
        .await
        .unwrap_err();
    assert_eq!(fault.code, FaultCode::NotFound);
    assert!(fault.next_step.contains("create_change_group"));
}

#[tokio::test(start_paused = true)]
async fn change_groups_are_each_callers_own_bounded_and_forgotten_when_unused() {
    let bed = bed();
    let made = |name: String| bed.older("create_change_group", json!({ "groupId": name }));
    for number in 0..WATCHES_PER_CALLER_MAX {
        made(number.to_string()).await.unwrap();
    }
    assert_eq!(
        made("one more".into()).await.unwrap_err().code,
        FaultCode::Busy
    );
    assert_eq!(
        made("0".into()).await.unwrap_err().code,
        FaultCode::BadArguments
    );
    let zero = json!({ "groupId": "0" });
    let other = bed
        .older_as("other", "poll_change_group", zero.clone())
        .await;
    assert_eq!(other.unwrap_err().code, FaultCode::NotFound);
    bed.older_as("other", "create_change_group", zero.clone())
        .await
        .unwrap();
    sleep(Duration::from_mins(64)).await;
    bed.older("poll_change_group", zero.clone()).await.unwrap();
    sleep(Duration::from_mins(1)).await;
    let listed = bed.older("list_change_groups", json!({})).await.unwrap();
    assert_eq!(
        (&listed["totalGroups"], &listed["groups"][0]["id"]),
        (&json!(1), &json!("0"))
    );
    let one = json!({ "component": "Main Gain" });
    bed.call("qsys_start_watch", one).await.unwrap();
    let listed = bed.older("list_change_groups", json!({})).await.unwrap();
    assert_eq!(
        listed["totalGroups"], 1,
        "watches under present names are no groups"
    );
}
