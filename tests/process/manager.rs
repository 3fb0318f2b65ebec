//! The service and the service manager that keeps it: messages, watchdog, sockets handed over, rolling restarts.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bed::{Box, Core, PATIENCE, PROGRAM, Place, Process, exchange, run, tool_request};

/// What stands in for the service manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(place: &Place) -> Self {
        Self(UnixDatagram::bind(Self::path(place)).unwrap())
    }

    fn path(place: &Place) -> std::path::PathBuf {
        place.path().join("notify")
    }

    /// The next message.
    async fn hears(&self) -> String {
        let mut message = [0; 512];
        let heard = timeout(PATIENCE, self.0.recv(&mut message));
        let count = heard.await.unwrap().unwrap();
        String::from_utf8(message[..count].to_vec()).unwrap()
    }

    async fn hears_that(&self, begin: &str) -> String {
        loop {
            let message = self.hears().await;
            if message.starts_with(begin) {
                return message;
            }
        }
    }

    async fn hears_at_last(&self, wanted: &str) -> String {
        loop {
            let message = self.hears().await;
            if message.lines().any(|line| line == wanted) {
                return message;
            }
        }
    }
}

#[tokio::test]
async fn the_service_manager_hears_that_all_is_ready_that_it_turns_and_that_it_stops() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("FOH", "viewer").await;
    let manager = Manager::new(&place);
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--config", &place.config()])
        .env("NOTIFY_SOCKET", Manager::path(&place))
        .env("WATCHDOG_USEC", "300000");
    let service = Box::of(Process::spawn(command), &key).await;
    manager.hears_at_last("READY=1").await;
    let status = manager.hears_that("STATUS=").await;
    assert!(
        status.contains("HEALTHY") || status.contains("DEGRADED"),
        "{status}"
    );
    for _ in 0..5 {
        manager.hears_at_last("WATCHDOG=1").await;
    }
    assert!(service.process.signal("TERM").await);
    let last = manager.hears_at_last("STOPPING=1").await;
    assert!(last.contains("EXTEND_TIMEOUT_USEC=35000000"), "{last}");
    let mut process = service.process;
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

/// Starts the service with this socket as its descriptor 3, as systemd does.
fn start_on(socket: &TcpListener, config: &str) -> Process {
    let mut command = Command::new("sh");
    let handed: OwnedFd = socket.try_clone().unwrap().into();
    command
        .args([
            "-c",
            "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run --config \"$1\"",
            PROGRAM,
            config,
        ])
        .stdin(Stdio::from(handed));
    Process::spawn_as_it_is(command)
}

/// A place whose plain port is this socket's.
fn place_at(socket: &TcpListener, core: &str) -> Place {
    let place = Place::new(core);
    let text = std::fs::read_to_string(place.config()).unwrap();
    let address = socket.local_addr().unwrap();
    place.configure(&text.replacen("127.0.0.1:0", &address.to_string(), 1));
    place
}

#[tokio::test]
async fn a_socket_that_was_handed_over_is_served() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = place_at(&socket, "address = \"127.0.0.1:9\"");
    let key = place.key("FOH", "viewer").await;
    // The port is taken, so only the socket itself can be what is served.
    let service = Box::of(start_on(&socket, &place.config()), &key).await;
    assert_eq!(service.address, socket.local_addr().unwrap().to_string());
    service.must("qsys_get_link_status", json!({})).await;
    service.process.stopped().await;
}

#[tokio::test]
async fn a_socket_on_the_lan_is_not_served_without_tls_unless_that_is_configured() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let place = Place::new("address = \"127.0.0.1:9\"");
    place.key("FOH", "viewer").await;
    let text = std::fs::read_to_string(place.config()).unwrap();
    let local = format!("127.0.0.1:{}", socket.local_addr().unwrap().port());
    place.configure(&text.replacen("127.0.0.1:0", &local, 1));
    let mut process = start_on(&socket, &place.config());
    assert_eq!(process.ended().await, Some(1));
    let said = process.said();
    assert!(said.contains(&format!("ListenStream={local}")), "{said}");
}

#[tokio::test]
async fn what_is_handed_over_and_fits_no_address_is_told() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new("address = \"127.0.0.1:9\"");
    let key = place.key("FOH", "viewer").await;
    let service = Box::of(start_on(&socket, &place.config()), &key).await;
    let said = service.process.stopped().await;
    let address = socket.local_addr().unwrap().to_string();
    assert!(
        said.contains(&address) && said.contains("it is closed"),
        "{said}"
    );
}

/// What clients have seen.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    over: std::sync::atomic::AtomicBool,
}

