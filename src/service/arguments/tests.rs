//! Arguments checked, and the check compared with a full implementation of JSON Schema.

use proptest::prelude::*;
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
    let checked = Arguments::new(&schema).unwrap();
    checked.check(arguments).err().unwrap_or_default()
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
    let many: Map<_, _> = (0..500)
        .map(|n| (format!("x{n}").repeat(50), json!(n)))
        .collect();
    let problems = problems_of(&Value::Object(many));
    assert_eq!(problems.len(), PROBLEMS_MAX);
    assert!(problems.iter().all(|problem| problem.problem.len() < 200));
}

/// Schemas with every keyword that is taken.
fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object", "additionalProperties": false, "required": ["controls"], "properties": {
            "controls": {"type": "array", "minItems": 1, "maxItems": 3, "items": {
                "type": "object", "additionalProperties": false, "required": ["name"], "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 5},
                    "ramp": {"type": "number", "minimum": 0, "maximum": 60},
                    "value": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "string", "maxLength": 2}]},
                    "mode": {"enum": ["fast", 1, {"a": [1]}, null]}}}},
            "reason": {"type": ["string", "null"]}}}),
        json!({"type": "object", "properties": {
            "count": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 4},
            "one": {"const": 1}, "never": false, "any": true,
            "set": {"type": "array", "uniqueItems": true, "maxItems": 2},
            "named": {"$ref": "#/$defs/short"}, "anchored": {"$ref": "#name"}},
            "additionalProperties": {"type": "number"},
            "$defs": {"short": {"$anchor": "name", "type": "string", "maxLength": 3}}}),
        json!({"type": "object", "properties": {"kind": {"enum": ["a", "b"]}, "x": {}, "y": {}},
            "allOf": [{"required": ["kind"]}, {"properties": {"x": {"type": "number"}}}],
            "oneOf": [{"required": ["x"]}, {"required": ["y"]}],
            "if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["x"]}, "else": {"properties": {"y": {"type": "string"}}}}),
    ]
}

/// Small numbers drawn from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        // Knuth's 64-bit linear congruential generator (MMIX).
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len().try_into().unwrap())).unwrap()]
    }

    /// Any value, mostly of those that lie near a bound of the schemas.
    fn any(&mut self) -> Value {
        let near = [
            json!(null),
            json!(true),
            json!(0),
            json!(1),
            json!(1.0),
            json!(-0.5),
            json!(60),
            json!(60.5),
            json!(4),
            json!(3),
            json!(1e300),
            json!(u64::MAX),
            json!(""),
            json!("a"),
            json!("fast"),
            json!("käse"),
            json!("sixsix"),
            json!([]),
            json!([1, 1.0]),
            json!([[1], [1]]),
            json!({}),
            json!({"a": [1]}),
            json!({"a": [1.0]}),
        ];
        self.pick(&near).clone()
    }

    /// A value that fits the schema more often than not.
    fn value(&mut self, schema: &Value) -> Value {
        if self.below(8) == 0 {
            return self.any();
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let mut fields = Map::new();
            for (name, inner) in properties {
                if self.below(3) > 0 {
                    fields.insert(name.clone(), self.value(inner));
                }
            }
            if self.below(6) == 0 {
                fields.insert("other".to_owned(), self.any());
            }
            return fields.into();
        }
        match schema.get("items") {
            Some(items) => (0..self.below(5)).map(|_| self.value(items)).collect(),
            None => match schema.get("enum").and_then(Value::as_array) {
                Some(values) => self.pick(values).clone(),
                None => self.any(),
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_a_full_implementation_says_the_same(seed: u64) {
        let mut draw = Draw(seed);
        for schema in schemas() {
            let value = draw.value(&schema);
            let full = jsonschema::draft202012::new(&schema).unwrap();
            let checked = Arguments::new(&schema).unwrap().check(&value);
            prop_assert_eq!(checked.is_ok(), full.is_valid(&value), "{} by {}: {:?}", value, schema, checked);
        }
    }
}

#[test]
fn a_schema_that_could_not_be_checked_in_full_is_refused() {
    for schema in [
        json!({"type": "object", "patternProperties": {}}),
        json!({"type": "string", "pattern": "^a"}),
        json!({"type": "number", "multipleOf": 2}),
        json!({"type": "thing"}),
        json!({"properties": {"a": {"maxLength": -1}}}),
        json!({"$ref": "https://example.com/schema"}),
        json!({"$ref": "#"}),
        json!({"type": "array", "uniqueItems": true}),
        json!({"allOf": []}),
        json!(7),
    ] {
        assert!(Arguments::new(&schema).is_err(), "{schema}");
    }
}
