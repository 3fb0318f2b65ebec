//! From what went wrong below to what a client can act on: one match for the link, one for the safety rules.

use serde_json::json;

use super::text::{clean, clean_cut};
use crate::guard::Reach;
use crate::limits::{READ_MAX, TEXT_MAX_BYTES};
use crate::link::CommandError;
use crate::safety::{Refusal, number};
use crate::service::{FaultCode, ToolFault};
use crate::wire::jsonrpc::code as rpc;
use crate::wire::qrc::code as qrc;

pub(super) use crate::service::fault::bad_argument;

/// A link that did not do what was asked.
pub(super) fn of_link(error: &CommandError) -> ToolFault {
    let retry_after_ms = error
        .retry_after()
        .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    let fault = match error {
        CommandError::Busy => ToolFault::new(
            FaultCode::Busy,
            "Too many commands are already waiting for the Core; nothing was sent.",
            "Wait a second and ask again, with fewer calls at once.",
        ),
        CommandError::Down { .. } => ToolFault::new(
            FaultCode::LinkDown,
            "There is no live link to the Core; nothing was sent.",
            "Look at qsys_get_link_status; cached values can still be read. The box keeps trying by itself.",
        ),
        CommandError::BreakerOpen { .. } => ToolFault::new(
            FaultCode::BreakerOpen,
            "The Core failed several times in a row, so the circuit breaker keeps commands away from it; nothing was sent.",
            "Wait as long as `retry_after_ms` says and look at qsys_get_link_status; cached values can still be read.",
        ),
        CommandError::Standby => ToolFault::new(
            FaultCode::CoreStandby,
            "The Core is the standby of a redundant pair and takes no commands.",
            "Wait until a Core is active; qsys_get_link_status shows both.",
        ),
        CommandError::Refused {
            method,
            code,
            message,
        } => refused(method.as_str(), *code, message),
        CommandError::Unreadable { method, fault } => ToolFault::new(
            FaultCode::CoreRefused,
            format!(
                "The Core's answer to {} made no sense: {}.",
                method.as_str(),
                clean_cut(fault, TEXT_MAX_BYTES).0
            ),
            "Read the values again before you go on.",
        ),
        CommandError::NoAnswer { method } => ToolFault::new(
            FaultCode::LinkDown,
            format!("The Core did not answer {} in time.", method.as_str()),
            "Ask again: nothing was changed. qsys_get_link_status shows whether the link is lost.",
        ),
        CommandError::OutcomeUnknown { .. } => outcome_unknown(),
    };
    match retry_after_ms {
        Some(delay) => fault.with_data(json!({ "retry_after_ms": delay })),
        None => fault,
    }
}

/// How long to wait before asking again, where a fault says it.
pub(super) fn retry_after_ms(fault: &ToolFault) -> Option<u64> {
    fault.data.get("retry_after_ms")?.as_u64()
}

/// A write whose answer was lost.
pub(super) fn outcome_unknown() -> ToolFault {
    ToolFault::new(
        FaultCode::OutcomeUnknown,
        "The write was sent but its answer was lost: it may have been carried out. It was not repeated.",
        "Read the values with qsys_get_controls and max_age_ms 0 before you decide whether to write again.",
    )
}

fn refused(method: &str, code: i64, message: &str) -> ToolFault {
    let (word, problem, next_step) = match code {
        qrc::STANDBY => return of_link(&CommandError::Standby),
        qrc::UNKNOWN_COMPONENT => (
            FaultCode::NotVisible,
            "The Core says that it has no such component, or none that it shows to the outside.",
            "Call qsys_explain_visibility with the component's name.",
        ),
        qrc::UNKNOWN_CONTROL => (
            FaultCode::NotFound,
            "The Core says that it has no such control.",
            "List the component's controls with qsys_get_component.",
        ),
        qrc::LOGON_REQUIRED => (
            FaultCode::CoreRefused,
            "The Core wants a logon, or does not accept the one that this box uses.",
            "Have a person check user and PIN, or the access key, in the box's configuration.",
        ),
        rpc::METHOD_NOT_FOUND => (
            FaultCode::CoreRefused,
            "This Core does not know the method.",
            "Another way to the same end is needed; say so to the user.",
        ),
        _ => (
            FaultCode::CoreRefused,
            "The Core refused.",
            "Read the values again before you go on; `core_message` has the Core's words.",
        ),
    };
    ToolFault::new(word, problem, next_step).with_data(json!({
        "method": method,
        "core_code": code,
        "core_message": clean_cut(message, TEXT_MAX_BYTES).0,
    }))
}

