//! `qsys_start_watch`: has controls watched until nobody asks any more.

use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Bounded, Head, Shown, millis, shown_text};
use super::get_controls::Name;
use super::text::{count, path, span};
use super::watch::{Key, Watch};
use super::{Core, Definition, Outcome, QsysService, fault, resolve};
use crate::guard::Scope;
use crate::limits::{NAME_MAX_BYTES, READ_MAX, WATCH_TTL_SECS};
use crate::model::name::ControlRef;
use crate::service::{Effect, ToolCall, ToolFault};

/// Time to live unless asked otherwise, seconds.
const USUAL_TTL_SECS: u32 = 120;

/// Controls whose present values are told at the start.
const ROWS_SHOWN: usize = 100;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_start_watch",
    title: "Start a watch",
    description: "Watches up to 100 controls, or all controls of a component, from now on: qsys_poll_watch then answers what changed since \
        the last poll. Answers with the watch's id and the present values. The watch ends by itself when it is not polled for `ttl_s` \
        seconds; end it with qsys_stop_watch when it is not needed any more. To wait for one change, qsys_wait_for_change is simpler.",
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
    /// The controls, 1 to 100. Either these or `component`.
    #[schemars(length(min = 1, max = READ_MAX))]
    controls: Option<Vec<Name>>,
    /// Code Name of a component to be watched as a whole, up to 1,000 controls, in another design too.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component: Option<String>,
    /// With `component`: whether its controls that move all the time, as meters do, are watched too. Not without it.
    meters: Option<bool>,
    /// Seconds without a poll after which the watch ends, 10 to 600; 120 without it.
    #[schemars(range(min = 10, max = 600))]
    ttl_s: Option<u32>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// Pass this to `qsys_poll_watch` and `qsys_stop_watch`. It is good for you alone.
    watch_id: String,
    /// Milliseconds without a poll after which the watch ends.
    expires_ms: u64,
    /// How often the controls are looked at.
    pace: Pace,
    /// How many controls are watched.
    total: usize,
    /// Where they stand now, the first 100.
    controls: Vec<Row>,
    /// How many are watched besides. Absent when all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

/// How often controls are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pace {
    /// several times a second.
    Fast,
    /// about once a second: there are more controls to watch than can be polled fast.
    Usual,
}

impl Pace {
    pub(super) const fn of(is_fast: bool) -> Self {
        if is_fast { Self::Fast } else { Self::Usual }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// Code Name of the component; absent for a named control.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Exact name of the control.
    control: String,
    #[serde(flatten)]
    reading: Shown,
}

impl Bounded for Answer {
    fn rows(&self) -> usize {
        self.controls.len()
    }

    fn keep(&mut self, rows: usize) {
        self.controls.truncate(rows);
        self.more = Some(self.total - self.controls.len());
    }
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let ttl = time_to_live(arguments.ttl_s)?;
        let watch = match (&arguments.controls, &arguments.component) {
            (Some(controls), None) => over_controls(core, controls)?,
            (None, Some(component)) => {
                Watch::over_component(core, component, arguments.meters.unwrap_or(false))?
            }
            _ => {
                return Err(fault::bad_argument(
                    "controls",
                    "exactly one of `controls` and `component` is needed",
                    "Give one of them.",
                ));
            }
        };
        if watch.len() == 0 {
            return Err(fault::bad_argument(
                "component",
                "it has no controls that rest",
                "Give `meters`: true to watch its meters, or look with qsys_get_component.",
            ));
        }
        let rows: Vec<_> = watch
            .names()
            .take(ROWS_SHOWN)
            .filter_map(|name| row(core, name))
            .collect();
        let total = watch.len();
        let key = Key::random(&call.caller.name)?;
        service.watches.add(key.clone(), watch, ttl)?;
        let is_fast = service.watches.take(&key)?.keep_fast(&core.link, false);
        answer(core, &key, ttl, Pace::of(is_fast), total, rows)
    })
}

fn answer(
    core: &Core,
    key: &Key,
    ttl: Duration,
    pace: Pace,
    total: usize,
    rows: Vec<Row>,
) -> Outcome {
    let head = core.head();
    let words = format!(
        "{}: watching {} as {} until it is not polled for {}.",
        head.words(),
        count(total, "control"),
        key.name,
        span(millis(ttl))
    );
    let lines: Vec<_> = rows.iter().map(line).collect();
    let structured = answer::bounded(Answer {
        head,
        watch_id: key.name.to_string(),
        expires_ms: millis(ttl),
        pace,
        total,
        more: total.checked_sub(rows.len()).filter(|more| *more > 0),
        controls: rows,
    })?;
    Ok(answer::listing(structured, &words, lines, total, |_| {
        "they are watched as well.".to_owned()
    }))
}

fn time_to_live(secs: Option<u32>) -> Result<Duration, ToolFault> {
    let secs = secs.unwrap_or(USUAL_TTL_SECS);
    if !WATCH_TTL_SECS.contains(&secs) {
        return Err(fault::bad_argument(
            "ttl_s",
            format!(
                "{secs} is outside {} to {}",
                WATCH_TTL_SECS.start(),
                WATCH_TTL_SECS.end()
            ),
            "A watch lives longer by being polled.",
        ));
    }
    Ok(Duration::from_secs(u64::from(secs)))
}

fn over_controls(core: &Core, names: &[Name]) -> Result<Watch, ToolFault> {
    super::get_controls::check_count(names.len())?;
    let mut watch = Watch::new(core, true);
    for asked in names {
        let (_, name) = resolve::control(core, asked.component.as_deref(), &asked.control)?;
        watch.add(name);
    }
    watch.all_told(core);
    Ok(watch)
}

fn row(core: &Core, name: &ControlRef) -> Option<Row> {
    let reading = core.mirror.reading(core.mirror.find(name)?)?;
    Some(Row {
        component: name
            .component
            .as_ref()
            .map(|name| shown_text(name.as_str())),
        control: shown_text(name.control.as_str()),
        reading: Shown::cached(&reading),
    })
}

fn line(row: &Row) -> String {
    let name = path(row.component.as_deref(), &row.control);
    format!("{name} = {}", row.reading.told())
}
