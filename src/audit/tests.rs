//! Scenarios of the trail: kills, full disks, clocks that run wild, floods, and what somebody changed by hand.

mod power;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::base::shutdown::Stop;

/// A trail that runs.
struct Bed {
    audit: Audit,
    tasks: JoinSet<&'static str>,
    stop: Stop,
}

fn config() -> AuditConfig {
    AuditConfig {
        clock_file: None,
        ..AuditConfig::default()
    }
}

impl Bed {
    fn start(store: &Path) -> Self {
        Self::with(store, &config())
    }

    fn with(store: &Path, config: &AuditConfig) -> Self {
        let (audit, keeper) = Audit::new(config, store);
        let (mut tasks, stop) = (JoinSet::new(), Stop::new());
        tasks.spawn(keeper.run(stop.clone()));
        audit.note(Kind::Start, None, &json!({"version": "0"}));
        Self { audit, tasks, stop }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        assert_eq!(
            self.tasks.join_next().await.unwrap().unwrap(),
            "audit trail"
        );
    }

    /// As a kill does: nothing more is written.
    async fn kill(mut self) {
        self.settle().await;
        self.tasks.shutdown().await;
    }

    fn write(&self, caller: &str, value: i32) {
        self.begin(caller, value).end("OK");
    }

    fn begin(&self, caller: &str, value: i32) -> Writing {
        let (caller, request) = (Arc::from(caller), "r-1".into());
        let actor = Actor {
            caller: &caller,
            address: Some([192, 168, 5, 20].into()),
            request: &request,
        };
        let arguments =
            json!({"controls": [{"component": "Lobby", "control": "gain", "value": value}]});
        self.audit
            .begin(actor, "qsys_set_controls", Some("core".into()), &arguments)
    }

    /// Until everything that was noted is on disk.
    async fn settle(&self) {
        sleep(Duration::from_secs(4)).await;
    }
}

fn files(store: &Path) -> Vec<PathBuf> {
    let all = disk::segments(&store.join(FOLDER)).unwrap();
    all.into_iter().map(|one| one.path).collect()
}

fn verify(store: &Path) -> Report {
    let mut verifier = Verifier::default();
    for path in files(store) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        verifier.segment(&name, &*fs::read(&path).unwrap()).unwrap();
    }
    verifier.finish()
}

