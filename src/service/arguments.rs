//! What is wrong with the arguments of a tool, told so that a model can mend them.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde::Serialize;
use serde_json::Value;

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

/// Checks arguments; a good one costs one walk without allocation.
pub(super) fn check(
    validator: &Validator,
    schema: &Value,
    arguments: &Value,
) -> Result<(), Vec<Problem>> {
    if validator.is_valid(arguments) {
        return Ok(());
    }
    Err(validator
        .iter_errors(arguments)
        .take(PROBLEMS_MAX)
        .flat_map(|error| problems(&error, schema))
        .take(PROBLEMS_MAX)
        .collect())
}

fn problems(error: &ValidationError<'_>, schema: &Value) -> Vec<Problem> {
    let path = error.instance_path().to_string();
    let one = |problem: String, hint: String| {
        vec![Problem {
            path: path.clone(),
            problem,
            hint,
        }]
    };
    let shown = shorten(&error.instance().to_string());
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = properties_at(error, schema);
            unexpected
                .iter()
                .map(|name| Problem {
                    path: format!("{path}/{}", escape(&shorten(name))),
                    problem: format!("there is no argument {:?} here", shorten(name)),
                    hint: unknown_hint(name, &known),
                })
                .collect()
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            one(
                format!("the argument {name:?} is missing"),
                describe(error, schema, name),
            )
        }
        kind if let Some(expected) = types(kind) => one(
            format!("{shown} is not of type {expected}"),
            format!("Give a value of type {expected}."),
        ),
        Kind::Enum { options } => one(
            format!("{shown} is not one of the possible values"),
            format!("Use one of {options}."),
        ),
        Kind::Constant { expected_value } => one(
            format!("{shown} is not the possible value"),
            format!("Use {expected_value}."),
        ),
        Kind::Minimum { limit } => one(
            format!("{shown} is too small"),
            format!("Use {limit} or more."),
        ),
        Kind::Maximum { limit } => one(
            format!("{shown} is too large"),
            format!("Use {limit} or less."),
        ),
        Kind::ExclusiveMinimum { limit } => one(
            format!("{shown} is too small"),
            format!("Use more than {limit}."),
        ),
        Kind::ExclusiveMaximum { limit } => one(
            format!("{shown} is too large"),
            format!("Use less than {limit}."),
        ),
        Kind::MinLength { limit } => one(
            format!("{shown} is too short"),
            format!("Give at least {limit} characters."),
        ),
        Kind::MaxLength { limit } => one(
            "the text is too long".to_owned(),
            format!("Give at most {limit} characters."),
        ),
        Kind::MinItems { limit } => one(
            "the list is too short".to_owned(),
            format!("Give at least {limit} items."),
        ),
        Kind::MaxItems { limit } => one(
            "the list is too long".to_owned(),
            format!("Give at most {limit} items, and call again for the rest."),
        ),
        Kind::UniqueItems => one(
            "an item comes twice".to_owned(),
            "Give each item once.".to_owned(),
        ),
        Kind::Pattern { pattern } => one(
            format!("{shown} does not fit the pattern"),
            format!("Use a text that fits {pattern}."),
        ),
        // The rest of the vocabulary in the crate's own words, which name the value and the rule.
        _ => one(
            shorten(&error.to_string()),
            "See the tool's input schema.".to_owned(),
        ),
    }
}

