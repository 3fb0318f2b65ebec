//! Which service answers to which name: the one place where tools, prompts and resources are looked up, and arguments checked.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use serde_json::Value;

use super::arguments::{Arguments, Problem};
use super::{
    Completed, Completion, Generations, Prompt, Resource, ResourceContents, ResourceTemplate,
    Service, Tool, ToolFault,
};
use crate::guard::{Caller, Reach};

/// A tool together with the service that carries it out.
pub struct Registered {
    tool: Tool,
    service: Arc<dyn Service>,
    arguments: Arguments,
    weight: u32,
    is_listed: bool,
}

impl Registered {
    /// The tool.
    #[must_use]
    pub fn tool(&self) -> &Tool {
        &self.tool
    }

    /// Who carries it out.
    #[must_use]
    pub fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    /// What a call costs of what its caller may spend.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether lists show it; older names answer and are not listed.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Checks arguments against the very schema that is published.
    ///
    /// # Errors
    /// What is wrong, in the order in which it was found, at most [`crate::limits::PROBLEMS_MAX`] problems.
    pub fn check(&self, arguments: &Value) -> Result<(), Vec<Problem>> {
        self.arguments.check(arguments)
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("tool", &self.tool.name)
            .field("service", &self.service.name())
            .finish_non_exhaustive()
    }
}

