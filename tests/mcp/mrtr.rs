//! Calls that ask before they answer: modern clients by results and retries, older ones by requests on their stream; and what
//! cannot be done with the state that a client carries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::asker::Asker;
use crate::bed::{Bed, Client, Response, modern, refs};

const CAN: &str = "io.modelcontextprotocol/clientCapabilities";

fn bed() -> (Bed, Arc<Asker>) {
    let asker = Arc::new(Asker::new());
    (Bed::serving_also(Arc::<Asker>::clone(&asker)), asker)
}

fn able() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

/// Calls a tool as a client that can be asked anything; `more` joins the parameters.
async fn call(client: &mut Client, tool: &str, more: Value) -> Response {
    let mut params = json!({"name": tool, "arguments": {}, "_meta": {CAN: able()}});
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    client.modern("tools/call", params).await
}

fn accept(content: &Value) -> Value {
    json!({"action": "accept", "content": content})
}

fn is_asked(response: &Response) -> bool {
    response.json()["result"]["resultType"] == "input_required"
}

fn said(response: &Response) -> String {
    let answer = response.json();
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_question_is_a_result_and_the_answer_a_second_call() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let asked = call(&mut client, "asker_name", json!({})).await;
    let result = &asked.json()["result"];
    assert_eq!(result["resultType"], "input_required");
    assert_eq!(
        result["inputRequests"]["name"]["method"],
        "elicitation/create"
    );
    assert!(
        result.get("requestState").is_none(),
        "nothing has to be carried"
    );
    assert!(result.get("ttlMs").is_none());
    let answers = json!({"inputResponses": {"name": accept(&json!({"name": "Ada"}))}});
    assert_eq!(
        said(&call(&mut client, "asker_name", answers).await),
        "Hello, Ada!"
    );
    let no = json!({"inputResponses": {"name": {"action": "decline"}}});
    let declined = call(&mut client, "asker_name", no).await.json();
    assert_eq!(declined["result"]["isError"], true);
    assert_eq!(crate::bed::fault_code(&declined["result"]), "NOT_ANSWERED");
}

#[tokio::test(start_paused = true)]
async fn what_a_call_has_to_remember_travels_with_the_client() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let first = call(&mut client, "asker_twice", json!({})).await.json();
    let state = first["result"]["requestState"].clone();
    let more = json!({"inputResponses": {"answer": accept(&json!({"first": "one"}))}, "requestState": state});
    let second = call(&mut client, "asker_twice", more).await.json();
    assert_eq!(second["result"]["resultType"], "input_required");
    let next = second["result"]["requestState"].clone();
    assert_ne!(state, next);
    // Nothing is kept here: another connection does as well.
    let mut other = bed.client();
    let more = json!({"inputResponses": {"answer": accept(&json!({"second": "two"}))}, "requestState": next});
    assert_eq!(
        said(&call(&mut other, "asker_twice", more).await),
        "one, then two"
    );
}

