//! Bodies and header fields of MCP, past HTTP: whoever asks gets an answer of the protocol.

use bolero::TypeGenerator;
use rackhand::mcp::{Field, Post, ReplyBody, Routing};
use serde_json::Value;

use super::house::{self, House};
use super::json::{Bent, Mcp};

/// Statuses with which the endpoint answers a posted body.
const STATUSES: [u16; 9] = [200, 202, 400, 403, 404, 405, 409, 429, 503];

#[derive(Debug, Clone, TypeGenerator)]
enum Header {
    Absent,
    /// What the body says.
    Right,
    Listed(u8),
    Text(String),
    Unusable,
}

const TEXTS: &[&str] = &[
    "2026-07-28",
    "2025-11-25",
    "2025-06-18",
    "2025-03-26",
    "2024-11-05",
    "",
    "tools/call",
    "initialize",
    "=?base64?eA==?=",
    "=?base64?*?=",
];

/// A posted body with what came with it.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Request {
    body: Bent<Mcp>,
    version: Header,
    method: Header,
    name: Header,
    session: Header,
    is_over_http: bool,
}

/// Requests in a row, of which the later ones may use the session that an earlier one opened.
pub(crate) fn holds(requests: &Vec<Request>) {
    house::visit(async |house| {
        let mut session = None;
        for request in requests.iter().take(6) {
            answered(house, request, &mut session).await;
        }
    });
}

async fn answered(house: &House, request: &Request, session: &mut Option<String>) {
    let body = &request.body.text;
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let said = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let version = said("/params/_meta/io.modelcontextprotocol~1protocolVersion");
    let routing = Routing {
        version: request.version.field(version),
        method: request.method.field(said("/method")),
        name: request.name.field(said("/params/name")),
        session: request.session.field(session.as_deref()),
        ..Routing::default()
    };
    let post = Post {
        body: body.as_bytes(),
        routing: request.is_over_http.then_some(routing),
        caller: &house.caller,
        accepts_events: true,
        trace: None,
    };
    let reply = house.server.post(post).await;
    assert!(STATUSES.contains(&reply.status), "status {}", reply.status);
    match reply.body {
        ReplyBody::Empty => assert_eq!(reply.status, 202, "an answer without a body"),
        ReplyBody::Json(answer) => {
            let answer: Value = serde_json::from_slice(&answer)
                .unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(&answer)));
            match answer.as_array() {
                Some(answers) => answers.iter().for_each(is_answer),
                None => is_answer(&answer),
            }
            let id = value.get("id").filter(|id| id.is_string() || id.is_i64());
            if let Some(id) = id
                && reply.status == 200
                && is_plain(body)
            {
                assert_eq!(&answer["id"], id, "answered to another id: {answer}");
            }
        }
        ReplyBody::Events(_) => {}
    }
    if let Some(opened) = reply.session {
        *session = Some(opened.to_string());
    }
}

/// Without a member that comes twice, which readers read differently.
fn is_plain(body: &str) -> bool {
    body.matches("\"id\"").count() == 1
}

/// A JSON-RPC response; that of a tool has content to show.
pub(crate) fn is_answer(answer: &Value) {
    assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
    match (answer.get("result"), answer.get("error")) {
        (Some(result), None) => {
            assert!(
                answer["id"].is_string() || answer["id"].is_number(),
                "{answer}"
            );
            if let Some(content) = result.get("content") {
                assert!(
                    content
                        .as_array()
                        .is_some_and(|content| !content.is_empty()),
                    "{answer}"
                );
            }
        }
        (None, Some(error)) => {
            assert!(
                error["code"].is_i64()
                    && error["message"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                "{answer}"
            );
            assert_ne!(error["code"], -32_603, "an internal fault: {answer}");
        }
        _ => panic!("neither a result nor an error: {answer}"),
    }
}

impl Header {
    fn field<'a>(&'a self, right: Option<&'a str>) -> Field<'a> {
        match self {
            Self::Absent => Field::Absent,
            Self::Right => right.map_or(Field::Absent, Field::One),
            Self::Listed(number) => Field::One(TEXTS[usize::from(*number) % TEXTS.len()]),
            Self::Text(text) => Field::One(text),
            Self::Unusable => Field::Unusable,
        }
    }
}
