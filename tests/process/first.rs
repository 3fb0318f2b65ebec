//! The first day of a box: it is claimed, told its Core, and does its work, in one process and without anybody at its shell.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::bed::{Box, Core, PROGRAM, Place, Process, exchange, run, tool_request};

/// A place as an image has it: claimable, and with no Core.
fn place() -> Place {
    let place = Place::new("address = \"127.0.0.1:9\"");
    place.configure(&format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[listen.tls]\naddress = \"127.0.0.1:0\"\n[access]\nclaim = true\n[store]\npath = {:?}\n[safety]\nwrites = true\n[rate]\nenabled = false\n",
        place.data()
    ));
    place
}

struct Fresh {
    process: Process,
    address: String,
}

impl Fresh {
    async fn start(place: &Place) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .args(["run", "--config", &place.config()])
            .env("RUNTIME_DIRECTORY", place.path());
        let mut process = Process::spawn(command);
        let url = process.says("Waiting to be set up on ").await;
        let address = url.trim_start_matches("http://").trim_end_matches("/mcp");
        Self {
            address: address.to_owned(),
            process,
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        exchange(&self.address, &request).await.unwrap()
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, answer) = exchange(&self.address, &request).await.unwrap();
        (status, serde_json::from_str(&answer).unwrap_or_default())
    }
}

/// The code on the console.
fn shown(place: &Place) -> String {
    let path = place.path().join("rackhand.issue");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o077,
        0,
        "everybody on the machine can read the code"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let (_, after) = text.split_once("claim code  ").unwrap();
    after.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_box_is_claimed_told_its_core_and_does_its_work() {
    let core = Core::start(&[]).await;
    let place = place();
    let fresh = Fresh::start(&place).await;
    let claim = shown(&place);
    assert!(!fresh.process.said().contains(&claim), "the code is logged");
    let printed = run(&["claim-code", "--config", &place.config()]).await;
    assert!(printed.1.contains(&claim), "{}", printed.1);

    // Nobody's: liveness and the claim, and nothing else.
    assert_eq!(fresh.get("/livez").await.0, 200);
    assert_eq!(fresh.get("/claim").await.0, 200);
    assert_eq!(fresh.get("/").await.0, 303);
    for path in [
        "/health", "/readyz", "/metrics", "/help", "/setup", "/ca.pem",
    ] {
        assert_eq!(fresh.get(path).await.0, 503, "{path}");
    }
    let call = tool_request("rh_x", "system_ping", &json!({}));
    let (status, said) = exchange(&fresh.address, &call).await.unwrap();
    assert!(status == 503 && said.contains("/claim"), "{status} {said}");
    let wrong = json!({ "code": "2222-2222", "name": "admin" });
    assert_eq!(fresh.post("/claim", "", &wrong).await.0, 403);
    let form = "POST /claim HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(exchange(&fresh.address, form).await.unwrap().0, 415);

    // Claimed.
    let typed = json!({ "code": claim.to_lowercase(), "name": "admin", "url": "https://box.local:8443/mcp" });
    let (status, made) = fresh.post("/claim", "", &typed).await;
    assert_eq!(status, 200, "{made}");
    let key = made["key"].as_str().unwrap().to_owned();
    let clients = made["clients"].as_str().unwrap();
    assert!(clients.contains("https://box.local:8443/mcp") && clients.contains(&key));
    assert_eq!(fresh.post("/claim", "", &typed).await.0, 409);
    assert!(!place.path().join("rackhand.issue").exists());
    let (status, said) = exchange(&fresh.address, &call).await.unwrap();
    assert!(status == 503 && said.contains("/setup"), "{status} {said}");
    assert_eq!(fresh.get("/setup").await.0, 200);

    // The setup is an admin's.
    let nothing = json!({});
    assert_eq!(fresh.post("/setup/check", "", &nothing).await.0, 401);
    let viewer = json!({ "name": "wall", "role": "viewer" });
    let (status, viewer) = fresh.post("/setup/key", &key, &viewer).await;
    assert_eq!(status, 200, "{viewer}");
    let viewer = viewer["key"].as_str().unwrap();
    assert_eq!(fresh.post("/setup/check", viewer, &nothing).await.0, 403);

    // The Core: a wrong one is told from a right one before it is taken.
    let bad = json!({ "core": { "address": "127.0.0.1:1", "transport": "ws" } });
    let (status, checked) = fresh.post("/setup/check", &key, &bad).await;
    assert!(status == 200 && checked["is_good"] == false, "{checked:#}");
    let good = json!({ "address": core.address, "transport": "ws", "name": "hall" });
    let (status, checked) = fresh
        .post("/setup/check", &key, &json!({ "core": good }))
        .await;
    assert!(status == 200 && checked["is_good"] == true, "{checked:#}");
    let refused = json!({ "address": "a b", "transport": "ws" });
    let (status, said) = fresh.post("/setup/core", &key, &refused).await;
    assert!(
        status == 400 && said.to_string().contains("core[0].address"),
        "{said}"
    );
    assert_eq!(fresh.post("/setup/core", &key, &good).await.0, 200);

    // The whole service, in the same process.
    let service = Box::of(fresh.process, &key).await;
    service.reached("live").await;
    let (status, _) = exchange(
        &service.address,
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await
    .unwrap();
    assert_eq!(status, 200);
    service.process.stopped().await;

    // The next start needs nobody.
    let service = place.serve(&key).await;
    service.reached("live").await;
    service.process.stopped().await;
}

#[tokio::test]
async fn a_key_that_is_made_at_the_shell_claims_the_box_as_well() {
    let place = place();
    let mut fresh = Fresh::start(&place).await;
    let claim = shown(&place);
    let key = place.key("shell", "admin").await;
    crate::bed::until("claimed", async || {
        match fresh.post("/setup/check", &key, &json!({})).await {
            (200, _) => Ok(()),
            (status, said) => Err(format!("{status} {said}")),
        }
    })
    .await;
    let typed = json!({ "code": claim, "name": "late" });
    let (status, said) = fresh.post("/claim", "", &typed).await;
    assert_eq!(status, 409, "{said}");
    assert!(fresh.process.signal("TERM").await);
    assert_eq!(fresh.process.ended().await, Some(0));
}

#[tokio::test]
async fn setup_and_doctor_do_the_same_on_a_terminal() {
    let core = Core::start(&[]).await;
    let place = place();
    let at = ["--config", &place.config()];
    let (exit, said) = run(&[&["doctor"], &at[..]].concat()).await;
    assert!(
        exit == Some(1) && said.contains("No Core"),
        "{exit:?} {said}"
    );
    // Over WebSocket without TLS the address says its port.
    let wanted = [&["setup", "--core", &core.address, "--yes"], &at[..]].concat();
    let (exit, said) = run(&wanted).await;
    assert_eq!(exit, Some(0), "{said}");
    let key = said.split_whitespace().find(|word| word.starts_with("rh_"));
    let key = key.unwrap_or_else(|| panic!("no key: {said}"));
    let (exit, said) = run(&[&["doctor"], &at[..]].concat()).await;
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains("are visible"), "{said}");
    let service = place.serve(key).await;
    service.reached("live").await;
    service.process.stopped().await;
}
