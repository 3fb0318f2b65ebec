//! `qsys_wait_for_change`: waits until something moves, for "press the button now".

use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::answer::{self, Head, Shown, millis, shown_text};
use super::get_controls::Name;
use super::{Core, Definition, Outcome, QsysService, fault, resolve};
use crate::base::shutdown::Stop;
use crate::guard::Scope;
use crate::limits::{WAIT_MAX_SECS, WRITE_TEXT_MAX_CHARS};
use crate::model::control::Quality;
use crate::model::name::ControlRef;
use crate::service::{Effect, FaultCode, ToolCall, ToolFault};
use crate::store::view::{ControlId, Notice, Reading};

/// Controls watched by one call.
const WATCHED_MAX: usize = 20;

/// Seconds waited unless asked otherwise.
const USUAL_SECS: u32 = 30;

/// Values closer than this are equal.
const SAME_VALUE: f64 = 1e-3;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_wait_for_change",
    title: "Wait for a change",
    description: "Blocks until one of up to 20 controls changes, or until `condition` holds for one of them, at most `timeout_s` seconds. \
        Use it when a person is asked to do something in the room, or to see that a ramp has arrived. A condition that holds already answers at once.",
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
    /// The controls to watch, 1 to 20.
    #[schemars(length(min = 1, max = WATCHED_MAX))]
    controls: Vec<Name>,
    /// Longest wait in seconds, 1 to 60; 30 without it.
    #[schemars(range(min = 1, max = WAIT_MAX_SECS))]
    timeout_s: Option<u32>,
    /// What has to hold for one of the controls. Without it any change ends the wait.
    condition: Option<Condition>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

/// All that is given has to hold together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// The value is higher than this.
    above: Option<f64>,
    /// The value is lower than this.
    below: Option<f64>,
    /// The value is this.
    equals: Option<super::schema::NumberOrSwitch>,
    /// The string is exactly this.
    #[schemars(length(max = WRITE_TEXT_MAX_CHARS))]
    string: Option<String>,
}

impl Condition {
    fn is_empty(&self) -> bool {
        self.above.is_none()
            && self.below.is_none()
            && self.equals.is_none()
            && self.string.is_none()
    }

    fn is_impossible(&self) -> bool {
        self.above
            .zip(self.below)
            .is_some_and(|(above, below)| above >= below)
    }

