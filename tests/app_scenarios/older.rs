//! A program that was written for an older server comes to this one.

use rackhand::sim::design;
use serde_json::{Value, json};

use crate::bed::{Bed, OPEN};

/// What a call by an older name answers: whether it is a fault, and its text.
async fn call(bed: &Bed, role: &str, tool: &str, arguments: Value) -> (Value, String) {
    let client = bed.client(role);
    let reply = client
        .exchange(&client.tool_request(tool, &arguments))
        .await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    let result = &answer["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    (result["isError"].clone(), text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn it_reads_writes_and_follows_changes_as_ever() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let set = json!({ "controls": [{ "component": "Hall A Gain", "name": "gain", "value": -9, "ramp": 0.5 }] });
    let (is_error, text) = call(&bed, "operator", "set_control_values", set.clone()).await;
    assert_eq!(is_error, false, "{text}");
    assert_eq!(bed.sim.writes().len(), 1);
    let (_, text) = call(
        &bed,
        "viewer",
        "create_change_group",
        json!({ "groupId": "g" }),
    )
    .await;
    assert!(text.contains("\"success\":true"), "{text}");
    let add = json!({ "groupId": "g", "controlNames": ["Foyer Gain.gain"] });
    call(&bed, "viewer", "add_controls_to_change_group", add).await;
    let poll = json!({ "groupId": "g" });
    let (_, text) = call(&bed, "viewer", "poll_change_group", poll.clone()).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["changes"][0]["component"], "Foyer Gain");
    let (is_error, text) = call(&bed, "operator", "poll_change_group", poll).await;
    assert_eq!(is_error, true, "a group of another key: {text}");
    let (is_error, _) = call(&bed, "viewer", "set_control_values", set).await;
    assert_ne!(is_error, false, "a key that only looks");
    assert_eq!(bed.sim.writes().len(), 1);
}
