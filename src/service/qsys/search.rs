//! `qsys_search`: from a word to names.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Bounded, Head, Shown, shown_text};
use super::text::{count, path};
use super::{Core, Definition, Outcome, QsysService, fault, resolve};
use crate::guard::Scope;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::service::{Effect, ToolCall};
use crate::store::mirror::{SearchHit, SearchKind};

/// Longest query, bytes.
const QUERY_MAX_BYTES: usize = 200;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_search",
    title: "Search the design",
    description: "Finds components and controls by words in their names or types (`lobby gain`, `meter`, `snapshot`), best first, with the \
        present value of each control found. The way in for every design whose names you do not know. Answers have the exact names that the \
        other tools take.",
    input: super::schema::input::<Arguments>,
    output: super::schema::output::<Answer>,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// One or more words; all of them have to be found, in any order. Case does not matter.
    #[schemars(length(min = 1, max = QUERY_MAX_BYTES))]
    query: String,
    /// What to look for; everything without it.
    kinds: Option<Vec<Kind>>,
    /// Rows at most, 1 to 500; 50 without it.
    #[schemars(range(min = 1, max = PAGE_MAX))]
    limit: Option<u16>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Component,
    Control,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// What was found, best first.
    hits: Vec<Row>,
    /// True when there is or may be more: use more words, `kinds`, or a larger `limit`.
    truncated: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// What it is.
    kind: Kind,
    /// Code Name of the component, or of the component that the control is in; absent for a named control.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// The control; absent for a component.
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<String>,
    /// The component's class, or the control's type.
    #[serde(rename = "type")]
    class: String,
    #[serde(flatten)]
    reading: Option<Shown>,
}

impl Bounded for Answer {
    fn rows(&self) -> usize {
        self.hits.len()
    }

    fn keep(&mut self, rows: usize) {
        self.hits.truncate(rows);
        self.truncated = true;
    }
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let limit = arguments.limit.map_or(PAGE_DEFAULT, usize::from);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(fault::bad_argument(
                "limit",
                format!("{limit} is outside 1 to {PAGE_MAX}"),
                "Ask for at most 500 rows.",
            ));
        }
        if arguments.query.trim().is_empty() || arguments.query.len() > QUERY_MAX_BYTES {
            return Err(fault::bad_argument(
                "query",
                format!("a query has 1 to {QUERY_MAX_BYTES} bytes"),
                "Give a word or two of the name or type.",
            ));
        }
        resolve::anything_known(core)?;
        let kinds: Vec<_> = arguments
            .kinds
            .unwrap_or_default()
            .into_iter()
            .map(|kind| match kind {
                Kind::Component => SearchKind::Component,
                Kind::Control => SearchKind::Control,
            })
            .collect();
        let mut found = search(core, &arguments.query, &kinds, limit + 1);
        let truncated = found.len() > limit;
        found.truncate(limit);
        let hits: Vec<_> = found.iter().map(|hit| row(core, hit)).collect();
        let more = if truncated { " or more" } else { "" };
        let words = if hits.is_empty() {
            "Nothing found. Try fewer or shorter words, or qsys_list_components; a component may also be hidden, see qsys_explain_visibility."
                .to_owned()
        } else {
            format!("{}{more} found, best first.", count(hits.len(), "name"))
        };
        let (total, lines) = (hits.len(), hits.iter().map(line).collect::<Vec<_>>());
        let structured = answer::bounded(Answer {
            head: core.head(),
            hits,
            truncated,
        })?;
        Ok(answer::listing(structured, &words, lines, total, |_| {
            "use more words or `kinds`.".to_owned()
        }))
    })
}

/// Searches as asked, and if that finds nothing, with `_` read as `.`: other tools spell names so.
fn search(core: &Core, query: &str, kinds: &[SearchKind], limit: usize) -> Vec<SearchHit> {
    let found = core.mirror.search(query, kinds, limit);
    if found.is_empty() && query.contains('_') {
        return core.mirror.search(&query.replace('_', "."), kinds, limit);
    }
    found
}

fn line(row: &Row) -> String {
    let Some(control) = &row.control else {
        let component = row.component.as_deref().unwrap_or_default();
        return format!("{component} (component, {})", row.class);
    };
    let name = path(row.component.as_deref(), control);
    match &row.reading {
        Some(reading) => format!("{name} = {}", reading.told()),
        None => name,
    }
}

fn row(core: &Core, hit: &SearchHit) -> Row {
    let reading = hit.id.and_then(|id| core.mirror.reading(id));
    Row {
        kind: if hit.control.is_some() {
            Kind::Control
        } else {
            Kind::Component
        },
        component: hit.component.as_deref().map(shown_text),
        control: hit.control.as_deref().map(shown_text),
        class: shown_text(&hit.kind),
        reading: reading.as_ref().map(Shown::cached),
    }
}
