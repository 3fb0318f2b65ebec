//! A support bundle: what somebody who helps needs to know of a box, and nothing that lets them in.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;

use super::{fresh, head_of};
use crate::app::doctor;
use crate::base::clock::UnixMillis;
use crate::base::text::{mask_keys, plain_json};
use crate::config::{Config, SITE_TOML};
use crate::limits::SUPPORT_FILE_MAX_BYTES;
use crate::link::Dial;

/// Files of the system that say what machine this is.
const SYSTEM: [&str; 9] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/mounts",
    "/proc/uptime",
    "/proc/device-tree/model",
];

/// Settings whose values do not leave the box, wherever they stand.
const SECRET_SETTINGS: [&str; 4] = ["pin", "api-key", "key", "secret"];

/// Packs what is known of a box. Returns what to tell the person.
///
/// # Errors
///
/// The archive is there already or cannot be written.
pub async fn support(
    config: &Config,
    file: &Path,
    dial: &Arc<dyn Dial>,
    archive: &Path,
) -> anyhow::Result<String> {
    let mut parts: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: String| parts.push((name.to_owned(), text));
    add(
        "about.txt",
        format!(
            "rackhand {}\nmade {}\n",
            env!("CARGO_PKG_VERSION"),
            UnixMillis::now().to_iso()
        ),
    );
    add(
        "doctor.txt",
        doctor::examine(config, dial).await.to_string(),
    );
    let data = &config.store.path;
    add("configuration.toml", settings(&read(file)));
    add(SITE_TOML, settings(&read(&data.join(SITE_TOML))));
    add("last-failure.txt", read(&data.join("last-failure.txt")));
    let mut listing = String::new();
    list(data, data, &mut listing);
    add("data-folder.txt", listing);
    for path in SYSTEM {
        add(&format!("system{path}"), read(Path::new(path)));
    }
    add("journal.txt", journal());
    let mut out = tar::Builder::new(fresh(archive)?);
    let secs = UnixMillis::now().0 / 1000;
    let packed = parts.iter().try_for_each(|(name, text)| {
        // One gate for all of it, whatever it is.
        let text = mask_keys(text);
        let bytes = text.as_bytes();
        out.append_data(
            &mut head_of(bytes, secs),
            format!("rackhand-support/{name}"),
            bytes,
        )
    });
    packed
        .and_then(|()| out.into_inner()?.sync_all())
        .with_context(|| format!("could not write {}", archive.display()))?;
    Ok(format!(
        "{} has {} file(s) and no secrets: look at it before you send it.",
        archive.display(),
        parts.len()
    ))
}

/// The end of a file, or why there is none.
fn read(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let skipped = bytes.len().saturating_sub(SUPPORT_FILE_MAX_BYTES);
            String::from_utf8_lossy(bytes.get(skipped..).unwrap_or_default()).into_owned()
        }
        Err(fault) => format!("({fault})\n"),
    }
}

/// A configuration without the values of settings that are secrets. It names files with secrets, which stay where they are.
fn settings(text: &str) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some((key, _)) if SECRET_SETTINGS.contains(&key.trim()) => format!("{key}= \"***\"\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Names, sizes and ages of what is in the data folder, never its contents.
fn list(folder: &Path, root: &Path, listing: &mut String) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if listing.len() > SUPPORT_FILE_MAX_BYTES {
            return;
        }
        let (path, facts) = (entry.path(), entry.metadata());
        let Ok(facts) = facts else { continue };
        if facts.is_dir() {
            list(&path, root, listing);
            continue;
        }
        let age = facts
            .modified()
            .and_then(|moment| moment.elapsed().map_err(io::Error::other));
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        // Writing to a string never fails.
        let _ = writeln!(
            listing,
            "{:>12} bytes  {:>10} s old  {shown}",
            facts.len(),
            age.map(|age| age.as_secs()).unwrap_or_default()
        );
    }
}

/// What the service logged last, where there is a journal.
fn journal() -> String {
    let asked = Command::new("journalctl")
        .args([
            "--unit=rackhand*",
            "--lines=2000",
            "--no-pager",
            "--output=short-iso",
        ])
        .output();
    match asked {
        Ok(output) => plain_json(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(fault) => format!("(there is no journal here: {fault})\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;
    use crate::link::NetDial;

    #[tokio::test]
    async fn a_bundle_tells_much_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let key = format!("rh_{}", "0123456789".repeat(5));
        fs::write(data.join("core-0.pin"), "4711-4711").unwrap();
        fs::write(data.join("last-failure.txt"), format!("with {key}")).unwrap();
        fs::write(data.join(SITE_TOML), "[[core]]\npin = \"4711-4711\"\n").unwrap();
        let file = folder.path().join("rackhand.toml");
        fs::write(&file, "[safety]\nwrites = true\n").unwrap();
        let text = format!("[access]\nclaim = true\n[store]\npath = {data:?}\n");
        let (config, _) = Config::read(&text, &BTreeMap::new());
        let dial: Arc<dyn Dial> = Arc::new(NetDial);
        let archive = folder.path().join("support.tar");
        support(&config, &file, &dial, &archive).await.unwrap();
        let mut all = String::new();
        for entry in tar::Archive::new(fs::File::open(&archive).unwrap())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let _ = writeln!(all, "{}", entry.path().unwrap().display());
            entry.read_to_string(&mut all).unwrap();
        }
        assert!(
            all.contains("writes = true") && all.contains("core-0.pin"),
            "{all}"
        );
        assert!(all.contains("No Core is configured yet"));
        assert!(!all.contains("4711") && !all.contains(&key), "{all}");
    }
}
