//! Streams that end in the middle of a call, by the network or by the server, and whose answer is fetched with `Last-Event-ID`
//! (2025-11-25, Transports, Resumability): what the conformance tool `test_reconnection` stands for, with a connection that breaks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rackhand::limits::WRITE_STALL_SECS;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{Bed, Client};

/// A call that speaks, and then does what `then` says.
fn speak(then: &str) -> String {
    let params = json!({"name": "fixture_speak", "arguments": {"then": then}, "_meta": {"progressToken": "p"}});
    json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}).to_string()
}

/// A connection through the network stack, cut as a network that dies cuts it.
struct Wire(TcpStream);

impl Wire {
    /// Sends a request of a client in its session.
    async fn send(bed: &mut Bed, client: &Client, verb: &str, headers: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut wire = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        bed.serve(theirs);
        let (key, session) = (bed.key("operator"), client.session.as_deref().unwrap());
        let length = body.len();
        let request = format!(
            "{verb} /mcp HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nauthorization: Bearer {key}\r\nmcp-session-id: {session}\r\n\
             mcp-protocol-version: 2025-11-25\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        wire.write_all(request.as_bytes()).await.unwrap();
        Self(wire)
    }

    /// Reads until `text` has come.
    async fn read_to(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&read).into_owned();
            if so_far.contains(text) {
                return so_far;
            }
            let more = self.0.read_buf(&mut read).await.unwrap();
            assert!(more > 0, "it ended: {so_far}");
        }
    }

    /// Cuts the connection with a reset: nothing more is sent, not even the end.
    fn cut(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// The messages among what a stream said, each with the id of its event.
fn events(read: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut id = "";
    for line in read.lines() {
        if let Some(next) = line.strip_prefix("id: ") {
            id = next;
        } else if let Some(data) = line
            .strip_prefix("data: ")
            .filter(|data| data.starts_with('{'))
        {
            found.push((id.to_owned(), serde_json::from_str(data).unwrap()));
        }
    }
    found
}

/// Real sockets, and nothing that depends on how long anything takes.
#[tokio::test]
async fn a_network_that_dies_in_the_middle_of_a_call_costs_no_word_of_the_answer() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let accept = "accept: application/json, text/event-stream\r\n";
    let mut broken = Wire::send(&mut bed, &client, "POST", accept, &speak("wait")).await;
    let heard = broken.read_to("id: 1-1\n").await;
    assert!(!heard.contains("id: 1-6"), "the answer is still to come");
    broken.cut();
    bed.knobs.release.notify_one();

    let accept = "accept: text/event-stream\r\nlast-event-id: 1-1\r\n";
    let mut again = Wire::send(&mut bed, &client, "GET", accept, "").await;
    // The last chunk: the stream ends with the answer.
    let read = again.read_to("\r\n0\r\n\r\n").await;
    assert!(
        read.starts_with("HTTP/1.1 200 OK\r\n") && read.contains("retry: "),
        "{read}"
    );
    let rest = events(&read);
    let ids: Vec<_> = rest.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        ids,
        ["1-2", "1-3", "1-4", "1-5", "1-6"],
        "each once, and none before what was heard"
    );
    let (_, answer) = rest.last().unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["isError"]),
        (&json!(3), &json!(false))
    );
    assert_eq!(
        bed.knobs.dropped.load(Ordering::SeqCst),
        0,
        "the call went on"
    );

    let mut elsewhere = bed.client_as("admin");
    elsewhere.session.clone_from(&client.session);
    let headers = [("accept", "text/event-stream"), ("last-event-id", "1-1")];
    let refused = elsewhere.request("GET", "/mcp", &headers, "").await;
    assert_eq!(refused.status, 404, "another key fetches nothing");
}

/// The server hangs up by itself on whoever reads nothing; that is no reason to lose the answer.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_hung_up_on_for_not_reading_fetches_the_answer() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let mut slow = bed.client_over("operator", 256);
    slow.session.clone_from(&client.session);
    slow.version = client.version;
    slow.send("POST", "/mcp", &[], &speak("wait")).await;
    tokio::time::sleep(Duration::from_secs(2 * WRITE_STALL_SECS)).await;
    let mut left = 0;
    while !slow.is_cut().await {
        left += 1;
        assert!(left < 10, "nothing more is written to it");
    }
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 0);
    bed.knobs.release.notify_one();

    let mut again = bed.sibling(&client);
    client.tape.lock().unwrap().sent(&speak("wait"));
    let headers = [("accept", "text/event-stream"), ("last-event-id", "1-0")];
    again.send("GET", "/mcp", &headers, "").await;
    assert_eq!(again.receive_head().await.status, 200);
    let mut answer = None;
    while let Some(message) = again.event().await {
        answer = Some(message);
    }
    assert_eq!(answer.unwrap()["result"]["isError"], false);
}
