//! Which keys the record knows of: what happens to keys while the service is stopped shows at its next start, whoever did it and however.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::audit;
use crate::audit::Audit;
use crate::base::file;
use crate::base::shutdown::Stop;
use crate::guard::Guard;
use crate::limits::{AUDIT_SYNC_SECS, KEY_FILE_MAX_BYTES};

/// Format of the file.
const VERSION: u32 = 1;

/// Longest file that is read, bytes: names and marks of as many keys as the key file has room for.
const FILE_MAX_BYTES: u64 = KEY_FILE_MAX_BYTES;

/// Time from a change of keys until it counts as known: its line is safe by then. A power cut in between has it noted twice, not never.
const SETTLE: Duration = Duration::from_secs(2 * AUDIT_SYNC_SECS);

/// A mark of each key by its name: another one as soon as the key or its rights are others.
type Marks = BTreeMap<String, String>;

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    version: u32,
    keys: Marks,
}

/// The keys that are on record.
#[derive(Debug)]
pub(super) struct KeysSeen {
    path: PathBuf,
    written: Option<Marks>,
}

impl KeysSeen {
    /// Those of the run before. Without a file nothing is known, and every key will be new.
    pub(super) fn open(data: &Path) -> Self {
        let path = data.join("keys-seen.json");
        let written = match read(&path) {
            Ok(contents) => contents.map(|contents| contents.keys),
            Err(fault) => {
                tracing::warn!(%fault, "{} cannot be read: every key counts as new on record", path.display());
                None
            }
        };
        Self { path, written }
    }

    /// Notes what happened to keys since then.
    pub(super) fn compare(&self, guard: &Guard, audit: &Audit) {
        let Some(now) = guard.marks() else { return };
        let nothing = Marks::new();
        let before = self.written.as_ref().unwrap_or(&nothing);
        let names = |all: &Marks, is_wanted: &dyn Fn(&str, &str) -> bool| -> Vec<Arc<str>> {
            let wanted = all.iter().filter(|(name, mark)| is_wanted(name, mark));
            wanted.map(|(name, _)| name.as_str().into()).collect()
        };
        let added = names(&now, &|name, _| !before.contains_key(name));
        let changed = names(&now, &|name, mark| {
            before.get(name).is_some_and(|known| known != mark)
        });
        let gone = names(before, &|name, _| !now.contains_key(name));
        audit::keys_changed(audit, [&added, &changed, &gone], true);
    }

    /// Keeps the file current until `stop`.
    pub(super) async fn keep(mut self, guard: Arc<Guard>, stop: Stop) -> &'static str {
        let mut changes = guard.changes();
        changes.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(SETTLE) => {}
            }
            self.write(&guard).await;
        }
        self.write(&guard).await;
        "known keys"
    }

    async fn write(&mut self, guard: &Guard) {
        let Some(keys) = guard
            .marks()
            .filter(|keys| self.written.as_ref() != Some(keys))
        else {
            return;
        };
        let contents = Contents {
            version: VERSION,
            keys,
        };
        let mut text = serde_json::to_vec_pretty(&contents).unwrap_or_default();
        text.push(b'\n');
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || file::replace(&path, &text)).await;
        match written.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => self.written = Some(contents.keys),
            Err(fault) => {
                tracing::warn!(%fault, "{} cannot be written: changes of keys will be noted again at the next start", self.path.display());
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Contents>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_MAX_BYTES).read_to_end(&mut text)?,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let contents: Contents = serde_json::from_slice(&text)?;
    if contents.version == VERSION {
        Ok(Some(contents))
    } else {
        Err(io::Error::other("it has another format"))
    }
}
