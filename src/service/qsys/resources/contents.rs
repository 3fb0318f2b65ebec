//! What stands in a resource: the answers of the tools, and a few that no tool gives.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::uri::{Address, Place};
use super::{JSON, MARKDOWN};
use crate::base::shutdown::Stop;
use crate::guard::Caller;
use crate::limits::{COMPONENTS_MAX, PAGE_MAX};
use crate::service::qsys::answer::{self, Head, Trust, millis, shown_text};
use crate::service::qsys::get_component::{self, Row};
use crate::service::qsys::get_overview::{self, Engine, TypeCount};
use crate::service::qsys::{
    Core, Definition, QsysService, get_link_status, list_components, resolve,
};
use crate::service::{ResourceBody, ResourceContent, ResourceContents, ToolCall, ToolFault};
use crate::store::view::DesignDiff;

/// Reads what a URI names. Nothing for a URI that is none of this service.
pub(in crate::service::qsys) async fn read(
    service: &QsysService,
    uri: &str,
    caller: &Caller,
) -> Result<Option<ResourceContents>, ToolFault> {
    let Some(address) = Address::of(uri) else {
        return Ok(None);
    };
    let address = address?;
    if let Place::Guide(guide) = &address.place {
        return Ok(Some(contents(uri, guide.text.to_owned(), MARKDOWN)));
    }
    let core = &service.core(address.core.as_deref(), caller)?;
    let written = match &address.place {
        Place::Guide(_) => return Ok(None),
        Place::Overview => by_tool(service, core, caller, &get_overview::DEFINITION, json!({})),
        Place::Link => by_tool(
            service,
            core,
            caller,
            &get_link_status::DEFINITION,
            json!({}),
        ),
        Place::Components => {
            let arguments = narrowed(&address, json!({ "limit": PAGE_MAX }));
            by_tool(
                service,
                core,
                caller,
                &list_components::DEFINITION,
                arguments,
            )
        }
        Place::Component(name) => {
            let arguments = json!({ "component": name, "limit": PAGE_MAX });
            let arguments = narrowed(&address, arguments);
            by_tool(service, core, caller, &get_component::DEFINITION, arguments)
        }
        Place::Design => return Ok(Some(json_contents(uri, &design(core)?))),
        Place::Control(component, control) => {
            let written = self::control(service, core, component.as_deref(), control)?;
            return Ok(Some(json_contents(uri, &written)));
        }
    };
    Ok(Some(json_contents(uri, &written.await?)))
}

fn json_contents(uri: &str, written: &RawValue) -> ResourceContents {
    contents(uri, written.get().to_owned(), JSON)
}

fn contents(uri: &str, text: String, mime_type: &'static str) -> ResourceContents {
    ResourceContents {
        contents: vec![ResourceContent {
            uri: uri.to_owned(),
            mime_type,
            body: ResourceBody::Text(text),
        }],
        is_static: mime_type == MARKDOWN,
    }
}

/// What a tool answers.
async fn by_tool(
    service: &QsysService,
    core: &Core,
    caller: &Caller,
    tool: &Definition,
    mut arguments: Value,
) -> Result<Box<RawValue>, ToolFault> {
    if let Some(arguments) = arguments.as_object_mut() {
        arguments.insert("core".into(), core.name.as_str().into());
    }
    let call = ToolCall::new(tool.name, arguments, caller.clone(), Stop::new());
    let answer = (tool.call)(service, call).await?;
    match answer.structured {
        Some(structured) => Ok(structured),
        None => answer::whole(&json!({})),
    }
}

fn narrowed(address: &Address, mut arguments: Value) -> Value {
    if let Some(arguments) = arguments.as_object_mut() {
        for (name, value) in [("cursor", &address.cursor), ("type", &address.kind)] {
            if let Some(value) = value {
                arguments.insert(name.into(), value.as_str().into());
            }
        }
    }
    arguments
}

#[derive(Debug, Serialize)]
struct Design {
    #[serde(flatten)]
    head: Head,
    quality: Trust,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<Engine>,
    components: usize,
    controls: usize,
    /// Left out because of a bound of this box.
    refused: u64,
    types_total: usize,
    types: Vec<TypeCount>,
    /// How it differs from the design before it, if there was one since this box started.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Changed>,
}

#[derive(Debug, Serialize)]
struct Changed {
    #[serde(flatten)]
    controls: Option<ControlCounts>,
    /// The first 32 by name.
    components_appeared: Vec<String>,
    /// The first 32 by name.
    components_vanished: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ControlCounts {
    #[serde(rename = "controls_appeared")]
    appeared: usize,
    #[serde(rename = "controls_vanished")]
    vanished: usize,
    #[serde(rename = "controls_kept")]
    kept: usize,
}

impl Changed {
    /// Controls are counted for callers whose reach has no bound: nobody counted them within one.
    fn of(diff: &DesignDiff, core: &Core) -> Self {
        let shown = |names: &[compact_str::CompactString]| {
            names.iter().map(|name| shown_text(name)).collect()
        };
        Self {
            controls: core.reach().is_everything().then_some(ControlCounts {
                appeared: diff.appeared,
                vanished: diff.vanished,
                kept: diff.kept,
            }),
            components_appeared: shown(&diff.components_appeared),
            components_vanished: shown(&diff.components_vanished),
        }
    }
}

fn design(core: &Core) -> Result<Box<RawValue>, ToolFault> {
    resolve::anything_known(core)?;
    let known = core.mirror.status();
    let (views, _) = core.mirror.components(&mut |_| true, 0, COMPONENTS_MAX);
    let (types, types_total) = get_overview::types(&views);
    answer::whole(&Design {
        head: core.head(),
        quality: known.quality.into(),
        confirmed_ms: known.confirmed.map(millis),
        engine: known.engine.as_deref().map(Engine::from),
        components: known.components,
        controls: known.controls,
        refused: known.refused,
        types_total,
        types,
        changed: core
            .mirror
            .last_diff()
            .as_deref()
            .map(|diff| Changed::of(diff, core)),
    })
}

#[derive(Debug, Serialize)]
struct Control {
    #[serde(flatten)]
    head: Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    #[serde(flatten)]
    row: Row,
}

fn control(
    service: &QsysService,
    core: &Core,
    component: Option<&str>,
    control: &str,
) -> Result<Box<RawValue>, ToolFault> {
    resolve::anything_known(core)?;
    let view = resolve::control_view(core, component, control)?;
    let component = view.name.component.as_ref();
    answer::whole(&Control {
        head: core.head(),
        component: component.map(|name| shown_text(name.as_str())),
        row: get_component::row(&view, get_component::USUAL, &service.policy),
    })
}
