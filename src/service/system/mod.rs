//! The tools for the box itself: one file each, and this list. They know nothing of Q-SYS, of HTTP or of protocol dates.

mod get_audit;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::definition::{Outcome, carry_out};
use super::fault::bad_argument;
use super::{Service, Step, Tool, ToolAnswer, ToolCall, ToolFault};
use crate::audit::Audit;
use crate::guard::Guard;

/// The tools for the box.
pub struct SystemService {
    audit: Audit,
    guard: Arc<Guard>,
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
const DEFINITIONS: &[Definition] = &[get_audit::DEFINITION, keys::LIST, keys::NEW, keys::REVOKE];

type Definition = super::definition::Definition<SystemService>;

impl SystemService {
    /// The tools over this audit trail and the keys of this guard.
    #[must_use]
    pub fn new(audit: Audit, guard: Arc<Guard>) -> Self {
        Self {
            audit,
            guard,
            tools: DEFINITIONS.iter().map(Definition::tool).collect(),
        }
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
}
