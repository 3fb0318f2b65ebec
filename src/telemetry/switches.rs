//! What can be switched while the box runs: how much is logged, traced, and kept in detail. What is switched by hand goes back by itself
//! after a while, so that no box stays at its loudest for years.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::logging;
use super::meter::Meter;
use super::spans::{Share, Spans};
use crate::limits::SIGNALLED_FOR;

/// A detail that can be left out, and what it costs.
#[derive(Debug, Default)]
pub struct Detail {
    is_on: AtomicBool,
    /// What it costs.
    pub meter: Meter,
}

impl Detail {
    /// On or off from now on.
    pub fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }
}

/// One thing that can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// The level or filter of the log.
    Log,
    /// The part of requests that is traced.
    Traces,
    /// Whether the audit trail keeps the arguments of calls that read.
    AuditDetail,
    /// Whether times are counted for each tool and method, or for all together.
    MetricsDetail,
}

impl Switch {
    /// All of them, as they are shown.
    pub const ALL: [Self; 4] = [
        Self::Log,
        Self::Traces,
        Self::AuditDetail,
        Self::MetricsDetail,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Traces => "traces",
            Self::AuditDetail => "audit_detail",
            Self::MetricsDetail => "metrics_detail",
        }
    }
}

/// A switch and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A filter such as `debug` or `info,rackhand::link=debug`.
    Log(String),
    /// So much of all requests.
    Traces(Share),
    /// On or off.
    AuditDetail(bool),
    /// On or off.
    MetricsDetail(bool),
}

impl Setting {
    /// Whose it is.
    #[must_use]
    pub const fn switch(&self) -> Switch {
        match self {
            Self::Log(_) => Switch::Log,
            Self::Traces(_) => Switch::Traces,
            Self::AuditDetail(_) => Switch::AuditDetail,
            Self::MetricsDetail(_) => Switch::MetricsDetail,
        }
    }

    /// As people read it.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Log(filter) => filter.clone(),
            Self::Traces(share) => format!("{} %", share.percent()),
            Self::AuditDetail(true) | Self::MetricsDetail(true) => "on".to_owned(),
            Self::AuditDetail(false) | Self::MetricsDetail(false) => "off".to_owned(),
        }
    }
}

/// Why something is not switched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchFault {
    /// It begins with no level: one letter wrong, and nothing would be logged any more.
    #[error(
        "it must begin with error, warn, info or debug, and go on with parts such as `,rackhand=debug`"
    )]
    NoFilter,
    /// There is nobody to send traces to.
    #[error("there is no collector to send traces to: `tracing.endpoint` is empty")]
    NoCollector,
}

/// Where a switch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Now.
    pub now: Setting,
    /// By the configuration.
    pub usual: Setting,
    /// When it goes back, if it was switched by hand.
    pub ends: Option<Instant>,
}

/// Something that was switched by hand.
#[derive(Debug)]
struct ByHand {
    setting: Setting,
    ends: Instant,
    by_signal: bool,
}

/// All switches of the process.
#[derive(Debug)]
pub struct Switches {
    usual: [Setting; 4],
    by_hand: Mutex<heapless::Vec<ByHand, 4>>,
    spans: Arc<Spans>,
    audit: Arc<Detail>,
    metrics: Arc<Detail>,
    changed: Notify,
}

impl Switches {
    /// The switches, each where the configuration has it.
    #[must_use]
    pub fn new(
        share: Share,
        spans: Arc<Spans>,
        (audit, audit_usual): (Arc<Detail>, bool),
        (metrics, metrics_usual): (Arc<Detail>, bool),
    ) -> Self {
        let switches = Self {
            usual: [
                Setting::Log(logging::usual_filter().to_owned()),
                Setting::Traces(share),
                Setting::AuditDetail(audit_usual),
                Setting::MetricsDetail(metrics_usual),
            ],
            by_hand: Mutex::default(),
            spans,
            audit,
            metrics,
            changed: Notify::new(),
        };
        for setting in &switches.usual {
            switches.apply(setting);
        }
        switches
    }

    /// What tracing does and costs.
    #[must_use]
    pub const fn spans(&self) -> &Arc<Spans> {
        &self.spans
    }

