use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::base::shutdown::Stop;
use crate::guard::{Caller, Reach, Role};
use crate::safety::SafetyConfig;
use crate::service::qsys::testing::{Bed, bed_with};
use crate::service::{
    Abilities, Completion, FaultCode, PromptCall, ResourceBody, Said, Service, Target, ToolCall,
};

/// In every name that lies beyond the reach of the tests' key.
const SECRET: &str = "vault";

fn gain(value: f64) -> Value {
    json!({ "Name": "gain", "Type": "Float", "Value": value, "String": "x", "Position": 0.5,
        "ValueMin": -100.0, "ValueMax": 20.0 })
}

fn status(text: &str) -> Value {
    json!({ "Name": "status", "Type": "Status", "Value": 2.0, "String": text, "Position": 0.0 })
}

fn trigger(name: &str) -> Value {
    json!({ "Name": name, "Type": "State Trigger", "Value": 0.0, "String": "", "Position": 0.0 })
}

/// Zones that the key reaches, and a vault that it does not: as components, controls, types, snapshots, named control, in the link's
/// status, in the design before, and in the rules of the box.
fn house() -> Bed {
    let bed = bed_with(&SafetyConfig {
        writes: true,
        protected: vec![
            "Vault */*".into(),
            "VaultAlarm".into(),
            "Vault Nowhere".into(),
            // One rule for both sides of the bound.
            "{Vault Safe,Zone.2}/gain".into(),
        ],
        snapshots: true,
        ceilings: Vec::new(),
    });
    let zones = || {
        vec![
            ("Zone.1", "gain", vec![gain(-12.0), status("Fault - a fan")]),
            ("Zone.2", "gain", vec![gain(-6.0)]),
            (
                "Zone.Scenes",
                "snapshot_controller",
                vec![trigger("load.1")],
            ),
        ]
    };
    let mut before = zones();
    before.push(("Vault Old", "gain", vec![gain(0.0)]));
    bed.push("code1", &before);
    let mut design = zones();
    design.extend([
        ("Vault Safe", "vault_door", vec![gain(-3.0), trigger("vault.open"), status("Fault - vault open")]),
        ("Vault Scenes", "snapshot_controller", vec![trigger("load.1")]),
        ("SystemMute Vault", "gain", vec![json!({ "Name": "mute", "Type": "Boolean", "Value": 1.0, "String": "vault", "Position": 1.0 })]),
    ]);
    bed.push("code2", &design);
    bed.name_control("VaultAlarm");
    bed.set_link(|status| {
        status.oversize_components = vec!["Vault Huge".into()];
        status.unlisted_components = vec![
            "Vault Mixer: boom (-32603)".into(),
            "Zone.9: no (1): Vault".into(),
        ];
        status.last_fault = "while reading Vault Huge".into();
    });
    bed
}

fn holder() -> Caller {
    Caller {
        reach: Reach::new(&["Zone.*".to_owned()]).unwrap(),
        ..Caller::local("zones", Role::Engineer)
    }
}

/// What a call comes to, whichever way, in one text.
async fn told(bed: &Bed, caller: &Caller, tool: &str, arguments: &Value) -> String {
    let call = ToolCall::new(tool, arguments.clone(), caller.clone(), Stop::new());
    match bed.service.call(call).await {
        Ok(step) => {
            let answer = step.done().unwrap();
            let structured = answer.structured.map(|json| json.get().to_owned());
            format!("{} {}", structured.unwrap_or_default(), answer.text)
        }
        Err(fault) => format!("{fault} {}", fault.data),
    }
}

