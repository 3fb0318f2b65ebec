//! JSON Schemas of arguments and answers, derived from their types and put into the form that most clients understand: no references, no
//! `null` alternatives, no type names as titles.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// Schema of arguments.
pub(in crate::service) fn input<T: JsonSchema>() -> Value {
    generate(SchemaSettings::draft2020_12(), T::json_schema)
}

/// Schema of an answer.
pub(in crate::service) fn output<T: JsonSchema>() -> Value {
    generate(
        SchemaSettings::draft2020_12().for_serialize(),
        T::json_schema,
    )
}

/// One function for all types: `into_root_schema_for` would be compiled once for each.
fn generate(settings: SchemaSettings, schema_of: fn(&mut SchemaGenerator) -> Schema) -> Value {
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let mut schema: Value = schema_of(&mut settings.into_generator()).into();
    if let Some(root) = schema.as_object_mut() {
        root.remove("description");
        root.entry("type").or_insert_with(|| "object".into());
        root.entry("properties")
            .or_insert_with(|| Map::new().into());
    }
    tidy(&mut schema);
    schema
}

fn tidy(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    for noise in ["title", "format"] {
        schema.remove(noise);
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    drop_null_type(schema);
    drop_null_alternative(schema);
    constants_to_enum(schema);
    // What a flattened part leaves behind; the plain word is understood by every validator.
    if let Some(closed) = schema.remove("unevaluatedProperties") {
        schema.insert("additionalProperties".into(), closed);
    }
    for (key, value) in schema.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => {
                named.values_mut().for_each(tidy);
            }
            ("items" | "additionalProperties", inner) => tidy(inner),
            ("anyOf" | "oneOf" | "allOf", Value::Array(inner)) => inner.iter_mut().for_each(tidy),
            _ => {}
        }
    }
}

fn drop_null_type(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|word| word != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

fn drop_null_alternative(schema: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") else {
        return;
    };
    alternatives.retain(|alternative| alternative.get("type").is_none_or(|word| word != "null"));
    if let [Value::Object(only)] = alternatives.as_mut_slice() {
        let only = std::mem::take(only);
        schema.remove("anyOf");
        for (key, value) in only {
            schema.entry(key).or_insert(value);
        }
    }
}

fn constants_to_enum(schema: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = schema.get("oneOf") else {
        return;
    };
    let mut words = Vec::new();
    let mut meanings = Vec::new();
    for alternative in alternatives {
        match (alternative.get("const"), alternative.get("enum")) {
            (Some(word), _) => {
                if let (Some(word), Some(Value::String(meaning))) =
                    (word.as_str(), alternative.get("description"))
                {
                    meanings.push(format!("`{word}`: {meaning}"));
                }
                words.push(word.clone());
            }
            (None, Some(Value::Array(plain))) => words.extend(plain.iter().cloned()),
            _ => return,
        }
    }
    schema.remove("oneOf");
    schema.insert("type".into(), "string".into());
    schema.insert("enum".into(), Value::Array(words));
    let described = schema.get("description").and_then(Value::as_str);
    let all = described
        .map(str::to_owned)
        .into_iter()
        .chain(meanings)
        .collect::<Vec<_>>();
    if !all.is_empty() {
        schema.insert("description".into(), all.join(" ").into());
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Sample {
        /// How many.
        #[schemars(range(min = 1, max = 500))]
        limit: Option<u16>,
        #[schemars(length(max = 20))]
        title: Option<String>,
        inner: Option<Inner>,
        word: Word,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inner {
        x: f64,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        /// The first.
        One,
        Two,
    }

    #[test]
    fn schemas_have_no_references_no_nulls_and_no_type_names() {
        let schema = input::<Sample>();
        assert_eq!(
            schema,
            serde_json::json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["word"],
                "properties": {
                    "limit": { "description": "How many.", "type": "integer", "minimum": 1, "maximum": 500 },
                    "title": { "type": "string", "maxLength": 20 },
                    "inner": { "type": "object", "additionalProperties": false, "required": ["x"], "properties": { "x": { "type": "number" } } },
                    "word": { "type": "string", "enum": ["two", "one"], "description": "`one`: The first." }
                }
            })
        );
    }
}