/// The types that are wanted, if a type is all that is wrong, be it of a choice between several.
fn types(kind: &Kind) -> Option<String> {
    let names: Vec<String> = match kind {
        Kind::Type {
            kind: TypeKind::Single(one),
        } => vec![one.to_string()],
        Kind::Type {
            kind: TypeKind::Multiple(many),
        } => many.iter().map(|one| one.to_string()).collect(),
        Kind::AnyOf { context } => context
            .iter()
            .flatten()
            .map(|error| match error.kind() {
                kind @ Kind::Type { .. } => types(kind),
                _ => None,
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    Some(names.join(" or "))
}

/// Names of the properties that the failed part of the schema knows.
fn properties_at(error: &ValidationError<'_>, schema: &Value) -> Vec<String> {
    part_of(error, schema)
        .and_then(|part| part.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

/// The object schema that holds the failed keyword.
fn part_of<'a>(error: &ValidationError<'_>, schema: &'a Value) -> Option<&'a Value> {
    let path = error.schema_path().to_string();
    let (holder, _keyword) = path.rsplit_once('/')?;
    schema.pointer(holder)
}

fn describe(error: &ValidationError<'_>, schema: &Value, property: &str) -> String {
    let description = part_of(error, schema).and_then(|part| {
        part.get("properties")?
            .get(property)?
            .get("description")?
            .as_str()
    });
    match description {
        Some(text) => format!("Add {property:?}: {}", shorten(text)),
        None => format!("Add {property:?}."),
    }
}

fn unknown_hint(name: &str, known: &[String]) -> String {
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

/// A name as one step of a JSON pointer (RFC 6901, section 3).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems_of(arguments: &Value) -> Vec<Problem> {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["controls"], "properties": {
            "controls": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
                "type": "object", "additionalProperties": false, "required": ["name"], "properties": {
                    "name": {"type": "string", "maxLength": 5, "description": "Name of the control."},
                    "ramp_s": {"type": "number", "minimum": 0, "maximum": 60},
                    "value": {"anyOf": [{"type": "number"}, {"type": "boolean"}]},
                    "mode": {"enum": ["fast", "slow"]}}}},
            "reason": {"type": ["string", "null"]}}});
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        check(&validator, &schema, arguments)
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn good_arguments_have_no_problems() {
        assert_eq!(
            problems_of(&json!({"controls": [{"name": "gain", "ramp_s": 2}]})),
            []
        );
    }

    #[test]
    fn each_problem_names_its_place_and_the_way_out() {
        for (arguments, path, problem, hint) in [
            (
                json!({}),
                "",
                "the argument \"controls\" is missing",
                "Add \"controls\".",
            ),
            (
                json!({"controls": [{}]}),
                "/controls/0",
                "the argument \"name\" is missing",
                "Add \"name\": Name of the control.",
            ),
            (
                json!({"controls": [{"name": "a", "ramp": 1}]}),
                "/controls/0/ramp",
                "there is no argument \"ramp\" here",
                "Did you mean \"ramp_s\"?",
            ),
            (
                json!({"controls": [{"name": "a", "value": "loud"}]}),
                "/controls/0/value",
                "\"loud\" is not of type number or boolean",
                "Give a value of type number or boolean.",
            ),
            (
                json!({"controls": [{"name": "a", "ramp_s": 61}]}),
                "/controls/0/ramp_s",
                "61 is too large",
                "Use 60 or less.",
            ),
            (
                json!({"controls": [{"name": "a", "ramp_s": -1}]}),
                "/controls/0/ramp_s",
                "-1 is too small",
                "Use 0 or more.",
            ),
            (
                json!({"controls": [{"name": "a", "mode": "x"}]}),
                "/controls/0/mode",
                "\"x\" is not one of the possible values",
                "Use one of [\"fast\",\"slow\"].",
            ),
            (
                json!({"controls": [{"name": 7}]}),
                "/controls/0/name",
                "7 is not of type string",
                "Give a value of type string.",
            ),
            (
                json!({"controls": [{"name": "too long"}]}),
                "/controls/0/name",
                "the text is too long",
                "Give at most 5 characters.",
            ),
            (
                json!({"controls": []}),
                "/controls",
                "the list is too short",
                "Give at least 1 items.",
            ),
            (
                json!({"controls": [{"name": "a"}], "a/b": 1}),
                "/a~1b",
                "there is no argument \"a/b\" here",
                "Leave it out; known here: controls, reason.",
            ),
        ] {
            let expected = Problem {
                path: path.to_owned(),
                problem: problem.to_owned(),
                hint: hint.to_owned(),
            };
            assert_eq!(problems_of(&arguments), [expected], "{arguments}");
        }
        assert!(
            problems_of(&json!({"controls": [{"name": "a"}], "reason": 1}))[0]
                .hint
                .contains(" or ")
        );
    }

    #[test]
    fn a_flood_of_wrong_arguments_is_told_briefly() {
        let many: serde_json::Map<_, _> = (0..500)
            .map(|n| (format!("x{n}").repeat(50), json!(n)))
            .collect();
        let problems = problems_of(&Value::Object(many));
        assert_eq!(problems.len(), PROBLEMS_MAX);
        assert!(problems.iter().all(|problem| problem.problem.len() < 200));
    }
}
