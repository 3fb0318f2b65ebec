//! `qsys_read_meters`: what meters did over some seconds.

mod gauge;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};

use self::gauge::{Gauge, Statistics};
use super::answer::{self, Head, Shown, millis, shown_text};
use super::get_controls::Name;
use super::start_watch::Pace;
use super::text::{count, path};
use super::{Core, Definition, Outcome, QsysService, fault, get_link_status, resolve};
use crate::guard::Scope;
use crate::limits::{METERS_READ_MAX, METERS_WINDOW_MAX_SECS};
use crate::link::LinkState;
use crate::service::{Effect, FaultCode, ToolCall, ToolFault};
use crate::store::view::Notice;

/// Seconds read unless asked otherwise.
const USUAL_WINDOW_SECS: f64 = 3.0;

/// Time that fast polling is given to begin, so that no value of before counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// Time between two words of progress.
const PROGRESS: Duration = Duration::from_secs(1);

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_read_meters",
    title: "Read meters",
    description: "Reads up to 32 meters, or other numbers, several times a second over `window_s` seconds (3 without it, at most 30) and \
        answers with statistics: lowest, highest and mean over time, the last value, and with `above` the share of the time above a \
        threshold. Needs a live link. Use it to see whether signal is there, clips, or comes and goes: one value of a meter says little.",
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
    /// The meters, 1 to 32: controls with a number.
    #[schemars(length(min = 1, max = METERS_READ_MAX))]
    meters: Vec<Name>,
    /// Seconds over which they are read, 1 to 30; 3 without it.
    #[schemars(range(min = 1, max = METERS_WINDOW_MAX_SECS))]
    window_s: Option<f64>,
    /// Threshold in the meters' unit, usually dB: the share of the time above it is told.
    above: Option<f64>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// Milliseconds over which the meters were read.
    window_ms: u64,
    /// How often they were looked at.
    pace: Pace,
    /// True when more was reported than could be taken in: short peaks may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lagged: bool,
    /// The meters, in the order asked for.
    meters: Vec<Row>,
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
    statistics: Option<Statistics>,
    /// How many different values the Core reported, the first included. 1 means that the meter did not move; 0 that nothing was live.
    samples: u32,
    /// Milliseconds of the window for which the value was live. The statistics are over these.
    measured_ms: u64,
    /// The last value. Absent when the design does not have the control any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Shown>,
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let mut arguments: Arguments = answer::arguments(call.arguments.clone())?;
        let window = check(&arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        is_live(core)?;
        let Ok(_place) = service.waits.take(&call.caller.name, 0) else {
            return Err(ToolFault::new(
                FaultCode::Busy,
                "Too many calls are waiting or reading meters already, of this key or of all.",
                "Try again in some seconds.",
            ));
        };
        let mut gauges = Vec::with_capacity(arguments.meters.len());
        for asked in arguments.meters.drain(..) {
            gauges.push(Gauge::new(core, &asked, arguments.above)?);
        }
        let names = gauges.iter().map(|gauge| gauge.name().clone()).collect();
        // Where too many are watched already the usual pace has to do.
        let fast = core.link.watch_fast(names).ok();
        if fast.is_some() {
            tokio::select! {
                biased;
                () = call.cancel.cancelled() => return Err(fault::cancelled()),
                () = sleep(WARM_UP) => {}
            }
        }
        let lagged = measure(core, &mut gauges, window, &call).await?;
        finish(core, &gauges, window, Pace::of(fast.is_some()), lagged)
    })
}

fn check(arguments: &Arguments) -> Result<Duration, ToolFault> {
    let count = arguments.meters.len();
    if !(1..=METERS_READ_MAX).contains(&count) {
        return Err(fault::bad_argument(
            "meters",
            format!("{count} meters are outside 1 to {METERS_READ_MAX}"),
            "Split them over several calls.",
        ));
    }
    let secs = arguments.window_s.unwrap_or(USUAL_WINDOW_SECS);
    if !(1.0..=f64::from(METERS_WINDOW_MAX_SECS)).contains(&secs) {
        return Err(fault::bad_argument(
            "window_s",
            format!("{secs} is outside 1 to {METERS_WINDOW_MAX_SECS}"),
            "Read for less, and call again.",
        ));
    }
    Ok(Duration::from_secs_f64(secs))
}

