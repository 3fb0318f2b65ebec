//! The official client, `@q-sys/qrwc`, against the simulated Core: the simulated Core is true only if real clients accept it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a fault is a failed test, and what the scripts say is printed"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rackhand::base::shutdown::Stop;
use rackhand::sim::design::{Component, Control, Design, Unit, venue};
use rackhand::sim::listen::{Addresses, Identity, Listening};
use rackhand::sim::{Options, SimCore};
use tokio::process::Command;
use tokio::task::JoinSet;

fn clients() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/qrwc")
}

/// Serves a design on free ports and runs one of the scripts with their addresses.
struct Bench {
    addresses: Addresses,
    stop: Stop,
    tasks: JoinSet<()>,
}

impl Bench {
    async fn new(design: Design, options: Options) -> Self {
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let wanted = Addresses {
            websocket: Some(local),
            tls: Some(local),
            tcp: None,
            control: Some(local),
        };
        let core = SimCore::new(design, options);
        let listening = Listening::bind(&core, &wanted, Identity::self_signed().unwrap())
            .await
            .unwrap();
        let addresses = listening.addresses().clone();
        let (stop, mut tasks) = (Stop::new(), JoinSet::new());
        tasks.spawn(listening.serve(stop.clone()));
        Self {
            addresses,
            stop,
            tasks,
        }
    }

    fn url(&self, scheme: &str) -> String {
        let address = if scheme == "wss" {
            self.addresses.tls
        } else {
            self.addresses.websocket
        };
        format!("{scheme}://{}/qrc-public-api/v0", address.unwrap())
    }

    async fn run(&self, script: &str, arguments: &[&str]) {
        let modules = clients().join("node_modules/ws");
        assert!(
            modules.exists(),
            "the official client is not installed: tests/run does it, or npm ci --prefix tests/clients/qrwc"
        );
        let mut command = Command::new("node");
        command
            .current_dir(clients())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_mins(2), command.output()).await;
        let output = output
            .expect("the script does not end")
            .expect("node is not installed: tests/run needs it");
        let (said, faults) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{script} {arguments:?}\n{said}\n{faults}"
        );
        print!("{said}");
    }

    async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The small design that the golden trace was recorded with, rebuilt from it.
fn golden_design() -> Design {
    let gain = vec![
        Control::float("gain", (-100.0, 20.0), Unit::Db, 0.0),
        Control::mute("mute", false),
        Control::boolean("bypass", false).words("no", "yes"),
        Control::boolean("invert", false).words("normal", "inverted"),
    ];
    let text = vec![
        Control::text("text.1", "hello"),
        Control::combo("combo.1", &["HDMI 1", "HDMI 2", "USB-C"], "HDMI 1"),
    ];
    let meter = vec![
        Control::float("meter.1", (-120.0, 20.0), Unit::Db, -60.0).read_only(),
        Control::float("peak.1", (-120.0, 20.0), Unit::Db, -50.0).read_only(),
        Control::float("hold.time", (0.0, 60.0), Unit::Seconds, 1.0),
    ];
    let scenes = vec![
        Control::state_trigger("load.1"),
        Control::trigger("save.1"),
        Control::boolean("match.1", false).read_only(),
        Control::float("ramp.time", (0.0, 60.0), Unit::Seconds, 0.0),
    ];
    let status = vec![
        Control::status("status", 0, "OK"),
        Control::boolean("led", true).read_only(),
    ];
    Design::new("Proof", "pROOf0000001")
        .platform("Core 8 Flex")
        .with(
            Component::new("Gain", "gain", gain)
                .property("max_gain", "20", "Max Gain (dB)")
                .property("min_gain", "-100", "Min Gain (dB)"),
        )
        .with(Component::new("Text_Box", "custom_controls", text).property("type_1", "13", "Type"))
        .with(Component::new("Meter", "meter2", meter))
        .with(Component::new("Scenes", "snapshot_controller", scenes))
        .with(Component::new("Status", "status_combiner", status))
        .with(Component::new(
            "RTA",
            "real_time_analyzer",
            vec![Control::array("magnitude", &[-40.0, -38.5, -44.0])],
        ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_golden_trace_is_played_again_frame_by_frame() {
    let bench = Bench::new(golden_design(), Options::default()).await;
    let control = bench.addresses.control.unwrap().to_string();
    let trace =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qrwc-client-frames.jsonl");
    bench
        .run(
            "golden.mjs",
            &[&bench.url("ws"), &control, trace.to_str().unwrap()],
        )
        .await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_the_official_client_do_a_days_work() {
    for (version, scheme) in [("0.4.1", "ws"), ("0.5.0", "ws"), ("0.5.0", "wss")] {
        let bench = Bench::new(venue(), Options::default()).await;
        let control = bench.addresses.control.unwrap().to_string();
        bench
            .run("work.mjs", &[version, &bench.url(scheme), &control])
            .await;
        bench.end().await;
    }
}
