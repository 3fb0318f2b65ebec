//! Prompts: how they are listed and filled in, in each revision.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::bed::{Bed, modern, refs};
use crate::shelf::Shelf;

fn bed() -> Bed {
    Bed::serving_also(Arc::new(Shelf::with_books(3)))
}

#[tokio::test(start_paused = true)]
async fn prompts_are_listed_with_what_the_person_fills_in() {
    let mut bed = bed();
    let result = bed.client().modern("prompts/list", json!({})).await.json()["result"].take();
    let names: Vec<_> = result["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prompt| prompt["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["shelf_tidy", "shelf_letter", "shelf_lost"]);
    assert_eq!(
        result["prompts"][1]["arguments"][0],
        json!({"name": "to", "title": "To", "description": "Who gets it.", "required": true})
    );
    assert_eq!(
        (&result["ttlMs"], &result["cacheScope"]),
        (&json!(300_000), &json!("private"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_filled_in_with_its_arguments() {
    let mut bed = bed();
    let params = json!({"name": "shelf_letter", "arguments": {"to": "Ada", "tone": "formal"}});
    let response = bed.client().modern("prompts/get", params).await;
    let result = &response.json()["result"];
    assert_eq!(result["description"], "From the shelf.");
    assert_eq!(
        result["messages"][0],
        json!({"role": "user", "content": {"type": "text", "text": "Write a formal letter to Ada."}})
    );
    assert_eq!(result["messages"][1]["role"], "assistant");
    assert!(result.get("ttlMs").is_none(), "a prompt is no list");
}

#[tokio::test(start_paused = true)]
async fn each_revision_is_sent_what_it_knows_of_a_prompt() {
    for (version, has_titles, link, sound) in [
        ("2024-11-05", false, "text", "text"),
        ("2025-03-26", false, "text", "audio"),
        ("2025-06-18", true, "resource_link", "audio"),
        ("2025-11-25", true, "resource_link", "audio"),
    ] {
        let mut bed = bed();
        let mut client = bed.client();
        client.initialize(version).await;
        let listed = client.legacy("prompts/list", json!({})).await.json();
        let prompt = &listed["result"]["prompts"][1];
        assert_eq!(prompt.get("title").is_some(), has_titles, "{version}");
        assert_eq!(prompt["arguments"][0].get("title").is_some(), has_titles);
        assert!(listed["result"].get("ttlMs").is_none());
        let params = json!({"name": "shelf_letter", "arguments": {"to": "Ada"}});
        let answer = client.legacy("prompts/get", params).await.json();
        let types: Vec<&Value> = (0..3)
            .map(|index| &answer["result"]["messages"][index]["content"]["type"])
            .collect();
        assert_eq!(types, ["text", link, sound], "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn arguments_that_do_not_fit_are_named() {
    let mut bed = bed();
    let mut client = bed.client();
    for (arguments, path) in [
        (json!({}), "/to"),
        (json!({"tone": "formal"}), "/to"),
        (json!({"to": 7}), "/to"),
        (json!({"to": "Ada", "cc": "Bob"}), "/cc"),
    ] {
        let params = json!({"name": "shelf_letter", "arguments": arguments});
        let response = client.modern("prompts/get", params).await;
        assert_eq!(response.code(), (200, -32602), "{arguments}");
        assert_eq!(response.json()["error"]["data"][0]["path"], path);
    }
    for params in [
        json!({"name": "shelf_letter"}),
        json!({"name": "shelf_letter", "arguments": ["to"]}),
        json!({"name": "no_such_prompt"}),
        json!({}),
    ] {
        let response = client.modern("prompts/get", params).await;
        assert_eq!(response.code(), (200, -32602));
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_cannot_be_had_is_an_error_that_says_why() {
    let mut bed = bed();
    let params = json!({"name": "shelf_lost"});
    let response = bed.client().modern("prompts/get", params).await;
    assert_eq!(response.code(), (200, -32603));
    assert_eq!(response.json()["error"]["data"]["code"], "LINK_DOWN");
}

#[tokio::test(start_paused = true)]
async fn the_header_names_the_prompt_or_the_resource() {
    let mut bed = bed();
    let mut client = bed.client();
    for (method, params) in [
        ("prompts/get", json!({"name": "shelf_tidy"})),
        ("resources/read", json!({"uri": "shelf://catalogue"})),
    ] {
        let (headers, body) = modern(method, params);
        assert_eq!(headers[2].0, "Mcp-Name");
        for name in ["", "wrong"] {
            let mut extra = refs(&headers[..2]);
            extra.push(("mcp-name", name));
            let response = client.post(&extra, &body.to_string()).await;
            assert_eq!(response.code(), (400, -32020), "{method} {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn prompts_are_for_those_who_may_read() {
    let mut bed = bed();
    let mut client = bed.client_as("writes-only");
    let listed = client.modern("prompts/list", json!({})).await.json();
    assert_eq!(listed["result"]["prompts"], json!([]));
    let response = client
        .modern("prompts/get", json!({"name": "shelf_tidy"}))
        .await;
    assert_eq!(response.status, 403);
    assert!(
        response
            .header("www-authenticate")
            .contains(r#"scope="read""#)
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_without_prompts_declares_none_and_answers_none() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let discovered = client.modern("server/discover", json!({})).await.json();
    let capabilities = &discovered["result"]["capabilities"];
    for capability in ["prompts", "resources", "completions"] {
        assert!(capabilities.get(capability).is_none(), "{capability}");
    }
    for method in [
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
    ] {
        let response = client.modern(method, json!({})).await;
        assert_eq!(response.code(), (404, -32601), "{method}");
    }
    client.initialize("2025-11-25").await;
    let response = client.legacy("prompts/list", json!({})).await;
    assert_eq!(response.code(), (200, -32601));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_declared_in_the_words_of_each_revision() {
    let mut bed = bed();
    let mut client = bed.client();
    let discovered = client.modern("server/discover", json!({})).await.json();
    for capability in ["tools", "prompts", "resources", "completions"] {
        assert!(
            discovered["result"]["capabilities"][capability].is_object(),
            "{capability}"
        );
    }
    for (version, has_completions) in [
        ("2024-11-05", false),
        ("2025-03-26", true),
        ("2025-11-25", true),
    ] {
        let mut client = bed.client();
        let opened = client.initialize(version).await.json();
        let capabilities = &opened["result"]["capabilities"];
        assert!(capabilities["prompts"].is_object());
        assert_eq!(
            capabilities.get("completions").is_some(),
            has_completions,
            "{version}"
        );
    }
}
