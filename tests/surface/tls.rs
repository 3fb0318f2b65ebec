//! The port with TLS: what is negotiated, whom clients can trust, and that everything works on it that works without.

use futures_util::{SinkExt as _, StreamExt as _};
use rackhand::http::Limits;
use rackhand::tls::Source;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::bed::{Bed, body, converse, until};

const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: rack.local\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_with_the_protocol_that_the_client_prefers() {
    let bed = Bed::new().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (offered, agreed) in [
            (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
            (&[b"http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let stream = bed
                .connect_with("rack.local", offered, &[version])
                .await
                .unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.alpn_protocol(), agreed);
            assert_eq!(session.protocol_version(), Some(version.version));
            if agreed != Some(b"h2") {
                let answer = converse(stream, LIVE).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        }
    }
    assert!(bed.connect_tls("rack.local", &[b"smtp"]).await.is_err());
}

#[tokio::test]
async fn the_authority_vouches_for_every_name_of_the_box_and_for_no_other() {
    let bed = Bed::new().await;
    for name in ["rack.local", "localhost", "127.0.0.1", "::1"] {
        let stream = bed.connect_tls(name, &[]).await.unwrap();
        let answer = converse(stream, LIVE).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
    }
    assert!(bed.connect_tls("other.local", &[]).await.is_err());
}

#[tokio::test]
async fn the_authority_is_handed_out_to_everybody_on_both_ports() {
    let bed = Bed::new().await;
    let ask = "GET /ca.pem HTTP/1.1\r\nhost: rack.local\r\nconnection: close\r\n\r\n";
    let secure = bed.connect_tls("rack.local", &[]).await.unwrap();
    for answer in [bed.say(ask).await, converse(secure, ask).await] {
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("application/x-pem-file"), "{head}");
        assert_eq!(text, bed.certificates.authority_pem().unwrap());
        assert!(!answer.contains("PRIVATE"));
    }
}

#[tokio::test]
async fn plain_words_on_the_port_with_tls_and_tls_on_the_plain_one_end_quickly() {
    let bed = Bed::new().await;
    let stream = tokio::net::TcpStream::connect(bed.secure).await.unwrap();
    let answer = converse(stream, LIVE).await;
    assert!(!answer.contains("HTTP"), "{answer}");
    let hello = [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    let answer = bed.say(hello).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"));
    assert!(bed.serves().await);
}

#[tokio::test]
async fn streams_that_last_are_taken_out_of_http_1_with_their_tls() {
    let bed = Bed::new().await;
    let mut stream = bed.connect_tls("rack.local", &[b"http/1.1"]).await.unwrap();
    stream
        .write_all(bed.head("GET", "/sse", "").as_bytes())
        .await
        .unwrap();
    let said = until(&mut stream, "session_id=").await + &until(&mut stream, "\n\n").await;
    let path = said.split_once("data: ").unwrap().1;
    let path = path.lines().next().unwrap();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let more = format!(
        "connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        ping.len()
    );
    let post = bed.connect_tls("rack.local", &[b"http/1.1"]).await.unwrap();
    let answer = converse(post, bed.head("POST", path, &more) + ping).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    until(&mut stream, "\"id\":1").await;
    bed.stop.cancel();
    until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_websocket_works_over_tls() {
    let bed = Bed::new().await;
    let stream = bed.connect_tls("rack.local", &[b"http/1.1"]).await.unwrap();
    let mut request = "wss://rack.local/mcp/ws".into_client_request().unwrap();
    let key = format!("Bearer {}", bed.key).parse().unwrap();
    request.headers_mut().insert("authorization", key);
    let (mut socket, _) = Box::pin(tokio_tungstenite::client_async(request, stream))
        .await
        .unwrap();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    socket.send(Message::text(ping)).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert!(answer.to_text().unwrap().contains("\"id\":1"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_client_and_cuts_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::Own {
        data: folder.path().to_owned(),
        names: Vec::new(),
    };
    let file = folder.path().join("authority.json");
    let mut bed = Bed::showing(source, Limits::default(), folder).await;
    let stream = bed.connect_tls("localhost", &[b"h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    bed.tasks.spawn(async move { drop(connection.await) });
    let before = bed.certificates.authority_pem();
    // Whoever removes the file wants another authority.
    std::fs::remove_file(file).unwrap();
    bed.certificates.look();
    assert_ne!(bed.certificates.authority_pem(), before);
    bed.connect_tls("localhost", &[]).await.unwrap();
    let request = bed.request("GET", "/livez").body(()).unwrap();
    let (response, _) = client
        .ready()
        .await
        .unwrap()
        .send_request(request, true)
        .unwrap();
    assert!(body(response.await.unwrap()).await.contains("alive"));
}
