//! What the protocol layer asks for tools, resources and prompts. It knows no Q-SYS, and services know no protocol dates.

pub mod arguments;
mod call;
mod catalogue;
mod definition;
pub mod fault;
pub mod qsys;
pub mod registry;
mod schema;
pub mod system;

use std::sync::Arc;

use compact_str::CompactString;
use futures_util::future::{self, BoxFuture};
use serde_json::Value;

pub use call::{
    Abilities, Ask, Content, Form, Listener, LogLevel, Question, QuestionKind, Said, Step,
    TaskMode, ToolAnswer, ToolCall, Voice,
};
pub use catalogue::{
    Completed, Completion, Generations, Prompt, PromptAnswer, PromptArgument, PromptCall,
    PromptMessage, Resource, ResourceBody, ResourceContent, ResourceContents, ResourceTemplate,
    Speaker, Target,
};
pub use fault::{FaultCode, ToolFault};
pub use registry::{Registered, RegisteredPrompt, Registry, RegistryError};

use crate::guard::{Caller, Reach, Scope};

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

impl Effect {
    /// What a call of such a tool costs, unless its service says otherwise: a change costs the Core and the people in the room more than a
    /// look at the mirror.
    #[must_use]
    pub const fn weight(self) -> u32 {
        match self {
            Self::Read => 1,
            Self::WriteIdempotent | Self::Write => 3,
        }
    }
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

/// A set of tools, prompts and resources that belong together.
pub trait Service: Send + Sync {
    /// Prefix of its tools: `qsys`, `system`.
    fn name(&self) -> &'static str;

    /// Its tools, in the order in which they are listed.
    fn tools(&self) -> &[Tool];

    /// Tools that older clients know under other names: they answer as ever and are not listed.
    fn older_names(&self) -> &[Tool] {
        &[]
    }

    /// What a call of one of them costs of what its caller may spend, the request included: at least 1.
    fn weight(&self, tool: &Tool) -> u32 {
        tool.effect.weight()
    }

    /// Carries out a call of one of [`Service::tools`] or [`Service::older_names`].
    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>>;

    /// The device that a call of one of these tools is meant for, for the record: the Core that it names, or that answers when none is.
    fn target(&self, arguments: &Value) -> Option<CompactString> {
        let _ = arguments;
        None
    }

    /// Its prompts, in the order in which they are listed.
    fn prompts(&self) -> &[Prompt] {
        &[]
    }

    /// Fills in one of [`Service::prompts`]; required arguments are there.
    fn prompt(&self, call: PromptCall) -> BoxFuture<'_, Result<Step<PromptAnswer>, ToolFault>> {
        Box::pin(future::ready(Err(ToolFault::new(
            FaultCode::NotFound,
            format!("There is no prompt `{}`.", call.prompt),
            "List the prompts.",
        ))))
    }

    /// The resources that are listed one by one, in a stable order.
    fn resources(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// The families of resources that are too many to list.
    fn resource_templates(&self) -> &[ResourceTemplate] {
        &[]
    }

    /// Reads a resource, listed or of a family. `None` for a URI that is none of this service.
    fn read_resource<'a>(
        &'a self,
        uri: &'a str,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Option<ResourceContents>, ToolFault>> {
        let _ = (uri, caller);
        Box::pin(future::ready(Ok(None)))
    }

    /// A number that is another one whenever a read of `uri` by a caller of this reach would give other contents, ages aside. `None` for a URI that is none of
    /// this service. Asked a few times a second for each resource that somebody subscribed to, so it must be cheap.
    fn resource_stamp(&self, uri: &str, reach: &Reach) -> Option<u64> {
        let _ = (uri, reach);
        None
    }

    /// Which edition of each list is out.
    fn generations(&self) -> Generations {
        Generations::default()
    }

    /// Values that could complete an argument. `None` if the prompt or template is none of this service.
    fn complete(&self, completion: &Completion<'_>) -> Option<Completed> {
        let _ = completion;
        None
    }
}
