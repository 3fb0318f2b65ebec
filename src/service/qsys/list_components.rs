//! `qsys_list_components`: what the design shows, page by page.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Bounded, Head, Page, shown_text};
use super::text::count;
use super::{Definition, Outcome, QsysService, resolve};
use crate::guard::Scope;
use crate::limits::{NAME_MAX_BYTES, PAGE_MAX};
use crate::service::{Effect, ToolCall};
use crate::store::view::ComponentView;

/// Properties told of one component. Real ones have a dozen or two.
const PROPERTIES_SHOWN: usize = 40;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_list_components",
    title: "List components",
    description: "Components of the running design that the Core shows, with type and number of controls, 50 at a time. Narrow with `type` \
        (gain, mixer, meter2, snapshot_controller, …) or `filter` (part of the name). In a large design qsys_search is quicker; \
        a component that is missing here may be hidden: qsys_explain_visibility says why.",
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
    /// Only components of this type, spelt as in the answers; case does not matter.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    kind: Option<String>,
    /// Only components whose name contains this; case does not matter.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    filter: Option<String>,
    /// Rows per answer, 1 to 500; 50 without it.
    #[schemars(range(min = 1, max = PAGE_MAX))]
    limit: Option<u16>,
    /// `next_cursor` of the answer before, for the rows after it.
    #[schemars(length(max = 64))]
    cursor: Option<String>,
    /// What to tell besides the name; `type` and `controls` without it.
    fields: Option<Vec<Field>>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Field {
    Type,
    Controls,
    Properties,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// How many components fit, over all pages.
    total: usize,
    /// This page, by name.
    components: Vec<Row>,
    /// Pass this as `cursor` for the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// True when rows were left out because the answer would have been too large: go on with `next_cursor`, or ask for fewer `fields`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip)]
    page: Page,
    #[serde(skip)]
    generation: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// Code Name, spelt exactly.
    component: String,
    /// Class of the component.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// How many controls it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    controls: Option<usize>,
    /// What the designer set.
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Vec<Property>>,
}

/// A property of a component.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Property {
    /// Its name.
    name: String,
    /// Its value as text.
    value: String,
}

impl Bounded for Answer {
    fn rows(&self) -> usize {
        self.components.len()
    }

    fn keep(&mut self, rows: usize) {
        self.components.truncate(rows);
        self.next_cursor = self.page.next(rows, self.total, self.generation);
        self.truncated = true;
    }
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        resolve::anything_known(core)?;
        let generation = core.mirror.generation();
        let page = Page::new(arguments.limit, arguments.cursor.as_deref(), generation)?;
        let filter = arguments.filter.as_deref().map(str::to_lowercase);
        let (views, total) = core.mirror.components(
            &mut |view| {
                let kind_fits = arguments
                    .kind
                    .as_deref()
                    .is_none_or(|kind| view.kind.eq_ignore_ascii_case(kind));
                let name_fits = filter
                    .as_deref()
                    .is_none_or(|part| view.name.to_lowercase().contains(part));
                kind_fits && name_fits
            },
            page.skip,
            page.limit,
        );
        let fields = arguments
            .fields
            .unwrap_or_else(|| vec![Field::Type, Field::Controls]);
        let components: Vec<_> = views.iter().map(|view| row(view, &fields)).collect();
        let lines: Vec<_> = components.iter().map(line).collect();
        let head = core.head();
        let words = format!("{}: {} here.", head.words(), count(total, "component"));
        let structured = answer::bounded(Answer {
            head,
            total,
            next_cursor: page.next(components.len(), total, generation),
            components,
            truncated: false,
            page,
            generation,
        })?;
        let left = total.saturating_sub(page.skip);
        Ok(answer::listing(structured, &words, lines, left, |shown| {
            page.more(shown, total, generation)
        }))
    })
}

fn line(row: &Row) -> String {
    let kind = row.kind.clone();
    let controls = row.controls.map(|number| count(number, "control"));
    let properties = row.properties.iter().flatten();
    let facts: Vec<_> = kind
        .into_iter()
        .chain(controls)
        .chain(properties.map(|property| format!("{}={}", property.name, property.value)))
        .collect();
    if facts.is_empty() {
        row.component.clone()
    } else {
        format!("{} ({})", row.component, facts.join(", "))
    }
}

fn row(view: &ComponentView, fields: &[Field]) -> Row {
    let has = |field| fields.contains(&field);
    Row {
        component: shown_text(&view.name),
        kind: has(Field::Type).then(|| shown_text(&view.kind)),
        controls: has(Field::Controls).then_some(view.controls),
        properties: has(Field::Properties).then(|| properties(view)),
    }
}

/// What the designer set on a component, the first [`PROPERTIES_SHOWN`].
pub(super) fn properties(view: &ComponentView) -> Vec<Property> {
    view.properties
        .iter()
        .take(PROPERTIES_SHOWN)
        .map(|(name, value)| Property {
            name: shown_text(name),
            value: shown_text(value),
        })
        .collect()
}