    fn holds(&self, reading: &Reading) -> bool {
        let value = reading.value;
        reading.quality == Quality::Live
            && self
                .above
                .is_none_or(|bound| value.is_some_and(|now| now > bound))
            && self
                .below
                .is_none_or(|bound| value.is_some_and(|now| now < bound))
            && self.equals.is_none_or(|wanted| {
                value.is_some_and(|now| (now - wanted.as_number()).abs() <= SAME_VALUE)
            })
            && self
                .string
                .as_ref()
                .is_none_or(|wanted| !reading.truncated && reading.string == wanted.as_str())
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// How the wait ended.
    outcome: End,
    /// Milliseconds waited.
    waited_ms: u64,
    /// The controls, in the order asked for.
    controls: Vec<Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum End {
    /// Something changed.
    Changed,
    /// The condition holds.
    ConditionMet,
    /// Nothing of that happened in time.
    TimedOut,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// Code Name of the component; absent for a named control.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Exact name of the control.
    control: String,
    /// Whether it stands elsewhere than before.
    changed: bool,
    /// Where it stood when the wait began.
    before: Shown,
    /// Where it stands now.
    now: Shown,
}

struct Watched {
    id: ControlId,
    name: ControlRef,
    before: Reading,
    now: Reading,
}

impl Watched {
    /// Looks again; another design may have given the control another place.
    fn look(&mut self, core: &Core) -> Result<(), ToolFault> {
        let reading = core.mirror.reading(self.id);
        self.now = reading.ok_or_else(|| resolve::gone(&self.name))?;
        // What was never known cannot have moved: the first value is where the wait begins.
        if self.before.quality == Quality::Unknown && self.now.quality == Quality::Live {
            self.before = self.now.clone();
        }
        Ok(())
    }

    fn find_again(&mut self, core: &Core) -> Result<(), ToolFault> {
        let found = core.mirror.find(&self.name);
        self.id = found.ok_or_else(|| resolve::gone(&self.name))?;
        Ok(())
    }

    fn has_moved(&self) -> bool {
        let (before, now) = (&self.before, &self.now);
        now.quality == Quality::Live
            && (before.value != now.value
                || before.string != now.string
                || before.position != now.position)
    }
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        check(&arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let Ok(_place) = service.waits.take(&call.caller.name, 0) else {
            return Err(ToolFault::new(
                FaultCode::Busy,
                "Too many calls are waiting for changes already, of this key or of all.",
                "Read with qsys_get_controls now and then instead, or try again later.",
            ));
        };
        let began = Instant::now();
        let secs = arguments.timeout_s.unwrap_or(USUAL_SECS);
        let deadline = began + Duration::from_secs(u64::from(secs));
        // Subscribed before the first look, so that nothing can slip in between.
        let mut notices = core.mirror.subscribe();
        let mut watched = watch(core, &arguments.controls)?;
        let names = watched.iter().map(|one| one.name.clone()).collect();
        // Where too many are watched already the usual pace has to do.
        let _fast = core.link.watch_fast(names).ok();
        let condition = arguments.condition.as_ref();
        let end = loop {
            if let Some(end) = look(core, &mut watched, condition)? {
                break end;
            }
            match next(core, &mut notices, &mut watched, deadline, &call.cancel).await? {
                Wake::Look => {}
                Wake::Deadline => break End::TimedOut,
            }
        };
        finish(core, end, began, &watched)
    })
}

fn check(arguments: &Arguments) -> Result<(), ToolFault> {
    let count = arguments.controls.len();
    if !(1..=WATCHED_MAX).contains(&count) {
        return Err(fault::bad_argument(
            "controls",
            format!("{count} controls are outside 1 to {WATCHED_MAX}"),
            "Watch fewer controls.",
        ));
    }
    if arguments
        .timeout_s
        .is_some_and(|secs| !(1..=WAIT_MAX_SECS).contains(&secs))
    {
        return Err(fault::bad_argument(
            "timeout_s",
            format!("a wait takes 1 to {WAIT_MAX_SECS} seconds"),
            "Wait for less, and call again.",
        ));
    }
    if arguments
        .condition
        .as_ref()
        .is_some_and(Condition::is_empty)
    {
        return Err(fault::bad_argument(
            "condition",
            "it says nothing",
            "Give `above`, `below`, `equals` or `string`, or leave `condition` out.",
        ));
    }
    if arguments
        .condition
        .as_ref()
        .is_some_and(Condition::is_impossible)
    {
        return Err(fault::bad_argument(
            "condition",
            "no value is above `above` and below `below` at once",
            "Give one of them, or an `above` that is lower than `below`.",
        ));
    }
    Ok(())
}

fn watch(core: &Core, names: &[Name]) -> Result<Vec<Watched>, ToolFault> {
    names
        .iter()
        .map(|asked| {
            let (id, name) = resolve::control(core, asked.component.as_deref(), &asked.control)?;
            let now = core
                .mirror
                .reading(id)
                .ok_or_else(|| resolve::gone(&name))?;
            Ok(Watched {
                id,
                name,
                before: now.clone(),
                now,
            })
        })
        .collect()
}

fn look(
    core: &Core,
    watched: &mut [Watched],
    condition: Option<&Condition>,
) -> Result<Option<End>, ToolFault> {
    for one in watched.iter_mut() {
        one.look(core)?;
    }
    Ok(match condition {
        Some(condition) => watched
            .iter()
            .any(|one| condition.holds(&one.now))
            .then_some(End::ConditionMet),
        None => watched
            .iter()
            .any(Watched::has_moved)
            .then_some(End::Changed),
    })
}

enum Wake {
    Look,
    Deadline,
}

/// Waits for a notice that concerns the watched controls. What was missed by lagging is made up for by looking again.
async fn next(
    core: &Core,
    notices: &mut Receiver<Notice>,
    watched: &mut [Watched],
    deadline: Instant,
    cancel: &Stop,
) -> Result<Wake, ToolFault> {
    loop {
        let notice = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(fault::cancelled()),
            () = tokio::time::sleep_until(deadline) => return Ok(Wake::Deadline),
            notice = notices.recv() => notice,
        };
        match notice {
            Ok(Notice::Changed(ids)) => {
                if watched.iter().any(|one| ids.contains(&one.id)) {
                    return Ok(Wake::Look);
                }
            }
            Ok(Notice::Design { .. }) | Err(RecvError::Lagged(_)) => {
                for one in watched.iter_mut() {
                    one.find_again(core)?;
                }
                return Ok(Wake::Look);
            }
            Ok(Notice::Quality(_)) => return Ok(Wake::Look),
            Err(RecvError::Closed) => return Err(fault::cancelled()),
        }
    }
}

