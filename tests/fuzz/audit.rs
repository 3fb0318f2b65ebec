//! Segments of the audit trail that somebody changed, or that are no such thing at all.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use bolero::TypeGenerator;
use rackhand::audit::{self, Audit, FOLDER, Kind, Report, Verifier};
use rackhand::base::shutdown::Stop;
use rackhand::config::AuditConfig;
use serde_json::json;

use super::house::runtime;

/// What happened to the one segment of a sound trail.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Damage {
    Flip(u16, u8),
    Remove(u16, u8),
    Insert(u16, [u8; 5]),
    Cut(u16),
    Append(Vec<u8>),
    Replace(Vec<u8>),
    Double(u8),
}

/// Whatever stands in the files, the check comes to an end and says where it is wrong; a change of a sound trail never goes unseen; and
/// the service goes on behind it.
pub(crate) fn holds(damages: &Vec<Damage>) {
    let sound = sound();
    let mut bytes = sound.clone();
    for damage in damages.iter().take(4) {
        damage.apply(&mut bytes);
    }
    let report = verify(&bytes);
    if bytes != *sound && !sound.starts_with(&bytes) {
        let is_seen = !report.is_whole() || report.is_unfinished;
        assert!(is_seen, "nobody saw it: {report}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let segments = folder.path().join(FOLDER);
    fs::create_dir_all(&segments).expect("a folder");
    fs::write(segments.join("audit-000000000001.jsonl"), &bytes).expect("a file");
    write(folder.path(), 2);
    let files = audit::segment_files(&segments).expect("a trail");
    let last = fs::read(files.last().expect("a segment")).expect("a segment");
    assert!(last.ends_with(b"\n"), "the last line is not whole");
    assert!(
        verify(&last).is_stopped,
        "the last run does not end as it did"
    );
}

fn verify(bytes: &[u8]) -> Report {
    let mut verifier = Verifier::default();
    verifier.segment("audit", bytes).expect("bytes in memory");
    verifier.finish()
}

fn sound() -> &'static Vec<u8> {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), 6);
        let files = audit::segment_files(&folder.path().join(FOLDER)).expect("a trail");
        fs::read(&files[0]).expect("a segment")
    })
}

/// One run of the service that notes so many lines.
fn write(store: &Path, lines: u32) {
    runtime().block_on(async {
        let (audit, keeper) = Audit::new(&AuditConfig::default(), store);
        for line in 0..lines {
            audit.note(Kind::Key, None, &json!({"added": [line]}));
        }
        let stop = Stop::new();
        stop.cancel();
        keeper.run(stop).await;
    });
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at) % bytes.len().max(1);
        match self {
            Self::Flip(at, bits) => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Remove(at, count) => {
                let from = place(*at).min(bytes.len());
                let to = (from + usize::from(*count)).min(bytes.len());
                bytes.drain(from..to);
            }
            Self::Insert(at, new) => {
                let at = place(*at).min(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Cut(at) => bytes.truncate(place(*at)),
            Self::Append(new) => bytes.extend_from_slice(new),
            Self::Replace(new) => bytes.clone_from(new),
            Self::Double(line) => {
                let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let again = lines.get(usize::from(*line) % lines.len().max(1));
                let again = again.map(|line| line.to_vec()).unwrap_or_default();
                bytes.extend(again);
            }
        }
    }
}
