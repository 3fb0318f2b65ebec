//! Tasks: calls that nobody waits for, looked at, answered and taken back by whoever made them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bed::{Bed, Client, Response, modern, refs};
use crate::jobs::Jobs;

const CAN: &str = "io.modelcontextprotocol/clientCapabilities";
const TASKS: &str = "io.modelcontextprotocol/tasks";

fn bed() -> (Bed, Arc<Jobs>) {
    let jobs = Arc::new(Jobs::new());
    (Bed::serving_also(Arc::<Jobs>::clone(&jobs)), jobs)
}

async fn request(client: &mut Client, method: &str, mut params: Value) -> Response {
    params["_meta"] = json!({CAN: {"elicitation": {}, "extensions": {TASKS: {}}}});
    client.modern(method, params).await
}

async fn call(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    request(client, "tools/call", params).await.json()["result"].take()
}

/// Makes a task and gives its name.
async fn begin(client: &mut Client, tool: &str, arguments: Value) -> String {
    let made = call(client, tool, arguments).await;
    assert_eq!(
        (&made["resultType"], &made["status"]),
        (&json!("task"), &json!("working")),
        "{made}"
    );
    made["taskId"].as_str().unwrap().to_owned()
}

async fn look(client: &mut Client, id: &str) -> Value {
    let response = request(client, "tasks/get", json!({"taskId": id})).await;
    response.json()["result"].take()
}

