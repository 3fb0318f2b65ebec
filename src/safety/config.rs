//! What the owner of the room lets AI clients do, as it stands in the configuration.

/// The rules of this box. By default nothing may be written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SafetyConfig {
    /// Whether anything may be written at all.
    pub writes: bool,
    /// Patterns of controls that no client may write: `Component/control`, or a named control's name. `*` stands for anything,
    /// slashes included, `?` for one character, `[ab]` and `{mute,bypass}` for a choice. Case does not matter, and `_` and `.` count as
    /// the same. A pattern without a slash also covers every control of a component of that name.
    pub protected: Vec<String>,
    /// Whether snapshots may be recalled although rules exist: the Core does not tell what a snapshot moves.
    pub snapshots: bool,
    /// Highest values. All ceilings whose pattern fits a control hold.
    pub ceilings: Vec<Ceiling>,
}

/// The highest value that clients may write to some numeric controls. Switches, triggers and texts have no ceiling.
#[derive(Debug, Clone, PartialEq)]
pub struct Ceiling {
    /// Which controls, as in [`SafetyConfig::protected`].
    pub pattern: String,
    /// Highest value, in the control's unit: dB for gains.
    pub max_value: f64,
    /// Largest step upwards in one write, in the control's unit; without it a value may jump up to the ceiling at once.
    pub max_step_up: Option<f64>,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigFault {
    /// Where the rule stands, below the `safety` table: `protected[2]`, `ceiling[0].pattern`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}
