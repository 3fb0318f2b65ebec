//! How a value that somebody is typing could go on: names of the running design, the likeliest first.

mod rooms;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::list_snapshots::CONTROLLER;
use super::text::{clean, folded};
use super::{Core, QsysService, resolve};
use crate::limits::{COMPLETIONS_MAX, COMPONENTS_MAX};
use crate::service::{Completed, Completion, Target};
use crate::store::view::{ComponentView, ControlView};

/// Names that are only alike, of which so many are offered.
const ALIKE_MAX: usize = 10;

/// How alike two names have to be, from 0 to 1.
const ALIKE: f64 = 0.75;

/// Shortest text to which names are alike and not just any.
const ALIKE_MIN_LETTERS: usize = 3;

/// What is offered for a time.
const TIMES: [&str; 6] = [
    "10 minutes",
    "30 minutes",
    "1 hour",
    "this morning",
    "yesterday",
    "last week",
];

/// What is offered for a change of level.
const CHANGES: [&str; 6] = ["-3 dB", "+3 dB", "-1 dB", "+1 dB", "-6 dB", "to -12 dB"];

/// Where values for an argument come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Rooms,
    Components,
    /// Of the component that is filled in as `component`.
    Controls,
    NamedControls,
    Banks,
    Cores,
    Fixed(&'static [&'static str]),
    /// Anything can stand there.
    Free,
}

impl Source {
    fn of(target: Target<'_>, argument: &str) -> Self {
        match (target, argument) {
            (Target::Prompt(_), "room" | "focus") => Self::Rooms,
            (_, "control") => Self::Controls,
            (Target::Prompt(_), "bank") => Self::Banks,
            (Target::Prompt(_), "since") => Self::Fixed(&TIMES),
            (Target::Prompt(_), "change") => Self::Fixed(&CHANGES),
            (Target::Template(uri), "name") if uri.starts_with("qsys://named-control/") => {
                Self::NamedControls
            }
            (Target::Prompt(_), "source") | (Target::Template(_), "name") | (_, "component") => {
                Self::Components
            }
            (Target::Template(_), "core") => Self::Cores,
            _ => Self::Free,
        }
    }
}

/// Values for an argument. Nothing if its prompt or template is none of this service.
pub(super) fn complete(service: &QsysService, completion: &Completion<'_>) -> Option<Completed> {
    let is_ours = match completion.target {
        Target::Prompt(name) => service.prompts.iter().any(|prompt| prompt.name == name),
        Target::Template(uri) => uri.starts_with("qsys://"),
    };
    if !is_ours {
        return None;
    }
    let source = Source::of(completion.target, completion.argument);
    let known = filled_in(completion.others, "core");
    let values = match (source, service.core(known, completion.caller)) {
        (Source::Fixed(values), _) => values.iter().map(ToString::to_string).collect(),
        (Source::Cores, _) => service
            .systems
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        (Source::Free, _) | (_, Err(_)) => Vec::new(),
        (source, Ok(core)) => values(&core, source, completion.others),
    };
    Some(ranked(values, completion.typed))
}

fn filled_in<'a>(others: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let value = others.get(name).and_then(Value::as_str);
    value.filter(|value| !value.is_empty())
}

fn values(core: &Core, source: Source, others: &Map<String, Value>) -> Vec<String> {
    match source {
        Source::Rooms => rooms::guessed(&components(core, |_| true)),
        Source::Components => components(core, |_| true),
        Source::Banks => components(core, |view| view.kind == CONTROLLER),
        Source::NamedControls => controls(&core.mirror.named_controls()),
        Source::Controls => {
            let component = filled_in(others, "component");
            let view = component.and_then(|name| resolve::component(core, name).ok());
            let known = view.and_then(|view| core.mirror.component_controls(&view.name));
            controls(&known.unwrap_or_default())
        }
        Source::Cores | Source::Fixed(_) | Source::Free => Vec::new(),
    }
}

fn components(core: &Core, mut wanted: impl FnMut(&ComponentView) -> bool) -> Vec<String> {
    let (views, _) = core.mirror.components(&mut wanted, 0, COMPONENTS_MAX);
    let names = views.iter().map(|view| clean(&view.name).into_owned());
    names.collect()
}

fn controls(views: &[ControlView]) -> Vec<String> {
    let names = views.iter().map(|view| view.name.control.as_str());
    names.map(|name| clean(name).into_owned()).collect()
}

/// How well a value fits what is typed, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Begins,
    WordBegins,
    Contains,
    Alike,
}

/// The values that fit: those that begin so, those with a word that begins so, those that contain it, and a few that are alike.
fn ranked(values: Vec<String>, typed: &str) -> Completed {
    let typed = simple(typed.trim());
    let mut fitting = Vec::new();
    let mut alike = Vec::new();
    for value in values {
        let simple = simple(&value);
        let before = simple.find(&typed).map(|at| simple.split_at(at).0);
        match before {
            Some("") => fitting.push((Fit::Begins, value)),
            Some(before) if before.ends_with(|letter: char| !letter.is_alphanumeric()) => {
                fitting.push((Fit::WordBegins, value));
            }
            Some(_) => fitting.push((Fit::Contains, value)),
            None if typed.chars().count() >= ALIKE_MIN_LETTERS => {
                let likeness = strsim::jaro_winkler(&simple, &typed);
                if likeness >= ALIKE {
                    alike.push((likeness, value));
                }
            }
            None => {}
        }
    }
    alike.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let alike = alike.into_iter().take(ALIKE_MAX);
    fitting.extend(alike.map(|(_, value)| (Fit::Alike, value)));
    // Stable: what fits equally well stays in the design's order.
    fitting.sort_by_key(|(fit, _)| *fit);
    Completed {
        total: fitting.len(),
        values: fitting
            .into_iter()
            .take(COMPLETIONS_MAX)
            .map(|(_, value)| value)
            .collect(),
    }
}

/// Without what does not count when names are compared.
fn simple(text: &str) -> String {
    folded(text).flat_map(char::to_lowercase).collect()
}
