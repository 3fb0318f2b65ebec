//! What is allocated, counted: by a call of a tool, by a frame of changes, by a Core that means harm, and by ten thousand calls in a row.
//!
//! Counts, and not times: they are the same on every machine. A bound here is what was measured, and a tenth.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

use std::alloc::System;
use std::fmt::Write as _;
use std::future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use rackhand::audit::Audit;
use rackhand::base::rate::Rate;
use rackhand::base::secret::Secret;
use rackhand::base::shutdown::Stop;
use rackhand::guard::keyfile::NewKey;
use rackhand::guard::{Guard, KeySource, RateRules, Role};
use rackhand::http::{Front, Limits, OriginRules};
use rackhand::link::dial::{ByteStream, Dial};
use rackhand::link::{self, LinkConfig};
use rackhand::mcp::{Server, ServerInfo};
use rackhand::model::change::ChangeSink;
use rackhand::ops::health::{Report, Source};
use rackhand::safety::{Policy, SafetyConfig};
use rackhand::service::Service;
use rackhand::service::qsys::{QsysService, System as Core};
use rackhand::store::Mirror;
use rackhand::wire::poll::read_frame;
use rackhand::wire::qrc::{ComponentFacts, ControlFacts, Controls};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Tests of one process count one after the other.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Counts and bytes since `region` began.
fn since(region: &Region<'_, System>) -> (usize, usize) {
    let Stats {
        allocations,
        reallocations,
        bytes_allocated,
        ..
    } = region.change();
    (allocations + reallocations, bytes_allocated)
}

/// Bytes that are taken now and were not when `region` began.
fn left(region: &Region<'_, System>) -> i64 {
    let now = region.change();
    let signed = |bytes: usize| i64::try_from(bytes).unwrap();
    // What grew or shrank in place is in both.
    signed(now.bytes_allocated) - signed(now.bytes_deallocated)
}

const KEY: &str = "rh_counted_0123456789abcdef0123456789";

/// Components of the design, and controls of each.
const COMPONENTS: usize = 20;
const CONTROLS: usize = 50;

fn mirror() -> Arc<Mirror> {
    let mirror = Arc::new(Mirror::new(Instant::now()));
    let sink: &dyn ChangeSink = &*mirror;
    let engine = r#"{"State":"Active","DesignName":"Counted","DesignCode":"c","IsRedundant":false,"IsEmulator":false}"#;
    sink.design_began(&serde_json::from_str(engine).unwrap(), Instant::now());
    let names: Vec<String> = (0..CONTROLS)
        .map(|number| format!("input.{number}.gain"))
        .collect();
    for number in 0..COMPONENTS {
        let component: ComponentFacts =
            serde_json::from_str(&format!(r#"{{"Name":"Mixer {number}","Type":"mixer"}}"#))
                .unwrap();
        let texts: Vec<String> = names
            .iter()
            .map(|name| format!(r#"{{"Name":"{name}","Type":"Float","Value":0.0,"ValueMin":-100.0,"ValueMax":20.0,"String":"0dB","Position":0.8,"Direction":"Read/Write"}}"#))
            .collect();
        let controls: Vec<ControlFacts<'_>> = texts
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        sink.component(&component, &controls, Instant::now());
    }
    sink.design_ended(Instant::now());
    sink.confirmed(Instant::now());
    mirror
}

/// A poll that reports every control.
fn poll(round: usize) -> String {
    let mut changes = String::new();
    for at in 0..COMPONENTS * CONTROLS {
        let (component, control) = (at / CONTROLS, at % CONTROLS);
        let value = (at + round) % 100;
        let comma = if at == 0 { "" } else { "," };
        write!(
            changes,
            r#"{comma}{{"Component":"Mixer {component}","Name":"input.{control}.gain","String":"-{value}dB","Value":-{value},"Position":0.{value:02}}}"#
        )
        .unwrap();
    }
    format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"Id":"slow","Changes":[{changes}]}}}}"#)
}

