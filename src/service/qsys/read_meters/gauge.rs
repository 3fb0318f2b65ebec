//! One meter and its statistics: each value counts for as long as it stood.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::model::control::Quality;
use crate::model::name::ControlRef;
use crate::safety::number;
use crate::service::ToolFault;
use crate::service::qsys::get_controls::Name;
use crate::service::qsys::{Core, fault, resolve};
use crate::store::view::{ControlId, Reading};

/// What a meter did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Statistics {
    /// Lowest value.
    min: f64,
    /// Highest value.
    max: f64,
    /// Mean over time of the values as they are; of decibels, the mean of the decibels.
    mean: f64,
    /// Share of the time that it was above the threshold, 0 to 1. Absent without a threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    above_share: Option<f64>,
}

impl Statistics {
    /// In a few words.
    pub(super) fn words(&self) -> String {
        let above = self.above_share.map_or_else(String::new, |share| {
            format!(
                ", above the threshold {} % of the time",
                number((share * 100.0).round())
            )
        });
        format!(
            "{} to {}, mean {}{above}",
            number(self.min),
            number(self.max),
            number(self.mean)
        )
    }
}

/// A meter that is followed.
#[derive(Debug)]
pub(super) struct Gauge {
    name: ControlRef,
    /// Its place in the mirror; nothing while the design has no such control.
    id: Option<ControlId>,
    above: Option<f64>,
    last: Option<Reading>,
    /// Until when the statistics reach; nothing before they begin.
    until: Option<Instant>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    samples: u32,
    min: f64,
    max: f64,
    /// Value times seconds.
    area: f64,
    measured: Duration,
    above: Duration,
}

impl Gauge {
    /// A meter by its name. It has to have a number.
    pub(super) fn new(core: &Core, asked: &Name, above: Option<f64>) -> Result<Self, ToolFault> {
        let (id, name) = resolve::control(core, asked.component.as_deref(), &asked.control)?;
        let last = core.mirror.reading(id);
        let is_text =
            |reading: &Reading| reading.quality != Quality::Unknown && reading.value.is_none();
        if last.as_ref().is_some_and(is_text) {
            return Err(fault::bad_argument(
                "meters",
                format!("`{name}` has no number"),
                "Read texts with qsys_get_controls.",
            ));
        }
        Ok(Self {
            name,
            id: Some(id),
            above,
            last,
            until: None,
            tally: Tally::default(),
        })
    }

    pub(super) fn name(&self) -> &ControlRef {
        &self.name
    }

    pub(super) fn is_among(&self, ids: &[ControlId]) -> bool {
        self.id.is_some_and(|id| ids.contains(&id))
    }

    /// From now on values count.
    pub(super) fn begin(&mut self, core: &Core, now: Instant) {
        self.last = None;
        self.until = Some(now);
        self.look(core, now);
    }

    /// Counts the value that stood until now, and looks where the meter stands from now on.
    pub(super) fn look(&mut self, core: &Core, now: Instant) {
        let stood = live(self.last.as_ref());
        if let (Some(until), Some(value)) = (self.until, stood) {
            let span = now.saturating_duration_since(until);
            let is_above = self.above.is_some_and(|above| value > above);
            self.tally.stood(value, span, is_above);
        }
        self.until = Some(now);
        // Another design may have given the control another place.
        self.id = core.mirror.find(&self.name);
        self.last = self.id.and_then(|id| core.mirror.reading(id));
        if let Some(value) = live(self.last.as_ref())
            && stood.is_none_or(|stood| stood.to_bits() != value.to_bits())
        {
            self.tally.came(value);
        }
    }

    pub(super) fn statistics(&self) -> Option<Statistics> {
        let tally = &self.tally;
        let secs = tally.measured.as_secs_f64();
        (secs > 0.0).then(|| Statistics {
            min: tally.min,
            max: tally.max,
            mean: rounded(tally.area / secs),
            above_share: self
                .above
                .map(|_| rounded(tally.above.as_secs_f64() / secs)),
        })
    }

    pub(super) fn samples(&self) -> u32 {
        self.tally.samples
    }

    pub(super) fn measured(&self) -> Duration {
        self.tally.measured
    }

    pub(super) fn last(&self) -> Option<&Reading> {
        self.last.as_ref()
    }
}

impl Tally {
    fn came(&mut self, value: f64) {
        let is_first = self.samples == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
        self.samples = self.samples.saturating_add(1);
    }

    fn stood(&mut self, value: f64, span: Duration, is_above: bool) {
        self.area += value * span.as_secs_f64();
        self.measured += span;
        if is_above {
            self.above += span;
        }
    }
}

fn live(reading: Option<&Reading>) -> Option<f64> {
    let reading = reading.filter(|reading| reading.quality == Quality::Live)?;
    reading.value.filter(|value| value.is_finite())
}

/// To a thousandth: more digits than a meter has are noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
