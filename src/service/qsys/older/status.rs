//! `query_core_status`: what the Core says of itself, as far as it says anything. It has no serial number, uptime, load or network facts.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{any_object, said, without_nulls};
use crate::guard::Scope;
use crate::link::LinkState;
use crate::service::qsys::answer::{self, Trust, millis, shown_text};
use crate::service::qsys::{Definition, Outcome, QsysService, resolve, schema};
use crate::service::{Effect, ToolCall};

pub(super) const QUERY_CORE_STATUS: Definition = Definition {
    name: "query_core_status",
    title: "Query the Core's status (older name)",
    description: "Older name; use qsys_get_overview and qsys_get_link_status.",
    input: schema::input::<Arguments>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Arguments {
    /// Taken and without effect: the design is always told.
    #[serde(rename = "includeDesignInfo")]
    _design: Option<bool>,
    /// Taken and without effect: a Core does not tell its network.
    #[serde(rename = "includeNetworkInfo")]
    _network: Option<bool>,
    /// Taken and without effect.
    #[serde(rename = "includeDetails")]
    _details: Option<bool>,
    /// Taken and without effect: a Core does not tell its load.
    #[serde(rename = "includePerformance")]
    _performance: Option<bool>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        resolve::anything_known(core)?;
        let known = core.mirror.status();
        let state = core.link.state();
        let status = known.engine.map(|engine| {
            without_nulls(json!({
                "code": engine.status.as_ref().map(|status| status.code),
                "string": engine.status.as_ref().map(|status| shown_text(&status.string)),
                "state": shown_text(engine.state.as_str()),
                "designName": shown_text(&engine.design_name),
                "designCode": shown_text(&engine.design_code),
                "isRedundant": engine.is_redundant,
                "isEmulator": engine.is_emulator,
                "platform": engine.platform.as_deref().map(shown_text),
            }))
        });
        said(&without_nulls(json!({
            "status": status,
            "connected": state == LinkState::Live,
            "link": state.as_str(),
            "quality": Trust::from(known.quality),
            "confirmedMs": known.confirmed.map(millis),
            "componentCount": known.components,
            "controlCount": known.controls,
        })))
    })
}
