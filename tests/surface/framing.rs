//! HTTP/1.1 that two readers could take for different things: refused, and the connection with it.

use crate::bed::Bed;

/// A request that would be carried out if the bytes before it were misread.
const SECOND: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of attacks")]
async fn what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read() {
    let bed = Bed::new().await;
    let post =
        |fields: &str, body: &str| format!("{}{body}{SECOND}", bed.head("POST", "/mcp", fields));
    let json = "content-type: application/json\r\n";
    for (name, words) in [
        (
            "two different lengths",
            post(
                &format!("{json}content-length: 2\r\ncontent-length: 4\r\n"),
                "{}",
            ),
        ),
        (
            "a list of lengths",
            post(&format!("{json}content-length: 2, 4\r\n"), "{}"),
        ),
        (
            "a signed length",
            post(&format!("{json}content-length: +2\r\n"), "{}"),
        ),
        (
            "a length in hex",
            post(&format!("{json}content-length: 0x2\r\n"), "{}"),
        ),
        (
            "a length beyond all numbers",
            post(
                &format!("{json}content-length: 99999999999999999999999\r\n"),
                "{}",
            ),
        ),
        (
            "length and chunks",
            post(
                &format!("{json}content-length: 2\r\ntransfer-encoding: chunked\r\n"),
                "2\r\n{}\r\n0\r\n\r\n",
            ),
        ),
        (
            "an unknown coding",
            post(&format!("{json}transfer-encoding: gzip\r\n"), "{}"),
        ),
        (
            "chunks that are not last",
            post(
                &format!("{json}transfer-encoding: chunked, gzip\r\n"),
                "0\r\n\r\n",
            ),
        ),
        (
            "a coding within chunks",
            post(
                &format!("{json}transfer-encoding: gzip, chunked\r\n"),
                "2\r\n{}\r\n0\r\n\r\n",
            ),
        ),
        (
            "a coding within chunks, on a line of its own",
            post(
                &format!("{json}transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
                "2\r\n{}\r\n0\r\n\r\n",
            ),
        ),
        (
            "chunks within chunks",
            post(
                &format!("{json}transfer-encoding: chunked, chunked\r\n"),
                "2\r\n{}\r\n0\r\n\r\n",
            ),
        ),
        (
            "a coding in disguise",
            post(
                &format!("{json}transfer-encoding: xchunked\r\n"),
                "0\r\n\r\n",
            ),
        ),
        (
            "a blank before the colon",
            format!("GET /livez HTTP/1.1\r\nhost : localhost\r\n\r\n{SECOND}"),
        ),
        (
            "a folded field",
            format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n{SECOND}"),
        ),
        (
            "a bare carriage return",
            format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: a\rb: c\r\n\r\n{SECOND}"),
        ),
        (
            "a null in a value",
            format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n{SECOND}"),
        ),
        (
            "two hosts",
            format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n{SECOND}"),
        ),
        (
            "no host",
            format!("GET /livez HTTP/1.1\r\nx: y\r\n\r\n{SECOND}"),
        ),
        (
            "a foreign target",
            format!("GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\n\r\n{SECOND}"),
        ),
        (
            "another version",
            format!("GET /livez HTTP/3.0\r\nhost: localhost\r\n\r\n{SECOND}"),
        ),
        (
            "the preface of HTTP/2",
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{SECOND}"),
        ),
        (
            "a chunk whose size has a sign",
            post(
                &format!("{json}transfer-encoding: chunked\r\n"),
                "+2\r\n{}\r\n0\r\n\r\n",
            ),
        ),
        (
            "a chunk whose size is beyond all numbers",
            post(
                &format!("{json}transfer-encoding: chunked\r\n"),
                "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
            ),
        ),
        (
            "chunk extensions without end",
            post(
                &format!("{json}transfer-encoding: chunked\r\n"),
                &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a=b;".repeat(20_000)),
            ),
        ),
        (
            "many chunk extensions",
            post(
                &format!("{json}transfer-encoding: chunked\r\n"),
                &format!(
                    "{}0\r\n\r\n",
                    format!("1;{}\r\n \r\n", "a".repeat(1_000)).repeat(200)
                ),
            ),
        ),
        (
            "trailers without end",
            post(
                &format!("{json}transfer-encoding: chunked\r\n"),
                &format!("2\r\n{{}}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(20_000)),
            ),
        ),
    ] {
        let answer = bed.say(&words).await;
        let is_refused = answer.is_empty()
            || answer.starts_with("HTTP/1.1 4")
            || answer.starts_with("HTTP/1.1 501");
        assert!(is_refused, "{name}: {answer}");
        assert!(!answer.contains("200 OK"), "{name}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{name}: {answer}");
    }
    assert!(bed.serves().await);
}

#[tokio::test]
async fn heads_that_are_too_long_or_have_too_many_fields_are_answered_431() {
    let bed = Bed::new().await;
    for fields in [
        format!("x: {}\r\n", "a".repeat(17 << 10)),
        "x: y\r\n".repeat(65),
    ] {
        let answer = bed
            .say(format!(
                "GET /livez HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let target = "a".repeat(17 << 10);
    let answer = bed
        .say(format!("GET /{target} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn http_1_0_is_answered_and_the_connection_ends() {
    let bed = Bed::new().await;
    let answer = bed
        .say("GET /livez HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(
        answer.contains(" 200 OK") && answer.contains("alive"),
        "{answer}"
    );
    let answer = bed.say("GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 400 "), "{answer}");
    let answer = bed.say("GET /livez\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_round_the_guard() {
    let bed = Bed::new().await;
    for path in [
        "/livez/../mcp",
        "/livez/..%2fmcp",
        "//mcp",
        "/./mcp",
        "/mcp/",
        "/MCP",
        "/%6dcp",
        "/mcp%00",
        "/mcp;x=y",
        "/mcp%20",
        "/livez%0d%0ax:y",
        "/\\mcp",
        "/.well-known/../mcp",
        "*",
        "http://localhost/mcp",
    ] {
        let answer = bed
            .say(format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.to_lowercase().contains("\nx:y"), "{path}: {answer}");
    }
    for verb in [
        "CONNECT localhost:80",
        "TRACE /livez",
        "OPTIONS *",
        "get /livez",
        "G@T /livez",
    ] {
        let answer = bed
            .say(format!(
                "{verb} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{verb}: {answer}");
    }
}

#[tokio::test]
async fn a_compressed_body_within_chunks_is_told_what_is_wrong_with_it() {
    let bed = Bed::new().await;
    let fields = "content-type: application/json\r\ntransfer-encoding: gzip, chunked\r\n";
    let words = format!("{}2\r\n{{}}\r\n0\r\n\r\n", bed.head("POST", "/mcp", fields));
    let answer = bed.say(&words).await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert!(answer.contains("Transfer-Encoding: chunked"), "{answer}");
}
