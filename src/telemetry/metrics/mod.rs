//! Numbers for monitoring systems: counted where things happen, told by the parts of the box when somebody looks, written in the forms
//! that such systems read.
//!
//! Labels have few values, all known to the program: methods, tools, codes, reasons, checks, systems of the configuration. What a client
//! made up is counted under `other`.

pub mod names;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use self::names::{Kind, Name};
pub use self::text::{json, plain};
use super::switches::Detail;

/// Upper ends of the ranges of times, seconds: a read of the mirror takes tens of microseconds, a write waits for the Core.
const RANGES_SECS: [f64; 10] = [
    0.0001, 0.0005, 0.0025, 0.01, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// What times are counted under while they are not counted for each method and tool.
const ALL_TOGETHER: &str = "all";

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Times = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// What is counted while the box works. Cheap to count; one for the whole process.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<2>, Counter>,
    request_times: Times,
    request_errors: Family<Labels<1>, Counter>,
    tool_calls: Family<Labels<2>, Counter>,
    tool_times: Times,
    tool_errors: Family<Labels<2>, Counter>,
    rate_limit_hits: Family<Labels<1>, Counter>,
    rate_limit_remaining: Family<Labels<1>, Gauge>,
    refused: Family<Labels<1>, Counter>,
    /// Whether times are counted for each method and tool.
    detail: Arc<Detail>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let detail = Arc::<Detail>::default();
        detail.set(true);
        let times = || Times::new_with_constructor(|| Histogram::new(RANGES_SECS));
        Self {
            requests: registered(&mut registry, &names::REQUESTS, Family::default()),
            request_times: registered(&mut registry, &names::REQUEST_SECONDS, times()),
            request_errors: registered(&mut registry, &names::REQUEST_ERRORS, Family::default()),
            tool_calls: registered(&mut registry, &names::TOOL_CALLS, Family::default()),
            tool_times: registered(&mut registry, &names::TOOL_SECONDS, times()),
            tool_errors: registered(&mut registry, &names::TOOL_ERRORS, Family::default()),
            rate_limit_hits: registered(&mut registry, &names::RATE_LIMIT_HITS, Family::default()),
            rate_limit_remaining: registered(
                &mut registry,
                &names::RATE_LIMIT_REMAINING,
                Family::default(),
            ),
            refused: registered(&mut registry, &names::REFUSED, Family::default()),
            registry,
            detail,
        }
    }
}

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &Name, metric: M) -> M {
    registry.register(name.name, name.help, metric.clone());
    metric
}

impl Metrics {
    /// A request was answered. `error` is the kind of its error, if it is one.
    pub fn request(&self, method: &'static str, error: Option<&'static str>, took: Duration) {
        let status = if error.is_some() { "error" } else { "success" };
        self.requests
            .get_or_create(&[("method", method), ("status", status)])
            .inc();
        self.observe(&self.request_times, ("method", method), took);
        if let Some(error) = error {
            self.request_errors
                .get_or_create(&[("error_type", error)])
                .inc();
        }
    }

    /// A tool was called. `fault` is the code of its fault, if it ended with one.
    pub fn tool(&self, name: &'static str, fault: Option<&'static str>, took: Duration) {
        let status = if fault.is_some() { "error" } else { "success" };
        self.tool_calls
            .get_or_create(&[("tool", name), ("status", status)])
            .inc();
        self.observe(&self.tool_times, ("tool", name), took);
        if let Some(fault) = fault {
            self.tool_errors
                .get_or_create(&[("tool", name), ("error_type", fault)])
                .inc();
        }
    }

    /// Counts a time, under its own label or that of all.
    fn observe(&self, times: &Times, (name, value): (&'static str, &'static str), took: Duration) {
        let count = |value| {
            times
                .get_or_create(&[(name, value)])
                .observe(took.as_secs_f64());
        };
        if self.detail.is_on() {
            self.detail.meter.time(|| count(value));
        } else {
            count(ALL_TOGETHER);
        }
    }

    /// Whether times are counted for each method and tool, or for all together.
    #[must_use]
    pub const fn detail(&self) -> &Arc<Detail> {
        &self.detail
    }

    /// Somebody of this role asks too often.
    pub fn too_often(&self, role: &'static str) {
        self.rate_limit_hits.get_or_create(&[("role", role)]).inc();
    }

    /// What the caller who asked now has left.
    pub fn remaining(&self, role: &'static str, requests: u32) {
        self.rate_limit_remaining
            .get_or_create(&[("role", role)])
            .set(i64::from(requests));
    }

    /// A request was refused for this reason, a word of the program.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// All numbers in the form of `OpenMetrics` 1.0, what was counted first, then what `facts` tell.
    ///
    /// # Errors
    ///
    /// Never: text in memory takes everything.
    pub fn page(&self, facts: &dyn Facts) -> Result<String, fmt::Error> {
        let mut page = String::with_capacity(16 << 10);
        prometheus_client::encoding::text::encode_registry(&mut page, &self.registry)?;
        let mut told = Registry::default();
        told.register_collector(Box::new(Told(facts.facts())));
        prometheus_client::encoding::text::encode(&mut page, &told)?;
        Ok(page)
    }
}

/// Numbers of a part that are not counted but looked up when somebody asks.
pub trait Facts: Send + Sync {
    /// The numbers now, those of one name one after the other.
    fn facts(&self) -> Vec<Fact>;
}

/// One number.
#[derive(Debug)]
pub struct Fact {
    /// What it tells.
    pub name: &'static Name,
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, String)>,
    /// The number, in the unit that the name says.
    pub value: f64,
}

impl Fact {
    /// One number with these labels.
    #[must_use]
    pub fn new(name: &'static Name, labels: &[(&'static str, &str)], value: impl Number) -> Self {
        let labels = labels.iter();
        Self {
            name,
            labels: labels
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            value: value.number(),
        }
    }
}

/// What a sample can be made of. Counts beyond 2^53 lose their last digits, which nobody reads.
pub trait Number {
    /// As a sample.
    fn number(self) -> f64;
}

impl Number for f64 {
    fn number(self) -> f64 {
        self
    }
}

impl Number for u64 {
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "the digits that are lost are read by nobody"
    )]
    fn number(self) -> f64 {
        self as f64
    }
}

impl Number for usize {
    fn number(self) -> f64 {
        u64::try_from(self).unwrap_or(u64::MAX).number()
    }
}

#[derive(Debug)]
struct Told(Vec<Fact>);

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for facts in self.0.chunk_by(|one, next| one.name == next.name) {
            let Some(Fact { name, .. }) = facts.first() else {
                continue;
            };
            let (help, kind) = (format!("{}.", name.help), type_of(name.kind));
            let mut metric = encoder.encode_descriptor(name.name, &help, None, kind)?;
            for fact in facts.iter().filter(|fact| !fact.labels.is_empty()) {
                write(fact, metric.encode_family(&fact.labels)?)?;
            }
            if let Some(fact) = facts.iter().find(|fact| fact.labels.is_empty()) {
                write(fact, metric)?;
            }
        }
        Ok(())
    }
}

fn write(fact: &Fact, encoder: MetricEncoder<'_>) -> fmt::Result {
    match fact.name.kind {
        Kind::Counter => ConstCounter::new(fact.value).encode(encoder),
        Kind::Gauge | Kind::Histogram => ConstGauge::new(fact.value).encode(encoder),
    }
}

const fn type_of(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    }
}

#[cfg(test)]
mod tests;
