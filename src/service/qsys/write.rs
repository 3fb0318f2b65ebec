//! Sends writes that were judged already: one request per component, in order, never twice; and says honestly what became of each.

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Shown;
use super::get_controls::from_core;
use super::{Core, fault};
use crate::base::shutdown::Stop;
use crate::link::CommandError;
use crate::model::name::{ComponentName, ControlName};
use crate::safety::Write;
use crate::service::ToolFault;
use crate::store::view::ControlView;
use crate::wire::qrc::{ControlChange, ControlSet, Scalar, SetItem};

/// Values closer than this count as the one asked for: they cross the wire in single precision.
const SAME_VALUE: f64 = 1e-3;

/// A write that passed every rule.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) control: ControlView,
    pub(super) write: Write,
    /// Seconds; 0 is at once.
    pub(super) ramp_secs: f64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    /// The Core took it.
    Written,
    /// It was sent, but the answer was lost: it may have been carried out. It was not repeated.
    OutcomeUnknown,
    /// The Core refused it.
    Failed,
    /// It was not sent.
    NotSent,
}

/// What became of one write, in the order of the plan.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) fate: Fate,
    /// Where the control stands afterwards, as far as the Core could be asked.
    pub(super) reading: Option<Shown>,
    /// Whether that is what was asked for. Nothing for triggers, and while a ramp is on its way.
    pub(super) as_asked: Option<bool>,
    pub(super) fault: Option<ToolFault>,
}

/// Carries out a plan. After the first request that does not succeed nothing more is sent, since later writes may build on earlier
/// ones. Cancelling stops between requests; what was sent is finished.
pub(super) async fn carry_out(core: &Core, plan: &[Planned], cancel: &Stop) -> Vec<Done> {
    let mut done: Vec<Option<Done>> = plan.iter().map(|_| None).collect();
    let mut stopped: Option<ToolFault> = None;
    for group in groups(plan) {
        if cancel.is_cancelled() {
            stopped.get_or_insert_with(fault::cancelled);
        }
        let results = match &stopped {
            Some(fault) => group.iter().map(|_| not_sent(fault)).collect(),
            None => send_group(core, plan, &group).await,
        };
        for (index, result) in group.into_iter().zip(results) {
            if result.fate != Fate::Written {
                stopped.get_or_insert_with(skipped);
            }
            if let Some(place) = done.get_mut(index) {
                *place = Some(result);
            }
        }
    }
    done.into_iter()
        .map(|result| result.unwrap_or_else(|| not_sent(&skipped())))
        .collect()
}

fn skipped() -> ToolFault {
    ToolFault::new(
        crate::service::FaultCode::Busy,
        "It was not sent, because a write before it did not succeed.",
        "Look at the items before it first.",
    )
}

fn not_sent(fault: &ToolFault) -> Done {
    Done {
        fate: Fate::NotSent,
        reading: None,
        as_asked: None,
        fault: Some(fault.clone()),
    }
}

/// Indices of the plan, one group per request: all controls of a component together, each named control alone.
fn groups(plan: &[Planned]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Option<&ComponentName>, Vec<usize>)> = Vec::new();
    for (index, planned) in plan.iter().enumerate() {
        let component = planned.control.name.component.as_ref();
        match groups
            .iter_mut()
            .find(|(known, _)| known.is_some() && *known == component)
        {
            Some((_, group)) => group.push(index),
            None => groups.push((component, vec![index])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

async fn send_group(core: &Core, plan: &[Planned], group: &[usize]) -> Vec<Done> {
    let items: Vec<&Planned> = group.iter().filter_map(|index| plan.get(*index)).collect();
    let component = items
        .first()
        .and_then(|planned| planned.control.name.component.clone());
    let sent = send(core, component.as_ref(), &items).await;
    let fate = match &sent {
        Ok(_) => Fate::Written,
        Err(error) => fate(error),
    };
    let mut changes = sent.as_ref().ok().cloned().unwrap_or_default();
    let has_echo = |item: &&&Planned| {
        let name = item.control.name.control.as_str();
        changes.iter().any(|change| change.name.0 == name)
    };
    let unread: Vec<ControlName> = items
        .iter()
        .filter(|item| item.ramp_secs > 0.0 || !has_echo(item))
        .map(|item| item.control.name.control.clone())
        .collect();
    if fate != Fate::NotSent && !unread.is_empty() {
        // A fault here takes nothing from what is known of the write.
        if let Ok(read) = from_core(core, component.as_ref(), &unread).await {
            changes.splice(0..0, read);
        }
    }
    items
        .into_iter()
        .map(|item| {
            let name = item.control.name.control.as_str();
            let change = changes.iter().find(|change| change.name.0 == name);
            Done {
                fate,
                reading: change.map(Shown::fresh),
                as_asked: change
                    .filter(|_| item.ramp_secs == 0.0)
                    .and_then(|change| is_as_asked(item, change)),
                fault: sent.as_ref().err().map(fault::of_link),
            }
        })
        .collect()
}

async fn send(
    core: &Core,
    component: Option<&ComponentName>,
    items: &[&Planned],
) -> Result<Vec<ControlChange<'static>>, CommandError> {
    if let Some(component) = component {
        let items = items.iter().map(|item| set_item(item)).collect();
        return core.link.set_component(component, items).await;
    }
    let mut changes = Vec::new();
    for item in items {
        let SetItem {
            name,
            value,
            position,
            string,
            ramp,
        } = set_item(item);
        let set = ControlSet {
            name,
            value,
            position,
            string,
            ramp,
        };
        changes.extend(core.link.set_named(set).await?);
    }
    Ok(changes)
}

/// A text goes as `Value`: this is how clients seen in the field write texts, the official one among them.
fn set_item(item: &Planned) -> SetItem {
    let (value, position) = match &item.write {
        Write::Value(number) => (Some(Scalar::Number(*number)), None),
        Write::Switch(on) => (Some(Scalar::Number(f64::from(u8::from(*on)))), None),
        Write::Position(position) => (None, Some(*position)),
        Write::Text(text) => (Some(Scalar::Text(text.clone().into())), None),
    };
    SetItem {
        name: item.control.name.control.to_string(),
        value,
        position,
        string: None,
        ramp: (item.ramp_secs > 0.0).then_some(item.ramp_secs),
    }
}

fn fate(error: &CommandError) -> Fate {
    match error {
        CommandError::Busy
        | CommandError::Down { .. }
        | CommandError::BreakerOpen { .. }
        | CommandError::Standby => Fate::NotSent,
        CommandError::Refused { .. } => Fate::Failed,
        CommandError::Unreadable { .. }
        | CommandError::NoAnswer { .. }
        | CommandError::OutcomeUnknown { .. } => Fate::OutcomeUnknown,
    }
}

fn is_as_asked(item: &Planned, change: &ControlChange<'_>) -> Option<bool> {
    use crate::model::control::ControlKind;
    if matches!(
        item.control.kind,
        ControlKind::Trigger | ControlKind::StateTrigger
    ) {
        return None;
    }
    let is_same = |now: f64, asked: f64| (now - asked).abs() <= SAME_VALUE;
    let value = change.value.as_ref().and_then(Scalar::as_number);
    match &item.write {
        Write::Value(asked) => value.map(|now| is_same(now, *asked)),
        Write::Switch(asked) => value.map(|now| (now >= 0.5) == *asked),
        Write::Position(asked) => change.position.map(|now| is_same(now, *asked)),
        Write::Text(asked) => change.string.as_ref().map(|now| now.0 == asked.as_str()),
    }
}