/// Dials for ever.
#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial(&self, _: String, _: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(future::pending())
    }
}

/// All is well.
struct Well;

impl Source for Well {
    fn report(&self) -> Arc<Report> {
        Arc::new(Report::new(Instant::now()))
    }

    fn detail(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// The whole way in, over a pipe, to a tool that reads one cached value.
struct Bed {
    client: DuplexStream,
    request: Vec<u8>,
    buffer: Box<[u8]>,
    _stop: Stop,
    _tasks: JoinSet<&'static str>,
    _serving: JoinSet<()>,
}

impl Bed {
    fn new() -> Self {
        let stop = Stop::new();
        let mut tasks = JoinSet::new();
        let mirror = mirror();
        let nobody = Arc::new(Mirror::new(Instant::now()));
        let link = link::spawn(
            LinkConfig::default(),
            Arc::new(Nowhere),
            nobody,
            stop.clone(),
            &mut tasks,
        );
        let core = Core::new("hall".into(), link, mirror);
        let policy = Policy::new(&SafetyConfig::default()).unwrap();
        let services: [Arc<dyn Service>; 1] =
            [Arc::new(QsysService::new(vec![core], Arc::new(policy)))];
        let info = ServerInfo {
            name: "rackhand",
            title: "rackhand".into(),
            version: "0.0.0",
            instructions: String::new(),
        };
        let server = Server::new(&services, info)
            .unwrap()
            .with_audit(Audit::default());
        let person = NewKey::new("counted", Role::Operator);
        let guard = Guard::new(KeySource::memory(&[(person, Secret::new(KEY))])).unwrap();
        let guard = guard.with_rates(RateRules {
            roles: [Rate::new(u32::MAX, u32::MAX); 5],
            ..RateRules::default()
        });
        let origins = OriginRules::new([], []);
        let front = Arc::new(Front::new(
            Arc::new(server),
            Arc::new(guard),
            Arc::new(Well),
            origins,
            Limits::default(),
        ));
        let (client, theirs) = duplex(64 << 10);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut serving = JoinSet::new();
        serving.spawn(front.serve_connection(theirs, peer, stop.clone()));
        let body =
            serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "qsys_get_controls",
            "arguments": { "controls": [{ "component": "Mixer 3", "control": "input.7.gain" }] },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "counted", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {} } } })
            .to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: qsys_get_controls\r\nauthorization: Bearer {KEY}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            client,
            request: request.into_bytes(),
            buffer: vec![0; 16 << 10].into(),
            _stop: stop,
            _tasks: tasks,
            _serving: serving,
        }
    }

    /// Calls the tool. The caller allocates nothing.
    async fn call(&mut self) {
        self.client.write_all(&self.request).await.unwrap();
        let mut filled = 0;
        loop {
            filled += self.client.read(&mut self.buffer[filled..]).await.unwrap();
            let text = std::str::from_utf8(&self.buffer[..filled]).unwrap();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                assert!(head.starts_with("HTTP/1.1 200"), "{text}");
                let (_, length) = head.split_once("content-length: ").unwrap();
                let length = length.split("\r\n").next().unwrap();
                if body.len() >= length.parse::<usize>().unwrap() {
                    assert!(body.contains("input.7.gain"), "{text}");
                    return;
                }
            }
        }
    }
}

#[test]
fn a_call_on_a_cached_value_allocates_little_and_ten_thousand_leave_nothing() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(count_calls());
}

async fn count_calls() {
    let mut bed = Bed::new();
    for _ in 0..3_000 {
        bed.call().await;
    }
    let region = Region::new(COUNTED);
    for _ in 0..100 {
        bed.call().await;
    }
    let (count, bytes) = since(&region);
    tell(&format!(
        "a call: {} allocations, {} bytes",
        count / 100,
        bytes / 100
    ));
    assert!(count / 100 <= CALL_COUNT, "{} allocations", count / 100);
    assert!(bytes / 100 <= CALL_BYTES, "{} bytes", bytes / 100);
    let region = Region::new(COUNTED);
    for _ in 0..10_000 {
        bed.call().await;
    }
    let left = left(&region);
    tell(&format!("10,000 calls: {left} bytes are left"));
    // Ages and times have more digits or fewer.
    assert!(left.abs() <= 4_096, "{left} bytes are left");
}

