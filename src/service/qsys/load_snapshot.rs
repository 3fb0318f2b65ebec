//! `qsys_load_snapshot`: recalls a snapshot, through its controller where the design shows one.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{self, Head, shown_text};
use super::get_controls::from_core;
use super::list_snapshots::{CONTROLLER, Slot, State, slots};
use super::set_controls::{reason, trigger};
use super::text::is_same_name;
use super::write::{self, Planned};
use super::{Core, Definition, Outcome, QsysService, fault, resolve};
use crate::guard::Scope;
use crate::limits::NAME_MAX_BYTES;
use crate::model::name::{ControlName, ControlRef};
use crate::safety::{Policy, Proposal, Refusal};
use crate::service::{Effect, FaultCode, ToolCall, ToolFault};
use crate::store::view::{ComponentView, ControlView};
use crate::wire::qrc::{ControlChange, Scalar};

/// Ramps closer than this are the same, seconds.
const SAME_RAMP: f64 = 1e-3;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_load_snapshot",
    title: "Load a snapshot",
    description: "Recalls a stored snapshot: many controls of the room move at once. Where this box has rules for controls it is refused \
        (PROTECTED) unless the owner allows it, since nobody can tell what a snapshot moves. Find bank and number with qsys_list_snapshots, and ask the user before you recall one while a room is in use. Answers with whether the room \
        now matches it.",
    input: super::schema::input::<Arguments>,
    output: super::schema::output::<Answer>,
    effect: Effect::WriteIdempotent,
    is_destructive: true,
    scope: Scope::Operate,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The bank: Code Name of its snapshot controller, or the bank's own name where no controller is visible.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    bank: String,
    /// Number of the snapshot in its bank, from 1.
    #[schemars(range(min = 1, max = 9_999))]
    number: u32,
    /// Seconds over which values move, 0 to 60. A snapshot controller has its own ramp time (`ramp.time`), which this cannot change.
    #[schemars(range(min = 0, max = 60))]
    ramp_s: Option<f64>,
    /// Why, in a few words for the people who read the log.
    #[schemars(length(min = 1, max = 300))]
    reason: String,
    /// Name of the Core; required where this box has several.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// The bank, spelt exactly.
    bank: String,
    /// Number of the snapshot.
    number: u32,
    /// How it was recalled.
    via: Via,
    /// Where the snapshot stands now. `drifted` and `not_loaded` right after a recall mean that values are still moving, or did not follow.
    state: State,
}

/// How a snapshot was recalled.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Via {
    /// By the trigger of a snapshot controller.
    Controller,
    /// By the Core's own method, which does not tell what came of it.
    Method,
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core_to_write(arguments.core.as_deref(), &call.caller)?;
        let policy = &service.policy;
        if !policy.writes_allowed() {
            return Err(fault::of_refusal(&Refusal::WritesOff, "The snapshot"));
        }
        if !core.reach().is_everything() {
            return Err(fault::snapshot_beyond(core.reach()));
        }
        let reason = reason(&arguments.reason)?;
        check(&arguments)?;
        let found = controller(core, &arguments.bank)?;
        let _turn = core.turn_to_write(&call.cancel).await?;
        tracing::info!(core = %core.name, caller = %call.caller.name, bank = %arguments.bank, number = arguments.number, reason,
            "a client asks for a snapshot");
        match found {
            Some(view) => {
                let slots = slots(core, &view.name);
                by_controller(core, policy, &view, slots, &arguments, &call.cancel).await
            }
            None => by_method(core, policy, &arguments).await,
        }
    })
}

fn check(arguments: &Arguments) -> Result<(), ToolFault> {
    if arguments.number == 0 {
        return Err(fault::bad_argument(
            "number",
            "snapshots are counted from 1",
            "Take a number from qsys_list_snapshots.",
        ));
    }
    let max = crate::limits::RAMP_MAX_SECS;
    match arguments.ramp_s {
        Some(ramp) if !(0.0..=max).contains(&ramp) => Err(fault::of_refusal(
            &Refusal::RampOutOfRange { max },
            "The snapshot",
        )),
        _ => Ok(()),
    }
}

/// The snapshot controller of this name. Nothing if no component has it: then it may be the name of a bank.
fn controller(core: &Core, bank: &str) -> Result<Option<ComponentView>, ToolFault> {
    match resolve::find_component(core, bank)? {
        Some(view) if view.kind != CONTROLLER => Err(fault::bad_argument(
            "bank",
            format!(
                "`{}` is a {}, not a snapshot controller",
                view.name,
                shown_text(&view.kind)
            ),
            "Take a bank from qsys_list_snapshots.",
        )),
        found => Ok(found),
    }
}

