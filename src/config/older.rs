//! Words of older servers of this kind that are taken beside our own: tiers in `[rate]`, and environment names of rates.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::problems::Problems;
use crate::limits::{RATE_BURST_MAX, RATE_PER_MINUTE_MAX};

/// Requests a minute, of each key.
const RATE_LIMIT_RPM: &str = "MCP_RATE_LIMIT_RPM";
/// Requests at once, of each key.
const RATE_LIMIT_BURST: &str = "MCP_RATE_LIMIT_BURST";
/// Milliseconds in which a bucket fills up.
const RL_WINDOW_MS: &str = "MCP_RL_WINDOW_MS";
/// Requests in a full bucket.
const RL_BUCKET: &str = "MCP_RL_BUCKET";

/// Longest window, milliseconds.
const WINDOW_MAX_MS: u64 = 3_600_000;

/// Tiers by other names, and the role that each is. `guest` and `admin` have the same names.
const TIERS: [(&str, &str); 2] = [("user", "operator"), ("premium", "engineer")];

/// Gives the keys of tiers in `[rate]` the names of roles.
pub(super) fn rename_tiers(file: &mut Table, problems: &mut Problems) {
    let Some(Value::Table(rate)) = file.get_mut("rate") else {
        return;
    };
    for what in ["per-minute", "burst"] {
        for (tier, role) in TIERS {
            let (old, new) = (format!("{tier}-{what}"), format!("{role}-{what}"));
            let Some(value) = rate.remove(&old) else {
                continue;
            };
            if rate.contains_key(&new) {
                let message = format!("this is another word for `{new}`, which is there too");
                problems.note(format!("rate.{old}"), message);
            } else {
                rate.insert(new, value);
            }
        }
    }
}

/// Lays the rates of the environment over those of the file.
pub(super) fn apply_environment(
    merged: &mut Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let mut number = |name: &str, range: RangeInclusive<u64>| {
        let text = environment.get(name)?.trim();
        match text.parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (least, most) = (range.start(), range.end());
                let message = format!("\"{text}\" is not a whole number from {least} to {most}");
                problems.note(name, message);
                None
            }
        }
    };
    let (most, most_at_once) = (RATE_PER_MINUTE_MAX.into(), RATE_BURST_MAX.into());
    let per_minute = number(RATE_LIMIT_RPM, 1..=most);
    let burst = number(RATE_LIMIT_BURST, 1..=most_at_once);
    let window = number(RL_WINDOW_MS, 1..=WINDOW_MAX_MS);
    let bucket = number(RL_BUCKET, 1..=most_at_once);
    let is_given = |name: &&str| environment.contains_key(*name);
    let names = [RATE_LIMIT_RPM, RATE_LIMIT_BURST];
    let clash = names.iter().copied().find(is_given);
    let (window_or_bucket, missing) = (
        [RL_BUCKET, RL_WINDOW_MS].iter().copied().find(is_given),
        is_given(&RL_WINDOW_MS) && !is_given(&RL_BUCKET),
    );
    if let (Some(one), Some(other)) = (clash, window_or_bucket) {
        problems.note(
            other,
            format!("this and {one} say the same in two ways: set either"),
        );
        return;
    }
    if missing {
        let message = format!("this needs {RL_BUCKET}: how many requests fit into the window");
        problems.note(RL_WINDOW_MS, message);
        return;
    }
    let Some(Value::Table(rate)) = merged.get_mut("rate") else {
        return;
    };
    let mut set = |key: &str, number: Option<u64>| {
        if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
            rate.insert(key.to_owned(), Value::Integer(number));
        }
    };
    set("per-minute", per_minute);
    set("burst", burst.or(bucket));
    if let Some(bucket) = bucket {
        let per_minute = bucket * 60_000 / window.unwrap_or(60_000);
        if (1..=most).contains(&per_minute) {
            set("per-minute", Some(per_minute));
        } else {
            let message = format!(
                "with {RL_WINDOW_MS} these are {per_minute} requests a minute, which is outside 1 to {most}"
            );
            problems.note(RL_BUCKET, message);
        }
    }
}