/// Why services cannot be put together. Each is a fault of the program, found at its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two tools have one name.
    #[error("two tools are named {0:?}")]
    NameTwice(&'static str),
    /// Two prompts have one name.
    #[error("two prompts are named {0:?}")]
    PromptTwice(&'static str),
    /// Two families of resources have one URI.
    #[error("two resource templates are {0:?}")]
    TemplateTwice(&'static str),
    /// A schema is not JSON Schema 2020-12, or not that of an object.
    #[error("the {which} schema of tool {tool:?} is wrong: {problem}")]
    BadSchema {
        /// The tool.
        tool: &'static str,
        /// `input` or `output`.
        which: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// A prompt together with the service that fills it in.
#[derive(Clone)]
pub struct RegisteredPrompt {
    prompt: Prompt,
    service: Arc<dyn Service>,
}

impl RegisteredPrompt {
    /// The prompt.
    #[must_use]
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// Who fills it in.
    #[must_use]
    pub fn service(&self) -> &dyn Service {
        &*self.service
    }
}

impl fmt::Debug for RegisteredPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredPrompt")
            .field("prompt", &self.prompt.name)
            .field("service", &self.service.name())
            .finish_non_exhaustive()
    }
}

/// What all services offer, in the order in which it is listed.
#[derive(Default)]
pub struct Registry {
    services: Vec<Arc<dyn Service>>,
    tools: Vec<Registered>,
    tools_by_name: HashMap<&'static str, usize>,
    prompts: Vec<RegisteredPrompt>,
    prompts_by_name: HashMap<&'static str, usize>,
    templates: Vec<ResourceTemplate>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("tools", &self.tools)
            .field("prompts", &self.prompts)
            .field("templates", &self.templates.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Puts these services together and compiles the schemas of their tools.
    ///
    /// # Errors
    /// Two things share a name, or a schema is no schema.
    pub fn new(services: &[Arc<dyn Service>]) -> Result<Self, RegistryError> {
        let mut registry = Self {
            services: services.to_vec(),
            ..Self::default()
        };
        for service in services {
            for tool in service.tools() {
                registry.add_tool(tool, service, true)?;
            }
            for tool in service.older_names() {
                registry.add_tool(tool, service, false)?;
            }
            for prompt in service.prompts() {
                registry.add_prompt(prompt, service)?;
            }
            for template in service.resource_templates() {
                registry.add_template(template)?;
            }
        }
        Ok(registry)
    }

    /// The tool of this name, listed or not.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Registered> {
        let index = *self.tools_by_name.get(name)?;
        self.tools.get(index)
    }

    /// Every tool, listed or not, in a stable order.
    #[must_use]
    pub fn all(&self) -> &[Registered] {
        &self.tools
    }

    /// The prompt of this name.
    #[must_use]
    pub fn find_prompt(&self, name: &str) -> Option<&RegisteredPrompt> {
        let index = *self.prompts_by_name.get(name)?;
        self.prompts.get(index)
    }

    /// Every prompt, in a stable order.
    #[must_use]
    pub fn prompts(&self) -> &[RegisteredPrompt] {
        &self.prompts
    }

    /// The resources that are listed one by one at this moment, in a stable order.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        let all = self.services.iter();
        all.flat_map(|service| service.resources()).collect()
    }

    /// Every family of resources, in a stable order.
    #[must_use]
    pub fn templates(&self) -> &[ResourceTemplate] {
        &self.templates
    }

    /// Reads a resource from the first service that has it. `None` if none has.
    ///
    /// # Errors
    /// The service has it and cannot read it now.
    pub async fn read(
        &self,
        uri: &str,
        caller: &Caller,
    ) -> Result<Option<ResourceContents>, ToolFault> {
        for service in &self.services {
            if let Some(contents) = service.read_resource(uri, caller).await? {
                return Ok(Some(contents));
            }
        }
        Ok(None)
    }

    /// [`Service::resource_stamp`] of the first service that has this resource.
    #[must_use]
    pub fn resource_stamp(&self, uri: &str, reach: &Reach) -> Option<u64> {
        let mut all = self.services.iter();
        all.find_map(|service| service.resource_stamp(uri, reach))
    }

    /// Which edition of each list is out, over all services.
    #[must_use]
    pub fn generations(&self) -> Generations {
        let each = self.services.iter().map(|service| service.generations());
        each.fold(Generations::default(), |all, one| Generations {
            tools: all.tools.wrapping_add(one.tools),
            prompts: all.prompts.wrapping_add(one.prompts),
            resources: all.resources.wrapping_add(one.resources),
        })
    }

    /// Values that could complete an argument, by the service that knows it.
    #[must_use]
    pub fn complete(&self, completion: &Completion<'_>) -> Option<Completed> {
        let mut all = self.services.iter();
        all.find_map(|service| service.complete(completion))
    }

    fn add_tool(
        &mut self,
        tool: &Tool,
        service: &Arc<dyn Service>,
        is_listed: bool,
    ) -> Result<(), RegistryError> {
        must_be_object(tool.name, "output", &tool.output_schema)?;
        must_be_object(tool.name, "input", &tool.input_schema)?;
        let arguments =
            Arguments::new(&tool.input_schema).map_err(|problem| RegistryError::BadSchema {
                tool: tool.name,
                which: "input",
                problem,
            })?;
        let index = self.tools.len();
        if self.tools_by_name.insert(tool.name, index).is_some() {
            return Err(RegistryError::NameTwice(tool.name));
        }
        self.tools.push(Registered {
            tool: tool.clone(),
            service: Arc::clone(service),
            arguments,
            weight: service.weight(tool).max(1),
            is_listed,
        });
        Ok(())
    }

    fn add_prompt(
        &mut self,
        prompt: &Prompt,
        service: &Arc<dyn Service>,
    ) -> Result<(), RegistryError> {
        let index = self.prompts.len();
        if self.prompts_by_name.insert(prompt.name, index).is_some() {
            return Err(RegistryError::PromptTwice(prompt.name));
        }
        self.prompts.push(RegisteredPrompt {
            prompt: prompt.clone(),
            service: Arc::clone(service),
        });
        Ok(())
    }

    fn add_template(&mut self, template: &ResourceTemplate) -> Result<(), RegistryError> {
        let mut others = self.templates.iter();
        if others.any(|other| other.uri_template == template.uri_template) {
            return Err(RegistryError::TemplateTwice(template.uri_template));
        }
        self.templates.push(template.clone());
        Ok(())
    }
}

fn must_be_object(
    tool: &'static str,
    which: &'static str,
    schema: &Value,
) -> Result<(), RegistryError> {
    if schema.get("type").and_then(Value::as_str) == Some("object") {
        return Ok(());
    }
    Err(RegistryError::BadSchema {
        tool,
        which,
        problem: "its type is not \"object\"".to_owned(),
    })
}
