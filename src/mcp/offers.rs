//! What this server offers, by what its services have: the methods that answer, and the capabilities that say so.

use serde_json::{Map, Value, json};

use super::feed::Lists;
use super::revision::Revision;
use super::schema::Method;
use super::tasks;
use crate::service::Registry;

/// What there is. A capability is declared if and only if its methods answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offers {
    prompts: bool,
    resources: bool,
    completions: bool,
}

impl Offers {
    /// What these services have.
    pub(super) fn of(registry: &Registry) -> Self {
        let has_templates = !registry.templates().is_empty();
        let mut prompts = registry.prompts().iter();
        Self {
            prompts: !registry.prompts().is_empty(),
            resources: has_templates || !registry.resources().is_empty(),
            completions: has_templates || prompts.any(|it| !it.prompt().arguments.is_empty()),
        }
    }

    /// Whether the method answers here, as far as that depends on what there is.
    pub(super) fn has(self, method: Method) -> bool {
        match method {
            Method::ListPrompts | Method::GetPrompt => self.prompts,
            Method::ListResources
            | Method::ListTemplates
            | Method::ReadResource
            | Method::Subscribe
            | Method::Unsubscribe => self.resources,
            Method::Complete => self.completions,
            Method::Discover
            | Method::Initialize
            | Method::Ping
            | Method::SetLogLevel
            | Method::ListTools
            | Method::CallTool
            | Method::GetTask
            | Method::UpdateTask
            | Method::CancelTask
            | Method::Listen => true,
        }
    }

    /// The lists that there are. Each may change.
    pub(super) const fn lists(self) -> Lists {
        let mut lists = Lists::TOOLS;
        if self.prompts {
            lists.add(Lists::PROMPTS);
        }
        if self.resources {
            lists.add(Lists::RESOURCES);
        }
        lists
    }

    /// The capabilities as a revision declares them.
    pub(super) fn capabilities(self, revision: Revision) -> Value {
        let mut object = Map::new();
        let changes = json!({"listChanged": true});
        object.insert("tools".to_owned(), changes.clone());
        if self.prompts {
            object.insert("prompts".to_owned(), changes);
        }
        if self.resources {
            let subscribed = json!({"listChanged": true, "subscribe": true});
            object.insert("resources".to_owned(), subscribed);
        }
        if self.completions && revision.declares_completions() {
            object.insert("completions".to_owned(), json!({}));
        }
        if revision.has(Method::SetLogLevel) {
            object.insert("logging".to_owned(), json!({}));
        }
        if revision.has_tasks() {
            object.insert("extensions".to_owned(), json!({tasks::EXTENSION: {}}));
        }
        Value::Object(object)
    }
}
