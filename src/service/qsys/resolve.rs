//! From names as a client spells them to controls and components as the Core spells them.

use serde_json::json;
use tokio::time::Instant;

use super::text::{clean, is_same_name, path};
use super::{Core, get_link_status};
use crate::link::LinkState;
use crate::model::name::{ComponentName, ControlName, ControlRef, NameError};
use crate::safety::{Beside, Policy};
use crate::service::{FaultCode, ToolFault};
use crate::store::view::{ComponentView, ControlId, ControlView};

/// Names offered when nothing has the one asked for.
const NEAREST: usize = 3;

/// Reads names as a client gives them.
pub(super) fn control_ref(component: Option<&str>, control: &str) -> Result<ControlRef, ToolFault> {
    let component = component.map(component_name).transpose()?;
    let control = control
        .parse::<ControlName>()
        .map_err(|fault| bad_name("control", &fault))?;
    Ok(ControlRef { component, control })
}

/// Reads the name of a component as a client gives it.
pub(super) fn component_name(name: &str) -> Result<ComponentName, ToolFault> {
    name.parse().map_err(|fault| bad_name("component", &fault))
}

fn bad_name(path: &str, fault: &NameError) -> ToolFault {
    super::fault::bad_argument(
        path,
        fault.to_string(),
        "Use a name as qsys_search or qsys_list_components gives it.",
    )
}

/// Finds a control by its exact name, without a look at names that are nearly the same.
pub(super) fn exact_control(
    core: &Core,
    component: Option<&str>,
    control: &str,
) -> Result<(ControlId, ControlRef), ToolFault> {
    let name = control_ref(component, control)?;
    match core.mirror.find(&name) {
        Some(id) => Ok((id, name)),
        None => Err(not_found(
            &bounded(
                core,
                component.unwrap_or(control),
                format!("Nothing is named `{name}`."),
            ),
            &name.to_string(),
            &[],
            "Find the name with qsys_search.",
        )),
    }
}

/// Finds a control and its exact name. `.` and `_` count as the same unless that leaves two to choose from.
pub(super) fn control(
    core: &Core,
    component: Option<&str>,
    control: &str,
) -> Result<(ControlId, ControlRef), ToolFault> {
    let name = control_ref(component, control)?;
    if let Some(id) = core.mirror.find(&name) {
        return Ok((id, name));
    }
    let known = match &name.component {
        Some(component) => {
            let component = self::component(core, component.as_str())?;
            core.mirror
                .component_controls(&component.name)
                .unwrap_or_default()
        }
        None => core.mirror.named_controls(),
    };
    let mut alike = known
        .into_iter()
        .filter(|known| is_same_name(known.name.control.as_str(), control));
    match (alike.next(), alike.next()) {
        (Some(only), None) => Ok((only.id, only.name)),
        (Some(one), Some(other)) => Err(ambiguous(
            &path(component, control),
            &[one.name.to_string(), other.name.to_string()],
        )),
        (None, _) => Err(no_control(core, &name)),
    }
}

/// The same, with all that is known of it.
pub(super) fn control_view(
    core: &Core,
    component: Option<&str>,
    control: &str,
) -> Result<ControlView, ToolFault> {
    let (id, name) = self::control(core, component, control)?;
    core.mirror
        .control(id)
        .ok_or_else(|| no_control(core, &name))
}

/// Finds a component by its Code Name, `.` and `_` counting as the same.
pub(super) fn component(core: &Core, name: &str) -> Result<ComponentView, ToolFault> {
    find_component(core, name)?.ok_or_else(|| no_component(core, name))
}

/// The same; no component of that name is no fault, but two of nearly that name are.
pub(super) fn find_component(core: &Core, name: &str) -> Result<Option<ComponentView>, ToolFault> {
    if let Some(found) = core.mirror.component(name) {
        return Ok(Some(found));
    }
    let is_alike = &mut |known: &ComponentView| is_same_name(&known.name, name);
    let (mut alike, _) = core.mirror.components(is_alike, 0, 2);
    if let [one, other] = alike.as_slice() {
        return Err(ambiguous(
            name,
            &[one.name.to_string(), other.name.to_string()],
        ));
    }
    Ok(alike.pop())
}

