//! The real program in a control group with little memory, under a flood of streams.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::bed::{Box, Core, PROGRAM, Place, Process, exchange, until};

/// Memory that the service has beyond what it takes when it is idle, bytes.
const SPARE: u64 = 16 << 20;

/// Streams that are asked for: of about 6 KiB each, with what the kernel keeps for them, they are far more than there is room for.
const STREAMS: usize = 8_000;

/// Keys that ask for them. One alone may not have so many.
const KEYS: usize = 8;

/// A control group of its own, removed when dropped.
struct Group(PathBuf);

impl Group {
    /// Within the group of this test, with version 1; beside or below it with version 2.
    fn new(name: &str) -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = |controller: &str| {
            let mut lines = groups
                .lines()
                .filter_map(|line| line.split_once(':')?.1.split_once(':'));
            lines.find_map(|(names, path)| {
                let is_it = names.split(',').any(|one| one == controller);
                is_it.then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let name = format!("rackhand-{name}-{}", std::process::id());
        let mut tried = Vec::new();
        for (mount, path) in [
            ("/sys/fs/cgroup/memory", own("memory")),
            ("/sys/fs/cgroup", own("")),
        ] {
            let Some(path) = path else { continue };
            for outer in Path::new(mount).join(path).ancestors() {
                if !outer.starts_with(mount) {
                    break;
                }
                let group = outer.join(&name);
                if fs::create_dir(&group).is_ok() {
                    // A group without memory of its own is none.
                    if group.join("memory.stat").exists() {
                        return Self(group);
                    }
                    fs::remove_dir(&group).unwrap();
                }
                tried.push(outer.display().to_string());
            }
        }
        panic!(
            "no control group for memory can be made, and what this test holds cannot be held otherwise: run it as root, or have systemd delegate a group \
             (`systemd-run --user --scope -p Delegate=yes tests/run`). Tried in: {}",
            tried.join(", ")
        );
    }

    fn is_first_version(&self) -> bool {
        self.0.join("memory.limit_in_bytes").exists()
    }

    fn number(&self, file: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        text.trim().parse().unwrap()
    }

    fn field(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    }

    fn usage(&self) -> u64 {
        self.number(if self.is_first_version() {
            "memory.usage_in_bytes"
        } else {
            "memory.current"
        })
    }

    /// Lets it take so many bytes from now on.
    fn limit(&self, bytes: u64) {
        let file = if self.is_first_version() {
            "memory.limit_in_bytes"
        } else {
            // What does not fit would be moved out else, where there is a place for it.
            fs::write(self.0.join("memory.swap.max"), "0").ok();
            "memory.max"
        };
        fs::write(self.0.join(file), bytes.to_string()).unwrap();
    }

    /// Processes that the kernel ended for want of memory.
    fn killed(&self) -> u64 {
        let file = if self.is_first_version() {
            "memory.oom_control"
        } else {
            "memory.events"
        };
        self.field(file, "oom_kill")
    }

    /// Starts the service in it.
    fn spawn(&self, place: &Place) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]);
        command.arg(&self.0);
        command.args([PROGRAM, "run", "--config", &place.config()]);
        Process::spawn(command)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// A box in a group with little memory, and its keys.
struct Bed {
    group: Group,
    served: Box,
    keys: Vec<String>,
    core: Core,
    _place: Place,
}

impl Bed {
    async fn new(name: &str, settings: &str) -> Self {
        let group = Group::new(name);
        let core = Core::start(&[]).await;
        let place = Place::of(&core);
        let text = fs::read_to_string(place.config()).unwrap();
        place.configure(&format!("{text}[health]\nevery-secs = 1\n{settings}"));
        let mut keys = Vec::new();
        for number in 0..KEYS {
            keys.push(place.key(&format!("listener {number}"), "viewer").await);
        }
        let key = place.key("test", "operator").await;
        let served = Box::of(group.spawn(&place), &key).await;
        served.reached("live").await;
        // What it will ever need of its own is there, and what the kernel keeps of files is not counted.
        served.health().await;
        let limit = group.usage() + SPARE;
        group.limit(limit);
        until("it knows its limit", async || {
            let told = served.health().await["detail"]["machine"]["memory_group"]["most"].clone();
            // The kernel counts in pages.
            if told
                .as_u64()
                .is_some_and(|told| told.abs_diff(limit) <= 1 << 16)
            {
                Ok(())
            } else {
                Err(format!("{told} for {limit}"))
            }
        })
        .await;
        Self {
            group,
            served,
            keys,
            core,
            _place: place,
        }
    }

