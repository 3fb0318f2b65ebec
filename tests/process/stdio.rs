//! `rackhand stdio` as a host starts it.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::bed::{Box, Core, PATIENCE, PROGRAM, Place, Process, run, until};

const KEY: &str = "a-key-for-the-host-of-this-test";

/// A process that a host talks to.
struct Started {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Started {
    fn new(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("stdio")
            .args(arguments)
            .env("RACKHAND_KEY", KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            to: child.stdin.take(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    async fn ask(&mut self, message: &Value) -> Value {
        let to = self.to.as_mut().unwrap();
        to.write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
        let mut line = String::new();
        timeout(PATIENCE, self.from.read_line(&mut line))
            .await
            .unwrap()
            .unwrap();
        serde_json::from_str(&line).unwrap_or_else(|fault| panic!("{fault}: {line}"))
    }

    async fn code(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap()
            .code()
    }
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}})
}

/// What the first message of a host is answered through a bridge.
pub(crate) async fn through_bridge(arguments: &[&str], key: &str) -> Value {
    let mut bridge = Started::new(&[arguments, &["--key", key]].concat());
    bridge.ask(&initialize()).await
}

#[tokio::test]
async fn a_bridge_carries_answers_and_ends_with_its_input_or_a_signal() {
    let process = Process::start(&["demo", "--listen", "127.0.0.1:0", "--key", KEY]);
    let demo = Box::of(process, KEY).await;
    let url = format!("http://{}", demo.address);
    let overview = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "qsys_get_overview", "arguments": {}}});

    let mut bridge = Started::new(&["--url", &url]);
    assert_eq!(
        bridge.ask(&initialize()).await["result"]["serverInfo"]["name"],
        "rackhand"
    );
    let answer = bridge.ask(&overview).await;
    assert!(
        answer["result"]["structuredContent"].is_object(),
        "{answer}"
    );
    drop(bridge.to.take());
    assert_eq!(bridge.code().await, Some(0));

    let mut bridge = Started::new(&["--url", &url]);
    bridge.ask(&initialize()).await;
    let pid = bridge.child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    assert_eq!(bridge.code().await, Some(0), "its input is still open");
    demo.process.stopped().await;
}

#[tokio::test]
async fn without_a_box_the_program_serves_its_host_alone_and_stops_in_order_with_it() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let mut served = Started::new(&["--config", &place.config(), "--role", "viewer"]);
    assert_eq!(
        served.ask(&initialize()).await["result"]["protocolVersion"],
        "2025-11-25"
    );
    let call = |tool: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let overview = call("qsys_get_overview", json!({}));
    until("live", async || {
        let answer = served.ask(&overview).await;
        match &answer["result"]["structuredContent"]["link"] {
            link if link == "live" => Ok(()),
            link => Err(link.to_string()),
        }
    })
    .await;
    // A viewer does not write.
    let write = json!({"reason": "a test", "changes": [{"component": "Hall A Gain", "control": "gain", "value": -12}]});
    let refused = served.ask(&call("qsys_set_controls", write)).await;
    assert!(refused["error"]["message"].is_string(), "{refused}");
    drop(served.to.take());
    assert_eq!(served.code().await, Some(0));

    let mut served = Started::new(&["--config", &place.config()]);
    let again = served.ask(&initialize()).await;
    assert!(again["result"].is_object(), "{again}");
    let pid = served.child.id().unwrap().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(killed.unwrap().success());
    assert_eq!(served.code().await, Some(0), "its input is still open");
    core.process.stopped().await;
}

#[tokio::test]
async fn options_that_cannot_work_say_what_to_do() {
    let missing = "/nonexistent/key";
    for (arguments, code, hint) in [
        (
            &["--url", "rack.local"][..],
            2,
            "http://192.168.1.20:8080/mcp",
        ),
        (&["--url", "https://rack.local"], 1, "--fingerprint"),
        (
            &["--url", "https://rack.local", "--fingerprint", "ab"],
            1,
            "64 hexadecimal digits",
        ),
        (&[], 2, "--url"),
        (
            &["--url", "http://rack.local", "--role", "admin"],
            2,
            "--role",
        ),
        (
            &["--url", "http://rack.local", "--key", "two words"],
            2,
            "one word",
        ),
        (
            &["--url", "http://rack.local", "--key-file", missing],
            1,
            missing,
        ),
    ] {
        let (ended, said) = run(&[&["stdio"], arguments].concat()).await;
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}
