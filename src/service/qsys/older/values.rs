//! Single values: `qsys.get_control`, `get_control_values`, and the writes, which are `qsys_set_controls` in other words.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::names::Named;
use super::{any_object, missing_row, reading_row, said, without_nulls};
use crate::guard::Scope;
use crate::limits::{NAME_MAX_BYTES, READ_MAX, WRITE_MAX, WRITE_TEXT_MAX_CHARS};
use crate::model::name::ControlRef;
use crate::service::qsys::answer::{self, Shown};
use crate::service::qsys::get_controls::check_count;
use crate::service::qsys::{
    Core, Definition, Outcome, QsysService, fault, resolve, schema, set_controls,
};
use crate::service::{Effect, ToolCall, ToolFault};

/// Unknown names of one call that are looked into.
const LOOKED_INTO: usize = 10;

pub(super) const GET_CONTROL: Definition = Definition {
    name: "qsys.get_control",
    title: "Get a control (older name)",
    description: "Older name; use qsys_get_controls.",
    input: schema::input::<OneControl>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: get_control,
};

pub(super) const GET_CONTROL_VALUES: Definition = Definition {
    name: "get_control_values",
    title: "Get control values (older name)",
    description: "Older name; use qsys_get_controls.",
    input: schema::input::<ManyControls>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: get_control_values,
};

pub(super) const SET_CONTROL: Definition = Definition {
    name: "qsys.set_control",
    title: "Set a control (older name)",
    description: "Older name; use qsys_set_controls.",
    input: schema::input::<SetOne>,
    output: any_object,
    effect: Effect::Write,
    is_destructive: true,
    scope: Scope::Operate,
    call: set_control,
};

pub(super) const SET_CONTROL_VALUES: Definition = Definition {
    name: "set_control_values",
    title: "Set control values (older name)",
    description: "Older name; use qsys_set_controls.",
    input: schema::input::<SetMany>,
    output: any_object,
    effect: Effect::Write,
    is_destructive: true,
    scope: Scope::Operate,
    call: set_control_values,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneControl {
    /// Code Name of the component.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component_name: String,
    /// Name of the control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    control_name: String,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ManyControls {
    /// The controls, 1 to 100.
    #[schemars(length(min = 1, max = READ_MAX))]
    controls: Vec<Named>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetOne {
    /// Code Name of the component.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component_name: String,
    /// Name of the control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    control_name: String,
    /// New value: a number, true or false, or a text.
    value: AnyValue,
    /// Seconds over which a number moves, 0 to 60.
    #[schemars(range(min = 0, max = 60))]
    ramp_time: Option<f64>,
    /// Name of the Core; required where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetMany {
    /// The changes, 1 to 20.
    #[schemars(length(min = 1, max = WRITE_MAX))]
    controls: Vec<Change>,
    /// Taken and without effect: everything is checked before anything is sent.
    #[serde(rename = "validate")]
    _validate: Option<bool>,
    /// Name of the Core; required where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Code Name of the component. Without it `name` is `Component.control`, or a named control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component: Option<String>,
    /// Name of the control.
    #[schemars(length(min = 1, max = 2 * NAME_MAX_BYTES + 1))]
    name: String,
    /// New value: a number, true or false, or a text.
    value: Option<AnyValue>,
    /// New position between 0 and 1, instead of a value.
    #[schemars(range(min = 0, max = 1))]
    position: Option<f64>,
    /// Seconds over which a number moves, 0 to 60.
    #[schemars(range(min = 0, max = 60))]
    ramp: Option<f64>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum AnyValue {
    Number(f64),
    Switch(bool),
    Text(#[schemars(length(max = WRITE_TEXT_MAX_CHARS))] String),
}

fn get_control(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: OneControl = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let component = Some(arguments.component_name.as_str());
        let (_, name) = resolve::control(core, component, &arguments.control_name)?;
        said(&reading(core, &name)?.into())
    })
}

fn get_control_values(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: ManyControls = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        check_count(arguments.controls.len())?;
        let (mut values, mut missing) = (Vec::new(), Vec::new());
        for asked in &arguments.controls {
            let found = asked.resolve(core, missing.len() < LOOKED_INTO);
            match found.and_then(|name| reading(core, &name)) {
                Ok(row) => values.push(Value::Object(row)),
                Err(fault) => missing.push((asked.asked(), fault)),
            }
        }
        if values.is_empty() && !missing.is_empty() {
            return Err(missing.swap_remove(0).1);
        }
        let missing: Vec<_> = missing
            .iter()
            .map(|(asked, fault)| missing_row(asked, fault))
            .collect();
        said(&without_nulls(json!({
            "values": values,
            "missing": (!missing.is_empty()).then_some(missing),
        })))
    })
}

