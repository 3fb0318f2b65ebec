//! What the design has: `list_components`, `get_component_controls`, `list_controls`, `get_all_controls`.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Rows, any_object, reading_row, without_nulls};
use crate::guard::Scope;
use crate::limits::{COMPONENTS_MAX, NAME_MAX_BYTES};
use crate::model::control::ControlKind;
use crate::service::qsys::answer::{self, Shown, shown_text};
use crate::service::qsys::{Core, Definition, Outcome, QsysService, fault, resolve, schema};
use crate::service::{Effect, ToolCall, ToolFault};
use crate::store::view::{ComponentView, ControlView};

/// Properties of a component, and choices of a control, that are told.
const FEW: usize = 40;

/// Components whose controls are gone through before other tasks get their turn.
const COMPONENTS_PER_TURN: usize = 16;

pub(super) const LIST_COMPONENTS: Definition = Definition {
    name: "list_components",
    title: "List components (older name)",
    description: "Older name; use qsys_list_components.",
    input: schema::input::<ListComponents>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: list_components,
};

pub(super) const GET_COMPONENT_CONTROLS: Definition = Definition {
    name: "get_component_controls",
    title: "Get component controls (older name)",
    description: "Older name; use qsys_get_component.",
    input: schema::input::<ComponentControls>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: get_component_controls,
};

pub(super) const LIST_CONTROLS: Definition = Definition {
    name: "list_controls",
    title: "List controls (older name)",
    description: "Older name; use qsys_search or qsys_get_component.",
    input: schema::input::<ListControls>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: list_controls,
};

pub(super) const GET_ALL_CONTROLS: Definition = Definition {
    name: "get_all_controls",
    title: "Get all controls (older name)",
    description: "Older name; use qsys_search or qsys_get_component.",
    input: schema::input::<AllControls>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: get_all_controls,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListComponents {
    /// Only components whose name or type contains this, whatever the case. `|` stands between alternatives, `^` before a beginning.
    #[schemars(length(max = NAME_MAX_BYTES))]
    filter: Option<String>,
    /// Whether to tell what the designer set.
    include_properties: Option<bool>,
    /// Rows to leave out at the front: `nextOffset` of the answer before.
    offset: Option<usize>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ComponentControls {
    /// Code Name of the component.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component_name: Option<String>,
    /// The same.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component: Option<String>,
    /// Rows to leave out at the front: `nextOffset` of the answer before.
    offset: Option<usize>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListControls {
    /// Only controls of this component.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component: Option<String>,
    /// Only controls of this type.
    control_type: Option<ControlType>,
    /// Whether to tell ranges and units.
    include_metadata: Option<bool>,
    /// Rows to leave out at the front: `nextOffset` of the answer before.
    offset: Option<usize>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AllControls {
    /// Whether to tell ranges and units.
    include_metadata: Option<bool>,
    /// Whether to put the controls of each component together.
    group_by_component: Option<bool>,
    /// Rows to leave out at the front: `nextOffset` of the answer before.
    offset: Option<usize>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ControlType {
    Gain,
    Mute,
    InputSelect,
    OutputSelect,
    All,
}

impl ControlType {
    /// The word that older clients expect, guessed from the name. `None` for controls that are none of these.
    fn word(control: &ControlView) -> Option<&'static str> {
        let name = control.name.control.as_str().to_lowercase();
        let has = |word: &str| name.contains(word);
        if has("gain") || has("level") {
            Some("gain")
        } else if has("mute") {
            Some("mute")
        } else if has("select") && has("input") {
            Some("input_select")
        } else if has("select") && has("output") {
            Some("output_select")
        } else {
            None
        }
    }

    fn fits(self, control: &ControlView) -> bool {
        let wanted = match self {
            Self::All => return true,
            Self::Gain => "gain",
            Self::Mute => "mute",
            Self::InputSelect => "input_select",
            Self::OutputSelect => "output_select",
        };
        Self::word(control) == Some(wanted)
    }
}

fn list_components(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: ListComponents = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        resolve::anything_known(core)?;
        let filter = arguments.filter.unwrap_or_default().to_lowercase();
        let (views, total) = core.mirror.components(
            &mut |view| fits_filter(&filter, &view.name) || fits_filter(&filter, &view.kind),
            0,
            COMPONENTS_MAX,
        );
        let offset = arguments.offset.unwrap_or(0);
        let with_properties = arguments.include_properties.unwrap_or(false);
        let mut rows = Rows::default();
        for view in views.iter().skip(offset) {
            if !rows.push(component_row(view, with_properties)) {
                break;
            }
        }
        rows.said("components", json!({ "total": total }), offset)
    })
}

/// Both in lower case: `gain`, `^main`, `gain|delay`.
fn fits_filter(filter: &str, text: &str) -> bool {
    let text = text.to_lowercase();
    filter.split('|').any(|part| match part.strip_prefix('^') {
        Some(beginning) => text.starts_with(beginning),
        None => text.contains(part),
    })
}

fn component_row(view: &ComponentView, with_properties: bool) -> Value {
    let properties = view.properties.iter().take(FEW);
    let properties: Map<_, _> = properties
        .map(|(name, value)| (shown_text(name), shown_text(value).into()))
        .collect();
    without_nulls(json!({
        "name": shown_text(&view.name),
        "type": shown_text(&view.kind),
        "properties": with_properties.then_some(properties),
    }))
}

fn get_component_controls(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: ComponentControls = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let name = arguments.component_name.or(arguments.component);
        let name = name.ok_or_else(|| {
            fault::bad_argument(
                "componentName",
                "it is missing",
                "Give the Code Name of a component.",
            )
        })?;
        let view = resolve::component(core, &name)?;
        let offset = arguments.offset.unwrap_or(0);
        let mut rows = Rows::default();
        let controls = core
            .mirror
            .component_controls(&view.name)
            .unwrap_or_default();
        for control in controls.iter().skip(offset) {
            if !rows.push(control_row(control, true)) {
                break;
            }
        }
        let rest = json!({ "component": shown_text(&view.name), "total": controls.len() });
        rows.said("controls", rest, offset)
    })
}

