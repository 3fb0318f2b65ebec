//! The program with TLS: what it makes, prints and refuses.

use std::os::unix::fs::PermissionsExt as _;

use crate::bed::{Place, Process, run};
use crate::stdio::through_bridge;

/// The SHA-256 on a line of `rackhand certificate`.
fn fingerprint(said: &str, line: &str) -> String {
    let line = said.lines().find(|own| own.starts_with(line)).unwrap();
    line.split_once("sha256:").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_box_makes_its_authority_once_tells_of_it_and_is_known_by_it() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let key = place.key("FOH laptop", "operator").await;
    let config = place.config();
    let (code, said) = run(&["certificate", "--config", &config]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("makes one when it first serves"), "{said}");
    let mut served = Process::start(&["run", "--config", &config]);
    let url = served.says("Serving MCP with TLS on ").await;
    let (code, said) = run(&["certificate", "--config", &config]).await;
    assert_eq!(code, Some(0), "{said}");
    let (leaf, authority) = (
        fingerprint(&said, "Certificate"),
        fingerprint(&said, "Authority"),
    );
    let logged = served.said();
    assert!(
        logged.contains(&leaf) && logged.contains(&authority),
        "{logged}"
    );
    let file = format!("{}/authority.json", place.data());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for pin in [leaf, format!("SHA256:{}", authority.to_uppercase())] {
        let answer = through_bridge(&["--url", &url, "--fingerprint", &pin], &key).await;
        let revision = &answer["result"]["protocolVersion"];
        assert_eq!(revision, "2025-11-25", "{pin}: {answer}");
    }
    let other = "ab".repeat(32);
    let answer = through_bridge(&["--url", &url, "--fingerprint", &other], &key).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("shows another certificate"), "{message}");
    assert!(message.contains("nothing was sent"), "{message}");
    let (code, said) = run(&["stdio", "--url", &url]).await;
    assert!(
        code == Some(1) && said.contains("--fingerprint or --ca"),
        "{said}"
    );
}

#[tokio::test]
async fn faults_of_the_sites_files_and_an_open_lan_are_named_before_anything_starts() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let lan = config.replacen("127.0.0.1:0", "0.0.0.0:0", 1);
    let files = "certificate-file = \"/nonexistent/box.pem\"\nkey-file = \"/nonexistent/box.key\"\n[[core]]";
    place.configure(&lan.replace("[[core]]", files));
    for command in ["check", "run"] {
        let (code, said) = run(&[command, "--config", &place.config()]).await;
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("plain = \"lan\""), "{said}");
        assert!(said.contains("listen.tls.certificate-file"), "{said}");
        assert!(
            said.contains("/nonexistent/box.pem cannot be read"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_setting_to_change() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = std::fs::read_to_string(place.config()).unwrap();
    let tls = format!("[listen.tls]\naddress = \"{address}\"");
    place.configure(&config.replace("[listen.tls]\naddress = \"127.0.0.1:0\"", &tls));
    let (code, said) = run(&["run", "--config", &place.config()]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("[listen.tls]") && said.contains(&address),
        "{said}"
    );
}
