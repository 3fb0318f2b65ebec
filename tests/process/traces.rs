//! Traces of the real program, as a collector gets them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bed::{Box, Core, PATIENCE, PROGRAM, Place, Process, exchange, tool_request, until};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const CALLER: u64 = 0x00f0_67aa_0ba9_02b7;

/// How a collector answers; nothing at all for none.
type Answer = Option<&'static str>;

/// A collector in this process.
struct Collector {
    endpoint: String,
    received: mpsc::Receiver<(Resource, Vec<Span>, String)>,
    serving: JoinSet<()>,
}

impl Collector {
    async fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (tell, received) = mpsc::channel(1_024);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(got) = take(&mut stream).await else {
                    continue;
                };
                tell.try_send(got).unwrap();
                match answer {
                    Some(line) => {
                        let text = format!("{line}\r\ncontent-length: 0\r\n\r\n");
                        stream.write_all(text.as_bytes()).await.ok();
                    }
                    None => held.push(stream),
                }
            }
        });
        Self {
            endpoint,
            received,
            serving,
        }
    }

    /// The next spans, and whose they are.
    async fn next(&mut self) -> (Resource, Vec<Span>, String) {
        let next = timeout(PATIENCE, self.received.recv()).await;
        next.unwrap().unwrap()
    }

    /// The spans of one trace, once there are so many.
    async fn trace(&mut self, trace: u128, count: usize) -> Vec<Span> {
        let mut found = Vec::new();
        while found.len() < count {
            let (_, spans, _) = self.next().await;
            let all = spans.into_iter();
            found.extend(all.filter(|span| span.trace_id == trace.to_be_bytes()));
        }
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }
}

/// Reads a whole request and decodes it.
async fn take(stream: &mut TcpStream) -> Option<(Resource, Vec<Span>, String)> {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut more = [0; 1 << 10];
        let count = stream.read(&mut more).await.ok()?;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&more[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if bytes.len() == end + 4 + length.unwrap() {
            break (head, bytes.split_off(end + 4));
        }
    };
    let mut request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let mut of_resource = request.resource_spans.remove(0);
    let spans = of_resource.scope_spans.remove(0).spans;
    Some((of_resource.resource.unwrap(), spans, head))
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    let found = span.attributes.iter().find(|one| one.key == key);
    match found.and_then(|one| one.value.as_ref()?.value.as_ref()) {
        Some(Any::StringValue(text)) => text,
        other => panic!("{key}: {other:?} in {span:#?}"),
    }
}

/// Starts the service of a place under an environment.
async fn serve(place: &Place, key: &str, environment: &[(&str, &str)]) -> Box {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config", &place.config()]);
    command.envs(environment.iter().copied());
    Box::of(Process::spawn(command), key).await
}

