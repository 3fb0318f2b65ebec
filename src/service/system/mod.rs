//! The tools for the box itself: one file each, and this list. They know nothing of Q-SYS, of HTTP or of protocol dates.

mod drain;
mod get_audit;
mod health;
mod keys;
mod telemetry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Weak};

use futures_util::future::{self, BoxFuture};

use super::definition::{Outcome, carry_out};
use super::fault::bad_argument;
use super::{
    Completed, Completion, Resource, ResourceContents, ResourceTemplate, Service, Step, Tool,
    ToolAnswer, ToolCall, ToolFault,
};
use crate::audit::Audit;
use crate::base::shutdown::Ending;
use crate::guard::{Caller, Guard, Reach};
use crate::ops::health::Source;
use crate::telemetry::metrics::{Facts, Metrics};
use crate::telemetry::switches::Switches;

use telemetry::Telemetry;

/// The tools for the box.
pub struct SystemService {
    audit: Audit,
    guard: Arc<Guard>,
    health: Arc<dyn Source>,
    ending: Ending,
    telemetry: Telemetry,
    tools: Vec<Tool>,
}

impl fmt::Debug for SystemService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemService")
            .field("tools", &self.tools.len())
            .finish_non_exhaustive()
    }
}

/// Every tool, in the order in which they are listed.
const DEFINITIONS: &[Definition] = &[
    health::PING,
    health::HEALTH,
    get_audit::DEFINITION,
    keys::LIST,
    keys::NEW,
    keys::REVOKE,
    drain::DEFINITION,
    telemetry::METRICS,
    telemetry::SET,
];

type Definition = super::definition::Definition<SystemService>;

impl SystemService {
    /// The tools over this audit trail, the keys of this guard, and what is known of the box's health.
    #[must_use]
    pub fn new(audit: Audit, guard: Arc<Guard>, health: Arc<dyn Source>) -> Self {
        Self {
            audit,
            guard,
            health,
            ending: Ending::default(),
            telemetry: Telemetry::default(),
            tools: DEFINITIONS.iter().map(Definition::tool).collect(),
        }
    }
}

impl SystemService {
    /// The same tools, which end the process in this way.
    #[must_use]
    pub fn with_ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// The same tools, over these switches and numbers.
    #[must_use]
    pub fn with_telemetry(mut self, switches: Arc<Switches>, metrics: Arc<Metrics>) -> Self {
        self.telemetry = Telemetry::new(switches, metrics);
        self
    }

    /// Who tells numbers beside those that are counted.
    pub fn set_facts(&self, facts: Weak<dyn Facts>) {
        self.telemetry.set_facts(facts);
    }
}

impl Service for SystemService {
    fn name(&self) -> &'static str {
        "system"
    }

    fn tools(&self) -> &[Tool] {
        &self.tools
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        carry_out(self, DEFINITIONS, call)
    }

    fn resources(&self) -> Vec<Resource> {
        health::listed()
    }

    fn resource_templates(&self) -> &[ResourceTemplate] {
        health::TEMPLATES
    }

    fn read_resource<'a>(
        &'a self,
        uri: &'a str,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Option<ResourceContents>, ToolFault>> {
        let read = health::read(&*self.health, uri, &caller.reach);
        Box::pin(future::ready(Ok(read)))
    }

    fn resource_stamp(&self, uri: &str, reach: &Reach) -> Option<u64> {
        health::stamp(&*self.health, uri, reach)
    }

    fn complete(&self, completion: &Completion<'_>) -> Option<Completed> {
        health::complete(completion)
    }
}
