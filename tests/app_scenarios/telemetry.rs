//! What the box tells of itself, and how that is switched.

use std::time::Duration;

use rackhand::sim::design;
use serde_json::{Value, json};

use crate::bed::{Bed, OPEN, code, one};

async fn metrics(bed: &Bed, question: Value) -> Value {
    let viewer = bed.client("viewer");
    viewer.call("system_metrics", question).await.unwrap()
}

/// The row of one switch.
async fn switch(bed: &Bed, name: &str) -> Value {
    let answer = metrics(bed, json!({ "names": ["rackhand_info"] })).await;
    let rows = answer["switches"].as_array().unwrap();
    let row = rows.iter().find(|row| row["switch"] == name);
    row.unwrap().clone()
}

async fn set(bed: &Bed, mut wish: Value) -> Result<Value, Value> {
    wish["reason"] = "a test".into();
    bed.client("admin").call("system_set_telemetry", wish).await
}

/// The arguments on record of the last call of a tool that reads.
async fn arguments(bed: &Bed, tool: &str) -> Value {
    let question = json!({ "tool": tool, "limit": 1 });
    let admin = bed.client("admin");
    let answer = admin.call("qsys_get_audit", question).await.unwrap();
    answer["entries"][0]["arguments"].clone()
}

/// How many times were counted for a tool.
async fn counted(bed: &Bed, tool: &str) -> f64 {
    let names = json!({ "names": ["mcp_tool_duration_seconds_count"], "limit": 500 });
    let answer = metrics(bed, names).await;
    let samples = answer["samples"].as_array().unwrap();
    let found = samples.iter().find(|one| one["labels"]["tool"] == tool);
    found.map_or(0.0, |one| one["value"].as_f64().unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_numbers_are_found_by_name_and_come_in_pages() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let answer = metrics(&bed, json!({ "names": ["rackhand_health", "mcp_cache_*"] })).await;
    let samples = answer["samples"].as_array().unwrap();
    let names: Vec<&str> = samples
        .iter()
        .map(|sample| sample["name"].as_str().unwrap())
        .collect();
    for name in [
        "mcp_cache_hits_total",
        "mcp_cache_size_items",
        "rackhand_health",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("mcp_cache_") || *name == "rackhand_health")
    );
    // What only the surface knows is there, too.
    let sessions = metrics(&bed, json!({ "names": ["mcp_sessions"] })).await;
    assert_eq!(sessions["samples"][0]["value"], 0.0);
    let mut found = Vec::new();
    let mut question = json!({ "names": ["qsys_*"], "limit": 3 });
    loop {
        let page = metrics(&bed, question.clone()).await;
        let samples = page["samples"].as_array().unwrap();
        assert!(samples.len() <= 3);
        found.extend(samples.clone());
        let Some(cursor) = page.get("next_cursor") else {
            assert_eq!(page["total"], found.len());
            break;
        };
        question["cursor"] = cursor.clone();
    }
    let whole = metrics(&bed, json!({ "names": ["qsys_*"], "limit": 500 })).await;
    assert_eq!(whole["samples"].as_array().unwrap().len(), found.len());
    let wrong = bed
        .client("viewer")
        .call("system_metrics", json!({ "names": ["[z-a]"] }))
        .await;
    assert_eq!(code(wrong), "BAD_ARGUMENTS");
    let wrong = bed
        .client("viewer")
        .call("system_metrics", json!({ "cursor": "x" }))
        .await;
    assert_eq!(code(wrong), "BAD_ARGUMENTS");
    let bound = bed
        .client("bounded")
        .call("system_metrics", json!({}))
        .await;
    assert_eq!(code(bound), "NOT_VISIBLE");
}