/// Looks until the task stands so.
async fn stands(client: &mut Client, id: &str, status: &str) -> Value {
    for _ in 0..1_000 {
        let task = look(client, id).await;
        if task["status"] == status {
            return task;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{id} never became {status}: {}", look(client, id).await);
}

async fn update(client: &mut Client, id: &str, answers: Value) -> Response {
    let params = json!({"taskId": id, "inputResponses": answers});
    request(client, "tasks/update", params).await
}

fn accept(ok: bool) -> Value {
    json!({"action": "accept", "content": {"ok": ok}})
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_goes_on_as_a_task_with_its_result_inside() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let made = call(&mut client, "job_sleep", json!({"seconds": 20})).await;
    assert_eq!(made["resultType"], "task");
    for field in ["result", "error", "inputRequests", "requestState", "task"] {
        assert!(made.get(field).is_none(), "{field}");
    }
    let id = made["taskId"].as_str().unwrap();
    let task = look(&mut client, id).await;
    assert_eq!(task["status"], "working");
    assert_eq!(task["statusMessage"], "asleep");
    let task = stands(&mut client, id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "slept");
    assert_eq!(task["result"]["isError"], false);
    assert!(task["result"].get("_meta").is_none());
    tokio::time::sleep(Duration::from_secs(1_700)).await;
    let mut client = bed.client();
    assert_eq!(
        look(&mut client, id).await["status"],
        "completed",
        "kept as long as was told"
    );
    tokio::time::sleep(Duration::from_secs(101)).await;
    let mut client = bed.client();
    let over = request(&mut client, "tasks/get", json!({"taskId": id})).await;
    assert_eq!(over.code(), (200, -32602));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_tool_completes_and_a_fault_of_the_program_fails() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let id = begin(&mut client, "job_fail", json!({})).await;
    let task = stands(&mut client, &id, "completed").await;
    assert_eq!(task["result"]["isError"], true);
    assert_eq!(crate::bed::fault_code(&task["result"]), "NOT_FOUND");
    for (tool, code) in [
        ("job_endless", -32603),
        ("job_large", -32603),
        ("job_model", -32021),
    ] {
        let id = begin(&mut client, tool, json!({})).await;
        let task = stands(&mut client, &id, "failed").await;
        assert_eq!(task["error"]["code"], code, "{tool}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_extension_there_are_no_tasks() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let waited = client
        .modern(
            "tools/call",
            json!({"name": "job_sleep", "arguments": {"seconds": 2}}),
        )
        .await
        .json();
    assert_eq!(waited["result"]["content"][0]["text"], "slept");
    for (method, params) in [
        ("tools/call", json!({"name": "job_required"})),
        ("tasks/get", json!({"taskId": "x"})),
        ("tasks/update", json!({"taskId": "x", "inputResponses": {}})),
        ("tasks/cancel", json!({"taskId": "x"})),
    ] {
        let response = client.modern(method, params).await;
        assert_eq!(response.code(), (400, -32021), "{method}");
        let required = &response.json()["error"]["data"]["requiredCapabilities"];
        assert_eq!(required, &json!({"extensions": {TASKS: {}}}));
    }
    for odd in [json!(true), json!(null), json!([])] {
        let params = json!({"name": "job_required", "_meta": {CAN: {"extensions": {TASKS: odd}}}});
        assert_eq!(
            client.modern("tools/call", params).await.code(),
            (400, -32021)
        );
    }
    let discovered = client.modern("server/discover", json!({})).await.json();
    assert_eq!(
        discovered["result"]["capabilities"]["extensions"],
        json!({TASKS: {}})
    );
}

#[tokio::test(start_paused = true)]
async fn older_clients_are_offered_none() {
    for version in ["2025-11-25", "2025-06-18"] {
        let (mut bed, _) = bed();
        let mut client = bed.client();
        let able = json!({"extensions": {TASKS: {}}, "tasks": {}});
        let opened = client.initialize_with(version, able).await.json();
        assert!(!opened.to_string().contains("tasks"), "{opened}");
        for method in ["tasks/get", "tasks/list", "tasks/result", "tasks/cancel"] {
            let response = client.legacy(method, json!({"taskId": "x"})).await;
            assert_eq!(response.code(), (200, -32601), "{method}");
        }
        let answer = client
            .legacy("tools/call", json!({"name": "job_required"}))
            .await;
        assert_eq!(answer.json()["result"]["isError"], true);
        let answer = client
            .legacy("tools/call", json!({"name": "job_sleep"}))
            .await;
        assert_eq!(answer.json()["result"]["content"][0]["text"], "slept");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_asks_waits_for_answers_and_takes_them_in_parts() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let id = begin(&mut client, "job_both", json!({})).await;
    let task = stands(&mut client, &id, "input_required").await;
    let names: Vec<_> = task["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(names.len(), 2);
    client.tape.lock().unwrap().asks_wrongly = true;
    let noise = json!({"unknown": {"ignored": true}, &names[0]: 7, &names[1]: null});
    let told = update(&mut client, &id, noise).await.json();
    assert_eq!(told["result"]["resultType"], "complete");
    assert!(told["result"].get("taskId").is_none());
    assert_eq!(
        look(&mut client, &id).await["inputRequests"]
            .as_object()
            .unwrap()
            .len(),
        2
    );
    update(&mut client, &id, json!({&names[0]: accept(true)})).await;
    let task = look(&mut client, &id).await;
    assert_eq!(task["status"], "input_required");
    assert!(task["inputRequests"].get(&names[0]).is_none());
    // The first answer stands.
    update(
        &mut client,
        &id,
        json!({&names[0]: accept(false), &names[1]: accept(false)}),
    )
    .await;
    let task = stands(&mut client, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "true and false");
    let late = update(&mut client, &id, json!({&names[0]: accept(false)})).await;
    assert_eq!(late.code(), (200, 0), "answers to nothing are ignored");
    for odd in [json!(null), json!([]), json!(7)] {
        assert_eq!(update(&mut client, &id, odd).await.code(), (200, -32602));
    }
}

#[tokio::test(start_paused = true)]
async fn every_question_of_a_task_has_a_new_name_and_questions_come_to_an_end() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let id = begin(&mut client, "job_insatiable", json!({})).await;
    let mut seen = Vec::new();
    let last = loop {
        let task = look(&mut client, &id).await;
        match task["status"].as_str().unwrap() {
            "completed" => break task,
            "input_required" => {
                let name = task["inputRequests"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .next()
                    .unwrap()
                    .clone();
                assert!(!seen.contains(&name));
                update(&mut client, &id, json!({&name: accept(true)})).await;
                seen.push(name);
            }
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(seen.len(), 8);
    assert_eq!(crate::bed::fault_code(&last["result"]), "NOT_ANSWERED");
    let id = begin(&mut client, "job_confirm", json!({})).await;
    stands(&mut client, &id, "input_required").await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    let mut client = bed.client();
    let task = stands(&mut client, &id, "completed").await;
    assert_eq!(crate::bed::fault_code(&task["result"]), "NOT_ANSWERED");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_taken_back_is_cancelled_wherever_it_stands() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    for (tool, status) in [("job_sleep", "working"), ("job_confirm", "input_required")] {
        let id = begin(&mut client, tool, json!({"seconds": 60})).await;
        stands(&mut client, &id, status).await;
        let told = request(&mut client, "tasks/cancel", json!({"taskId": id}))
            .await
            .json();
        assert_eq!(told["result"]["resultType"], "complete");
        assert!(told["result"].get("status").is_none());
        stands(&mut client, &id, "cancelled").await;
        let again = request(&mut client, "tasks/cancel", json!({"taskId": id})).await;
        assert_eq!(again.code(), (200, 0));
        assert_eq!(look(&mut client, &id).await["status"], "cancelled");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_taken_back_says_what_it_did_all_the_same() {
    let (mut bed, jobs) = bed();
    let mut client = bed.client();
    let id = begin(&mut client, "job_write", json!({})).await;
    jobs.begun.notified().await;
    request(&mut client, "tasks/cancel", json!({"taskId": id})).await;
    let task = stands(&mut client, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "written");
    assert_eq!(jobs.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_a_call_became_a_task_counts_in_it() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let asked = call(&mut client, "job_after_name", json!({})).await;
    assert_eq!(asked["resultType"], "input_required");
    assert!(asked.get("taskId").is_none());
    let params = json!({"name": "job_after_name", "arguments": {}, "requestState": asked["requestState"],
        "inputResponses": {"name": {"action": "accept", "content": {"ok": "Ada"}}}});
    let made = request(&mut client, "tools/call", params).await.json();
    assert_eq!(made["result"]["resultType"], "task");
    assert!(made["result"].get("requestState").is_none());
    let id = made["result"]["taskId"].as_str().unwrap();
    let task = stands(&mut client, id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "Hello, \"Ada\"!");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_nobody_elses() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let id = begin(&mut client, "job_confirm", json!({})).await;
    let task = stands(&mut client, &id, "input_required").await;
    let name = task["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let mut other = bed.client_as("engineer");
    for (method, mut params) in [
        ("tasks/get", json!({})),
        ("tasks/cancel", json!({})),
        (
            "tasks/update",
            json!({"inputResponses": {&name: accept(true)}}),
        ),
    ] {
        params["taskId"] = json!(id);
        let theirs = request(&mut other, method, params.clone()).await;
        params["taskId"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
        let nobodys = request(&mut other, method, params.clone()).await;
        assert_eq!(theirs.code(), (200, -32602), "{method}");
        assert_eq!(
            theirs.json()["error"],
            nobodys.json()["error"],
            "told apart by nothing"
        );
        for odd in [json!("no task"), json!(7), json!(null)] {
            params["taskId"] = odd;
            let response = request(&mut other, method, params.clone()).await;
            assert_eq!(response.code(), (200, -32602), "{method}");
        }
    }
    assert_eq!(look(&mut client, &id).await["status"], "input_required");
}

#[tokio::test(start_paused = true)]
async fn one_caller_has_so_many_tasks_and_no_more() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    for _ in 0..64 {
        begin(&mut client, "job_confirm", json!({})).await;
    }
    let refused = call(&mut client, "job_confirm", json!({})).await;
    assert_eq!(crate::bed::fault_code(&refused), "BUSY");
    let mut other = bed.client_as("engineer");
    begin(&mut other, "job_confirm", json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn the_header_names_the_task() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let id = begin(&mut client, "job_sleep", json!({"seconds": 9})).await;
    let params = json!({"taskId": id, "_meta": {CAN: {"extensions": {TASKS: {}}}}});
    let (headers, body) = modern("tasks/get", params);
    for name in ["", "wrong"] {
        let mut extra = refs(&headers);
        extra.retain(|(header, _)| *header != "Mcp-Name");
        extra.push(("mcp-name", name));
        let response = client.post(&extra, &body.to_string()).await;
        assert_eq!(response.code(), (400, -32020), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_listens_hears_how_a_task_stands_from_its_present_state_on() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    let id = begin(&mut client, "job_confirm", json!({})).await;
    stands(&mut client, &id, "input_required").await;
    let mut listener = bed.client();
    let params = json!({"notifications": {"taskIds": [id, "AAAAAAAAAAAAAAAAAAAAAA"]},
        "_meta": {CAN: {"extensions": {TASKS: {}}}}});
    let (headers, body) = modern("subscriptions/listen", params);
    listener
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    assert_eq!(listener.receive_head().await.status, 200);
    let opened = listener.event().await.unwrap();
    assert_eq!(opened["params"]["notifications"], json!({"taskIds": [id]}));
    let now = listener.event().await.unwrap();
    assert_eq!(now["method"], "notifications/tasks");
    assert_eq!(now["params"]["status"], "input_required");
    let name = now["params"]["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    update(&mut client, &id, json!({&name: accept(true)})).await;
    let last = loop {
        let next = listener.event().await.unwrap();
        assert_eq!(next["params"]["taskId"], id);
        assert_eq!(
            next["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            7
        );
        if next["params"]["status"] == "completed" {
            break next;
        }
    };
    assert_eq!(
        last["params"]["result"]["content"][0]["text"],
        "confirmed: true"
    );
    // Somebody else hears nothing of it, and who does not know tasks neither.
    for (role, able) in [
        ("engineer", json!({"extensions": {TASKS: {}}})),
        ("operator", json!({})),
    ] {
        let mut other = bed.client_as(role);
        let params = json!({"notifications": {"taskIds": [id]}, "_meta": {CAN: able}});
        let (headers, body) = modern("subscriptions/listen", params);
        other
            .send("POST", "/mcp", &refs(&headers), &body.to_string())
            .await;
        assert_eq!(other.receive_head().await.status, 200);
        let opened = other.event().await.unwrap();
        assert_eq!(opened["params"]["notifications"], json!({}), "{role}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_end_when_the_server_stops_and_writes_end_first() {
    let (mut bed, jobs) = bed();
    let mut client = bed.client();
    let asleep = begin(&mut client, "job_sleep", json!({"seconds": 1000})).await;
    let asking = begin(&mut client, "job_confirm", json!({})).await;
    let writing = begin(&mut client, "job_write", json!({})).await;
    jobs.begun.notified().await;
    stands(&mut client, &asking, "input_required").await;
    bed.server.close_streams();
    let server = Arc::clone(&bed.server);
    let mut finishing = JoinSet::new();
    finishing.spawn(async move { server.finish_writes().await });
    for id in [&asleep, &asking] {
        let task = stands(&mut client, id, "failed").await;
        assert_eq!(task["error"]["message"], "The server stops.");
    }
    assert!(finishing.try_join_next().is_none(), "a write is not cut");
    jobs.release.notify_one();
    finishing.join_next().await.unwrap().unwrap();
    assert_eq!(look(&mut client, &writing).await["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_seen_by_the_supervisor() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    begin(&mut client, "job_panic", json!({})).await;
    assert!(bed.ends_by_panic().await);
}
