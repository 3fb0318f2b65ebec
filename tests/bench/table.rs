//! The table that a run prints, and the arithmetic behind its figures.

use std::fmt::Write as _;
use std::time::Duration;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What shall be reached.
    pub(crate) reach: &'static str,
    /// What was reached.
    pub(crate) measured: String,
    /// Whether that is enough; nothing where no number is asked.
    pub(crate) is_reached: Option<bool>,
    /// How to measure this alone.
    pub(crate) only: &'static str,
}

/// The rows in Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text =
        String::from("| What | Reach | Measured | Reached | Command |\n|---|---|---|---|---|\n");
    for row in rows {
        let verdict = match row.is_reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        writeln!(
            text,
            "| {} | {} | {} | {verdict} | `tests/bench/run --only {}` |",
            row.what, row.reach, row.measured, row.only
        )
        .ok();
    }
    text
}

/// The middle of the figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure that a share `q` of all figures does not exceed; 0 without figures.
pub(crate) fn quantile(figures: &[f64], q: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * q) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

/// Lowest and highest of the figures.
pub(crate) fn range(figures: &[f64]) -> (f64, f64) {
    (quantile(figures, 0.0), quantile(figures, 1.0))
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
