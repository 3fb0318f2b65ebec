//! `rackhand health`: asks a running box how well it is, for containers and scripts without a shell or `curl`.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::Value;

use super::stdio::BridgeOptions;
use crate::base::text::for_log;

/// What a box says of itself.
#[derive(Debug)]
pub struct Said {
    /// Whether it can do its work, degraded or not.
    pub is_good: bool,
    /// The words for a person.
    pub text: String,
}

/// Asks.
///
/// # Errors
///
/// The box is not reached, does not know the key, or what answers there is no box.
pub async fn ask(mut box_: BridgeOptions, with_detail: bool) -> anyhow::Result<Said> {
    let path = if with_detail {
        "/health?detail"
    } else {
        "/health"
    };
    box_.url = box_.url.page(path);
    let (status, body) = box_.client()?.get().await?;
    let body: Value = serde_json::from_str(&body)
        .with_context(|| format!("what answers there with {status} is no rackhand"))?;
    let word = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        for_log(text.unwrap_or_default()).into_owned()
    };
    let level = word(&body, "status");
    anyhow::ensure!(
        matches!(status, 200 | 503) && !level.is_empty(),
        "the box answers {status}: {}",
        word(&body, "error")
    );
    let uptime = body.get("uptime").and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!("{level}: version {}, up {uptime} s", word(&body, "version"));
    for check in body
        .get("checks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let (level, name) = (word(check, "level"), word(check, "check"));
        let reason = word(check, "reason");
        // Writing to a string never fails.
        let _ = write!(text, "\n{level:<10} {name:<14} {reason}");
    }
    Ok(Said {
        is_good: status == 200,
        text,
    })
}
