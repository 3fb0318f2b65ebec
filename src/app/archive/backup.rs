//! A backup: keys, identity, certificates, what the box was told, and its record. The databases are not in it: a Core tells their contents again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{fresh, head, head_of, is_absent};
use crate::audit;
use crate::base::clock::UnixMillis;
use crate::base::file;
use crate::base::text::hex;
use crate::config::SITE_TOML;
use crate::limits::{BACKUP_FILES_MAX, BACKUP_SMALL_MAX_BYTES};

/// Name of the first file in the archive: what follows, and its sums.
const CONTENTS: &str = "rackhand-backup.json";

/// Format of the archive. A newer one is refused.
const VERSION: u32 = 1;

/// The small files of a data folder that make it this box.
const FILES: [&str; 8] = [
    "keys.json",
    "keys-seen.json",
    "token-secret.json",
    "identity.json",
    "authority.json",
    "claim.json",
    "highest-time",
    SITE_TOML,
];

/// Begin and ends of the names of files with secrets of a Core.
const CORE_SECRET: (&str, [&str; 2]) = ("core-", [".pin", ".api-key"]);

/// Bytes that are copied at once.
const COPY_BYTES: usize = 64 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    version: u32,
    made_by: String,
    made_at: String,
    /// SHA-256 by name, in hex.
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    sha256: String,
}

/// Packs a data folder, also while the service runs. Returns what to tell the person.
///
/// # Errors
///
/// Something cannot be read, or the archive is there already or cannot be written; then none is left.
pub fn backup(data: &Path, archive: &Path) -> anyhow::Result<String> {
    let names = names(data).with_context(|| format!("could not read {}", data.display()))?;
    anyhow::ensure!(
        !names.is_empty(),
        "there is nothing of a box in {}",
        data.display()
    );
    let mut out = tar::Builder::new(fresh(archive)?);
    let packed = pack(data, &names, &mut out).and_then(|()| out.into_inner()?.sync_all());
    if let Err(fault) = packed {
        let _ = fs::remove_file(archive);
        return Err(fault).with_context(|| format!("could not write {}", archive.display()));
    }
    Ok(format!(
        "{} has {} file(s) of this box: its keys, its identity, what it was told, its record. It holds secrets: keep it as you keep keys.",
        archive.display(),
        names.len()
    ))
}

fn pack(data: &Path, names: &[String], out: &mut tar::Builder<File>) -> io::Result<()> {
    // Read once: what grows meanwhile is in the archive as it was at this moment.
    let mut read = Vec::new();
    let mut contents = Contents {
        version: VERSION,
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: UnixMillis::now().to_iso(),
        files: BTreeMap::new(),
    };
    for name in names {
        let file = File::open(data.join(name))?;
        let bytes = file.metadata()?.len();
        let sha256 = copy(&mut file.take(bytes), &mut io::sink())?;
        let entry = Entry { bytes, sha256 };
        contents.files.insert(name.clone(), entry);
        read.push((name, bytes));
    }
    let text = serde_json::to_vec_pretty(&contents)?;
    let secs = UnixMillis::now().0 / 1000;
    out.append_data(&mut head_of(&text, secs), CONTENTS, text.as_slice())?;
    for (name, bytes) in read {
        let file = File::open(data.join(name))?;
        out.append_data(&mut head(bytes, secs), name, file.take(bytes))?;
    }
    Ok(())
}

/// What of a data folder belongs into a backup, in order.
fn names(data: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(data)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_small(&name) {
            names.push(name);
        }
    }
    match audit::segment_files(&data.join(audit::FOLDER)) {
        Ok(segments) => names.extend(segments.iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            Some(format!("{}/{name}", audit::FOLDER))
        })),
        Err(fault) if is_absent(&fault) => {}
        Err(fault) => return Err(fault),
    }
    names.sort();
    Ok(names)
}

fn is_small(name: &str) -> bool {
    let (begin, ends) = CORE_SECRET;
    FILES.contains(&name) || (name.starts_with(begin) && ends.iter().any(|end| name.ends_with(end)))
}