    /// Opens one stream after the other, and keeps them: the streams, and how many were refused. Ends early when nobody answers any more.
    async fn flood(&self) -> (Vec<TcpStream>, usize) {
        let (mut open, mut refused) = (Vec::new(), 0);
        for number in 0..STREAMS {
            let key = &self.keys[number % KEYS];
            let Some((status, stream)) = listen(&self.served.address, key).await else {
                break;
            };
            match status {
                200 => open.push(stream),
                503 => refused += 1,
                other => panic!("{other} after {} streams", open.len()),
            }
        }
        (open, refused)
    }
}

/// Asks for a stream: the status of the answer; nothing when there is none.
async fn listen(address: &str, key: &str) -> Option<(u16, TcpStream)> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {
        "notifications": { "toolsListChanged": true },
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "flood", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {} } } })
    .to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, stream))
}

#[tokio::test]
async fn a_flood_of_streams_in_a_group_with_little_memory_is_shed_and_the_box_serves_on() {
    let bed = Bed::new("sheds", "").await;
    let served = &bed.served;
    let watch = served
        .must("qsys_start_watch", json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }], "ttl_s": 600 }))
        .await;
    let (open, refused) = bed.flood().await;
    assert_eq!(bed.group.killed(), 0, "{}", served.process.said());
    assert!(refused > 0, "all {} streams found room", open.len());
    let machine = &served.health().await["detail"]["machine"];
    assert!(
        machine["given_up"]["streams"].as_u64() > Some(0),
        "{machine:#}"
    );
    assert!(machine["given_up"]["watches"] == 1, "{machine:#}");
    let link = served.must("qsys_get_link_status", json!({})).await;
    assert!(link["state"] == "live" && link["drops"] == 0, "{link:#}");
    assert_eq!(
        served.reading("Hall A Gain", "gain").await["quality"],
        "live"
    );
    let poll = served
        .call("qsys_poll_watch", json!({ "watch_id": watch["watch_id"] }))
        .await
        .unwrap();
    assert!(
        poll.1.is_null(),
        "a watch that was given up answers: {poll:?}"
    );
    let (status, _) = exchange(
        &served.address,
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await
    .unwrap();
    assert_eq!(status, 200);
    drop(open);
    // With room again, streams are taken again.
    until("calm", async || {
        let machine = served.health().await["detail"]["machine"].clone();
        if machine["memory"] == "calm" {
            Ok(())
        } else {
            Err(format!("{machine:#}"))
        }
    })
    .await;
    let (status, _stream) = listen(&served.address, &bed.keys[0]).await.unwrap();
    assert_eq!(status, 200);
    let said = served.process.said();
    assert_eq!(said.matches("all watches were ended").count(), 1, "{said}");
    assert_eq!(bed.group.killed(), 0);
    drop(bed.core);
}

/// What the test above holds is worth something only if the flood is one.
#[tokio::test]
async fn the_same_flood_ends_a_box_that_gives_nothing_up() {
    let settings =
        "memory-tight-percent = 100\nmemory-critical-percent = 100\nmemory-left-percent = 0\n";
    let mut bed = Bed::new("keeps", settings).await;
    let (open, _) = bed.flood().await;
    until("ended", async || {
        if bed.served.process.is_gone() {
            Ok(())
        } else {
            Err(format!("{} streams are open", open.len()))
        }
    })
    .await;
    assert!(bed.group.killed() > 0, "{}", bed.served.process.said());
}