/// A write that the rules of this box refuse. `subject` is the control's name.
pub(super) fn of_refusal(refusal: &Refusal, subject: &str) -> ToolFault {
    let code = match refusal {
        Refusal::WritesOff => FaultCode::WritesOff,
        Refusal::Protected { .. } | Refusal::SnapshotUnseen => FaultCode::Protected,
        Refusal::ReadOnly => FaultCode::ReadOnly,
        Refusal::WrongForm { .. } | Refusal::RampOutOfRange { .. } | Refusal::Shortened => {
            FaultCode::BadArguments
        }
        Refusal::OutOfRange { .. } | Refusal::Implausible { .. } | Refusal::NotAChoice { .. } => {
            FaultCode::OutOfRange
        }
        Refusal::AboveCeiling { .. }
        | Refusal::StepTooLarge { .. }
        | Refusal::StepsPastCeiling { .. }
        | Refusal::MayStandForCeiling
        | Refusal::CannotBeJudged => FaultCode::LimitExceeded,
        Refusal::Stale => FaultCode::StaleReading,
        Refusal::Moved { .. } => FaultCode::Moved,
    };
    let next_step = match refusal {
        Refusal::WritesOff => "Tell the user: a person has to set `safety.writes = true` in the box's configuration.".into(),
        Refusal::Protected { .. } => {
            "Leave it alone and tell the user; only the box's owner can lift the protection.".into()
        }
        Refusal::ReadOnly => "Look for the control that drives it with qsys_get_component.".into(),
        Refusal::WrongForm { hint, .. } => (*hint).to_owned(),
        Refusal::OutOfRange { low, high, .. } => {
            format!("Choose a value from {} to {}.", number(*low), number(*high))
        }
        Refusal::Implausible { .. } => {
            "Read the control and give a value near the present one, in the unit that its text shows; or tell the user: a person can add a [[safety.ceiling]] for its name.".into()
        }
        Refusal::NotAChoice { choices } => {
            let choices: Vec<_> = choices.iter().map(|choice| clean(choice)).collect();
            format!("Choose one of: {}.", choices.join(" | "))
        }
        Refusal::AboveCeiling { max, .. } => {
            format!("Stay at or below {}, or tell the user that the box's owner set this ceiling.", number(*max))
        }
        Refusal::StepTooLarge { max, .. } => {
            format!("Go up by at most {} at a time, and listen in between.", number(*max))
        }
        Refusal::SnapshotUnseen => {
            "Set the controls themselves with qsys_set_controls, or tell the user: a person can set `safety.snapshots = true` in the box's configuration.".into()
        }
        Refusal::StepsPastCeiling { control, .. } => {
            format!("Write the level itself, `value` of `{control}`, which the ceiling can be checked for.")
        }
        Refusal::MayStandForCeiling => {
            "Write the control itself by component and name; or tell the user: a person can add a [[safety.ceiling]] for the named control's own name.".into()
        }
        Refusal::CannotBeJudged => "Write a `value` in the control's unit instead.".into(),
        Refusal::Shortened => {
            "Long texts are shown shortened here and cannot be written back from what is shown; edit them in Q-SYS Designer.".into()
        }
        Refusal::Stale => "Wait until the link is live (qsys_get_link_status), then read and try again.".into(),
        Refusal::Moved { .. } => "Somebody else moved it. Read it again, tell the user, and decide anew.".into(),
        Refusal::RampOutOfRange { max } => format!("Choose `ramp_s` from 0 to {}.", number(*max)),
    };
    let problem = match refusal {
        Refusal::Moved { found } => format!(
            "{subject} was not written: it now stands at {}.",
            clean_cut(found, TEXT_MAX_BYTES).0
        ),
        other => format!("{subject} was not written: {other}."),
    };
    ToolFault::new(code, problem, next_step)
}

