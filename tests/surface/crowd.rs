//! More clients than there are places, from several processes and addresses: a right client still comes in.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use rackhand::http::Limits;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::bed::{Bed, PATIENCE, connect_from};

/// Where a process of the crowd goes, and from where: set for the processes that this test starts.
const TARGET: &str = "CROWD_TARGET";
const ADDRESS: &str = "CROWD_ADDRESS";
const COUNT: &str = "CROWD_COUNT";

/// What each process of a crowd does.
#[tokio::test]
#[ignore = "a process of the crowd, which the other tests start"]
async fn member() {
    let Ok(target) = std::env::var(TARGET) else {
        return;
    };
    let target: SocketAddr = target.parse().unwrap();
    let last: u8 = std::env::var(ADDRESS).unwrap().parse().unwrap();
    let count: usize = std::env::var(COUNT).unwrap().parse().unwrap();
    let mut held = Vec::new();
    loop {
        while held.len() < count {
            let Ok(mut stream) = connect_from(last, target).await else {
                break;
            };
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await;
            held.push(stream);
        }
        println!("the crowd stands");
        sleep(Duration::from_millis(50)).await;
        // Whoever was sent away comes back at once.
        held.retain(|stream| !is_over(stream));
    }
}

/// Whether it was ended, or answered.
fn is_over(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 64]) {
        Ok(_) => true,
        Err(fault) => fault.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// A process that holds connections from one address.
async fn crowd(target: SocketAddr, last: u8, count: usize) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crowd::member", "--ignored", "--nocapture"])
        .env(TARGET, target.to_string())
        .env(ADDRESS, last.to_string())
        .env(COUNT, count.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stands = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("the crowd stands") {
                return;
            }
        }
        panic!("the crowd dispersed");
    };
    timeout(PATIENCE, stands).await.unwrap();
    // The rest of what it says is not read: the pipe is large enough for this test.
    child
}

#[tokio::test]
async fn twice_as_many_connections_as_there_are_places_keep_no_right_client_out() {
    let limits = Limits {
        connections: 64,
        per_address: 16,
        ..Limits::default()
    };
    let bed = Bed::with(limits).await;
    for target in [bed.plain, bed.secure] {
        let mut crowds = Vec::new();
        for last in 20..28 {
            crowds.push(crowd(target, last, 16).await);
        }
        let mut stay = connect_from(50, bed.plain).await.unwrap();
        let ask = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
        for _ in 0..10 {
            assert!(bed.serves().await);
            let secure = bed.connect_tls("rack.local", &[]).await;
            assert!(secure.is_ok(), "{secure:?}");
            // One that stays is at an address that holds little, so it is not the one who has to go.
            stay.write_all(ask).await.unwrap();
            let mut answer = [0; 12];
            stay.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            crate::bed::until(&mut stay, "}").await;
        }
        for mut member in crowds {
            member.kill().await.unwrap();
        }
    }
}
