//! Which reasons are given, and in which order.

use serde_json::{Value, json};

use crate::link::LinkState;
use crate::service::qsys::testing::{Bed, bed};
use crate::wire::qrc::EngineState;

async fn explain(bed: &Bed, arguments: Value) -> (Value, Vec<String>) {
    let answer = bed
        .call("qsys_explain_visibility", arguments)
        .await
        .unwrap();
    let codes = answer["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason["code"].as_str().unwrap().to_owned())
        .collect();
    (answer, codes)
}

#[tokio::test(start_paused = true)]
async fn what_can_be_seen_is_said_to_be_visible() {
    let bed = bed();
    for arguments in [
        json!({ "component": "Main Gain" }),
        json!({ "component": "Scenes", "control": "load_1" }),
        json!({ "control": "SystemMute" }),
    ] {
        let (answer, codes) = explain(&bed, arguments).await;
        assert_eq!(
            (&answer["visible"], codes),
            (&json!(true), vec!["VISIBLE".to_owned()])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_component_is_misspelt_hidden_or_named_otherwise() {
    let bed = bed();
    let (answer, codes) = explain(&bed, json!({ "component": "Main Gian" })).await;
    assert_eq!(answer["visible"], false);
    assert_eq!(codes, ["MISSPELT", "SCRIPT_ACCESS", "NO_CODE_NAME"]);
    assert!(
        answer["reasons"][0]["explanation"]
            .as_str()
            .unwrap()
            .contains("Main Gain")
    );
}

#[tokio::test(start_paused = true)]
async fn a_component_of_the_design_before_is_remembered() {
    let bed = bed();
    bed.push("code2", &[("Other", "gain", vec![])]);
    let (_, codes) = explain(&bed, json!({ "component": "Side Gain" })).await;
    assert_eq!(codes[0], "GONE_WITH_NEW_DESIGN");
}

#[tokio::test(start_paused = true)]
async fn a_component_whose_listing_failed_is_not_said_to_be_gone() {
    let bed = bed();
    bed.push("code2", &[("Other", "gain", vec![])]);
    bed.set_link(|status| status.unlisted_components.push("Side Gain: boom".into()));
    let (answer, codes) = explain(&bed, json!({ "component": "Side Gain" })).await;
    assert_eq!(codes, ["REFUSED_BY_CORE"]);
    let words = answer["reasons"][0]["explanation"].as_str().unwrap();
    assert!(
        words.contains("the Core refused to list it: boom"),
        "{words}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_oversize_component_is_named_as_such() {
    let bed = bed();
    bed.set_link(|status| status.oversize_components.push("Script".into()));
    let (_, codes) = explain(&bed, json!({ "component": "Script" })).await;
    assert_eq!(codes, ["OVERSIZE"]);
}

#[tokio::test(start_paused = true)]
async fn a_named_control_has_to_be_configured() {
    let bed = bed();
    let (_, codes) = explain(&bed, json!({ "control": "HouseLights" })).await;
    assert_eq!(codes, ["NAMED_CONTROL_NOT_CONFIGURED"]);
}

#[tokio::test(start_paused = true)]
async fn without_arguments_the_link_and_the_engine_are_explained() {
    let bed = bed();
    let (answer, codes) = explain(&bed, json!({})).await;
    assert_eq!(
        (answer.get("visible"), codes),
        (None, vec!["HEALTHY".to_owned()])
    );
    for (state, code) in [
        (LinkState::Refused, "ACCESS_REFUSED"),
        (LinkState::Standby, "STANDBY"),
        (LinkState::Backoff, "NO_LINK"),
        (LinkState::AwaitEngineStatus, "CORE_STARTING"),
        (LinkState::Enumerating, "STILL_LEARNING"),
    ] {
        bed.set_link(|status| status.state = state);
        assert_eq!(explain(&bed, json!({})).await.1[0], code);
    }
    bed.set_link(|status| {
        status.state = LinkState::Live;
        status.engine.as_mut().unwrap().state = EngineState::Idle;
    });
    assert_eq!(explain(&bed, json!({})).await.1, ["DESIGN_NOT_RUNNING"]);
    bed.set_link(|status| status.untrusted_fingerprint = Some("ab".into()));
    assert_eq!(explain(&bed, json!({})).await.1[0], "CERTIFICATE_CHANGED");
}
