//! `qsys_explain_visibility`: why something cannot be seen, and what a person can do about it in Q-SYS Designer or Core Manager.

#[cfg(test)]
mod tests;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::{self, Head, shown_text};
use super::text::count;
use super::{Core, Definition, Outcome, QsysService, fault, get_link_status, resolve};
use crate::guard::Scope;
use crate::limits::{COMPONENTS_MAX, CONTROLS_MAX, NAME_MAX_BYTES};
use crate::link::{LinkState, LinkStatus};
use crate::service::{Effect, ToolCall, ToolFault};
use crate::store::view::MirrorStatus;
use crate::wire::qrc::EngineState;

/// Names offered for one that nothing has.
const NEAREST: usize = 3;

pub(super) const DEFINITION: Definition = Definition {
    name: "qsys_explain_visibility",
    title: "Explain visibility",
    description: "Why a component or control cannot be seen here, most likely reason first, each with steps for the person at Q-SYS Designer \
        or Core Manager: Script Access, Code Name, the WebSocket service, access control, design not running, standby, spelling, a changed \
        design, bounds of this box. Without arguments: what keeps this box from seeing the system as a whole.",
    input: super::schema::input::<Arguments>,
    output: super::schema::output::<Answer>,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Diagnose,
    call,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Code Name of the component that is missed.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    component: Option<String>,
    /// Name of the control that is missed; without `component` a named control.
    #[schemars(length(min = 1, max = NAME_MAX_BYTES))]
    control: Option<String>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Answer {
    #[serde(flatten)]
    head: Head,
    /// Whether what was asked about can be seen. Absent when nothing was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    visible: Option<bool>,
    /// Reasons, the surest first.
    reasons: Vec<Reason>,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Reason {
    /// A stable word for it.
    code: &'static str,
    /// How sure this box is.
    certainty: Certainty,
    /// The reason in a sentence.
    explanation: String,
    /// What a person can do, in order.
    steps: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Certainty {
    /// It is so.
    Certain,
    /// It usually is so.
    Likely,
    /// It may be so.
    Possible,
}

use Certainty::{Certain, Likely, Possible};

fn reason(
    code: &'static str,
    certainty: Certainty,
    explanation: impl Into<String>,
    steps: &[&str],
) -> Reason {
    Reason {
        code,
        certainty,
        explanation: explanation.into(),
        steps: steps.iter().map(ToString::to_string).collect(),
    }
}

fn call(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Arguments = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let link = core.link.status();
        let known = core.mirror.status();
        let mut reasons = Vec::new();
        let visible = match (&arguments.component, &arguments.control) {
            (None, None) => None,
            (component, control) => Some(subject(
                core,
                component.as_deref(),
                control.as_deref(),
                &link,
                &mut reasons,
            )?),
        };
        // What is visible may still be what was known before the link was lost.
        if visible != Some(true) || link.state != LinkState::Live {
            system(&link, &known, &mut reasons);
            if visible == Some(false) && known.refused > 0 {
                reasons.push(full(&known));
            }
        }
        reasons.sort_by_key(|reason| reason.certainty);
        if reasons.is_empty() {
            reasons.push(healthy(&known));
        }
        let (words, lines) = (words(core, visible), reasons.iter().map(line));
        let (total, lines) = (reasons.len(), lines.collect::<Vec<_>>());
        let structured = answer::whole(&Answer {
            head: core.head(),
            visible,
            reasons,
        })?;
        Ok(answer::listing(structured, &words, lines, total, |_| {
            "in the structured answer.".to_owned()
        }))
    })
}

fn words(core: &Core, visible: Option<bool>) -> String {
    let visible = match visible {
        Some(true) => "It is visible.",
        Some(false) => "It is not visible.",
        None => "Of the system as a whole:",
    };
    format!("{}: {visible}", core.head().words())
}

fn line(reason: &Reason) -> String {
    let certainty = match reason.certainty {
        Certain => "certain",
        Likely => "likely",
        Possible => "possible",
    };
    let steps = reason.steps.join(" ");
    format!(
        "{} ({certainty}): {} {steps}",
        reason.code, reason.explanation
    )
    .trim_end()
    .to_owned()
}

/// Looks for what was asked about. True when it can be seen.
fn subject(
    core: &Core,
    component: Option<&str>,
    control: Option<&str>,
    link: &LinkStatus,
    reasons: &mut Vec<Reason>,
) -> Result<bool, ToolFault> {
    let Some(component) = component else {
        return Ok(named_control(core, control.unwrap_or_default(), reasons));
    };
    // Its name is known, and nothing of what is in it.
    if let Some(reason) = left_out(component, link) {
        reasons.push(reason);
        return Ok(false);
    }
    let Some(view) = resolve::find_component(core, component)? else {
        missing_component(core, component, reasons);
        return Ok(false);
    };
    let Some(control) = control else {
        reasons.push(reason(
            "VISIBLE",
            Certain,
            format!(
                "`{}` is visible: a {} with {}.",
                view.name,
                shown_text(&view.kind),
                count(view.controls, "control")
            ),
            &[],
        ));
        return Ok(true);
    };
    match resolve::control(core, Some(&view.name), control) {
        Ok((_, name)) => {
            reasons.push(reason(
                "VISIBLE",
                Certain,
                format!("`{name}` is visible."),
                &[],
            ));
            Ok(true)
        }
        Err(fault) => {
            reasons.push(reason(
                "NO_SUCH_CONTROL",
                Certain,
                fault.problem,
                &[
                    "Compare with the list that qsys_get_component gives: a component shows only the controls that its settings in Designer make.",
                    "In a mixer or router the number of inputs and outputs decides which controls exist.",
                ],
            ));
            Ok(false)
        }
    }
}

fn named_control(core: &Core, control: &str, reasons: &mut Vec<Reason>) -> bool {
    match resolve::control_view(core, None, control) {
        Ok(view) if view.reading.value.is_some() || !view.reading.string.is_empty() => {
            reasons.push(reason(
                "VISIBLE",
                Certain,
                format!("The named control `{}` is visible.", view.name),
                &[],
            ));
            true
        }
        Ok(view) => {
            reasons.push(reason(
                "NAMED_CONTROL_SILENT",
                Likely,
                format!(
                    "The named control `{}` is in this box's configuration, but the Core has never reported a value for it.",
                    view.name
                ),
                &[
                    "In Q-SYS Designer open the Named Controls pane and check that a control of exactly this name is in it.",
                    "Save to Core and run the design again if it had to be added.",
                ],
            ));
            false
        }
        Err(_) if !core.reach().covers(control) => {
            reasons.push(beyond_reach(core));
            false
        }
        Err(fault) => {
            reasons.push(reason(
                "NAMED_CONTROL_NOT_CONFIGURED",
                Certain,
                fault.problem,
                &[
                    "A Core cannot list its named controls: add the name to `named-controls` of this Core in the box's configuration.",
                    "In Q-SYS Designer check that the control is in the Named Controls pane, spelt the same.",
                ],
            ));
            false
        }
    }
}

/// Why a component that the Core named has no controls here.
fn left_out(name: &str, link: &LinkStatus) -> Option<Reason> {
    if link.oversize_components.iter().any(|known| known == name) {
        return Some(reason(
            "OVERSIZE",
            Certain,
            format!(
                "`{}` exists, but its answer is larger than this box takes, so it is left out until the next design.",
                shown_text(name)
            ),
            &["In Q-SYS Designer split the component, or shorten the script in it."],
        ));
    }
    let why = link
        .unlisted_components
        .iter()
        .find_map(|row| row.strip_prefix(name)?.strip_prefix(": "))?;
    Some(reason(
        "REFUSED_BY_CORE",
        Certain,
        format!(
            "`{}` exists, but the Core refused to list it: {}.",
            shown_text(name),
            shown_text(why.trim_end_matches('.'))
        ),
        &[
            "This box asks again with the next link or design; a Core that was booting answers then.",
            "If it stays so, look at the component in Q-SYS Designer and at the Core's event log.",
        ],
    ))
}

fn missing_component(core: &Core, name: &str, reasons: &mut Vec<Reason>) {
    if !core.reach().covers(name) {
        reasons.push(beyond_reach(core));
        return;
    }
    let diff = core.mirror.last_diff();
    if diff.is_some_and(|diff| diff.components_vanished.iter().any(|gone| gone == name)) {
        reasons.push(reason(
            "GONE_WITH_NEW_DESIGN",
            Certain,
            format!("`{}` was visible in the design before the present one, and is not any more.", shown_text(name)),
            &[
                "Ask who pushed the present design: the component was removed, renamed, or its Script Access was changed.",
                "If it was renamed, use the new name.",
            ],
        ));
    }
    let nearest = core.mirror.nearest_components(name, NEAREST);
    if !nearest.is_empty() {
        reasons.push(reason(
            "MISSPELT",
            Likely,
            format!(
                "Visible components have similar names: {}.",
                nearest.join(", ")
            ),
            &["Names are compared exactly, case included: use the name as it is listed."],
        ));
    }
    reasons.push(script_access());
    reasons.push(reason(
        "NO_CODE_NAME",
        Possible,
        "The name on the schematic is a label; the outside sees the Code Name, which may be another one.",
        &[
            "Select the component in Q-SYS Designer and read `Code Name` in its properties.",
            "Give it a Code Name of its own, then save to Core and run.",
        ],
    ));
}

fn beyond_reach(core: &Core) -> Reason {
    reason(
        "BEYOND_REACH",
        Certain,
        fault::bound(core.reach()),
        &[
            "Whether the design has anything else is not told to this key.",
            "If more is needed, ask the person who looks after this box for a key with other `--components`.",
        ],
    )
}

fn script_access() -> Reason {
    reason(
        "SCRIPT_ACCESS",
        Likely,
        "A component is shown to the outside only if its Script Access is `External` or `All`; the default is `None`, and `Script` is not enough.",
        &[
            "Select the component in Q-SYS Designer and set `Script Access` in its properties to `External` or `All`.",
            "Save to Core and run the design; this box sees the new design by itself.",
        ],
    )
}

fn full(known: &MirrorStatus) -> Reason {
    reason(
        "BOX_FULL",
        Possible,
        format!(
            "Components and controls left out: {}, because this box keeps at most {COMPONENTS_MAX} components and {CONTROLS_MAX} controls, or because their names cannot be used.",
            known.refused
        ),
        &["Set Script Access to `None` for components that nobody needs from the outside."],
    )
}

fn healthy(known: &MirrorStatus) -> Reason {
    let mut reason = script_access();
    reason.code = "HEALTHY";
    reason.certainty = Certain;
    reason.explanation = format!(
        "The link is live, and this box sees {}. One that is missing is usually hidden by its Script Access, which has to be `External` or `All`.",
        count(known.components, "component")
    );
    reason
}

/// What keeps this box from seeing the system as a whole.
fn system(link: &LinkStatus, known: &MirrorStatus, reasons: &mut Vec<Reason>) {
    if link.untrusted_fingerprint.is_some() {
        reasons.push(reason(
            "CERTIFICATE_CHANGED",
            Certain,
            get_link_status::meaning(link, Instant::now()),
            &[
                "Find out why the certificate changed: a new Core, a reset, or a newly installed certificate.",
                "Compare the fingerprint with the one that Core Manager shows, then run `rackhand core trust` on the box.",
            ],
        ));
        return;
    }
    match link.state {
        LinkState::Live => {}
        LinkState::Standby => reasons.push(reason(
            "STANDBY",
            Certain,
            "The Core that this box reaches is the standby of a redundant pair, which shows nothing.",
            &["Configure both addresses of the pair in the box, and check that the active Core can be reached."],
        )),
        LinkState::Refused => reasons.push(refused(link)),
        LinkState::Enumerating | LinkState::Subscribing => reasons.push(reason(
            "STILL_LEARNING",
            Certain,
            "This box is still learning the design.",
            &["Wait some seconds and ask again."],
        )),
        LinkState::AwaitEngineStatus | LinkState::LoggingOn => reasons.push(reason(
            "CORE_STARTING",
            Likely,
            get_link_status::meaning(link, Instant::now()),
            &["Wait: a Core takes up to some minutes to boot. Core Manager shows when it runs."],
        )),
        LinkState::Connecting | LinkState::Backoff => no_link(link, reasons),
    }
    let engine = link.engine.as_ref().or(known.engine.as_deref());
    if engine.is_some_and(|engine| engine.state == EngineState::Idle) {
        reasons.push(reason(
            "DESIGN_NOT_RUNNING",
            Certain,
            "No design runs on the Core, and without one it shows nothing.",
            &["In Q-SYS Designer choose File > Save to Core & Run, or start the design in Core Manager."],
        ));
    }
    if link.state == LinkState::Live && known.components == 0 {
        let mut nothing = script_access();
        nothing.code = "NOTHING_EXPOSED";
        nothing.explanation = format!(
            "The design runs, but none of its components is shown to the outside. {}",
            nothing.explanation
        );
        reasons.push(nothing);
    }
}

fn refused(link: &LinkStatus) -> Reason {
    reason(
        "ACCESS_REFUSED",
        Certain,
        format!(
            "The Core refuses this box: {}.",
            shown_text(link.last_fault.trim_end_matches('.'))
        ),
        &[
            "Access control is on. From firmware 10.5 on, make an access key for external control in Core Manager and put it into the box's configuration as `api-key-file`.",
            "On older firmware or over TCP, make a user with a PIN and external-control permission in Q-SYS Administrator, and configure both.",
            "Before 10.5 the WebSocket does not work with access control: switch it off, or use TCP.",
        ],
    )
}

fn no_link(link: &LinkStatus, reasons: &mut Vec<Reason>) {
    let detail = if link.last_fault.is_empty() {
        String::new()
    } else {
        format!(
            " The last attempt ended so: {}.",
            shown_text(link.last_fault.trim_end_matches('.'))
        )
    };
    reasons.push(reason(
        "NO_LINK",
        Certain,
        format!("There is no link to the Core at {}.{detail}", link.address),
        &[
            "Check that the Core has power and that its address is the one configured in this box.",
            "Check cable, VLAN and firewall between the two.",
        ],
    ));
    let certainty = if link.engine.is_none() {
        Likely
    } else {
        Possible
    };
    reasons.push(reason(
        "SERVICE_OFF",
        certainty,
        "The service that this box talks to may be switched off on the Core, or on the network port it comes in by.",
        &[
            "In Core Manager open Network > Services and switch on `Remote WebSocket Control` for the port that this box is connected to.",
            "For a link over TCP 1710 switch on `Remote Control Protocol - JSONRPC` instead.",
        ],
    ));
}
