//! Resources through the service, as the protocol layer asks for them.

use serde_json::{Value, json};

use super::*;
use crate::guard::{Caller, Reach, Role};
use crate::link::LinkState;
use crate::service::qsys::testing::{Bed, bed, bed_of};
use crate::service::{FaultCode, Registry, ResourceBody, Service, ToolFault};

async fn read(service: &QsysService, uri: &str) -> Result<Option<(String, bool)>, ToolFault> {
    let caller = Caller::local("test", Role::Guest);
    let Some(mut found) = service.read_resource(uri, &caller).await? else {
        return Ok(None);
    };
    assert_eq!(found.contents.len(), 1);
    let content = found.contents.remove(0);
    assert_eq!(content.uri, uri);
    let ResourceBody::Text(text) = content.body else {
        panic!("{uri} is no text");
    };
    Ok(Some((text, found.is_static)))
}

async fn json(bed: &Bed, uri: &str) -> Value {
    let (text, is_static) = read(&bed.service, uri).await.unwrap().unwrap();
    assert!(!is_static, "{uri}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_listed_can_be_read_and_is_what_the_tools_answer() {
    let bed = bed();
    for resource in bed.service.resources() {
        let (text, is_static) = read(&bed.service, &resource.uri).await.unwrap().unwrap();
        let is_guide = resource.uri.starts_with("qsys://guide/");
        assert_eq!(
            (is_static, resource.mime_type == MARKDOWN),
            (is_guide, is_guide)
        );
        assert!(
            text.len() > 100
                && bed
                    .service
                    .resource_stamp(&resource.uri, &Reach::everything())
                    .is_some()
        );
    }
    let overview = bed.call("qsys_get_overview", json!({})).await.unwrap();
    assert_eq!(json(&bed, "qsys://overview").await, overview);
    let link = bed.call("qsys_get_link_status", json!({})).await.unwrap();
    assert_eq!(json(&bed, "qsys://health/link").await, link);
    let component = bed
        .call("qsys_get_component", json!({ "component": "Main Gain" }))
        .await;
    assert_eq!(
        json(&bed, "qsys://component/Main%20Gain").await,
        component.unwrap()
    );
    let design = json(&bed, "qsys://design").await;
    assert_eq!(
        (
            &design["design"],
            &design["components"],
            &design["changed"]["controls_appeared"]
        ),
        (&json!("Town Hall"), &json!(5), &json!(20))
    );
}

#[tokio::test(start_paused = true)]
async fn a_control_reads_with_age_and_quality() {
    let bed = bed();
    let gain = json(&bed, "qsys://control/Main%20Gain/gain").await;
    assert_eq!(
        [
            &gain["component"],
            &gain["control"],
            &gain["value"],
            &gain["age_ms"],
            &gain["quality"],
            &gain["max"],
            &gain["core"]
        ],
        [
            &json!("Main Gain"),
            &json!("gain"),
            &json!(-12.0),
            &json!(0),
            &json!("live"),
            &json!(20.0),
            &json!("hall")
        ]
    );
    let named = json(&bed, "qsys://named-control/SystemMute").await;
    assert_eq!(
        (&named["control"], named.get("component")),
        (&json!("SystemMute"), None)
    );
    bed.lose_link();
    let gain = json(&bed, "qsys://control/Main%20Gain/gain").await;
    assert_eq!(
        (&gain["quality"], &gain["link"]),
        (&json!("stale"), &json!("backoff"))
    );
}

#[tokio::test(start_paused = true)]
async fn names_of_real_designs_are_read_and_wrong_ones_are_faults() {
    let bed = bed();
    let controls =
        vec![json!({ "Name": "in/1 \u{e9}?", "Type": "Float", "Value": -3.0, "String": "-3dB" })];
    bed.push("code2", &[("Bühne 50% / A.B", "gain", controls)]);
    let uri = format!(
        "qsys://control/{}/{}",
        encoded("Bühne 50% / A.B"),
        encoded("in/1 \u{e9}?")
    );
    assert_eq!(json(&bed, &uri).await["value"], -3.0);
    for (uri, code) in [
        ("qsys://component/Main%20Gian", FaultCode::NotFound),
        ("qsys://component/%zz", FaultCode::BadArguments),
        ("qsys://overview?core=attic", FaultCode::NotFound),
        ("qsys://components?cursor=nonsense", FaultCode::BadArguments),
        ("qsys://component/a%00b", FaultCode::NotFound),
        ("qsys://control/a/b%00", FaultCode::BadArguments),
    ] {
        let fault = read(&bed.service, uri).await.unwrap_err();
        assert_eq!(fault.code, code, "{uri}");
    }
    assert_eq!(read(&bed.service, "qsys://nothing").await.unwrap(), None);
    assert_eq!(
        bed.service
            .resource_stamp("qsys://nothing", &Reach::everything()),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_goes_on_with_its_cursor() {
    let bed = bed();
    let names: Vec<_> = (0..600).map(|number| format!("Gain {number:03}")).collect();
    let design: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "gain", vec![]))
        .collect();
    bed.push("code2", &design);
    let first = json(&bed, "qsys://components").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = json(
        &bed,
        &format!("qsys://components?cursor={cursor}&type=gain"),
    )
    .await;
    assert_eq!(rest["components"].as_array().unwrap().len(), 100);
    assert_eq!(json(&bed, "qsys://components?type=mixer").await["total"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_box_with_several_cores_lists_each_and_reads_the_one_that_is_named() {
    let bed = bed();
    let cores = ["hall", "attic 2"].map(|name| {
        let core = bed.system.clone();
        super::super::System::new(name.into(), core.link.clone(), core.mirror.clone())
    });
    let service = bed_of(cores.into());
    let uris: Vec<_> = service
        .resources()
        .into_iter()
        .map(|resource| resource.uri)
        .collect();
    assert!(
        uris.contains(&"qsys://overview?core=attic%202".to_owned()),
        "{uris:?}"
    );
    assert_eq!(
        uris.iter().filter(|uri| uri.contains("guide")).count(),
        guide::ALL.len()
    );
    let templates = service.resource_templates();
    assert!(
        templates
            .iter()
            .all(|template| template.uri_template.contains("{core}"))
    );
    for (uri, core) in [
        ("qsys://overview?core=attic%202", "attic 2"),
        ("qsys://control/Main%20Gain/gain?core=attic%202", "attic 2"),
        ("qsys://design", "hall"),
    ] {
        let (text, _) = read(&service, uri).await.unwrap().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap()["core"],
            core,
            "{uri}"
        );
        assert!(service.resource_stamp(uri, &Reach::everything()).is_some());
    }
    Registry::new(&[service]).unwrap();
}

/// The stamps of some resources.
fn stamps<const N: usize>(bed: &Bed, uris: [&str; N]) -> [u64; N] {
    uris.map(|uri| {
        bed.service
            .resource_stamp(uri, &Reach::everything())
            .unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn a_stamp_changes_when_the_contents_do_and_not_with_their_age() {
    const URIS: [&str; 7] = [
        "qsys://overview",
        "qsys://design",
        "qsys://components",
        "qsys://health/link",
        "qsys://component/Main%20Gain",
        "qsys://control/Main%20Gain/gain",
        "qsys://control/Main%20Gain/mu_te",
    ];
    let bed = bed();
    let changed = |before: &mut [u64; 7]| {
        let now = stamps(&bed, URIS);
        let which: Vec<_> = (0..7).filter(|at| now[*at] != before[*at]).collect();
        *before = now;
        which
    };
    let mut last = stamps(&bed, URIS);
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    assert_eq!(changed(&mut last), [0_usize; 0]);
    bed.report(
        &json!([{ "Component": "Main Gain", "Name": "gain", "Value": -6, "String": "-6dB" }]),
    );
    assert_eq!(changed(&mut last), [4, 5]);
    bed.report(
        &json!([{ "Component": "Main Gain", "Name": "mute", "Value": 1, "String": "muted" }]),
    );
    assert_eq!(changed(&mut last), [4], "nothing is named mu_te or mu.te");
    bed.report(&json!([{ "Component": "Amp 1", "Name": "status", "Value": 0, "String": "OK" }]));
    assert_eq!(changed(&mut last), [0]);
    bed.report(&json!([{ "Name": "SystemMute", "Value": 1, "String": "muted" }]));
    assert_eq!(changed(&mut last), [0]);
    bed.set_link(|status| status.round_trip = Some(std::time::Duration::from_millis(3)));
    assert_eq!(changed(&mut last), [0_usize; 0]);
    bed.set_link(|status| status.attempts += 1);
    assert_eq!(changed(&mut last), [0, 3]);
    bed.set_link(|status| status.state = LinkState::Backoff);
    assert_eq!(changed(&mut last), [0, 1, 2, 3, 4, 5, 6]);
    bed.lose_link();
    assert_eq!(changed(&mut last), [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_with_another_design_has_another_stamp_and_the_lists_another_generation() {
    let bed = bed();
    let uris = ["qsys://component/Lob_by", "qsys://control/Lob_by/gain"];
    let (before, generation) = (stamps(&bed, uris), bed.service.generations().resources);
    assert_eq!(stamps(&bed, uris), before);
    let gain = json!({ "Name": "gain", "Type": "Float", "Value": -3.0, "String": "-3dB" });
    bed.push("code2", &[("Lob.by", "gain", vec![gain])]);
    assert!(bed.service.generations().resources > generation);
    let after = stamps(&bed, uris);
    assert!(before[0] != after[0] && before[1] != after[1]);
    bed.report(&json!([{ "Component": "Lob.by", "Name": "gain", "Value": -6 }]));
    let moved = stamps(&bed, uris);
    assert!(
        moved[0] != after[0] && moved[1] != after[1],
        "found under a name that is nearly its own"
    );
    let many = (0..3_000).map(|number| format!("qsys://component/{number}"));
    assert!(
        many.map(|uri| bed.service.resource_stamp(&uri, &Reach::everything()))
            .all(|stamp| stamp.is_some())
    );
    assert_eq!(stamps(&bed, uris), moved);
}

#[tokio::test(start_paused = true)]
async fn guides_name_only_tools_that_there_are() {
    let bed = bed();
    for guide in &guide::ALL {
        bed.names_real_tools(guide.text);
        assert!(guide.text.len() < 4_000, "{} is no short guide", guide.name);
    }
}
