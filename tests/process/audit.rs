//! The record of the real program: by its tool, over HTTP, on the command line, and after a kill.

use serde_json::{Value, json};

use crate::bed::{Box, Core, Place, exchange, run, until};

/// The lines on disk.
async fn exported(place: &Place) -> Vec<Value> {
    let (exit, said) = run(&["audit", "export", "--data", &place.data()]).await;
    assert_eq!(exit, Some(0), "{said}");
    let lines = said.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn verified(place: &Place) -> (Option<i32>, String) {
    run(&["audit", "verify", "--data", &place.data()]).await
}

async fn set(served: &Box, value: i32) {
    let change = json!({ "component": "Hall A Gain", "control": "gain", "value": value });
    let arguments = json!({ "reason": "a test", "changes": [change] });
    served.must("qsys_set_controls", arguments).await;
}

#[tokio::test]
async fn a_change_is_on_record_also_after_a_kill_and_a_changed_record_shows() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("FOH laptop", "admin").await;
    let mut served = place.serve(&key).await;
    served.reached("live").await;
    set(&served, -12).await;
    let seen = served
        .must("qsys_get_audit", json!({"tool": "qsys_set_controls"}))
        .await;
    assert_eq!(
        (&seen["total"], &seen["not_on_disk"]),
        (&json!(1), &json!(0)),
        "{seen:#}"
    );
    let entry = &seen["entries"][0];
    assert_eq!(
        (&entry["caller"], &entry["core"], &entry["outcome"]),
        (&json!("FOH laptop"), &json!("hall"), &json!("OK"))
    );
    assert_eq!(entry["arguments"]["changes"][0]["value"], -12);
    until("on disk", async || {
        let all = exported(&place).await;
        let written = all.iter().any(|line| line["kind"] == "write");
        written.then_some(()).ok_or_else(|| format!("{all:?}"))
    })
    .await;
    place.key("spare", "viewer").await;
    until("the new key on record", async || {
        let all = exported(&place).await;
        let mut keys = all.iter().filter(|line| line["kind"] == "key");
        let is_there = keys.any(|line| line["detail"]["added"] == json!(["spare"]));
        is_there.then_some(()).ok_or_else(|| format!("{all:?}"))
    })
    .await;
    let request = format!(
        "GET /audit.jsonl HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    let (status, body) = exchange(&served.address, &request).await.unwrap();
    assert_eq!(status, 200);
    assert!(
        body.contains("\"kind\":\"login\"") && body.contains("\"tool\":\"qsys_set_controls\""),
        "{body}"
    );
    assert!(served.process.signal("KILL").await);
    served.process.ended().await;
    let (exit, said) = verified(&place).await;
    assert!(
        exit == Some(0) && said.contains("The chain is whole."),
        "{said}"
    );

    let served = place.serve(&key).await;
    served.reached("live").await;
    let seen = served
        .must("qsys_get_audit", json!({"tool": "qsys_set_controls"}))
        .await;
    assert_eq!(
        seen["entries"][0]["arguments"]["changes"][0]["value"], -12,
        "{seen:#}"
    );
    let said = served.process.stopped().await;
    assert!(!said.contains(&key[4..]), "{said}");
    let all = exported(&place).await;
    let kinds: Vec<_> = all
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"cut") && kinds.last() == Some(&"stop"),
        "{kinds:?}"
    );
    assert!(all.iter().all(|line| !line.to_string().contains(&key[4..])));

    let folder = place.path().join("data/audit");
    let file = std::fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"value\":-12", "\"value\":-90", 1)).unwrap();
    let (exit, said) = verified(&place).await;
    assert!(
        exit == Some(1) && said.contains("THE CHAIN IS BROKEN"),
        "{said}"
    );
}

#[tokio::test]
async fn where_the_record_comes_first_nothing_changes_without_it() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("desk", "admin").await;
    let text = std::fs::read_to_string(place.config()).unwrap();
    place.configure(&format!("{text}[audit]\nrequired = true\n"));
    // A file where the folder should be: every line fails.
    let in_the_way = place.path().join("data/audit");
    std::fs::write(&in_the_way, "").unwrap();
    let served = place.serve(&key).await;
    served.reached("live").await;
    let change = json!({ "component": "Hall A Gain", "control": "gain", "value": -20 });
    let arguments = json!({ "reason": "a test", "changes": [change] });
    let (_, answer) = served
        .call("qsys_set_controls", arguments.clone())
        .await
        .unwrap();
    assert!(answer.get("changes").is_none(), "{answer:#}");
    let health = served.health().await;
    assert_eq!(health["status"], "DEGRADED");
    assert!(
        health["summary"]
            .as_str()
            .unwrap()
            .contains("lines of the audit trail are not on disk"),
        "{health:#}"
    );
    std::fs::remove_file(&in_the_way).unwrap();
    until("written again", async || {
        let (_, answer) = served
            .call("qsys_set_controls", arguments.clone())
            .await
            .unwrap();
        answer
            .get("changes")
            .map(drop)
            .ok_or_else(|| answer.to_string())
    })
    .await;
    assert_eq!(
        served.health().await["detail"]["audit"]["fault"],
        Value::Null
    );
}

#[tokio::test]
async fn keys_that_came_and_went_while_the_service_was_stopped_are_on_record() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("FOH laptop", "admin").await;
    place.key("stays", "viewer").await;
    place.key("goes", "viewer").await;
    let of_keys = async || -> Vec<Value> {
        let lines = exported(&place).await.into_iter();
        let lines = lines.filter(|line| line["kind"] == "key");
        lines.map(|line| line["detail"].clone()).collect()
    };
    let served = place.serve(&key).await;
    served.process.stopped().await;
    let first = json!({"added": ["FOH laptop", "goes", "stays"], "changed": [], "gone": [], "while_stopped": true});
    assert_eq!(of_keys().await, [first]);

    // Nothing happened.
    place.serve(&key).await.process.stopped().await;
    assert_eq!(of_keys().await.len(), 1);

    let (exit, said) = run(&["key", "revoke", "--data", &place.data(), "--name", "goes"]).await;
    assert_eq!(exit, Some(0), "{said}");
    place.key("comes", "operator").await;
    // By hand, as nobody should.
    let file = place.path().join("data/keys.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("\"stays\"").unwrap();
    let stronger = after.replacen("viewer", "admin", 1);
    std::fs::write(&file, format!("{before}\"stays\"{stronger}")).unwrap();
    let mut served = place.serve(&key).await;
    let second =
        json!({"added": ["comes"], "changed": ["stays"], "gone": ["goes"], "while_stopped": true});
    until("on record", async || match of_keys().await.get(1) {
        Some(found) if *found == second => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let seen = std::fs::read_to_string(place.path().join("data/keys-seen.json")).unwrap();
    assert!(!seen.contains(&key[4..]), "{seen}");
    assert!(served.process.signal("KILL").await);
    served.process.ended().await;
    let (exit, said) = verified(&place).await;
    assert_eq!(exit, Some(0), "{said}");
}