fn list_controls(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: ListControls = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let wanted = arguments.control_type.unwrap_or(ControlType::All);
        let component = arguments.component.as_deref();
        let with_metadata = arguments.include_metadata.unwrap_or(false);
        let offset = arguments.offset.unwrap_or(0);
        let rows = gathered(core, component, wanted, with_metadata, offset).await?;
        rows.said("controls", Value::Null, offset)
    })
}

fn get_all_controls(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: AllControls = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let with_metadata = arguments.include_metadata.unwrap_or(false);
        let offset = arguments.offset.unwrap_or(0);
        let mut rows = gathered(core, None, ControlType::All, with_metadata, offset).await?;
        let total = core.mirror.status().controls;
        if !arguments.group_by_component.unwrap_or(false) {
            return rows.said("controls", json!({ "total": total }), offset);
        }
        let (listed, mut groups) = (rows.taken.len(), Map::new());
        for mut row in std::mem::take(&mut rows.taken) {
            let component = row.as_object_mut().and_then(|row| row.remove("component"));
            let component = component.as_ref().and_then(Value::as_str).unwrap_or("");
            match groups.get_mut(component).and_then(Value::as_array_mut) {
                Some(group) => group.push(row),
                None => {
                    groups.insert(component.to_owned(), json!([row]));
                }
            }
        }
        super::said(&without_nulls(json!({
            "components": groups,
            "count": listed,
            "total": total,
            "truncated": rows.is_full.then_some(true),
            "nextOffset": rows.is_full.then_some(offset + listed),
        })))
    })
}

/// Controls of one component or of all, by component, as many as one answer holds after the first `offset`.
async fn gathered(
    core: &Core,
    component: Option<&str>,
    wanted: ControlType,
    with_metadata: bool,
    offset: usize,
) -> Result<Rows, ToolFault> {
    resolve::anything_known(core)?;
    let views = match component {
        Some(name) => vec![resolve::component(core, name)?],
        None => core.mirror.components(&mut |_| true, 0, COMPONENTS_MAX).0,
    };
    let named = if component.is_none() {
        core.mirror.named_controls()
    } else {
        Vec::new()
    };
    let mut rows = Rows::default();
    let mut skip = offset;
    let mut take = |controls: &[ControlView]| {
        for control in controls.iter().filter(|control| wanted.fits(control)) {
            if skip > 0 {
                skip -= 1;
            } else if !rows.push(control_row(control, with_metadata)) {
                return false;
            }
        }
        true
    };
    if take(&named) {
        for (turn, view) in views.iter().enumerate() {
            if !take(
                &core
                    .mirror
                    .component_controls(&view.name)
                    .unwrap_or_default(),
            ) {
                break;
            }
            if turn % COMPONENTS_PER_TURN == COMPONENTS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(rows)
}

fn control_row(control: &ControlView, with_metadata: bool) -> Value {
    let mut row = reading_row(&control.name, &Shown::cached(&control.reading));
    let word = ControlType::word(control).map_or_else(|| kind(&control.kind), str::to_owned);
    row.insert("type".into(), word.into());
    if with_metadata {
        row.insert("metadata".into(), metadata(control));
    }
    row.into()
}

fn kind(kind: &ControlKind) -> String {
    shown_text(kind.as_str()).to_lowercase()
}

fn metadata(control: &ControlView) -> Value {
    let unit = control.range_strings.as_ref().map(|(_, high)| unit(high));
    let choices = control.choices.iter().take(FEW);
    let choices: Vec<_> = choices.map(|choice| shown_text(choice)).collect();
    without_nulls(json!({
        "direction": control.direction.as_str(),
        "min": control.range.map(|(min, _)| min),
        "max": control.range.map(|(_, max)| max),
        "units": unit.filter(|unit| !unit.is_empty()).map(shown_text),
        "choices": (!choices.is_empty()).then_some(choices),
    }))
}

/// What stands behind the number: `dB` of `20.0dB`.
fn unit(text: &str) -> &str {
    let is_number = |letter: char| letter.is_ascii_digit() || "+-., ".contains(letter);
    text.trim_start_matches(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_filters_are_read_as_older_clients_mean_them() {
        assert_eq!(
            ["20.0dB", "-100 dB", "1.00kHz", "12", "0.5s"].map(unit),
            ["dB", "dB", "kHz", "", "s"]
        );
        assert!(
            fits_filter("gain|delay", "Main Gain")
                && fits_filter("", "x")
                && fits_filter("^main", "Main")
        );
        assert!(!fits_filter("^gain", "Main Gain") && !fits_filter("delay", "Main Gain"));
    }
}
