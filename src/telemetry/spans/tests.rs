//! Spans as a collector reads them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use prost::Message as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::base::trace::Traces;

const FLAGGED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Spans that are taken, and a subscriber that writes them, for this thread.
fn begun() -> (Arc<Spans>, tracing::subscriber::DefaultGuard) {
    let spans = Arc::new(Spans::default());
    let layer = SpanLayer(Arc::clone(&spans)).with_filter(OnlySpans(Arc::clone(&spans)));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    spans.begin(Share::ALL, true);
    (spans, guard)
}

fn read(spans: &Spans) -> Vec<Told> {
    let attributes = [("service.name", "rackhand"), ("site", "é")];
    let whole = envelope(&resource(attributes.into_iter()), &spans.take());
    let request = ExportTraceServiceRequest::decode(whole.as_slice()).unwrap();
    let [resource_spans] = request.resource_spans.as_slice() else {
        panic!("{request:?}");
    };
    let resource = resource_spans.resource.as_ref().unwrap();
    assert_eq!(resource.attributes.len(), 2);
    assert_eq!(resource.attributes[1].key, "site");
    let [scope_spans] = resource_spans.scope_spans.as_slice() else {
        panic!("{request:?}");
    };
    let scope = scope_spans.scope.as_ref().unwrap();
    assert_eq!(
        (scope.name.as_str(), scope.version.as_str()),
        (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    );
    scope_spans.spans.clone()
}

fn attribute<'a>(span: &'a Told, key: &str) -> Option<&'a any_value::Value> {
    let found = span.attributes.iter().find(|one| one.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(span: &Told, key: &str) -> String {
    match attribute(span, key) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn a_request_and_what_it_causes_are_one_trace_in_the_form_that_collectors_read() {
    let (spans, _guard) = begun();
    let traces = Traces::default();
    let trace = spans.decide(traces.of(Some("abc-1"), Some(FLAGGED)));
    {
        let request = request(&trace, "tools/call", "2026-07-28");
        let _in_request = request.enter();
        let tool = tool(&trace, "qsys_set_controls", "operator");
        let _in_tool = tool.enter();
        let command = command("Component.Set");
        let frame = frame(&command, "Component.Set", "core.local:443");
        frame.record("rpc.jsonrpc.error_code", -32_604_i64);
        failed(&frame, "STANDBY");
        told(&frame, "a\nb");
    }
    let told = read(&spans);
    let [frame, command, tool, request] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(request.span_id, trace.parent.span().to_be_bytes());
    assert_eq!(
        request.parent_span_id,
        0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()
    );
    for span in &told {
        assert_eq!(
            span.trace_id,
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()
        );
        assert!(span.start_time_unix_nano > 1_700_000_000_000_000_000);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    assert_eq!(tool.parent_span_id, request.span_id);
    assert_eq!(command.parent_span_id, tool.span_id);
    assert_eq!(frame.parent_span_id, command.span_id);
    let kinds: Vec<i32> = told.iter().map(|span| span.kind).collect();
    assert_eq!(kinds, [3, 1, 1, 2]);
    let names: Vec<&str> = told.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        ["frame", "Component.Set", "qsys_set_controls", "tools/call"]
    );
    let flags: Vec<u32> = told.iter().map(|span| span.flags).collect();
    assert_eq!(flags, [0x101, 0x101, 0x101, 0x301]);
    let status = frame.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "a\\nb"));
    assert_eq!(text(frame, "error.type"), "STANDBY");
    assert_eq!(text(frame, "server.address"), "core.local:443");
    assert_eq!(
        attribute(frame, "rpc.jsonrpc.error_code"),
        Some(&any_value::Value::IntValue(-32_604))
    );
    assert_eq!(text(request, "rackhand.request.id"), "abc-1");
    assert!(request.status.is_none());
}

#[test]
fn nothing_is_built_while_nobody_takes_it_or_for_a_request_that_is_not_recorded() {
    let (spans, _guard) = begun();
    let traces = Traces::default();
    spans.set_share(Share::NONE);
    let trace = spans.decide(traces.of(None, None));
    assert!(request(&trace, "ping", "").is_disabled());
    assert!(tool(&trace, "a", "viewer").is_disabled());
    assert!(command("NoOp").is_disabled());
    assert!(frame(&command("NoOp"), "NoOp", "").is_disabled());
    spans.end();
    let trace = spans.decide(traces.of(None, Some(FLAGGED)));
    assert!(!trace.is_recorded() && trace.parent.is_sampled());
    assert!(command("NoOp").is_disabled());
    assert_eq!(spans.status().built, 0);
}

#[test]
fn words_of_others_are_cut_and_show_no_key() {
    let (spans, _guard) = begun();
    let trace = spans.decide(Traces::default().of(None, None));
    let hostile = format!(
        "rh_0123456789ABCDEFGHJKMNPQRSTVWXYZ0123456789ABCDEFG\u{1b}{}",
        "é".repeat(9_999)
    );
    {
        let _in_tool = tool(&trace, "a", "viewer").entered();
        let span = command("NoOp");
        told(&span, &hostile);
        drop(span);
        let span = command("NoOp");
        failed(&span, "REFUSED");
        told(&span, &hostile);
    }
    let read = read(&spans);
    // An error is what `failed` says; words alone are none.
    assert!(read[0].status.is_none());
    let status = read[1].status.as_ref().unwrap();
    assert!(
        status.message.starts_with("***\\u{1b}éé"),
        "{}",
        status.message
    );
    assert!(status.message.len() <= crate::limits::SPAN_TEXT_MAX_BYTES);
}

#[tokio::test(start_paused = true)]
async fn what_waits_has_a_bound_and_what_finds_no_room_is_counted() {
    let (spans, _guard) = begun();
    let traces = Traces::default();
    let mut made = 0;
    while spans.status().no_room == 0 {
        let trace = spans.decide(traces.of(None, None));
        if trace.is_recorded() {
            drop(request(&trace, "tools/call", "2026-07-28"));
            made += 1;
        } else {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
    let status = spans.status();
    assert!(status.waiting_bytes <= SPANS_WAITING_MAX_BYTES);
    assert!(status.waiting_bytes > SPANS_WAITING_MAX_BYTES - 1_024);
    assert_eq!((status.built, status.no_room), (made, 1));
    assert_eq!(u64::try_from(read(&spans).len()).unwrap(), made - 1);
    assert_eq!(spans.status().waiting_bytes, 0);
    assert_eq!(
        status.cost.bytes,
        u64::try_from(status.waiting_bytes).unwrap()
    );
}
