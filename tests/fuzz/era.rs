//! Which era a message belongs to and what its headers must say, told twice: by whoever carries messages, and by whoever answers them.

use bolero::TypeGenerator;
use rackhand::mcp::{Field, Outline, Post, Reply, ReplyBody, Routing, Sort};
use serde_json::Value;

use super::house::{self, House};
use super::json::{Bent, Mcp};
use super::mcp::is_answer;

const NOT_JSON: i64 = -32_700;
const INVALID: i64 = -32_600;
const MISMATCH: i64 = -32_020;

/// A message, and whether its headers are put on as a transport would.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Case {
    body: Bent<Mcp>,
    over_http: bool,
}

pub(crate) fn holds(case: &Case) {
    house::visit(async |house| agrees(house, case).await);
}

async fn agrees(house: &House, case: &Case) {
    let body = case.body.text.as_bytes();
    let outline = Outline::of(body);
    let mut routing = Routing::default();
    if let Ok(outline) = &outline
        && outline.is_modern
    {
        routing.version = field(outline.version.as_deref());
        routing.method = field(Some(&outline.method));
        routing.name = field(outline.name.as_deref());
    }
    let post = Post {
        body,
        routing: case.over_http.then_some(routing),
        caller: &house.caller,
        accepts_events: true,
        trace: None,
    };
    let reply = house.server.post(post).await;
    match outline {
        Err(refusal) => {
            let refusal: Value = serde_json::from_slice(&refusal).expect("a refusal is JSON");
            is_answer(&refusal);
            assert!(refusal.get("id").is_none());
            let answer = json(&reply).expect("what is no message is refused");
            assert_eq!(
                answer["error"]["code"], refusal["error"]["code"],
                "{answer}"
            );
            assert_eq!(reply.status, 400);
        }
        Ok(outline) => answered(case, &outline, &reply),
    }
}

fn answered(case: &Case, outline: &Outline<'_>, reply: &Reply) {
    let answer = json(reply);
    let code = answer
        .as_ref()
        .and_then(|answer| answer["error"]["code"].as_i64());
    assert_ne!(
        code,
        Some(NOT_JSON),
        "one of the two could read it: {answer:?}"
    );
    if outline.is_modern {
        assert!(reply.session.is_none(), "a modern message opened a session");
        let is_carried =
            is_carried(&outline.method) && outline.version.as_deref().is_none_or(is_carried);
        if case.over_http && outline.version.is_some() && is_carried {
            assert_ne!(
                code,
                Some(MISMATCH),
                "headers made from the body contradict it: {answer:?}"
            );
        }
    }
    match outline.sort {
        // Without a session there is no array, and nothing to respond to.
        Sort::Batch | Sort::Response(_) => {
            assert_eq!((reply.status, code), (400, Some(INVALID)), "{answer:?}");
        }
        Sort::Notification if outline.is_modern => assert_eq!(reply.status, 202),
        Sort::Notification => assert_eq!(reply.status, 400, "{answer:?}"),
        Sort::Request(id) => {
            if outline.is_opening {
                let is_opened = reply.session.is_some();
                assert_eq!(is_opened, code.is_none(), "{answer:?}");
            } else if !outline.is_modern {
                assert_eq!((reply.status, code), (400, Some(INVALID)), "{answer:?}");
            }
            if let Some(answer) = &answer {
                let own: Value = serde_json::from_str(id).expect("an id is JSON");
                assert_eq!(answer["id"], own, "answered to another id");
                is_answer(answer);
            }
        }
    }
}

/// A header, where there is something that one can carry.
fn field(text: Option<&str>) -> Field<'_> {
    text.filter(|text| is_carried(text))
        .map_or(Field::Absent, Field::One)
}

/// What a header can carry as it is.
fn is_carried(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn json(reply: &Reply) -> Option<Value> {
    match &reply.body {
        ReplyBody::Json(json) => Some(serde_json::from_slice(json).expect("JSON is JSON")),
        ReplyBody::Empty | ReplyBody::Events(_) => None,
    }
}