#[tokio::test(start_paused = true)]
async fn answers_that_miss_the_question_lead_to_the_question_again() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    client.tape.lock().unwrap().asks_wrongly = true;
    let good = accept(&json!({"name": "Ada"}));
    for answers in [
        json!({}),
        json!({"wrong_key": good}),
        json!({"name": 12345}),
        json!({"name": null}),
        json!({"name": "Ada"}),
        json!({"name": [good]}),
        json!({"name": {"action": "perhaps", "content": {"name": "Ada"}}}),
        json!({"name": {"action": "accept"}}),
        json!({"name": {"action": "accept", "content": "Ada"}}),
        json!({"name": {"roots": []}}),
    ] {
        let more = json!({"inputResponses": answers});
        let response = call(&mut client, "asker_name", more).await;
        assert!(is_asked(&response), "{answers} {response:?}");
    }
    for answers in [json!(null), json!([]), json!(7), json!("name")] {
        let more = json!({"inputResponses": answers});
        let response = call(&mut client, "asker_name", more).await;
        assert_eq!(response.code(), (200, -32602), "{answers}");
    }
    let more = json!({"inputResponses": {"name": good, "extra": good, "odd": 7, "": null}});
    assert_eq!(
        said(&call(&mut client, "asker_name", more).await),
        "Hello, Ada!"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_is_asked_only_what_it_declares() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    for (declared, lacking) in [
        (
            json!({}),
            json!({"elicitation": {"form": {}}, "sampling": {}, "roots": {}}),
        ),
        (
            json!({"elicitation": {}, "roots": {}}),
            json!({"sampling": {}}),
        ),
        (
            json!({"elicitation": {"url": {}}, "sampling": {}, "roots": {}}),
            json!({"elicitation": {"form": {}}}),
        ),
    ] {
        let more = json!({"_meta": {CAN: declared}});
        let response = call(&mut client, "asker_all", more).await;
        assert_eq!(response.code(), (400, -32021), "{declared}");
        let data = &response.json()["error"]["data"];
        assert_eq!(data["requiredCapabilities"], lacking);
    }
    for declared in [
        able(),
        json!({"elicitation": {"form": {}}, "sampling": {}, "roots": {}}),
    ] {
        let more = json!({"_meta": {CAN: declared}});
        let asked = call(&mut client, "asker_all", more).await.json();
        let methods: Vec<_> = asked["result"]["inputRequests"]
            .as_object()
            .unwrap()
            .values()
            .map(|question| question["method"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            methods,
            ["sampling/createMessage", "elicitation/create", "roots/list"]
        );
    }
    let more = json!({"inputResponses": {
        "name": accept(&json!({"name": "Ada"})),
        "model": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Hi"}},
        "roots": {"roots": [{"uri": "file:///x"}]},
    }});
    assert_eq!(
        said(&call(&mut client, "asker_all", more).await),
        r#""Hi" "file:///x""#
    );
}

#[tokio::test(start_paused = true)]
async fn a_prompt_can_ask_too() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let params = json!({"name": "asker_prompt", "_meta": {CAN: able()}});
    let asked = client.modern("prompts/get", params.clone()).await.json();
    assert_eq!(asked["result"]["resultType"], "input_required");
    let mut retry = params;
    retry["requestState"] = asked["result"]["requestState"].clone();
    retry["inputResponses"] = json!({"context": accept(&json!({"context": "a rehearsal"}))});
    let filled = client.modern("prompts/get", retry.clone()).await.json();
    assert_eq!(
        filled["result"]["messages"][0]["content"]["text"],
        "a rehearsal"
    );
    // The state belongs to these arguments of this prompt.
    retry["arguments"] = json!({"about": "lights"});
    let response = client.modern("prompts/get", retry.clone()).await;
    assert_eq!(response.code(), (200, -32602));
    retry["inputResponses"]["context"] = json!({"action": "cancel"});
    retry["arguments"] = json!({});
    let declined = client.modern("prompts/get", retry).await;
    assert_eq!(declined.code(), (200, -32603));
    assert_eq!(declined.json()["error"]["data"]["code"], "NOT_ANSWERED");
}

/// Asks for a write and gives its state.
async fn state_of_write(client: &mut Client, arguments: Value) -> Value {
    let more = json!({"arguments": arguments});
    let asked = call(client, "asker_write", more).await.json();
    let state = asked["result"]["requestState"].clone();
    assert!(state.is_string(), "{asked}");
    state
}

fn confirm(state: &Value) -> Value {
    json!({"inputResponses": {"confirm": accept(&json!({"ok": true}))}, "requestState": state})
}

