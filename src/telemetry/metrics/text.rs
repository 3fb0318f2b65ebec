//! Other forms of a page of numbers: the older text of Prometheus, and JSON. Both are made from the page, so they cannot differ from it.

use serde_json::{Map, Value, json};

use super::names::{ALL, Kind};

/// The page as Prometheus' text format 0.0.4: counters are named as their samples are, and there is no mark at the end.
#[must_use]
pub fn plain(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + 1024);
    for line in page.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if is_counter(name) => {
                for part in ["# ", what, " ", name, "_total ", rest] {
                    out.push_str(part);
                }
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn is_counter(name: &str) -> bool {
    ALL.iter()
        .any(|known| known.name == name && known.kind == Kind::Counter)
}

/// The page as a JSON object: for each name a list of its samples, each with `labels` and `value`.
#[must_use]
pub fn json(page: &str) -> Value {
    let mut out = Map::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        // What JSON has no number for, such as infinity, stays a text.
        let value = value
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .map_or_else(|| json!(value), |value| json!(value));
        let sample = json!({ "labels": read_labels(labels), "value": value });
        if let Value::Array(samples) = out.entry(name).or_insert_with(|| json!([])) {
            samples.push(sample);
        }
    }
    Value::Object(out)
}

/// Reads `a="1",b="2"}`. In a value, `\\`, `\"` and `\n` stand for a backslash, a quote and a line end.
fn read_labels(text: &str) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut letters = after.char_indices();
        let mut end = after.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => {}
                },
                other => value.push(other),
            }
        }
        labels.insert(
            name.trim_start_matches(',').to_owned(),
            Value::String(value),
        );
        rest = after.get(end..).unwrap_or_default();
    }
    labels
}
