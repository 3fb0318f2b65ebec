//! The audit trail as the program uses it: what is noted of the program itself, and the commands that check and print the trail.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use crate::audit::{self, Audit, Export, Kind, Report, Verifier};
use crate::base::clock::UnixMillis;
use crate::config::Config;
use crate::guard::Witness;

/// Keys named in one line, so that the longest names fit.
const KEYS_PER_LINE: usize = 6;

/// Notes what happens to keys.
#[derive(Debug)]
pub(super) struct Ears(pub(super) Audit);

impl Witness for Ears {
    fn keys_changed(&self, added: &[Arc<str>], changed: &[Arc<str>], gone: &[Arc<str>]) {
        keys_changed(&self.0, [added, changed, gone], false);
    }
}

/// Notes which keys came, changed and went: a whole file of them in several lines. `while_stopped` is what happened since the run before.
pub(super) fn keys_changed(audit: &Audit, names: [&[Arc<str>]; 3], while_stopped: bool) {
    let words = ["added", "changed", "gone"];
    let all: Vec<(usize, &str)> = names
        .iter()
        .enumerate()
        .flat_map(|(kind, names)| names.iter().map(move |name| (kind, &**name)))
        .collect();
    for some in all.chunks(KEYS_PER_LINE) {
        let mut detail = serde_json::Map::new();
        for (kind, word) in words.into_iter().enumerate() {
            let own = some.iter().filter(|(other, _)| *other == kind);
            let own: Vec<_> = own.map(|(_, name)| *name).collect();
            detail.insert(word.to_owned(), json!(own));
        }
        if while_stopped {
            detail.insert("while_stopped".to_owned(), true.into());
        }
        audit.note(Kind::Key, None, &detail.into());
    }
}

/// Notes the start. The digest shows whether the configuration is that of the run before.
pub(super) fn started(audit: &Audit, config: &Config) {
    // Secrets print as nothing, and are in files of their own.
    let digest = audit::digest(format!("{config:?}").as_bytes());
    let detail = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "configuration": digest,
        "writes": config.safety.writes,
    });
    audit.note(Kind::Start, None, &detail);
}

/// `rackhand audit verify`: reads the whole trail and says whether it is whole.
///
/// # Errors
///
/// The trail cannot be read.
pub fn verify(data: &Path) -> anyhow::Result<Report> {
    let folder = data.join(audit::FOLDER);
    let files = audit::segment_files(&folder)
        .with_context(|| format!("could not read the audit trail in {}", folder.display()))?;
    let mut verifier = Verifier::default();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let read = File::open(&path).and_then(|file| verifier.segment(&name, BufReader::new(file)));
        read.with_context(|| format!("could not read {}", path.display()))?;
    }
    Ok(verifier.finish())
}

/// `rackhand audit export`: writes the lines from a moment on, as they stand on disk.
///
/// # Errors
///
/// The trail cannot be read, or nobody takes the lines.
pub fn export(data: &Path, since: Option<UnixMillis>, mut out: impl Write) -> anyhow::Result<()> {
    let folder = data.join(audit::FOLDER);
    let mut export = Export::begin(&folder, since)
        .with_context(|| format!("could not read the audit trail in {}", folder.display()))?;
    while let Some(chunk) = export.next_chunk()? {
        match out.write_all(&chunk) {
            // Whoever read has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("could not write the lines")?,
        }
    }
    out.flush().or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })?;
    Ok(())
}

/// A moment as a person writes it: `2026-11-21`, `2026-11-21T18:55Z`, or so long ago: `90m`, `12h`, `7d`.
///
/// # Errors
///
/// It is none, in words for the person.
pub fn moment(text: &str) -> Result<UnixMillis, String> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let each = match unit {
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let millis = number.parse::<u64>().ok()?.checked_mul(each)?;
        Some(UnixMillis(UnixMillis::now().0.saturating_sub(millis)))
    };
    UnixMillis::from_iso(text).or_else(ago).ok_or_else(|| {
        "write a day or a moment in UTC, such as 2026-11-21 or 2026-11-21T18:55Z, or how long ago: 90m, 12h, 7d".to_owned()
    })
}
