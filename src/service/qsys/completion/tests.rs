//! Completions through the service.

use serde_json::json;

use super::*;
use crate::guard::{Caller, Role};
use crate::service::Service;
use crate::service::qsys::testing::{Bed, bed, bed_of};

fn ask(
    service: &QsysService,
    target: Target<'_>,
    argument: &str,
    typed: &str,
    others: &Value,
) -> Option<Completed> {
    let caller = Caller::local("test", Role::Operator);
    service.complete(&Completion {
        target,
        argument,
        typed,
        others: others.as_object().unwrap(),
        caller: &caller,
    })
}

fn values(
    bed: &Bed,
    target: Target<'_>,
    argument: &str,
    typed: &str,
    others: &Value,
) -> Vec<String> {
    let completed = ask(&bed.service, target, argument, typed, others).unwrap();
    assert_eq!(completed.total, completed.values.len());
    completed.values
}

const COMPONENT: Target<'_> = Target::Template("qsys://component/{name}");
const CONTROL: Target<'_> = Target::Template("qsys://control/{component}/{control}");
const NAMED: Target<'_> = Target::Template("qsys://named-control/{name}");

#[tokio::test(start_paused = true)]
async fn names_of_the_design_complete_templates_and_prompts() {
    let bed = bed();
    let none = json!({});
    assert_eq!(
        values(&bed, COMPONENT, "name", "gain", &none),
        ["Main Gain", "Side Gain"]
    );
    assert_eq!(
        values(&bed, CONTROL, "component", "s", &none),
        ["Scenes", "Side Gain"]
    );
    let scenes = json!({ "component": "Scenes" });
    assert_eq!(
        values(&bed, CONTROL, "control", "load_", &scenes),
        ["load.1", "load.2", "load.3"]
    );
    assert_eq!(
        values(&bed, CONTROL, "control", "load", &none),
        Vec::<String>::new()
    );
    assert_eq!(values(&bed, NAMED, "name", "", &none), ["SystemMute"]);
    let level = Target::Prompt("safe_level_change");
    assert_eq!(
        values(&bed, level, "component", "main", &none),
        ["Main Gain"]
    );
    assert_eq!(
        values(
            &bed,
            level,
            "control",
            "",
            &json!({ "component": "Main Gain" })
        ),
        ["gain", "mute"]
    );
    assert_eq!(values(&bed, level, "change", "+3", &none), ["+3 dB"]);
    let check = Target::Prompt("pre_event_check");
    assert_eq!(values(&bed, check, "bank", "", &none), ["Scenes"]);
    assert_eq!(
        values(&bed, check, "event_time", "1", &none),
        Vec::<String>::new()
    );
    assert_eq!(
        values(&bed, Target::Prompt("what_changed"), "since", "yes", &none),
        ["yesterday"]
    );
    bed.push(
        "code2",
        &[
            ("Hall A Gain", "gain", vec![]),
            ("Hall A Mix", "mixer", vec![]),
        ],
    );
    assert_eq!(
        values(&bed, Target::Prompt("no_sound"), "room", "ha", &none),
        ["Hall A"]
    );
    for foreign in [Target::Prompt("other"), Target::Template("file:///{name}")] {
        assert_eq!(ask(&bed.service, foreign, "name", "", &none), None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_likeliest_comes_first_and_the_rest_is_counted() {
    let bed = bed();
    let names: Vec<_> = (0..300).map(|number| format!("Gain {number:03}")).collect();
    let mut design: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "gain", vec![]))
        .collect();
    design.extend([
        ("Foyer Lobby", "gain", vec![]),
        ("Lobby", "gain", vec![]),
        ("The Blobby", "gain", vec![]),
        ("Lobi", "gain", vec![]),
    ]);
    bed.push("code2", &design);
    let none = json!({});
    assert_eq!(
        values(&bed, COMPONENT, "name", "LOBBY", &none),
        ["Lobby", "Foyer Lobby", "The Blobby", "Lobi"]
    );
    assert_eq!(
        values(&bed, COMPONENT, "name", "Gian 007", &none)[0],
        "Gain 007"
    );
    let many = ask(&bed.service, COMPONENT, "name", "gain", &none).unwrap();
    assert_eq!(
        (many.values.len(), many.total, many.values[0].as_str()),
        (100, 300, "Gain 000")
    );
    assert_eq!(
        ask(&bed.service, COMPONENT, "name", "", &none)
            .unwrap()
            .total,
        304
    );
    assert_eq!(
        values(&bed, COMPONENT, "name", "zz", &none),
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn a_core_that_is_filled_in_decides_whose_names_are_offered() {
    let bed = bed();
    let core = bed.system.clone();
    let service = bed_of(vec![core.clone(), core]);
    let several = Target::Template("qsys://component/{name}?core={core}");
    let asked = |argument: &str, others: &Value| {
        ask(&service, several, argument, "", others).unwrap().values
    };
    assert_eq!(asked("core", &json!({})), ["hall", "hall"]);
    assert_eq!(asked("name", &json!({ "core": "hall" })).len(), 5);
    assert_eq!(
        asked("name", &json!({ "core": "attic" })),
        Vec::<String>::new()
    );
}