/// Whether an archive may bring a file of this name: nothing that is not a backup's leaves the folder.
fn is_ours(name: &str) -> bool {
    match name.split_once('/') {
        None => is_small(name),
        Some((folder, rest)) => {
            folder == audit::FOLDER
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
                && !rest.starts_with('.')
        }
    }
}

/// Makes this board the box of a backup. Everything is checked before anything is replaced. Returns what to tell the person.
///
/// # Errors
///
/// The archive is none, is damaged or newer; the folder is that of a box with keys, and `may_replace` is false; the service runs; something
/// cannot be written.
pub fn restore(data: &Path, archive: &Path, may_replace: bool) -> anyhow::Result<String> {
    file::make_private_folder(data)
        .with_context(|| format!("could not make the folder {}", data.display()))?;
    anyhow::ensure!(
        may_replace || !data.join("keys.json").exists(),
        "{} is that of a box with keys already: say --replace if this box shall become the other one",
        data.display()
    );
    let lock = file::open_lock(&data.join("store.lock"))
        .context("could not look for a running service")?;
    fs2::FileExt::try_lock_exclusive(&lock)
        .context("the service runs on this folder: stop it first")?;
    let beside = data.join("restore.new");
    remove(&beside)?;
    file::make_private_folder(&beside)?;
    let unpacked = unpack(archive, &beside)
        .with_context(|| format!("{} cannot be restored", archive.display()));
    let contents = match unpacked {
        Ok(contents) => contents,
        Err(fault) => {
            let _ = remove(&beside);
            return Err(fault);
        }
    };
    // What was learnt of another box's Core is nothing here.
    for old in names(data)? {
        remove(&data.join(old))?;
    }
    remove(&data.join(audit::FOLDER))?;
    for name in contents.files.keys() {
        let target = data.join(name);
        if let Some(folder) = target.parent() {
            file::make_private_folder(folder)?;
        }
        fs::rename(beside.join(name), &target)
            .with_context(|| format!("could not put {} into its place", target.display()))?;
    }
    remove(&beside)?;
    File::open(data)?.sync_all()?;
    Ok(format!(
        "This is the box of {} now, as it was on {}: {} file(s). Start the service; the Core tells it the rest.",
        archive.display(),
        contents.made_at,
        contents.files.len()
    ))
}

/// Unpacks an archive beside everything else, and holds each file to its sum.
fn unpack(archive: &Path, beside: &Path) -> anyhow::Result<Contents> {
    let mut archive = tar::Archive::new(File::open(archive)?);
    let mut entries = archive.entries()?;
    let first = entries.next().context("it is empty")?;
    let mut first = first.context("it is no archive of this program")?;
    anyhow::ensure!(
        first.path()?.as_os_str() == CONTENTS && first.size() <= BACKUP_SMALL_MAX_BYTES,
        "it is no backup of this program"
    );
    let mut text = Vec::new();
    first.read_to_end(&mut text)?;
    let contents: Contents =
        serde_json::from_slice(&text).context("its table of contents is damaged")?;
    anyhow::ensure!(
        contents.version <= VERSION,
        "it was made by a newer version of this program ({}): update this box first",
        contents.made_by
    );
    anyhow::ensure!(
        contents.files.len() <= BACKUP_FILES_MAX && contents.files.keys().all(|name| is_ours(name)),
        "it has files that are no box's"
    );
    let mut seen = 0;
    for entry in entries {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.into_owned();
        let name = path.to_str().unwrap_or_default();
        let wanted = contents.files.get(name).with_context(|| {
            format!("{} does not stand in its table of contents", path.display())
        })?;
        let target = beside.join(name);
        if let Some(folder) = target.parent() {
            file::make_private_folder(folder)?;
        }
        let mut out = fresh(&target)?;
        let sha256 = copy(&mut entry, &mut out)?;
        out.sync_all()?;
        anyhow::ensure!(
            entry.size() == wanted.bytes && sha256 == wanted.sha256,
            "{name} is damaged"
        );
        seen += 1;
    }
    anyhow::ensure!(seen == contents.files.len(), "files are missing at its end");
    Ok(contents)
}

