//! What the protocol layer asks for tools, resources and prompts. It knows no Q-SYS, and services know no protocol dates.

pub mod arguments;
pub mod fault;
pub mod qsys;
pub mod registry;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::value::RawValue;

pub use fault::{FaultCode, ToolFault};
pub use registry::{Registered, Registry, RegistryError};

use crate::base::shutdown::Stop;
use crate::guard::{Caller, Scope};

/// What a tool does to the world, as MCP's four hints put it. Hints inform clients; the server enforces regardless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Only looks.
    Read,
    /// Changes something; calling again with the same arguments changes nothing more.
    WriteIdempotent,
    /// Changes something each time.
    Write,
}

/// A tool as it is listed.
#[derive(Debug, Clone)]
pub struct Tool {
    /// `service_verb_noun`, stable for ever, at most 40 characters.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What it answers and when to use it.
    pub description: &'static str,
    /// JSON Schema of the arguments; always an object, unknown arguments refused.
    pub input_schema: Arc<Value>,
    /// JSON Schema of the structured answer.
    pub output_schema: Arc<Value>,
    /// What it does.
    pub effect: Effect,
    /// Whether what it does can hurt: only then is the destructive hint set.
    pub is_destructive: bool,
    /// What a caller must hold.
    pub scope: Scope,
}

/// A call of a tool, its arguments already checked against the schema.
#[derive(Debug)]
pub struct ToolCall {
    /// Name of the tool, or an alias.
    pub tool: String,
    /// Arguments: an object.
    pub arguments: Value,
    /// Who calls.
    pub caller: Caller,
    /// Cancelled when the caller no longer wants the answer, or the process stops. A write that was sent is finished all the same;
    /// a read is dropped where it waits when its caller goes away.
    pub cancel: Stop,
}

/// A good answer.
#[derive(Debug)]
pub struct ToolAnswer {
    /// The answer by the output schema.
    pub structured: Box<RawValue>,
    /// The same in a sentence or two, for hosts that show only text.
    pub text: String,
}

/// A set of tools that belong together, and later their resources and prompts.
pub trait Service: Send + Sync {
    /// Prefix of its tools: `qsys`, `system`.
    fn name(&self) -> &'static str;

    /// Its tools, in the order in which they are listed.
    fn tools(&self) -> &[Tool];

    /// Tools that older clients know under other names: they answer as ever and are not listed.
    fn older_names(&self) -> &[Tool] {
        &[]
    }

    /// Carries out a call of one of [`Service::tools`] or [`Service::older_names`].
    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<ToolAnswer, ToolFault>>;
}
