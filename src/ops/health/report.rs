//! What is told of the box's health.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Level;
use crate::base::clock::UnixMillis;

/// What stands in place of a reason that not everybody may read.
const HIDDEN: &str =
    "Something is not as it should be; a key that is not bound to certain components is told what.";

/// Who knows how well the box is. Asked on every probe: answers from what it watches, without waiting.
pub trait Source: Send + Sync {
    /// The report as of now.
    fn report(&self) -> Arc<Report>;

    /// The last report, without a look at anything.
    fn last(&self) -> Arc<Report> {
        self.report()
    }

    /// The figures behind it.
    fn detail(&self) -> Value;
}

/// Where a check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: &'static str,
    /// Whether its reason may name what not everybody may know of.
    pub tells_names: bool,
    /// How well it is.
    pub level: Level,
    /// What is wrong and what to do.
    pub reason: Cow<'static, str>,
    /// Since when it is at this level.
    pub since: Instant,
    /// When it was last well, if it is not; absent if it never was.
    pub last_good: Option<Instant>,
    /// Changes of its level.
    pub changes: u64,
}

impl Standing {
    /// The reason as somebody reads it who may know of all names, or may not.
    #[must_use]
    pub fn shown_reason(&self, sees_names: bool) -> &str {
        let is_ill = self.level != Level::Healthy;
        shown(&self.reason, is_ill && self.tells_names && !sees_names)
    }

    /// The check as JSON.
    #[must_use]
    pub fn to_json(&self, now: Instant, sees_names: bool) -> Value {
        let mut value = json!({
            "check": self.name,
            "level": self.level.as_str(),
            "reason": self.shown_reason(sees_names),
            "since_ms": millis(now, self.since),
            "changes": self.changes,
        });
        let last_good = match self.level {
            Level::Healthy => Some(now),
            Level::Degraded | Level::Unhealthy => self.last_good,
        };
        if let (Some(fields), Some(at)) = (value.as_object_mut(), last_good) {
            fields.insert("last_good_ms".to_owned(), millis(now, at).into());
        }
        value
    }
}

/// A change of a check's level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which check.
    pub name: &'static str,
    /// Whether the reason may name what not everybody may know of.
    pub tells_names: bool,
    /// The level before.
    pub from: Level,
    /// The level since.
    pub to: Level,
    /// Why.
    pub reason: Cow<'static, str>,
    /// When, by the wall clock.
    pub at: UnixMillis,
}

impl Change {
    /// The reason as somebody reads it who may know of all names, or may not.
    #[must_use]
    pub fn shown_reason(&self, sees_names: bool) -> &str {
        shown(&self.reason, self.tells_names && !sees_names)
    }

    /// The change as one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self {
            name,
            from,
            to,
            reason,
            ..
        } = self;
        format!("Health: {name} is {to}, it was {from}. {reason}")
    }
}

/// How well the box is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The worst level of all checks.
    pub level: Level,
    /// Why no requests should be sent here; absent when it is ready.
    pub not_ready: Option<&'static str>,
    /// When the process began.
    pub began: Instant,
    /// Every check.
    pub standings: Vec<Standing>,
    /// The last changes, newest last.
    pub changes: Vec<Arc<Change>>,
    /// Changes since the process began.
    pub changed: u64,
}

impl Report {
    /// A box on which nothing was looked at yet, and nothing is known to be ill.
    #[must_use]
    pub const fn new(began: Instant) -> Self {
        Self {
            level: Level::Healthy,
            not_ready: None,
            began,
            standings: Vec::new(),
            changes: Vec::new(),
            changed: 0,
        }
    }

    /// A check by its name.
    #[must_use]
    pub fn check(&self, name: &str) -> Option<&Standing> {
        self.standings.iter().find(|one| one.name == name)
    }

    /// What is wrong in a few sentences, the worst first.
    #[must_use]
    pub fn summary(&self, sees_names: bool) -> String {
        let mut text = String::new();
        for level in [Level::Unhealthy, Level::Degraded] {
            for one in self.standings.iter().filter(|one| one.level == level) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(one.shown_reason(sees_names));
            }
        }
        if text.is_empty() {
            text.push_str("All is well.");
        }
        text
    }

    /// What anybody may know: `status`, version and uptime in seconds.
    #[must_use]
    pub fn short(&self, status: &str, now: Instant) -> Value {
        json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime": now.saturating_duration_since(self.began).as_secs(),
        })
    }

    /// The whole report.
    #[must_use]
    pub fn to_json(&self, status: &str, now: Instant, sees_names: bool) -> Value {
        let mut value = self.short(status, now);
        let checks = self
            .standings
            .iter()
            .map(|one| one.to_json(now, sees_names));
        let changes = self.changes.iter().rev().map(|change| {
            json!({
                "at": change.at.to_iso(),
                "check": change.name,
                "from": change.from.as_str(),
                "to": change.to.as_str(),
                "reason": change.shown_reason(sees_names),
            })
        });
        if let Some(fields) = value.as_object_mut() {
            let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
            put("level", self.level.as_str().into());
            put("ready", self.not_ready.is_none().into());
            if let Some(why) = self.not_ready {
                put("not_ready", why.into());
            }
            put("summary", self.summary(sees_names).into());
            put("checks", checks.collect::<Vec<_>>().into());
            put("changes", changes.collect::<Vec<_>>().into());
            put("changes_total", self.changed.into());
        }
        value
    }
}

fn shown(reason: &str, is_hidden: bool) -> &str {
    if is_hidden { HIDDEN } else { reason }
}

fn millis(now: Instant, at: Instant) -> u64 {
    let age: Duration = now.saturating_duration_since(at);
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