fn lines(store: &Path) -> Vec<Value> {
    let text: String = files(store)
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn kinds(store: &Path) -> Vec<String> {
    let all = lines(store);
    all.iter()
        .map(|line| line["kind"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_is_on_disk_before_and_after_and_one_entry_in_memory() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    let writing = bed.begin("desk", 3);
    writing.on_disk().await.unwrap();
    let found = lines(store.path());
    let intent = found.last().unwrap();
    assert_eq!(intent["kind"], "intent");
    assert_eq!(intent["arguments"]["controls"][0]["value"], 3);
    assert_eq!(intent["address"], "192.168.5.20");
    let pending = bed.audit.recent(&Query {
        outcome: Some("PENDING"),
        limit: 5,
        ..Query::default()
    });
    assert_eq!(pending.entries.len(), 1);
    sleep(Duration::from_millis(30)).await;
    writing.end("OUT_OF_RANGE");
    bed.settle().await;
    let outcome = &lines(store.path())[3];
    assert_eq!(outcome["kind"], "write");
    assert_eq!(outcome["write"], intent["write"]);
    assert_eq!(
        (&outcome["outcome"], &outcome["took_ms"]),
        (&json!("OUT_OF_RANGE"), &json!(30))
    );
    let found = bed.audit.recent(&Query {
        tool: Some("qsys_set_controls"),
        limit: 5,
        ..Query::default()
    });
    assert_eq!((found.entries.len(), found.total), (1, 1));
    let whole = &found.entries[0].1;
    assert_eq!(whole.outcome.as_deref(), Some("OUT_OF_RANGE"));
    assert!(whole.arguments.is_some());
    bed.stop().await;
    let report = verify(store.path());
    assert!(report.is_whole() && report.is_stopped, "{report}");
    assert_eq!(
        kinds(store.path()),
        ["segment", "start", "intent", "write", "stop"]
    );
}

/// A thread woken for each line took the processor from the write itself: 448 µs at the 99th percentile of the write path, not 150.
#[tokio::test(start_paused = true)]
async fn lines_that_are_noted_in_a_row_go_to_disk_together_and_soon() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.settle().await;
    let before = kinds(store.path());
    let writing = bed.begin("desk", 3);
    sleep(Duration::from_millis(1)).await;
    writing.end("OK");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(kinds(store.path()), before);
    sleep(Duration::from_millis(8)).await;
    assert_eq!(kinds(store.path())[before.len()..], ["intent", "write"]);
    // The end of the process waits for what is gathered.
    bed.write("desk", 4);
    bed.stop().await;
    let after = &kinds(store.path())[before.len() + 2..];
    assert_eq!(after, ["intent", "write", "stop"]);
}

#[tokio::test(start_paused = true)]
async fn files_are_private() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.stop().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.path().join(FOLDER)), 0o700);
    assert_eq!(mode(&files(store.path())[0]), 0o600);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_has_an_unknown_outcome() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    drop(bed.begin("desk", 1));
    bed.stop().await;
    assert_eq!(lines(store.path())[3]["outcome"], "UNKNOWN");
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_with_the_chain_and_remembers_what_was() {
    let store = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let bed = Bed::start(store.path());
        bed.write("desk", round);
        bed.stop().await;
    }
    let bed = Bed::start(store.path());
    let left_open = bed.begin("desk", 9);
    bed.settle().await;
    let found = bed.audit.recent(&Query {
        caller: Some("desk"),
        limit: 50,
        ..Query::default()
    });
    let values: Vec<_> = found
        .entries
        .iter()
        .map(|(_, entry)| {
            entry
                .arguments
                .as_ref()
                .unwrap()
                .get()
                .contains("\"value\":2")
        })
        .collect();
    assert_eq!(values, [false, true, false, false]);
    bed.kill().await;
    drop(left_open);
    let bed = Bed::start(store.path());
    bed.settle().await;
    let found = bed.audit.recent(&Query {
        caller: Some("desk"),
        limit: 1,
        ..Query::default()
    });
    assert_eq!(found.entries[0].1.outcome.as_deref(), Some("UNKNOWN"));
    bed.stop().await;
    let report = verify(store.path());
    assert!(report.is_whole() && report.cuts == 1, "{report}");
}

#[tokio::test(start_paused = true)]
async fn whatever_somebody_changes_by_hand_shows() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::with(
        store.path(),
        &AuditConfig {
            bytes_max: 1 << 20,
            ..config()
        },
    );
    for value in 0..400 {
        bed.write("desk", value);
        if value % 20 == 0 {
            bed.settle().await;
        }
    }
    bed.stop().await;
    let all = files(store.path());
    assert!(all.len() > 2, "{}", all.len());
    assert!(verify(store.path()).is_whole());
    let path = &all[1];
    let text = fs::read_to_string(path).unwrap();
    let edit = |change: &dyn Fn(Vec<&str>) -> String| {
        fs::write(path, change(text.lines().collect())).unwrap();
        let report = verify(store.path());
        fs::write(path, &text).unwrap();
        report
    };
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    for (what, report) in [
        (
            "a removed line",
            edit(&|mut lines| {
                lines.remove(7);
                joined(&lines)
            }),
        ),
        (
            "a changed value",
            edit(&|lines| joined(&lines).replacen("\"desk\"", "\"dusk\"", 1)),
        ),
        (
            "a changed time",
            edit(&|lines| joined(&lines).replacen("\"at\":\"2", "\"at\":\"1", 1)),
        ),
        (
            "two lines swapped",
            edit(&|mut lines| {
                lines.swap(5, 6);
                joined(&lines)
            }),
        ),
        (
            "a line twice",
            edit(&|mut lines| {
                lines.insert(5, lines[5]);
                joined(&lines)
            }),
        ),
        (
            "the first line removed",
            edit(&|mut lines| {
                lines.remove(0);
                joined(&lines)
            }),
        ),
        (
            "the last line removed",
            edit(&|mut lines| {
                lines.pop();
                joined(&lines)
            }),
        ),
        (
            "garbage between",
            edit(&|mut lines| {
                lines.insert(3, "garbage");
                joined(&lines)
            }),
        ),
        ("all removed", edit(&|_| String::new())),
    ] {
        assert!(!report.is_whole(), "{what}");
    }
    // A changed line is named by its place.
    let report = edit(&|lines| joined(&lines).replacen("\"value\":", "\"value\": ", 1));
    assert_eq!(report.faults[0].kind, FaultKind::Broken, "{report}");
    // And a segment that is gone.
    fs::rename(path, path.with_extension("gone")).unwrap();
    assert!(!verify(store.path()).is_whole());
    fs::rename(path.with_extension("gone"), path).unwrap();
    fs::remove_file(&all[0]).unwrap();
    let report = verify(store.path());
    assert_eq!(report.faults[0].kind, FaultKind::OldestMissing, "{report}");
}

