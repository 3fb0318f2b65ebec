//! MCP over a WebSocket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rackhand::limits::{WEBSOCKET_MESSAGE_MAX_BYTES, WEBSOCKET_PING_SECS, WRITE_STALL_SECS};
use rackhand::service::Service;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::bed::{Bed, meta};
use crate::board::{Board, List};
use crate::schemas::Tape;

pub(crate) struct Socket {
    stream: WebSocketStream<DuplexStream>,
    protocol: Option<String>,
    tape: Tape,
}

impl Socket {
    async fn open(bed: &mut Bed) -> Self {
        Self::open_as(bed, "operator", Some("mcp")).await
    }

    pub(crate) async fn open_as(bed: &mut Bed, role: &str, protocol: Option<&str>) -> Self {
        let client = bed.client_as(role);
        let mut request = "ws://127.0.0.1:8080/mcp/ws".into_client_request().unwrap();
        let headers = request.headers_mut();
        let key = format!("Bearer {}", bed.key(role));
        headers.insert("authorization", key.parse().unwrap());
        if let Some(protocol) = protocol {
            headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        let (stream, response) = tokio_tungstenite::client_async(request, client.stream)
            .await
            .unwrap();
        let protocol = response.headers().get("sec-websocket-protocol");
        Self {
            stream,
            protocol: protocol.map(|protocol| protocol.to_str().unwrap().to_owned()),
            tape: Tape::default(),
        }
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        let text = message.to_string();
        self.tape.sent(&text);
        self.stream.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.stream.next().await.unwrap().unwrap() {
                Message::Text(text) => {
                    let message = serde_json::from_str(&text).unwrap();
                    self.tape.received(&message);
                    return message;
                }
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn ask(&mut self, message: &Value) -> Value {
        self.send(message).await;
        self.next().await
    }

    pub(crate) async fn initialize(&mut self, revision: &str) -> Value {
        let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        self.ask(&request(0, "initialize", &params)).await
    }

    /// The code of the close frame that comes next.
    async fn close_code(&mut self) -> CloseCode {
        loop {
            match self.stream.next().await.unwrap().unwrap() {
                Message::Close(frame) => return frame.unwrap().code,
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn request(id: i64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn modern(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"] = meta();
    request(id, method, &params)
}

#[tokio::test(start_paused = true)]
async fn both_eras_travel_on_one_socket_and_the_subprotocol_is_agreed_on() {
    let mut bed = Bed::new();
    for (offered, agreed) in [
        (Some("mcp"), Some("mcp")),
        (Some("other, mcp"), Some("mcp")),
        (None, None),
    ] {
        let mut socket = Socket::open_as(&mut bed, "operator", offered).await;
        assert_eq!(socket.protocol.as_deref(), agreed);
        let found = socket.ask(&modern(1, "server/discover", json!({}))).await;
        assert_eq!(found["result"]["resultType"], "complete");
        let opened = socket.initialize("2025-06-18").await;
        assert_eq!(opened["result"]["protocolVersion"], "2025-06-18");
        let call = json!({"name": "fixture_echo", "arguments": {"text": "Küche"}});
        let done = socket.ask(&request(2, "tools/call", &call)).await;
        assert_eq!(done["result"]["content"][0]["text"], "Küche");
        let done = socket.ask(&modern(3, "tools/call", call)).await;
        assert_eq!(done["result"]["resultType"], "complete");
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_and_progress_travel_on_it_too() {
    let board = Arc::new(Board::default());
    let service: Arc<dyn Service> = Arc::<Board>::clone(&board);
    let mut bed = Bed::serving_also(service);
    let mut socket = Socket::open(&mut bed).await;
    let wishes = json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["board://note/1"]}});
    let acknowledged = socket.ask(&modern(1, "subscriptions/listen", wishes)).await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    board.write(1);
    assert_eq!(socket.next().await["params"]["uri"], "board://note/1");
    board.change(List::Tools);
    assert_eq!(
        socket.next().await["method"],
        "notifications/tools/list_changed"
    );
    let mut call = modern(2, "tools/call", json!({"name": "fixture_speak"}));
    call["params"]["_meta"]["progressToken"] = json!("t");
    assert_eq!(socket.ask(&call).await["method"], "notifications/progress");
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_closed_takes_its_modern_call_back() {
    let mut bed = Bed::new();
    let mut socket = Socket::open(&mut bed).await;
    let call = json!({"name": "fixture_wait", "arguments": {}});
    socket.send(&modern(1, "tools/call", call)).await;
    bed.knobs.begun.notified().await;
    socket.stream.close(None).await.unwrap();
    bed.knobs.cancelled.notified().await;
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_text_or_too_long_ends_the_socket() {
    let mut bed = Bed::new();
    let mut socket = Socket::open(&mut bed).await;
    let binary = Message::binary(b"{}".to_vec());
    socket.stream.send(binary).await.unwrap();
    assert_eq!(socket.close_code().await, CloseCode::Unsupported);
    let mut socket = Socket::open(&mut bed).await;
    let long = "x".repeat(WEBSOCKET_MESSAGE_MAX_BYTES + 1);
    socket.stream.send(Message::text(long)).await.unwrap();
    assert_eq!(socket.close_code().await, CloseCode::Size);
    let mut socket = Socket::open(&mut bed).await;
    let nonsense = "x".repeat(WEBSOCKET_MESSAGE_MAX_BYTES);
    socket.stream.send(Message::text(nonsense)).await.unwrap();
    assert_eq!(socket.next().await["error"]["code"], -32700);
}

#[tokio::test(start_paused = true)]
async fn a_silent_socket_is_pinged_and_a_dead_one_is_cut() {
    let mut bed = Bed::new();
    let mut socket = Socket::open(&mut bed).await;
    let message = socket.stream.next().await.unwrap().unwrap();
    assert!(message.is_ping());
    let (mut alive, mut dead) = (socket, Socket::open(&mut bed).await);
    dead.initialize("2025-11-25").await;
    let period = Duration::from_secs(WEBSOCKET_PING_SECS);
    let reading = async {
        let _ = tokio::time::timeout(20 * period, async {
            loop {
                assert!(alive.stream.next().await.unwrap().unwrap().is_ping());
            }
        })
        .await;
    };
    reading.await;
    let last = alive.ask(&modern(1, "server/discover", json!({}))).await;
    assert_eq!(last["id"], 1);
    let mut pings = 0;
    while let Some(Ok(message)) = dead.stream.next().await {
        assert!(message.is_ping());
        pings += 1;
    }
    assert!((1..=3).contains(&pings), "{pings}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_keep_up_is_not_read_from_and_then_cut() {
    let mut bed = Bed::new();
    let mut socket = Socket::open(&mut bed).await;
    socket.initialize("2025-11-25").await;
    let list = Message::text(request(1, "tools/list", &json!({})).to_string());
    let flooding = async {
        for sent in 0.. {
            if socket.stream.send(list.clone()).await.is_err() {
                return sent;
            }
        }
        0
    };
    let limit = Duration::from_secs(2 * WRITE_STALL_SECS);
    let sent = tokio::time::timeout(limit, flooding).await.unwrap();
    assert!(sent > 100, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_what_is_under_way_and_says_goodbye() {
    let mut bed = Bed::new();
    let mut socket = Socket::open(&mut bed).await;
    let wishes = json!({"notifications": {"toolsListChanged": true}});
    socket.ask(&modern(1, "subscriptions/listen", wishes)).await;
    let call = json!({"name": "fixture_wait", "arguments": {}});
    socket.send(&modern(2, "tools/call", call)).await;
    bed.knobs.begun.notified().await;
    bed.stop.cancel();
    let told = socket.next().await;
    assert_eq!(told["method"], "notifications/shutdown_pending");
    let after = told["params"]["reconnect_after"].as_f64().unwrap();
    assert!((1.0..=5.0).contains(&after), "{told}");
    let closing = socket.next().await;
    assert_eq!(
        (&closing["id"], &closing["result"]["resultType"]),
        (&json!(1), &json!("complete"))
    );
    bed.knobs.release.notify_one();
    assert_eq!(socket.next().await["id"], 2);
    assert_eq!(socket.close_code().await, CloseCode::Away);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_handshake_is_refused_before_any_upgrade() {
    let mut bed = Bed::new();
    let good = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value, status) in [
        ("connection", "keep-alive", 426),
        ("upgrade", "h2c", 426),
        ("sec-websocket-version", "8", 426),
        ("sec-websocket-key", "short", 400),
        ("sec-websocket-key", "", 400),
        ("origin", "https://evil.example", 403),
        ("host", "evil.example", 403),
        ("authorization", "Bearer rh_wrong", 401),
    ] {
        let mut headers: Vec<_> = good
            .into_iter()
            .filter(|(other, _)| *other != name)
            .collect();
        headers.push((name, value));
        let mut client = bed.client();
        let answer = client.request("GET", "/mcp/ws", &headers, "").await;
        assert_eq!(answer.status, status, "{name}: {value}");
        if status == 426 {
            assert_eq!(
                (
                    answer.header("upgrade"),
                    answer.header("sec-websocket-version")
                ),
                ("websocket", "13")
            );
        }
    }
    let mut client = bed.client();
    client.send("GET", "/mcp/ws", &good, "").await;
    let head = client.receive().await;
    assert_eq!(
        (head.status, head.header("sec-websocket-accept")),
        (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(head.header("sec-websocket-protocol"), "");
}
