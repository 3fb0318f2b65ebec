//! The rules, compiled, and the one function that applies them in order.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::config::{ConfigFault, SafetyConfig};
use super::form::{SAME_VALUE, form_and_range, is_plausible, is_same};
use super::pattern::{self, Pattern};
use super::reach::{self, Beside};
use super::refusal::{Refusal, number};
use crate::limits::{COMPONENTS_MAX, RAMP_MAX_SECS};
use crate::model::control::{ControlKind, Direction};
use crate::model::name::ControlRef;
use crate::store::mirror::Mirror;
use crate::store::view::ControlView;

/// How far, as a share of the range, the present value may lie from where its position puts it on a straight line, for positions of
/// this control to be converted so. Positions of frequencies and times are logarithmic.
const STRAIGHT_LINE: f64 = 0.01;

/// How far from the ends of its way, as a share of it, the present position has to be to tell a straight line from another law: near the
/// ends all laws agree to within [`STRAIGHT_LINE`].
const TELLING: f64 = 0.05;

/// What is to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A number in the control's unit.
    Value(f64),
    /// On or off; also fires a trigger.
    Switch(bool),
    /// Between 0 and 1.
    Position(f64),
    /// A text.
    Text(String),
}

/// Where the caller thinks that the control stands. What is absent is not compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expect {
    /// Raw value.
    pub value: Option<f64>,
    /// What Designer shows.
    pub string: Option<String>,
}

/// A reading fresh enough to act on, with the text uncut.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Present<'a> {
    /// Raw value.
    pub value: Option<f64>,
    /// The value between 0 and 1, read with it.
    pub position: Option<f64>,
    /// What Designer shows, complete, in the form that clients are shown.
    pub string: Cow<'a, str>,
}

/// A write that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// The control as the mirror knows it.
    pub control: &'a ControlView,
    /// What stands beside it, as [`Policy::needs_beside`] says.
    pub beside: &'a Beside,
    /// What to write.
    pub write: &'a Write,
    /// Seconds until the new value is reached; 0 is at once.
    pub ramp_secs: f64,
    /// Where the caller thinks that it stands.
    pub expect: Option<&'a Expect>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    text: String,
}

#[derive(Debug)]
struct Limit {
    pattern: Pattern,
    text: String,
    max_value: f64,
    max_step_up: Option<f64>,
}

/// The rules of this box, ready to judge.
#[derive(Debug)]
pub struct Policy {
    writes: bool,
    protected: Vec<Rule>,
    snapshots: bool,
    ceilings: Vec<Limit>,
    /// The answer of [`Policy::patterns_without_match`] and the designs that it was found for.
    unmatched: Mutex<Option<Unmatched>>,
}

/// Generation, components and controls of each mirror, and the patterns that fit nothing there.
type Unmatched = (Vec<(u64, usize, usize)>, Arc<[String]>);

impl Policy {
    /// Compiles the rules.
    ///
    /// # Errors
    ///
    /// Every rule that cannot be used, at once.
    pub fn new(config: &SafetyConfig) -> Result<Self, Vec<ConfigFault>> {
        let mut faults = Vec::new();
        let mut fault = |key: String, problem: String| faults.push(ConfigFault { key, problem });
        let mut protected = Vec::new();
        for (index, text) in config.protected.iter().enumerate() {
            match Pattern::new(text) {
                Ok(pattern) => protected.push(Rule {
                    pattern,
                    text: text.clone(),
                }),
                Err(problem) => fault(format!("protected[{index}]"), problem),
            }
        }
        let mut ceilings = Vec::new();
        for (index, ceiling) in config.ceilings.iter().enumerate() {
            let key = |field: &str| format!("ceiling[{index}].{field}");
            if !ceiling.max_value.is_finite() {
                fault(key("max"), "it must be a number".into());
            }
            if ceiling
                .max_step_up
                .is_some_and(|step| !step.is_finite() || step <= 0.0)
            {
                fault(key("max-step-up"), "it must be a number above 0".into());
            }
            match Pattern::new(&ceiling.pattern) {
                Ok(pattern) => ceilings.push(Limit {
                    pattern,
                    text: ceiling.pattern.clone(),
                    max_value: ceiling.max_value,
                    max_step_up: ceiling.max_step_up,
                }),
                Err(problem) => fault(key("pattern"), problem),
            }
        }
        if faults.is_empty() {
            Ok(Self {
                writes: config.writes,
                protected,
                snapshots: config.snapshots,
                ceilings,
                unmatched: Mutex::new(None),
            })
        } else {
            Err(faults)
        }
    }

