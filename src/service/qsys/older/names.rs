//! Names as older clients write them: `Component.control` in one, or in two.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::NAME_MAX_BYTES;
use crate::model::name::ControlRef;
use crate::service::ToolFault;
use crate::service::qsys::text::is_same_name;
use crate::service::qsys::{Core, resolve};

/// Places at which a name in one is split when it has to be guessed: each guess compares with all names.
const GUESSES_MAX: usize = 8;

/// A control, in one name or in two.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Named {
    /// `Component.control`, or the bare name of a named control.
    Path(#[schemars(length(min = 1, max = 2 * NAME_MAX_BYTES + 1))] String),
    /// Component and control.
    Pair(Pair),
}

/// Component and control.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    /// Code Name of the component. Without it `name` is `Component.control`, or a named control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    pub(super) component: Option<String>,
    /// Name of the control.
    #[schemars(length(min = 1, max = 2 * NAME_MAX_BYTES + 1))]
    pub(super) name: String,
}

impl Named {
    fn parts(&self) -> (Option<&str>, &str) {
        match self {
            Self::Path(path) => (None, path),
            Self::Pair(pair) => (pair.component.as_deref(), &pair.name),
        }
    }

    /// As it was written.
    pub(super) fn asked(&self) -> String {
        match self.parts() {
            (Some(component), name) => format!("{component}.{name}"),
            (None, name) => name.to_owned(),
        }
    }

    /// The control that is meant. `is_thorough` allows to guess, which takes longer.
    pub(super) fn resolve(&self, core: &Core, is_thorough: bool) -> Result<ControlRef, ToolFault> {
        let (component, name) = self.parts();
        match component {
            Some(_) if is_thorough => resolve::control(core, component, name).map(|(_, name)| name),
            Some(_) => resolve::exact_control(core, component, name).map(|(_, name)| name),
            None => path(core, name, is_thorough),
        }
    }

    /// Whether this is how the control may be written.
    pub(super) fn means(&self, control: &ControlRef) -> bool {
        let known = control.component.as_ref().map_or_else(
            || control.control.to_string(),
            |component| format!("{component}.{}", control.control),
        );
        is_same_name(&self.asked(), &known)
    }
}

/// Names of components have dots too: the first place at which a split gives a control that is there counts.
fn path(core: &Core, path: &str, is_thorough: bool) -> Result<ControlRef, ToolFault> {
    if let Ok((_, name)) = resolve::exact_control(core, None, path) {
        return Ok(name);
    }
    let splits = || {
        let dots = path.match_indices('.').map(|(at, _)| at);
        dots.filter_map(|at| Some((path.get(..at)?, path.get(at + 1..)?)))
    };
    for (component, control) in splits() {
        if let Ok((_, name)) = resolve::exact_control(core, Some(component), control) {
            return Ok(name);
        }
    }
    if !is_thorough {
        return resolve::exact_control(core, None, path).map(|(_, name)| name);
    }
    let mut first = None;
    for (component, control) in splits().take(GUESSES_MAX) {
        let fault = match resolve::control(core, Some(component), control) {
            Ok((_, name)) => return Ok(name),
            Err(fault) => fault,
        };
        // The component is there: what is said of its controls helps more.
        if first.is_none() || core.mirror.component(component).is_some() {
            first = Some(fault);
        }
    }
    match first {
        Some(fault) => Err(fault),
        None => resolve::control(core, None, path).map(|(_, name)| name),
    }
}
