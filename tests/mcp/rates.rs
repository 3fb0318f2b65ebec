//! How often somebody may ask: what is counted, for whom, and what a refusal says. Attacks on the counting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rackhand::audit::Query;
use rackhand::base::rate::Rate;
use rackhand::guard::{RateRules, Role};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, Response, meta};
use crate::websocket::Socket;

fn bed() -> Bed {
    Bed::with_rates(RateRules::default())
}

/// Rules under which every key has this rate.
fn every(rate: Rate) -> RateRules {
    RateRules {
        roles: [rate; 5],
        ..RateRules::default()
    }
}

async fn ping(client: &mut Client) -> Response {
    client.modern("server/discover", json!({})).await
}

/// How many requests are taken until one is not.
async fn taken(client: &mut Client) -> usize {
    for count in 0.. {
        match ping(client).await.status {
            200 => {}
            429 => return count,
            other => panic!("{other}"),
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn each_role_has_its_burst_over_all_its_connections() {
    let mut bed = bed();
    for role in Role::ALL {
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(bed.client_as(role.as_str()));
        }
        let mut through = 0;
        for at in 0..300 {
            let answer = ping(&mut clients[at % 5]).await;
            through += u32::from(answer.status == 200);
        }
        assert_eq!(through, role.rate().burst, "{role:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_wait_in_every_way_that_clients_read() {
    let mut bed = bed();
    let mut client = bed.client_as("guest");
    let answer = ping(&mut client).await;
    assert_eq!(answer.header("ratelimit-policy"), r#""key";q=10;w=60"#);
    assert_eq!(answer.header("ratelimit"), r#""key";r=9;t=6"#);
    assert_eq!(answer.header("retry-after"), "");
    assert_eq!(taken(&mut client).await, 9);
    for (version, code) in [("", -32005), ("2025-11-25", -32005), ("2026-07-28", 429)] {
        let extra = [("mcp-protocol-version", version)];
        // The body is not looked at.
        let refused = client.post(&extra, "{").await;
        assert_eq!(refused.code(), (429, code));
        for (name, value) in [
            ("retry-after", "6"),
            ("ratelimit-policy", r#""key";q=10;w=60"#),
            ("ratelimit", r#""key";r=0;t=6"#),
            ("ratelimit-limit", "10"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "6"),
        ] {
            assert_eq!(refused.header(name), value, "{name}");
        }
        let error = refused.json()["error"].clone();
        assert_eq!(error["data"]["retryAfterMs"], 6_000);
        let told = error["message"].as_str().unwrap();
        assert!(told.contains("10 times a minute"), "{told}");
        assert!(told.contains("Wait 6 s"), "{told}");
        assert!(refused.json().get("id").is_none());
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(ping(&mut client).await.status, 200);
    assert_eq!(ping(&mut client).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn a_greedy_key_slows_no_other() {
    let mut bed = bed();
    let mut greedy = bed.client_as("operator");
    for _ in 0..500 {
        ping(&mut greedy).await;
    }
    let mut other = bed.client_as("viewer");
    assert_eq!(taken(&mut other).await, 60);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_changes_something_weighs_more_than_one_that_looks() {
    let mut bed = Bed::with_rates(every(Rate::new(1, 12)));
    let mut client = bed.client_as("admin");
    let call = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    for _ in 0..3 {
        let done = client.modern("tools/call", call("fixture_admin", json!({})));
        assert_eq!(done.await.status, 200);
    }
    let look = call("fixture_echo", json!({"text": "a"}));
    assert_eq!(client.modern("tools/call", look.clone()).await.status, 200);
    // Two are left: enough for the request, and not for the tool.
    let refused = client.modern("tools/call", call("fixture_admin", json!({})));
    let refused = refused.await;
    assert_eq!(refused.code(), (429, 429));
    assert_eq!(refused.json()["id"], 7);
    let wait = refused.json()["error"]["data"]["retryAfterMs"]
        .as_u64()
        .unwrap();
    assert!((50_000..=60_000).contains(&wait), "{wait}");
    assert_eq!(
        refused.header("retry-after"),
        wait.div_ceil(1_000).to_string()
    );
    assert_eq!(client.modern("tools/call", look).await.status, 200);
    tokio::time::sleep(Duration::from_mins(20)).await;
    let mut older = bed.client_as("admin");
    older.initialize("2025-06-18").await;
    for status in [200, 200, 200, 429] {
        let done = older.legacy("tools/call", call("fixture_admin", json!({})));
        let done = done.await;
        assert_eq!(done.status, status);
        if status == 429 {
            assert_eq!(done.code(), (429, -32005));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_of_an_array_counts() {
    let mut bed = Bed::with_rates(every(Rate::new(60, 20)));
    let mut client = bed.client();
    client.initialize("2025-03-26").await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let batch = Value::from(vec![ping; 10]).to_string();
    assert_eq!(client.post(&[], &batch).await.status, 200);
    let refused = client.post(&[], &batch).await;
    assert_eq!(refused.code(), (429, -32005));
    // One for the body that was read is gone, and nine are missing of nine.
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_websocket_pays_for_each_message_and_answers_with_the_id() {
    let mut bed = Bed::with_rates(every(Rate::new(60, 5)));
    let mut socket = Socket::open_as(&mut bed, "operator", None).await;
    let request = |id: i64, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"_meta": meta()}});
    for id in 1..=4 {
        let done = socket.ask(&request(id, "server/discover")).await;
        assert!(done["result"].is_object());
    }
    let refused = socket.ask(&request(5, "server/discover")).await;
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(5), &json!(429))
    );
    assert_eq!(refused["error"]["data"]["retryAfterMs"], 1_000);
    let older = json!({"jsonrpc": "2.0", "id": "x", "method": "ping"});
    let refused = socket.ask(&older).await;
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!("x"), &json!(-32005))
    );
    // Another connection of the key finds the same empty bucket.
    assert_eq!(ping(&mut bed.client()).await.status, 429);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let done = socket.ask(&request(6, "server/discover")).await;
    assert!(done["result"].is_object());
}

#[tokio::test(start_paused = true)]
async fn posts_of_the_first_transport_count_as_other_requests_do() {
    let mut bed = Bed::with_rates(every(Rate::new(60, 3)));
    let mut stream = bed.client();
    stream
        .send("GET", "/sse", &[("accept", "text/event-stream")], "")
        .await;
    assert_eq!(stream.receive().await.status, 200);
    let opened = stream.chunk().await.unwrap();
    let path = opened.lines().find_map(|line| line.strip_prefix("data: "));
    let path = path.unwrap().to_owned();
    let mut client = bed.client();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for status in [202, 202, 429] {
        assert_eq!(
            client.request("POST", &path, &[], ping).await.status,
            status
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_spends_from_the_bucket_of_its_key() {
    let mut bed = bed();
    let minted = bed.client().request("POST", "/auth/token", &[], "").await;
    let token = minted.json()["access_token"].as_str().unwrap().to_owned();
    let mut client = bed.client();
    client.key = Some(token);
    assert_eq!(taken(&mut client).await, 59);
    assert_eq!(ping(&mut bed.client()).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_key_is_counted_by_address_and_a_right_key_is_not_held_up_by_it() {
    let mut bed = bed();
    let mut stranger = bed.client_as("nobody");
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(ping(&mut stranger).await.status);
    }
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 60);
    let refused = stranger.request("GET", "/readyz", &[], "").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("ratelimit"), r#""address";r=0;t=1"#);
    assert_eq!(stranger.request("GET", "/livez", &[], "").await.status, 200);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10));
    let mut other = bed.client_at("nobody", elsewhere);
    assert_eq!(other.request("GET", "/healthz", &[], "").await.status, 200);
    // From the very address of the flood.
    assert_eq!(taken(&mut bed.client()).await, 60);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_and_addresses_holds_no_right_key_up() {
    let mut bed = bed();
    for number in 0..6_000_u128 {
        let address = IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) | (number << 64)));
        let mut client = bed.client_at("nobody", address);
        client.key = Some(format!("rh_wrong_{number:040}"));
        assert_eq!(ping(&mut client).await.status, 401, "{number}");
    }
    let inside = IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) | (5 << 64) | 1));
    assert_eq!(taken(&mut bed.client_at("operator", inside)).await, 60);
}

#[tokio::test(start_paused = true)]
async fn failed_logins_rest_longer_and_longer_and_the_right_key_comes_in_all_the_while() {
    let mut bed = bed();
    let mut waits = Vec::new();
    while waits.len() < 8 {
        let mut wrong = bed.client_as("nobody");
        wrong.key = Some("a wrong key of some length".to_owned());
        let answer = ping(&mut wrong).await;
        if answer.status == 429 {
            let wait: u64 = answer.header("retry-after").parse().unwrap();
            waits.push(wait);
            assert_eq!(ping(&mut bed.client_as("admin")).await.status, 200);
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn the_bucket_of_all_bounds_all_keys_together() {
    let mut bed = Bed::with_rates(RateRules {
        all: Some(Rate::new(60, 80)),
        ..RateRules::default()
    });
    assert_eq!(taken(&mut bed.client_as("operator")).await, 60);
    let mut viewer = bed.client_as("viewer");
    assert_eq!(taken(&mut viewer).await, 20);
    let refused = ping(&mut viewer).await;
    assert_eq!(refused.header("ratelimit"), r#""all";r=0;t=1"#);
}

/// What the record has of requests that came too often: the tool, if one was too much.
fn too_often(bed: &Bed) -> Vec<Option<String>> {
    let query = Query {
        outcome: Some("TOO_OFTEN"),
        caller: Some("operator"),
        limit: 100,
        ..Query::default()
    };
    let found = bed.server.audit().recent(&query).entries;
    let tools = found.iter().map(|(_, entry)| entry.tool.as_deref());
    tools.map(|tool| tool.map(str::to_owned)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_weighs_too_much_is_on_record_wherever_it_was_asked() {
    let mut bed = Bed::with_rates(every(Rate::new(60, 4)));
    let set = json!({"name": "fixture_set", "arguments": {"text": "x"}});
    let mut client = bed.client();
    assert_eq!(
        client.modern("tools/call", set.clone()).await.status,
        200,
        "three of four units"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Two are left: enough for the request, and not for the tool.
    assert_eq!(client.modern("tools/call", set.clone()).await.status, 429);
    assert_eq!(too_often(&bed), [Some("fixture_set".to_owned())]);

    tokio::time::sleep(Duration::from_secs(10)).await;
    client.initialize("2025-03-26").await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let set = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": set});
    let batch = Value::from(vec![ping.clone(); 4]).to_string();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        client.post(&[], &batch).await.status,
        200,
        "four is a full bucket"
    );
    assert_eq!(client.post(&[], &batch).await.status, 429);
    tokio::time::sleep(Duration::from_secs(10)).await;
    // The array is paid for, and its last message is too much.
    let batch = json!([ping, ping, ping, set]).to_string();
    let answer = client.post(&[], &batch).await;
    assert!(answer.body.contains("-32005"), "{answer:?}");
    let two = [Some("fixture_set".to_owned()), None];
    assert_eq!(too_often(&bed)[..2], two);

    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut socket = Socket::open_as(&mut bed, "operator", None).await;
    for id in 0..4 {
        let asked = json!({"jsonrpc": "2.0", "id": id, "method": "server/discover", "params": {"_meta": meta()}});
        socket.ask(&asked).await;
    }
    assert_eq!(too_often(&bed).len(), 4);
    assert_eq!(too_often(&bed)[0], None);
}

#[tokio::test(start_paused = true)]
async fn who_names_a_foreign_host_or_origin_is_counted_by_address() {
    let mut bed = bed();
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let address = IpAddr::V4(Ipv4Addr::new(10, 7, 0, u8::try_from(name.len()).unwrap()));
        let mut statuses = Vec::new();
        for _ in 0..61 {
            let mut stranger = bed.client_at("nobody", address);
            let head = match name {
                "host" => format!("GET /mcp HTTP/1.1\r\nhost: {value}\r\n\r\n"),
                _ => format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\n{name}: {value}\r\n\r\n"),
            };
            stranger.send_raw(&head).await;
            statuses.push(stranger.receive().await.status);
        }
        assert!(
            statuses[..60].iter().all(|status| *status == 403),
            "{statuses:?}"
        );
        assert_eq!(statuses[60], 429, "{name}");
        let mut desk = bed.client_at("operator", address);
        assert_eq!(ping(&mut desk).await.status, 200);
    }
}
