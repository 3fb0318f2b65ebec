//! Measures what the box promises, against yardsticks of the same run.
//!
//! `tests/bench/run` says how to start it. Every figure that is a rate or a cost is CPU time or bytes, not time on the clock, so that a
//! busy machine changes little; what is time on the clock says so. A figure that falls short is printed, never a failure: only what
//! does not work is one.

#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::similar_names,
    reason = "figures are rounded for people, and a fault in a measurement ends it"
)]

mod back;
mod call;
mod child;
mod clients;
mod clock;
mod design;
mod flash;
mod guard;
mod ingest;
mod load;
mod memory;
mod program;
mod random;
mod revisions;
mod rmcp;
mod serve;
mod start;
mod streams;
mod table;
mod write;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use table::Row;

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Scale {
    is_short: bool,
}

impl Scale {
    /// The number for a full run, or the one for a short run.
    pub(crate) fn pick<T>(&self, full: T, short: T) -> T {
        if self.is_short { short } else { full }
    }
}

type Measure = fn(&Scale) -> Result<Vec<Row>>;

const MEASURES: &[(&str, Measure)] = &[
    ("call", call::rows),
    ("guard", guard::rows),
    ("revisions", revisions::rows),
    ("clients", clients::rows),
    ("ingest", ingest::rows),
    ("memory", memory::rows),
    ("streams", streams::rows),
    ("write", write::rows),
    ("start", start::rows),
    ("back", back::rows),
    ("flash", flash::rows),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, rest)) if first == child::ROLE => in_role(rest),
        _ => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_role(arguments: &[String]) -> Result<()> {
    let (role, rest) = arguments.split_first().context("a role is missing")?;
    match role.as_str() {
        "flash" => flash::role(rest),
        "memory" => memory::role(rest),
        "serve" => serve::role(rest),
        _ => bail!("there is no role {role}"),
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let mut scale = Scale { is_short: false };
    let mut only: Option<Vec<&str>> = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says this to every bench.
            "--bench" => {}
            "--short" => scale.is_short = true,
            "--only" => {
                only = Some(
                    arguments
                        .next()
                        .context("--only needs names")?
                        .split(',')
                        .collect(),
                );
            }
            other => bail!("{other} is no option; there are --short and --only ROW,…"),
        }
    }
    let names: Vec<_> = MEASURES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = only.iter().flatten().find(|name| !names.contains(*name)) {
        bail!("{unknown} is no row; there are {}", names.join(", "));
    }
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        if only.as_ref().is_none_or(|only| only.contains(name)) {
            eprintln!("measuring {name}");
            rows.extend(measure(&scale).with_context(|| format!("row {name}"))?);
        }
    }
    let text = table::markdown(&rows);
    println!("{text}");
    if !scale.is_short && only.is_none() {
        keep(&text)?;
    }
    Ok(())
}

/// Folder of the benches.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench")
}

fn keep(text: &str) -> Result<()> {
    let date = std::process::Command::new("date")
        .arg("+%Y-%m-%d")
        .output()?
        .stdout;
    let date = String::from_utf8(date)?;
    std::fs::write(
        folder().join("last.md"),
        format!(
            "Measured on {} by `tests/bench/run`.\n\n{text}",
            date.trim()
        ),
    )?;
    Ok(())
}