#[tokio::test(start_paused = true)]
async fn one_yes_writes_once() {
    let (mut bed, service) = bed();
    let mut client = bed.client();
    let state = state_of_write(&mut client, json!({})).await;
    let done = call(&mut client, "asker_write", confirm(&state)).await;
    assert_eq!(said(&done), "written");
    let again = call(&mut client, "asker_write", confirm(&state)).await;
    assert_eq!(again.code(), (200, -32602));
    assert!(again.body.contains("used already"), "{}", again.body);
    assert_eq!(service.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_yes_without_a_question_writes_nothing() {
    let (mut bed, service) = bed();
    let mut client = bed.client();
    let unasked = json!({"inputResponses": {"confirm": accept(&json!({"ok": true}))}});
    assert!(is_asked(&call(&mut client, "asker_write", unasked).await));
    for no in [
        accept(&json!({"ok": false})),
        accept(&json!({})),
        json!({"action": "decline"}),
    ] {
        let state = state_of_write(&mut client, json!({})).await;
        let more = json!({"inputResponses": {"confirm": no}, "requestState": state});
        let response = call(&mut client, "asker_write", more).await.json();
        assert_eq!(response["result"]["isError"], true);
    }
    assert_eq!(service.written.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_whole_number_written_otherwise_in_the_next_round_was_called_another_call() {
    let (mut bed, service) = bed();
    let mut client = bed.client();
    let state = state_of_write(&mut client, json!({"what": 3.0})).await;
    let mut more = confirm(&state);
    more["arguments"] = json!({"what": 3});
    let done = call(&mut client, "asker_write", more).await.json();
    assert_eq!(done["result"]["isError"], false, "{done}");
    assert_eq!(service.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_changed_moved_or_kept_too_long_is_refused() {
    let (mut bed, service) = bed();
    let mut client = bed.client();
    let state = state_of_write(&mut client, json!({"what": "gain"})).await;
    let text = state.as_str().unwrap();
    let right = json!({"what": "gain"});
    let flipped = if text.starts_with('A') { "B" } else { "A" };
    let with = |state: Value, arguments: &Value| {
        let mut more = confirm(&state);
        more["arguments"] = arguments.clone();
        more
    };
    for (state, arguments) in [
        (json!(format!("{text}-TAMPERED")), &right),
        (json!(format!("{flipped}{}", &text[1..])), &right),
        (json!(""), &right),
        (json!("AAAA"), &right),
        (state.clone(), &json!({"what": "mute"})),
        (state.clone(), &json!({})),
        (state.clone(), &json!({"what": ["gain"]})),
    ] {
        let response = call(&mut client, "asker_write", with(state, arguments)).await;
        assert_eq!(
            response.code(),
            (200, -32602),
            "{arguments} {}",
            response.body
        );
    }
    for odd in [json!(7), json!(null), json!({"state": text})] {
        let response = call(&mut client, "asker_write", with(odd, &right)).await;
        assert_eq!(response.code(), (200, -32602));
    }
    // Another tool with the same arguments, and another caller with the very same call.
    let elsewhere = call(&mut client, "asker_twice", with(state.clone(), &right)).await;
    assert_eq!(elsewhere.code(), (200, -32602));
    let mut other = bed.client_as("engineer");
    let stolen = call(&mut other, "asker_write", with(state.clone(), &right)).await;
    assert_eq!(stolen.code(), (200, -32602));
    assert_eq!(service.written.load(Ordering::SeqCst), 0);
    // None of that spoilt it, and time does.
    tokio::time::sleep(Duration::from_secs(301)).await;
    let mut client = bed.client();
    let late = call(&mut client, "asker_write", with(state, &right)).await;
    assert_eq!(late.code(), (200, -32602));
    assert!(late.body.contains("too old"), "{}", late.body);
    let fresh = state_of_write(&mut client, right.clone()).await;
    let done = call(&mut client, "asker_write", with(fresh, &right)).await;
    assert_eq!(said(&done), "written");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_has_enough_comes_to_an_end() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let mut more = json!({});
    let mut rounds = 0;
    let last = loop {
        let response = call(&mut client, "asker_forever", more).await;
        if !is_asked(&response) {
            break response.json();
        }
        rounds += 1;
        let state = response.json()["result"]["requestState"].clone();
        more = json!({"inputResponses": {"again": accept(&json!({"more": "x"}))}, "requestState": state});
    };
    assert_eq!(rounds, 8);
    assert_eq!(crate::bed::fault_code(&last["result"]), "NOT_ANSWERED");
    let wrong = call(&mut client, "asker_nothing", json!({})).await;
    assert_eq!(wrong.code(), (200, -32603), "a question without questions");
}

/// Calls a tool in a session and answers what is asked on the way.
async fn converse(
    bed: &mut Bed,
    client: &mut Client,
    params: (&str, Value),
    mut answer: impl FnMut(&Value) -> Value,
) -> (Vec<String>, Value) {
    let body = json!({"jsonrpc": "2.0", "id": "a", "method": params.0, "params": params.1});
    client.send("POST", "/mcp", &[], &body.to_string()).await;
    let response = client.receive().await;
    if response.header("content-type") == "application/json" {
        return (Vec::new(), response.json());
    }
    let mut sibling = bed.sibling(client);
    let mut asked = Vec::new();
    while let Some(message) = client.event().await {
        let Some(method) = message["method"].as_str() else {
            assert!(
                client.event().await.is_none(),
                "the answer is the last word"
            );
            return (asked, message);
        };
        asked.push(method.to_owned());
        let mut reply = answer(&message);
        reply["jsonrpc"] = json!("2.0");
        reply["id"] = message["id"].clone();
        assert_eq!(sibling.post(&[], &reply.to_string()).await.status, 202);
    }
    panic!("the stream ended without an answer");
}

#[tokio::test(start_paused = true)]
async fn an_older_client_is_asked_on_the_stream_of_its_call() {
    for (version, forms) in [
        ("2024-11-05", false),
        ("2025-03-26", false),
        ("2025-06-18", true),
        ("2025-11-25", true),
    ] {
        let (mut bed, service) = bed();
        let mut client = bed.client();
        client.initialize_with(version, able()).await;
        let write = (
            "tools/call",
            json!({"name": "asker_write", "arguments": {}}),
        );
        let (asked, answer) = converse(&mut bed, &mut client, write, |message| {
            let has_mode = message["params"].get("mode").is_some();
            assert_eq!(has_mode, version == "2025-11-25", "{message}");
            json!({"result": accept(&json!({"ok": true}))})
        })
        .await;
        let written = service.written.load(Ordering::SeqCst);
        if forms {
            assert_eq!(asked, ["elicitation/create"], "{version}");
            assert_eq!(answer["result"]["content"][0]["text"], "written");
            assert_eq!(written, 1);
        } else {
            assert!(asked.is_empty(), "{version}");
            assert_eq!(answer["result"]["isError"], true);
            assert_eq!(written, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rounds_prompts_and_all_kinds_of_questions_work_with_older_clients() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    client.initialize_with("2025-11-25", able()).await;
    let twice = (
        "tools/call",
        json!({"name": "asker_twice", "arguments": {}}),
    );
    let (asked, answer) = converse(&mut bed, &mut client, twice, |message| {
        let schema = &message["params"]["requestedSchema"]["required"][0];
        let field = schema.as_str().unwrap();
        json!({"result": accept(&json!({field: format!("my {field}")}))})
    })
    .await;
    assert_eq!(asked.len(), 2);
    assert_eq!(
        answer["result"]["content"][0]["text"],
        "my first, then my second"
    );
    let prompt = ("prompts/get", json!({"name": "asker_prompt"}));
    let (asked, answer) = converse(
        &mut bed,
        &mut client,
        prompt,
        |_| json!({"result": accept(&json!({"context": "a rehearsal"}))}),
    )
    .await;
    assert_eq!(asked, ["elicitation/create"]);
    assert_eq!(
        answer["result"]["messages"][0]["content"]["text"],
        "a rehearsal"
    );
    let all = ("tools/call", json!({"name": "asker_all", "arguments": {}}));
    let (asked, answer) = converse(&mut bed, &mut client, all, |message| {
        json!({"result": match message["method"].as_str().unwrap() {
            "elicitation/create" => accept(&json!({"name": "Ada"})),
            "roots/list" => json!({"roots": [{"uri": "file:///x"}]}),
            _ => json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Hi"}}),
        }})
    })
    .await;
    assert_eq!(
        asked,
        ["elicitation/create", "sampling/createMessage", "roots/list"]
    );
    assert_eq!(
        answer["result"]["content"][0]["text"],
        r#""Hi" "file:///x""#
    );
}

#[tokio::test(start_paused = true)]
async fn an_older_client_that_answers_nothing_useful_is_told_so_in_the_end() {
    let (mut bed, service) = bed();
    let mut client = bed.client();
    client.initialize_with("2025-06-18", able()).await;
    let name = || {
        (
            "tools/call",
            json!({"name": "asker_write", "arguments": {}}),
        )
    };
    let (asked, answer) = converse(
        &mut bed,
        &mut client,
        name(),
        |_| json!({"result": {"odd": 1}}),
    )
    .await;
    assert_eq!(asked.len(), 8, "rounds are bounded");
    assert_eq!(crate::bed::fault_code(&answer["result"]), "NOT_ANSWERED");
    let (asked, answer) = converse(
        &mut bed,
        &mut client,
        name(),
        |_| json!({"error": {"code": -32603, "message": "nobody here"}}),
    )
    .await;
    assert_eq!(asked.len(), 1);
    assert!(answer.to_string().contains("nobody here"), "{answer}");
    let (asked, answer) = converse(
        &mut bed,
        &mut client,
        name(),
        |_| json!({"result": {"action": "cancel"}}),
    )
    .await;
    assert_eq!(
        (asked.len(), &answer["result"]["isError"]),
        (1, &json!(true))
    );
    assert_eq!(service.written.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_answers_drag_on_is_asked_no_more() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    client.initialize_with("2025-11-25", able()).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "asker_forever", "arguments": {}}});
    client.send("POST", "/mcp", &[], &body.to_string()).await;
    client.receive_head().await;
    let mut questions = 0;
    let answer = loop {
        let message = client.event().await.unwrap();
        if message.get("method").is_none() {
            break message;
        }
        questions += 1;
        tokio::time::sleep(Duration::from_secs(239)).await;
        let reply =
            json!({"jsonrpc": "2.0", "id": message["id"], "result": accept(&json!({"more": "x"}))});
        let mut sibling = bed.sibling(&client);
        assert_eq!(sibling.post(&[], &reply.to_string()).await.status, 202);
    };
    assert_eq!(questions, 4, "and not as many as there are rounds");
    assert_eq!(crate::bed::fault_code(&answer["result"]), "NOT_ANSWERED");
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_modern_way_is_taken_from_an_older_client() {
    let (mut bed, service) = bed();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let params = json!({"name": "asker_write", "arguments": {},
        "inputResponses": {"confirm": accept(&json!({"ok": true}))}, "requestState": "x"});
    let answer = client.legacy("tools/call", params).await.json();
    assert_eq!(crate::bed::fault_code(&answer["result"]), "NOT_ANSWERED");
    assert_eq!(service.written.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn arguments_that_are_repeated_in_headers_have_to_be_the_same_there() {
    let (mut bed, _) = bed();
    let arguments = json!({"zone": "foyer", "floor": 2});
    for (headers, arguments, code) in [
        (
            &[("mcp-param-zone", "foyer"), ("mcp-param-floor", "2")][..],
            &arguments,
            0,
        ),
        (
            &[
                ("Mcp-Param-Zone", " =?base64?Zm95ZXI=?= "),
                ("MCP-PARAM-FLOOR", "2"),
            ],
            &arguments,
            0,
        ),
        (
            &[("mcp-param-zone", "bar"), ("mcp-param-floor", "2")],
            &arguments,
            -32020,
        ),
        (
            &[
                ("mcp-param-zone", "=?base64?Zm95ZXI?="),
                ("mcp-param-floor", "2"),
            ],
            &arguments,
            -32020,
        ),
        (&[("mcp-param-zone", "foyer")], &arguments, -32020),
        (
            &[
                ("mcp-param-zone", "foyer"),
                ("mcp-param-zone", "foyer"),
                ("mcp-param-floor", "2"),
            ],
            &arguments,
            -32020,
        ),
        (&[("mcp-param-zone", "foyer")], &json!({}), -32020),
        (&[("mcp-param-other", "x")], &json!({}), 0),
        (&[], &json!({}), 0),
        (&[], &json!({"zone": null}), 0),
    ] {
        let params = json!({"name": "asker_headed", "arguments": arguments});
        let (head, body) = modern("tools/call", params);
        let mut all = refs(&head);
        all.extend_from_slice(headers);
        let response = bed.client().post(&all, &body.to_string()).await;
        let status = if code == 0 { 200 } else { 400 };
        assert_eq!(response.code(), (status, code), "{headers:?} {arguments}");
    }
}
