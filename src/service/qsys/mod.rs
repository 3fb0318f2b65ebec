//! The tools for the Core: one file each, and this list. They know Q-SYS and nothing of HTTP or of protocol dates.

mod answer;
mod completion;
mod explain_visibility;
mod fault;
mod get_component;
mod get_controls;
mod get_link_status;
mod get_overview;
mod list_components;
mod list_snapshots;
mod load_snapshot;
mod older;
mod poll_watch;
mod prompts;
mod read_meters;
mod resolve;
mod resources;
mod schema;
mod search;
mod set_controls;
mod sight;
mod start_watch;
mod stop_watch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod wait_for_change;
mod watch;
mod write;

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use futures_util::future::{self, BoxFuture};
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use self::answer::{Head, shown_text};
use self::sight::{Core, Systems};
pub use self::sight::{Served, System};
pub(crate) use self::text::clean;
use self::watch::Watches;
use super::definition::{Outcome, carry_out};
use super::{
    Completed, Completion, FaultCode, Generations, Prompt, PromptAnswer, PromptCall, Resource,
    ResourceContents, ResourceTemplate, Service, Step, Tool, ToolAnswer, ToolCall, ToolFault,
};
use crate::base::places::{Capacity, Places};
use crate::base::shutdown::Stop;
use crate::guard::{Caller, Reach};
use crate::limits::{WAITS_MAX, WAITS_PER_CALLER_MAX, WRITE_TURN_WAIT};
use crate::ops::pressure::Gauge;
use crate::safety::Policy;

/// The tools for all configured Cores.
pub struct QsysService {
    systems: Systems,
    policy: Arc<Policy>,
    tools: Vec<Tool>,
    older_names: Vec<Tool>,
    prompts: Vec<Prompt>,
    /// Calls that wait for a change.
    waits: Arc<Places>,
    watches: Watches,
    lookups: resources::Lookups,
}

impl fmt::Debug for QsysService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QsysService")
            .field("systems", &self.systems.len())
            .field("tools", &self.tools.len())
            .finish_non_exhaustive()
    }
}

/// Tools that a configuration may open to anybody: they look, keep nothing, and ask the Core for nothing.
pub const FOR_ANYBODY: [&str; 8] = [
    "system.ping",
    "system.health",
    "query_core_status",
    "qsys_get_link_status",
    "qsys_get_overview",
    "qsys_search",
    "qsys_list_components",
    "qsys_get_component",
];

/// Every tool, in the order in which they are listed.
const DEFINITIONS: &[Definition] = &[
    get_overview::DEFINITION,
    search::DEFINITION,
    list_components::DEFINITION,
    get_component::DEFINITION,
    get_controls::DEFINITION,
    read_meters::DEFINITION,
    wait_for_change::DEFINITION,
    start_watch::DEFINITION,
    poll_watch::DEFINITION,
    stop_watch::DEFINITION,
    list_snapshots::DEFINITION,
    get_link_status::DEFINITION,
    explain_visibility::DEFINITION,
    set_controls::DEFINITION,
    load_snapshot::DEFINITION,
];

/// Tools that hold something for a while: a place among those who wait, or controls that are polled fast.
const LONGER: [&str; 4] = [
    wait_for_change::DEFINITION.name,
    read_meters::DEFINITION.name,
    start_watch::DEFINITION.name,
    older::LONGER,
];

type Definition = super::definition::Definition<QsysService>;

impl QsysService {
    /// The tools for these systems, the first of which answers when none is named. Writes are judged by `policy`.
    #[must_use]
    pub fn new(systems: Vec<System>, policy: Arc<Policy>) -> Self {
        Self {
            systems: Systems::new(systems),
            policy,
            tools: DEFINITIONS.iter().map(Definition::tool).collect(),
            older_names: older::DEFINITIONS.iter().map(Definition::tool).collect(),
            prompts: prompts::all(),
            waits: Places::new(Capacity {
                total: WAITS_MAX,
                per_caller: WAITS_PER_CALLER_MAX,
                bytes: usize::MAX,
            }),
            watches: Watches::default(),
            lookups: resources::Lookups::default(),
        }
    }

    /// The same tools, which begin nothing that lasts while this gauge refuses.
    #[must_use]
    pub fn with_gauge(mut self, gauge: Gauge) -> Self {
        self.watches = Watches::new(gauge);
        self
    }

    /// Ends all watches for want of memory; their owners are told when they ask. How many.
    #[must_use]
    pub fn end_watches(&self) -> usize {
        self.watches.end_all()
    }

