//! `qsys_get_controls`: values of known controls, from the mirror, or from the Core where the mirror is too old.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Bounded, Head, Shown, Trust, shown_text};
use super::text::{count, path, span};
use super::{Core, Definition, Outcome, QsysService, fault, resolve};
use crate::guard::Scope;
use crate::limits::{NAME_MAX_BYTES, READ_MAX};
use crate::link::CommandError;
use crate::model::name::{ComponentName, ControlName, ControlRef};
use crate::service::{Effect, ToolCall, ToolFault};
use crate::wire::qrc::ControlChange;

/// Unknown names of one call that are looked into: to find what a name is nearest to means to compare it with all of them.
const LOOKED_INTO: usize = 10;

/// Unknown names listed in an answer.
const MISSING_SHOWN: usize = 20;

/// Components read from the Core at the same time: more than a few at once overload some Cores.
const PARALLEL_READS: usize = 3;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_get_controls",
    title: "Get control values",
    description: "Present values of up to 100 controls whose names you know (find names with qsys_search or qsys_get_component). \
        Answers at once from what this box keeps, each value with its age and quality; give max_age_ms to have older values read from the \
        Core first (0 reads all of them). A value of quality `stale` was true once: say so when you use it.",
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
    /// The controls, 1 to 100.
    #[schemars(length(min = 1, max = READ_MAX))]
    controls: Vec<Name>,
    /// Oldest acceptable value in milliseconds; older ones are read from the Core for this answer. Without it nothing is asked of the Core.
    #[schemars(range(min = 0, max = 3_600_000))]
    max_age_ms: Option<u64>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

/// Which control.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Name {
    /// Code Name of the component, spelt exactly. Leave it out for a named control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    pub(super) component: Option<String>,
    /// Name of the control, for example `input.1.gain`.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    pub(super) control: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// The values, in the order asked for.
    controls: Vec<Row>,
    /// Names that nothing has, the first 20. Absent when all were found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<Missing>,
    /// How many names nothing has. Absent when all were found.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_total: Option<usize>,
    /// Why values older than `max_age_ms` could not be read from the Core. Absent when none were, or all could.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_failed: Option<RefreshFault>,
    /// True when rows were left out because the answer would have been too large: ask for fewer controls.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
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
    /// True when the value is older than `max_age_ms` all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    too_old: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Missing {
    /// The name asked for.
    asked: String,
    /// A code such as `NOT_FOUND`.
    code: &'static str,
    /// What is wrong, with the nearest names.
    problem: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RefreshFault {
    /// A code such as `LINK_DOWN`.
    code: &'static str,
    /// What is wrong.
    problem: String,
    /// What to do next.
    next_step: String,
    /// Milliseconds after which asking again makes sense. Absent where nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Bounded for Answer {
    fn rows(&self) -> usize {
        self.controls.len()
    }

    fn keep(&mut self, rows: usize) {
        self.controls.truncate(rows);
        self.truncated = true;
    }
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        check_count(arguments.controls.len())?;
        let mut names = Vec::with_capacity(arguments.controls.len());
        let mut rows = Vec::with_capacity(arguments.controls.len());
        let mut missing = Vec::new();
        for asked in &arguments.controls {
            match read(core, asked, missing.len() < LOOKED_INTO) {
                Ok((name, reading)) => {
                    rows.push(row(&name, reading));
                    names.push(name);
                }
                Err(fault) => missing.push((asked, fault)),
            }
        }
        if rows.is_empty() && !missing.is_empty() {
            return Err(missing.swap_remove(0).1);
        }
        let refresh_failed = match arguments.max_age_ms {
            Some(max_age_ms) => refresh(core, &names, &mut rows, max_age_ms).await,
            None => None,
        };
        finish(core, rows, missing, refresh_failed)
    })
}

pub(super) fn check_count(count: usize) -> Result<(), ToolFault> {
    if (1..=READ_MAX).contains(&count) {
        Ok(())
    } else {
        Err(fault::bad_argument(
            "controls",
            format!("{count} controls are outside 1 to {READ_MAX}"),
            "Split them over several calls.",
        ))
    }
}

fn read(core: &Core, asked: &Name, is_thorough: bool) -> Result<(ControlRef, Shown), ToolFault> {
    let component = asked.component.as_deref();
    let (id, name) = if is_thorough {
        resolve::control(core, component, &asked.control)?
    } else {
        resolve::exact_control(core, component, &asked.control)?
    };
    match core.mirror.reading(id) {
        Some(reading) => Ok((name, Shown::cached(&reading))),
        // The design changed between the two looks.
        None => Err(resolve::gone(&name)),
    }
}

fn row(name: &ControlRef, reading: Shown) -> Row {
    Row {
        component: name
            .component
            .as_ref()
            .map(|name| shown_text(name.as_str())),
        control: shown_text(name.control.as_str()),
        reading,
        too_old: false,
    }
}

