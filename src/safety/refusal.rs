//! Why a write is not carried out.

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
    #[error("{asked} is outside {low} to {high}")]
    OutOfRange {
        /// What was asked for.
        asked: f64,
        /// Lowest value.
        low: f64,
        /// Highest value.
        high: f64,
    },
    /// Not an entry of the combo box.
    #[error("it is none of the control's choices")]
    NotAChoice {
        /// The first entries.
        choices: Vec<String>,
    },
    /// Above a ceiling.
    #[error("{asked} is above the ceiling of {max}")]
    AboveCeiling {
        /// What was asked for, in the control's unit.
        asked: f64,
        /// The ceiling.
        max: f64,
    },
    /// Too large a step upwards.
    #[error("a step up of {step} is more than the {max} allowed at once")]
    StepTooLarge {
        /// The step asked for, in the control's unit.
        step: f64,
        /// The largest allowed.
        max: f64,
    },
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
    #[error("a ramp takes 0 to {max} seconds")]
    RampOutOfRange {
        /// The longest, seconds.
        max: f64,
    },
}
