//! Parts of a measurement that need a process of their own: this program again, in a role.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rackhand::base::shutdown::Stop;

/// First argument of a process in a role.
pub(crate) const ROLE: &str = "role";

/// A process in a role. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Role {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Role {
    /// Starts it.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        Self::of(
            Command::new(std::env::current_exe()?)
                .arg(ROLE)
                .args(arguments),
        )
    }

    /// Starts another program that behaves as a role does.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no output of a child")?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line that it says.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("a child ended early: {}", self.child.wait()?);
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.child.wait().ok();
    }
}

/// Says a line to the parent.
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{line}");
    std::io::stdout().flush().ok();
}

/// A token that is cancelled when the parent lets go of this process.
pub(crate) fn let_go() -> Stop {
    let stop = Stop::new();
    let waiting = stop.clone();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        waiting.cancel();
    });
    stop
}
