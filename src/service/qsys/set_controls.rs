//! `qsys_set_controls`: writes, all judged before the first is sent.

use std::collections::HashSet;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{self, Head, Shown};
use super::get_controls::from_core;
use super::schema::NumberOrSwitch;
use super::text::{clean, path};
use super::write::{self, Done, Fate, Planned};
use super::{Core, Definition, Outcome, QsysService, fault, resolve};
use crate::guard::Scope;
use crate::limits::{NAME_MAX_BYTES, REASON_MAX_BYTES, WRITE_MAX, WRITE_TEXT_MAX_BYTES};
use crate::model::name::{ComponentName, ControlName, ControlRef};
use crate::safety::{Expect, Policy, Present, Proposal, Refusal, Write};
use crate::service::{Effect, FaultCode, ToolCall, ToolFault};
use crate::store::view::ControlView;
use crate::wire::qrc::{ControlChange, Scalar};

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_set_controls",
    title: "Set control values",
    description: "Writes up to 20 controls to absolute values and answers with what the Core then says they are. Each change has exactly one of \
        `value` (number in the control's unit, or true/false; 1 fires a trigger), `position` (0 to 1) and `string` (texts and combo boxes). \
        All changes are checked first, and nothing is sent if one is refused. Read before you write, and pass what you read as `expect`, so \
        that nothing is overwritten that somebody else just moved. A change whose outcome is unknown was not repeated: read it again first.",
    input: super::schema::input::<Arguments>,
    output: super::schema::output::<Answer>,
    // Not idempotent: the value 1 fires a trigger each time.
    effect: Effect::Write,
    is_destructive: true,
    scope: Scope::Operate,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The changes, 1 to 20. Those of one component are sent together, in this order.
    #[schemars(length(min = 1, max = WRITE_MAX))]
    changes: Vec<Change>,
    /// Why, in a few words for the people who read the log.
    #[schemars(length(min = 1, max = REASON_MAX_BYTES))]
    reason: String,
    /// Name of the Core; required where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Code Name of the component, spelt exactly. Leave it out for a named control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component: Option<String>,
    /// Name of the control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    control: String,
    /// New value: a number in the control's unit (dB, seconds, Hz, an index), or true and false for switches.
    value: Option<NumberOrSwitch>,
    /// New position between 0 and 1, instead of a value.
    #[schemars(range(min = 0, max = 1))]
    position: Option<f64>,
    /// New text, for texts and combo boxes only.
    #[schemars(length(max = WRITE_TEXT_MAX_BYTES))]
    string: Option<String>,
    /// Seconds over which a number moves to its new value, 0 to 60; at once without it.
    #[schemars(range(min = 0, max = 60))]
    ramp_s: Option<f64>,
    /// Where you believe the control stands. If it stands elsewhere, nothing is written (MOVED).
    expect: Option<ExpectArgument>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExpectArgument {
    /// The value as it was read.
    value: Option<NumberOrSwitch>,
    /// The string as it was read.
    #[schemars(length(max = WRITE_TEXT_MAX_BYTES))]
    string: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// What became of each change, in the order asked for.
    changes: Vec<Row>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Row {
    /// Code Name of the component; absent for a named control.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Exact name of the control.
    control: String,
    /// What became of it.
    outcome: Fate,
    /// Whether the Core now has what was asked for. Absent for triggers, while a ramp is under way, and when it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_asked: Option<bool>,
    /// The value as the Core says it is now.
    #[serde(flatten)]
    reading: Option<Shown>,
    /// Why it was not written. Absent when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Problem {
    /// A code such as `OUTCOME_UNKNOWN`.
    code: &'static str,
    /// What is wrong.
    explanation: String,
    /// What to do next.
    next_step: String,
}

/// A change whose names and form are good.
struct Wanted {
    index: usize,
    planned: Planned,
    expect: Option<Expect>,
}

impl Wanted {
    fn proposal(&self) -> Proposal<'_> {
        Proposal {
            control: &self.planned.control,
            write: &self.planned.write,
            ramp_secs: self.planned.ramp_secs,
            expect: self.expect.as_ref(),
        }
    }

    fn name(&self) -> &ControlRef {
        &self.planned.control.name
    }
}

/// What is wrong with one change.
struct Trouble {
    index: usize,
    subject: String,
    fault: ToolFault,
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = service.core_to_write(arguments.core.as_deref())?;
        let reason = check(&service.policy, &arguments)?;
        let wanted = judged(core, &service.policy, arguments.changes).await?;
        let plan: Vec<Planned> = wanted.into_iter().map(|wanted| wanted.planned).collect();
        for planned in &plan {
            tracing::info!(core = %core.name, caller = %call.caller.name, control = %planned.control.name,
                write = ?planned.write, ramp_secs = planned.ramp_secs, reason, "a client writes");
        }
        let done = write::carry_out(core, &plan, &call.cancel).await;
        report(core.head(), &plan, done)
    })
}

