//! `completion/complete`: how a value that somebody is typing could go on.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::error::Fault;
use super::{Request, Server, schema};
use crate::guard::Scope;
use crate::limits::COMPLETIONS_MAX;
use crate::service::{Completed, Completion, Target};

/// What is being filled in.
#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Argument<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Context {
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// Answers with values for one argument of a prompt or one variable of a template.
pub(super) fn complete(server: &Server, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
    let params = &request.message.params;
    let reference: Reference<'_> = schema::object(params.reference)
        .ok_or_else(|| Fault::params("`ref` must be an object that says what is filled in."))?;
    let argument: Argument<'_> = schema::object(params.argument)
        .ok_or_else(|| Fault::params("`argument` must be an object with `name` and `value`."))?;
    let name = argument.name.and_then(schema::text);
    let typed = argument.value.and_then(schema::text);
    let (Some(name), Some(typed)) = (name, typed) else {
        return Err(Fault::params(
            "`argument.name` and `argument.value` must be strings.",
        ));
    };
    let context = if request.revision.has_completion_context() && params.context.is_some() {
        schema::object(params.context)
            .ok_or_else(|| Fault::params("`context.arguments` must be an object of strings."))?
    } else {
        Context::default()
    };
    if !context.arguments.values().all(Value::is_string) {
        return Err(Fault::params(
            "`context.arguments` must be an object of strings.",
        ));
    }
    let kind = reference.kind.and_then(schema::text);
    let named = match kind.as_deref() {
        Some("ref/prompt") => reference.name,
        Some("ref/resource") => reference.uri,
        _ => {
            return Err(Fault::params(
                "`ref.type` must be ref/prompt or ref/resource.",
            ));
        }
    };
    let named = named
        .and_then(schema::text)
        .ok_or_else(|| Fault::params("`ref` must name a prompt, or a template by its URI."))?;
    if !request.caller.scopes.has(Scope::Read) {
        let is_modern = request.revision.is_modern();
        server.note_refusal(request, "completion/complete", "FORBIDDEN");
        return Err(Fault::forbidden(
            "have values completed",
            Scope::Read,
            is_modern,
        ));
    }
    let target = if kind.as_deref() == Some("ref/prompt") {
        prompt(server, &named, &name)?
    } else {
        template(server, &named, &name)?
    };
    let completion = Completion {
        target,
        argument: &name,
        typed: &typed,
        others: &context.arguments,
        caller: request.caller,
    };
    let completed = server.registry.complete(&completion).unwrap_or_default();
    Ok(write(server, request, completed))
}

/// The prompt of this name, if it has this argument.
fn prompt<'a>(server: &Server, named: &'a str, argument: &str) -> Result<Target<'a>, Fault> {
    let registered = server
        .registry
        .find_prompt(named)
        .ok_or_else(|| Fault::params("There is no such prompt. `prompts/list` names them all."))?;
    let mut known = registered.prompt().arguments.iter();
    if known.any(|known| known.name == argument) {
        Ok(Target::Prompt(named))
    } else {
        Err(Fault::params("The prompt has no such argument."))
    }
}

/// The template of this URI, if it has this variable.
fn template<'a>(server: &Server, named: &'a str, argument: &str) -> Result<Target<'a>, Fault> {
    let mut known = server.registry.templates().iter();
    if !known.any(|known| known.uri_template == named) {
        return Err(Fault::params(
            "There is no such template. `resources/templates/list` names them all.",
        ));
    }
    if variables(named).any(|variable| variable == argument) {
        Ok(Target::Template(named))
    } else {
        Err(Fault::params("The template has no such variable."))
    }
}

/// The variables of a template (RFC 6570, level 1).
fn variables(template: &str) -> impl Iterator<Item = &str> {
    let after_braces = template.split('{').skip(1);
    after_braces.filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn write(server: &Server, request: &Request<'_>, completed: Completed) -> Vec<u8> {
    let Completed { mut values, total } = completed;
    let total = total.max(values.len());
    values.truncate(COMPLETIONS_MAX);
    let has_more = total > values.len();
    let mut answer = Answer::open(request.id, request.revision, 1024);
    let completion = json!({"values": values, "total": total, "hasMore": has_more});
    answer.field("completion", &completion);
    answer.close(request.revision, &server.meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_what_stands_in_braces() {
        let found: Vec<_> = variables("qsys://{core}/component/{name}/x").collect();
        assert_eq!(found, ["core", "name"]);
        assert_eq!(variables("plain://").count(), 0);
        assert_eq!(variables("broken://{").count(), 0);
    }
}
