//! What the boot partition says at a start, carried out by root before the network and the service: a factory reset, or a file that makes the box.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;

use super::{BoxFile, now, text, wipe};
use crate::guard::claim::Claim;

/// The file that makes a box.
pub const SETUP_FILE: &str = "rackhand-setup.toml";

/// What is left in its place.
const DONE_FILE: &str = "rackhand-setup.done.txt";

/// What is left beside it when it cannot be used.
const FAULTS_FILE: &str = "rackhand-setup.faults.txt";

/// Its being there makes the box forget everything.
pub const RESET_FILE: &str = "rackhand-factory-reset";

/// What somebody prints and sticks on the box.
const LABEL_FILE: &str = "rackhand-label.txt";

/// Does what the boot partition says, and returns what was done. A reset comes first, so that both together make a box as if it were new.
///
/// # Errors
///
/// Something cannot be read, written or removed; what was not finished is begun again at the next start.
pub fn run(boot: &Path, data: &Path, system: &Path) -> anyhow::Result<String> {
    let mut told = String::new();
    let reset = boot.join(RESET_FILE);
    if exists(&reset)? {
        for folder in [data, system] {
            empty(folder)?;
        }
        // Last: a power cut in between begins again.
        fs::remove_file(&reset).with_context(|| format!("could not remove {}", reset.display()))?;
        told.push_str(
            "The box was reset: it forgot its keys, its Core and all that it recorded.\n",
        );
    }
    let file = boot.join(SETUP_FILE);
    if exists(&file)? {
        told.push_str(&set_up(&file, boot, data, system)?);
    }
    label(boot, data)?;
    Ok(told)
}

fn set_up(file: &Path, boot: &Path, data: &Path, system: &Path) -> anyhow::Result<String> {
    let read = text(file).map(|text| BoxFile::read(&text, data));
    let faults = match read {
        Ok(Ok(read)) => {
            read.apply(data, system)?;
            let said = format!("{} took {SETUP_FILE}: {}\n", now(), read.summary());
            leave(&boot.join(DONE_FILE), &said)?;
            forget(&boot.join(FAULTS_FILE))?;
            wipe(file)?;
            return Ok(said);
        }
        Ok(Err(problems)) => problems.to_string(),
        Err(fault) => format!("  {fault:#}\n"),
    };
    let said = format!("{} {SETUP_FILE} was not taken:\n{faults}", now());
    leave(&boot.join(FAULTS_FILE), &said)?;
    Ok(said)
}

/// Writes the claim code for a label while the box is nobody's, and takes it away afterwards.
fn label(boot: &Path, data: &Path) -> anyhow::Result<()> {
    let path = boot.join(LABEL_FILE);
    if !exists(data)? {
        return Ok(());
    }
    let claim = Claim::open(data).context("the claim of this box cannot be used")?;
    let has_keys = exists(&data.join("keys.json"))?;
    let Some(code) = claim.code().filter(|_| !has_keys) else {
        return forget(&path);
    };
    let mut text = String::new();
    let host = sysinfo::System::host_name().unwrap_or_default();
    // Writing to a string never fails.
    let _ = writeln!(text, "rackhand {host}\nclaim code {}", code.expose());
    if fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    leave(&path, &text)
}

/// Removes what is in a folder, and leaves the folder, which may be a mount.
fn empty(folder: &Path) -> anyhow::Result<()> {
    let emptied = || -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    emptied().with_context(|| format!("could not empty {}", folder.display()))
}

fn exists(path: &Path) -> anyhow::Result<bool> {
    path.try_exists()
        .with_context(|| format!("could not look for {}", path.display()))
}

/// Written in place: FAT has no owners, and nothing here is worth more than a note.
fn leave(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        fs::write(path, text)?;
        fs::File::open(path)?.sync_all()
    };
    written().with_context(|| format!("could not write {}", path.display()))
}

fn forget(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
            Err(fault).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Board(TempDir);

    impl Board {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["boot", "data", "system"] {
                fs::create_dir(folder.path().join(name)).unwrap();
            }
            Self(folder)
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn start(&self) -> String {
            run(&self.path("boot"), &self.path("data"), &self.path("system")).unwrap()
        }

        fn has(&self, name: &str) -> bool {
            self.path(name).exists()
        }
    }

    const FILE: &str = "[box]\nname = \"rack-1\"\n[[key]]\nname = \"foh\"\nrole = \"admin\"\nkey = \"a-key-that-is-long-enough\"\n";

    #[test]
    fn a_file_is_taken_once_and_its_secrets_are_gone() {
        let board = Board::new();
        fs::write(board.path("boot/rackhand-setup.toml"), FILE).unwrap();
        // The inode outlives its name: what was in it must not.
        let kept = fs::File::open(board.path("boot/rackhand-setup.toml")).unwrap();
        assert!(board.start().contains("rack-1"));
        assert!(
            !board.has("boot/rackhand-setup.toml") && board.has("boot/rackhand-setup.done.txt")
        );
        let mut left = String::new();
        io::Read::read_to_string(&mut &kept, &mut left).unwrap();
        assert!(!left.contains("long-enough") && left.len() == FILE.len());
        assert!(board.has("data/keys.json") && board.has("system/hostname"));
        // Somebody's: no label.
        assert!(!board.has("boot/rackhand-label.txt"));
        assert_eq!(board.start(), "");
    }

    #[test]
    fn a_faulty_file_changes_nothing_and_says_why_on_the_same_card() {
        let board = Board::new();
        fs::write(
            board.path("boot/rackhand-setup.toml"),
            FILE.replace("admin", "god"),
        )
        .unwrap();
        board.start();
        let said = fs::read_to_string(board.path("boot/rackhand-setup.faults.txt")).unwrap();
        assert!(said.contains("key[0]"), "{said}");
        assert!(board.has("boot/rackhand-setup.toml") && !board.has("data/keys.json"));
        fs::write(board.path("boot/rackhand-setup.toml"), FILE).unwrap();
        board.start();
        assert!(!board.has("boot/rackhand-setup.faults.txt") && board.has("data/keys.json"));
    }

    #[test]
    fn a_reset_makes_a_new_box_with_another_code() {
        let board = Board::new();
        board.start();
        let label = || fs::read_to_string(board.path("boot/rackhand-label.txt")).unwrap();
        let first = label();
        assert!(first.contains("claim code"));
        board.start();
        assert_eq!(label(), first);
        fs::write(board.path("boot/rackhand-setup.toml"), FILE).unwrap();
        board.start();
        fs::create_dir_all(board.path("data/record/deep")).unwrap();
        fs::write(board.path("boot/rackhand-factory-reset"), "").unwrap();
        assert!(board.start().contains("reset"));
        assert!(
            !board.has("data/keys.json")
                && !board.has("data/record")
                && !board.has("system/hostname")
        );
        assert!(!board.has("boot/rackhand-factory-reset"));
        assert_ne!(label(), first);
    }
}
