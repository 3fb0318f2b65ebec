//! Arguments that a tool wants repeated in header fields (`x-mcp-header`), so that what stands between can route by them.

use std::borrow::Cow;

use hashbrown::HashMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::Fault;
use super::ladder::{self, Field, Routing};
use super::schema::{self, Message};
use crate::service::{Registry, RegistryError};

/// Annotation of a property that is repeated in a header.
const ANNOTATION: &str = "x-mcp-header";

/// Header fields by name, looked up where a transport has them.
pub trait ParamHeaders: Sync {
    /// The field of this name, in whatever case.
    fn field(&self, name: &str) -> Field<'_>;
}

/// What the input schemas of all tools declare (2026-07-28, Tools, `x-mcp-header`), by the name of the tool.
#[derive(Debug, Default)]
pub(super) struct DeclaredHeaders(HashMap<&'static str, Vec<ParamHeader>>);

/// One argument of a tool that is repeated in a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ParamHeader {
    /// `Mcp-Param-…`
    name: String,
    /// Where the argument stands.
    path: Vec<String>,
}

impl DeclaredHeaders {
    /// Reads the schemas. Only texts, integers and truth values can be repeated, each under a token that no other has.
    pub(super) fn of(registry: &Registry) -> Result<Self, RegistryError> {
        let mut all = HashMap::new();
        for registered in registry.all() {
            let tool = registered.tool();
            let found =
                declared(&tool.input_schema).map_err(|problem| RegistryError::BadSchema {
                    tool: tool.name,
                    which: "input",
                    problem,
                })?;
            if !found.is_empty() {
                all.insert(tool.name, found);
            }
        }
        Ok(Self(all))
    }

    /// Step 7 of the ladder, for a call of a tool: each header says what its argument says.
    pub(super) fn check(&self, message: &Message<'_>, routing: &Routing<'_>) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let name = message.params.name.and_then(schema::text);
        let Some(declared) = name.and_then(|name| self.0.get(&*name)) else {
            return Ok(());
        };
        let raw = message.params.arguments.map_or("null", RawValue::get);
        // What cannot be read is told by the arguments' own check.
        let arguments: Value = serde_json::from_str(raw).unwrap_or_default();
        let mut declared = declared.iter();
        declared.try_for_each(|header| header.check(routing, &arguments))
    }
}

impl ParamHeader {
    fn check(&self, routing: &Routing<'_>, arguments: &Value) -> Result<(), Fault> {
        let header = routing
            .params
            .map_or(Field::Absent, |params| params.field(&self.name));
        let mut steps = self.path.iter();
        let argument = steps.try_fold(arguments, |value, step| value.get(step));
        let text = match argument {
            None | Some(Value::Null) if header == Field::Absent => return Ok(()),
            None | Some(Value::Null) => {
                let problem = format!(
                    "The header {} repeats an argument that is not there.",
                    self.name
                );
                return Err(ladder::mismatch(problem));
            }
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => Cow::Owned(value.to_string()),
            // Of the wrong type, as the arguments' own check will tell.
            Some(Value::Array(_) | Value::Object(_)) => return Ok(()),
        };
        ladder::same_decoded(&self.name, header, &text)
    }
}

fn declared(schema: &Value) -> Result<Vec<ParamHeader>, String> {
    let mut found = Vec::new();
    walk(schema, &mut Vec::new(), &mut found)?;
    distinct(&found)?;
    Ok(found)
}

fn walk(
    schema: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<ParamHeader>,
) -> Result<(), String> {
    let nothing = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.unwrap_or(&nothing) {
        path.push(name.clone());
        if let Some(annotation) = property.get(ANNOTATION) {
            let token = annotation.as_str().filter(|text| is_token(text));
            let token = token.ok_or_else(|| format!("{ANNOTATION} of {name:?} is no token"))?;
            let kind = property.get("type").and_then(Value::as_str);
            if !matches!(kind, Some("string" | "integer" | "boolean")) {
                return Err(format!(
                    "{name:?} is of a type that {ANNOTATION} cannot repeat"
                ));
            }
            found.push(ParamHeader {
                name: format!("Mcp-Param-{token}"),
                path: path.clone(),
            });
        }
        walk(property, path, found)?;
        path.pop();
    }
    Ok(())
}

fn distinct(found: &[ParamHeader]) -> Result<(), String> {
    let mut rest = found;
    while let Some((first, others)) = rest.split_first() {
        let mut same = others.iter();
        if same.any(|other| other.name.eq_ignore_ascii_case(&first.name)) {
            return Err(format!("two arguments are repeated as {}", first.name));
        }
        rest = others;
    }
    Ok(())
}

/// A token of HTTP (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_properties(properties: &Value) -> Result<Vec<ParamHeader>, String> {
        declared(&json!({"type": "object", "properties": properties}))
    }

    #[test]
    fn what_can_be_repeated_is_found_wherever_it_stands() {
        let found = of_properties(&json!({
            "zone": {"type": "string", "x-mcp-header": "Zone"},
            "db": {"type": "number"},
            "where": {"type": "object", "properties": {"floor": {"type": "integer", "x-mcp-header": "Floor"}}},
        }))
        .unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|header| (header.name, header.path.join("/")))
            .collect();
        assert!(found.contains(&("Mcp-Param-Zone".to_owned(), "zone".to_owned())));
        assert!(found.contains(&("Mcp-Param-Floor".to_owned(), "where/floor".to_owned())));
    }

    #[test]
    fn what_cannot_be_repeated_is_a_fault_of_the_program() {
        for properties in [
            json!({"x": {"type": "number", "x-mcp-header": "X"}}),
            json!({"x": {"type": "array", "x-mcp-header": "X"}}),
            json!({"x": {"type": "string", "x-mcp-header": ""}}),
            json!({"x": {"type": "string", "x-mcp-header": "a b"}}),
            json!({"x": {"type": "string", "x-mcp-header": "a:b"}}),
            json!({"x": {"type": "string", "x-mcp-header": 7}}),
            json!({"x": {"type": "string", "x-mcp-header": "A"}, "y": {"type": "string", "x-mcp-header": "a"}}),
        ] {
            assert!(of_properties(&properties).is_err(), "{properties}");
        }
    }
}