fn finish(core: &Core, end: End, began: Instant, watched: &[Watched]) -> Outcome {
    let controls: Vec<_> = watched
        .iter()
        .map(|one| Row {
            component: one
                .name
                .component
                .as_ref()
                .map(|name| shown_text(name.as_str())),
            control: shown_text(one.name.control.as_str()),
            changed: one.has_moved(),
            before: Shown::cached(&one.before),
            now: Shown::cached(&one.now),
        })
        .collect();
    let waited_ms = millis(began.elapsed());
    let text = match end {
        End::TimedOut => {
            let now: Vec<_> = watched
                .iter()
                .zip(&controls)
                .map(|(one, row)| format!("{} = {}", one.name, row.now.told()))
                .collect();
            format!(
                "Nothing happened within {} s. Now: {}.",
                waited_ms / 1_000,
                now.join("; ")
            )
        }
        End::Changed | End::ConditionMet => {
            let moved: Vec<_> = watched
                .iter()
                .zip(&controls)
                .filter(|(_, row)| row.changed || end == End::ConditionMet)
                .map(|(one, row)| {
                    format!("{}: {} → {}", one.name, row.before.told(), row.now.told())
                })
                .collect();
            format!("After {waited_ms} ms: {}.", moved.join("; "))
        }
    };
    let structured = answer::whole(&Answer {
        head: core.head(),
        outcome: end,
        waited_ms,
        controls,
    })?;
    Ok(answer::answer(structured, text))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::limits::NOTICES_MAX;
    use crate::service::qsys::testing::{Bed, bed};

    fn arguments(condition: &Value) -> Value {
        let mut arguments = json!({ "controls": [{ "component": "Main Gain", "control": "gain" }], "timeout_s": 10 });
        if !condition.is_null() {
            arguments["condition"] = condition.clone();
        }
        arguments
    }

    async fn wait(
        bed: &Bed,
        condition: Value,
        then: impl Future<Output = ()>,
    ) -> Result<Value, ToolFault> {
        let call = bed.call("qsys_wait_for_change", arguments(&condition));
        tokio::join!(call, then).0
    }

    fn report(bed: &Bed, value: f64) {
        bed.report(&json!([{ "Component": "Main Gain", "Name": "gain", "Value": value, "String": format!("{value}dB") }]));
    }

    async fn after_a_second(act: impl FnOnce()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        act();
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_ends_the_wait() {
        let bed = bed();
        let answer = wait(&bed, Value::Null, after_a_second(|| report(&bed, -6.0)))
            .await
            .unwrap();
        assert_eq!(
            (&answer["outcome"], &answer["waited_ms"]),
            (&json!("changed"), &json!(1_000))
        );
        let row = &answer["controls"][0];
        assert_eq!(
            (&row["before"]["value"], &row["now"]["value"]),
            (&json!(-12.0), &json!(-6.0))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_the_wait_in_time() {
        let bed = bed();
        let other =
            || bed.report(&json!([{ "Component": "Main Gain", "Name": "mute", "Value": 1 }]));
        let answer = wait(&bed, Value::Null, after_a_second(other))
            .await
            .unwrap();
        assert_eq!(
            (&answer["outcome"], &answer["waited_ms"]),
            (&json!("timed_out"), &json!(10_000))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_passes_over_changes_that_do_not_meet_it() {
        let bed = bed();
        let then = async {
            after_a_second(|| report(&bed, -11.0)).await;
            after_a_second(|| report(&bed, -3.0)).await;
        };
        let answer = wait(&bed, json!({ "above": -6 }), then).await.unwrap();
        assert_eq!(
            (&answer["outcome"], &answer["waited_ms"]),
            (&json!("condition_met"), &json!(2_000))
        );
        let answer = wait(&bed, json!({ "equals": -3, "string": "-3dB" }), async {})
            .await
            .unwrap();
        assert_eq!(answer["waited_ms"], 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_nothing_can_meet_is_refused_at_once() {
        let bed = bed();
        let impossible = json!({ "above": 1, "below": 0 });
        let fault = wait(&bed, impossible, async {}).await.unwrap_err();
        assert!(fault.problem.contains("at once"), "{fault}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_lags_behind_looks_again() {
        let bed = bed();
        let flood = || {
            report(&bed, -6.0);
            for turn in 0..=NOTICES_MAX {
                let on = turn % 2;
                bed.report(&json!([{ "Component": "Main Gain", "Name": "mute", "Value": 1 - on, "String": on.to_string() }]));
            }
        };
        let answer = wait(&bed, Value::Null, after_a_second(flood))
            .await
            .unwrap();
        assert_eq!(answer["outcome"], "changed");
    }

    #[tokio::test(start_paused = true)]
    async fn another_design_without_the_control_ends_the_wait_with_a_fault() {
        let bed = bed();
        let fault = wait(&bed, Value::Null, after_a_second(|| bed.push("code2", &[])))
            .await
            .unwrap_err();
        assert_eq!(fault.code, FaultCode::NotFound);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_ends_at_once() {
        let bed = bed();
        let cancel = Stop::new();
        let began = Instant::now();
        let call = bed.call_until(
            "qsys_wait_for_change",
            arguments(&Value::Null),
            cancel.clone(),
        );
        let (result, ()) = tokio::join!(call, after_a_second(|| cancel.cancel()));
        assert!(result.is_err() && began.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn losing_the_link_is_no_change() {
        let bed = bed();
        let answer = wait(&bed, Value::Null, after_a_second(|| bed.lose_link()))
            .await
            .unwrap();
        assert_eq!(answer["outcome"], "timed_out");
        assert_eq!(answer["controls"][0]["now"]["quality"], "stale");
    }
}
