//! How a service writes its tools down: a table of them, each with what carries it out.

use std::sync::Arc;

use futures_util::TryFutureExt;
use futures_util::future::{self, BoxFuture};
use serde_json::Value;

use super::{Effect, FaultCode, Step, Tool, ToolAnswer, ToolCall, ToolFault};
use crate::guard::Scope;

/// What a tool comes to.
pub(super) type Outcome = Result<ToolAnswer, ToolFault>;

/// A tool of the service `S`: how it is listed, and what carries it out.
pub(super) struct Definition<S: 'static> {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) input: fn() -> Value,
    pub(super) output: fn() -> Value,
    pub(super) effect: Effect,
    pub(super) is_destructive: bool,
    pub(super) scope: Scope,
    pub(super) call: for<'a> fn(&'a S, ToolCall) -> BoxFuture<'a, Outcome>,
}

impl<S> Definition<S> {
    /// The tool as it is listed.
    pub(super) fn tool(&self) -> Tool {
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

/// Carries a call out as the definition of its tool says.
pub(super) fn carry_out<S: 'static>(
    service: &S,
    definitions: impl IntoIterator<Item = &'static Definition<S>>,
    call: ToolCall,
) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
    let found = definitions
        .into_iter()
        .find(|definition| definition.name == call.tool);
    match found {
        Some(definition) => Box::pin((definition.call)(service, call).map_ok(Step::Done)),
        None => Box::pin(future::ready(Err(ToolFault::new(
            FaultCode::NotFound,
            format!("There is no tool `{}`.", call.tool),
            "List the tools.",
        )))),
    }
}
