//! The program itself, as people start it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use rackhand::app::keys;
use rackhand::guard::Role;
use rackhand::guard::keyfile::NewKey;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::load::Client;

/// How long anything may take that is only waited for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running `rackhand`. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    /// Starts it with these arguments; what it says is thrown away.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_rackhand"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Stops it as systemd would.
    pub(crate) fn stop(mut self) -> Result<()> {
        Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()?;
        let status = self.0.wait()?;
        ensure!(status.success(), "rackhand ended with {status}");
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A port that is free at the moment.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Data of a box that looks after one Core, below the build folder: a real disk, unlike many a `/tmp`.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    /// A key that may operate.
    pub(crate) key: String,
    /// Where it serves.
    pub(crate) listen: SocketAddr,
}

impl Site {
    /// A box for the Core at this address.
    pub(crate) fn new(core: SocketAddr) -> Result<Self> {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let listen = free_port()?;
        let person = NewKey::new("bench", Role::Operator);
        let site = Self {
            folder,
            key: String::new(),
            listen,
        };
        std::fs::create_dir(site.data())?;
        let key = keys::key_file(&site.data())
            .create(&person)?
            .expose()
            .to_owned();
        let text = format!(
            "[listen]\naddress = \"{listen}\"\n[listen.tls]\naddress = \"\"\n[[core]]\nname = \"core\"\naddress = \"{core}\"\ntransport = \"ws\"\n[safety]\nwrites = true\n[rate]\nenabled = false\n"
        );
        std::fs::write(site.config(), text)?;
        Ok(Self { key, ..site })
    }

    /// Folder for what the box keeps.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("rackhand.toml")
    }

    /// Starts the box.
    pub(crate) fn run(&self) -> Result<Program> {
        let show = |path: &Path| path.display().to_string();
        Program::start(&[
            "run",
            "--config",
            &show(&self.config()),
            "--data",
            &show(&self.data()),
        ])
    }
}

/// Asks again and again until the answer is as wanted; the answer.
pub(crate) async fn until(
    address: SocketAddr,
    request: &[u8],
    rest: Duration,
    is_it: impl Fn(&serde_json::Value) -> bool,
) -> Result<serde_json::Value> {
    let start = Instant::now();
    let mut last = None;
    while start.elapsed() < PATIENCE {
        if let Ok(mut client) = Client::connect(address).await {
            let answer = serde_json::from_slice(client.ask(request).await?)?;
            if is_it(&answer) {
                return Ok(answer);
            }
            last = Some(answer);
        }
        sleep(rest).await;
    }
    anyhow::bail!("no such answer in time, the last was {last:?}")
}