fn check(policy: &Policy, arguments: &Arguments) -> Result<String, ToolFault> {
    if !policy.writes_allowed() {
        return Err(fault::of_refusal(&Refusal::WritesOff, "The room"));
    }
    let count = arguments.changes.len();
    if !(1..=WRITE_MAX).contains(&count) {
        return Err(fault::bad_argument(
            "changes",
            format!("{count} changes are outside 1 to {WRITE_MAX}"),
            "Split them over several calls, and look in between.",
        ));
    }
    reason(&arguments.reason)
}

/// The reason as it is logged.
pub(super) fn reason(text: &str) -> Result<String, ToolFault> {
    let cleaned = clean(text.trim());
    if (1..=REASON_MAX_BYTES).contains(&cleaned.len()) {
        Ok(cleaned.into_owned())
    } else {
        Err(fault::bad_argument(
            "reason",
            format!("a reason has 1 to {REASON_MAX_BYTES} bytes"),
            "Say in a few words why the room is changed.",
        ))
    }
}

/// Every change, judged. All that is wrong is reported at once, and before anything is sent.
async fn judged(
    core: &Core,
    policy: &Policy,
    changes: Vec<Change>,
) -> Result<Vec<Wanted>, ToolFault> {
    let count = changes.len();
    let mut troubles = Vec::new();
    let mut wanted = Vec::with_capacity(count);
    let mut seen = HashSet::new();
    for (index, change) in changes.into_iter().enumerate() {
        let subject = path(change.component.as_deref(), &change.control);
        match read_change(core, index, change) {
            Ok(good) if !seen.insert(good.name().clone()) => troubles.push(Trouble {
                index,
                fault: fault::bad_argument(
                    "control",
                    format!("{subject} is there twice"),
                    "Write a control once per call.",
                ),
                subject,
            }),
            Ok(good) => wanted.push(good),
            Err(fault) => troubles.push(Trouble {
                index,
                subject,
                fault,
            }),
        }
    }
    let fresh = read_fresh(core, policy, &wanted).await;
    for one in &wanted {
        let present = fresh
            .iter()
            .find(|(name, _)| name == one.name())
            .map(|(_, change)| present(change));
        if let Err(refusal) = policy.judge(&one.proposal(), present.as_ref()) {
            let subject = one.name().to_string();
            troubles.push(Trouble {
                index: one.index,
                fault: fault::of_refusal(&refusal, &subject),
                subject,
            });
        }
    }
    if troubles.is_empty() {
        Ok(wanted)
    } else {
        Err(all_troubles(troubles, count))
    }
}

fn read_change(core: &Core, index: usize, change: Change) -> Result<Wanted, ToolFault> {
    let write = match (change.value, change.position, change.string) {
        (Some(NumberOrSwitch::Number(number)), None, None) => Write::Value(number),
        (Some(NumberOrSwitch::Switch(on)), None, None) => Write::Switch(on),
        (None, Some(position), None) => Write::Position(position),
        (None, None, Some(text)) if text.len() <= WRITE_TEXT_MAX_BYTES => Write::Text(text),
        (None, None, Some(_)) => {
            return Err(fault::bad_argument(
                "string",
                format!("a text has at most {WRITE_TEXT_MAX_BYTES} bytes"),
                "Write a shorter text.",
            ));
        }
        _ => {
            return Err(fault::bad_argument(
                "value",
                "exactly one of `value`, `position` and `string` is needed",
                "Give one of them.",
            ));
        }
    };
    let expect = match change.expect {
        Some(ExpectArgument {
            value: None,
            string: None,
        }) => {
            return Err(fault::bad_argument(
                "expect",
                "it has neither `value` nor `string`",
                "Give the value that you read, or leave `expect` out.",
            ));
        }
        given => given.map(|expect| Expect {
            value: expect.value.map(NumberOrSwitch::as_number),
            string: expect.string,
        }),
    };
    let control = resolve::control_view(core, change.component.as_deref(), &change.control)?;
    Ok(Wanted {
        index,
        planned: Planned {
            control,
            write,
            ramp_secs: change.ramp_s.unwrap_or(0.0),
        },
        expect,
    })
}