#[tokio::test(start_paused = true)]
async fn the_arguments_of_reads_are_kept_only_while_somebody_wants_them_and_that_is_measured() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let operator = bed.client("operator");
    let reading = one("Hall A Gain", "gain");
    operator
        .call("qsys_get_controls", reading.clone())
        .await
        .unwrap();
    assert_eq!(arguments(&bed, "qsys_get_controls").await, Value::Null);
    assert_eq!(switch(&bed, "audit_detail").await["cost"]["times"], 0);

    let answer = set(&bed, json!({ "audit_detail": true, "minutes": 5 }))
        .await
        .unwrap();
    assert_eq!(answer["switches"][2]["now"], "on");
    operator
        .call("qsys_get_controls", reading.clone())
        .await
        .unwrap();
    let kept = arguments(&bed, "qsys_get_controls").await;
    assert_eq!(kept["controls"][0]["component"], "Hall A Gain");
    let row = switch(&bed, "audit_detail").await;
    assert_eq!((&row["now"], &row["usual"]), (&json!("on"), &json!("off")));
    assert!(row["cost"]["times"].as_u64().unwrap() >= 1, "{row}");
    assert!(row["cost"]["bytes"].as_u64().unwrap() > 20, "{row}");

    // It ends by itself, which is on record.
    tokio::time::sleep(Duration::from_secs(301)).await;
    operator.call("qsys_get_controls", reading).await.unwrap();
    assert_eq!(arguments(&bed, "qsys_get_controls").await, Value::Null);
    let row = switch(&bed, "audit_detail").await;
    assert!(
        row["now"] == "off" && row.get("ends_in_s").is_none(),
        "{row}"
    );
    let trail = bed
        .client("admin")
        .call("qsys_get_audit", json!({ "limit": 50 }))
        .await
        .unwrap();
    let entries = trail["entries"].as_array().unwrap();
    let back = entries
        .iter()
        .find(|entry| entry["kind"] == "config")
        .unwrap();
    assert_eq!(back["detail"]["by"], "time");
    assert_eq!(back["detail"]["telemetry"]["audit_detail"], "off");
    let asked = entries
        .iter()
        .find(|entry| entry["tool"] == "system_set_telemetry");
    assert_eq!(asked.unwrap()["arguments"]["reason"], "a test");
}

#[tokio::test(start_paused = true)]
async fn times_are_counted_for_each_tool_or_for_all_together() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let operator = bed.client("operator");
    let read = || operator.call("qsys_get_controls", one("Hall A Gain", "gain"));
    read().await.unwrap();
    assert!((counted(&bed, "qsys_get_controls").await - 1.0).abs() < f64::EPSILON);
    let row = switch(&bed, "metrics_detail").await;
    assert!(
        row["now"] == "on" && row["cost"]["times"].as_u64().unwrap() > 1,
        "{row}"
    );
    set(&bed, json!({ "metrics_detail": false })).await.unwrap();
    let before = counted(&bed, "all").await;
    read().await.unwrap();
    assert!((counted(&bed, "qsys_get_controls").await - 1.0).abs() < f64::EPSILON);
    assert!(counted(&bed, "all").await > before);
    set(&bed, json!({ "reset": true })).await.unwrap();
    read().await.unwrap();
    assert!((counted(&bed, "qsys_get_controls").await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_switched_is_told_and_nothing_of_it_is() {
    let bed = Bed::live(design::venue(), OPEN).await;
    for wish in [
        json!({}),
        json!({ "log": "debgu", "audit_detail": true }),
        json!({ "log": "info,rackhand=loud", "audit_detail": true }),
        // There is no collector.
        json!({ "traces_percent": 5, "audit_detail": true }),
        json!({ "traces_percent": 101 }),
        json!({ "audit_detail": true, "minutes": 1_441 }),
        json!({ "audit_detail": true, "minutes": 0 }),
    ] {
        let refused = set(&bed, wish.clone()).await;
        assert_eq!(code(refused), "BAD_ARGUMENTS", "{wish}");
    }
    assert_eq!(switch(&bed, "audit_detail").await["now"], "off");
    let row = switch(&bed, "traces").await;
    assert_eq!(row["note"], "There is no collector.");
}
