//! What is wrong with the arguments of a tool, told so that a model can mend them.

mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

pub use self::read::read;
use self::schema::{Schema, Type};

use crate::limits::PROBLEMS_MAX;

/// Longest value repeated in a problem, characters.
const SHOWN_MAX: usize = 80;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where, as a JSON pointer into the arguments; empty for the whole.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

/// What a tool's arguments have to be: its published input schema, ready to check with.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments(Schema);

impl Arguments {
    /// Reads the input schema of a tool.
    ///
    /// # Errors
    /// What is wrong with it, or which keyword would go unchecked.
    pub fn new(schema: &Value) -> Result<Self, String> {
        Schema::read(schema).map(Self)
    }

    /// Checks arguments. Good ones cost one walk without allocation.
    ///
    /// # Errors
    /// What is wrong, in the order in which it was found, at most [`PROBLEMS_MAX`] problems.
    pub fn check(&self, arguments: &Value) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        walk(&self.0, arguments, &Place::Root, &mut problems);
        if problems.is_empty() {
            return Ok(());
        }
        problems.truncate(PROBLEMS_MAX);
        Err(problems)
    }
}

/// Where the walk is.
enum Place<'a> {
    Root,
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl fmt::Display for Place<'_> {
    /// A JSON pointer (RFC 6901), each step shortened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(holder, name) => {
                let step = shorten(name).replace('~', "~0").replace('/', "~1");
                write!(f, "{holder}/{step}")
            }
            Self::Index(holder, index) => write!(f, "{holder}/{index}"),
        }
    }
}

/// Notes what is wrong with a value and with what is in it.
fn walk(schema: &Schema, value: &Value, place: &Place<'_>, problems: &mut Vec<Problem>) {
    // No more is told than the first ones.
    if problems.len() >= PROBLEMS_MAX {
        return;
    }
    let mut note = |problem: String, hint: String| {
        problems.push(Problem {
            path: place.to_string(),
            problem,
            hint,
        });
    };
    if schema.is_never {
        note(
            "nothing is expected here".to_owned(),
            "Leave it out.".to_owned(),
        );
        return;
    }
    if !schema.types.is_empty() && !schema.types.iter().any(|one| one.has(value)) {
        let expected = words(&schema.types);
        note(
            format!("{} is not of type {expected}", shown(value)),
            format!("Give a value of type {expected}."),
        );
        return;
    }
    if let Some(values) = &schema.one_of_values
        && !values.iter().any(|one| is_equal(one, value))
    {
        note(
            format!("{} is not one of the possible values", shown(value)),
            match values.as_slice() {
                [only] => format!("Use {only}."),
                several => format!("Use one of {}.", Value::from(several)),
            },
        );
        return;
    }
    match value {
        Value::Number(number) => bounds(
            schema,
            number.as_f64().unwrap_or(f64::NAN),
            value,
            &mut note,
        ),
        Value::String(text) => length(schema, text, value, &mut note),
        Value::Array(items) => list(schema, items, place, problems),
        Value::Object(fields) => object(schema, fields, place, problems),
        Value::Null | Value::Bool(_) => {}
    }
    alternatives(schema, value, place, problems);
}

fn bounds(schema: &Schema, number: f64, value: &Value, note: &mut impl FnMut(String, String)) {
    let limits = [
        (
            schema.minimum,
            number < schema.minimum.unwrap_or(number),
            "small",
            "or more",
        ),
        (
            schema.maximum,
            number > schema.maximum.unwrap_or(number),
            "large",
            "or less",
        ),
    ];
    for (limit, is_beyond, what, way) in limits {
        if let (Some(limit), true) = (limit, is_beyond) {
            note(
                format!("{value} is too {what}"),
                format!("Use {limit} {way}."),
            );
        }
    }
    if let Some(limit) = schema.above.filter(|limit| number <= *limit) {
        note(
            format!("{value} is too small"),
            format!("Use more than {limit}."),
        );
    }
    if let Some(limit) = schema.below.filter(|limit| number >= *limit) {
        note(
            format!("{value} is too large"),
            format!("Use less than {limit}."),
        );
    }
}

fn length(schema: &Schema, text: &str, value: &Value, note: &mut impl FnMut(String, String)) {
    if let Some(max) = schema.max_length
        // A text has no more characters than bytes.
        && text.len() > max
        && text.chars().count() > max
    {
        note(
            "the text is too long".to_owned(),
            format!("Give at most {max} characters."),
        );
    }
    let min = schema.min_length;
    if min > 0 && text.chars().take(min).count() < min {
        note(
            format!("{} is too short", shown(value)),
            format!("Give at least {min} characters."),
        );
    }
}

