//! Who may come in, and how far.

use rackhand::sim::design;
use serde_json::json;

use crate::bed::{Bed, OPEN, change};

#[tokio::test(start_paused = true)]
async fn without_a_good_key_there_is_nothing_but_signs_of_life() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let nobody = bed.client("nobody");
    let mut stranger = nobody.clone();
    stranger.key = Some("rh_0123456789abcdefghijklmnopqrstuv".to_owned());
    let expired = bed.client("expired");
    assert!(expired.key.is_some());
    let arguments = change("Hall A Gain", "gain", -3.0);
    for (client, known) in [
        (&nobody, false),
        (&stranger, false),
        (&expired, false),
        (&bed.client("guest"), true),
    ] {
        for path in ["/", "/health?detail", "/readyz?detail"] {
            let reply = client.get(path).await;
            assert_eq!(reply.status, if known { 200 } else { 401 }, "{path}");
            assert_eq!(reply.body.contains("Lakeside"), known, "{path}");
        }
        for path in ["/livez", "/readyz", "/healthz", "/health"] {
            let reply = client.get(path).await;
            assert_eq!(reply.status, 200, "{path}");
            assert!(!reply.body.contains("Lakeside"), "{path}");
        }
        let request = client.tool_request("qsys_set_controls", &arguments);
        let reply = client.exchange(&request).await;
        assert_eq!(reply.status, if known { 403 } else { 401 });
        let request = client.tool_request("qsys_get_overview", &json!({}));
        let reply = client.exchange(&request).await;
        assert_eq!(reply.status, if known { 200 } else { 401 });
    }
    assert!(bed.sim.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_viewer_diagnoses_and_an_operator_writes() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let viewer = bed.client("viewer");
    let why = viewer.call("qsys_explain_visibility", json!({})).await;
    assert!(why.is_ok());
    let request = viewer.tool_request(
        "qsys_load_snapshot",
        &json!({ "bank": "House Scenes", "number": 1, "reason": "a test" }),
    );
    assert_eq!(viewer.exchange(&request).await.status, 403);
    let set = change("Hall A Gain", "gain", -3.0);
    bed.call("qsys_set_controls", set).await.unwrap();
    assert_eq!(bed.sim.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_health_of_the_box_names_and_counts_nothing_beyond_the_reach_of_a_key() {
    let rules = format!("{OPEN}protected = [\"Secret Vault/*\"]\n");
    let bed = Bed::live(design::venue(), &rules).await;
    let bounded = bed.client("bounded");
    for path in ["/health?detail", "/readyz?detail", "/"] {
        let all = bed.client("viewer").get(path).await;
        assert!(all.body.contains("Secret Vault"), "{path}: {all:?}");
        assert!(all.body.contains("components"), "{path}: {all:?}");
        let some = bounded.get(path).await;
        assert_eq!(some.status, all.status, "{path}");
        assert!(!some.body.contains("Secret Vault"), "{path}: {some:?}");
        assert!(!some.body.contains("\"components"), "{path}: {some:?}");
        assert!(
            some.body.contains("not as it should be"),
            "{path}: {some:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_numbers_of_the_box_are_not_told_to_a_key_that_is_bound_to_components() {
    let bed = Bed::live(design::venue(), OPEN).await;
    for path in ["/metrics", "/metrics.json"] {
        assert_eq!(bed.client("guest").get(path).await.status, 200, "{path}");
        let refused = bed.client("bounded").get(path).await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(
            refused.body.contains("bound to certain components"),
            "{refused:?}"
        );
    }
}
