//! Services from their start to their end.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::interval;

use crate::bed::{Box, Core, PROGRAM, Place, Process, exchange, run, tool_request, until};

#[tokio::test]
async fn the_demo_shows_everything_serves_and_goes_without_a_trace_on_ctrl_c() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", temporary.path());
    let mut process = Process::spawn(command);
    let key = process.says("Authorization: Bearer ").await;
    let demo = Box::of(process, key.trim_end_matches('"')).await;
    let said = demo.process.said();
    for part in [
        "MCP endpoint",
        "Claude Code",
        "VS Code",
        "Cursor",
        "Claude Desktop",
        "Ctrl-C",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    assert!(said.contains(&format!("http://{}/mcp", demo.address)));
    demo.reached("live").await;
    assert!(!demo.process.said().contains("standby"));
    let overview = demo.must("qsys_get_overview", json!({})).await;
    assert_eq!(overview["writes_allowed"], true);
    let set = json!({ "reason": "a test", "changes": [{ "component": "Hall A Gain", "control": "gain", "value": -12 }] });
    let answer = demo.must("qsys_set_controls", set).await;
    assert_eq!(answer["changes"][0]["value"], -12.0);
    let mut process = demo.process;
    assert!(process.signal("INT").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
    let said = process.said();
    assert!(
        said.contains("Stopped") && !said.contains("ERROR") && !said.contains("panicked"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_taken_address_is_named_with_the_way_out() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (exit, said) = run(&["demo", "--listen", &address]).await;
    assert_eq!(exit, Some(1));
    assert!(
        said.contains(&address) && said.contains("--listen"),
        "{said}"
    );
}

#[tokio::test]
async fn a_new_key_works_and_a_revoked_one_stops_without_a_restart() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    // On loopback a service may begin before its first key.
    let mut served = place.serve("rh_nobody").await;
    let status = async |served: &Box| served.call("qsys_get_overview", json!({})).await.unwrap().0;
    assert!(matches!(status(&served).await, 401 | 429));
    served.key = place.key("FOH laptop", "operator").await;
    until("let in", async || match status(&served).await {
        200 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    let spare = place.key("spare", "viewer").await;
    let (exit, said) = run(&[
        "key",
        "revoke",
        "--data",
        &place.data(),
        "--name",
        "FOH laptop",
    ])
    .await;
    assert_eq!(exit, Some(0), "{said}");
    until("kept out", async || match status(&served).await {
        401 | 429 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    served.key = spare;
    assert_eq!(status(&served).await, 200);
    served.process.stopped().await;
}

#[tokio::test]
async fn at_a_hangup_the_keys_are_read_again_and_the_service_goes_on() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("FOH laptop", "operator").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    let again = "the keys were read again";
    let readings = || served.process.said().matches(again).count();
    // Nothing changed, so that nothing but the signal has them read.
    for wanted in 1..=3 {
        assert!(served.process.signal("HUP").await);
        until("read again", async || match readings() {
            found if found >= wanted => Ok(()),
            found => Err(found.to_string()),
        })
        .await;
    }
    served.must("qsys_get_overview", json!({})).await;
    let file = place.path().join("data/keys.json");
    std::fs::write(&file, "{").unwrap();
    assert!(served.process.signal("HUP").await);
    until("told", async || {
        let said = served.process.said();
        let is_told = said.contains("the keys known before stay in force");
        is_told.then_some(()).ok_or(said)
    })
    .await;
    // A file that somebody is writing keeps nobody out.
    served.must("qsys_get_overview", json!({})).await;
    std::fs::write(&file, r#"{"version":1,"keys":[]}"#).unwrap();
    assert!(served.process.signal("HUP").await);
    until("kept out", async || {
        let status = served.call("qsys_get_overview", json!({})).await.unwrap().0;
        matches!(status, 401 | 429)
            .then_some(())
            .ok_or(status.to_string())
    })
    .await;
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn a_changed_certificate_stops_the_link_until_a_person_accepts_it() {
    let mut core = Core::start(&["--tls-listen", "127.0.0.1:0"]).await;
    let address = core.port("wss");
    let place = Place::new(&format!("address = \"{address}\"\ntransport = \"wss\""));
    let key = place.key("test", "admin").await;
    let served = place.serve(&key).await;
    served.reached("live").await;

    assert!(core.process.signal("KILL").await);
    core.process.ended().await;
    let core = Core::start(&["--tls-listen", &address]).await;
    let fingerprint = until("a certificate", async || {
        let said = core.process.said();
        let after = said.split_once("fingerprint=").map(|(_, after)| after);
        let shown = after.and_then(|after| after.split_whitespace().next());
        shown.map(str::to_owned).ok_or(said.clone())
    })
    .await;
    let link = served.reached("refused").await;
    assert_eq!(link["untrusted_fingerprint"], fingerprint, "{link:#}");
    assert!(
        link["meaning"]
            .as_str()
            .unwrap()
            .contains("rackhand core trust")
    );
    // What was known is still served.
    assert_eq!(
        served.reading("Hall A Gain", "gain").await["quality"],
        "stale"
    );

    let (exit, said) = run(&[
        "core",
        "trust",
        "--config",
        &place.config(),
        "--core",
        "attic",
    ])
    .await;
    assert!(exit == Some(1) && said.contains("hall"), "{said}");
    let (exit, said) = run(&[
        "core",
        "trust",
        "--config",
        &place.config(),
        "--fingerprint",
        "abc",
    ])
    .await;
    assert!(exit == Some(1) && said.contains("abc"), "{said}");
    assert_eq!(
        served.must("qsys_get_link_status", json!({})).await["state"],
        "refused"
    );
    let (exit, said) = run(&["core", "trust", "--config", &place.config()]).await;
    assert!(exit == Some(0) && said.contains(&fingerprint), "{said}");
    served.reached("live").await;
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn a_second_signal_ends_at_once_what_the_first_would_end_in_order() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("test", "operator").await;
    let mut served = place.serve(&key).await;
    served.reached("live").await;
    // A write is under way and its answer is late, so that an orderly end takes its time.
    core.tell("slow 60").await;
    let set = json!({ "reason": "a test", "changes": [{ "component": "Hall A Gain", "control": "gain", "value": -45 }] });
    let mut writing = TcpStream::connect(&served.address).await.unwrap();
    let request = tool_request(&key, "qsys_set_controls", &set);
    writing.write_all(request.as_bytes()).await.unwrap();
    until("the write is carried out", async || {
        let now = core.tell("get \"Hall A Gain\" gain").await;
        if now.starts_with("-45") {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;

    assert!(served.process.signal("INT").await);
    served.process.says("Stopping").await;
    // Signals that follow at once count as the same wish.
    let mut ticks = interval(Duration::from_millis(100));
    while !served.process.is_gone() {
        ticks.tick().await;
        served.process.signal("TERM").await;
    }
    let exit = served.process.ended().await;
    let said = served.process.said();
    assert_eq!(exit, Some(1), "{said}");
    assert!(
        said.contains("second signal") && !said.contains("panicked"),
        "{said}"
    );
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_keep_the_service_from_stopping() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let key = place.key("test", "operator").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    let big = json!({ "component": "Main Mixer", "limit": 500 });
    let request = tool_request(&key, "qsys_get_component", &big);
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&served.address).await.unwrap();
        // More answers than the buffers of both sides hold; what does not go out at once is not waited for.
        for _ in 0..200 {
            match stream.try_write(request.as_bytes()) {
                Ok(sent) if sent == request.len() => {}
                _ => break,
            }
            tokio::task::yield_now().await;
        }
        stream.flush().await.unwrap();
        deaf.push(stream);
    }
    for _ in 0..20 {
        let reading = served.reading("Hall A Gain", "gain").await;
        let said = served.process.said();
        assert_eq!(reading["quality"], "live", "{reading}\n{said}");
    }
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn a_damaged_identity_file_keeps_the_box_serving_and_its_link_closed_until_a_person_accepts_the_core()
 {
    let core = Core::start(&["--tls-listen", "127.0.0.1:0"]).await;
    let place = Place::new(&format!(
        "address = \"{}\"\ntransport = \"wss\"",
        core.port("wss")
    ));
    let key = place.key("test", "admin").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    served.process.stopped().await;

    std::fs::write(place.path().join("data/identity.json"), "{\"pins\":").unwrap();
    let served = place.serve(&key).await;
    served.reached("refused").await;
    assert_eq!(
        served.reading("Hall A Gain", "gain").await["quality"],
        "stale"
    );
    assert!(served.process.said().contains("rackhand core trust"));
    let (exit, said) = run(&["core", "trust", "--config", &place.config()]).await;
    assert_eq!(exit, Some(0), "{said}");
    served.reached("live").await;
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn over_tcp_with_a_pin_the_box_does_its_work_and_with_a_wrong_one_says_so() {
    let core = Core::start(&["--tcp", "127.0.0.1:0", "--logon", "rack:1234"]).await;
    let place = Place::new(&format!(
        "address = \"{}\"\ntransport = \"tcp\"\nuser = \"rack\"\npin-file = \"PIN\"\n[safety]\nwrites = true",
        core.port("tcp")
    ));
    let pin = place.path().join("pin");
    std::fs::write(&pin, "1234\n").unwrap();
    let text = std::fs::read_to_string(place.config()).unwrap();
    place.configure(&text.replace("PIN", pin.to_str().unwrap()));
    let key = place.key("test", "operator").await;
    let served = place.serve(&key).await;
    served.reached("live").await;
    let change = json!({"changes": [{"component": "Hall A Gain", "control": "gain", "value": -21}], "reason": "test"});
    let answer = served.must("qsys_set_controls", change).await;
    assert_eq!(answer["changes"][0]["as_asked"], true, "{answer:#}");
    served.process.stopped().await;

    std::fs::write(&pin, "9999\n").unwrap();
    let served = place.serve(&key).await;
    let link = served.reached("refused").await;
    assert!(
        link["meaning"].as_str().unwrap().contains("PIN"),
        "{link:#}"
    );
    let mut process = served.process;
    assert!(process.signal("TERM").await);
    assert_eq!(process.ended().await, Some(0), "{}", process.said());
}

#[tokio::test]
async fn the_log_of_what_others_do_is_shown_to_an_admin_alone() {
    let core = Core::start(&[]).await;
    let place = Place::of(&core);
    let (admin, engineer) = (
        place.key("chief", "admin").await,
        place.key("desk", "engineer").await,
    );
    let served = place.serve(&admin).await;
    served.reached("live").await;
    let set = json!({ "reason": "a test", "changes": [{ "component": "Hall A Gain", "control": "gain", "value": -12 }] });
    served.must("qsys_set_controls", set).await;
    let page = async |key: &str| {
        let request =
            format!("GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n");
        let (status, body) = exchange(&served.address, &request).await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    };
    let shown = page(&admin).await;
    assert!(
        shown.contains("a client writes") && shown.contains("caller=chief"),
        "{shown}"
    );
    let hidden = page(&engineer).await;
    assert!(
        !hidden.contains("caller=chief") && !hidden.contains("a client writes"),
        "{hidden}"
    );
    served.process.stopped().await;
}
