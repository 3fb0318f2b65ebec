//! Completions: for arguments of prompts and variables of templates.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::shelf::Shelf;

fn bed() -> Bed {
    Bed::serving_also(Arc::new(Shelf::with_books(3)))
}

fn letter(argument: &str, typed: &str) -> Value {
    json!({"ref": {"type": "ref/prompt", "name": "shelf_letter"}, "argument": {"name": argument, "value": typed}})
}

fn book(typed: &str) -> Value {
    json!({"ref": {"type": "ref/resource", "uri": "shelf://book/{number}"}, "argument": {"name": "number", "value": typed}})
}

#[tokio::test(start_paused = true)]
async fn arguments_of_prompts_and_variables_of_templates_are_completed() {
    let mut bed = bed();
    let mut client = bed.client();
    for (params, values, total, has_more) in [
        (
            letter("tone", "f"),
            json!(["formal", "friendly", "furious"]),
            3,
            false,
        ),
        (letter("tone", "fu"), json!(["furious"]), 1, false),
        (letter("tone", "x"), json!([]), 0, false),
        (
            book("24"),
            json!([
                "24", "240", "241", "242", "243", "244", "245", "246", "247", "248", "249"
            ]),
            11,
            false,
        ),
    ] {
        let answer = client.modern("completion/complete", params).await.json();
        assert_eq!(
            answer["result"]["completion"],
            json!({"values": values, "total": total, "hasMore": has_more})
        );
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_a_hundred_values_are_sent_and_the_rest_is_counted() {
    let mut bed = bed();
    let answer = bed.client().modern("completion/complete", book("")).await;
    let completion = &answer.json()["result"]["completion"];
    assert_eq!(completion["values"].as_array().unwrap().len(), 100);
    assert_eq!(completion["total"], 250);
    assert_eq!(completion["hasMore"], true);
}

#[tokio::test(start_paused = true)]
async fn what_is_filled_in_already_counts_from_the_revision_on_that_sends_it() {
    for (version, expected) in [
        ("2024-11-05", "any reader"),
        ("2025-03-26", "any reader"),
        ("2025-06-18", "furious reader"),
        ("2025-11-25", "furious reader"),
    ] {
        let mut bed = bed();
        let mut client = bed.client();
        client.initialize(version).await;
        let mut params = letter("to", "");
        params["context"] = json!({"arguments": {"tone": "furious"}});
        let answer = client.legacy("completion/complete", params).await.json();
        let values = &answer["result"]["completion"]["values"];
        // The fixture completes nothing that does not begin with what is typed, and nothing is typed.
        assert_eq!(values, &json!([expected]), "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_not_completed() {
    let mut bed = bed();
    let mut client = bed.client();
    for change in [
        ("/ref/type", json!("ref/tool")),
        ("/ref/type", json!(7)),
        ("/ref/name", json!("no_such_prompt")),
        ("/ref/name", json!(null)),
        ("/ref", json!("shelf_letter")),
        ("/argument/name", json!("cc")),
        ("/argument/value", json!(7)),
        ("/argument", json!([])),
    ] {
        let mut params = letter("tone", "f");
        *params.pointer_mut(change.0).unwrap() = change.1.clone();
        let response = client.modern("completion/complete", params).await;
        assert_eq!(response.code(), (200, -32602), "{change:?}");
    }
    for context in [
        json!([]),
        json!({"arguments": {"tone": 7}}),
        json!({"arguments": 7}),
    ] {
        let mut params = letter("tone", "f");
        params["context"] = context;
        let response = client.modern("completion/complete", params).await;
        assert_eq!(response.code(), (200, -32602));
    }
    for (uri, variable) in [
        ("shelf://book/7", "number"),
        ("shelf://book/{number}", "book"),
    ] {
        let params = json!({"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": variable, "value": ""}});
        let response = client.modern("completion/complete", params).await;
        assert_eq!(response.code(), (200, -32602), "{uri}");
    }
    let unhelped = json!({"ref": {"type": "ref/resource", "uri": "shelf://page/{book}/{number}"}, "argument": {"name": "book", "value": ""}});
    let answer = client.modern("completion/complete", unhelped).await.json();
    assert_eq!(answer["result"]["completion"]["values"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn completions_are_for_those_who_may_read() {
    let mut bed = bed();
    let mut client = bed.client_as("writes-only");
    let response = client.modern("completion/complete", book("")).await;
    assert_eq!(response.status, 403);
}