/// Calls a tool as part of a trace; the answer's `traceparent`.
async fn call(served: &Box, tool: &str, arguments: &serde_json::Value, flag: &str) -> String {
    let traceparent =
        format!("traceparent: 00-{TRACE:032x}-{CALLER:016x}-{flag}\r\nx-request-id: caller-1");
    let request = tool_request(&served.key, tool, arguments);
    let request = request.replacen("\r\n", &format!("\r\n{traceparent}\r\n"), 1);
    let mut stream = TcpStream::connect(&served.address).await.unwrap();
    let last = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    stream.write_all(last.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut lines = answer.lines();
    let line = lines.find_map(|line| line.strip_prefix("traceparent: "));
    line.unwrap().to_owned()
}

#[tokio::test]
async fn a_call_of_a_traced_caller_is_one_trace_from_the_request_to_the_frame() {
    let mut collector = Collector::new(Some("HTTP/1.1 200 OK")).await;
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("FOH laptop", "operator").await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        ("OTEL_SERVICE_NAME", "rack-7"),
        ("OTEL_RESOURCE_ATTRIBUTES", "site=Hall%20A"),
    ];
    let served = serve(&place, &key, &environment).await;
    served.reached("live").await;
    let change = |value: f64| json!({ "reason": "a test", "changes": [{ "component": "Hall A Gain", "control": "gain", "value": value }] });
    // Of one who does not trace, nothing is told.
    call(&served, "qsys_set_controls", &change(-11.0), "00").await;
    let told = call(&served, "qsys_set_controls", &change(-12.0), "01").await;
    let (resource, mut spans, head) = collector.next().await;
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    assert!(head.contains("api-key: a b") && head.contains("content-type: application/x-protobuf"));
    let names: Vec<_> = resource
        .attributes
        .iter()
        .map(|one| (one.key.as_str(), one.value.clone().unwrap().value.unwrap()))
        .collect();
    let said = |text: &str| Any::StringValue(text.to_owned());
    assert_eq!(
        names,
        [
            ("service.name", said("rack-7")),
            ("site", said("Hall A")),
            ("service.version", said(env!("CARGO_PKG_VERSION")))
        ]
    );
    if spans.iter().all(|span| span.kind != 2) {
        // The first spans of the trace were sent before its request was over.
        spans.extend(collector.next().await.1);
    }
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id == TRACE.to_be_bytes()),
        "{spans:#?}"
    );
    let one = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let one = found.next();
        one.unwrap_or_else(|| panic!("no {name}: {spans:#?}"))
            .clone()
    };
    let (request, tool) = (one("tools/call"), one("qsys_set_controls"));
    let command = one("Component.Set");
    let frame = spans
        .iter()
        .find(|span| span.parent_span_id == command.span_id)
        .unwrap();
    assert_eq!(request.parent_span_id, CALLER.to_be_bytes());
    // What the caller was told is what the collector has.
    let shown = format!(
        "00-{TRACE:032x}-{:016x}-01",
        u64::from_be_bytes(request.span_id.clone().try_into().unwrap())
    );
    assert_eq!(told, shown);
    assert_eq!(text(&request, "rackhand.request.id"), "caller-1");
    assert_eq!(tool.parent_span_id, request.span_id);
    assert_eq!(text(&tool, "rackhand.role"), "operator");
    assert_eq!(command.parent_span_id, tool.span_id);
    assert_eq!(
        (request.kind, tool.kind, command.kind, frame.kind),
        (2, 1, 1, 3)
    );
    assert_eq!(frame.name, "frame");
    assert_eq!(text(frame, "server.address"), core.address);
    for span in &spans {
        assert!(span.status.is_none(), "{span:#?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        // Neither what was written nor why.
        let shown = format!("{span:?}");
        assert!(
            !shown.contains("a test") && !shown.contains("Hall A Gain"),
            "{shown}"
        );
    }
    assert!(request.start_time_unix_nano <= frame.start_time_unix_nano);
    assert!(frame.end_time_unix_nano <= request.end_time_unix_nano);
    // What the Core refuses is an error all the way up to the tool.
    let wrong = json!({ "reason": "a test", "changes": [{ "component": "Nothing", "control": "gain", "value": 1 }] });
    call(&served, "qsys_set_controls", &wrong, "01").await;
    let spans = collector.trace(TRACE, 2).await;
    let tool = spans
        .iter()
        .find(|span| span.name == "qsys_set_controls")
        .unwrap();
    assert_eq!(tool.status.as_ref().unwrap().code, 2);
    assert_eq!(text(tool, "error.type"), "NOT_FOUND");
    drop(collector.serving);
    served.process.stopped().await;
    core.process.stopped().await;
}

#[tokio::test]
async fn a_trace_that_only_the_message_tells_of_is_the_one_that_the_answer_names() {
    let mut collector = Collector::new(Some("HTTP/1.1 202 Accepted")).await;
    let place = Place::new("address = \"127.0.0.1:9\"\ntransport = \"ws\"");
    let key = place.key("FOH laptop", "viewer").await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())];
    let served = serve(&place, &key, &environment).await;
    let meta = format!("\"_meta\":{{\"traceparent\":\"00-{TRACE:032x}-{CALLER:016x}-01\",");
    let request = tool_request(&key, "system_ping", &json!({})).replace("\"_meta\":{", &meta);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let lines: Vec<&str> = head
        .lines()
        .filter(|line| !line.starts_with("content-length"))
        .collect();
    let request = format!(
        "{}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        lines.join("\r\n"),
        body.len()
    );
    let mut stream = TcpStream::connect(&served.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let spans = collector.trace(TRACE, 2).await;
    let request = spans.iter().find(|span| span.name == "tools/call").unwrap();
    assert_eq!(request.parent_span_id, CALLER.to_be_bytes());
    let span = u64::from_be_bytes(request.span_id.clone().try_into().unwrap());
    let line = format!("traceparent: 00-{TRACE:032x}-{span:016x}-01\r\n");
    assert!(answer.contains(&line), "{line}{answer}");
    served.process.stopped().await;
}

