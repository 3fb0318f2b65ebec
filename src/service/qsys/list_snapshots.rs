//! `qsys_list_snapshots`: what snapshot controllers show of their banks. A Core has no method that lists banks.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Bounded, Head, Page, Trust, shown_text};
use super::text::count;
use super::{Core, Definition, Outcome, QsysService, resolve, text};
use crate::guard::Scope;
use crate::limits::{COMPONENTS_MAX, NAME_MAX_BYTES, PAGE_MAX};
use crate::safety::Policy;
use crate::service::{Effect, ToolCall};
use crate::store::view::{ComponentView, ControlView};

/// Type of the components that recall snapshots.
pub(super) const CONTROLLER: &str = "snapshot_controller";

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_list_snapshots",
    title: "List snapshots",
    description: "Snapshots that can be recalled through the design's snapshot controllers: bank, number, and whether the room still \
        matches it (`matching`) or has moved since it was loaded (`drifted`). Banks without a visible snapshot controller cannot be listed.",
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
    /// Only this bank: the Code Name of its snapshot controller.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    bank: Option<String>,
    /// Rows per answer, 1 to 500; 50 without it.
    #[schemars(range(min = 1, max = PAGE_MAX))]
    limit: Option<u16>,
    /// `next_cursor` of the answer before, for the rows after it.
    #[schemars(length(max = 64))]
    cursor: Option<String>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// How many snapshots there are, over all pages.
    total: usize,
    /// This page, by bank and number.
    snapshots: Vec<Row>,
    /// Pass this as `cursor` for the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// True when rows were left out because the answer would have been too large: go on with `next_cursor`, or give `bank`.
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
    /// Code Name of the snapshot controller: pass it to `qsys_load_snapshot`.
    bank: String,
    /// Number of the snapshot, from 1.
    number: u32,
    /// Where it stands.
    state: State,
    /// How far to trust the state.
    quality: Trust,
    /// True when a rule of this box forbids loading it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    protected: bool,
}

/// Where a snapshot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It was loaded last, and everything still stands as stored.
    Matching,
    /// It was loaded last, but something moved since.
    Drifted,
    /// Another one was loaded last, or none.
    NotLoaded,
    /// The design does not show it.
    Unknown,
}

impl State {
    /// From the controls `last.N` and `match.N`.
    pub(super) fn of(last: Option<f64>, matches: Option<f64>) -> Self {
        let is_on = |value: f64| value >= 0.5;
        match (last.map(is_on), matches.map(is_on)) {
            (Some(false), _) | (None, Some(false)) => Self::NotLoaded,
            (_, Some(true)) => Self::Matching,
            (Some(true), Some(false)) => Self::Drifted,
            (_, None) => Self::Unknown,
        }
    }

    /// The state in a word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Matching => "matching",
            Self::Drifted => "drifted",
            Self::NotLoaded => "not loaded",
            Self::Unknown => "of unknown state",
        }
    }
}

impl Bounded for Answer {
    fn rows(&self) -> usize {
        self.snapshots.len()
    }

    fn keep(&mut self, rows: usize) {
        self.snapshots.truncate(rows);
        self.next_cursor = self.page.next(rows, self.total, self.generation);
        self.truncated = true;
    }
}

/// What a controller has for one snapshot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The trigger that recalls it.
    pub(super) load: Option<ControlView>,
    /// Whether it was recalled last.
    pub(super) last: Option<ControlView>,
    /// Whether everything stands as stored.
    pub(super) matches: Option<ControlView>,
}

/// The snapshots of a controller, by number.
pub(super) fn slots(core: &Core, controller: &str) -> BTreeMap<u32, Slot> {
    let mut slots: BTreeMap<u32, Slot> = BTreeMap::new();
    let controls = core
        .mirror
        .component_controls(controller)
        .unwrap_or_default();
    for control in controls {
        let name: String = text::folded(control.name.control.as_str()).collect();
        let Some((role, number)) = name.split_once('.') else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let slot = match role {
            "load" => &mut slots.entry(number).or_default().load,
            "last" => &mut slots.entry(number).or_default().last,
            "match" => &mut slots.entry(number).or_default().matches,
            _ => continue,
        };
        *slot = Some(control);
    }
    slots.retain(|_, slot| slot.load.is_some());
    slots
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let generation = core.mirror.generation();
        let page = Page::new(arguments.limit, arguments.cursor.as_deref(), generation)?;
        let controllers = if let Some(bank) = &arguments.bank {
            vec![resolve::component(core, bank)?]
        } else {
            let is_controller = &mut |view: &ComponentView| view.kind == CONTROLLER;
            core.mirror.components(is_controller, 0, COMPONENTS_MAX).0
        };
        let all: Vec<Row> = controllers
            .iter()
            .flat_map(|controller| rows(core, controller, &service.policy))
            .collect();
        let total = all.len();
        let words = match (total, controllers.len()) {
            (0, _) => "No snapshot controller is visible, so no snapshots can be listed. A known bank can still be loaded by name and number.".to_owned(),
            (total, banks) => format!("{} in {}.", count(total, "snapshot"), count(banks, "bank")),
        };
        let snapshots: Vec<_> = all.into_iter().skip(page.skip).take(page.limit).collect();
        let lines: Vec<_> = snapshots.iter().map(line).collect();
        let structured = answer::bounded(Answer {
            head: core.head(),
            total,
            next_cursor: page.next(snapshots.len(), total, generation),
            snapshots,
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
    let trust = match row.quality {
        Trust::Live => "",
        Trust::Stale => " (stale)",
        Trust::Unknown => " (never seen)",
    };
    let rule = if row.protected {
        ", a rule of this box forbids loading it"
    } else {
        ""
    };
    format!(
        "{} {}: {}{trust}{rule}",
        row.bank,
        row.number,
        row.state.word()
    )
}

fn rows(core: &Core, controller: &ComponentView, policy: &Policy) -> Vec<Row> {
    let value =
        |control: &Option<ControlView>| control.as_ref().and_then(|control| control.reading.value);
    slots(core, &controller.name)
        .into_iter()
        .filter_map(|(number, slot)| {
            let shows = slot.matches.as_ref().or(slot.last.as_ref());
            let state = State::of(value(&slot.last), value(&slot.matches));
            let quality = shows.map_or(Trust::Unknown, |control| control.reading.quality.into());
            let load = slot.load?;
            Some(Row {
                bank: shown_text(&controller.name),
                number,
                state,
                quality,
                protected: policy.snapshot_rule(&load.name).is_some(),
            })
        })
        .collect()
}
