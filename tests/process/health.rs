//! The real program made ill in one way after the other, and well again.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rackhand::base::clock::UnixMillis;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::bed::{Box, Core, PROGRAM, Place, Process, exchange, run, until};

/// A place whose service looks at the machine in a folder of the test's own, each second.
fn place_with_machine(core: &Core, more: &str) -> (Place, PathBuf) {
    let place = Place::of(core);
    let machine = place.path().join("machine");
    let text = fs::read_to_string(place.config()).unwrap();
    place.configure(&format!(
        "{text}[health]\nroot = {:?}\nevery-secs = 1\ndisk-degraded-percent = 100\ndisk-unhealthy-percent = 100\n{more}",
        machine.to_str().unwrap()
    ));
    fs::create_dir(&machine).unwrap();
    (place, machine)
}

fn write(machine: &Path, file: &str, text: &str) {
    let path = machine.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As a whole, as the kernel shows it.
    let fresh = machine.join("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// Waits until a check is at a level, and returns its reason.
async fn becomes(served: &Box, check: &str, level: &str) -> String {
    until(&format!("{check} {level}"), async || {
        let health = served.health().await;
        let checks = health["checks"].as_array().unwrap();
        let found = checks.iter().find(|one| one["check"] == check).unwrap();
        if found["level"] == level {
            Ok(found["reason"].as_str().unwrap().to_owned())
        } else {
            Err(found.to_string())
        }
    })
    .await
}

async fn probed(served: &Box, path: &str) -> (u16, Value) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let (status, body) = exchange(&served.address, &request).await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// `rackhand health` of this service.
async fn asked(served: &Box, more: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}", served.address);
    run(&[&["health", "--url", &url], more].concat()).await
}

#[tokio::test]
async fn a_board_that_runs_hot_starves_or_wears_out_says_so_and_recovers() {
    let core = Core::start(&[]).await;
    let (place, machine) = place_with_machine(&core, "");
    let key = place.key("test", "viewer").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    let thermal = "sys/class/thermal/thermal_zone0/temp";
    let firmware = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let life = "sys/block/mmcblk0/device/life_time";
    for (check, file, ill, level, well) in [
        ("temperature", thermal, "79000", "DEGRADED", "50000"),
        ("temperature", thermal, "90000", "UNHEALTHY", "50000"),
        ("power", firmware, "50005", "DEGRADED", "50000"),
        ("flash", life, "0x0a 0x02", "DEGRADED", "0x02 0x02"),
    ] {
        write(&machine, file, ill);
        let reason = becomes(&served, check, level).await;
        assert!(!reason.is_empty());
        write(&machine, file, well);
        becomes(&served, check, "HEALTHY").await;
    }
    let said = served.process.said();
    assert!(
        said.contains(
            "Health: temperature is UNHEALTHY, it was HEALTHY. The machine is 90 °C warm"
        ),
        "{said}"
    );
    served.process.stopped().await;
}

/// The real memory of the process against a limit that the test sets, as a container does.
#[tokio::test]
async fn a_limit_that_the_service_outgrows_makes_it_unhealthy_and_more_room_well_again() {
    let core = Core::start(&[]).await;
    let (place, machine) = place_with_machine(&core, "");
    symlink("/proc", machine.join("proc")).unwrap();
    // Whatever group the test is in, its root has the limit.
    for group in [
        "sys/fs/cgroup/memory.max",
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
    ] {
        write(&machine, group, "1073741824");
    }
    let key = place.key("test", "viewer").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    becomes(&served, "memory", "HEALTHY").await;
    write(&machine, "sys/fs/cgroup/memory.max", "4194304");
    let reason = becomes(&served, "memory", "UNHEALTHY").await;
    assert!(reason.contains("of 4 MiB"), "{reason}");
    let (status, body) = probed(&served, "/health").await;
    assert_eq!((status, &body["status"]), (503, &"UNHEALTHY".into()));
    assert_eq!(probed(&served, "/livez").await.0, 200);
    let (exit, said) = asked(&served, &[]).await;
    assert!(exit == Some(1) && said.starts_with("UNHEALTHY"), "{said}");
    write(&machine, "sys/fs/cgroup/memory.max", "1073741824");
    becomes(&served, "memory", "HEALTHY").await;
    let (exit, said) = asked(&served, &[]).await;
    assert!(exit == Some(0) && said.starts_with("HEALTHY"), "{said}");
    served.process.stopped().await;
}

#[tokio::test]
async fn a_service_that_runs_out_of_descriptors_says_so_until_clients_leave() {
    let core = Core::start(&[]).await;
    let steps = "descriptors-degraded-percent = 50\ndescriptors-unhealthy-percent = 90\n";
    let (place, machine) = place_with_machine(&core, steps);
    symlink("/proc", machine.join("proc")).unwrap();
    let key = place.key("test", "viewer").await;
    let mut command = Command::new("bash");
    command.args([
        "-c",
        "ulimit -n 200; exec \"$@\"",
        "few",
        PROGRAM,
        "run",
        "--config",
        &place.config(),
    ]);
    let served = Box::of(Process::spawn(command), &key).await;
    served.reached("live").await;
    becomes(&served, "descriptors", "HEALTHY").await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(&served.address).await.unwrap());
    }
    let reason = becomes(&served, "descriptors", "DEGRADED").await;
    assert!(reason.contains("of 200 files"), "{reason}");
    drop(crowd);
    becomes(&served, "descriptors", "HEALTHY").await;
    served.process.stopped().await;
}

