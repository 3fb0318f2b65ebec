//! What holds for all tools, and the tools that only list.

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::testing::{bed, bed_with, tell};
use super::*;
use crate::limits::ANSWER_MAX_BYTES;
use crate::link::{Link, LinkStatus};
use crate::model::change::ChangeSink;
use crate::safety::{Ceiling, SafetyConfig};
use crate::service::{Effect, Registry};
use crate::store::Mirror;

#[tokio::test(start_paused = true)]
async fn the_list_of_tools_changes_only_on_purpose() {
    let bed = bed();
    let list: Vec<Value> = bed
        .service
        .tools()
        .iter()
        .map(|tool| {
            json!({
                "name": tool.name, "title": tool.title, "description": tool.description,
                "effect": format!("{:?}", tool.effect), "destructive": tool.is_destructive, "scope": tool.scope,
                "input": *tool.input_schema, "output": *tool.output_schema,
            })
        })
        .collect();
    insta::with_settings!({ snapshot_path => "../../../tests/golden", prepend_module_to_snapshot => false }, {
        insta::assert_json_snapshot!("qsys_tools", list);
    });
}

#[tokio::test(start_paused = true)]
async fn every_tool_is_well_formed_and_refuses_arguments_it_does_not_know() {
    let service = bed().service;
    for tool in service.tools() {
        assert!(
            tool.name.starts_with("qsys_") && tool.name.len() <= 40,
            "{}",
            tool.name
        );
        assert!(
            tool.description.len() > 80,
            "{} needs a description to choose by",
            tool.name
        );
        assert_eq!(
            tool.input_schema["additionalProperties"], false,
            "{}",
            tool.name
        );
        assert!(
            tool.input_schema["properties"]["core"].is_object(),
            "{}",
            tool.name
        );
        for head in ["core", "design", "design_code", "link"] {
            assert!(
                tool.output_schema["properties"][head].is_object(),
                "{}: {head}",
                tool.name
            );
        }
        undescribed(tool.name, &tool.input_schema);
        assert_eq!(tool.is_destructive, tool.effect != Effect::Read);
    }
    Registry::new(&[service]).unwrap();
}