    /// Forgets watches that nobody asks any more, so that nothing is polled fast for them. Ends at `stop`.
    pub async fn sweep(self: Arc<Self>, stop: Stop) -> &'static str {
        self.watches.sweep(&stop).await;
        "watches"
    }

    /// The Core of this name, or the first, as far as the caller may know of it.
    fn core(&self, name: Option<&str>, caller: &Caller) -> Result<Core, ToolFault> {
        let found = self.systems.core(name, &caller.reach);
        found.ok_or_else(|| self.no_core(name.unwrap_or_default()))
    }

    /// The same for writes, which are never left to a default when there is a choice.
    fn core_to_write(&self, name: Option<&str>, caller: &Caller) -> Result<Core, ToolFault> {
        if name.is_none() && self.systems.len() > 1 {
            return Err(fault::bad_argument(
                "core",
                format!(
                    "this box has several Cores: {}",
                    self.systems.names().join(", ")
                ),
                "Name the one that is meant: a write is never left to a default.",
            ));
        }
        self.core(name, caller)
    }

    /// Patterns of the rules that fit nothing in the designs of all Cores. They may name anything, so that they are for callers whose
    /// reach has no bound.
    fn rules_without_controls(&self, reach: &Reach) -> Arc<[String]> {
        if !reach.is_everything() {
            return Arc::new([]);
        }
        self.policy.patterns_without_match(&self.systems.mirrors())
    }

    fn no_core(&self, name: &str) -> ToolFault {
        let names = self.systems.names();
        ToolFault::new(
            FaultCode::NotFound,
            format!(
                "This box has no Core `{name}`; it has: {}.",
                names.join(", ")
            ),
            "Use one of these, or leave `core` out.",
        )
        .with_data(json!({ "asked": name, "nearest": names }))
    }
}

impl Core {
    /// The turn to write: one call at a time reads, judges and sends, so that no other client of this box comes between.
    async fn turn_to_write(&self, cancel: &Stop) -> Result<OwnedMutexGuard<()>, ToolFault> {
        tokio::select! {
            biased;
            turn = timeout(WRITE_TURN_WAIT, Arc::clone(&self.writing).lock_owned()) => turn.map_err(|_| {
                ToolFault::new(
                    FaultCode::Busy,
                    format!(
                        "Other changes to this Core were under way for {} s; this one was not sent.",
                        WRITE_TURN_WAIT.as_secs()
                    ),
                    "Look at qsys_get_link_status, then call again.",
                )
            }),
            () = cancel.cancelled() => Err(fault::cancelled()),
        }
    }

    /// Which system an answer speaks of.
    fn head(&self) -> Head {
        let (design, design_code) = self.mirror.engine().map_or_else(
            || (String::new(), String::new()),
            |engine| {
                (
                    shown_text(&engine.design_name),
                    shown_text(&engine.design_code),
                )
            },
        );
        Head {
            core: self.name.to_string(),
            design,
            design_code,
            link: self.link.state().as_str(),
        }
    }
}

impl Service for QsysService {
    fn name(&self) -> &'static str {
        "qsys"
    }

    fn tools(&self) -> &[Tool] {
        &self.tools
    }

    fn older_names(&self) -> &[Tool] {
        &self.older_names
    }

    fn weight(&self, tool: &Tool) -> u32 {
        if LONGER.contains(&tool.name) {
            2 * tool.effect.weight()
        } else {
            tool.effect.weight()
        }
    }

    fn target(&self, arguments: &Value) -> Option<CompactString> {
        let name = arguments.get("core").and_then(Value::as_str);
        let core = self.systems.core(name, &Reach::everything());
        core.map(|core| core.name.as_str().into())
    }

    fn prompts(&self) -> &[Prompt] {
        &self.prompts
    }

    fn prompt(&self, call: PromptCall) -> BoxFuture<'_, Result<Step<PromptAnswer>, ToolFault>> {
        Box::pin(future::ready(prompts::filled(self, &call).map(Step::Done)))
    }

    fn resources(&self) -> Vec<Resource> {
        resources::list(self)
    }

    fn resource_templates(&self) -> &[ResourceTemplate] {
        resources::templates(self.systems.len() > 1)
    }

    fn read_resource<'a>(
        &'a self,
        uri: &'a str,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Option<ResourceContents>, ToolFault>> {
        Box::pin(resources::read(self, uri, caller))
    }

    fn resource_stamp(&self, uri: &str, reach: &Reach) -> Option<u64> {
        resources::stamp(self, uri, reach)
    }

    fn complete(&self, completion: &Completion<'_>) -> Option<Completed> {
        completion::complete(self, completion)
    }

    fn generations(&self) -> Generations {
        let mirrors = self.systems.mirrors();
        let designs = mirrors.iter().map(|mirror| mirror.generation());
        Generations {
            resources: designs.fold(0, u64::wrapping_add),
            ..Generations::default()
        }
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        carry_out(self, DEFINITIONS.iter().chain(older::DEFINITIONS), call)
    }
}
