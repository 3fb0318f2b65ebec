//! `qsys_poll_watch`: what changed since the last poll.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Bounded, Head, Shown, Trust, millis, shown_text};
use super::start_watch::Pace;
use super::text::{count, path, span};
use super::watch::{Before, Change, Key, Lag};
use super::{Core, Definition, Outcome, QsysService, fault};
use crate::guard::Scope;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::service::{Effect, FaultCode, ToolCall, ToolFault};

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_poll_watch",
    title: "Poll a watch",
    description: "What changed since the last poll of a watch that qsys_start_watch began: each control that stands elsewhere now, with \
        where it stood before, and each that moved and came back (`moved_back`). Values in between are not kept. `lagged` says when \
        something may have been missed. Polling keeps the watch alive.",
    input: super::schema::input::<Arguments>,
    output: super::schema::output::<Answer>,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call,
};

/// Longest id that is looked up, bytes.
pub(super) const ID_MAX_BYTES: usize = 64;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The watch, as `qsys_start_watch` named it.
    #[schemars(length(min = 1, max = ID_MAX_BYTES))]
    watch_id: String,
    /// Changes per answer, 1 to 500; 50 without it. The rest comes with the next poll.
    #[schemars(range(min = 1, max = PAGE_MAX))]
    limit: Option<u16>,
    /// Name of the Core. Not needed: the watch knows its own.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// How far to trust what this box knows of the Core as a whole.
    quality: Trust,
    /// Milliseconds since the last poll, or since the start.
    since_ms: u64,
    /// Milliseconds without a poll after which the watch ends.
    expires_ms: u64,
    /// How often the controls are looked at.
    pace: Pace,
    /// Why something may have been missed. Absent when nothing was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lagged: Vec<Lag>,
    /// How many controls changed.
    total: usize,
    /// What changed, in the order of the watch.
    changes: Vec<Row>,
    /// True when there are more changes: poll again at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// Code Name of the component; absent for a named control.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Exact name of the control.
    control: String,
    /// Where it stood when it was last told. Absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    #[serde(flatten)]
    now: Option<Shown>,
    /// True when it moved and stands where it stood: a button that was pressed and let go.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    moved_back: bool,
    /// True when the design does not have it any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

impl Bounded for Answer {
    fn rows(&self) -> usize {
        self.changes.len()
    }

    fn keep(&mut self, rows: usize) {
        self.changes.truncate(rows);
        self.more = true;
    }
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let limit = arguments.limit.map_or(PAGE_DEFAULT, usize::from);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(fault::bad_argument(
                "limit",
                format!("{limit} is outside 1 to {PAGE_MAX}"),
                "Poll again for what is left.",
            ));
        }
        let key = Key::watch(&call.caller.name, &arguments.watch_id);
        let mut taken = service.watches.take(&key)?;
        let core = &taken.with(|watch| service.core(Some(watch.core()), &call.caller))??;
        is_same_core(core, arguments.core.as_deref())?;
        let may_grow = taken.with(|watch| watch.may_grow(core))?;
        let room = if may_grow { taken.room() } else { 0 };
        let look = taken.with(|watch| watch.look(core, limit, room))?;
        let is_fast = taken.keep_fast(&core.link, may_grow);
        let mut answer = Answer {
            head: core.head(),
            quality: core.mirror.status().quality.into(),
            since_ms: millis(look.since),
            expires_ms: millis(taken.ttl()),
            pace: Pace::of(is_fast),
            lagged: look.lagged,
            total: look.total,
            more: look.total > look.changes.len(),
            changes: look.changes.iter().map(row).collect(),
        };
        let structured = answer::fitted(&mut answer)?;
        let told = look.changes.into_iter().take(answer.changes.len());
        taken.with(|watch| watch.told(told))?;
        let (words, lines) = (words(&answer), answer.changes.iter().map(line));
        Ok(answer::listing(
            structured,
            &words,
            lines.collect::<Vec<_>>(),
            answer.total,
            |_| "in the structured answer, or with the next poll.".to_owned(),
        ))
    })
}

fn is_same_core(core: &Core, asked: Option<&str>) -> Result<(), ToolFault> {
    match asked {
        Some(asked) if core.name != asked => Err(ToolFault::new(
            FaultCode::NotFound,
            format!("This watch is one of the Core `{}`.", core.name),
            "Leave `core` out.",
        )),
        _ => Ok(()),
    }
}

fn words(answer: &Answer) -> String {
    let mut words = format!(
        "{}: {} changed within {}.",
        answer.head.words(),
        count(answer.total, "control"),
        span(answer.since_ms)
    );
    for lag in &answer.lagged {
        words.push(' ');
        words.push_str(lag.words());
    }
    words
}

fn row(change: &Change) -> Row {
    let name = &change.name;
    Row {
        component: name
            .component
            .as_ref()
            .map(|name| shown_text(name.as_str())),
        control: shown_text(name.control.as_str()),
        before: change.before.clone(),
        now: change.now.as_ref().map(Shown::cached),
        moved_back: change.moved_back,
        gone: change.now.is_none(),
    }
}

fn line(row: &Row) -> String {
    let name = path(row.component.as_deref(), &row.control);
    match (&row.now, &row.before) {
        (None, _) => format!("{name}: the design does not have it any more"),
        (Some(now), _) if row.moved_back => format!("{name}: moved, and is back at {}", now.told()),
        (Some(now), Some(before)) => format!("{name}: {} → {}", before.words(), now.told()),
        (Some(now), None) => format!("{name} = {}", now.told()),
    }
}
