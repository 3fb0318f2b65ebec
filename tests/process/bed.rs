//! Processes of this program, and a client for the box.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_rackhand");

/// How long anything may take on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

const REVISION: &str = "2026-07-28";

/// A running process and what it said so far.
pub(crate) struct Process {
    child: Child,
    output: watch::Sender<String>,
    readers: JoinSet<()>,
}

impl Process {
    /// Starts the program.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts any program.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_as_it_is(command)
    }

    /// Starts any program with the input that it was given.
    pub(crate) fn spawn_as_it_is(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = watch::Sender::new(String::new());
        let mut readers = JoinSet::new();
        readers.spawn(follow(child.stdout.take().unwrap(), output.clone()));
        readers.spawn(follow(child.stderr.take().unwrap(), output.clone()));
        Self {
            child,
            output,
            readers,
        }
    }

    /// Everything it said so far.
    pub(crate) fn said(&self) -> String {
        self.output.borrow().clone()
    }

    /// Waits until it has said this, and returns what follows up to the next blank.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        let mut output = self.output.subscribe();
        let waited = timeout(PATIENCE, async {
            tokio::select! {
                found = output.wait_for(|said| said.contains(words)) => drop(found),
                _ = self.child.wait() => {}
            }
        });
        waited.await.ok();
        let said = self.said();
        let after = said.split_once(words).map(|(_, after)| after);
        let after = after.unwrap_or_else(|| panic!("never said {words:?}:\n{said}"));
        after
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal; false when the process is gone.
    pub(crate) async fn signal(&self, name: &str) -> bool {
        let Some(pid) = self.child.id() else {
            return false;
        };
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .stderr(Stdio::null())
            .status();
        sent.await.unwrap().success()
    }

    /// Waits for its end, and until its last words are heard; its exit code, or none after a signal.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("did not end:\n{}", self.said()));
        // What a process said last is still on its way when it is gone already.
        let heard = async { while self.readers.join_next().await.is_some() {} };
        timeout(PATIENCE, heard).await.unwrap();
        status.unwrap().code()
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Stops it as a service manager does, and holds that it ends well.
    pub(crate) async fn stopped(mut self) -> String {
        assert!(self.signal("TERM").await);
        assert_eq!(self.ended().await, Some(0), "{}", self.said());
        let said = self.said();
        assert!(
            !said.contains("panicked") && !said.contains("ERROR"),
            "{said}"
        );
        said
    }
}

async fn follow(stream: impl AsyncRead + Unpin, output: watch::Sender<String>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        output.send_modify(|said| {
            said.push_str(&line);
            said.push('\n');
        });
    }
}

/// Runs the program to its end: exit code, and everything that it said.
pub(crate) async fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = Command::new(PROGRAM).args(arguments).output();
    let ended = timeout(PATIENCE, ended).await.unwrap().unwrap();
    let mut said = String::from_utf8(ended.stdout).unwrap();
    said.push_str(&String::from_utf8(ended.stderr).unwrap());
    (ended.status.code(), said)
}

/// Asks again and again until something holds.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut ticks = interval(Duration::from_millis(50));
    let mut last = String::new();
    let asked = timeout(PATIENCE, async {
        loop {
            ticks.tick().await;
            match ask().await {
                Ok(found) => return found,
                Err(why) => last = why,
            }
        }
    });
    match asked.await {
        Ok(found) => found,
        Err(elapsed) => panic!("never {what}, {elapsed}: {last}"),
    }
}

/// A simulated Core in a process of its own.
pub(crate) struct Core {
    pub(crate) process: Process,
    control: String,
    /// Its WebSocket without TLS.
    pub(crate) address: String,
}

impl Core {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let usual = [
            "simcore",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
        ];
        let mut process = Process::start(&[&usual, arguments].concat());
        process.says("speech=control").await;
        let address = address_of(&process, "ws");
        let control = address_of(&process, "control");
        Self {
            process,
            control,
            address,
        }
    }

    /// The address of one of its ports.
    pub(crate) fn port(&self, speech: &str) -> String {
        address_of(&self.process, speech)
    }

    /// Has a command of the control port carried out.
    pub(crate) async fn tell(&self, command: &str) -> String {
        let mut stream = BufReader::new(TcpStream::connect(&self.control).await.unwrap());
        stream
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, stream.read_line(&mut line));
            assert!(read.await.unwrap().unwrap() > 0, "{command}: {said}");
            assert!(!line.starts_with("error"), "{command}: {line}");
            if line == "ok\n" {
                return said;
            }
            said.push_str(&line);
        }
    }
}

