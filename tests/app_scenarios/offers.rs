//! Resources, prompts and completions of a box with a live Core, over MCP.

use rackhand::sim::design;
use serde_json::{Value, json};

use crate::bed::{Bed, OPEN};

/// Calls a method as a viewer; the result, or the error.
async fn ask(bed: &Bed, method: &str, mut params: Value) -> Result<Value, Value> {
    let name = params
        .get("name")
        .or(params.get("uri"))
        .and_then(Value::as_str);
    let name = name.map_or_else(String::new, |name| format!("mcp-name: {name}\r\n"));
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "scenario", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let client = bed.client("viewer");
    let key = client.key.as_deref().unwrap_or_default();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}authorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = client.exchange(&request).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    match answer.get("error") {
        Some(error) => Err(error.clone()),
        None => Ok(answer["result"].clone()),
    }
}

async fn read(bed: &Bed, uri: &str) -> Result<Value, Value> {
    let result = ask(bed, "resources/read", json!({ "uri": uri })).await?;
    let text = result["contents"][0]["text"].as_str().unwrap();
    Ok(serde_json::from_str(text).unwrap())
}

#[tokio::test(start_paused = true)]
async fn every_listed_resource_can_be_read_and_a_value_is_the_cores_own() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let listed = ask(&bed, "resources/list", json!({})).await.unwrap();
    let listed = listed["resources"].as_array().unwrap();
    assert!(listed.len() >= 7, "{listed:?}");
    for resource in listed {
        let uri = resource["uri"].clone();
        let result = ask(&bed, "resources/read", json!({ "uri": uri }))
            .await
            .unwrap();
        assert_eq!(result["contents"][0]["uri"], uri);
    }
    assert!(bed.sim.set_value("Hall A Gain", "gain", -17.0));
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let gain = read(&bed, "qsys://control/Hall%20A%20Gain/gain")
        .await
        .unwrap();
    assert_eq!(
        (&gain["value"], &gain["quality"]),
        (&json!(-17.0), &json!("live"))
    );
    let fault = read(&bed, "qsys://component/No%20such").await.unwrap_err();
    assert!(fault["code"].as_i64().unwrap() < 0, "{fault}");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_filled_in_with_a_room_that_was_completed() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let typing = json!({ "ref": { "type": "ref/prompt", "name": "no_sound" }, "argument": { "name": "room", "value": "ha" } });
    let answer = ask(&bed, "completion/complete", typing).await.unwrap();
    let rooms = answer["completion"]["values"].as_array().unwrap();
    assert!(rooms.contains(&json!("Hall A")), "{rooms:?}");
    let filled = json!({ "name": "no_sound", "arguments": { "room": "Hall A" } });
    let answer = ask(&bed, "prompts/get", filled).await.unwrap();
    let text = answer["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("\"Hall A\"") && text.contains("qsys_read_meters"));
    let typing = json!({ "ref": { "type": "ref/resource", "uri": "qsys://control/{component}/{control}" },
        "argument": { "name": "control", "value": "ga" }, "context": { "arguments": { "component": "Hall A Gain" } } });
    let answer = ask(&bed, "completion/complete", typing).await.unwrap();
    assert_eq!(answer["completion"]["values"], json!(["gain"]));
}
