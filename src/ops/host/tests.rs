//! Boards of files in a folder.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::disk::{PROBE_FILE, Probe};
use super::*;

/// A machine that tells what these files say.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn sampled(files: &[(&str, &str)]) -> Host {
    let machine = machine(files);
    Root::new(machine.path()).sample(None)
}

#[test]
fn a_machine_that_tells_nothing_is_not_ill() {
    let host = sampled(&[]);
    assert_eq!(
        host,
        Host {
            wall: host.wall,
            ..Host::default()
        }
    );
}

#[test]
fn this_very_machine_tells_of_memory_work_and_descriptors() {
    let host = Root::new(Path::new("/")).sample(None);
    assert!(host.rss > Some(1 << 20) && host.total > host.available && host.available > Some(0));
    let (busy, all) = host.ticks.unwrap();
    assert!(busy > 0 && all > busy && host.uptime > Some(0));
    let (open, most) = host.descriptors.unwrap();
    assert!(open > 0 && open <= most);
}

#[test]
fn files_of_the_kernel_are_read_as_they_are_written() {
    let host = sampled(&[
        (
            "proc/self/status",
            "Name:\trackhand\nVmHWM:\t   99999 kB\nVmRSS:\t   20480 kB\nThreads:\t5\n",
        ),
        (
            "proc/meminfo",
            "MemTotal:         948304 kB\nMemFree:           80000 kB\nMemAvailable:     474152 kB\n",
        ),
        (
            "proc/pressure/memory",
            "some avg10=1.00 avg60=7.81 avg300=0.00 total=9\nfull avg10=0.00 avg60=3.99 avg300=0.00 total=9\n",
        ),
        (
            "proc/stat",
            "cpu  100 20 30 800 50 3 4 5 60 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n",
        ),
        ("proc/uptime", "12345.67 23456.78\n"),
        (
            "proc/self/stat",
            "77 (a ) b) S 1 77 77 0 -1 4194560 9 9 9 9 1203 45 9 9 20 0 5 0 99 9 9 1\n",
        ),
        (
            "proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n",
        ),
        ("proc/self/fd/0", ""),
        ("proc/self/fd/1", ""),
        ("proc/self/fd/2", ""),
        ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
        ("sys/class/thermal/thermal_zone1/temp", "61999\n"),
        ("sys/class/thermal/thermal_zone2/temp", "-274000\n"),
        ("sys/class/thermal/thermal_zone3/temp", "2147483647\n"),
        ("sys/class/thermal/cooling_device0/temp", "99000\n"),
    ]);
    assert_eq!(host.rss, Some(20 << 20));
    assert_eq!(
        (host.total, host.available),
        (Some(948_304 << 10), Some(474_152 << 10))
    );
    assert_eq!(host.pressure, Some(3));
    assert_eq!(host.ticks, Some((162, 1_012)));
    assert_eq!(host.uptime, Some(12_345_670));
    assert_eq!(host.worked, Some(12_480));
    assert_eq!(host.descriptors, Some((2, 1_024)));
    assert_eq!(host.temperature, Some(61));
}

#[test]
fn a_limit_is_found_with_both_versions_of_control_groups_and_in_a_container() {
    let two = ("proc/self/cgroup", "0::/system.slice/rackhand.service\n");
    let group = "sys/fs/cgroup/system.slice/rackhand.service";
    let (max, high) = (
        format!("{group}/memory.max"),
        format!("{group}/memory.high"),
    );
    assert_eq!(
        sampled(&[two, (&max, "402653184\n"), (&high, "max\n")]).limit,
        Some(384 << 20)
    );
    assert_eq!(
        sampled(&[two, (&max, "402653184\n"), (&high, "335544320\n")]).limit,
        Some(320 << 20)
    );
    assert_eq!(sampled(&[two, (&max, "max\n")]).limit, None);
    assert_eq!(
        sampled(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1048576\n")
        ])
        .limit,
        Some(1 << 20)
    );
    let one = (
        "proc/self/cgroup",
        "12:cpu,cpuacct:/a\n5:memory:/docker/0123\n1:name=systemd:/b\n",
    );
    let inside = "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes";
    let unlimited = "9223372036854771712\n";
    assert_eq!(
        sampled(&[one, (inside, "67108864\n")]).limit,
        Some(64 << 20)
    );
    assert_eq!(sampled(&[one, (inside, unlimited)]).limit, None);
    assert_eq!(
        sampled(&[
            one,
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n")
        ])
        .limit,
        Some(64 << 20)
    );
}

#[test]
fn the_supply_is_told_by_the_firmware_or_by_a_sensor() {
    let firmware = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let power = |files: &[(&str, &str)]| sampled(files).power;
    let is = |is_low, is_throttled| {
        Some(Power {
            is_low,
            is_throttled,
        })
    };
    assert_eq!(power(&[(firmware, "0\n")]), is(false, false));
    assert_eq!(power(&[(firmware, "50005\n")]), is(true, true));
    assert_eq!(
        power(&[(firmware, "0x50000\n")]),
        is(false, false),
        "it was, and is no more"
    );
    assert_eq!(power(&[(firmware, "80008\n")]), is(false, true));
    let (name, alarm) = (
        "sys/class/hwmon/hwmon1/name",
        "sys/class/hwmon/hwmon1/in0_lcrit_alarm",
    );
    let other = ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
    assert_eq!(
        power(&[other, (name, "rpi_volt\n"), (alarm, "1\n")]),
        is(true, false)
    );
    assert_eq!(
        power(&[other, (name, "rpi_volt\n"), (alarm, "0\n")]),
        is(false, false)
    );
    assert_eq!(power(&[other]), None);
}

