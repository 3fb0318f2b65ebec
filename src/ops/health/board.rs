//! Keeps what the checks came to: since when, when last well, and the last changes.

use std::sync::Arc;

use tokio::time::Instant;

use super::{CHECKS, Change, Facts, Level, Report, Standing};
use crate::base::clock::UnixMillis;
use crate::config::HealthConfig;
use crate::limits::HEALTH_CHANGES_KEPT;

/// All checks and where they stand.
#[derive(Debug)]
pub struct Board {
    report: Arc<Report>,
}

impl Board {
    /// A board for a process that began now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            report: Arc::new(Report::new(now)),
        }
    }

    /// The report as the last look left it.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report)
    }

    /// Looks at these facts, and answers what changed. What the first look finds is how things are, and no change.
    pub fn judge(
        &mut self,
        facts: &Facts,
        not_ready: Option<&'static str>,
        config: &HealthConfig,
        now: Instant,
        wall: UnixMillis,
    ) -> Vec<Arc<Change>> {
        let mut changes = Vec::new();
        for (index, check) in CHECKS.iter().enumerate() {
            let standing = self.report.standings.get(index);
            let was = standing.map_or(Level::Healthy, |standing| standing.level);
            let finding = (check.judge)(facts, config, was);
            match standing {
                None => Arc::make_mut(&mut self.report).standings.push(Standing {
                    name: check.name,
                    tells_names: check.tells_names,
                    level: finding.level,
                    reason: finding.reason,
                    since: now,
                    last_good: None,
                    changes: 0,
                }),
                Some(same) if same.level == finding.level && same.reason == finding.reason => {}
                Some(_) => {
                    let report = Arc::make_mut(&mut self.report);
                    let Some(standing) = report.standings.get_mut(index) else {
                        continue;
                    };
                    standing.reason.clone_from(&finding.reason);
                    if finding.level == was {
                        continue;
                    }
                    if was == Level::Healthy {
                        standing.last_good = Some(now);
                    }
                    standing.level = finding.level;
                    standing.since = now;
                    standing.changes += 1;
                    changes.push(Arc::new(Change {
                        name: check.name,
                        tells_names: check.tells_names,
                        from: was,
                        to: finding.level,
                        reason: finding.reason,
                        at: wall,
                    }));
                }
            }
        }
        let level = self.report.standings.iter().map(|one| one.level).max();
        let level = level.unwrap_or_default();
        let is_news =
            !changes.is_empty() || self.report.level != level || self.report.not_ready != not_ready;
        if is_news {
            let report = Arc::make_mut(&mut self.report);
            report.level = level;
            report.not_ready = not_ready;
            for change in &changes {
                if report.changes.len() >= HEALTH_CHANGES_KEPT {
                    report.changes.remove(0);
                }
                report.changes.push(Arc::clone(change));
                report.changed += 1;
            }
        }
        changes
    }
}
