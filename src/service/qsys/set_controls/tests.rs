//! Writes over a played Core: what is sent, what is not, and what is said of it.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::base::shutdown::Stop;
use crate::link::CommandError;
use crate::safety::{Ceiling, SafetyConfig};
use crate::service::qsys::testing::{Bed, Next, bed, bed_with};
use crate::wire::qrc::{Method, Request};

async fn set(bed: &Bed, changes: Value) -> Result<Value, ToolFault> {
    let arguments = json!({ "changes": changes, "reason": "test" });
    bed.call("qsys_set_controls", arguments).await
}

fn gain(value: f64) -> Value {
    json!({ "component": "Main Gain", "control": "gain", "value": value })
}

fn ruled() -> Bed {
    bed_with(&SafetyConfig {
        writes: true,
        protected: vec!["Panel/fire".into(), "SystemMute".into()],
        snapshots: false,
        ceilings: vec![Ceiling {
            pattern: "*/gain".into(),
            max_value: 0.0,
            max_step_up: Some(6.0),
        }],
    })
}

#[tokio::test(start_paused = true)]
async fn a_write_answers_with_the_value_that_the_core_gives_back() {
    let bed = bed();
    let answer = set(&bed, json!([gain(-20.0)])).await.unwrap();
    assert_eq!(
        answer["changes"],
        json!([{ "component": "Main Gain", "control": "gain", "outcome": "written", "as_asked": true, "value": -20.0,
            "string": "-20dB", "position": answer["changes"][0]["position"], "age_ms": 0, "quality": "live", "source": "core" }])
    );
    assert_eq!(bed.methods(), ["Component.Set"]);
}

#[tokio::test(start_paused = true)]
async fn changes_of_one_component_go_in_one_request_in_their_order() {
    let bed = bed();
    let changes = json!([
        { "component": "Main Gain", "control": "mute", "value": true },
        { "component": "Panel", "control": "select", "string": "HDMI 2" },
        { "component": "Main Gain", "control": "gain", "value": -30, "ramp_s": 2.5 },
        { "control": "SystemMute", "value": false },
    ]);
    let answer = set(&bed, changes).await.unwrap();
    let requests = bed.requests();
    let Request::ComponentSet(first) = &requests[0] else {
        panic!("the first request was {:?}", requests[0]);
    };
    let names: Vec<_> = first
        .controls
        .iter()
        .map(|item| item.name.as_str())
        .collect();
    assert_eq!(
        (first.name.as_str(), names),
        ("Main Gain", vec!["mute", "gain"])
    );
    assert_eq!(first.controls[0].value, Some(Scalar::Number(1.0)));
    assert_eq!(first.controls[1].ramp, Some(2.5));
    // The ramp is under way, so the value is read, not taken from the answer to the write.
    assert_eq!(
        bed.methods(),
        [
            "Component.Set",
            "Component.Get",
            "Component.Set",
            "Control.Set"
        ]
    );
    assert_eq!(answer["changes"][1]["string"], "HDMI 2");
    assert_eq!(answer["changes"][2].get("as_asked"), None);
    assert_eq!(answer["changes"][3]["outcome"], "written");
}

#[tokio::test(start_paused = true)]
async fn a_core_that_answers_without_values_is_asked_for_them() {
    let bed = bed();
    bed.expect([Next::Bare]);
    let answer = set(&bed, json!([gain(-21.0)])).await.unwrap();
    assert_eq!(answer["changes"][0]["value"], -21.0);
    assert_eq!(bed.methods(), ["Component.Set", "Component.Get"]);
}