#[tokio::test]
async fn on_a_disk_that_fills_up_the_box_serves_on_and_is_well_when_there_is_room() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let text = fs::read_to_string(place.config()).unwrap();
    place.configure(&format!("{text}[health]\nevery-secs = 1\n"));
    let key = place.key("test", "viewer").await;
    // A small disk that only this process sees, with what was in the data folder.
    let script = "cp -a \"$0\" \"$0.before\" && mount -t tmpfs -o size=64m tmpfs \"$0\" && cp -a \"$0.before/.\" \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        &place.data(),
        PROGRAM,
        "run",
        "--config",
        &place.config(),
    ]);
    // The machine's own disk may be as full as it likes.
    command.env("TMPDIR", place.data());
    let served = Box::of(Process::spawn(command), &key).await;
    served.reached("live").await;
    becomes(&served, "disk", "HEALTHY").await;
    let disk = format!("/proc/{}/root{}", served.process.pid(), place.data());
    let filler = format!("{disk}/filler");
    let mut file = File::create(&filler).unwrap();
    let piece = vec![7_u8; 256 << 10];
    while file.write_all(&piece).is_ok() {}
    drop(file);
    let reason = becomes(&served, "disk", "UNHEALTHY").await;
    assert!(reason.contains("data folder is 100 % full"), "{reason}");
    assert_eq!(probed(&served, "/health").await.0, 503);
    assert_eq!(probed(&served, "/readyz").await.0, 200);
    assert_eq!(
        served.reading("Hall A Gain", "gain").await["quality"],
        "live"
    );
    fs::remove_file(&filler).unwrap();
    becomes(&served, "disk", "HEALTHY").await;
    assert_eq!(probed(&served, "/health").await.0, 200);
    served.process.stopped().await;
}

