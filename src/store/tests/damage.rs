//! What a restart brings back when the files or the disk are no longer what they were.

use std::process::Command;

use super::*;

/// Damages the store, opens it, and holds that it is usable, tells the truth and can be opened once more. Returns how much came back.
async fn survives(dir: &Path, what: &str, damage: impl FnOnce(&Path)) -> (usize, Option<String>) {
    damage(dir);
    let Opened { mut store, mirrors } = open(dir);
    let found = restored(&mirrors[0]);
    let quarantined = status(&store).quarantined;
    design(&mirrors[0], "a", 0.0);
    store.round(ROUND).await;
    assert_eq!(status(&store).fault, None, "{what}");
    drop((store, mirrors));
    let Opened { store, mirrors } = open(dir);
    assert_eq!(
        (restored(&mirrors[0]), status(&store).quarantined),
        (COMPONENTS, None),
        "{what}"
    );
    (found, quarantined)
}

#[tokio::test]
async fn a_truncated_store_is_moved_aside_and_replaced() {
    let dir = stored().await;
    let cut = |dir: &Path| {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(generation(dir).join("db"))
            .unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    let (_, quarantined) = survives(dir.path(), "cut", cut).await;
    assert!(quarantined.is_some());
    assert!(dir.path().join("state/quarantine").exists());
    assert_eq!(
        open(dir.path()).store.status.borrow().counters.quarantines,
        1
    );
}

#[tokio::test]
async fn what_is_missing_or_half_there_is_noticed() {
    let dir = stored().await;
    let whole = COMPONENTS;
    let gone = |dir: &Path| fs::remove_file(generation(dir).join("db")).unwrap();
    let (found, quarantined) = survives(dir.path(), "no db", gone).await;
    assert_eq!((found, quarantined.is_some()), (0, true));
    let nameless = |dir: &Path| fs::write(dir.join("state/CURRENT"), "../../etc").unwrap();
    assert_eq!(
        survives(dir.path(), "no CURRENT", nameless).await,
        (whole, None)
    );
    let died_once = |dir: &Path| fs::write(dir.join("state/OPENING"), "1").unwrap();
    assert_eq!(
        survives(dir.path(), "died once", died_once).await,
        (whole, None)
    );
    let died_twice = |dir: &Path| fs::write(dir.join("state/OPENING"), "2").unwrap();
    let (found, quarantined) = survives(dir.path(), "died twice", died_twice).await;
    assert_eq!((found, quarantined.is_some()), (0, true));
    // All records are there, but the word that says so is not: rescued.
    let unfinished = |dir: &Path| {
        let mut database = database::Database::open(&generation(dir)).unwrap();
        let mut batch = sled::Batch::default();
        batch.remove(schema::GENERATION);
        database.write(schema::META, batch, 1).unwrap();
        database.sync().unwrap();
    };
    let (found, quarantined) = survives(dir.path(), "unfinished", unfinished).await;
    assert_eq!((found, quarantined.is_some()), (whole, true));
}

#[tokio::test]
async fn what_a_power_cut_leaves_beside_the_log_of_the_engine_costs_nothing() {
    // The engine writes its settings without a sync, and takes a snapshot that it was writing for the newest one.
    let leave = |name: &'static str, content: &'static [u8]| {
        move |dir: &Path| fs::write(generation(dir).join(name), content).unwrap()
    };
    let dir = stored().await;
    for (name, content) in [
        (
            "conf",
            b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n".as_slice(),
        ),
        ("conf", [0; 62].as_slice()),
        ("conf", b"".as_slice()),
        ("snap.00000000000001A9.generating", b"".as_slice()),
        ("snap.00000000000001A9.generating", [0; 162].as_slice()),
    ] {
        assert_eq!(
            survives(dir.path(), name, leave(name, content)).await,
            (COMPONENTS, None)
        );
    }
}

#[tokio::test]
async fn a_first_start_that_a_power_cut_ended_has_lost_nothing() {
    for content in [None, Some([].as_slice()), Some(&[0; 300])] {
        let dir = tempfile::tempdir().unwrap();
        let begun = dir.path().join("state/gen-000001");
        fs::create_dir_all(&begun).unwrap();
        if let Some(content) = content {
            fs::write(begun.join("db"), content).unwrap();
            fs::write(begun.join("conf"), content).unwrap();
        }
        assert_eq!(
            survives(dir.path(), "a first start", |_| ()).await,
            (0, None)
        );
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The next number of a sequence that looks random and is the same in every run.
fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    usize::try_from(*seed >> 8).unwrap()
}

#[tokio::test]
async fn three_hundred_random_damages_never_cost_a_start_or_a_wrong_value() {
    let original = stored().await;
    let mut seed = 0x9E37_79B9_7F4A_7C15;
    let mut whole = 0;
    // In memory where there is such a place: nothing here is about syncing.
    let places = ["/dev/shm", "/tmp"].map(PathBuf::from);
    let place = places.iter().find(|place| place.is_dir()).unwrap();
    for round in 0..300 {
        let dir = tempfile::tempdir_in(place).unwrap();
        copy(original.path(), dir.path());
        let victims: Vec<PathBuf> = files(&dir.path().join("state")).into_keys().collect();
        // Mostly the data itself: it is the largest file.
        let path = if round % 4 == 0 {
            victims[next(&mut seed) % victims.len()].clone()
        } else {
            generation(dir.path()).join("db")
        };
        let mut bytes = fs::read(&path).unwrap();
        let len = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let at = next(&mut seed) % len.min(bytes.len().max(1));
        match next(&mut seed) % 5 {
            0 => bytes.truncate(at),
            1 => bytes
                .iter_mut()
                .skip(at)
                .take(512)
                .for_each(|byte| *byte = 0),
            2 => bytes.extend_from_slice(&[0xA5; 64]),
            _ => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 0x40),
        }
        fs::write(&path, &bytes).unwrap();
        let Opened { mut store, mirrors } = open(dir.path());
        whole += usize::from(restored(&mirrors[0]) == COMPONENTS);
        design(&mirrors[0], "a", 0.0);
        change(&mirrors[0], Some("Gain 0"), "mute", 0.5, Instant::now());
        store.round(ROUND).await;
        assert_eq!(
            status(&store).fault,
            None,
            "damage {round} of {}",
            path.display()
        );
    }
    assert!(whole > 50, "only {whole} came back whole");
}

/// How often a busy file system is asked: each time takes a process, so this is some ten seconds.
const REMOUNTS_MAX: usize = 5_000;

/// A file system of its own in memory, gone with this value.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = Self(dir);
        mount.run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=700"),
                "tmpfs",
            ],
        );
        mount
    }

    /// Asks until the kernel agrees: a thread of a database that was dropped may hold its file open for a moment more.
    fn remount_read_only(&self) {
        let mut remount = Command::new("mount");
        remount.args(["-o", "remount,ro"]).arg(self.0.path());
        let mut tries = (0..REMOUNTS_MAX).map(|_| remount.output());
        assert!(
            tries.any(|output| output.is_ok_and(|output| output.status.success())),
            "the file system stays busy"
        );
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program)
            .args(arguments)
            .arg(self.0.path())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "this test mounts a file system of its own and needs to be root with CAP_SYS_ADMIN: `{program}` failed"
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status()
            .ok();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_writing_and_nothing_else() {
    let mount = Mount::new("8m");
    let dir = mount.0.path();
    let Opened { mut store, mirrors } = open(dir);
    let mirror = &mirrors[0];
    design(mirror, "a", 0.0);
    store.round(ROUND).await;
    let full = dir.join("full");
    fs::write(&full, vec![1; 16 << 20]).unwrap_err();
    let mut rounds = 0;
    while status(&store).fault.is_none() {
        for n in 0..COMPONENTS {
            change(
                mirror,
                Some(&format!("Gain {n}")),
                "gain",
                f64::from(rounds),
                Instant::now(),
            );
        }
        store.round(ROUND).await;
        rounds += 1;
        assert!(rounds < 10_000, "a full disk was never noticed");
    }
    change(mirror, Some("Gain 1"), "gain", -1.0, Instant::now());
    assert_eq!(
        reading(mirror, "Gain 1", "gain", Instant::now()).value,
        Some(-1.0)
    );
    // Tried once more at once, then left alone.
    store.round(ROUND).await;
    let errors = status(&store).errors;
    store.round(ROUND).await;
    assert_eq!(status(&store).errors, errors);
    fs::remove_file(&full).unwrap();
    tokio::time::sleep(Duration::from_mins(11)).await;
    store.round(ROUND).await;
    assert_eq!((status(&store).fault, status(&store).queue), (None, 0));
    drop((store, mirrors));
    let reopened = open(dir);
    assert_eq!(status(&reopened.store).quarantined, None);
    assert_eq!(
        reading(&reopened.mirrors[0], "Gain 1", "gain", Instant::now()).value,
        Some(-1.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_on_a_full_disk_serves_what_is_stored_and_quarantines_nothing() {
    let mount = Mount::new("8m");
    let dir = mount.0.path();
    let Opened { mut store, mirrors } = open(dir);
    design(&mirrors[0], "a", 0.0);
    store.round(ROUND).await;
    drop((store, mirrors));
    fs::write(dir.join("full"), vec![1; 16 << 20]).unwrap_err();
    let Opened { store, mirrors } = open(dir);
    assert_eq!(status(&store).quarantined, None);
    assert_eq!(restored(&mirrors[0]), COMPONENTS);
}

#[tokio::test(start_paused = true)]
async fn a_read_only_disk_is_worked_without_and_used_again_when_it_can_be() {
    let mount = Mount::new("8m");
    let dir = mount.0.path();
    let Opened { mut store, mirrors } = open(dir);
    design(&mirrors[0], "a", 0.0);
    store.round(ROUND).await;
    drop((store, mirrors));
    mount.remount_read_only();
    let Opened { mut store, mirrors } = open(dir);
    assert!(status(&store).fault.is_some());
    assert_eq!(status(&store).quarantined, None);
    assert_eq!(restored(&mirrors[0]), COMPONENTS);
    design(&mirrors[0], "a", 0.0);
    store.round(ROUND).await;
    store.round(ROUND).await;
    assert_eq!(
        reading(&mirrors[0], "Gain 1", "gain", Instant::now()).value,
        Some(1.0)
    );
    mount.run("mount", &["-o", "remount,rw"]);
    tokio::time::sleep(Duration::from_mins(11)).await;
    store.round(ROUND).await;
    assert_eq!(status(&store).fault, None);
    drop((store, mirrors));
    assert_eq!(restored(&open(dir).mirrors[0]), COMPONENTS);
}
