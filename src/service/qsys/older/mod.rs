//! The names under which an older server of this kind had its tools. They answer in its shapes, as JSON in text, less what a Core does
//! not have, and are not listed. Whatever they do goes through the same code and rules as the listed tools.

mod groups;
mod lists;
mod names;
mod status;
mod system;
#[cfg(test)]
mod tests;
mod values;

use serde_json::{Map, Value, json};

use super::answer::{Shown, shown_text};
use super::{Definition, Outcome, fault};
use crate::limits::ANSWER_MAX_BYTES;
use crate::model::name::ControlRef;
use crate::service::{ToolAnswer, ToolFault};

/// Every older name.
pub(super) const DEFINITIONS: &[Definition] = &[
    values::GET_CONTROL,
    values::SET_CONTROL,
    values::GET_CONTROL_VALUES,
    values::SET_CONTROL_VALUES,
    lists::LIST_COMPONENTS,
    lists::GET_COMPONENT_CONTROLS,
    lists::LIST_CONTROLS,
    lists::GET_ALL_CONTROLS,
    status::QUERY_CORE_STATUS,
    groups::CREATE,
    groups::ADD,
    groups::REMOVE,
    groups::CLEAR,
    groups::POLL,
    groups::LIST,
    groups::DESTROY,
    system::PING,
    system::HEALTH,
];

/// The one that holds something for a while, as a watch does.
pub(super) const LONGER: &str = groups::ADD.name;

/// Bytes of an answer that are left for what is not in its list.
const REST_MAX_BYTES: usize = 2_048;

/// The schema of answers that have none.
fn any_object() -> Value {
    json!({ "type": "object" })
}

/// An answer as text.
fn said(answer: &Value) -> Outcome {
    let text = serde_json::to_string(answer).map_err(|fault| fault::unserialisable(&fault))?;
    Ok(ToolAnswer {
        structured: None,
        text,
        more: Vec::new(),
    })
}

/// An object without the fields that are null.
fn without_nulls(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    object
}

/// Rows of a list, as long as there is room for them in one answer.
#[derive(Debug, Default)]
struct Rows {
    taken: Vec<Value>,
    bytes: usize,
    is_full: bool,
}

impl Rows {
    /// Adds a row. False when there is no room left.
    fn push(&mut self, row: Value) -> bool {
        let bytes = row.to_string().len() + 1;
        self.is_full = self.is_full || self.bytes + bytes > ANSWER_MAX_BYTES - REST_MAX_BYTES;
        if !self.is_full {
            self.bytes += bytes;
            self.taken.push(row);
        }
        !self.is_full
    }

    /// An answer with these rows under `key`. Where some had no room it says how to get at them.
    fn said(self, key: &str, rest: Value, offset: usize) -> Outcome {
        let mut answer = Map::new();
        let next = offset + self.taken.len();
        answer.insert("count".into(), self.taken.len().into());
        answer.insert(key.into(), self.taken.into());
        if let Value::Object(rest) = rest {
            answer.extend(rest);
        }
        if self.is_full {
            answer.insert("truncated".into(), true.into());
            answer.insert("nextOffset".into(), next.into());
        }
        said(&answer.into())
    }
}

/// A control by name with where it stands.
fn reading_row(name: &ControlRef, reading: &Shown) -> Map<String, Value> {
    let mut row = name_row(name);
    row.insert("value".into(), json!(reading.value));
    row.insert("string".into(), reading.string.as_str().into());
    row.insert("position".into(), json!(reading.position));
    row.insert("quality".into(), json!(reading.quality));
    row.insert("ageMs".into(), json!(reading.age_ms));
    row
}

/// A control by name.
fn name_row(name: &ControlRef) -> Map<String, Value> {
    let mut row = Map::new();
    if let Some(component) = &name.component {
        row.insert("component".into(), shown_text(component.as_str()).into());
    }
    row.insert("name".into(), shown_text(name.control.as_str()).into());
    row
}

/// A control that cannot be found, with the reason.
fn missing_row(asked: &str, fault: &ToolFault) -> Value {
    json!({ "name": shown_text(asked), "error": fault.code.as_str(), "message": fault.problem })
}