/// Copies to the end, and returns the SHA-256 in hex.
fn copy(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return Ok(hex(&sum.finalize()).collect());
        }
        sum.update(piece);
        to.write_all(piece)?;
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(fault) if is_absent(&fault) => Ok(()),
        Err(fault) => Err(fault),
    };
    removed.with_context(|| format!("could not remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::super::keys;
    use super::*;
    use crate::guard::Role;
    use crate::guard::keyfile::NewKey;

    /// A folder of a box, with something in it that is no part of a backup.
    fn a_box() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        file::make_private_folder(&data).unwrap();
        let key = NewKey::new("foh", Role::Operator);
        keys::key_file(&data).create(&key).unwrap();
        fs::write(data.join("site.toml"), "[safety]\nwrites = true\n").unwrap();
        fs::write(data.join("core-0.pin"), "4711").unwrap();
        fs::create_dir(data.join("state")).unwrap();
        fs::write(data.join("state/db"), "large").unwrap();
        fs::create_dir(data.join("audit")).unwrap();
        fs::write(data.join("audit/000001.jsonl"), "{}\n").unwrap();
        folder
    }

    #[test]
    fn another_board_becomes_the_box() {
        let (one, other) = (a_box(), tempfile::tempdir().unwrap());
        let archive = one.path().join("box.tar");
        backup(&one.path().join("data"), &archive).unwrap();
        let mode = fs::metadata(&archive).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        let data = other.path().join("data");
        restore(&data, &archive, false).unwrap();
        assert_eq!(keys::key_file(&data).list().unwrap()[0].name, "foh");
        assert_eq!(fs::read_to_string(data.join("core-0.pin")).unwrap(), "4711");
        assert!(!data.join("state").exists() && !data.join("restore.new").exists());
        // Onto itself only if a person says so.
        assert!(restore(&data, &archive, false).is_err());
        restore(&data, &archive, true).unwrap();
    }

    #[test]
    fn an_archive_is_never_written_over() {
        let folder = a_box();
        let archive = folder.path().join("box.tar");
        fs::write(&archive, "precious").unwrap();
        assert!(backup(&folder.path().join("data"), &archive).is_err());
        assert_eq!(fs::read(&archive).unwrap(), b"precious");
    }

    #[test]
    fn a_damaged_archive_changes_nothing_wherever_the_damage_is() {
        let (one, other) = (a_box(), a_box());
        let archive = one.path().join("box.tar");
        backup(&one.path().join("data"), &archive).unwrap();
        let good = fs::read(&archive).unwrap();
        let data = other.path().join("data");
        let before = fs::read(data.join("keys.json")).unwrap();
        for at in (0..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            let damaged = other.path().join("damaged.tar");
            fs::write(&damaged, &bad).unwrap();
            // Some bytes are padding or times, whose loss is none.
            if restore(&data, &damaged, true).is_err() {
                assert_eq!(fs::read(data.join("keys.json")).unwrap(), before, "{at}");
                assert!(!data.join("restore.new").exists());
            } else {
                fs::write(data.join("keys.json"), &before).unwrap();
            }
        }
        for end in [0, 100, 600, good.len() / 2] {
            let short = other.path().join("short.tar");
            fs::write(&short, &good[..end]).unwrap();
            assert!(restore(&data, &short, true).is_err(), "{end}");
        }
    }

    #[test]
    fn no_archive_reaches_out_of_the_folder() {
        for name in [
            "../keys.json",
            "/etc/passwd",
            "audit/../../x",
            "audit/.hidden",
            "state/db",
            "core-x.txt",
            "",
        ] {
            assert!(!is_ours(name), "{name}");
        }
        assert!(is_ours("audit/000001.jsonl") && is_ours("core-0.pin"));
    }
}
