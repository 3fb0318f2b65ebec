//! The tools for the box itself: one file each, and this list. They know nothing of Q-SYS, of HTTP or of protocol dates.

mod get_audit;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use futures_util::TryFutureExt;
use futures_util::future::{self, BoxFuture};
use serde_json::Value;

use super::{Effect, FaultCode, Service, Step, Tool, ToolAnswer, ToolCall, ToolFault};
use crate::audit::Audit;
use crate::guard::{Guard, Scope};

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

type Outcome = Result<ToolAnswer, ToolFault>;

/// A tool: how it is listed, and what carries it out.
struct Definition {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    input: fn() -> Value,
    output: fn() -> Value,
    effect: Effect,
    is_destructive: bool,
    scope: Scope,
    call: for<'a> fn(&'a SystemService, ToolCall) -> BoxFuture<'a, Outcome>,
}

impl Definition {
    fn tool(&self) -> Tool {
        Tool {
            name: self.name,
            title: self.title,
            description: self.description,
            input_schema: Arc::new((self.input)()),
            output_schema: Arc::new((self.output)()),
            effect: self.effect,
            is_destructive: self.is_destructive,
            scope: self.scope,
        }
    }
}

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
        let found = DEFINITIONS
            .iter()
            .find(|definition| definition.name == call.tool);
        match found {
            Some(definition) => Box::pin((definition.call)(self, call).map_ok(Step::Done)),
            None => Box::pin(future::ready(Err(ToolFault::new(
                FaultCode::NotFound,
                format!("There is no tool `{}`.", call.tool),
                "List the tools.",
            )))),
        }
    }
}

/// One thing that is wrong with the arguments; `path` is the argument's name.
fn bad_argument(path: &str, problem: &str, hint: &str) -> ToolFault {
    ToolFault::new(
        FaultCode::BadArguments,
        format!("`{path}`: {problem}."),
        hint,
    )
    .with_data(
        serde_json::json!([{ "path": format!("/{path}"), "problem": problem, "hint": hint }]),
    )
}