/// Reads from the Core what has to be known before judging: the mirror would be a poll behind, and would not know of a write a moment ago.
async fn read_fresh(
    core: &Core,
    policy: &Policy,
    wanted: &[Wanted],
) -> Vec<(ControlRef, ControlChange<'static>)> {
    let mut groups: Vec<(Option<&ComponentName>, Vec<ControlName>)> = Vec::new();
    for one in wanted {
        let name = one.name();
        if policy.admit(name).is_err() || !policy.needs_present(&one.proposal()) {
            continue;
        }
        let component = name.component.as_ref();
        match groups.iter_mut().find(|(known, _)| *known == component) {
            Some((_, group)) => group.push(name.control.clone()),
            None => groups.push((component, vec![name.control.clone()])),
        }
    }
    let mut fresh = Vec::new();
    for (component, controls) in groups {
        // Without a reading the rule that needs one refuses, which is the honest answer.
        let changes = from_core(core, component, &controls)
            .await
            .unwrap_or_default();
        for change in changes {
            if let Some(control) = controls.iter().find(|name| change.name.0 == name.as_str()) {
                let name = ControlRef {
                    component: component.cloned(),
                    control: control.clone(),
                };
                fresh.push((name, change));
            }
        }
    }
    fresh
}

fn present<'a>(change: &'a ControlChange<'_>) -> Present<'a> {
    Present {
        value: change.value.as_ref().and_then(Scalar::as_number),
        position: change.position,
        string: clean(change.string.as_deref().unwrap_or("")),
    }
}

/// One fault for everything that is wrong: the first in the order of the changes gives the code, the list has all.
fn all_troubles(mut troubles: Vec<Trouble>, count: usize) -> ToolFault {
    troubles.sort_by_key(|trouble| trouble.index);
    let list: Vec<_> = troubles
        .iter()
        .map(|trouble| {
            json!({
                "path": format!("/changes/{}", trouble.index),
                "control": trouble.subject,
                "code": trouble.fault.code.as_str(),
                "problem": trouble.fault.problem,
                "hint": trouble.fault.next_step,
                "details": trouble.fault.data,
            })
        })
        .collect();
    let refused = troubles.len();
    let Some(first) = troubles.into_iter().next() else {
        return fault::outcome_unknown();
    };
    let problem = if count == 1 {
        first.fault.problem
    } else {
        format!(
            "{refused} of {count} changes were refused, and nothing was sent. The first: {}",
            first.fault.problem
        )
    };
    ToolFault::new(first.fault.code, problem, first.fault.next_step).with_data(json!(list))
}

fn report(head: Head, plan: &[Planned], done: Vec<Done>) -> Outcome {
    let count = |fate| done.iter().filter(|done| done.fate == fate).count();
    let (written, unknown) = (count(Fate::Written), count(Fate::OutcomeUnknown));
    let first_fault = done
        .iter()
        .find(|done| done.fate == Fate::OutcomeUnknown)
        .or_else(|| done.iter().find(|done| done.fault.is_some()))
        .and_then(|done| done.fault.clone());
    let text = words(plan, &done);
    let changes = plan
        .iter()
        .zip(done)
        .map(|(planned, done)| row(planned, done))
        .collect();
    let answer = Answer { head, changes };
    let Some(first) = first_fault else {
        return Ok(answer::answer(answer::whole(&answer)?, text));
    };
    let code = if unknown > 0 {
        FaultCode::OutcomeUnknown
    } else {
        first.code
    };
    let problem = format!(
        "{written} of {} changes were written, the outcome of {unknown} is unknown, and the others were not carried out. {}",
        plan.len(),
        first.problem
    );
    let data = serde_json::to_value(&answer).unwrap_or_default();
    Err(ToolFault::new(code, problem, first.next_step).with_data(data))
}

pub(super) fn row(planned: &Planned, done: Done) -> Row {
    let name = &planned.control.name;
    Row {
        component: name.component.as_ref().map(ToString::to_string),
        control: name.control.to_string(),
        outcome: done.fate,
        as_asked: done.as_asked,
        reading: done.reading,
        problem: done.fault.map(|fault| Problem {
            code: fault.code.as_str(),
            explanation: fault.problem,
            next_step: fault.next_step,
        }),
    }
}

fn words(plan: &[Planned], done: &[Done]) -> String {
    let each: Vec<_> = plan
        .iter()
        .zip(done)
        .map(|(planned, done)| {
            let name = &planned.control.name;
            let now = done
                .reading
                .as_ref()
                .map_or_else(|| "not read back".to_owned(), Shown::words);
            match done.as_asked {
                Some(false) => format!("{name} is {now}, which is not what was asked for"),
                _ if planned.ramp_secs > 0.0 => {
                    format!(
                        "{name} is on its way over {} s, now {now}",
                        planned.ramp_secs
                    )
                }
                _ => format!("{name} is now {now}"),
            }
        })
        .collect();
    format!("{}.", each.join("; "))
}

/// For callers that only need a control written: the view that the rules are asked about.
pub(super) fn trigger(control: ControlView) -> Planned {
    Planned {
        control,
        write: Write::Value(1.0),
        ramp_secs: 0.0,
    }
}

#[cfg(test)]
mod tests {
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
}