/// The number of spans with one fate, from the metrics.
async fn fate(served: &Box, fate: &str) -> f64 {
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        served.key
    );
    let (_, page) = exchange(&served.address, &request).await.unwrap();
    let begin = format!("rackhand_spans_total{{fate=\"{fate}\"}} ");
    let mut lines = page.lines();
    lines
        .find_map(|line| line.strip_prefix(&begin))
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_calls_nor_the_stop() {
    let mut collector = Collector::new(None).await;
    let place = Place::new("address = \"127.0.0.1:9\"\ntransport = \"ws\"");
    let key = place.key("FOH laptop", "viewer").await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        // Far longer than this test has patience.
        ("RACKHAND_TRACING_TIMEOUT_MILLIS", "60000"),
        ("RACKHAND_TRACING_PERCENT", "100"),
    ];
    let served = serve(&place, &key, &environment).await;
    served.must("system_ping", json!({})).await;
    collector.next().await;
    for _ in 0..20 {
        served.must("system_ping", json!({})).await;
    }
    assert!(fate(&served, "sent").await < 0.5);
    let said = served.process.stopped().await;
    assert!(!said.contains("did not end within"), "{said}");
}

#[tokio::test]
async fn a_collector_that_refuses_or_is_gone_has_its_spans_counted() {
    for answer in [Some("HTTP/1.1 400 Bad Request"), Some("garbage")] {
        let mut collector = Collector::new(answer).await;
        let place = Place::new("address = \"127.0.0.1:9\"\ntransport = \"ws\"");
        let key = place.key("FOH laptop", "viewer").await;
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ];
        let served = serve(&place, &key, &environment).await;
        served.must("system_ping", json!({})).await;
        collector.next().await;
        // From here on nobody listens there at all.
        drop(collector);
        until("counted", async || match fate(&served, "not_taken").await {
            lost if lost > 1.5 => Ok(()),
            lost => Err(lost.to_string()),
        })
        .await;
        let said = served.process.said();
        assert!(said.contains("does not take traces"), "{said}");
        served.process.stopped().await;
    }
}

/// Where a switch stands.
async fn switch(served: &Box, name: &str) -> (String, bool) {
    let answer = served
        .must("system_metrics", json!({ "names": ["rackhand_info"] }))
        .await;
    let rows = answer["switches"].as_array().unwrap();
    let row = rows.iter().find(|row| row["switch"] == name).unwrap();
    (
        row["now"].as_str().unwrap().to_owned(),
        row["ends_in_s"].is_u64(),
    )
}

#[tokio::test]
async fn a_signal_and_an_admin_change_what_is_logged_and_traced_while_the_service_runs() {
    let mut collector = Collector::new(Some("HTTP/1.1 200 OK")).await;
    let place = Place::new("address = \"127.0.0.1:9\"\ntransport = \"ws\"");
    let key = place.key("root", "admin").await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ];
    let mut served = serve(&place, &key, &environment).await;
    let (usual, by_hand) = (
        |text: &str| (text.to_owned(), false),
        |text: &str| (text.to_owned(), true),
    );
    assert_eq!(switch(&served, "log").await, usual("info"));
    assert_eq!(switch(&served, "traces").await, usual("0 %"));
    assert!(served.process.signal("USR1").await);
    served
        .process
        .says("Everything is logged and traced for 10 minutes")
        .await;
    assert_eq!(switch(&served, "log").await, by_hand("debug"));
    assert_eq!(switch(&served, "traces").await, by_hand("100 %"));
    // The very calls above are traced.
    let (_, spans, _) = collector.next().await;
    assert!(
        spans.iter().any(|span| span.name == "system_metrics"),
        "{spans:#?}"
    );
    assert!(served.process.signal("USR1").await);
    served
        .process
        .says("Logged and traced as usual again, by SIGUSR1")
        .await;
    assert_eq!(switch(&served, "log").await, usual("info"));
    assert_eq!(switch(&served, "traces").await, usual("0 %"));
    // What the log lets through, it does by the filter that was set.
    let quiet = json!({ "reason": "quiet", "log": "error", "traces_percent": 50 });
    served.must("system_set_telemetry", quiet).await;
    assert_eq!(switch(&served, "traces").await, by_hand("50 %"));
    let before = served.process.said().lines().count();
    let loud = json!({ "reason": "while it is quiet", "audit_detail": true });
    served.must("system_set_telemetry", loud).await;
    let reset = json!({ "reason": "back to usual", "reset": true });
    served.must("system_set_telemetry", reset).await;
    served.process.says("back to usual").await;
    let said = served.process.said();
    let since: Vec<&str> = said.lines().skip(before).collect();
    assert!(
        !since.iter().any(|line| line.contains("while it is quiet")),
        "{since:#?}"
    );
    let trail = json!({ "limit": 50 });
    let trail = served.must("qsys_get_audit", trail).await;
    let entries = trail["entries"].as_array().unwrap();
    let signals = entries
        .iter()
        .filter(|entry| entry["detail"]["by"] == "SIGUSR1");
    assert_eq!(signals.count(), 2, "{trail:#}");
    served.process.stopped().await;
}