async fn by_controller(
    core: &Core,
    policy: &Policy,
    view: &ComponentView,
    mut slots: BTreeMap<u32, Slot>,
    arguments: &Arguments,
    cancel: &crate::base::shutdown::Stop,
) -> Outcome {
    let Some(slot) = slots.remove(&arguments.number) else {
        return Err(no_snapshot(view, arguments.number, &slots));
    };
    let Some(load) = slot.load else {
        return Err(no_snapshot(view, arguments.number, &slots));
    };
    own_ramp_fits(core, view, arguments.ramp_s)?;
    let subject = load.name.to_string();
    let planned = trigger(load);
    judge(core, policy, &planned).map_err(|refusal| fault::of_refusal(&refusal, &subject))?;
    let done = write::carry_out(core, std::slice::from_ref(&planned), cancel).await;
    if let Some(fault) = done.into_iter().find_map(|done| done.fault) {
        return Err(fault);
    }
    let state = state_now(core, slot.last, slot.matches).await;
    let answer = Answer {
        head: core.head(),
        bank: view.name.to_string(),
        number: arguments.number,
        via: Via::Controller,
        state,
    };
    let text = format!(
        "Snapshot {} of {} was recalled and is {}.",
        arguments.number,
        view.name,
        state.word()
    );
    Ok(answer::answer(answer::whole(&answer)?, text))
}

fn judge(core: &Core, policy: &Policy, planned: &Planned) -> Result<(), Refusal> {
    let proposal = Proposal {
        control: &planned.control,
        beside: &resolve::beside(core, policy, &planned.control),
        write: &planned.write,
        ramp_secs: 0.0,
        expect: None,
    };
    policy.judge(&proposal, None)
}

/// A controller recalls over its own `ramp.time`. To change that silently would change every later recall too, so it is refused.
fn own_ramp_fits(core: &Core, view: &ComponentView, asked: Option<f64>) -> Result<(), ToolFault> {
    let Some(asked) = asked else { return Ok(()) };
    let controls = core
        .mirror
        .component_controls(&view.name)
        .unwrap_or_default();
    let own = controls
        .iter()
        .find(|control| is_same_name(control.name.control.as_str(), "ramp.time"))
        .and_then(|control| control.reading.value)
        .unwrap_or(0.0);
    if (own - asked).abs() <= SAME_RAMP {
        return Ok(());
    }
    Err(fault::bad_argument(
        "ramp_s",
        format!("`{}` recalls over its own ramp time of {own} s", view.name),
        "Leave `ramp_s` out, or set the controller's `ramp.time` with qsys_set_controls first and put it back afterwards.",
    ))
}

fn no_snapshot(view: &ComponentView, number: u32, slots: &BTreeMap<u32, Slot>) -> ToolFault {
    let known: Vec<u32> = slots.keys().copied().collect();
    let words = match (known.first(), known.last()) {
        (Some(first), Some(last)) => format!("it has {} from {first} to {last}", known.len()),
        _ => "it shows none".to_owned(),
    };
    ToolFault::new(
        FaultCode::NotFound,
        format!("`{}` has no snapshot {number}: {words}.", view.name),
        "Take a number from qsys_list_snapshots.",
    )
    .with_data(json!({ "asked": number, "nearest": known.iter().take(20).collect::<Vec<_>>() }))
}

/// What the controller says of the snapshot once it was recalled.
async fn state_now(core: &Core, last: Option<ControlView>, matches: Option<ControlView>) -> State {
    let names: Vec<ControlName> = [&last, &matches]
        .into_iter()
        .flatten()
        .map(|control| control.name.control.clone())
        .collect();
    let component = last
        .iter()
        .chain(&matches)
        .find_map(|control| control.name.component.as_ref());
    if names.is_empty() {
        return State::Unknown;
    }
    let changes = from_core(core, component, &names).await.unwrap_or_default();
    let value = |control: &Option<ControlView>| {
        let name = control.as_ref()?.name.control.as_str();
        let change: &ControlChange<'_> = changes.iter().find(|change| change.name.0 == name)?;
        change.value.as_ref().and_then(Scalar::as_number)
    };
    State::of(value(&last), value(&matches))
}

