//! Why a write is not carried out.

/// A number as people read it: very large and very small ones with an exponent, all others to a millionth, which is finer than the
/// single precision in which Cores keep values.
pub(crate) fn number(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e9).contains(&size) {
        format!("{number:e}")
    } else {
        ((number * 1e6).round() / 1e6).to_string()
    }
}

/// Why a write is refused. The words that clients see are made where the tools are; this has the facts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Writes are switched off on this box.
    #[error("writes are switched off on this box")]
    WritesOff,
    /// A pattern protects the control.
    #[error("the pattern `{pattern}` protects it")]
    Protected {
        /// The first pattern that fits, as configured.
        pattern: String,
    },
    /// Nobody knows what a snapshot moves, and rules exist that it could break.
    #[error("nobody can tell whether a snapshot keeps to the rules of this box")]
    SnapshotUnseen,
    /// The Core says that the control takes no writes.
    #[error("it is read only")]
    ReadOnly,
    /// What was given is of a kind that the control does not take.
    #[error("{problem}")]
    WrongForm {
        /// What does not fit.
        problem: &'static str,
        /// What would.
        hint: &'static str,
    },
    /// Outside the control's range.
    #[error("{} is outside {} to {}", number(*.asked), number(*.low), number(*.high))]
    OutOfRange {
        /// What was asked for.
        asked: f64,
        /// Lowest value.
        low: f64,
        /// Highest value.
        high: f64,
    },
    /// The Core tells no range for it, and no control has such a value.
    #[error(
        "the Core tells no range for it, and {} is no value that such a control has ({} to {})",
        number(*.asked), number(*.low), number(*.high)
    )]
    Implausible {
        /// What was asked for.
        asked: f64,
        /// Lowest value that a control like it has.
        low: f64,
        /// Highest value that a control like it has.
        high: f64,
    },
    /// Not an entry of the combo box.
    #[error("it is none of the control's choices")]
    NotAChoice {
        /// The first entries.
        choices: Vec<String>,
    },
    /// Above a ceiling.
    #[error("{} is above the ceiling of {}", number(*.asked), number(*.max))]
    AboveCeiling {
        /// What was asked for, in the control's unit.
        asked: f64,
        /// The ceiling.
        max: f64,
    },
    /// Too large a step upwards.
    #[error("a step up of {} is more than the {} allowed at once", number(*.step), number(*.max))]
    StepTooLarge {
        /// The step asked for, in the control's unit.
        step: f64,
        /// The largest allowed.
        max: f64,
    },
    /// The control moves another one of its component, which has a ceiling, by steps.
    #[error("it moves `{control}` by steps, past the ceiling of {} that holds there", number(*.max))]
    StepsPastCeiling {
        /// A control of the component that has a ceiling.
        control: String,
        /// The ceiling, in that control's unit.
        max: f64,
    },
    /// A named control that may stand for a control with a ceiling, while no ceiling has the named control's own name.
    #[error("it may stand for a control with a ceiling, and no ceiling has its own name")]
    MayStandForCeiling,
    /// A ceiling holds, but what the write amounts to cannot be told.
    #[error("a ceiling holds for it, and what this write amounts to cannot be told")]
    CannotBeJudged,
    /// The text to be written is the shortened form of the one that the control has.
    #[error("the text is the shortened form of the present one")]
    Shortened,
    /// The rule needs a fresh reading, and there is none.
    #[error("there is no fresh reading of it")]
    Stale,
    /// The control no longer stands where the caller thinks.
    #[error("it now stands at {found}")]
    Moved {
        /// Where it stands.
        found: String,
    },
    /// A ramp that is out of bounds.
    #[error("a ramp takes 0 to {} seconds", number(*.max))]
    RampOutOfRange {
        /// The longest, seconds.
        max: f64,
    },
}