/// A FIFO in place of the file that is synced holds whoever opens it, as a dead disk does.
#[tokio::test]
async fn a_disk_that_does_not_answer_is_unhealthy_and_the_box_serves_on() {
    let core = Core::start(&[]).await;
    let (place, _) = place_with_machine(&core, "");
    let key = place.key("test", "admin").await;
    let fifo = place.path().join("data/health.probe");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .await
            .unwrap()
            .success()
    );
    let served = place.serve(&key).await;
    served.reached("live").await;
    let reason = becomes(&served, "disk", "UNHEALTHY").await;
    assert!(reason.contains("does not answer"), "{reason}");
    assert_eq!(probed(&served, "/health").await.0, 503);
    assert_eq!(probed(&served, "/readyz").await.0, 200);
    assert_eq!(
        served.reading("Hall A Gain", "gain").await["quality"],
        "live"
    );
    let key_file = place.path().join("key");
    fs::write(&key_file, &key).unwrap();
    let detail = ["--detail", "--key-file", key_file.to_str().unwrap()];
    let (exit, said) = asked(&served, &detail).await;
    assert!(
        exit == Some(1) && said.contains("UNHEALTHY  disk"),
        "{said}"
    );
    let request =
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n");
    let (status, page) = exchange(&served.address, &request).await.unwrap();
    assert_eq!(status, 200);
    for part in [
        "UNHEALTHY",
        "does not answer",
        "Last changes",
        "Serving MCP on",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains(&key), "{page}");
    let reader = File::open(&fifo).unwrap();
    fs::remove_file(&fifo).unwrap();
    drop(reader);
    becomes(&served, "disk", "HEALTHY").await;
    let (exit, said) = asked(&served, &detail).await;
    assert!(
        exit == Some(0) && said.contains("HEALTHY    disk"),
        "{said}"
    );
    served.process.stopped().await;
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
}

/// A certificate of the site that ends at the end of a day so many days from now.
fn write_certificate(folder: &Path, days: i64) {
    let now = i64::try_from(UnixMillis::now().0).unwrap();
    let end = UnixMillis(u64::try_from(now + days * 86_400_000).unwrap()).to_iso();
    let mut parts = end
        .split(['-', 'T'])
        .map(|part| part.parse::<u16>().unwrap_or(0));
    let (year, month, day) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let mut params = CertificateParams::new(vec!["rack.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(
        year.into(),
        u8::try_from(month).unwrap(),
        u8::try_from(day).unwrap(),
    );
    let key = KeyPair::generate().unwrap();
    fs::write(
        folder.join("box.key"),
        pem("PRIVATE KEY", &key.serialize_der()),
    )
    .unwrap();
    fs::write(
        folder.join("box.pem"),
        pem("CERTIFICATE", params.self_signed(&key).unwrap().der()),
    )
    .unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(folder.join("box.key"), private).unwrap();
}

#[tokio::test]
async fn a_certificate_that_ends_is_told_before_and_after_until_it_is_renewed() {
    let core = Core::start(&[]).await;
    let (place, _) = place_with_machine(&core, "");
    write_certificate(place.path(), 5);
    let text = fs::read_to_string(place.config()).unwrap();
    let files = format!(
        "[listen.tls]\ncertificate-file = {0:?}\nkey-file = {1:?}",
        place.path().join("box.pem"),
        place.path().join("box.key")
    );
    place.configure(&text.replacen("[listen.tls]", &files, 1));
    let key = place.key("test", "viewer").await;
    let served = place.serve(&key).await;
    let reason = becomes(&served, "certificate", "DEGRADED").await;
    assert!(reason.contains("days: renew it"), "{reason}");
    write_certificate(place.path(), -5);
    let reason = becomes(&served, "certificate", "UNHEALTHY").await;
    assert!(reason.contains("has ended"), "{reason}");
    write_certificate(place.path(), 90);
    becomes(&served, "certificate", "HEALTHY").await;
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn whoever_asks_a_box_that_is_not_there_or_without_a_key_hears_why() {
    let (exit, said) = run(&["health", "--url", "http://127.0.0.1:9"]).await;
    assert!(exit == Some(1) && said.contains("127.0.0.1:9"), "{said}");
    let core = Core::start(&[]).await;
    let (place, _) = place_with_machine(&core, "");
    let key = place.key("test", "viewer").await;
    let served = place.serve(&key).await;
    let (exit, said) = asked(&served, &["--detail"]).await;
    assert!(exit == Some(1) && said.contains("401"), "{said}");
    let (exit, said) = asked(&served, &[]).await;
    assert!(exit == Some(0) && said.contains("version 0."), "{said}");
    served.process.stopped().await;
}
