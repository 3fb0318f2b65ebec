//! Poll frames into the mirror, against parsing the same frames and doing nothing with them.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use rackhand::model::change::ChangeSink as _;
use rackhand::store::Mirror;
use rackhand::wire::poll::read_frame;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use tokio::time::Instant;

use crate::design::{self, Mix};
use crate::table::{Row, median, range};
use crate::{Scale, clock};

const CONTROLS: usize = 50_000;
const CHANGES: usize = 1_000;
/// As few as fit a cache together with the mirror: a frame that has just come over a socket is in it.
const FRAMES: usize = 16;
/// Passes of a round, so many that the steps of the CPU clock do not show.
const PASSES: usize = 20;

/// What a reader of polls needs, and nothing else: the fastest way in which serde reads it.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    result: Changes<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Changes<'a> {
    #[serde(borrow)]
    changes: Vec<Change<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change<'a> {
    component: Option<&'a str>,
    name: &'a str,
    string: Option<&'a str>,
    #[serde(borrow)]
    value: Option<Value<'a>>,
    position: Option<f64>,
}

enum Value<'a> {
    Number(f64),
    Text(&'a str),
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyVisitor;

        impl<'de> Visitor<'de> for AnyVisitor {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Value::Text(text))
            }
        }

        deserializer.deserialize_any(AnyVisitor)
    }
}

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let rounds = scale.pick(15, 5);
    let mirror = Arc::new(Mirror::new(Instant::now()));
    design::tell(&*mirror, CONTROLS);
    [
        (
            Mix::Meters,
            "nine of ten changes are meters, in the order of registration",
        ),
        (Mix::Any, "any control, in any order"),
    ]
    .into_iter()
    .map(|(mix, name)| {
        let frames = design::polls(CONTROLS, FRAMES, CHANGES, mix);
        measure(&mirror, &frames, rounds, name)
    })
    .collect()
}

fn measure(mirror: &Mirror, frames: &[String], rounds: usize, name: &str) -> Result<Row> {
    let bytes: usize = frames.iter().map(String::len).sum();
    let before = mirror.status().changes;
    let (mut ours, mut structs, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let rate = |figures: &mut Vec<f64>, work: &mut dyn FnMut(&str) -> Result<()>| {
        let start = clock::own_cpu()?;
        for _ in 0..PASSES {
            frames.iter().try_for_each(|frame| work(frame))?;
        }
        let used = clock::own_cpu()?.saturating_sub(start);
        figures.push((PASSES * bytes) as f64 / 1e6 / used.as_secs_f64());
        anyhow::Ok(())
    };
    for _ in 0..=rounds {
        rate(&mut ours, &mut |frame| {
            let now = Instant::now();
            read_frame(frame, &mut |batch| mirror.values(batch, now))?;
            Ok(())
        })?;
        rate(&mut structs, &mut |frame| {
            let frame: Frame<'_> = serde_json::from_str(frame)?;
            for change in &frame.result.changes {
                black_box((
                    change.component,
                    change.name,
                    change.string,
                    change.position,
                ));
                match &change.value {
                    Some(Value::Number(number)) => drop(black_box(*number)),
                    Some(Value::Text(text)) => drop(black_box(*text)),
                    None => {}
                }
            }
            Ok(())
        })?;
        rate(&mut values, &mut |frame| {
            black_box(serde_json::from_str::<serde_json::Value>(frame)?);
            Ok(())
        })?;
    }
    let applied = mirror.status().changes - before;
    anyhow::ensure!(
        applied == (frames.len() * CHANGES * PASSES * (rounds + 1)) as u64,
        "only {applied} changes reached the mirror"
    );
    // The first round warms up.
    let (ours, structs, values) = (&ours[1..], &structs[1..], &values[1..]);
    let ratios: Vec<_> = ours.iter().zip(structs).map(|(a, b)| a / b).collect();
    let ratio = median(ours) / median(structs);
    let (low, high) = range(&ratios);
    Ok(Row {
        what: format!(
            "Ingest of poll frames ({CHANGES} changes, {} KB each, {name}) into a mirror of {CONTROLS} controls, against serde_json parsing them into borrowed structs",
            bytes / frames.len() / 1000
        ),
        reach: "≥ 0.6 of its MB per CPU second",
        measured: format!(
            "**{ratio:.2}** (rounds {low:.2} to {high:.2}): {:.0} against {:.0} MB per CPU second; serde_json into `Value`: {:.0}",
            median(ours),
            median(structs),
            median(values)
        ),
        is_reached: Some(ratio >= 0.6),
        only: "ingest",
    })
}
