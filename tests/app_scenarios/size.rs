//! Designs as large as the box takes, and larger.

use rackhand::sim::design;
use serde_json::json;

use crate::bed::{Bed, OPEN, change, one};

#[tokio::test(start_paused = true)]
async fn fifty_thousand_controls_are_learnt_mirrored_and_served() {
    let bed = Bed::live(design::generated(500, 100), OPEN).await;
    let link = bed.link().await;
    assert_eq!(
        (&link["components"], &link["controls"], &link["refused"]),
        (&json!(500), &json!(50_003), &json!(0))
    );
    assert_eq!(bed.health().await["status"], "HEALTHY");
    for number in [1, 250, 500] {
        let reading = bed
            .reading(&format!("Block {number}"), "channel.97.gain")
            .await;
        assert_eq!(reading["quality"], "live");
    }
    let found = bed.call("qsys_search", json!({ "query": "Block 499" }));
    assert!(found.await.unwrap().to_string().contains("Block 499"));
    let set = change("Block 500", "channel.97.gain", -12.0);
    let answer = bed.call("qsys_set_controls", set).await.unwrap();
    assert_eq!(answer["changes"][0]["value"], -12.0);
}

#[tokio::test(start_paused = true)]
async fn controls_beyond_the_bound_are_refused_and_counted_and_the_rest_is_served() {
    let bed = Bed::live(design::generated(700, 100), OPEN).await;
    let link = bed.link().await;
    assert_eq!(link["controls"], rackhand::limits::CONTROLS_MAX);
    let refused = link["refused"].as_u64().unwrap();
    assert!(
        (70_000 - 65_536..=70_700 - 65_536).contains(&refused),
        "{refused}"
    );
    let health = bed.health().await;
    assert_eq!(health["status"], "DEGRADED");
    assert!(
        health["summary"]
            .as_str()
            .unwrap()
            .contains(&refused.to_string()),
        "{health:#}"
    );
    assert_eq!(
        bed.reading("Block 1", "channel.1.gain").await["quality"],
        "live"
    );
    let missing = bed.call("qsys_get_controls", one("Block 700", "channel.1.gain"));
    assert!(missing.await.is_err());
    let why = json!({ "component": "Block 700", "control": "channel.1.gain" });
    let why = bed.call("qsys_explain_visibility", why).await.unwrap();
    assert!(why.to_string().contains("BOX_FULL"), "{why:#}");
    let set = change("Block 1", "channel.1.gain", -12.0);
    bed.call("qsys_set_controls", set).await.unwrap();
}
