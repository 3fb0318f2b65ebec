//! Small files that must never be half written: replaced whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

/// Replaces a file so that after a crash either the old or the new text is there, whole, readable by the owner only (0600), who is the
/// folder's: what an administrator writes as root is for the service.
///
/// Writes beside it, syncs, renames, and syncs the folder.
///
/// # Errors
///
/// Those of the file system; the old file is untouched then.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(".new");
    let beside = folder.join(name);
    // What a crash left there, or somebody put there: nothing is written through a link.
    match fs::remove_file(&beside) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
        _ => {}
    }
    let mut file = make(&beside, folder)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// The folder of a file; the present one for a bare name.
fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// Makes a file that must not be there yet, for the owner of its folder alone.
fn make(path: &Path, folder: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let (own, wanted) = (file.metadata()?, fs::metadata(folder)?);
    if (own.uid(), own.gid()) != (wanted.uid(), wanted.gid()) {
        // Only root can give a file away. Anybody else who may write here keeps it.
        let _ = fchown(&file, Some(wanted.uid()), Some(wanted.gid()));
    }
    Ok(file)
}

/// Opens a file for locking, and makes it where it is not there yet, for the owner of its folder alone.
///
/// # Errors
///
/// Those of the file system.
pub fn open_lock(path: &Path) -> io::Result<File> {
    match make(path, folder_of(path)) {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path)
        }
        made => made,
    }
}

/// Makes a folder that only its owner may enter (0700), with those above it. What is made is there after a power cut as well, as long as
/// the folder above may be read.
///
/// # Errors
///
/// Those of the file system.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if path.is_dir() {
        return Ok(());
    }
    let above = folder_of(path);
    if above != path {
        make_private_folder(above)?;
    }
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    if let Ok(above) = File::open(above) {
        above.sync_all().ok();
    }
    made
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_replaced_file_is_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.toml");
        replace(&path, b"first").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_root_writes_belongs_to_the_owner_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        // Nobody but root can; then both are the same anyway.
        let _ = std::os::unix::fs::chown(folder.path(), Some(12_345), Some(12_345));
        let wanted = fs::metadata(folder.path()).unwrap();
        let (path, lock) = (
            folder.path().join("keys.json"),
            folder.path().join("keys.lock"),
        );
        replace(&path, b"first").unwrap();
        replace(&path, b"second").unwrap();
        for _ in 0..2 {
            open_lock(&lock).unwrap();
        }
        for file in [path, lock] {
            let own = fs::metadata(file).unwrap();
            assert_eq!((own.uid(), own.gid()), (wanted.uid(), wanted.gid()));
            assert_eq!(own.mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_that_lies_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let path = folder.path().join("keys.json");
        std::os::unix::fs::symlink(&victim, folder.path().join("keys.json.new")).unwrap();
        replace(&path, b"keys").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(fs::read(&path).unwrap(), b"keys");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_nothing_else() {
        assert!(replace(Path::new("/nonexistent/identity.toml"), b"x").is_err());
    }
}