async fn by_method(core: &Core, policy: &Policy, arguments: &Arguments) -> Outcome {
    let name: ControlRef =
        resolve::control_ref(Some(&arguments.bank), &format!("load.{}", arguments.number))?;
    policy
        .admit_snapshot(&name)
        .map_err(|refusal| fault::of_refusal(&refusal, &name.to_string()))?;
    core.link
        .load_snapshot(
            &arguments.bank,
            arguments.number,
            arguments.ramp_s.filter(|ramp| *ramp > 0.0),
        )
        .await
        .map_err(|error| fault::of_link(&error))?;
    let answer = Answer {
        head: core.head(),
        bank: arguments.bank.clone(),
        number: arguments.number,
        via: Via::Method,
        state: State::Unknown,
    };
    let text = format!(
        "The Core took the recall of snapshot {} of bank {}; no visible controller shows whether the room follows.",
        arguments.number, arguments.bank
    );
    Ok(answer::answer(answer::whole(&answer)?, text))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::link::CommandError;
    use crate::safety::SafetyConfig;
    use crate::service::qsys::testing::{Bed, Next, bed, bed_with};
    use crate::wire::qrc::{Method, Request};

    async fn load(bed: &Bed, bank: &str, number: u32) -> Result<Value, ToolFault> {
        let arguments = json!({ "bank": bank, "number": number, "reason": "test" });
        bed.call("qsys_load_snapshot", arguments).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_visible_controller_is_triggered_and_its_state_read_back() {
        let bed = bed();
        let answer = load(&bed, "Scenes", 1).await.unwrap();
        assert_eq!(
            (&answer["via"], &answer["state"]),
            (&json!("controller"), &json!("matching"))
        );
        let Request::ComponentSet(set) = &bed.requests()[0] else {
            panic!("no write was sent");
        };
        assert_eq!(set.controls[0].name, "load.1");
        assert_eq!(set.controls[0].value, Some(Scalar::Number(1.0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bank_without_a_controller_goes_by_the_cores_method() {
        let bed = bed();
        let answer = load(&bed, "Bank A", 2).await.unwrap();
        assert_eq!(
            (&answer["via"], &answer["state"]),
            (&json!("method"), &json!("unknown"))
        );
        assert_eq!(bed.methods(), ["Snapshot.Load"]);
    }

    #[tokio::test(start_paused = true)]
    async fn both_ways_are_judged_by_the_same_pattern() {
        let bed = bed_with(&SafetyConfig {
            writes: true,
            protected: vec!["*/load.3".into()],
            snapshots: true,
            ceilings: Vec::new(),
        });
        for bank in ["Scenes", "Bank A"] {
            let fault = load(&bed, bank, 3).await.unwrap_err();
            assert_eq!(fault.code, FaultCode::Protected);
        }
        assert!(bed.requests().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_recalled_past_protections_and_ceilings_is_refused() {
        let rules = SafetyConfig {
            writes: true,
            protected: vec!["Amp*".into()],
            ..SafetyConfig::default()
        };
        let bed = bed_with(&rules);
        for bank in ["Scenes", "Bank A"] {
            let fault = load(&bed, bank, 1).await.unwrap_err();
            assert_eq!(fault.code, FaultCode::Protected);
            assert!(fault.next_step.contains("safety.snapshots"));
        }
        let by_hand = json!({ "changes": [{ "component": "Scenes", "control": "load.1", "value": 1 }], "reason": "test" });
        let fault = bed.call("qsys_set_controls", by_hand).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Protected);
        assert!(bed.requests().is_empty());
        let bed = bed_with(&SafetyConfig {
            snapshots: true,
            ..rules
        });
        for bank in ["Scenes", "Bank A"] {
            assert!(load(&bed, bank, 1).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_recalled_says_what_can() {
        let bed = bed();
        let fault = load(&bed, "Scenes", 9).await.unwrap_err();
        assert_eq!(
            (fault.code, &fault.data["nearest"]),
            (FaultCode::NotFound, &json!([1, 2, 3]))
        );
        let fault = load(&bed, "Main Gain", 1).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::BadArguments);
        let ramp = json!({ "bank": "Scenes", "number": 1, "ramp_s": 5, "reason": "test" });
        let fault = bed.call("qsys_load_snapshot", ramp).await.unwrap_err();
        assert!(
            fault.problem.contains("ramp time of 2 s"),
            "{}",
            fault.problem
        );
        assert!(bed.requests().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_not_sent_again() {
        let bed = bed();
        bed.expect([Next::Lost]);
        let fault = load(&bed, "Scenes", 2).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::OutcomeUnknown);
        bed.expect([Next::Error(CommandError::OutcomeUnknown {
            method: Method::SnapshotLoad,
        })]);
        let fault = load(&bed, "Bank A", 2).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::OutcomeUnknown);
        let writes = |method: &&&str| **method != "Component.Get";
        assert_eq!(bed.methods().iter().filter(writes).count(), 2);
    }
}