/// The same for a caller of this reach: a pattern may name what lies beyond it.
pub(super) fn of_refusal_within(reach: &Reach, refusal: &Refusal, subject: &str) -> ToolFault {
    let fault = of_refusal(refusal, subject);
    match refusal {
        Refusal::Protected { .. } if !reach.is_everything() => ToolFault {
            problem: format!("{subject} was not written: a rule of this box protects it."),
            ..fault
        },
        _ => fault,
    }
}

/// A snapshot for somebody whose key does not reach everything that it may move.
pub(super) fn snapshot_beyond(reach: &Reach) -> ToolFault {
    ToolFault::new(
        FaultCode::Protected,
        format!(
            "The snapshot was not recalled: it may move controls of any component. {}",
            bound(reach)
        ),
        "Set the controls themselves with qsys_set_controls, or tell the user that this needs a key without such a bound.",
    )
}

/// The bound of a key in a sentence; its own patterns are no secret to its holder.
pub(super) fn bound(reach: &Reach) -> String {
    let patterns: Vec<_> = reach
        .patterns()
        .iter()
        .map(|pattern| format!("`{}`", clean(pattern)))
        .collect();
    format!(
        "Your key reaches only components and named controls that fit {}.",
        patterns.join(" or ")
    )
}

/// The caller went away before anything was done.
pub(super) fn cancelled() -> ToolFault {
    ToolFault::new(
        FaultCode::Busy,
        "The call was cancelled.",
        "Nothing more was done; call again if you still want it.",
    )
}

/// An answer that could not be written down, which only a fault of this program can cause.
pub(super) fn unserialisable(fault: &serde_json::Error) -> ToolFault {
    ToolFault::new(
        FaultCode::Busy,
        format!("The answer could not be written: {fault}."),
        format!("Ask for less at once, at most {READ_MAX} controls."),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::qrc::Method;

    #[test]
    fn faults_of_the_link_keep_their_meaning_and_their_delay() {
        let fault = of_link(&CommandError::BreakerOpen {
            retry_in: Duration::from_secs(7),
        });
        assert_eq!(fault.code, FaultCode::BreakerOpen);
        assert_eq!(fault.data["retry_after_ms"], 7_000);
        let lost = CommandError::OutcomeUnknown {
            method: Method::ComponentSet,
        };
        assert_eq!(of_link(&lost).code, FaultCode::OutcomeUnknown);
    }

    #[test]
    fn the_cores_words_are_data_and_cleaned() {
        let fault = of_link(&CommandError::Refused {
            method: Method::ComponentGet,
            code: qrc::UNKNOWN_COMPONENT,
            message: "no\u{7} such\nthing".into(),
        });
        assert_eq!(fault.code, FaultCode::NotVisible);
        assert_eq!(fault.data["core_message"], "no such thing");
        assert!(!fault.problem.contains("thing"));
    }

    #[test]
    fn every_refusal_says_what_to_do_next() {
        for (refusal, code) in [
            (Refusal::WritesOff, FaultCode::WritesOff),
            (Refusal::ReadOnly, FaultCode::ReadOnly),
            (Refusal::CannotBeJudged, FaultCode::LimitExceeded),
            (Refusal::Stale, FaultCode::StaleReading),
            (
                Refusal::RampOutOfRange { max: 60.0 },
                FaultCode::BadArguments,
            ),
        ] {
            let fault = of_refusal(&refusal, "Gain/gain");
            assert_eq!(fault.code, code);
            assert!(fault.problem.starts_with("Gain/gain") && fault.next_step.ends_with('.'));
        }
    }
}