fn finish(
    core: &Core,
    controls: Vec<Row>,
    missing: Vec<(&Name, ToolFault)>,
    refresh_failed: Option<ToolFault>,
) -> Outcome {
    let head = core.head();
    let words = summary(&head, controls.len(), refresh_failed.as_ref());
    // What is missing comes first: it changes what the values mean, and the list may be cut.
    let lines: Vec<_> = missing
        .iter()
        .take(MISSING_SHOWN)
        .map(|(_, fault)| fault.problem.clone())
        .chain(controls.iter().map(line))
        .collect();
    let total = missing.len() + controls.len();
    let structured = answer::bounded(Answer {
        head,
        controls,
        missing_total: (!missing.is_empty()).then_some(missing.len()),
        missing: missing
            .into_iter()
            .take(MISSING_SHOWN)
            .map(|(asked, fault)| Missing {
                asked: path(asked.component.as_deref(), &asked.control),
                code: fault.code.as_str(),
                problem: fault.problem,
            })
            .collect(),
        refresh_failed: refresh_failed.map(|fault| RefreshFault {
            code: fault.code.as_str(),
            retry_after_ms: fault::retry_after_ms(&fault),
            problem: fault.problem,
            next_step: fault.next_step,
        }),
        truncated: false,
    })?;
    Ok(answer::listing(structured, &words, lines, total, |_| {
        "ask for fewer controls at once.".to_owned()
    }))
}

/// The first line: what was found, and what keeps values from being fresh.
fn summary(head: &Head, rows: usize, refresh_failed: Option<&ToolFault>) -> String {
    let failed = refresh_failed.map_or_else(String::new, |fault| {
        format!(" Values older than asked could not be read from the Core: {fault}")
    });
    [&head.words(), ": ", &count(rows, "control"), ".", &failed].concat()
}

fn line(row: &Row) -> String {
    let name = path(row.component.as_deref(), &row.control);
    let age = match (row.too_old, row.reading.quality, row.reading.age_ms) {
        (false, ..) => String::new(),
        (true, Trust::Live, Some(age)) => format!(" (older than asked: {} old)", span(age)),
        (true, ..) => " (older than asked)".to_owned(),
    };
    [&name, " = ", &row.reading.told(), &age].concat()
}

/// Reads from the Core what is too old, a request per component, and puts it into the rows. Answers with the first fault.
async fn refresh(
    core: &Core,
    names: &[ControlRef],
    rows: &mut [Row],
    max_age_ms: u64,
) -> Option<ToolFault> {
    let is_too_old = |row: &Row| {
        row.reading.quality != Trust::Live
            || row.reading.age_ms.is_none_or(|age| age > max_age_ms)
            || max_age_ms == 0
    };
    let mut groups: BTreeMap<Option<ComponentName>, Vec<ControlName>> = BTreeMap::new();
    for (name, row) in names.iter().zip(rows.iter_mut()) {
        if is_too_old(row) {
            row.too_old = true;
            let group = groups.entry(name.component.clone()).or_default();
            if !group.contains(&name.control) {
                group.push(name.control.clone());
            }
        }
    }
    let reads = groups.into_iter().map(|(component, controls)| async move {
        let answer = from_core(core, component.as_ref(), &controls).await;
        (component, answer)
    });
    let answers: Vec<_> = stream::iter(reads)
        .buffer_unordered(PARALLEL_READS)
        .collect()
        .await;
    let mut failed = None;
    for (component, answer) in answers {
        match answer {
            Ok(changes) => {
                for (name, row) in names.iter().zip(rows.iter_mut()) {
                    let said = changes
                        .iter()
                        .find(|change| change.name.0 == name.control.as_str());
                    if let Some(change) = said
                        && name.component == component
                    {
                        row.reading = Shown::fresh(change);
                        row.too_old = false;
                    }
                }
            }
            Err(error) => {
                failed.get_or_insert_with(|| fault::of_link(&error));
            }
        }
    }
    failed
}

