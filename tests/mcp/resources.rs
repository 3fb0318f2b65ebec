//! Resources: how they are listed and read, in each revision, and what is said of one that is not there.

use std::sync::Arc;

use serde_json::json;

use crate::bed::Bed;
use crate::shelf::Shelf;

fn bed() -> Bed {
    Bed::serving_also(Arc::new(Shelf::with_books(3)))
}

#[tokio::test(start_paused = true)]
async fn resources_and_their_families_are_listed() {
    let mut bed = bed();
    let mut client = bed.client();
    let listed = client.modern("resources/list", json!({})).await.json();
    let result = &listed["result"];
    assert_eq!(result["resources"].as_array().unwrap().len(), 4);
    assert_eq!(
        result["resources"][1],
        json!({"uri": "shelf://book/0", "name": "book-0", "title": "Book 0", "description": "A book.", "mimeType": "text/plain"})
    );
    assert_eq!(
        (&result["ttlMs"], &result["cacheScope"]),
        (&json!(300_000), &json!("private"))
    );
    let listed = client.modern("resources/templates/list", json!({})).await;
    let families = &listed.json()["result"]["resourceTemplates"];
    assert_eq!(families[0]["uriTemplate"], "shelf://book/{number}");
    assert_eq!(families[1]["name"], "page");
}

#[tokio::test(start_paused = true)]
async fn what_is_read_says_for_how_long_it_holds() {
    let mut bed = bed();
    let mut client = bed.client();
    for (uri, field, body, ttl) in [
        ("shelf://catalogue", "text", "All the books.", 3_600_000),
        ("shelf://picture", "blob", "iVBORw0KGgo=", 3_600_000),
        ("shelf://book/2", "text", "Book 2.", 0),
        ("shelf://reader", "text", "operator", 0),
    ] {
        let response = client.modern("resources/read", json!({"uri": uri})).await;
        let result = &response.json()["result"];
        assert_eq!(result["contents"][0]["uri"], uri);
        assert_eq!(result["contents"][0][field], body);
        assert_eq!(result["ttlMs"], ttl, "{uri}");
        assert_eq!(result["cacheScope"], "private");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_not_there_has_the_code_of_the_revision_and_its_uri() {
    let mut bed = bed();
    for uri in [
        "shelf://book/99",
        "other://x",
        "shelf://lost",
        "shelf://empty",
    ] {
        let response = bed
            .client()
            .modern("resources/read", json!({"uri": uri}))
            .await;
        assert_eq!(response.code(), (200, -32602), "{uri}");
        assert_eq!(response.json()["error"]["data"]["uri"], uri);
        let mut client = bed.client();
        client.initialize("2025-11-25").await;
        let response = client.legacy("resources/read", json!({"uri": uri})).await;
        assert_eq!(response.code(), (200, -32002), "{uri}");
    }
    let long = format!("shelf://{}", "x".repeat(5000));
    let response = bed
        .client()
        .modern("resources/read", json!({"uri": long}))
        .await;
    assert!(response.body.len() < 600, "no long URI is sent back");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_cannot_be_read_now_is_an_error_that_says_why() {
    let mut bed = bed();
    let mut client = bed.client();
    let response = client
        .modern("resources/read", json!({"uri": "shelf://broken"}))
        .await;
    assert_eq!(response.code(), (200, -32603));
    assert_eq!(response.json()["error"]["data"]["code"], "LINK_DOWN");
    let response = client
        .modern("resources/read", json!({"uri": "shelf://slow"}))
        .await;
    assert_eq!(response.code(), (200, -32603), "it does not hang for ever");
    for params in [json!({}), json!({"uri": 7})] {
        let response = client.modern("resources/read", params).await;
        assert_eq!(response.code(), (200, -32602));
    }
}

#[tokio::test(start_paused = true)]
async fn titles_are_for_the_revisions_that_have_them() {
    for (version, has_titles) in [
        ("2024-11-05", false),
        ("2025-03-26", false),
        ("2025-06-18", true),
    ] {
        let mut bed = bed();
        let mut client = bed.client();
        client.initialize(version).await;
        let listed = client.legacy("resources/list", json!({})).await.json();
        let first = &listed["result"]["resources"][0];
        assert_eq!(first.get("title").is_some(), has_titles, "{version}");
        assert!(listed["result"].get("cacheScope").is_none());
        let listed = client.legacy("resources/templates/list", json!({})).await;
        let first = &listed.json()["result"]["resourceTemplates"][0];
        assert_eq!(first.get("title").is_some(), has_titles, "{version}");
        let uri = json!({"uri": "shelf://catalogue"});
        let read = client.legacy("resources/read", uri).await.json();
        assert!(read["result"].get("ttlMs").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn resources_are_for_those_who_may_read() {
    let mut bed = bed();
    let mut client = bed.client_as("writes-only");
    for (method, field) in [
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        let listed = client.modern(method, json!({})).await.json();
        assert_eq!(listed["result"][field], json!([]));
    }
    for uri in ["shelf://catalogue", "shelf://nothing"] {
        let response = client.modern("resources/read", json!({"uri": uri})).await;
        assert_eq!(response.status, 403, "{uri}");
    }
}