    /// The detail of a switch that is one.
    #[must_use]
    pub fn detail(&self, switch: Switch) -> Option<&Detail> {
        match switch {
            Switch::Log | Switch::Traces => None,
            Switch::AuditDetail => Some(&self.audit),
            Switch::MetricsDetail => Some(&self.metrics),
        }
    }

    /// Switches all of this, or none, until that moment; the rest goes back, if that `is_reset`.
    ///
    /// # Errors
    ///
    /// The first that cannot be switched so, and why.
    pub fn change(
        &self,
        settings: Vec<Setting>,
        ends: Instant,
        is_reset: bool,
    ) -> Result<(), (Switch, SwitchFault)> {
        for setting in &settings {
            self.check(setting)
                .map_err(|fault| (setting.switch(), fault))?;
        }
        if is_reset {
            self.back(|_| true);
        }
        self.put(settings, ends, false);
        Ok(())
    }

    fn check(&self, setting: &Setting) -> Result<(), SwitchFault> {
        match setting {
            Setting::Log(filter) => {
                let level = filter.split(',').next().unwrap_or_default();
                let is_level = ["error", "warn", "info", "debug"].contains(&level);
                let can_be_read = logging::check_filter(filter).is_ok();
                (is_level && can_be_read)
                    .then_some(())
                    .ok_or(SwitchFault::NoFilter)
            }
            Setting::Traces(_) if !self.spans.is_on() => Err(SwitchFault::NoCollector),
            Setting::Traces(_) | Setting::AuditDetail(_) | Setting::MetricsDetail(_) => Ok(()),
        }
    }

    fn put(&self, settings: Vec<Setting>, ends: Instant, by_signal: bool) {
        let mut by_hand = self.by_hand.lock();
        for setting in settings {
            self.apply(&setting);
            by_hand.retain(|one| one.setting.switch() != setting.switch());
            // There is one place for each.
            let _placed = by_hand.push(ByHand {
                setting,
                ends,
                by_signal,
            });
        }
        drop(by_hand);
        self.changed.notify_one();
    }

    fn apply(&self, setting: &Setting) {
        match setting {
            // It was read before.
            Setting::Log(filter) => drop(logging::set_filter(filter)),
            Setting::Traces(share) => self.spans.set_share(*share),
            Setting::AuditDetail(is_on) => self.audit.set(*is_on),
            Setting::MetricsDetail(is_on) => self.metrics.set(*is_on),
        }
    }

    /// Switches back what was switched by hand, as far as it is meant. Answers what that was.
    fn back(&self, which: impl Fn(&ByHand) -> bool) -> Vec<Switch> {
        let mut by_hand = self.by_hand.lock();
        let mut back = Vec::new();
        by_hand.retain(|one| {
            let goes = which(one);
            if goes {
                back.push(one.setting.switch());
            }
            !goes
        });
        for usual in &self.usual {
            if back.contains(&usual.switch()) {
                self.apply(usual);
            }
        }
        back
    }

    /// As a signal does: everything is logged and traced for a while, and the next time it is over at once. Answers whether it began.
    pub fn toggle(&self) -> bool {
        if !self.back(|one| one.by_signal).is_empty() {
            return false;
        }
        let mut settings = vec![Setting::Log("debug".to_owned())];
        if self.spans.is_on() {
            settings.push(Setting::Traces(Share::ALL));
        }
        self.put(settings, Instant::now() + SIGNALLED_FOR, true);
        true
    }

