//! What browsers are told: whose pages may read an answer, and what they may do with it.

use crate::bed::Bed;

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(": ")?;
        own.eq_ignore_ascii_case(name).then_some(value)
    })
}

async fn ask(bed: &Bed, verb: &str, path: &str, more: &str) -> String {
    bed.say(bed.head(verb, path, &format!("connection: close\r\n{more}")))
        .await
}

#[tokio::test]
async fn every_answer_forbids_guessing_and_keeping_and_pages_forbid_all_else() {
    let bed = Bed::new().await;
    for path in [
        "/",
        "/help",
        "/livez",
        "/readyz",
        "/health",
        "/ca.pem",
        "/mcp",
        "/nothing",
        "/register",
    ] {
        let answer = ask(&bed, "GET", path, "").await;
        assert_eq!(
            header(&answer, "x-content-type-options"),
            Some("nosniff"),
            "{path}: {answer}"
        );
        assert_eq!(header(&answer, "cache-control"), Some("no-store"), "{path}");
        assert_eq!(
            header(&answer, "referrer-policy"),
            Some("no-referrer"),
            "{path}"
        );
        assert_eq!(header(&answer, "server"), None, "{path}");
        assert_eq!(header(&answer, "strict-transport-security"), None, "{path}");
    }
    let page = ask(&bed, "GET", "/", "").await;
    let policy = header(&page, "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
}

#[tokio::test]
async fn a_page_of_a_configured_origin_may_ask_and_no_other_hears_a_word() {
    let bed = Bed::new().await;
    let preflight = "access-control-request-method: POST\r\naccess-control-request-headers: authorization, content-type, mcp-protocol-version\r\n";
    let own = format!("origin: https://panel.example\r\n{preflight}");
    let answer = ask(&bed, "OPTIONS", "/mcp", &own).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(
        header(&answer, "access-control-allow-origin"),
        Some("https://panel.example")
    );
    let methods = header(&answer, "access-control-allow-methods").unwrap();
    assert!(methods.contains("POST") && methods.contains("DELETE"));
    let headers = header(&answer, "access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("mcp-protocol-version"));
    assert_eq!(header(&answer, "access-control-allow-credentials"), None);
    assert!(header(&answer, "vary").unwrap().contains("origin"));
    for origin in [
        "https://evil.example",
        "https://panel.example.evil.example",
        "http://panel.example",
        "https://panel.example:444",
        "null",
    ] {
        for verb in ["OPTIONS", "GET"] {
            let foreign = format!("origin: {origin}\r\n{preflight}");
            let answer = ask(&bed, verb, "/mcp", &foreign).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{origin}: {answer}");
            assert!(
                !answer.to_lowercase().contains("access-control-"),
                "{origin}"
            );
        }
    }
    let answer = ask(&bed, "OPTIONS", "/mcp", preflight).await;
    assert!(
        !answer.to_lowercase().contains("access-control-"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_name_that_was_bound_to_this_address_by_somebody_else_is_refused() {
    let bed = Bed::new().await;
    for host in [
        "evil.example",
        "rack.local.evil.example",
        "evil.example:8080",
        "localhost@evil.example",
        "[::1].evil.example",
    ] {
        let answer = bed
            .say(format!(
                "GET /livez HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{host}: {answer}");
    }
}
