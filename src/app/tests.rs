//! The watchdog over the whole box: it is fed whatever the Core does, and not when a loop is stuck.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;
use crate::config::LogFormat;
use crate::guard::KeySource;
use crate::link::dial::ByteStream;
use crate::telemetry::logging;

/// The loop that a process gets stuck: set for the processes that this test starts.
const WEDGE: &str = "RACKHAND_TEST_WEDGE";

/// Longest that anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(2);

/// Four of the pauses after which the watchdog is fed.
const PAUSES: Duration = Duration::from_secs(4);

/// A network on which nobody answers.
#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial(&self, _: String, _: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

fn begun(folder: &TempDir) -> Running {
    let text = format!(
        "[[core]]\naddress = \"nowhere\"\n[store]\npath = {:?}\n",
        folder.path()
    );
    let config = Config::load(&text, &BTreeMap::new()).unwrap();
    let guard = Guard::new(KeySource::memory(&[])).unwrap();
    let dial: Arc<dyn Dial> = Arc::new(Nowhere);
    Running::begin(&config, guard, &dial, Stop::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_loop_answers_while_the_core_is_away_for_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = begun(&folder);
    running.listen(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let beats = std::mem::take(&mut running.parts.beats);
    for _ in 0..720 {
        beats.ask();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(beats.silent().collect::<Vec<_>>(), Vec::<&str>::new());
    }
    running.ending.stop.cancel();
    running.until_stopped().await.unwrap();
}

/// What each process does: it runs the box until it is told to get one of its loops stuck, as a lock that nobody gives back does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a process with a loop that is stuck, which the next test starts"]
async fn stuck() {
    let folder = tempfile::tempdir().unwrap();
    logging::start("info", LogFormat::Text).unwrap();
    let mut running = begun(&folder);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    running.listen(listener);
    systemd::ready();
    running.watch();
    let (front, health) = (Arc::clone(&running.front), Arc::clone(&running.health));
    let store = running.store_status.clone();
    let which = std::env::var(WEDGE).unwrap();
    std::thread::spawn(move || {
        let mut told = String::new();
        io::stdin().read_line(&mut told).unwrap();
        let forever = || loop {
            std::thread::park();
        };
        match which.as_str() {
            "link" => {
                let status = health.link();
                let _held = status.borrow();
                forever()
            }
            "store writer" => {
                let _held = store.borrow();
                forever()
            }
            "health" => {
                let _held = health.hold();
                forever()
            }
            "HTTP acceptor" => {
                let _held = front.hold_seats();
                let _client = std::net::TcpStream::connect(address).unwrap();
                forever()
            }
            other => panic!("no such loop: {other}"),
        }
    });
    running.until_stopped().await.unwrap();
}

struct Wedged {
    child: Child,
    lines: mpsc::Receiver<String>,
    manager: UnixDatagram,
    _folder: TempDir,
}

impl Drop for Wedged {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Wedged {
    fn start(which: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "app::tests::stuck", "--ignored", "--nocapture"])
            .env(WEDGE, which)
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "3000000")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, lines) = mpsc::channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _unheard = to.send(line);
            }
        });
        Self {
            child,
            lines,
            manager,
            _folder: folder,
        }
    }

    /// Whether a message has this line, within this time.
    fn hears_within(&self, wanted: &str, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut message = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.manager.set_read_timeout(Some(left)).unwrap();
            let Ok(count) = self.manager.recv(&mut message) else {
                continue;
            };
            let message = String::from_utf8_lossy(&message[..count]);
            if message.lines().any(|line| line == wanted) {
                return true;
            }
        }
    }
}

#[test]
fn a_loop_that_is_stuck_is_named_and_the_watchdog_is_fed_no_more() {
    let each = ["link", "store writer", "health", "HTTP acceptor"].map(|which| {
        std::thread::spawn(move || {
            let mut process = Wedged::start(which);
            assert!(
                process.hears_within("WATCHDOG=1", PATIENCE),
                "{which} is never fed"
            );
            process
                .child
                .stdin
                .take()
                .unwrap()
                .write_all(b"now\n")
                .unwrap();
            let mut said = String::new();
            while !said.contains(&format!("no answer from: {which}")) {
                let line = process.lines.recv_timeout(PATIENCE);
                said += &line.unwrap_or_else(|_| panic!("{which} is never missed: {said}"));
                said.push('\n');
            }
            // What was sent before is read; then it is fed no more, though it would be once a second. Other messages may come.
            process.manager.set_nonblocking(true).unwrap();
            while process.manager.recv(&mut [0; 512]).is_ok() {}
            process.manager.set_nonblocking(false).unwrap();
            assert!(
                !process.hears_within("WATCHDOG=1", PAUSES),
                "{which} is stuck and yet fed"
            );
        })
    });
    for one in each {
        one.join().unwrap();
    }
}
