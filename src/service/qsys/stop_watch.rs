//! `qsys_stop_watch`: ends a watch before its time.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Head};
use super::poll_watch::ID_MAX_BYTES;
use super::watch::Key;
use super::{Definition, Outcome, QsysService};
use crate::guard::Scope;
use crate::service::{Effect, ToolCall};

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_stop_watch",
    title: "Stop a watch",
    description: "Ends a watch that qsys_start_watch began, so that its controls need not be looked at any more. A watch that has ended \
        already is no fault. What changed since the last poll is not told: poll once more first if it matters.",
    input: super::schema::input::<Arguments>,
    output: super::schema::output::<Answer>,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The watch, as `qsys_start_watch` named it.
    #[schemars(length(min = 1, max = ID_MAX_BYTES))]
    watch_id: String,
    /// Name of the Core. Not needed: the watch knows its own.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// Whether it was running. False when it had ended before.
    stopped: bool,
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let key = Key::watch(&call.caller.name, &arguments.watch_id);
        let stopped = service.watches.remove(&key);
        let text = if stopped {
            "The watch has ended."
        } else {
            "There was no such watch any more."
        };
        let structured = answer::whole(&Answer {
            head: core.head(),
            stopped,
        })?;
        Ok(answer::answer(structured, text.to_owned()))
    })
}