#[test]
fn a_board_is_told_by_its_device_tree_and_only_its_sensors_count() {
    let machine = machine(&[
        (
            "proc/device-tree/compatible",
            "raspberrypi,4-model-b\0brcm,bcm2711\0",
        ),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "48000\n"),
        ("sys/class/thermal/thermal_zone1/type", "battery\n"),
        ("sys/class/thermal/thermal_zone1/temp", "91000\n"),
        ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
        ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
    ]);
    let root = Root::new(machine.path());
    assert_eq!(root.sample(None).temperature, Some(91));
    let board = root.board().unwrap();
    assert_eq!(board.title, "Raspberry Pi 4");
    let sample = root.clone().with_sensors(Some(board.sensors)).sample(None);
    assert_eq!(sample.temperature, Some(48));
    assert!(sample.power.is_some_and(|power| power.is_low));
    let other = Board::named("beaglebone-black").unwrap();
    let sample = root.with_sensors(Some(other.sensors)).sample(None);
    assert_eq!((sample.temperature, sample.power), (Some(91), None));
}

#[test]
fn a_virtual_machine_is_told_by_its_product() {
    let product = ("sys/class/dmi/id/product_name", "QEMU Virtual Machine\n");
    let machine = machine(&[product]);
    let board = Root::new(machine.path()).board();
    assert_eq!(board.unwrap().title, "QEMU virt, arm64");
    assert_eq!(Root::new(Path::new("/nowhere")).board(), None);
}

#[test]
fn flash_is_as_worn_as_its_worst_part() {
    let life = "sys/block/mmcblk0/device/life_time";
    let end = "sys/block/mmcblk0/device/pre_eol_info";
    for (text, stage, worn) in [
        ("0x01 0x01\n", "0x01\n", Some(0)),
        ("0x02 0x09\n", "0x01\n", Some(80)),
        ("0x0b 0x01\n", "0x01\n", Some(100)),
        ("0x00 0x00\n", "0x00\n", None),
        ("0x01 0x01\n", "0x02\n", Some(80)),
        ("0x01 0x01\n", "0x03\n", Some(90)),
        ("nonsense\n", "?\n", None),
    ] {
        assert_eq!(sampled(&[(life, text), (end, stage)]).flash, worn, "{text}");
    }
    let boot = "sys/block/mmcblk1/device/life_time";
    assert_eq!(
        sampled(&[(life, "0x02 0x02"), (boot, "0x05 0x01")]).flash,
        Some(40)
    );
}

#[test]
fn a_clock_that_nobody_sets_is_told_only_where_somebody_should() {
    let machine = machine(&[]);
    let file = machine.path().join("timesync/synchronized");
    let root = Root::new(machine.path());
    assert_eq!(root.sample(Some(&file)).is_clock_set, None);
    fs::create_dir(file.parent().unwrap()).unwrap();
    assert_eq!(root.sample(Some(&file)).is_clock_set, Some(false));
    fs::write(&file, "").unwrap();
    assert_eq!(root.sample(Some(&file)).is_clock_set, Some(true));
}

#[test]
fn a_probe_writes_seldom_and_a_folder_that_cannot_be_written_is_a_fault_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let probe = Probe::new(&data, folder.path().to_owned());
    let disks = probe.ask();
    assert!(disks.fault.is_some() && disks.temporary.is_some() && disks.data.is_none());
    fs::create_dir(&data).unwrap();
    let disks = probe.ask();
    assert_eq!(disks.fault, None);
    assert!(disks.data.unwrap().percent <= 100);
    let written = || {
        fs::metadata(data.join(PROBE_FILE))
            .unwrap()
            .modified()
            .unwrap()
    };
    let first = written();
    for _ in 0..30 {
        assert_eq!(probe.ask().fault, None);
    }
    assert_eq!(written(), first);
}

/// A FIFO in place of the file holds whoever opens it, as a dead disk does.
#[tokio::test]
async fn a_disk_that_does_not_answer_holds_one_thread_and_no_second_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join(PROBE_FILE);
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let probe = Probe::new(folder.path(), folder.path().to_owned());
    let (flight, samples, stop) = (Flight::default(), watch::Sender::default(), Stop::new());
    let mut hears = samples.subscribe();
    let mut keeping = JoinSet::new();
    let begun = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&begun);
    keeping.spawn(keep(
        "disk probe",
        flight.clone(),
        Duration::from_millis(1),
        samples,
        stop.clone(),
        move || {
            counted.fetch_add(1, Ordering::Relaxed);
            probe.ask()
        },
    ));
    // Told without a sample, once it is late.
    hears.changed().await.unwrap();
    assert!(flight.age(Instant::now()).unwrap() >= SLOW);
    assert_eq!(hears.borrow_and_update().data, None);
    assert_eq!(begun.load(Ordering::Relaxed), 1);
    // Somebody reads at last, and the file that is there next is one that can be synced.
    let reader = File::open(&fifo).unwrap();
    fs::remove_file(&fifo).unwrap();
    drop(reader);
    let back = hears.wait_for(|disks| disks.data.is_some() && disks.fault.is_none());
    back.await.unwrap();
    stop.cancel();
    assert_eq!(keeping.join_next().await.unwrap().unwrap(), "disk probe");
}
