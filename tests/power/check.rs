//! A start from what a power cut has left: what came back of the store and of the audit trail, and whether the box goes on from there.

use std::any::Any;
use std::fs;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rackhand::audit::{Audit, Kind, Verifier, segment_files};
use rackhand::base::shutdown::Stop;
use rackhand::config::AuditConfig;
use rackhand::store::{Mirror, Opened, Store, StoreStatus};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::work::AUDIT_BYTES;
use crate::{COMPONENT, CONTROLS, CORE, paused, text};

/// One start in `folder`, a second one after it, and the trail; what panics is told like all else.
pub(crate) fn check(folder: &Path) -> Value {
    let guarded = |work: &dyn Fn(&Path) -> Value| {
        let done = catch_unwind(AssertUnwindSafe(|| work(folder)));
        done.unwrap_or_else(|panic| json!({"error": said(panic.as_ref())}))
    };
    let first = guarded(&|folder| paused(start(folder)));
    let second = guarded(&|folder| paused(start(folder)));
    let audit = guarded(&|folder| paused(trail(folder)));
    json!({"folder": folder, "first": first, "second": second, "audit": audit})
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a word"))
}

/// What was there when the store was opened, and whether it then took a write and stopped.
async fn start(folder: &Path) -> Value {
    let opened = Store::open(&folder.join("data"), &[CORE], Instant::now());
    let Opened { store, mirrors } = match opened {
        Ok(opened) => opened,
        Err(error) => return json!({"error": error.to_string()}),
    };
    let mut status = store.watch_status();
    let found = status.borrow().clone();
    let values = values(&mirrors[0]);
    let stop = Stop::new();
    let over = |status: &StoreStatus| status.last_flush.is_some() || status.errors > 0;
    let wait = async {
        status.wait_for(over).await.unwrap();
        stop.cancel();
    };
    tokio::join!(store.run(stop.clone()), wait);
    let fault = status.borrow().fault.clone();
    json!({
        "quarantined": found.quarantined,
        "dropped": found.dropped,
        "fault": found.fault.or(fault),
        "starts": found.counters.starts,
        "quarantines": found.counters.quarantines,
        "values": values,
    })
}

/// The turn in which each control was changed last. One whose text is of another turn than its value is told as -1.
fn values(mirror: &Mirror) -> Vec<Option<f64>> {
    let controls = mirror.component_controls(COMPONENT).unwrap_or_default();
    let mut values = vec![None; usize::try_from(CONTROLS).unwrap()];
    for control in controls {
        let name = control.name.control.as_str();
        let number: u32 = name.strip_prefix('c').unwrap().parse().unwrap();
        let reading = control.reading;
        let value = reading.value.map(|turn| {
            let is_one = format!("{turn:.0}").parse().is_ok_and(|whole| {
                f64::from(whole).total_cmp(&turn).is_eq() && *reading.string == *text(number, whole)
            });
            if is_one { turn } else { -1.0 }
        });
        values[usize::try_from(number).unwrap()] = value;
    }
    values
}

/// Opens the trail, adds a line, and reads it whole.
async fn trail(folder: &Path) -> Value {
    let data = folder.join("data");
    let config = AuditConfig {
        bytes_max: AUDIT_BYTES,
        clock_file: None,
        ..AuditConfig::default()
    };
    let (audit, keeper) = Audit::new(&config, &data);
    audit.note(Kind::Start, None, &json!({}));
    let stop = Stop::new();
    stop.cancel();
    keeper.run(stop).await;
    let (mut verifier, mut turns) = (Verifier::default(), Vec::new());
    for path in segment_files(&data.join("audit")).unwrap() {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let details = lines.map(|line: Value| line["detail"].clone());
        turns.extend(details.filter_map(|detail| {
            let is_last = detail["line"].as_u64()? + 1 == detail["lines"].as_u64()?;
            is_last.then(|| detail["turn"].as_u64())?
        }));
        let file = BufReader::new(fs::File::open(&path).unwrap());
        verifier.segment(&path.display().to_string(), file).unwrap();
    }
    let report = verifier.finish();
    json!({
        "fault": audit.status().fault,
        "is_whole": report.is_whole() && report.is_stopped,
        "report": report.to_string(),
        "turn": turns.last(),
    })
}
