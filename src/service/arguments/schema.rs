//! A published schema, read once into the form in which arguments are checked.
//!
//! Of JSON Schema 2020-12 it takes what describes arguments of tools, and refuses a schema with any other keyword that has a meaning:
//! nothing that is published goes unchecked. A test compares it with a full implementation.

use serde_json::{Map, Value};

/// Deepest nesting of a schema, references followed. A deeper one is refused, and so is one that refers to itself.
const DEPTH_MAX: usize = 32;

/// Keywords that tell people something and ask nothing of a value. `format` is one of them unless a dialect says otherwise (2020-12,
/// Validation, section 7.2.1).
const SAYS_NOTHING: [&str; 13] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
    "writeOnly",
];

/// What a value has to be. Everything that is `None` or empty asks nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Schema {
    pub(super) description: Option<Box<str>>,
    /// The boolean schema `false`: no value fits.
    pub(super) is_never: bool,
    pub(super) types: Vec<Type>,
    pub(super) one_of_values: Option<Vec<Value>>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) above: Option<f64>,
    pub(super) below: Option<f64>,
    /// In characters.
    pub(super) min_length: usize,
    pub(super) max_length: Option<usize>,
    pub(super) items: Option<Box<Self>>,
    pub(super) min_items: usize,
    pub(super) max_items: Option<usize>,
    pub(super) has_unique_items: bool,
    pub(super) properties: Vec<(Box<str>, Self)>,
    pub(super) required: Vec<Box<str>>,
    pub(super) others: Option<Box<Self>>,
    pub(super) all_of: Vec<Self>,
    pub(super) any_of: Vec<Self>,
    /// Exactly one of them.
    pub(super) one_of: Vec<Self>,
    pub(super) condition: Option<Box<Condition>>,
}

/// `if`, `then` and `else`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub(super) holds: Schema,
    pub(super) then: Schema,
    pub(super) otherwise: Schema,
}

/// The types of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Type {
    const ALL: [Self; 7] = [
        Self::Null,
        Self::Boolean,
        Self::Integer,
        Self::Number,
        Self::String,
        Self::Array,
        Self::Object,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    /// Whether the value is of this type; 1.0 is an integer.
    pub(super) fn has(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null)
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::String, Value::String(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => true,
            (Self::Integer, Value::Number(number)) => {
                !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            _ => false,
        }
    }
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// The keyword that is wrong or that cannot be checked, and what is wrong with it.
    pub(super) fn read(schema: &Value) -> Result<Self, String> {
        Reader { root: schema }.schema(schema, 0)
    }
}

/// Reads one document.
struct Reader<'a> {
    root: &'a Value,
}

