//! Spans as OTLP has them: protobuf, written by hand, since of all of it five messages are needed and each field only once.
//! The numbers are those of opentelemetry-proto 1.x, `trace/v1/trace.proto`, `common/v1/common.proto`, `resource/v1/resource.proto`.

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A span that is over.
#[derive(Debug)]
pub(super) struct Encoded<'a> {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// 0 for none.
    pub(super) parent: u64,
    /// The parent is a span of somebody else.
    pub(super) is_remote: bool,
    pub(super) name: &'a str,
    /// `Span.SpanKind`
    pub(super) kind: u64,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    /// As [`attribute`] writes them.
    pub(super) attributes: &'a [u8],
    pub(super) is_error: bool,
    /// What was wrong, in words.
    pub(super) told: &'a str,
}

/// An attribute's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Flag(bool),
}

/// The number of `attributes` in a span.
const OF_SPAN: u64 = 9;
/// The number of `attributes` in a resource.
const OF_RESOURCE: u64 = 1;

/// Writes an attribute of a span.
pub(super) fn attribute(out: &mut Vec<u8>, key: &str, value: Value<'_>) {
    key_value(out, OF_SPAN, key, value);
}

/// Writes a span behind others, as `ScopeSpans.spans`.
pub(super) fn span(out: &mut Vec<u8>, span: &Encoded<'_>) {
    let mut status = Vec::new();
    if span.is_error {
        text(&mut status, 2, span.told);
        number(&mut status, 3, 2);
    }
    let mut body = Vec::with_capacity(128 + span.attributes.len());
    bytes(&mut body, 1, &span.trace.to_be_bytes());
    bytes(&mut body, 2, &span.span.to_be_bytes());
    if span.parent != 0 {
        bytes(&mut body, 4, &span.parent.to_be_bytes());
    }
    text(&mut body, 5, span.name);
    number(&mut body, 6, span.kind);
    fixed64(&mut body, 7, span.start);
    fixed64(&mut body, 8, span.end);
    body.extend_from_slice(span.attributes);
    if span.is_error {
        bytes(&mut body, 15, &status);
    }
    // W3C's flag `sampled`, that it is known whether the parent is remote, and whether it is.
    let remote = if span.is_remote { 0x200_u32 } else { 0 };
    tag(&mut body, 16, FIXED32);
    body.extend_from_slice(&(0x101 | remote).to_le_bytes());
    bytes(out, 2, &body);
}

/// A `Resource`, of these attributes.
pub(super) fn resource<'a>(attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in attributes {
        key_value(&mut out, OF_RESOURCE, key, Value::Text(value));
    }
    out
}

/// A whole `ExportTraceServiceRequest`: one resource, one scope, the spans as [`span`] wrote them.
pub(super) fn request(resource: &[u8], scope: (&str, &str), spans: &[u8]) -> Vec<u8> {
    let mut scope_spans = Vec::with_capacity(spans.len() + 64);
    let mut scope_body = Vec::new();
    text(&mut scope_body, 1, scope.0);
    text(&mut scope_body, 2, scope.1);
    bytes(&mut scope_spans, 1, &scope_body);
    scope_spans.extend_from_slice(spans);
    let mut resource_spans = Vec::with_capacity(scope_spans.len() + resource.len() + 16);
    bytes(&mut resource_spans, 1, resource);
    bytes(&mut resource_spans, 2, &scope_spans);
    drop(scope_spans);
    let mut out = Vec::with_capacity(resource_spans.len() + 8);
    bytes(&mut out, 1, &resource_spans);
    out
}

fn key_value(out: &mut Vec<u8>, field: u64, key: &str, value: Value<'_>) {
    let mut any = Vec::with_capacity(16);
    match value {
        Value::Text(value) => bytes(&mut any, 1, value.as_bytes()),
        Value::Flag(value) => number(&mut any, 2, value.into()),
        // Two's complement, as protobuf has it.
        Value::Number(value) => number(&mut any, 3, u64::from_le_bytes(value.to_le_bytes())),
    }
    let mut pair = Vec::with_capacity(key.len() + any.len() + 4);
    text(&mut pair, 1, key);
    bytes(&mut pair, 2, &any);
    bytes(out, field, &pair);
}

fn tag(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// A number; also 0, which protobuf lets out: an attribute may be 0.
fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    tag(out, field, BYTES);
    varint(out, u64::try_from(value.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(value);
}

fn text(out: &mut Vec<u8>, field: u64, value: &str) {
    if !value.is_empty() {
        bytes(out, field, value.as_bytes());
    }
}