/// For whoever wants the figures: `--success-output final`.
#[expect(clippy::print_stdout, reason = "figures for people")]
fn tell(figures: &str) {
    println!("{figures}");
}

/// Measured: 51.
const CALL_COUNT: usize = 56;
/// Measured: 13,866.
const CALL_BYTES: usize = 15_300;

#[test]
fn a_frame_of_a_thousand_changes_allocates_one_batch_and_leaves_nothing() {
    let _turn = turn();
    let mirror = mirror();
    let frames: Vec<String> = (0..20).map(poll).collect();
    let apply = |frame: &str| {
        read_frame(frame, &mut |batch| mirror.values(batch, Instant::now())).unwrap();
    };
    // Short texts are kept in place, so that each control comes to its own size.
    for _ in 0..10 {
        for frame in &frames {
            apply(frame);
        }
    }
    let region = Region::new(COUNTED);
    for _ in 0..10 {
        for frame in &frames {
            apply(frame);
        }
    }
    let (count, bytes) = since(&region);
    println!(
        "a frame: {} allocations, {} bytes",
        count / 200,
        bytes / 200
    );
    assert!(count / 200 <= FRAME_COUNT, "{} allocations", count / 200);
    assert!(bytes / 200 <= FRAME_BYTES, "{} bytes", bytes / 200);
    assert_eq!(left(&region), 0);
}

const FRAME_COUNT: usize = 6;
const FRAME_BYTES: usize = 256 << 10;

/// Two bytes of a frame once made sixteen in memory, or hundreds: what a Core says in sixteen million bytes took half a gigabyte.
#[test]
fn what_a_core_says_takes_no_more_memory_than_what_is_taken_of_it() {
    let _turn = turn();
    let many = |item: &str, around: (&str, &str)| {
        let count = (8 << 20) / (item.len() + 1);
        format!("{}{}{}", around.0, vec![item; count].join(","), around.1)
    };
    let cases = [
        many(r#"{"Name":"a"}"#, (r#"{"Name":"Mix","Controls":["#, "]}")),
        many("{}", (r#"{"Name":"Mix","Type":"x","Properties":["#, "]}")),
    ];
    let region = Region::new(COUNTED);
    let controls: Controls<'_> = serde_json::from_str(&cases[0]).unwrap();
    assert_eq!(
        controls.controls.len(),
        rackhand::limits::COMPONENT_CONTROLS_MAX
    );
    let component: ComponentFacts = serde_json::from_str(&cases[1]).unwrap();
    assert_eq!(component.properties.len(), rackhand::limits::PROPERTIES_MAX);
    drop((controls, component));
    let (_, bytes) = since(&region);
    tell(&format!("hostile answers: {bytes} bytes"));
    assert!(bytes <= 12 << 20, "{bytes} bytes");
    assert_eq!(left(&region), 0);
}

#[test]
fn a_hostile_list_of_choices_is_cut() {
    let _turn = turn();
    let mirror = mirror();
    let choices = vec![r#""""#; 2 << 20].join(",");
    let frame = format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"Id":"slow","Changes":[{{"Component":"Mixer 1","Name":"input.1.gain","Value":1,"Choices":[{choices}]}}]}}}}"#
    );
    let region = Region::new(COUNTED);
    read_frame(&frame, &mut |batch| mirror.values(batch, Instant::now())).unwrap();
    let (_, bytes) = since(&region);
    tell(&format!("hostile choices: {bytes} bytes"));
    assert!(bytes <= 2 << 20, "{bytes} bytes");
}
