//! Which service answers to which name: the one place where tools are looked up and their arguments checked.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use serde_json::Value;

use super::arguments::{Arguments, Problem};
use super::{Service, Tool};

/// A tool together with the service that carries it out.
pub struct Registered {
    tool: Tool,
    service: Arc<dyn Service>,
    arguments: Arguments,
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
    pub fn service(&self) -> &dyn Service {
        &*self.service
    }

    /// The same, to be kept beyond the registry's lock or lifetime.
    #[must_use]
    pub fn shared_service(&self) -> Arc<dyn Service> {
        Arc::clone(&self.service)
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

/// All tools of all services, in the order in which they are listed.
#[derive(Debug, Default)]
pub struct Registry {
    tools: Vec<Registered>,
    by_name: HashMap<&'static str, usize>,
}

impl Registry {
    /// Puts the tools of these services together and compiles their schemas.
    ///
    /// # Errors
    /// Two tools share a name, or a schema is no schema.
    pub fn new(services: &[Arc<dyn Service>]) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        for service in services {
            for tool in service.tools() {
                registry.add(tool, service, true)?;
            }
            for tool in service.older_names() {
                registry.add(tool, service, false)?;
            }
        }
        Ok(registry)
    }

    /// The tool of this name, listed or not.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Registered> {
        self.by_name
            .get(name)
            .and_then(|index| self.tools.get(*index))
    }

    /// Every tool, listed or not, in a stable order.
    #[must_use]
    pub fn all(&self) -> &[Registered] {
        &self.tools
    }

    fn add(
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
        if self.by_name.insert(tool.name, self.tools.len()).is_some() {
            return Err(RegistryError::NameTwice(tool.name));
        }
        self.tools.push(Registered {
            tool: tool.clone(),
            service: Arc::clone(service),
            arguments,
            is_listed,
        });
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
