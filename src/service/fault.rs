//! Faults of tools that a model can act on: a code, one plain sentence, and what to do next.

use serde_json::{Value, json};

use crate::limits::RECONNECT_SHORT_MIN_SECS;

/// What went wrong, as a word that clients may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// Arguments do not fit the schema; `data` has a list of `{path, problem, hint}`.
    BadArguments,
    /// The link to the Core is down.
    LinkDown,
    /// The circuit breaker is open.
    BreakerOpen,
    /// The reading is too old to act on.
    StaleReading,
    /// The design may have it, but the Core does not show it.
    NotVisible,
    /// Nothing has that name; `data` has the nearest ones.
    NotFound,
    /// The control takes no writes.
    ReadOnly,
    /// The value lies outside the control's range.
    OutOfRange,
    /// A rule of this box protects the control.
    Protected,
    /// The value lies beyond a ceiling set on this box.
    LimitExceeded,
    /// Writes are switched off on this box.
    WritesOff,
    /// A person has to approve it first.
    ApprovalRequired,
    /// The plan is too old.
    PlanExpired,
    /// The value moved since it was read.
    Moved,
    /// The write may have been carried out; it was not repeated.
    OutcomeUnknown,
    /// The Core is the standby of a pair.
    CoreStandby,
    /// Too much at once; try again.
    Busy,
    /// The Core refused.
    CoreRefused,
    /// The client, or the person before it, had to say something and did not.
    NotAnswered,
}

impl FaultCode {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadArguments => "BAD_ARGUMENTS",
            Self::LinkDown => "LINK_DOWN",
            Self::BreakerOpen => "BREAKER_OPEN",
            Self::StaleReading => "STALE_READING",
            Self::NotVisible => "NOT_VISIBLE",
            Self::NotFound => "NOT_FOUND",
            Self::ReadOnly => "READ_ONLY",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Protected => "PROTECTED",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::WritesOff => "WRITES_OFF",
            Self::ApprovalRequired => "APPROVAL_REQUIRED",
            Self::PlanExpired => "PLAN_EXPIRED",
            Self::Moved => "MOVED",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::CoreStandby => "CORE_STANDBY",
            Self::Busy => "BUSY",
            Self::CoreRefused => "CORE_REFUSED",
            Self::NotAnswered => "NOT_ANSWERED",
        }
    }
}

/// A fault of a tool: the answer is a result with `isError`, so that the model can react.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {problem} {next_step}", code.as_str())]
pub struct ToolFault {
    /// The word.
    pub code: FaultCode,
    /// What is wrong, one sentence.
    pub problem: String,
    /// What to do next, one sentence.
    pub next_step: String,
    /// Details by code; `Null` if there are none.
    pub data: Value,
}

impl ToolFault {
    /// A fault without details.
    #[must_use]
    pub fn new(code: FaultCode, problem: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self {
            code,
            problem: problem.into(),
            next_step: next_step.into(),
            data: Value::Null,
        }
    }

    /// What lasts is not begun while memory is critical. `what` is what the box does not do: `begins no more watches`.
    #[must_use]
    pub fn short_of_memory(what: &str) -> Self {
        Self::new(
            FaultCode::Busy,
            format!("The box is short of memory and {what} for now."),
            "Read with qsys_get_controls now and then instead, or try again in half a minute.",
        )
        .with_data(json!({ "retry_after_ms": u32::from(RECONNECT_SHORT_MIN_SECS) * 1_000 }))
    }

    /// The same fault with details.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

/// One thing that is wrong with the arguments; `path` is the argument's name.
pub(super) fn bad_argument(path: &str, problem: impl Into<String>, hint: &str) -> ToolFault {
    let problem = problem.into();
    ToolFault::new(
        FaultCode::BadArguments,
        format!("`{path}`: {problem}."),
        hint,
    )
    .with_data(json!([{ "path": format!("/{path}"), "problem": problem, "hint": hint }]))
}