/// One client: asks, on one connection for as long as it lasts, and comes back at once when it ends.
async fn ask_on_and_on(address: String, request: String, tally: Arc<Tally>) {
    while !tally.over.load(Ordering::Relaxed) {
        // The kernel takes connections while no process does: none is refused.
        let mut stream = BufReader::new(TcpStream::connect(&address).await.unwrap());
        while !tally.over.load(Ordering::Relaxed) {
            if stream.write_all(request.as_bytes()).await.is_err() || !answered(&mut stream).await {
                break;
            }
            tally.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether a whole answer came. An answer that began and broke off fails here.
async fn answered(stream: &mut BufReader<TcpStream>) -> bool {
    let mut length = None;
    let mut line = String::new();
    let mut is_first = true;
    loop {
        line.clear();
        match stream.read_line(&mut line).await {
            Ok(0) | Err(_) if is_first => return false,
            read => assert!(read.unwrap() > 0, "an answer broke off"),
        }
        if is_first {
            assert!(line.starts_with("HTTP/1.1 200"), "{line}");
            is_first = false;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse::<usize>().unwrap());
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length.unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    true
}

fn served(said: &str) -> usize {
    said.lines()
        .filter(|line| line.contains("POST") && line.contains("/mcp"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_no_request_that_was_taken() {
    const CLIENTS: usize = 200;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let core = Core::start(&[]).await;
    let place = place_at(
        &socket,
        &format!(
            "address = \"{}\"\ntransport = \"ws\"\n[log]\nrequests = true",
            core.address
        ),
    );
    let key = place.key("FOH", "viewer").await;
    let first = Box::of(start_on(&socket, &place.config()), &key).await;
    first.reached("live").await;
    let before = served(&first.process.said());

    let tally = Arc::new(Tally::default());
    let request = tool_request(&key, "qsys_get_link_status", &json!({}));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask_on_and_on(
            address.clone(),
            request.clone(),
            Arc::clone(&tally),
        ));
    }
    let reached = async |count| {
        crate::bed::until("answered", async || {
            let answered = tally.answered.load(Ordering::Relaxed);
            if answered >= count {
                Ok(())
            } else {
                Err(answered.to_string())
            }
        })
        .await;
    };
    reached(2 * CLIENTS).await;
    let said = first.process.stopped().await;
    let mut handled = served(&said) - before;
    let at_the_change = tally.answered.load(Ordering::Relaxed);

    let second = Box::of(start_on(&socket, &place.config()), &key).await;
    reached(at_the_change + 2 * CLIENTS).await;
    tally.over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    handled += served(&second.process.stopped().await);
    assert_eq!(
        handled,
        tally.answered.load(Ordering::Relaxed),
        "what was taken was answered"
    );
    assert!(Path::new(&place.data()).exists());
}

/// A service with a request under way that never comes to its end.
async fn with_half_a_request(place: &Place) -> (Box, TcpStream) {
    let key = place.key("box", "admin").await;
    let service = place.serve(&key).await;
    let mut half = TcpStream::connect(&service.address).await.unwrap();
    let request = tool_request(&key, "system_ping", &json!({}));
    let (head, _) = request.split_at(request.len() - 10);
    half.write_all(head.as_bytes()).await.unwrap();
    // The answer to a later one shows that the half one is being read.
    service.must("system_ping", json!({})).await;
    (service, half)
}

#[tokio::test]
async fn an_admin_restarts_the_service_and_is_answered_before_it_goes() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let key = place.key("box", "admin").await;
    let service = place.serve(&key).await;
    let told = service
        .must(
            "system_drain",
            json!({"reason": "new \u{1b}[2Jcertificate"}),
        )
        .await;
    assert_eq!(told["stopping"], true);
    let mut process = service.process;
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
    let said = process.said();
    assert!(
        said.contains("new \\u{1b}[2Jcertificate") && said.contains("Stopped:"),
        "{said}"
    );
}

#[tokio::test]
async fn who_is_in_a_hurry_does_not_wait_for_what_is_under_way() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let (service, half) = with_half_a_request(&place).await;
    let forced = json!({"reason": "now", "force": true});
    service.must("system_drain", forced).await;
    let mut process = service.process;
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
    assert!(process.said().contains("are cut"), "{}", process.said());
    drop(half);
}

#[tokio::test]
async fn a_page_says_why_the_service_does_not_stay_up() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let key = place.key("FOH", "engineer").await;
    let text = std::fs::read_to_string(place.config()).unwrap();
    place.configure(&format!("{text}[safety]\nwrites = \"perhaps\"\n"));
    let (code, _) = run(&["run", "--config", &place.config()]).await;
    assert_eq!(code, Some(78));
    let mut command = Command::new(PROGRAM);
    command
        .args(["rescue", "--config", &place.config()])
        .env("MONITOR_SERVICE_RESULT", "exit-code")
        .env("MONITOR_EXIT_STATUS", "78");
    let mut process = Process::spawn(command);
    let url = process.says("Serving the page on http://").await;
    let address = url.strip_suffix("/mcp").unwrap().to_owned();
    let ask = async |path: &str, key: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n"
        );
        exchange(&address, &request).await.unwrap()
    };
    assert_eq!(ask("/livez", "").await.0, 200);
    assert_eq!(ask("/readyz", "").await.0, 503);
    let (status, body) = ask("/healthz", "").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("UNHEALTHY") && !body.contains("safety"),
        "{body}"
    );
    let (status, page) = ask("/", &key).await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("safety.writes") && page.contains("78"),
        "{page}"
    );
    assert_eq!(ask("/", "").await.0, 401);
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn the_last_words_of_a_service_stand_on_the_page_in_its_place() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let key = place.key("FOH", "viewer").await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(place.config()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.configure(&text.replacen("127.0.0.1:0", &address, 1));
    let (code, said) = run(&["run", "--config", &place.config()]).await;
    assert_eq!(code, Some(1), "{said}");
    place.configure(&text);
    let mut process = Process::start(&["rescue", "--config", &place.config()]);
    let url = process.says("Serving the page on http://").await;
    let request = format!(
        "GET /health?detail HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    let (_, body) = exchange(url.strip_suffix("/mcp").unwrap(), &request)
        .await
        .unwrap();
    assert!(
        body.contains("last words") && body.contains(&address),
        "{body}"
    );
}