#[tokio::test(start_paused = true)]
async fn retention_keeps_to_its_bytes_and_does_not_break_the_chain() {
    let store = tempfile::tempdir().unwrap();
    let bytes_max = 1 << 20;
    let bed = Bed::with(
        store.path(),
        &AuditConfig {
            bytes_max,
            ..config()
        },
    );
    for value in 0..3_000 {
        bed.write("desk", value);
        if value % 50 == 0 {
            bed.settle().await;
        }
    }
    bed.settle().await;
    let on_disk: u64 = files(store.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(on_disk <= bytes_max, "{on_disk}");
    assert_eq!(bed.audit.status().bytes, on_disk);
    bed.stop().await;
    let report = verify(store.path());
    assert!(report.is_whole() && report.first > Some(1_000), "{report}");
    let bed = Bed::start(store.path());
    bed.stop().await;
    assert!(verify(store.path()).is_whole());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_or_is_not_synchronised_shows_and_no_stamp_goes_back() {
    let store = tempfile::tempdir().unwrap();
    let sign = store.path().join("synchronized");
    let config = AuditConfig {
        clock_file: Some(sign.clone()),
        ..config()
    };
    let bed = Bed::with(store.path(), &config);
    bed.settle().await;
    // As if the lines before had been written by a clock that ran ahead.
    let ahead = UnixMillis(UnixMillis::now().0 + 86_400_000);
    bed.audit.0.floor.store(ahead.0, Ordering::Relaxed);
    bed.write("desk", 1);
    bed.stop().await;
    fs::write(&sign, "").unwrap();
    let bed = Bed::with(store.path(), &config);
    bed.settle().await;
    bed.write("desk", 2);
    bed.stop().await;
    let report = verify(store.path());
    assert!(report.is_whole(), "{report}");
    let all = lines(store.path());
    let writes: Vec<_> = all.iter().filter(|line| line["kind"] == "write").collect();
    assert_eq!(
        (&writes[0]["unsynchronised"], &writes[1]["unsynchronised"]),
        (&json!(true), &json!(null))
    );
    for write in writes {
        assert_eq!(write["at"], ahead.to_iso_millis());
        assert!(write["clock_said"].as_str().unwrap() < ahead.to_iso_millis().as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_holds_up_nobody_and_its_lines_come_later() {
    let store = tempfile::tempdir().unwrap();
    // A file where the folder should be: every opening fails.
    let in_the_way = store.path().join(FOLDER);
    fs::write(&in_the_way, "").unwrap();
    let bed = Bed::start(store.path());
    for value in 0..100 {
        bed.write("desk", value);
    }
    bed.settle().await;
    let status = bed.audit.status();
    assert!(status.fault.is_some() && status.errors > 0, "{status:?}");
    assert_eq!((status.waiting, status.lost), (201, 0));
    assert_eq!(bed.begin("desk", 1).on_disk().await, Err(NotOnDisk));
    for value in 0..1_000 {
        bed.write("desk", value);
    }
    let status = bed.audit.status();
    assert_eq!(status.waiting, 1_024);
    assert_eq!(status.lost, 203 + 2_000 - 1_024);
    fs::remove_file(&in_the_way).unwrap();
    sleep(Duration::from_mins(2)).await;
    let status = bed.audit.status();
    assert_eq!((status.fault, status.waiting), (None, 0));
    bed.write("desk", 7);
    bed.stop().await;
    let report = verify(store.path());
    assert!(report.is_whole(), "{report}");
    assert_eq!(report.lost, 203 + 2_000 - 1_024);
}

#[tokio::test(start_paused = true)]
async fn what_a_full_disk_took_in_part_is_no_line() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.write("desk", 1);
    bed.settle().await;
    let path = files(store.path()).pop().unwrap();
    // As a write leaves it that met the end of the disk half way.
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"seq\":5,\"at\":\"20").unwrap();
    bed.kill().await;
    let bed = Bed::start(store.path());
    bed.stop().await;
    assert!(verify(store.path()).is_whole());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_strangers_writes_at_most_one_kibibyte_a_minute() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.settle().await;
    let before = bed.audit.status().bytes;
    let reasons = [
        "MISSING",
        "UNREADABLE",
        "DAMAGED",
        "UNKNOWN",
        "EXPIRED",
        "THROTTLED",
        "NO_KEYS",
        "RATE",
    ];
    for minute in 0..10_u128 {
        for number in 0..20_000_u128 {
            let address = std::net::Ipv6Addr::from_bits(
                (0xfd00 << 112) | u128::MAX >> 17 ^ (minute << 32 | number),
            );
            bed.audit.refused(&Refused {
                caller: None,
                address: Some(address.into()),
                request: None,
                what: None,
                reason: reasons[usize::try_from(number % 8).unwrap()],
            });
        }
        sleep(Duration::from_mins(1)).await;
    }
    bed.settle().await;
    let grown = bed.audit.status().bytes - before;
    assert!(grown <= 10 * 1_024, "{grown}");
    assert_eq!(
        kinds(store.path())
            .iter()
            .filter(|kind| *kind == "refusals")
            .count(),
        10
    );
    bed.stop().await;
    assert!(verify(store.path()).is_whole());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_happens() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.settle().await;
    let before = bed.audit.status();
    sleep(Duration::from_hours(24)).await;
    let after = bed.audit.status();
    assert_eq!(
        (after.written, after.last_sync),
        (before.written, before.last_sync)
    );
    bed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn names_cannot_break_out_of_their_line() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.write("desk\"}\n{\"seq\":1}\u{1b}[2J\u{202e}", 1);
    bed.stop().await;
    assert!(verify(store.path()).is_whole());
    let text = fs::read_to_string(&files(store.path())[0]).unwrap();
    assert_eq!(text.lines().count(), 5);
    assert!(
        !text.chars().any(|letter| letter != '\n'
            && (letter.is_control() || crate::base::text::is_hidden(letter)))
    );
}

#[tokio::test(start_paused = true)]
async fn a_line_about_more_than_fits_is_cut_and_the_chain_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::start(folder.path());
    let names: Vec<_> = (0..256)
        .map(|number| format!("{number} {}", "\u{202e}".repeat(60)))
        .collect();
    bed.audit.note(Kind::Key, None, &json!({ "added": names }));
    bed.write(&"é".repeat(64), -12);
    bed.stop().await;
    let lines = lines(folder.path());
    let cut = lines.iter().find(|line| line["kind"] == "key").unwrap();
    assert!(cut["detail"]["bytes"].as_u64().unwrap() > 90_000, "{cut}");
    assert!(verify(folder.path()).is_whole());
    let bed = Bed::start(folder.path());
    bed.stop().await;
    assert!(verify(folder.path()).is_whole());
    assert!(!kinds(folder.path()).contains(&"cut".to_owned()));
}
