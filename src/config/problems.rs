//! Collects every fault of a configuration under its key, so that one look at the report mends the file.

use std::fmt;
use std::ops::RangeInclusive;

use toml::{Table, Value};

/// One fault: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key, with an index for tables of a list: `core[0].address`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Every fault of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a fault.
    pub fn note(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            key: key.into(),
            message: message.into(),
        });
    }

    /// Adds the faults that another look found.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The faults in the order in which they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|problem| problem.key.len())
            .max()
            .unwrap_or(0);
        for problem in &self.0 {
            writeln!(f, "  {:width$}  {}", problem.key, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A table being read.
///
/// It holds a value for every known key, because it was laid over the defaults: a reader never invents one.
#[derive(Debug)]
pub(super) struct Section<'p> {
    path: String,
    table: Table,
    problems: &'p mut Problems,
}

impl<'p> Section<'p> {
    pub(super) fn new(path: &str, table: Table, problems: &'p mut Problems) -> Self {
        Self {
            path: path.to_owned(),
            table,
            problems,
        }
    }

    /// Notes a fault of one of this section's keys.
    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.problems.note(format!("{}.{key}", self.path), message);
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        match self.table.remove(key) {
            Some(Value::String(text)) => text,
            other => self.wrong_type(key, "a text in quotes", other.as_ref()),
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.table.remove(key) {
            Some(Value::Boolean(flag)) => flag,
            other => self.wrong_type(key, "true or false", other.as_ref()),
        }
    }

    pub(super) fn whole(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        match self.table.remove(key) {
            Some(Value::Integer(number)) => match u64::try_from(number) {
                Ok(number) if range.contains(&number) => number,
                _ => {
                    self.fault(
                        key,
                        format!("{number} is outside {} to {}", range.start(), range.end()),
                    );
                    *range.start()
                }
            },
            other => self.wrong_type(key, "a whole number", other.as_ref()),
        }
    }

    pub(super) fn number(&mut self, key: &str) -> f64 {
        match self.table.remove(key) {
            Some(Value::Float(number)) if number.is_finite() => number,
            #[expect(
                clippy::as_conversions,
                clippy::cast_precision_loss,
                reason = "levels are small numbers"
            )]
            Some(Value::Integer(number)) => number as f64,
            other => self.wrong_type(key, "a finite number", other.as_ref()),
        }
    }

    pub(super) fn texts(&mut self, key: &str, at_most: usize) -> Vec<String> {
        let value = self.table.remove(key);
        let Some(Value::Array(items)) = value else {
            return self.wrong_type(key, "a list of texts", value.as_ref());
        };
        if items.len() > at_most {
            self.fault(
                key,
                format!("{} entries, at most {at_most} are possible", items.len()),
            );
        }
        let mut texts = Vec::new();
        for (index, item) in items.into_iter().enumerate().take(at_most) {
            match item {
                Value::String(text) => texts.push(text),
                other => self.fault(
                    &format!("{key}[{index}]"),
                    format!("{other} is not a text in quotes"),
                ),
            }
        }
        texts
    }

    /// Takes a section of this section, read on its own afterwards.
    pub(super) fn table(&mut self, key: &str) -> Table {
        match self.table.remove(key) {
            Some(Value::Table(table)) => table,
            other => self.wrong_type(
                key,
                "a section: write it in square brackets",
                other.as_ref(),
            ),
        }
    }

    /// A table of texts by name.
    pub(super) fn words(&mut self, key: &str, at_most: usize) -> Vec<(String, String)> {
        let value = self.table.remove(key);
        let Some(Value::Table(items)) = value else {
            return self.wrong_type(key, "a table of texts", value.as_ref());
        };
        if items.len() > at_most {
            self.fault(
                key,
                format!("{} entries, at most {at_most} are possible", items.len()),
            );
        }
        let mut words = Vec::new();
        for (name, item) in items.into_iter().take(at_most) {
            match item {
                Value::String(text) => words.push((name, text)),
                other => self.fault(
                    &format!("{key}.{name}"),
                    format!("{other} is not a text in quotes"),
                ),
            }
        }
        words
    }

    /// Takes a list of tables, each read on its own afterwards.
    pub(super) fn tables(&mut self, key: &str, at_most: usize) -> Vec<Table> {
        let value = self.table.remove(key);
        let items = match value {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            other => return self.wrong_type(key, "a list of tables", other.as_ref()),
        };
        if items.len() > at_most {
            self.fault(
                key,
                format!("{} entries, at most {at_most} are possible", items.len()),
            );
        }
        let mut tables = Vec::new();
        for (index, item) in items.into_iter().enumerate().take(at_most) {
            match item {
                Value::Table(table) => tables.push(table),
                _ => self.fault(&format!("{key}[{index}]"), "this is not a table"),
            }
        }
        tables
    }

    fn wrong_type<T: Default>(&mut self, key: &str, wanted: &str, found: Option<&Value>) -> T {
        let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        self.fault(key, format!("{found} is not {wanted}"));
        T::default()
    }
}

/// The sentence for a key that nobody knows, with the nearest known one.
pub(super) fn unknown_key<K: AsRef<str>>(key: &str, known: impl IntoIterator<Item = K>) -> String {
    let known: Vec<K> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(key, candidate.as_ref()),
                candidate.as_ref(),
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((_, candidate)) = nearest {
        return format!("there is no such key; did you mean `{candidate}`?");
    }
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    format!("there is no such key; known here: {}", known.join(", "))
}
