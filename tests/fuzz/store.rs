//! A store whose files were damaged while nobody looked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bolero::TypeGenerator;
use rackhand::base::shutdown::Stop;
use rackhand::model::change::ChangeSink;
use rackhand::model::control::Quality;
use rackhand::store::{Mirror, Store, StoreError};
use rackhand::wire::qrc::{ComponentFacts, Controls, EngineStatus};
use tempfile::TempDir;
use tokio::time::Instant;

use super::house::runtime;

const CONTROLS: u32 = 60;

/// What happened to the files. Places are those of bytes that are not zero, for most of a database is.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Damage {
    Flip(u8, u32, u8),
    Zero(u8, u32, u16),
    Cut(u8, u32),
    Append(u8, [u8; 9]),
    Delete(u8),
    Swap(u8, u8),
}

type Files = Vec<(PathBuf, Vec<u8>)>;

/// It opens; what it still tells is true; and it can be written and read again.
pub(crate) fn holds(damages: &Vec<Damage>) {
    let mut files = sound().clone();
    for damage in damages.iter().take(4) {
        damage.apply(&mut files);
    }
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in &files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    runtime().block_on(async {
        let Some((store, mirror)) = open(folder.path()) else {
            return;
        };
        is_true(&mirror);
        tell(&mirror);
        written(store).await;
        drop(mirror);
        let (store, mirror) = open(folder.path()).expect("it was written just now");
        assert_eq!(
            store.watch_status().borrow().quarantined,
            None,
            "damaged again"
        );
        assert_eq!(
            is_true(&mirror),
            CONTROLS,
            "not all that was written is there"
        );
    });
}

impl Damage {
    fn apply(&self, files: &mut Files) {
        if files.is_empty() {
            return;
        }
        let which = |number: u8, files: &Files| usize::from(number) % files.len();
        let place = |bytes: &[u8], at: u32| {
            let places: Vec<usize> = (0..bytes.len())
                .filter(|place| bytes[*place] != 0)
                .collect();
            let at = usize::try_from(at).unwrap();
            places.get(at % places.len().max(1)).copied().unwrap_or(0)
        };
        match self {
            Self::Flip(number, at, bits) => {
                let file = which(*number, files);
                let bytes = &mut files[file].1;
                let place = place(bytes, *at);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= bits;
                }
            }
            Self::Zero(number, at, len) => {
                let file = which(*number, files);
                let bytes = &mut files[file].1;
                let start = place(bytes, *at);
                let end = (start + usize::from(*len)).min(bytes.len());
                bytes[start..end].fill(0);
            }
            Self::Cut(number, at) => {
                let file = which(*number, files);
                let bytes = &mut files[file].1;
                bytes.truncate(place(bytes, *at));
            }
            Self::Append(number, more) => {
                let file = which(*number, files);
                files[file].1.extend(more);
            }
            Self::Delete(number) => drop(files.remove(which(*number, files))),
            Self::Swap(one, other) => {
                let (one, other) = (which(*one, files), which(*other, files));
                let bytes = files[one].1.clone();
                files[one].1 = std::mem::replace(&mut files[other].1, bytes);
            }
        }
    }
}

/// The files of a store that is whole, made once.
fn sound() -> &'static Files {
    static SOUND: OnceLock<Files> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        runtime().block_on(async {
            let (store, mirror) = open(folder.path()).expect("a new store");
            tell(&mirror);
            written(store).await;
        });
        let mut files = Vec::new();
        collect(folder.path(), Path::new(""), &mut files);
        files.sort();
        files
    })
}

fn collect(root: &Path, below: &Path, files: &mut Files) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        if root.join(&path).is_dir() {
            collect(root, &path, files);
        } else {
            files.push((path.clone(), fs::read(root.join(path)).unwrap()));
        }
    }
}

/// A store that a later version seems to have written is left alone.
fn open(folder: &Path) -> Option<(Store, std::sync::Arc<Mirror>)> {
    match Store::open(folder, &["hall"], Instant::now()) {
        Ok(mut opened) => Some((opened.store, opened.mirrors.remove(0))),
        Err(StoreError::Newer { .. }) => None,
        Err(fault) => panic!("{fault}"),
    }
}

async fn written(store: Store) {
    let status = store.watch_status();
    let stop = Stop::new();
    stop.cancel();
    store.run(stop).await;
    let status = status.borrow();
    assert_eq!((&status.fault, status.queue), (&None, 0));
}

fn tell(mirror: &Mirror) {
    let now = Instant::now();
    let engine: EngineStatus =
        serde_json::from_str(r#"{"State":"Active","DesignName":"Hall","DesignCode":"a"}"#).unwrap();
    let facts: ComponentFacts = serde_json::from_str(r#"{"Name":"Mix","Type":"mixer"}"#).unwrap();
    let controls: Vec<String> = (0..CONTROLS)
        .map(|n| {
            format!(
                r#"{{"Name":"c{n}","Type":"Float","Value":{n},"String":"is {n}","Position":0.5}}"#
            )
        })
        .collect();
    let text = format!(r#"{{"Name":"Mix","Controls":[{}]}}"#, controls.join(","));
    let controls: Controls<'_> = serde_json::from_str(&text).unwrap();
    mirror.design_began(&engine, now);
    ChangeSink::component(mirror, &facts, &controls.controls, now);
    mirror.design_ended(now);
}

/// Every reading that the mirror has is the one that was stored. How many it has.
fn is_true(mirror: &Mirror) -> u32 {
    let mut known = 0;
    for control in mirror.component_controls("Mix").unwrap_or_default() {
        let reading = &control.reading;
        let number = control.name.control.as_str().trim_start_matches('c');
        if reading.quality != Quality::Unknown {
            known += 1;
            assert_eq!(reading.quality, Quality::Stale);
            assert_eq!(
                reading.value.map(|value| value.to_string()).as_deref(),
                Some(number)
            );
            assert_eq!(reading.string, format!("is {number}"));
        }
    }
    known
}