fn reading(core: &Core, name: &ControlRef) -> Result<Map<String, Value>, ToolFault> {
    let id = core.mirror.find(name);
    let reading = id.and_then(|id| core.mirror.reading(id));
    let reading = reading.ok_or_else(|| resolve::gone(name))?;
    Ok(reading_row(name, &Shown::cached(&reading)))
}

fn set_control(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: SetOne = answer::arguments(call.arguments.clone())?;
        let wish = Wish {
            component: Some(arguments.component_name),
            control: arguments.control_name,
            value: Some(arguments.value),
            position: None,
            ramp: arguments.ramp_time,
        };
        let mut rows = written(service, call, vec![wish.into()], arguments.core).await?;
        said(&rows.pop().unwrap_or_default())
    })
}

fn set_control_values(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: SetMany = answer::arguments(call.arguments.clone())?;
        let core = &service.core_to_write(arguments.core.as_deref(), &call.caller)?;
        let mut changes = Vec::with_capacity(arguments.controls.len());
        for change in arguments.controls.into_iter().take(WRITE_MAX + 1) {
            changes.push(change.translated(core)?);
        }
        let rows = written(service, call, changes, arguments.core).await?;
        said(&json!({ "success": true, "controls": rows }))
    })
}

impl Change {
    /// The same for `qsys_set_controls`.
    fn translated(self, core: &Core) -> Result<Value, ToolFault> {
        let (component, control) = if self.component.is_some() {
            (self.component, self.name)
        } else {
            let name = Named::Path(self.name).resolve(core, true)?;
            let component = name.component.as_ref().map(ToString::to_string);
            (component, name.control.to_string())
        };
        let wish = Wish {
            component,
            control,
            value: self.value,
            position: self.position,
            ramp: self.ramp,
        };
        Ok(wish.into())
    }
}

/// What is to be written where.
struct Wish {
    component: Option<String>,
    control: String,
    value: Option<AnyValue>,
    position: Option<f64>,
    ramp: Option<f64>,
}

impl From<Wish> for Value {
    /// As an item of the arguments of `qsys_set_controls`.
    fn from(wish: Wish) -> Self {
        let (value, string) = match wish.value {
            Some(AnyValue::Number(number)) => (Some(Self::from(number)), None),
            Some(AnyValue::Switch(on)) => (Some(Self::from(on)), None),
            Some(AnyValue::Text(text)) => (None, Some(text)),
            None => (None, None),
        };
        without_nulls(json!({
            "component": wish.component,
            "control": wish.control,
            "value": value,
            "string": string,
            "position": wish.position,
            "ramp_s": wish.ramp,
        }))
    }
}

/// Writes by `qsys_set_controls`, with its checks, its log and its faults.
async fn written(
    service: &QsysService,
    call: ToolCall,
    changes: Vec<Value>,
    core: Option<String>,
) -> Result<Vec<Value>, ToolFault> {
    let reason = format!("asked for under the older name {}", call.tool);
    let arguments = without_nulls(json!({ "changes": changes, "reason": reason, "core": core }));
    let call = ToolCall { arguments, ..call };
    let answer = (set_controls::DEFINITION.call)(service, call).await?;
    let answer = answer.structured.as_deref().map_or("{}", RawValue::get);
    let answer: Written =
        serde_json::from_str(answer).map_err(|fault| fault::unserialisable(&fault))?;
    Ok(answer.changes.into_iter().map(Value::from).collect())
}

/// What older clients are told of an answer of `qsys_set_controls`.
#[derive(Debug, Deserialize)]
struct Written {
    changes: Vec<WrittenRow>,
}

#[derive(Debug, Deserialize)]
struct WrittenRow {
    component: Option<String>,
    control: String,
    outcome: String,
    as_asked: Option<bool>,
    value: Option<f64>,
    string: Option<String>,
    position: Option<f64>,
}

impl From<WrittenRow> for Value {
    fn from(row: WrittenRow) -> Self {
        without_nulls(json!({
            "component": row.component,
            "name": row.control,
            "success": row.outcome == "written",
            "asAsked": row.as_asked,
            "value": row.value,
            "string": row.string,
            "position": row.position,
        }))
    }
}
