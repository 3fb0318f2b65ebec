//! Questions and tasks where the messages of both sides travel on one pipe, and both eras share it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rackhand::base::shutdown::Stop;
use rackhand::guard::{Caller, Role};
use rackhand::http::Limits;
use rackhand::service::Service;
use rackhand::stdio;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf, split,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::asker::Asker;
use crate::bed::{Bed, modern};
use crate::jobs::Jobs;
use crate::schemas::Tape;

const CAN: &str = "io.modelcontextprotocol/clientCapabilities";
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A host that can be asked anything and knows tasks.
struct Host {
    asker: Arc<Asker>,
    to: WriteHalf<DuplexStream>,
    from: BufReader<ReadHalf<DuplexStream>>,
    tape: Tape,
    last: u64,
    _bed: Bed,
    _serving: JoinSet<()>,
}

impl Host {
    async fn new() -> Self {
        let asker = Arc::new(Asker::new());
        let services: [Arc<dyn Service>; 2] = [Arc::<Asker>::clone(&asker), Arc::new(Jobs::new())];
        let bed = Bed::serving(&services, Limits::default(), 50);
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (input, output) = split(theirs);
        let caller = Caller::local("stdio", Role::Viewer);
        let server = Arc::clone(&bed.server);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            stdio::serve(&server, caller, input, output, Stop::new()).await;
        });
        let (from, to) = split(ours);
        let mut host = Self {
            asker,
            to,
            from: BufReader::new(from),
            tape: Tape::default(),
            last: 0,
            _bed: bed,
            _serving: serving,
        };
        let params = json!({"protocolVersion": "2025-11-25", "clientInfo": {"name": "host", "version": "1"},
            "capabilities": {"elicitation": {}, "sampling": {}, "roots": {}}});
        let answer = host.ask("initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        host
    }

    async fn say(&mut self, message: &Value) {
        let line = message.to_string();
        self.tape.sent(&line);
        let line = format!("{line}\n");
        self.to.write_all(line.as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = timeout(Duration::from_mins(20), self.from.read_line(&mut line)).await;
        assert!(read.unwrap().unwrap() > 0, "the pipe ended");
        let message = serde_json::from_str(&line).unwrap();
        self.tape.received(&message);
        message
    }

    /// Sends a request; the next message is for the caller.
    async fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let body = json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        self.say(&body).await;
        self.last
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }
}

/// The parameters of a modern request.
fn modern_params(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({CAN: {"elicitation": {}, "extensions": {TASKS: {}}}});
    modern(method, params).1["params"].take()
}

fn accept(content: &Value) -> Value {
    json!({"action": "accept", "content": content})
}

#[tokio::test(start_paused = true)]
async fn a_session_on_a_pipe_is_asked_by_requests() {
    let mut host = Host::new().await;
    let call = json!({"name": "asker_write", "arguments": {}});
    let id = host.begin("tools/call", call).await;
    let question = host.hear().await;
    assert_eq!(question["method"], "elicitation/create");
    let answer =
        json!({"jsonrpc": "2.0", "id": question["id"], "result": accept(&json!({"ok": true}))});
    host.say(&answer).await;
    let done = host.hear().await;
    assert_eq!(
        (&done["id"], &done["result"]["isError"]),
        (&json!(id), &json!(false))
    );
    assert_eq!(host.asker.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_modern_request_on_the_same_pipe_is_asked_by_its_result() {
    let mut host = Host::new().await;
    let call = json!({"name": "asker_write", "arguments": {}});
    let asked = host
        .ask("tools/call", modern_params("tools/call", call.clone()))
        .await;
    assert_eq!(asked["result"]["resultType"], "input_required");
    let mut retry = call;
    retry["requestState"] = asked["result"]["requestState"].clone();
    retry["inputResponses"] = json!({"confirm": accept(&json!({"ok": true}))});
    let retry = modern_params("tools/call", retry);
    let done = host.ask("tools/call", retry.clone()).await;
    assert_eq!(done["result"]["content"][0]["text"], "written");
    let again = host.ask("tools/call", retry).await;
    assert_eq!(again["error"]["code"], -32602);
    assert_eq!(host.asker.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_on_a_pipe_is_heard_of_answered_and_looked_at() {
    let mut host = Host::new().await;
    let call = modern_params(
        "tools/call",
        json!({"name": "job_confirm", "arguments": {}}),
    );
    let made = host.ask("tools/call", call).await;
    let id = made["result"]["taskId"].clone();
    let listen = modern_params(
        "subscriptions/listen",
        json!({"notifications": {"taskIds": [id]}}),
    );
    host.begin("subscriptions/listen", listen).await;
    let opened = host.hear().await;
    assert_eq!(opened["params"]["notifications"]["taskIds"], json!([id]));
    let name = loop {
        let task = host.hear().await;
        assert_eq!(task["method"], "notifications/tasks");
        if let Some(asked) = task["params"]["inputRequests"].as_object() {
            break asked.keys().next().unwrap().clone();
        }
    };
    let answers = json!({"taskId": id, "inputResponses": {name: accept(&json!({"ok": true}))}});
    host.begin("tasks/update", modern_params("tasks/update", answers))
        .await;
    let last = loop {
        let message = host.hear().await;
        if message["params"]["status"] == "completed" {
            break message;
        }
    };
    assert_eq!(
        last["params"]["result"]["content"][0]["text"],
        "confirmed: true"
    );
    let params = modern_params("tasks/get", json!({"taskId": id}));
    let task = host.ask("tasks/get", params).await;
    assert_eq!(task["result"]["status"], "completed");
}