/// Panics on a property without a description.
fn undescribed(tool: &str, schema: &Value) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert!(
            property["description"].is_string(),
            "{tool}: {name} is not described"
        );
        undescribed(tool, property);
        undescribed(tool, &property["items"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_overview_names_design_faults_types_and_the_system_mute() {
    let bed = bed();
    let answer = bed.call("qsys_get_overview", json!({})).await.unwrap();
    assert_eq!(answer["design"], "Town Hall");
    assert_eq!(answer["types"][0], json!({ "type": "gain", "count": 2 }));
    assert_eq!(
        answer["faults"],
        json!([{ "component": "Amp 1", "code": 2.0, "text": "Fault - fan", "quality": "live" }])
    );
    assert_eq!(answer["system_mute"]["string"], "unmuted");
    assert_eq!(answer["named_controls"], json!(["SystemMute"]));
    assert_eq!(answer["writes_allowed"], true);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_was_silent_because_nothing_has_its_name_is_told() {
    let ceiling = |pattern: &str| Ceiling {
        pattern: pattern.into(),
        max_value: 0.0,
        max_step_up: None,
    };
    let patterns = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let bed = bed_with(&SafetyConfig {
        protected: patterns(&[
            "House Gain/gain",
            "Amp*",
            "SystemMute",
            "Hidden Bank/load.*",
        ]),
        ceilings: vec![ceiling("Main Gain/gain"), ceiling("Main Gain/mute")],
        ..SafetyConfig::default()
    });
    let idle = |answer: Value| answer["rules_without_controls"].clone();
    let answer = bed.call("qsys_get_overview", json!({})).await.unwrap();
    assert_eq!(idle(answer), json!(["House Gain/gain", "Main Gain/mute"]));
    let text = bed.text("qsys_get_overview", json!({})).await;
    assert!(text.contains("fits no control: House Gain/gain"), "{text}");
    bed.push("code2", &[("House Gain", "gain", vec![])]);
    let answer = bed.call("qsys_get_overview", json!({})).await.unwrap();
    assert_eq!(
        idle(answer),
        json!([
            "House Gain/gain",
            "Amp*",
            "Main Gain/gain",
            "Main Gain/mute"
        ]),
        "the design of before was looked at"
    );
}

#[tokio::test(start_paused = true)]
async fn texts_that_only_counted_name_what_they_count() {
    let bed = bed();
    for (tool, arguments, lines) in [
        (
            "qsys_list_components",
            json!({ "limit": 2 }),
            &[
                "Amp 1 (cxq_amplifier, 1 control)",
                "... and 3 more: call again with `cursor`",
            ][..],
        ),
        (
            "qsys_get_component",
            json!({ "component": "Main Gain" }),
            &["gain = -12dB [Float, -100dB to 20.0dB]"],
        ),
        (
            "qsys_search",
            json!({ "query": "main gain" }),
            &["Main Gain (component, gain)", "Main Gain/gain = -12dB"],
        ),
        (
            "qsys_list_snapshots",
            json!({}),
            &["3 snapshots in 1 bank.", "Scenes 1: matching"],
        ),
        (
            "qsys_get_overview",
            json!({}),
            &["Fault: Amp 1: Fault - fan", "This box lets clients write."],
        ),
        (
            "qsys_get_link_status",
            json!({}),
            &["Link live", "5 components"],
        ),
        (
            "qsys_explain_visibility",
            json!({ "component": "Main Gian" }),
            &["It is not visible.", "MISSPELT (likely)"],
        ),
    ] {
        let text = bed.text(tool, arguments).await;
        for line in lines {
            assert!(text.contains(line), "{tool} lacks {line:?}: {text}");
        }
    }
    let controls: Vec<Value> = (0..400)
        .map(|number| json!({ "Name": format!("label.{number}"), "Type": "Text", "String": "y".repeat(100) }))
        .collect();
    bed.push("code2", &[("Mixer", "mixer", controls)]);
    let arguments = json!({ "component": "Mixer", "limit": 500 });
    let text = bed.text("qsys_get_component", arguments).await;
    let (_, cursor) = text.split_once("`cursor` \"").unwrap();
    let cursor = cursor.trim_end_matches("\".");
    let shown = text.lines().count() - 2;
    assert!(text.len() < 5_000, "{}", text.len());
    let arguments = json!({ "component": "Mixer", "limit": 1, "cursor": cursor });
    let next = bed.text("qsys_get_component", arguments).await;
    assert!(next.contains(&format!("\nlabel.{shown} =")), "{next}");
}

#[tokio::test(start_paused = true)]
async fn components_come_in_pages_and_can_be_narrowed() {
    let bed = bed();
    let list = |arguments: Value| bed.call("qsys_list_components", arguments);
    let first = list(json!({ "limit": 2 })).await.unwrap();
    assert_eq!(first["total"], 5);
    assert_eq!(
        first["components"],
        json!([{ "component": "Amp 1", "type": "cxq_amplifier", "controls": 1 }, { "component": "Main Gain", "type": "gain", "controls": 2 }])
    );
    let cursor = first["next_cursor"].clone();
    let second = list(json!({ "limit": 4, "cursor": cursor })).await.unwrap();
    assert_eq!(second["components"].as_array().unwrap().len(), 3);
    assert_eq!(second.get("next_cursor"), None);
    let gains = list(json!({ "type": "GAIN", "filter": "side", "fields": ["properties"] }))
        .await
        .unwrap();
    assert_eq!(
        gains["components"],
        json!([{ "component": "Side Gain", "properties": [{ "name": "n", "value": "8" }] }])
    );
    bed.push("code2", &[("Other", "gain", vec![])]);
    let fault = list(json!({ "cursor": cursor })).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::BadArguments);
}

#[tokio::test(start_paused = true)]
async fn a_component_shows_ranges_choices_and_what_the_box_allows() {
    let bed = bed_with(&SafetyConfig {
        writes: true,
        protected: vec!["*/mute".into()],
        snapshots: false,
        ceilings: vec![Ceiling {
            pattern: "*/gain".into(),
            max_value: -6.0,
            max_step_up: None,
        }],
    });
    let get = |arguments: Value| bed.call("qsys_get_component", arguments);
    let answer = get(json!({ "component": "Main Gain" })).await.unwrap();
    let (gain, mute) = (&answer["controls"][0], &answer["controls"][1]);
    assert_eq!(
        (&gain["min"], &gain["max"], &gain["ceiling"]),
        (&json!(-100.0), &json!(20.0), &json!(-6.0))
    );
    assert_eq!(
        (&gain["range_text"], &gain["value"]),
        (&json!("-100dB to 20.0dB"), &json!(-12.0))
    );
    assert_eq!(
        (&mute["protected"], mute.get("ceiling")),
        (&json!(true), None)
    );
    let panel = get(json!({ "component": "Panel", "controls": ["SEL*"] }))
        .await
        .unwrap();
    assert_eq!(panel["total"], 1);
    assert_eq!(panel["controls"][0]["choices"], json!(["HDMI 1", "HDMI 2"]));
    let bare =
        get(json!({ "component": "Scenes", "controls": ["load_?"], "fields": [], "limit": 2 }))
            .await
            .unwrap();
    assert_eq!(
        bare["controls"],
        json!([{ "control": "load.1" }, { "control": "load.2" }])
    );
    assert!(bare["next_cursor"].is_string());
    assert!(
        get(json!({ "component": "Panel", "controls": ["[a"] }))
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_component_never_floods_the_model() {
    let bed = bed();
    let controls: Vec<Value> = (0..600)
        .map(|number| json!({ "Name": format!("input.{number}.label"), "Type": "Text", "String": "y".repeat(250) }))
        .collect();
    bed.push("code2", &[("Mixer", "mixer", controls)]);
    let arguments = json!({ "component": "Mixer", "limit": 500 });
    let answer = bed.call("qsys_get_component", arguments).await.unwrap();
    assert_eq!(
        (&answer["truncated"], &answer["total"]),
        (&json!(true), &json!(600))
    );
    assert!(answer.to_string().len() <= ANSWER_MAX_BYTES);
    let shown = answer["controls"].as_array().unwrap().len();
    let rest = json!({ "component": "Mixer", "limit": 1, "cursor": answer["next_cursor"] });
    let rest = bed.call("qsys_get_component", rest).await.unwrap();
    assert_eq!(
        rest["controls"][0]["control"],
        format!("input.{shown}.label")
    );
}

#[tokio::test(start_paused = true)]
async fn a_search_gives_exact_names_with_values() {
    let bed = bed();
    let search = |arguments: Value| bed.call("qsys_search", arguments);
    let answer = search(json!({ "query": "main gain", "kinds": ["control"] }))
        .await
        .unwrap();
    assert_eq!(answer["hits"][0]["control"], "gain");
    assert_eq!(
        (&answer["hits"][0]["value"], &answer["truncated"]),
        (&json!(-12.0), &json!(false))
    );
    let answer = search(json!({ "query": "load_2" })).await.unwrap();
    assert_eq!(answer["hits"][0]["control"], "load.2");
    let answer = search(json!({ "query": "gain", "limit": 1 }))
        .await
        .unwrap();
    assert_eq!(answer["truncated"], true);
    assert_eq!(
        search(json!({ "query": "zebra" })).await.unwrap()["hits"],
        json!([])
    );
    assert!(search(json!({ "query": " " })).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_listed_with_where_they_stand() {
    let bed = bed_with(&SafetyConfig {
        writes: true,
        protected: vec!["Scenes/load.3".into()],
        snapshots: true,
        ceilings: Vec::new(),
    });
    let answer = bed.call("qsys_list_snapshots", json!({})).await.unwrap();
    assert_eq!(
        answer["snapshots"],
        json!([
            { "bank": "Scenes", "number": 1, "state": "matching", "quality": "live" },
            { "bank": "Scenes", "number": 2, "state": "not_loaded", "quality": "live" },
            { "bank": "Scenes", "number": 3, "state": "not_loaded", "quality": "live", "protected": true },
        ])
    );
    bed.report(&json!([{ "Component": "Scenes", "Name": "match.1", "Value": 0 }]));
    let answer = bed
        .call(
            "qsys_list_snapshots",
            json!({ "bank": "Scenes", "limit": 1 }),
        )
        .await
        .unwrap();
    assert_eq!(answer["snapshots"][0]["state"], "drifted");
}

#[tokio::test(start_paused = true)]
async fn the_link_status_tells_state_breaker_and_both_cores_of_a_pair() {
    let bed = bed();
    bed.set_link(|status| {
        let mut peer = LinkStatus::new("core-b".into(), Instant::now());
        peer.last_fault = "connection refused".into();
        status.peers = vec![peer];
        status.drops = 3;
        status.round_trip = Some(std::time::Duration::from_micros(1_234));
    });
    let answer = bed.call("qsys_get_link_status", json!({})).await.unwrap();
    assert_eq!(
        (&answer["state"], &answer["breaker"]),
        (&json!("live"), &json!("closed"))
    );
    assert_eq!(
        (&answer["drops"], &answer["round_trip_ms"]),
        (&json!(3), &json!(1.23))
    );
    assert_eq!(answer["peers"][0]["last_fault"], "connection refused");
}

/// A service with a Core of which nothing is known and whose link's task is gone.
fn empty(names: &[&str]) -> QsysService {
    let core = |name: &&str| {
        let (commands, _) = mpsc::channel(1);
        let (_, status) = watch::channel(LinkStatus::new("core".into(), Instant::now()));
        System::new(
            (*name).into(),
            Link::new(commands, status),
            Arc::new(Mirror::new(Instant::now())),
        )
    };
    let rules = SafetyConfig {
        writes: true,
        ..SafetyConfig::default()
    };
    QsysService::new(
        names.iter().map(core).collect(),
        Arc::new(Policy::new(&rules).unwrap()),
    )
}

async fn fault(service: &QsysService, tool: &str, arguments: Value) -> ToolFault {
    let caller = Caller::local("test", crate::guard::Role::Operator);
    let call = ToolCall::new(tool, arguments, caller, Stop::new());
    service.call(call).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn before_anything_is_known_a_name_is_not_called_wrong() {
    let service = empty(&["hall"]);
    let names = json!({ "controls": [{ "component": "Gain", "control": "gain" }] });
    for (tool, arguments) in [
        ("qsys_get_controls", names),
        ("qsys_get_component", json!({ "component": "Gain" })),
        ("qsys_search", json!({ "query": "gain" })),
        ("qsys_list_components", json!({})),
    ] {
        let answer = fault(&service, tool, arguments).await;
        assert_eq!(answer.code, FaultCode::LinkDown, "{tool}");
        assert!(answer.problem.contains("no design was ever read"), "{tool}");
        assert!(answer.next_step.contains("qsys_get_link_status"), "{tool}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_design_that_shows_nothing_is_not_called_unread() {
    let bed = bed();
    let now = Instant::now();
    bed.mirror.design_began(&testing::engine("code2"), now);
    bed.mirror.design_ended(now);
    let answer = fault(&bed.service, "qsys_search", json!({ "query": "gain" })).await;
    assert_eq!(answer.code, FaultCode::NotVisible);
    assert!(answer.next_step.contains("qsys_explain_visibility"));
}

#[tokio::test(start_paused = true)]
async fn names_with_marks_that_nobody_sees_are_shown_without_them_and_found_so() {
    let bed = bed();
    let controls =
        vec![json!({ "Name": "ga\u{200b}in", "Type": "Float", "Value": -3.0, "String": "-3dB" })];
    bed.push("code2", &[("Lob\u{202e}by", "gain", controls)]);
    let listed = bed.call("qsys_list_components", json!({})).await.unwrap();
    assert_eq!(listed["components"][0]["component"], "Lobby");
    let names = json!({ "controls": [{ "component": "Lobby", "control": "gain" }] });
    let answer = bed.call("qsys_get_controls", names).await.unwrap();
    assert_eq!(
        (
            &answer["controls"][0]["control"],
            &answer["controls"][0]["value"]
        ),
        (&json!("gain"), &json!(-3.0))
    );
    let wrong = json!({ "component": "Lobbi" });
    let fault = bed.call("qsys_get_component", wrong).await.unwrap_err();
    assert_eq!(fault.data["nearest"], json!(["Lobby"]));
    assert!(!fault.problem.contains('\u{202e}'));
}

#[tokio::test(start_paused = true)]
async fn types_that_were_left_out_in_silence_are_counted() {
    let bed = bed();
    let kinds: Vec<_> = (0..33)
        .map(|kind| (format!("Name {kind}"), format!("kind_{kind}")))
        .collect();
    let design: Vec<_> = kinds
        .iter()
        .map(|(name, kind)| (name.as_str(), kind.as_str(), vec![]))
        .collect();
    bed.push("code2", &design);
    let answer = bed.call("qsys_get_overview", json!({})).await.unwrap();
    let shown = answer["types"].as_array().unwrap().len();
    assert_eq!((shown, &answer["types_total"]), (20, &json!(33)));
    let text = bed.text("qsys_get_overview", json!({})).await;
    assert!(
        text.contains("1 kind_1, ") && text.contains(", and 13 more"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_is_never_left_to_a_default_core() {
    let service = empty(&["hall", "attic"]);
    let write = json!({ "changes": [{ "component": "Gain", "control": "gain", "value": 1 }], "reason": "test" });
    let answer = fault(&service, "qsys_set_controls", write).await;
    assert_eq!(answer.code, FaultCode::BadArguments);
    assert!(answer.problem.contains("hall, attic"));
}

#[tokio::test(start_paused = true)]
async fn names_that_no_design_can_have_are_bad_arguments() {
    let bed = bed();
    tell(&bed.mirror, "X", "gain", &[]);
    bed.mirror.confirmed(Instant::now());
    for control in ["", "a\u{0}b", &"x".repeat(300)] {
        let names = json!({ "controls": [{ "component": "Main Gain", "control": control }] });
        let answer = fault(&bed.service, "qsys_get_controls", names).await;
        assert_eq!(answer.code, FaultCode::BadArguments);
    }
    let answer = fault(&bed.service, "qsys_get_controls", json!({ "controls": 3 })).await;
    assert_eq!(
        (answer.code, answer.data[0]["path"].as_str()),
        (FaultCode::BadArguments, Some("/arguments"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_documentation_names_every_tool_that_weighs_more_than_a_look() {
    let bed = bed();
    let page = include_str!("../../docs/limits.md");
    let row = |units: u32| {
        let end = format!(" | {units} |");
        let mut rows = page.lines().filter(|line| line.ends_with(&end));
        rows.rfind(|row| row.contains("a tool")).unwrap()
    };
    for tool in bed.service.tools().iter().chain(bed.service.older_names()) {
        let weight = bed.service.weight(tool);
        let is_named = row(weight).contains(&format!("`{}`", tool.name));
        match (tool.effect, weight) {
            (Effect::Read, 1) => {}
            (Effect::Read, 2) => assert!(is_named, "{}", tool.name),
            (Effect::Write | Effect::WriteIdempotent, 3) => {
                let is_older = !tool.name.starts_with("qsys_");
                assert!(is_named || is_older, "{}", tool.name);
            }
            other => panic!("{} {other:?}", tool.name),
        }
    }
}