impl Reader<'_> {
    fn schema(&self, schema: &Value, depth: usize) -> Result<Schema, String> {
        if depth > DEPTH_MAX {
            return Err(format!(
                "it is nested deeper than {DEPTH_MAX}, or refers to itself"
            ));
        }
        let keywords = match schema {
            Value::Bool(fits) => {
                return Ok(Schema {
                    is_never: !fits,
                    ..Schema::default()
                });
            }
            Value::Object(keywords) => keywords,
            _ => return Err("a schema is an object or a boolean".to_owned()),
        };
        let mut read = Schema::default();
        for (keyword, value) in keywords {
            self.keyword(&mut read, keyword, value, depth)
                .ok_or_else(|| format!("the keyword {keyword:?} cannot be used or checked"))??;
        }
        read.condition = self.condition(keywords, depth)?;
        if read.has_unique_items && read.max_items.is_none() {
            // Each item is compared with all before it.
            return Err("`uniqueItems` needs `maxItems`".to_owned());
        }
        Ok(read)
    }

    /// Reads one keyword. `None` if its value is of the wrong type or it is not known.
    fn keyword(
        &self,
        read: &mut Schema,
        keyword: &str,
        value: &Value,
        depth: usize,
    ) -> Option<Result<(), String>> {
        match keyword {
            "description" => read.description = Some(value.as_str()?.into()),
            "type" => read.types = types(value)?,
            "enum" => read.one_of_values = Some(value.as_array()?.clone()),
            "const" => read.one_of_values = Some(vec![value.clone()]),
            "minimum" => read.minimum = Some(value.as_f64()?),
            "maximum" => read.maximum = Some(value.as_f64()?),
            "exclusiveMinimum" => read.above = Some(value.as_f64()?),
            "exclusiveMaximum" => read.below = Some(value.as_f64()?),
            "minLength" => read.min_length = size(value)?,
            "maxLength" => read.max_length = Some(size(value)?),
            "minItems" => read.min_items = size(value)?,
            "maxItems" => read.max_items = Some(size(value)?),
            "uniqueItems" => read.has_unique_items = value.as_bool()?,
            "required" => {
                let names = value.as_array()?.iter();
                read.required = names
                    .map(|name| name.as_str().map(Into::into))
                    .collect::<Option<_>>()?;
            }
            "items" => {
                return Some(
                    self.inner(value, depth)
                        .map(|inner| read.items = Some(inner)),
                );
            }
            "additionalProperties" => {
                return Some(
                    self.inner(value, depth)
                        .map(|inner| read.others = Some(inner)),
                );
            }
            "properties" => {
                for (name, inner) in value.as_object()? {
                    match self.schema(inner, depth + 1) {
                        Ok(inner) => read.properties.push((name.as_str().into(), inner)),
                        Err(problem) => return Some(Err(problem)),
                    }
                }
            }
            "allOf" => return Some(self.each(value, depth)?.map(|all| read.all_of.extend(all))),
            "anyOf" => return Some(self.each(value, depth)?.map(|any| read.any_of = any)),
            "oneOf" => return Some(self.each(value, depth)?.map(|one| read.one_of = one)),
            "$ref" => {
                let meant = self.find(value.as_str()?)?;
                return Some(
                    self.schema(meant, depth + 1)
                        .map(|meant| read.all_of.push(meant)),
                );
            }
            // Read together, by `condition`.
            "if" | "then" | "else" => {}
            _ if SAYS_NOTHING.contains(&keyword) || keyword.starts_with("x-") => {}
            _ => return None,
        }
        Some(Ok(()))
    }

    fn inner(&self, schema: &Value, depth: usize) -> Result<Box<Schema>, String> {
        self.schema(schema, depth + 1).map(Box::new)
    }

    fn each(&self, schemas: &Value, depth: usize) -> Option<Result<Vec<Schema>, String>> {
        let schemas = schemas.as_array().filter(|schemas| !schemas.is_empty())?;
        Some(
            schemas
                .iter()
                .map(|schema| self.schema(schema, depth + 1))
                .collect(),
        )
    }

    fn condition(
        &self,
        keywords: &Map<String, Value>,
        depth: usize,
    ) -> Result<Option<Box<Condition>>, String> {
        let Some(holds) = keywords.get("if") else {
            return Ok(None);
        };
        let branch = |keyword: &str| match keywords.get(keyword) {
            Some(schema) => self.schema(schema, depth + 1),
            None => Ok(Schema::default()),
        };
        Ok(Some(Box::new(Condition {
            holds: self.schema(holds, depth + 1)?,
            then: branch("then")?,
            otherwise: branch("else")?,
        })))
    }

    /// What a reference within the document means: a JSON pointer, or the anchor of a definition.
    fn find(&self, reference: &str) -> Option<&Value> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(fragment);
        }
        let definitions = self.root.get("$defs")?.as_object()?;
        definitions
            .values()
            .find(|one| one.get("$anchor").and_then(Value::as_str) == Some(fragment))
    }
}

fn size(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

fn types(value: &Value) -> Option<Vec<Type>> {
    let of_name = |name: &Value| {
        let name = name.as_str()?;
        Type::ALL.into_iter().find(|one| one.as_str() == name)
    };
    match value {
        Value::Array(names) => names.iter().map(of_name).collect(),
        name => Some(vec![of_name(name)?]),
    }
}