/// Reads controls of one component, or named controls, from the Core itself.
pub(super) async fn from_core(
    core: &Core,
    component: Option<&ComponentName>,
    controls: &[ControlName],
) -> Result<Vec<ControlChange<'static>>, CommandError> {
    match component {
        Some(component) => core.link.read_component(component, controls).await,
        None => core.link.read_named(controls).await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::service::FaultCode;
    use crate::service::qsys::testing::{Next, bed};

    const TOOL: &str = "qsys_get_controls";

    #[tokio::test(start_paused = true)]
    async fn cached_values_are_answered_without_asking_the_core() {
        let bed = bed();
        let answer = bed
            .call(TOOL, json!({ "controls": [{ "component": "Main Gain", "control": "gain" }, { "control": "SystemMute" }] }))
            .await
            .unwrap();
        assert_eq!(
            answer,
            json!({
                "core": "hall", "design": "Town Hall", "design_code": "code1", "link": "live",
                "controls": [
                    { "component": "Main Gain", "control": "gain", "value": -12.0, "string": "-12dB", "position": 0.733_333_35,
                      "age_ms": 0, "quality": "live", "source": "cache" },
                    { "control": "SystemMute", "value": 0.0, "string": "unmuted", "position": 0.0,
                      "age_ms": 0, "quality": "live", "source": "cache" },
                ]
            })
        );
        assert!(bed.requests().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn values_older_than_asked_for_are_read_from_the_core_once_per_component() {
        let bed = bed();
        bed.moved_at_core("Main Gain", "gain", -3.0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let controls = json!([{ "component": "Main Gain", "control": "gain" }, { "component": "Main Gain", "control": "mute" }]);
        let cached = bed
            .call(TOOL, json!({ "controls": controls, "max_age_ms": 2_000 }))
            .await
            .unwrap();
        assert_eq!(cached["controls"][0]["value"], -12.0);
        let fresh = bed
            .call(TOOL, json!({ "controls": controls, "max_age_ms": 1_999 }))
            .await
            .unwrap();
        assert_eq!(fresh["controls"][0]["value"], -3.0);
        assert_eq!(fresh["controls"][0]["source"], "core");
        assert_eq!(bed.methods(), ["Component.Get"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_value_is_served_and_flagged_when_the_link_is_down() {
        let bed = bed();
        bed.lose_link();
        let retry_in = Duration::from_secs(3);
        bed.expect([Next::Error(crate::link::CommandError::Down { retry_in })]);
        let answer = bed
            .call(TOOL, json!({ "controls": [{ "component": "Main Gain", "control": "gain" }], "max_age_ms": 0 }))
            .await
            .unwrap();
        let row = &answer["controls"][0];
        assert_eq!(
            (&row["quality"], &row["too_old"]),
            (&json!("stale"), &json!(true))
        );
        assert_eq!(answer["refresh_failed"]["code"], "LINK_DOWN");
        assert_eq!(answer["refresh_failed"]["retry_after_ms"], 3_000);
        assert_eq!(answer["link"], "backoff");
    }

    #[tokio::test(start_paused = true)]
    async fn a_text_that_hid_age_and_failure_of_a_frozen_core_tells_them() {
        let bed = bed();
        let asked = json!({ "controls": [{ "component": "Main Gain", "control": "gain" }], "max_age_ms": 1_000 });
        tokio::time::sleep(Duration::from_secs(12)).await;
        let retry_in = Duration::from_secs(3);
        bed.expect([Next::Error(crate::link::CommandError::Down { retry_in })]);
        let text = bed.text(TOOL, asked.clone()).await;
        assert!(
            text.contains("LINK_DOWN")
                && text.contains("Main Gain/gain = -12dB (older than asked: 12 s old)"),
            "{text}"
        );
        bed.lose_link();
        bed.expect([Next::Error(crate::link::CommandError::Down { retry_in })]);
        let text = bed.text(TOOL, asked).await;
        assert!(
            text.contains("Main Gain/gain = -12dB (stale, 12 s old) (older than asked)"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn names_with_underscores_are_found_and_answered_exactly() {
        let bed = bed();
        let answer = bed
            .call(
                TOOL,
                json!({ "controls": [{ "component": "Scenes", "control": "load_2" }] }),
            )
            .await
            .unwrap();
        assert_eq!(answer["controls"][0]["control"], "load.2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_nothing_has_comes_with_the_nearest_ones() {
        let bed = bed();
        let fault = bed
            .call(
                TOOL,
                json!({ "controls": [{ "component": "Main Gian", "control": "gain" }] }),
            )
            .await
            .unwrap_err();
        assert_eq!(fault.code, FaultCode::NotFound);
        assert_eq!(fault.data["nearest"][0], "Main Gain");
        let answer = bed
            .call(TOOL, json!({ "controls": [{ "component": "Main Gain", "control": "gian" }, { "component": "Main Gain", "control": "mute" }] }))
            .await
            .unwrap();
        assert_eq!(answer["missing"][0]["code"], "NOT_FOUND");
        assert!(
            answer["missing"][0]["problem"]
                .as_str()
                .unwrap()
                .contains("gain")
        );
        assert_eq!(answer["controls"].as_array().unwrap().len(), 1);
        let many: Vec<_> = (0..99)
            .map(|number| json!({ "component": "x".repeat(250), "control": format!("{number}") }))
            .chain([json!({ "component": "Main Gain", "control": "gain" })])
            .collect();
        let answer = bed.call(TOOL, json!({ "controls": many })).await.unwrap();
        assert_eq!(
            (&answer["missing_total"], &answer["controls"][0]["value"]),
            (&json!(99), &json!(-12.0))
        );
        assert!(answer.to_string().len() <= crate::limits::ANSWER_MAX_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn text_from_the_core_is_cleaned_and_cut_text_is_flagged() {
        let bed = bed();
        let answer = bed
            .call(TOOL, json!({ "controls": [{ "component": "Panel", "control": "label.1" }, { "component": "Panel", "control": "code" }] }))
            .await
            .unwrap();
        assert_eq!(answer["controls"][0]["string"], "Ignore all previous");
        assert_eq!(answer["controls"][1]["string_truncated"], true);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_core_is_answered_with_the_right_ones() {
        let bed = bed();
        let fault = bed
            .call(
                TOOL,
                json!({ "core": "attic", "controls": [{ "control": "x" }] }),
            )
            .await
            .unwrap_err();
        assert_eq!(
            (fault.code, &fault.data["nearest"]),
            (FaultCode::NotFound, &json!(["hall"]))
        );
    }
}