#[tokio::test(start_paused = true)]
async fn one_bad_change_keeps_all_from_being_sent_and_every_fault_is_told() {
    let bed = ruled();
    let changes = json!([
        gain(-13.0),
        { "component": "Panel", "control": "fire", "value": 1 },
        { "component": "Side Gain", "control": "level", "value": -5 },
        { "component": "Side Gain", "control": "gain", "value": 50 },
        { "component": "Panel", "control": "select", "string": "VGA" },
        { "component": "Nowhere", "control": "gain", "value": 0 },
        { "component": "Panel", "control": "label.1", "value": 1, "string": "x" },
        gain(-14.0),
    ]);
    let fault = set(&bed, changes).await.unwrap_err();
    let codes: Vec<_> = fault
        .data
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["path"].as_str().unwrap(), row["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        codes,
        [
            ("/changes/1", "PROTECTED"),
            ("/changes/2", "READ_ONLY"),
            ("/changes/3", "OUT_OF_RANGE"),
            ("/changes/4", "OUT_OF_RANGE"),
            ("/changes/5", "NOT_FOUND"),
            ("/changes/6", "BAD_ARGUMENTS"),
            ("/changes/7", "BAD_ARGUMENTS"),
        ]
    );
    assert!(fault.problem.contains("7 of 8"), "{}", fault.problem);
    assert!(
        bed.methods()
            .iter()
            .all(|method| *method == "Component.Get")
    );
}

#[tokio::test(start_paused = true)]
async fn with_writes_off_nothing_is_even_read() {
    let bed = bed_with(&SafetyConfig::default());
    let fault = set(&bed, json!([gain(-20.0)])).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::WritesOff);
    assert!(bed.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn ceilings_and_steps_are_judged_by_what_the_core_says_now() {
    let bed = ruled();
    bed.moved_at_core("Main Gain", "gain", -2.0);
    assert!(
        set(&bed, json!([gain(-1.0)])).await.is_ok(),
        "the mirror's -12 dB was believed"
    );
    let step = json!([{ "component": "Side Gain", "control": "gain", "value": -30 }]);
    let fault = set(&bed, step).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::LimitExceeded);
    let position = json!([{ "component": "Main Gain", "control": "gain", "position": 0.9 }]);
    let fault = set(&bed, position).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::LimitExceeded);
}