    /// Whether anything may be written at all.
    #[must_use]
    pub const fn writes_allowed(&self) -> bool {
        self.writes
    }

    /// The pattern that protects a control, as configured.
    #[must_use]
    pub fn protection(&self, control: &ControlRef) -> Option<&str> {
        if self.protected.is_empty() {
            return None;
        }
        let name = pattern::folded(control);
        self.protected
            .iter()
            .find(|rule| rule.pattern.fits(&name))
            .map(|rule| rule.text.as_str())
    }

    /// The lowest ceiling over a control, in its unit. Switches, triggers and texts have none.
    #[must_use]
    pub fn ceiling(&self, control: &ControlRef, kind: &ControlKind) -> Option<f64> {
        self.limits(control, kind)
            .map(|limit| limit.max_value)
            .reduce(f64::min)
    }

    /// The rules that need no more than a name: the writes switch and the protected patterns.
    ///
    /// # Errors
    ///
    /// [`Refusal::WritesOff`] or [`Refusal::Protected`].
    pub fn admit(&self, control: &ControlRef) -> Result<(), Refusal> {
        if !self.writes {
            return Err(Refusal::WritesOff);
        }
        match self.protection(control) {
            Some(pattern) => Err(Refusal::Protected {
                pattern: pattern.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The rule that forbids recalling a snapshot, whose trigger is or would be called `load`; the writes switch aside.
    #[must_use]
    pub fn snapshot_rule(&self, load: &ControlRef) -> Option<Refusal> {
        let own = self.protection(load).map(|pattern| Refusal::Protected {
            pattern: pattern.to_owned(),
        });
        let has_rules = !self.protected.is_empty() || !self.ceilings.is_empty();
        own.or_else(|| (has_rules && !self.snapshots).then_some(Refusal::SnapshotUnseen))
    }

    /// Judges the recall of a snapshot that no visible controller offers.
    ///
    /// # Errors
    ///
    /// [`Refusal::WritesOff`], [`Refusal::Protected`] or [`Refusal::SnapshotUnseen`].
    pub fn admit_snapshot(&self, load: &ControlRef) -> Result<(), Refusal> {
        if !self.writes {
            return Err(Refusal::WritesOff);
        }
        self.snapshot_rule(load).map_or(Ok(()), Err)
    }

    /// Whether [`Policy::judge`] looks at the controls beside the one to be written: those take a copy of the whole component.
    #[must_use]
    pub fn needs_beside(&self, control: &ControlView) -> bool {
        !self.ceilings.is_empty() && reach::is_stepper(control)
    }

    /// The patterns that fit no control of any design here: a slip of the pen, or a name that is gone, whose rule holds nothing. Empty
    /// until every Core's design is known. Snapshots (`Bank/load.*`) are left out, since a bank need not show.
    #[must_use]
    pub fn patterns_without_match(&self, mirrors: &[&Mirror]) -> Arc<[String]> {
        let designs: Vec<_> = mirrors
            .iter()
            .map(|mirror| mirror.status())
            .map(|status| (status.generation, status.components, status.controls))
            .collect();
        if designs.iter().any(|(_, components, _)| *components == 0) {
            return Arc::new([]);
        }
        let mut kept = self.unmatched.lock();
        if let Some((known, patterns)) = kept.as_ref()
            && *known == designs
        {
            return Arc::clone(patterns);
        }
        let patterns = self.look_for_matches(mirrors);
        *kept = Some((designs, Arc::clone(&patterns)));
        patterns
    }

    fn look_for_matches(&self, mirrors: &[&Mirror]) -> Arc<[String]> {
        let mut protected: Vec<&Rule> = self
            .protected
            .iter()
            .filter(|rule| !pattern::is_of_snapshots(&rule.text))
            .collect();
        let mut ceilings: Vec<&Limit> = self.ceilings.iter().collect();
        let mut look = |controls: Vec<ControlView>| {
            for control in controls {
                if protected.is_empty() && ceilings.is_empty() {
                    return;
                }
                let name = pattern::folded(&control.name);
                protected.retain(|rule| !rule.pattern.fits(&name));
                if has_level(&control.kind) {
                    ceilings.retain(|limit| !limit.pattern.fits(&name));
                }
            }
        };
        for mirror in mirrors {
            look(mirror.named_controls());
            for component in mirror.components(&mut |_| true, 0, COMPONENTS_MAX).0 {
                look(
                    mirror
                        .component_controls(&component.name)
                        .unwrap_or_default(),
                );
            }
        }
        let protected = protected.into_iter().map(|rule| &rule.text);
        let ceilings = ceilings.into_iter().map(|limit| &limit.text);
        protected.chain(ceilings).cloned().collect()
    }

    /// Whether [`Policy::judge`] will ask for a fresh reading.
    #[must_use]
    pub fn needs_present(&self, proposal: &Proposal<'_>) -> bool {
        let control = proposal.control;
        let is_position = matches!(proposal.write, Write::Position(_));
        proposal.expect.is_some()
            || self
                .limits(&control.name, &control.kind)
                .any(|limit| is_position || limit.max_step_up.is_some())
    }

    /// Judges a write. The order is fixed, and the first rule that it breaks answers: writes switch, protected patterns, direction,
    /// what else the write may move, form and range, ceilings, shortened texts, expectation, ramp.
    ///
    /// # Errors
    ///
    /// The rule that the write breaks.
    pub fn judge(
        &self,
        proposal: &Proposal<'_>,
        present: Option<&Present<'_>>,
    ) -> Result<(), Refusal> {
        let control = proposal.control;
        self.admit(&control.name)?;
        if control.direction == Direction::ReadOnly {
            return Err(Refusal::ReadOnly);
        }
        self.reaches_no_further(proposal)?;
        form_and_range(control, proposal.write)?;
        if self.fitting(&control.name).next().is_none() {
            is_plausible(control, proposal.write)?;
        }
        for limit in self.limits(&control.name, &control.kind) {
            under_ceiling(limit, control, proposal.write, present)?;
        }
        is_whole_text(control, proposal.write)?;
        if let Some(expect) = proposal.expect {
            is_where_expected(expect, present.ok_or(Refusal::Stale)?)?;
        }
        ramp_fits(proposal)
    }

    /// Refuses what may move other controls than the one that it names, past the rules for those.
    fn reaches_no_further(&self, proposal: &Proposal<'_>) -> Result<(), Refusal> {
        let control = proposal.control;
        if reach::is_snapshot_trigger(control, proposal.beside)
            && let Some(refusal) = self.snapshot_rule(&control.name)
        {
            return Err(refusal);
        }
        if self.ceilings.is_empty() {
            return Ok(());
        }
        if control.name.component.is_none() {
            let has_own = self.fitting(&control.name).next().is_some();
            return if has_own || reach::is_surely_no_level(control, proposal.write) {
                Ok(())
            } else {
                Err(Refusal::MayStandForCeiling)
            };
        }
        if !reach::is_stepper(control) {
            return Ok(());
        }
        let mut others = proposal.beside.controls.iter();
        let moved = others.find_map(|other| {
            let max = (!reach::is_stepper(other))
                .then(|| self.ceiling(&other.name, &other.kind))
                .flatten()?;
            Some((other, max))
        });
        match moved {
            Some((other, max)) => Err(Refusal::StepsPastCeiling {
                control: other.name.to_string(),
                max,
            }),
            None => Ok(()),
        }
    }

    /// The ceilings over a control that has a level.
    fn limits<'a>(
        &'a self,
        control: &ControlRef,
        kind: &ControlKind,
    ) -> impl Iterator<Item = &'a Limit> + use<'a> {
        has_level(kind)
            .then(|| self.fitting(control))
            .into_iter()
            .flatten()
    }

    /// The ceilings whose pattern fits a name.
    fn fitting<'a>(&'a self, control: &ControlRef) -> impl Iterator<Item = &'a Limit> + use<'a> {
        let name = (!self.ceilings.is_empty()).then(|| pattern::folded(control));
        self.ceilings
            .iter()
            .filter(move |limit| name.as_ref().is_some_and(|name| limit.pattern.fits(name)))
    }
}

const fn has_level(kind: &ControlKind) -> bool {
    !matches!(
        kind,
        ControlKind::Boolean | ControlKind::Trigger | ControlKind::StateTrigger | ControlKind::Text
    )
}

fn under_ceiling(
    limit: &Limit,
    control: &ControlView,
    write: &Write,
    present: Option<&Present<'_>>,
) -> Result<(), Refusal> {
    let asked = match write {
        Write::Value(number) => *number,
        Write::Switch(on) => f64::from(u8::from(*on)),
        Write::Position(position) => {
            value_at(control, *position, present).ok_or(Refusal::CannotBeJudged)?
        }
        Write::Text(_) => return Err(Refusal::CannotBeJudged),
    };
    if asked > limit.max_value {
        return Err(Refusal::AboveCeiling {
            asked,
            max: limit.max_value,
        });
    }
    let Some(max) = limit.max_step_up else {
        return Ok(());
    };
    let now = present
        .and_then(|present| present.value)
        .ok_or(Refusal::Stale)?;
    let step = asked - now;
    if step > max + SAME_VALUE {
        return Err(Refusal::StepTooLarge { step, max });
    }
    Ok(())
}

/// The value that a position stands for. The ends of the range are certain; in between it is a straight line only if the present
/// value lies on it.
fn value_at(control: &ControlView, position: f64, present: Option<&Present<'_>>) -> Option<f64> {
    let (low, high) = control.range?;
    let span = high - low;
    if position <= 0.0 {
        return Some(low);
    }
    if position >= 1.0 {
        return Some(high);
    }
    let (value, at) = (present?.value?, present?.position?);
    let is_telling = (TELLING..=1.0 - TELLING).contains(&at);
    let is_straight = (low + at * span - value).abs() <= STRAIGHT_LINE * span;
    (is_telling && is_straight).then_some(low + position * span)
}

fn is_whole_text(control: &ControlView, write: &Write) -> Result<(), Refusal> {
    let reading = &control.reading;
    match write {
        Write::Text(text) if reading.truncated && is_cut_of(text, &reading.string) => {
            Err(Refusal::Shortened)
        }
        _ => Ok(()),
    }
}

/// Whether a text is what the box shows of a longer one, with or without the dots that say so.
fn is_cut_of(text: &str, kept: &str) -> bool {
    let bare = text.trim_end_matches(['…', '.', ' ']);
    !bare.is_empty() && bare == kept.trim_end_matches(['…', '.', ' '])
}

fn is_where_expected(expect: &Expect, present: &Present<'_>) -> Result<(), Refusal> {
    let value_fits = expect
        .value
        .is_none_or(|value| present.value.is_some_and(|now| is_same(now, value)));
    let string_fits = expect
        .string
        .as_ref()
        .is_none_or(|string| *string == present.string);
    if value_fits && string_fits {
        return Ok(());
    }
    let found = match present.value {
        Some(value) => format!("{} ({})", number(value), present.string),
        None => present.string.to_string(),
    };
    Err(Refusal::Moved { found })
}

fn ramp_fits(proposal: &Proposal<'_>) -> Result<(), Refusal> {
    let secs = proposal.ramp_secs;
    if !(0.0..=RAMP_MAX_SECS).contains(&secs) {
        return Err(Refusal::RampOutOfRange { max: RAMP_MAX_SECS });
    }
    let can_ramp = matches!(proposal.write, Write::Value(_) | Write::Position(_))
        && !matches!(
            proposal.control.kind,
            ControlKind::Boolean | ControlKind::Trigger | ControlKind::StateTrigger
        );
    if secs > 0.0 && !can_ramp {
        return Err(Refusal::WrongForm {
            problem: "only numbers can ramp",
            hint: "Leave `ramp_s` out.",
        });
    }
    Ok(())
}