fn list(schema: &Schema, items: &[Value], place: &Place<'_>, problems: &mut Vec<Problem>) {
    let mut note = |problem: &str, hint: String| {
        problems.push(Problem {
            path: place.to_string(),
            problem: problem.to_owned(),
            hint,
        });
    };
    if items.len() < schema.min_items {
        note(
            "the list is too short",
            format!("Give at least {} items.", schema.min_items),
        );
    }
    if let Some(max) = schema.max_items.filter(|max| items.len() > *max) {
        note(
            "the list is too long",
            format!("Give at most {max} items, and call again for the rest."),
        );
        return;
    }
    let has_twice = || {
        items
            .iter()
            .enumerate()
            .any(|(at, one)| items.iter().take(at).any(|before| is_equal(before, one)))
    };
    if schema.has_unique_items && has_twice() {
        note("an item comes twice", "Give each item once.".to_owned());
    }
    if let Some(inner) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            walk(inner, item, &Place::Index(place, index), problems);
        }
    }
}

fn object(
    schema: &Schema,
    fields: &Map<String, Value>,
    place: &Place<'_>,
    problems: &mut Vec<Problem>,
) {
    let known = |name: &str| schema.properties.iter().find(|(known, _)| **known == *name);
    for name in schema
        .required
        .iter()
        .filter(|name| !fields.contains_key(&***name))
    {
        let description = known(name).and_then(|(_, inner)| inner.description.as_deref());
        problems.push(Problem {
            path: place.to_string(),
            problem: format!("the argument {name:?} is missing"),
            hint: match description {
                Some(text) => format!("Add {name:?}: {}", shorten(text)),
                None => format!("Add {name:?}."),
            },
        });
    }
    for (name, value) in fields {
        let at = Place::Key(place, name);
        match (known(name), &schema.others) {
            (Some((_, inner)), _) => walk(inner, value, &at, problems),
            (None, Some(others)) if others.is_never => {
                if problems.len() >= PROBLEMS_MAX {
                    return;
                }
                problems.push(Problem {
                    path: at.to_string(),
                    problem: format!("there is no argument {:?} here", shorten(name)),
                    hint: unknown_hint(name, &schema.properties),
                });
            }
            (None, Some(others)) => walk(others, value, &at, problems),
            (None, None) => {}
        }
    }
}

/// What is said by several schemas at once.
fn alternatives(schema: &Schema, value: &Value, place: &Place<'_>, problems: &mut Vec<Problem>) {
    let fits = |one: &Schema| {
        let mut found = Vec::new();
        walk(one, value, &Place::Root, &mut found);
        found.is_empty()
    };
    for one in &schema.all_of {
        walk(one, value, place, problems);
    }
    if let Some(condition) = &schema.condition {
        let branch = if fits(&condition.holds) {
            &condition.then
        } else {
            &condition.otherwise
        };
        walk(branch, value, place, problems);
    }
    let is_choice_made = (schema.any_of.is_empty() || schema.any_of.iter().any(fits))
        && (schema.one_of.is_empty() || schema.one_of.iter().filter(|one| fits(one)).count() == 1);
    if is_choice_made {
        return;
    }
    let choices = || schema.any_of.iter().chain(&schema.one_of);
    let is_typed = choices().all(|one| !one.types.is_empty());
    let types: Vec<Type> = choices()
        .flat_map(|one| one.types.iter().copied())
        .collect();
    let is_of_no_type = is_typed && !types.iter().any(|one| one.has(value));
    problems.push(if is_of_no_type {
        Problem {
            path: place.to_string(),
            problem: format!("{} is not of type {}", shown(value), words(&types)),
            hint: format!("Give a value of type {}.", words(&types)),
        }
    } else {
        Problem {
            path: place.to_string(),
            problem: format!("{} is none of the possible forms", shown(value)),
            hint: "See the tool's input schema.".to_owned(),
        }
    });
}

fn words(types: &[Type]) -> String {
    let names: Vec<_> = types.iter().map(|one| one.as_str()).collect();
    names.join(" or ")
}

/// Equal as JSON Schema sees it: 1 and 1.0 are the same number.
fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| is_equal(a, b)))
        }
        _ => a == b,
    }
}

fn shown(value: &Value) -> String {
    shorten(&value.to_string())
}

fn unknown_hint(name: &str, properties: &[(Box<str>, Schema)]) -> String {
    let known: Vec<&str> = properties.iter().map(|(known, _)| &**known).collect();
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => format!("Did you mean {known:?}?"),
        None if known.is_empty() => "Leave it out: nothing is expected here.".to_owned(),
        None => format!("Leave it out; known here: {}.", known.join(", ")),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