#[tokio::test(start_paused = true)]
async fn an_expectation_that_no_longer_holds_stops_the_write() {
    let bed = bed();
    let mut change = gain(-20.0);
    change["expect"] = json!({ "value": -12 });
    bed.moved_at_core("Main Gain", "gain", -6.0);
    let fault = set(&bed, json!([change])).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Moved);
    assert!(fault.problem.contains("-6"), "{}", fault.problem);
    change["expect"] = json!({ "value": -6 });
    assert!(set(&bed, json!([change])).await.is_ok());
    bed.expect([Next::Error(CommandError::NoAnswer {
        method: Method::ComponentGet,
    })]);
    let fault = set(&bed, json!([change])).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::StaleReading);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_unknown_is_read_again_and_never_sent_twice() {
    let bed = bed();
    bed.expect([Next::Lost]);
    let changes =
        json!([gain(-20.0), { "component": "Side Gain", "control": "gain", "value": -50 }]);
    let fault = set(&bed, changes).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::OutcomeUnknown);
    let rows = &fault.data["changes"];
    assert_eq!(
        (&rows[0]["outcome"], &rows[0]["value"]),
        (&json!("outcome_unknown"), &json!(-20.0))
    );
    assert_eq!(rows[1]["outcome"], "not_sent");
    assert_eq!(bed.methods(), ["Component.Set", "Component.Get"]);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_down_says_so_and_nothing_is_sent() {
    let bed = bed();
    let retry_in = Duration::from_secs(9);
    bed.expect([Next::Error(CommandError::BreakerOpen { retry_in })]);
    let fault = set(
        &bed,
        json!([gain(-20.0), { "control": "SystemMute", "value": 1 }]),
    )
    .await
    .unwrap_err();
    assert_eq!(fault.code, FaultCode::BreakerOpen);
    assert_eq!(fault.data["changes"][1]["outcome"], "not_sent");
    assert_eq!(bed.requests().len(), 1);
    let problem = &fault.data["changes"][0]["problem"];
    assert_eq!(
        (&fault.data["retry_after_ms"], &problem["retry_after_ms"]),
        (&json!(9_000), &json!(9_000)),
        "the delay that the text speaks of was lost"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_needs_a_reading_no_longer_hides_standby_and_breaker() {
    let retry_in = Duration::from_secs(9);
    for (error, code) in [
        (CommandError::Standby, FaultCode::CoreStandby),
        (CommandError::Down { retry_in }, FaultCode::LinkDown),
        (
            CommandError::BreakerOpen { retry_in },
            FaultCode::BreakerOpen,
        ),
    ] {
        let bed = ruled();
        bed.expect([Next::Error(error)]);
        let fault = set(&bed, json!([gain(-13.0)])).await.unwrap_err();
        assert_eq!(fault.code, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_printed_with_309_digits_is_short() {
    let fault = set(&bed(), json!([gain(1e308)])).await.unwrap_err();
    assert!(
        fault.problem.contains("1e308 is outside -100 to 20"),
        "{}",
        fault.problem
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_core_makes_of_a_value_is_not_hidden() {
    let bed = bed();
    bed.report(&json!([{ "Component": "Main Gain", "Name": "gain", "Value": -12 }]));
    // The control of the played Core stops at 20; an undescribed named control has no range to be judged by.
    let answer = set(&bed, json!([{ "control": "SystemMute", "value": 30 }]))
        .await
        .unwrap();
    let row = &answer["changes"][0];
    assert_eq!(
        (&row["as_asked"], &row["value"]),
        (&json!(false), &json!(20.0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_sends_nothing_more() {
    let bed = bed();
    let cancel = Stop::new();
    cancel.cancel();
    let arguments = json!({ "changes": [gain(-20.0)], "reason": "test" });
    let fault = bed
        .call_until("qsys_set_controls", arguments, cancel)
        .await
        .unwrap_err();
    assert_eq!(fault.data["changes"][0]["outcome"], "not_sent");
    assert!(bed.requests().is_empty());
}

/// The Core's gains with their steppers, under a ceiling.
fn stepped() -> Bed {
    let bed = ruled();
    let trigger = |name: &str| json!({ "Name": name, "Type": "Trigger", "Value": 0.0, "String": "", "Position": 0.0 });
    let gain = json!({ "Name": "gain", "Type": "Float", "Value": -12.0, "String": "-12dB", "Position": 0.733,
        "ValueMin": -100.0, "ValueMax": 20.0 });
    let by = json!({ "Name": "stepper.value", "Type": "Float", "Value": 3.0, "String": "3dB", "Position": 0.1 });
    bed.push(
        "code2",
        &[
            (
                "Foyer Gain",
                "gain",
                vec![
                    gain,
                    by,
                    trigger("stepper.increase"),
                    trigger("VolumeUp"),
                    trigger("blink"),
                ],
            ),
            ("Page", "custom_controls", vec![trigger("stepper.increase")]),
        ],
    );
    bed
}

#[tokio::test(start_paused = true)]
async fn a_stepper_that_walked_a_gain_past_its_ceiling_is_refused() {
    let bed = stepped();
    for control in [
        "stepper.increase",
        "stepper_increase",
        "stepper.value",
        "VolumeUp",
    ] {
        let change = json!([{ "component": "Foyer Gain", "control": control, "value": 1 }]);
        let fault = set(&bed, change).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::LimitExceeded, "{control}");
        assert!(
            fault.problem.contains("`Foyer Gain/gain`") && fault.problem.contains("ceiling of 0"),
            "{}",
            fault.problem
        );
        assert!(fault.next_step.contains("Foyer Gain/gain"));
    }
    assert!(bed.requests().is_empty());
    for (component, control) in [("Foyer Gain", "blink"), ("Page", "stepper.increase")] {
        let change = json!([{ "component": component, "control": control, "value": 1 }]);
        assert!(set(&bed, change).await.is_ok(), "{component}/{control}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_named_control_that_stood_for_a_gain_under_a_ceiling_is_refused() {
    let ceiling = |pattern: &str| Ceiling {
        pattern: pattern.into(),
        max_value: -6.0,
        max_step_up: None,
    };
    let rules = SafetyConfig {
        writes: true,
        ceilings: vec![ceiling("Main Gain/gain")],
        ..SafetyConfig::default()
    };
    let write = |write: Value| {
        let mut change = write;
        change["control"] = "SystemMute".into();
        json!([change])
    };
    let bed = bed_with(&rules);
    for passes in [json!({ "value": 1 }), json!({ "value": false })] {
        assert!(
            set(&bed, write(passes)).await.is_ok(),
            "a mute was taken for a level"
        );
    }
    let sent = bed.requests().len();
    for refused in [
        json!({ "value": 10 }),
        json!({ "position": 0.5 }),
        json!({ "string": "10dB" }),
    ] {
        let fault = set(&bed, write(refused)).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::LimitExceeded);
        assert!(fault.next_step.contains("[[safety.ceiling]]"));
    }
    bed.report(&json!([{ "Name": "SystemMute", "Value": 0, "String": "0.0dB", "Position": 0.83 }]));
    let fault = set(&bed, write(json!({ "value": true })))
        .await
        .unwrap_err();
    assert_eq!(fault.code, FaultCode::LimitExceeded);
    assert_eq!(bed.requests().len(), sent);
    let bed = bed_with(&SafetyConfig {
        ceilings: vec![ceiling("Main Gain/gain"), ceiling("SystemMute")],
        ..rules
    });
    assert!(set(&bed, write(json!({ "value": -10 }))).await.is_ok());
    assert!(set(&bed, write(json!({ "value": -5 }))).await.is_err());
}

/// Forty clients had read the same value and wrote at the same moment; three of the writes were sent.
#[tokio::test(start_paused = true)]
async fn of_many_writes_at_once_with_the_same_expectation_one_is_sent() {
    let bed = bed();
    let write = |number: u32| {
        let mut change = gain(f64::from(number) - 60.0);
        change["expect"] = json!({ "value": -12 });
        set(&bed, json!([change]))
    };
    let answers = futures_util::future::join_all((0..40).map(write)).await;
    let written = answers.iter().filter(|answer| answer.is_ok()).count();
    let codes: Vec<_> = answers
        .into_iter()
        .filter_map(Result::err)
        .map(|fault| fault.code)
        .collect();
    assert_eq!((written, codes), (1, vec![FaultCode::Moved; 39]));
    let sets = bed
        .methods()
        .into_iter()
        .filter(|method| *method == "Component.Set");
    assert_eq!(sets.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_behind_one_that_hangs_is_refused_unsent_and_a_cancelled_one_does_not_wait() {
    let bed = bed();
    let turn = bed
        .service
        .core(
            None,
            &crate::guard::Caller::local("test", crate::guard::Role::Operator),
        )
        .unwrap()
        .turn_to_write(&Stop::new())
        .await
        .unwrap();
    let refused = set(&bed, json!([gain(-20.0)])).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Busy);
    let gone = Stop::new();
    gone.cancel();
    let arguments = json!({ "changes": [gain(-20.0)], "reason": "test" });
    bed.call_until("qsys_set_controls", arguments, gone)
        .await
        .unwrap_err();
    assert!(bed.requests().is_empty());
    drop(turn);
    set(&bed, json!([gain(-20.0)])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_written_to_a_secret_does_not_stand_in_the_log() {
    let bed = bed();
    let number = |name: &str| {
        json!({ "Name": name, "Type": "Integer", "Value": 1, "String": "1", "Position": 0.0,
            "ValueMin": 0, "ValueMax": 9999 })
    };
    let controls = vec![number("Admin.PIN"), number("delay")];
    bed.push("code9", &[("Door", "custom_controls", controls)]);
    let caller = crate::guard::Caller::local("me", crate::guard::Role::Admin);
    let core = bed.service.core(None, &caller).unwrap();
    let shown = |control: &str| {
        logged(&Planned {
            control: resolve::control_view(&core, Some("Door"), control).unwrap(),
            write: Write::Value(4711.0),
            ramp_secs: 0.0,
        })
    };
    assert_eq!(shown("Admin.PIN"), "***");
    assert_eq!(shown("delay"), "Value(4711.0)");
}