/// Calls of every tool that name nothing beyond the reach.
fn calls(watch: &str) -> Vec<(&'static str, Value)> {
    let zone = json!([{ "component": "Zone.1", "control": "gain" }]);
    let write = json!([{ "component": "Zone.1", "control": "gain", "value": -20 }]);
    vec![
        ("qsys_get_overview", json!({})),
        ("qsys_search", json!({ "query": "gain" })),
        ("qsys_search", json!({ "query": "ault" })),
        ("qsys_search", json!({ "query": "safe" })),
        ("qsys_search", json!({ "query": "open" })),
        ("qsys_list_components", json!({})),
        ("qsys_get_component", json!({ "component": "Zone.1" })),
        ("qsys_get_component", json!({ "component": "Val Safe" })),
        ("qsys_get_controls", json!({ "controls": zone })),
        (
            "qsys_get_controls",
            json!({ "controls": [{ "control": "Valt Alarm" }] }),
        ),
        ("qsys_read_meters", json!({ "meters": zone, "window_s": 1 })),
        (
            "qsys_wait_for_change",
            json!({ "controls": zone, "timeout_s": 1 }),
        ),
        ("qsys_start_watch", json!({ "component": "Zone.1" })),
        ("qsys_poll_watch", json!({ "watch_id": watch })),
        ("qsys_stop_watch", json!({ "watch_id": "none" })),
        ("qsys_list_snapshots", json!({})),
        ("qsys_get_link_status", json!({})),
        ("qsys_explain_visibility", json!({})),
        (
            "qsys_explain_visibility",
            json!({ "component": "Val Safe" }),
        ),
        ("qsys_explain_visibility", json!({ "component": "Zone.3" })),
        (
            "qsys_explain_visibility",
            json!({ "control": "Valt Alarm" }),
        ),
        (
            "qsys_set_controls",
            json!({ "changes": write, "reason": "test" }),
        ),
        (
            "qsys_load_snapshot",
            json!({ "bank": "Zone.Scenes", "number": 1, "reason": "test" }),
        ),
        (
            "qsys_load_snapshot",
            json!({ "bank": "Anything", "number": 1, "reason": "test" }),
        ),
        ("list_components", json!({ "includeProperties": true })),
        (
            "get_component_controls",
            json!({ "componentName": "Zone.1" }),
        ),
        ("list_controls", json!({ "includeMetadata": true })),
        ("get_all_controls", json!({ "groupByComponent": true })),
        (
            "qsys.get_control",
            json!({ "component_name": "Zone.1", "control_name": "gain" }),
        ),
        (
            "get_control_values",
            json!({ "controls": ["Zone.1.gain", "Val Safe.gain"] }),
        ),
        (
            "qsys.set_control",
            json!({ "component_name": "Zone.1", "control_name": "gain", "value": -30 }),
        ),
        (
            "set_control_values",
            json!({ "controls": [{ "name": "Zone.1.gain", "value": -31 }] }),
        ),
        (
            "qsys_set_controls",
            json!({ "changes": [{ "component": "Zone.2", "control": "gain", "value": -20 }], "reason": "test" }),
        ),
        (
            "qsys.set_control",
            json!({ "component_name": "Zone.2", "control_name": "gain", "value": -30 }),
        ),
        ("create_change_group", json!({ "id": "g" })),
        (
            "add_controls_to_change_group",
            json!({ "id": "g", "controls": ["Zone.1.gain", "Val Safe.gain"] }),
        ),
        ("poll_change_group", json!({ "id": "g" })),
        ("list_change_groups", json!({})),
        (
            "remove_controls_from_change_group",
            json!({ "id": "g", "controls": ["Zone.1.gain"] }),
        ),
        ("clear_change_group", json!({ "id": "g" })),
        ("destroy_change_group", json!({ "id": "g" })),
        ("query_core_status", json!({})),
        ("system.ping", json!({})),
        ("system.health", json!({})),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_tool_tells_a_bounded_key_a_name_beyond_its_reach() {
    let bed = house();
    let caller = holder();
    // A watch from the time when the key of this name reached the vault.
    let wide = Caller {
        reach: Reach::everything(),
        ..caller.clone()
    };
    let begun = told(
        &bed,
        &wide,
        "qsys_start_watch",
        &json!({ "component": "Vault Safe" }),
    )
    .await;
    let watch = begun.split("\"watch_id\":\"").nth(1).unwrap();
    let watch = watch.split('"').next().unwrap();
    bed.report(&json!([{ "Component": "Vault Safe", "Name": "gain", "Value": -50, "String": "vault", "Position": 0.1 }]));
    let mut driven = BTreeSet::new();
    for (tool, arguments) in calls(watch) {
        let all = told(&bed, &wide, tool, &arguments).await;
        assert!(!all.contains("BAD_ARGUMENTS"), "{tool}: {all}");
        let said = told(&bed, &caller, tool, &arguments).await;
        assert!(
            !said.to_lowercase().contains(SECRET),
            "{tool} {arguments}: {said}"
        );
        driven.insert(tool);
    }
    let tools = bed.service.tools().iter().chain(bed.service.older_names());
    let known: BTreeSet<_> = tools.map(|tool| tool.name).collect();
    assert_eq!(driven, known, "a tool without a row here may tell anything");
}

#[tokio::test(start_paused = true)]
async fn a_name_beyond_the_reach_is_answered_as_one_that_does_not_exist() {
    let bed = house();
    let caller = holder();
    for (tool, arguments) in [
        ("qsys_get_component", json!({ "component": "NAME" })),
        (
            "qsys_get_controls",
            json!({ "controls": [{ "component": "NAME", "control": "gain" }] }),
        ),
        (
            "qsys_read_meters",
            json!({ "meters": [{ "component": "NAME", "control": "gain" }] }),
        ),
        (
            "qsys_wait_for_change",
            json!({ "controls": [{ "component": "NAME", "control": "gain" }] }),
        ),
        ("qsys_start_watch", json!({ "component": "NAME" })),
        ("qsys_list_snapshots", json!({ "bank": "NAME" })),
        ("qsys_explain_visibility", json!({ "component": "NAME" })),
        (
            "qsys_explain_visibility",
            json!({ "component": "NAME", "control": "gain" }),
        ),
        (
            "qsys_set_controls",
            json!({ "changes": [{ "component": "NAME", "control": "gain", "value": -1 }], "reason": "test" }),
        ),
        (
            "qsys_load_snapshot",
            json!({ "bank": "NAME", "number": 1, "reason": "test" }),
        ),
        ("get_component_controls", json!({ "componentName": "NAME" })),
        ("list_controls", json!({ "component": "NAME" })),
        (
            "qsys.get_control",
            json!({ "component_name": "NAME", "control_name": "gain" }),
        ),
        ("get_control_values", json!({ "controls": ["NAME.gain"] })),
        (
            "qsys.set_control",
            json!({ "component_name": "NAME", "control_name": "gain", "value": 1 }),
        ),
        (
            "set_control_values",
            json!({ "controls": [{ "name": "NAME.gain", "value": 1 }] }),
        ),
    ] {
        let mut said = Vec::new();
        for name in ["Vault Safe", "Krypta Op1"] {
            let arguments = arguments.to_string().replace("NAME", name);
            let arguments = serde_json::from_str(&arguments).unwrap();
            let answer = told(&bed, &caller, tool, &arguments).await;
            assert!(answer.contains("Your key reaches only"), "{tool}: {answer}");
            said.push(answer.replace(name, "NAME"));
        }
        assert_eq!(said[0], said[1], "{tool}");
    }
    assert!(bed.requests().is_empty(), "{:?}", bed.methods());
}

#[tokio::test(start_paused = true)]
async fn a_bounded_key_recalls_no_snapshot_by_whichever_tool() {
    let bed = house();
    let caller = holder();
    let trigger = json!({ "component": "Zone.Scenes", "control": "load.1", "value": 1 });
    for (tool, arguments) in [
        (
            "qsys_load_snapshot",
            json!({ "bank": "Zone.Scenes", "number": 1, "reason": "test" }),
        ),
        (
            "qsys_set_controls",
            json!({ "changes": [trigger], "reason": "test" }),
        ),
        (
            "qsys.set_control",
            json!({ "component_name": "Zone.Scenes", "control_name": "load.1", "value": true }),
        ),
    ] {
        let call = ToolCall::new(tool, arguments, caller.clone(), Stop::new());
        let fault = bed.service.call(call).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Protected, "{tool}");
        assert!(
            fault.problem.contains("`Zone.*`"),
            "{tool}: {}",
            fault.problem
        );
    }
    assert!(bed.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_resource_tells_a_bounded_key_a_name_beyond_its_reach() {
    let bed = house();
    let caller = holder();
    let mut uris: Vec<_> = bed
        .service
        .resources()
        .into_iter()
        .map(|one| one.uri)
        .collect();
    uris.extend([
        "qsys://component/Zone.1".to_owned(),
        "qsys://control/Zone.1/gain".to_owned(),
        "qsys://control/Val%20Safe/gain".to_owned(),
        "qsys://named-control/Valt%20Alarm".to_owned(),
    ]);
    for uri in &uris {
        let said = match bed.service.read_resource(uri, &caller).await {
            Ok(Some(found)) => match &found.contents[0].body {
                ResourceBody::Text(text) => text.clone(),
                ResourceBody::Base64(_) => panic!("{uri}"),
            },
            Ok(None) => panic!("{uri} is none of this service"),
            Err(fault) => format!("{fault} {}", fault.data),
        };
        assert!(!said.to_lowercase().contains(SECRET), "{uri}: {said}");
    }
    for beyond in [
        "qsys://component/Vault%20Safe",
        "qsys://control/Vault%20Safe/gain",
        "qsys://named-control/VaultAlarm",
    ] {
        let fault = bed
            .service
            .read_resource(beyond, &caller)
            .await
            .unwrap_err();
        assert_eq!(fault.code, FaultCode::NotFound, "{beyond}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_silent_about_what_lies_beyond_the_reach() {
    let bed = house();
    let reach = holder().reach;
    let uris = [
        "qsys://overview",
        "qsys://component/Vault%20Safe",
        "qsys://control/Vault%20Safe/gain",
        "qsys://component/Zone.1",
    ];
    let stamps = |reach: &Reach| uris.map(|uri| bed.service.resource_stamp(uri, reach).unwrap());
    let (bounded, whole) = (stamps(&reach), stamps(&Reach::everything()));
    bed.report(&json!([
        { "Component": "Vault Safe", "Name": "gain", "Value": -51, "String": "-51", "Position": 0.1 },
        { "Component": "Vault Safe", "Name": "status", "Value": 0, "String": "OK", "Position": 0.0 },
    ]));
    assert_eq!(stamps(&reach), bounded);
    let moved = stamps(&Reach::everything());
    assert!((0..3).all(|at| moved[at] != whole[at]) && moved[3] == whole[3]);
    bed.report(&json!([{ "Component": "Zone.1", "Name": "gain", "Value": -51, "String": "-51", "Position": 0.1 }]));
    assert_ne!(stamps(&reach)[3], bounded[3]);
}

#[tokio::test(start_paused = true)]
async fn no_completion_or_prompt_tells_a_bounded_key_a_name_beyond_its_reach() {
    let bed = house();
    let caller = holder();
    let mut others = Map::new();
    others.insert("component".to_owned(), "Vault Safe".into());
    let prompts = bed.service.prompts();
    let mut targets: Vec<(Target<'_>, &str)> = Vec::new();
    for prompt in prompts {
        targets.extend(
            prompt
                .arguments
                .iter()
                .map(|one| (Target::Prompt(prompt.name), one.name)),
        );
    }
    for template in bed.service.resource_templates() {
        for argument in ["name", "component", "control", "core"] {
            targets.push((Target::Template(template.uri_template), argument));
        }
    }
    let mut offered = 0;
    for (target, argument) in targets {
        for typed in ["", "v", "vau", "Zone", "open"] {
            let completion = Completion {
                target,
                argument,
                typed,
                others: &others,
                caller: &caller,
            };
            let found = bed.service.complete(&completion).unwrap();
            offered += found.values.len();
            let said = found.values.join(" ").to_lowercase();
            assert!(!said.contains(SECRET), "{target:?} {argument}: {said}");
        }
    }
    assert!(offered > 10);
    for prompt in prompts {
        let arguments = prompt.arguments.iter();
        let call = PromptCall {
            prompt: prompt.name.to_owned(),
            arguments: arguments
                .map(|one| (one.name.to_owned(), "Zone.1".into()))
                .collect(),
            caller: caller.clone(),
            cancel: Stop::new(),
            abilities: Abilities::default(),
            said: Said::default(),
        };
        let answer = bed.service.prompt(call).await.unwrap().done().unwrap();
        assert!(
            !format!("{answer:?}").to_lowercase().contains(SECRET),
            "{}",
            prompt.name
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_key_counts_what_it_reaches_and_no_more() {
    let bed = house();
    let call = |caller: Caller| ToolCall::new("qsys_get_overview", json!({}), caller, Stop::new());
    let (answer, _) = bed.answered(call(holder())).await.unwrap();
    assert_eq!(
        (&answer["components"], &answer["controls"]),
        (&json!(3), &json!(4))
    );
    assert_eq!(answer["faults_total"], 1);
    let nothing = Caller {
        reach: Reach::new(&["Cellar*".to_owned()]).unwrap(),
        ..holder()
    };
    let (answer, _) = bed.answered(call(nothing.clone())).await.unwrap();
    assert_eq!(
        (&answer["components"], &answer["types_total"]),
        (&json!(0), &json!(0))
    );
    let said = told(&bed, &nothing, "qsys_list_components", &json!({})).await;
    assert!(said.contains("nothing that your key reaches"), "{said}");
}
