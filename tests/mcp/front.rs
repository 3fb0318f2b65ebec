//! The HTTP surface: guard, hosts and origins, negotiation, bounds, probes, draining.

use std::time::Duration;

use rackhand::http::Limits;
use rackhand::limits::REQUESTS_PER_CALLER_MAX;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::bed::{Bed, lines, modern, refs};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test(start_paused = true)]
async fn every_route_but_liveness_needs_a_key_and_says_how_to_get_one() {
    let mut bed = Bed::new();
    for (verb, path, status) in [
        ("POST", "/mcp", 401),
        ("GET", "/mcp", 401),
        ("DELETE", "/mcp", 401),
        ("PUT", "/mcp", 401),
        ("GET", "/", 401),
        ("GET", "/health?detail", 401),
        ("GET", "/livez", 200),
        ("GET", "/readyz", 503),
        ("GET", "/healthz", 200),
        ("GET", "/health", 200),
        ("GET", "/nothing", 404),
        ("POST", "/register", 404),
        ("GET", "/.well-known/oauth-protected-resource/mcp", 404),
        ("GET", "/.well-known/openid-configuration", 404),
    ] {
        let response = bed.client_as("nobody").request(verb, path, &[], "").await;
        assert_eq!(response.status, status, "{verb} {path}");
        if status == 401 {
            assert_eq!(
                response.header("www-authenticate"),
                r#"Bearer realm="rackhand", error="invalid_token""#
            );
            assert!(
                response.body.contains("Authorization: Bearer KEY"),
                "{}",
                response.body
            );
        }
    }
    let register = bed
        .client_as("nobody")
        .request("POST", "/register", &[], "")
        .await;
    assert!(register.body.contains("does not use OAuth") && !register.body.contains('<'));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_speaks_the_codes_of_the_peers_revision() {
    let mut bed = Bed::new();
    for (version, code) in [("", -32001), ("2025-11-25", -32001), ("2026-07-28", 401)] {
        let response = bed
            .client_as("nobody")
            .post(&[("mcp-protocol-version", version)], PING)
            .await;
        assert_eq!(response.code(), (401, code), "{version}");
        crate::schemas::check_answer(code == 401, "", &response.json());
    }
    for _ in 0..5 {
        bed.client_as("nobody")
            .post(&[("x-api-key", "a wrong key")], PING)
            .await;
    }
    for (version, code) in [("", -32005), ("2026-07-28", 429)] {
        let extra = [
            ("x-api-key", "a wrong key"),
            ("mcp-protocol-version", version),
        ];
        let response = bed.client_as("nobody").post(&extra, PING).await;
        assert_eq!(response.code(), (429, code), "{version}");
        assert_eq!(response.header("retry-after"), "1");
        assert!(
            response.json()["error"]["data"]["retryAfterMs"]
                .as_u64()
                .unwrap()
                <= 1000
        );
    }
    assert_ne!(
        bed.client().post(&[], PING).await.status,
        429,
        "the right key still comes in"
    );
}

#[tokio::test(start_paused = true)]
async fn each_form_of_the_key_is_taken_and_a_key_in_the_url_is_not() {
    let mut bed = Bed::new();
    let key = bed.key("operator").to_owned();
    for (name, value) in [
        ("authorization", format!("ApiKey {key}")),
        ("x-api-key", key.clone()),
        ("x-mcp-key", key.clone()),
    ] {
        let mut client = bed.client_as("nobody");
        assert_eq!(
            client.post(&[(name, &value)], PING).await.status,
            400,
            "let in, and asked for a session"
        );
    }
    let path = format!("/mcp?key={key}&api_key={key}");
    assert_eq!(
        bed.client_as("nobody")
            .request("POST", &path, &[], PING)
            .await
            .status,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn foreign_hosts_and_origins_are_refused_before_the_key_is_looked_at() {
    let mut bed = Bed::new();
    for (extra, status) in [
        (&[("host", "evil.example")][..], 403),
        (
            &[("host", "evil.example"), ("origin", "http://evil.example")],
            403,
        ),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "http://127.0.0.1:8080")], 400),
        (&[("origin", "https://panel.example")], 400),
        (
            &[("host", "127.0.0.1:8080"), ("host", "127.0.0.1:8080")],
            400,
        ),
    ] {
        let response = bed.client().post(extra, PING).await;
        assert_eq!(response.status, status, "{extra:?}");
        let may_read = response.headers.contains_key("access-control-allow-origin");
        assert_eq!(
            may_read,
            status == 400 && extra[0].0 == "origin",
            "{extra:?}"
        );
    }
    let response = bed
        .client()
        .request("GET", "/livez", &[("host", "evil.example")], "")
        .await;
    assert_eq!(response.status, 403);
    let absolute = bed
        .client()
        .request("GET", "http://evil.example/livez", &[], "")
        .await;
    assert_eq!(absolute.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_preflight_of_an_allowed_origin_needs_no_key() {
    let mut bed = Bed::new();
    let response = bed
        .client_as("nobody")
        .request(
            "OPTIONS",
            "/mcp",
            &[("origin", "https://panel.example")],
            "",
        )
        .await;
    assert_eq!(response.status, 204);
    assert_eq!(
        response.header("access-control-allow-origin"),
        "https://panel.example"
    );
    assert!(
        response
            .header("access-control-allow-headers")
            .contains("mcp-method")
    );
    let foreign = bed
        .client_as("nobody")
        .request("OPTIONS", "/mcp", &[("origin", "https://evil.example")], "")
        .await;
    assert_eq!(
        (
            foreign.status,
            foreign.header("access-control-allow-origin")
        ),
        (403, "")
    );
}

#[tokio::test(start_paused = true)]
async fn verbs_types_and_sizes_are_checked_before_the_body_is_read() {
    let mut bed = Bed::new();
    let too_long = (1 << 20) + 1;
    for (verb, extra, status) in [
        ("PUT", &[][..], 405),
        ("OPTIONS", &[], 405),
        ("POST", &[("content-type", "text/plain")], 415),
        ("POST", &[("content-type", "")], 415),
        ("POST", &[("accept", "text/html")], 406),
        ("POST", &[("accept", "text/event-stream")], 406),
        (
            "POST",
            &[("content-length", too_long.to_string().as_str())],
            413,
        ),
    ] {
        let response = bed.client().request(verb, "/mcp", extra, "").await;
        assert_eq!(response.status, status, "{verb} {extra:?}");
    }
    let response = bed.client().request("PUT", "/mcp", &[], "").await;
    assert_eq!(response.header("allow"), "POST, GET, DELETE");
    for accept in ["*/*", "application/json", "application/*"] {
        let (headers, body) = modern("server/discover", json!({}));
        let mut extra = refs(&headers);
        extra.push(("accept", accept));
        assert_eq!(
            bed.client().post(&extra, &body.to_string()).await.status,
            200,
            "{accept}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_many_pieces_is_put_together_within_its_bound() {
    let mut bed = Bed::new();
    let (headers, body) = modern(
        "tools/call",
        json!({"name": "fixture_echo", "arguments": {"text": "in pieces"}}),
    );
    let body = body.to_string();
    let head = lines(refs(&headers));
    let key = bed.key("operator").to_owned();
    let mut client = bed.client();
    client.send_raw(&format!("POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n{head}transfer-encoding: chunked\r\n\r\n")).await;
    for piece in body.as_bytes().chunks(50) {
        let piece = std::str::from_utf8(piece).unwrap();
        client
            .send_raw(&format!("{:x}\r\n{piece}\r\n", piece.len()))
            .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.send_raw("0\r\n\r\n").await;
    assert!(client.receive().await.body.contains("in pieces"));
    let mut bed = Bed::with(
        Limits {
            body: 100,
            ..Limits::default()
        },
        50,
    );
    let key = bed.key("operator").to_owned();
    let mut client = bed.client();
    client.send_raw(&format!("POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n65\r\n{}\r\n", " ".repeat(101))).await;
    assert_eq!(client.receive().await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn bodies_together_stay_within_their_room() {
    let mut bed = Bed::with(
        Limits {
            bodies: 1000,
            ..Limits::default()
        },
        50,
    );
    let mut holder = bed.client();
    holder
        .send(
            "POST",
            "/mcp",
            &[("content-length", "901")],
            &" ".repeat(900),
        )
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = bed.client().post(&[], &" ".repeat(200)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    drop(holder);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bed.client().post(&[], &" ".repeat(200)).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn requests_together_stay_within_their_bound() {
    let mut bed = Bed::with(
        Limits {
            requests: 1,
            ..Limits::default()
        },
        50,
    );
    let mut waiting = bed.client();
    let (headers, body) = modern("tools/call", json!({"name": "fixture_wait"}));
    let extra = refs(&headers);
    waiting
        .send("POST", "/mcp", &extra, &body.to_string())
        .await;
    bed.knobs.begun.notified().await;
    let refused = bed.client().modern("tools/list", json!({})).await;
    assert_eq!(
        (refused.code(), refused.header("retry-after")),
        ((503, 503), "1")
    );
    bed.knobs.release.notify_one();
    assert_eq!(waiting.receive().await.status, 200);
    assert_eq!(
        bed.client().modern("tools/list", json!({})).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn one_key_does_not_take_the_places_of_all_requests() {
    let mut bed = Bed::new();
    let mut slow = Vec::new();
    for _ in 0..REQUESTS_PER_CALLER_MAX {
        let mut client = bed.client();
        client
            .send("POST", "/mcp", &[("content-length", "100")], "{")
            .await;
        slow.push(client);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = bed.client().modern("tools/list", json!({})).await;
    assert_eq!(
        (refused.code(), refused.header("retry-after")),
        ((429, 429), "1")
    );
    let mut other = bed.client_as("viewer");
    assert_eq!(other.modern("tools/list", json!({})).await.status, 200);
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn slow_heads_and_bodies_do_not_hold_a_connection_for_long() {
    let mut bed = Bed::new();
    let mut slow = bed.client();
    let started = tokio::time::Instant::now();
    slow.send_raw("POST /mcp HTTP/1.1\r\nhost: local").await;
    let cut = async {
        let _ = slow.is_cut().await;
        started.elapsed()
    };
    assert!(cut.await <= Duration::from_secs(31));
    let mut slow = bed.client();
    slow.send("POST", "/mcp", &[("content-length", "100")], "{")
        .await;
    assert_eq!(slow.receive().await.status, 408);
}

#[tokio::test(start_paused = true)]
async fn heads_beyond_the_bounds_are_refused() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client
        .send_raw(&format!(
            "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
            "y".repeat(20 << 10)
        ))
        .await;
    assert_eq!(client.receive().await.status, 431);
    let mut client = bed.client();
    client
        .send_raw(&format!(
            "GET /livez HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
            "x: y\r\n".repeat(80)
        ))
        .await;
    assert_eq!(client.receive().await.status, 431);
}

#[tokio::test(start_paused = true)]
async fn probes_are_short_without_a_key_and_detailed_with_one() {
    let mut bed = Bed::new();
    let response = bed
        .client_as("nobody")
        .request("GET", "/health", &[], "")
        .await;
    let short =
        |status: &str| json!({"status": status, "version": env!("CARGO_PKG_VERSION"), "uptime": 0});
    assert_eq!(response.json(), short("DEGRADED"));
    let response = bed
        .client_as("viewer")
        .request("GET", "/health?detail", &[], "")
        .await;
    assert_eq!(response.json()["detail"], json!({"link": "backoff"}));
    let response = bed
        .client_as("nobody")
        .request("GET", "/readyz", &[], "")
        .await;
    assert_eq!(
        (response.status, response.json()),
        (503, short("not ready"))
    );
    let mut client = bed.client_as("nobody");
    client.send("HEAD", "/livez", &[], "").await;
    let length = short("alive").to_string().len().to_string();
    assert_eq!(client.receive_head().await.header("content-length"), length);
    client.send("GET", "/livez", &[], "").await;
    assert_eq!(client.receive().await.json(), short("alive"));
    let page = bed.client_as("guest").request("GET", "/", &[], "").await;
    assert!(page.body.contains("The Core &lt;cannot&gt; be reached."));
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_was_asked_and_then_closes() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let (headers, body) = modern("tools/call", json!({"name": "fixture_wait"}));
    let extra = refs(&headers);
    client.send("POST", "/mcp", &extra, &body.to_string()).await;
    bed.knobs.begun.notified().await;
    let mut idle = bed.client();
    bed.stop.cancel();
    assert!(idle.is_cut().await);
    bed.knobs.release.notify_one();
    assert_eq!(client.receive().await.status, 200);
    assert!(client.is_cut().await);
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_only_its_own_connection() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client
        .stream
        .write_all(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.receive().await.status, 400);
    assert_eq!(
        bed.client().request("GET", "/livez", &[], "").await.status,
        200
    );
}