fn is_live(core: &Core) -> Result<(), ToolFault> {
    resolve::anything_known(core)?;
    if core.link.state() == LinkState::Live {
        return Ok(());
    }
    let meaning = get_link_status::meaning(&core.link.status(), Instant::now());
    Err(ToolFault::new(
        FaultCode::LinkDown,
        format!("Meters can only be read on a live link. {meaning}"),
        "Look at qsys_get_link_status and try again when the link is live.",
    ))
}

/// Follows the meters for the whole window. True when not everything that was reported could be taken in.
async fn measure(
    core: &Core,
    gauges: &mut [Gauge],
    window: Duration,
    call: &ToolCall,
) -> Result<bool, ToolFault> {
    // Subscribed before the first look, so that nothing can slip in between.
    let mut notices = core.mirror.subscribe();
    let begin = Instant::now();
    let end = begin + window;
    for gauge in gauges.iter_mut() {
        gauge.begin(core, begin);
    }
    let mut tick = begin + PROGRESS;
    let mut lagged = false;
    loop {
        tokio::select! {
            biased;
            () = call.cancel.cancelled() => return Err(fault::cancelled()),
            () = sleep_until(tick.min(end)) => {
                if tick >= end {
                    look(core, gauges, end);
                    return Ok(lagged);
                }
                let secs = tick.saturating_duration_since(begin).as_secs_f64();
                let words = format!("reading {}", count(gauges.len(), "meter"));
                call.voice.progress(secs, Some(window.as_secs_f64()), &words);
                tick += PROGRESS;
            }
            heard = hear(&mut notices, gauges) => {
                lagged |= heard?;
                let now = Instant::now().min(end);
                look(core, gauges, now);
            }
        }
    }
}

fn look(core: &Core, gauges: &mut [Gauge], now: Instant) {
    for gauge in gauges {
        gauge.look(core, now);
    }
}

/// Waits for a notice that concerns these meters. True when some were missed.
async fn hear(notices: &mut Receiver<Notice>, gauges: &[Gauge]) -> Result<bool, ToolFault> {
    loop {
        match notices.recv().await {
            Ok(Notice::Changed(ids)) if !gauges.iter().any(|gauge| gauge.is_among(&ids)) => {}
            Ok(_) => return Ok(false),
            Err(RecvError::Lagged(_)) => return Ok(true),
            Err(RecvError::Closed) => return Err(fault::cancelled()),
        }
    }
}

fn finish(core: &Core, gauges: &[Gauge], window: Duration, pace: Pace, lagged: bool) -> Outcome {
    let meters: Vec<_> = gauges.iter().map(row).collect();
    let head = core.head();
    let words = format!(
        "{}: {} read for {} s.",
        head.words(),
        count(meters.len(), "meter"),
        window.as_secs_f64()
    );
    let lines: Vec<_> = meters.iter().map(|row| line(row, window)).collect();
    let total = meters.len();
    let structured = answer::whole(&Answer {
        head,
        window_ms: millis(window),
        pace,
        lagged,
        meters,
    })?;
    Ok(answer::listing(structured, &words, lines, total, |_| {
        "in the structured answer.".to_owned()
    }))
}

fn row(gauge: &Gauge) -> Row {
    let name = gauge.name();
    Row {
        component: name
            .component
            .as_ref()
            .map(|name| shown_text(name.as_str())),
        control: shown_text(name.control.as_str()),
        statistics: gauge.statistics(),
        samples: gauge.samples(),
        measured_ms: millis(gauge.measured()),
        last: gauge.last().map(Shown::cached),
    }
}

/// Less of the window than this without a live value is not told in the text.
const GAP_TOLD: Duration = Duration::from_millis(100);

fn line(row: &Row, window: Duration) -> String {
    let name = path(row.component.as_deref(), &row.control);
    let last = row
        .last
        .as_ref()
        .map_or_else(|| "gone".to_owned(), Shown::told);
    let Some(statistics) = &row.statistics else {
        return format!("{name}: nothing live was seen; last {last}");
    };
    let measured = Duration::from_millis(row.measured_ms);
    let gap = if measured + GAP_TOLD < window {
        format!("; live for {:.1} s of it only", measured.as_secs_f64())
    } else {
        String::new()
    };
    format!("{name}: {}{gap}; last {last}", statistics.words())
}