    /// Waits until the time of something is over that was switched by hand, and switches it back.
    pub async fn ended(&self) -> Vec<Switch> {
        loop {
            let next = self.by_hand.lock().iter().map(|one| one.ends).min();
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let now = Instant::now();
                    let over = self.back(|one| one.ends <= now);
                    if !over.is_empty() {
                        return over;
                    }
                }
            }
        }
    }

    /// Where each stands, in the order of [`Switch::ALL`].
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let by_hand = self.by_hand.lock();
        let each = self.usual.iter().map(|usual| {
            let mut all = by_hand.iter();
            let found = all.find(|one| one.setting.switch() == usual.switch());
            Standing {
                now: found.map_or(usual, |one| &one.setting).clone(),
                usual: usual.clone(),
                ends: found.map(|one| one.ends),
            }
        });
        each.collect()
    }

    /// How long something stays switched that ends at this moment.
    #[must_use]
    pub fn left(ends: Instant) -> Duration {
        ends.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switches() -> Switches {
        let detail = Arc::<Detail>::default;
        let usual = Share::of_percent(1.0);
        Switches::new(usual, Arc::default(), (detail(), false), (detail(), true))
    }

    fn words(switches: &Switches) -> Vec<String> {
        let standings = switches.standings();
        standings.iter().map(|one| one.now.words()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_switched_by_hand_goes_back_by_itself_each_at_its_time() {
        let switches = switches();
        assert_eq!(words(&switches), ["info", "1 %", "off", "on"]);
        let began = Instant::now();
        let after = |secs| began + Duration::from_secs(secs);
        let (audit, metrics) = (Setting::AuditDetail(true), Setting::MetricsDetail(false));
        switches
            .change(vec![audit.clone(), metrics], after(60), false)
            .unwrap();
        switches.change(vec![audit], after(600), false).unwrap();
        assert!(switches.audit.is_on() && !switches.metrics.is_on());
        assert_eq!(switches.ended().await, [Switch::MetricsDetail]);
        assert_eq!(Instant::now(), after(60));
        assert!(switches.audit.is_on() && switches.metrics.is_on());
        assert_eq!(switches.standings()[2].ends, Some(after(600)));
        assert_eq!(switches.ended().await, [Switch::AuditDetail]);
        assert_eq!(Instant::now(), after(600));
        assert!(!switches.audit.is_on());
        assert_eq!(words(&switches), ["info", "1 %", "off", "on"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_wakes_whoever_waits_for_the_end() {
        let switches = Arc::new(switches());
        let waits = Arc::clone(&switches);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { waits.ended().await });
        tokio::task::yield_now().await;
        let ends = Instant::now() + Duration::from_secs(5);
        switches
            .change(vec![Setting::AuditDetail(true)], ends, false)
            .unwrap();
        assert_eq!(
            tasks.join_next().await.unwrap().unwrap(),
            [Switch::AuditDetail]
        );
        assert_eq!(Instant::now(), ends);
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_begins_and_the_next_one_ends_what_it_began_and_nothing_else() {
        let switches = switches();
        let ends = Instant::now() + Duration::from_hours(1);
        switches
            .change(vec![Setting::AuditDetail(true)], ends, false)
            .unwrap();
        assert!(switches.toggle());
        // Nobody takes traces, so there are none.
        assert_eq!(words(&switches), ["debug", "1 %", "on", "on"]);
        assert!(!switches.toggle());
        assert_eq!(words(&switches), ["info", "1 %", "on", "on"]);
        switches.spans.begin(Share::of_percent(1.0), true);
        assert!(switches.toggle());
        assert_eq!(words(&switches), ["debug", "100 %", "on", "on"]);
        assert_eq!(switches.spans.status().share, Share::ALL);
        assert_eq!(switches.ended().await, [Switch::Log, Switch::Traces]);
        assert_eq!(words(&switches), ["info", "1 %", "on", "on"]);
        switches.change(Vec::new(), ends, true).unwrap();
        assert_eq!(words(&switches), ["info", "1 %", "off", "on"]);
        switches.spans.end();
    }

    #[test]
    fn a_slip_of_the_pen_does_not_silence_the_log_and_all_is_switched_or_nothing() {
        let switches = switches();
        let ends = Instant::now();
        for slip in [
            "",
            "debgu",
            "rackhand::link=debug",
            "off",
            "info,rackhand=loud",
        ] {
            let wishes = vec![Setting::AuditDetail(true), Setting::Log(slip.to_owned())];
            let fault = switches.change(wishes, ends, false).unwrap_err();
            assert_eq!(fault, (Switch::Log, SwitchFault::NoFilter), "{slip}");
        }
        let wishes = vec![Setting::AuditDetail(true), Setting::Traces(Share::ALL)];
        let fault = switches.change(wishes, ends, false).unwrap_err();
        assert_eq!(fault, (Switch::Traces, SwitchFault::NoCollector));
        assert!(!switches.audit.is_on());
        let good = Setting::Log("warn,rackhand::link=debug".to_owned());
        switches.change(vec![good], ends, false).unwrap();
    }
}