fn address_of(process: &Process, speech: &str) -> String {
    let said = process.said();
    let line = said
        .lines()
        .find(|line| line.ends_with(&format!("speech={speech}")));
    let line = line.unwrap_or_else(|| panic!("no {speech}: {said}"));
    let (_, after) = line.split_once("address=").unwrap();
    after.split_whitespace().next().unwrap().to_owned()
}

/// A place with a configuration and data.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// A place for a service that listens on a free port of this machine and does not count requests, for whoever waits here asks again as
    /// soon as there is an answer. `core` are lines of its `[[core]]`, and what else follows.
    pub(crate) fn new(core: &str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        place.configure(&format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n[listen.tls]\naddress = \"127.0.0.1:0\"\n[[core]]\nname = \"hall\"\n{core}\n[store]\npath = {:?}\n[rate]\nenabled = false\n",
            place.data()
        ));
        place
    }

    /// A place for a service with a Core over plain WebSocket.
    pub(crate) fn of(core: &Core) -> Self {
        Self::new(&format!(
            "address = \"{}\"\ntransport = \"ws\"\n[safety]\nwrites = true",
            core.address
        ))
    }

    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> String {
        self.path()
            .join("rackhand.toml")
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn data(&self) -> String {
        self.path().join("data").to_str().unwrap().to_owned()
    }

    /// Makes a key.
    pub(crate) async fn key(&self, name: &str, role: &str) -> String {
        let (code, said) = run(&[
            "key",
            "new",
            "--data",
            &self.data(),
            "--name",
            name,
            "--role",
            role,
        ])
        .await;
        assert_eq!(code, Some(0), "{said}");
        let key = said.split_whitespace().find(|word| word.starts_with("rh_"));
        key.unwrap_or_else(|| panic!("no key: {said}")).to_owned()
    }

    /// Starts the service and waits until it serves.
    pub(crate) async fn serve(&self, key: &str) -> Box {
        Box::of(Process::start(&["run", "--config", &self.config()]), key).await
    }
}

/// A running service and a client of it.
pub(crate) struct Box {
    pub(crate) process: Process,
    pub(crate) address: String,
    pub(crate) key: String,
}

impl Box {
    pub(crate) async fn of(mut process: Process, key: &str) -> Self {
        let url = process.says("Serving MCP on ").await;
        let address = url
            .strip_prefix("http://")
            .unwrap()
            .strip_suffix("/mcp")
            .unwrap();
        Self {
            address: address.to_owned(),
            key: key.to_owned(),
            process,
        }
    }

    /// Calls a tool: the HTTP status, and the structured answer; nothing for a fault.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> io::Result<(u16, Value)> {
        let request = tool_request(&self.key, tool, &arguments);
        let (status, body) = exchange(&self.address, &request).await?;
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        Ok((status, answer["result"]["structuredContent"].clone()))
    }

    /// Calls a tool that has to answer.
    pub(crate) async fn must(&self, tool: &str, arguments: Value) -> Value {
        let (status, answer) = self.call(tool, arguments).await.unwrap();
        assert_eq!(status, 200, "{answer:#}\n{}", self.process.said());
        assert!(answer.is_object(), "it was refused: {answer:#}");
        answer
    }

    /// Waits until the link is in a state.
    pub(crate) async fn reached(&self, state: &str) -> Value {
        until(state, async || {
            let link = self.must("qsys_get_link_status", json!({})).await;
            if link["state"] == state {
                Ok(link)
            } else {
                Err(format!("{link:#}"))
            }
        })
        .await
    }

    /// Reads one control.
    pub(crate) async fn reading(&self, component: &str, control: &str) -> Value {
        let one = json!({ "controls": [{ "component": component, "control": control }] });
        self.must("qsys_get_controls", one).await["controls"][0].clone()
    }

    /// The health, in full.
    pub(crate) async fn health(&self) -> Value {
        let request = format!(
            "GET /health?detail HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            self.key
        );
        let (status, body) = exchange(&self.address, &request).await.unwrap();
        // 503 with an ill machine beneath the test.
        assert!([200, 503].contains(&status), "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// A modern call of a tool, as it goes over the wire.
pub(crate) fn tool_request(key: &str, tool: &str, arguments: &Value) -> String {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": { "name": "process", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {} } },
    })
    .to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: {REVISION}\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\nauthorization: Bearer {key}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request on a connection of its own: status and body.
pub(crate) async fn exchange(address: &str, request: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let last = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    stream.write_all(last.as_bytes()).await?;
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await??;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    ))
}