fn ambiguous(name: &str, choices: &[String]) -> ToolFault {
    ToolFault::new(
        FaultCode::NotFound,
        format!(
            "`{name}` could mean more than one name: {}.",
            choices.join(", ")
        ),
        "Use one of these, spelt exactly so.",
    )
    .with_data(json!({ "asked": name, "nearest": choices }))
}

fn no_component(core: &Core, name: &str) -> ToolFault {
    if let Err(fault) = anything_known(core) {
        return fault;
    }
    let nearest = core.mirror.nearest_components(name, NEAREST);
    not_found(
        &bounded(core, name, format!("No component `{name}` is visible.")),
        name,
        &nearest,
        "If it exists in the design, ask qsys_explain_visibility why it cannot be seen; otherwise use qsys_search.",
    )
}

fn no_control(core: &Core, name: &ControlRef) -> ToolFault {
    let component = name.component.as_ref().map(ComponentName::as_str);
    let control = name.control.as_str();
    let nearest = core.mirror.nearest_controls(component, control, NEAREST);
    let (problem, next_step) = match component {
        Some(component) => (
            format!("The component `{component}` has no control `{control}`."),
            "List its controls with qsys_get_component.",
        ),
        None => (
            format!("No named control `{control}` is known."),
            "Named controls have to be listed in the box's configuration, since a Core cannot list them. Give `component` for all other controls.",
        ),
    };
    let problem = bounded(core, component.unwrap_or(control), problem);
    not_found(&problem, &name.to_string(), &nearest, next_step)
}

/// What is said of a name that the key does not reach: the same, whether the design has it or not.
fn bounded(core: &Core, name: &str, problem: String) -> String {
    if core.reach().covers(name) {
        return problem;
    }
    format!("{problem} {}", super::fault::bound(core.reach()))
}

fn not_found(problem: &str, asked: &str, nearest: &[String], next_step: &str) -> ToolFault {
    let nearest: Vec<_> = nearest.iter().map(|name| clean(name)).collect();
    let problem = if nearest.is_empty() {
        clean(problem).into_owned()
    } else {
        format!(
            "{} The nearest names are: {}.",
            clean(problem),
            nearest.join(", ")
        )
    };
    ToolFault::new(FaultCode::NotFound, problem, next_step)
        .with_data(json!({ "asked": clean(asked), "nearest": nearest }))
}

/// What stands beside a control, as far as the rules want to know it.
pub(super) fn beside(core: &Core, policy: &Policy, control: &ControlView) -> Beside {
    let Some(name) = &control.name.component else {
        return Beside::default();
    };
    let component = core.mirror.component(name.as_str());
    let controls = policy
        .needs_beside(control)
        .then(|| core.mirror.component_controls(name.as_str()))
        .flatten();
    Beside {
        component_kind: component.map(|view| view.kind).unwrap_or_default(),
        controls: controls.unwrap_or_default(),
    }
}

/// A control that was there a moment ago.
pub(super) fn gone(name: &ControlRef) -> ToolFault {
    not_found(
        &format!("`{name}` is gone: the Core runs another design now."),
        &name.to_string(),
        &[],
        "Look it up again with qsys_search.",
    )
}

/// Whether a design was ever read from this Core, and shows anything: where not, no name is wrong.
pub(super) fn anything_known(core: &Core) -> Result<(), ToolFault> {
    let known = core.mirror.status();
    if known.components + known.controls > 0 {
        return Ok(());
    }
    let link = core.link.status();
    if known.engine.is_some() && !core.reach().is_everything() {
        return Err(ToolFault::new(
            FaultCode::NotVisible,
            format!(
                "The design shows nothing that your key reaches. {}",
                super::fault::bound(core.reach())
            ),
            "Tell the user: another key is needed, or other patterns for this one.",
        ));
    }
    if known.engine.is_some() && link.state == LinkState::Live {
        return Err(ToolFault::new(
            FaultCode::NotVisible,
            "The Core runs a design, but shows none of its components to the outside.",
            "Call qsys_explain_visibility without arguments: it says what a person can set in Q-SYS Designer.",
        ));
    }
    Err(ToolFault::new(
        FaultCode::LinkDown,
        format!(
            "Nothing is known of this Core yet: no design was ever read from it. {}",
            get_link_status::meaning(&link, Instant::now())
        ),
        "Look at qsys_get_link_status, and call qsys_explain_visibility without arguments for what a person can check.",
    ))
}
