//! The simulated Core as a client meets it, over pipes and under a paused clock.

mod faults;
mod plant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::wire::qrc::WEBSOCKET_PATH;

const WAIT: Duration = Duration::from_mins(5);

/// A client over TCP framing; its Core's task ends with it.
struct Client {
    stream: DuplexStream,
    buffer: Vec<u8>,
    next_id: i64,
    /// Notifications that came while an answer was awaited.
    pushed: Vec<Value>,
    _task: JoinSet<()>,
}

impl Client {
    fn silent(core: &SimCore) -> Self {
        let (stream, theirs) = duplex(1 << 20);
        let mut task = JoinSet::new();
        let core = core.clone();
        task.spawn(async move { core.serve_tcp(theirs).await });
        Self {
            stream,
            buffer: Vec::new(),
            next_id: 0,
            pushed: Vec::new(),
            _task: task,
        }
    }

    /// Connects and takes the first `EngineStatus`.
    async fn connect(core: &SimCore) -> Self {
        let mut client = Self::silent(core);
        let hello = client.frame().await.unwrap();
        assert_eq!(hello["method"], "EngineStatus");
        client
    }

    async fn frame(&mut self) -> Option<Value> {
        let read = async {
            loop {
                if let Some(end) = self.buffer.iter().position(|byte| *byte == 0) {
                    let frame: Vec<u8> = self.buffer.drain(..=end).collect();
                    return Some(serde_json::from_slice(&frame[..end]).unwrap());
                }
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(WAIT, read)
            .await
            .expect("the Core says nothing")
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.write_all(&[0]).await.unwrap();
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(
            &json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string(),
        )
        .await;
        loop {
            let frame = self.frame().await.expect("the Core closed");
            if frame["id"] == id {
                return frame;
            }
            self.pushed.push(frame);
        }
    }

    async fn result(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn code(&mut self, method: &str, params: Value) -> i64 {
        self.ask(method, params).await["error"]["code"]
            .as_i64()
            .unwrap()
    }

    async fn add(&mut self, group: &str, component: &str, controls: &[&str]) -> Value {
        let controls: Vec<_> = controls.iter().map(|name| json!({"Name": name})).collect();
        let params = json!({"Id": group, "Component": {"Name": component, "Controls": controls}});
        self.ask("ChangeGroup.AddComponentControl", params).await
    }

    async fn poll(&mut self, group: &str) -> Vec<(String, Value)> {
        let polled = self.result("ChangeGroup.Poll", json!({"Id": group})).await;
        let changes = polled["Changes"].as_array().unwrap();
        changes
            .iter()
            .map(|change| {
                (
                    change["Name"].as_str().unwrap().to_owned(),
                    change["Value"].clone(),
                )
            })
            .collect()
    }

    async fn set(&mut self, component: &str, control: &str, value: Value) -> Value {
        let params = json!({"Name": component, "Controls": [{"Name": control, "Value": value}], "ResponseValues": true});
        self.result("Component.Set", params).await
    }

    async fn is_closed(&mut self) -> bool {
        while let Some(frame) = self.frame().await {
            self.pushed.push(frame);
        }
        true
    }
}

fn core() -> SimCore {
    SimCore::new(
        design::venue(),
        Options {
            meter_period: Duration::ZERO,
            ..Options::default()
        },
    )
}

#[tokio::test(start_paused = true)]
async fn the_default_design_is_credible_and_hides_what_scripts_may_not_see() {
    let mut client = Client::connect(&core()).await;
    let listed = client
        .result("Component.GetComponents", json!("test"))
        .await;
    let listed = listed.as_array().unwrap();
    assert!(listed.len() >= 40, "{}", listed.len());
    let kinds: std::collections::BTreeSet<_> = listed
        .iter()
        .map(|component| component["Type"].as_str().unwrap())
        .collect();
    assert!(kinds.len() >= 25, "{kinds:?}");
    for hidden in ["Alarm Override", "Internal Ducker"] {
        assert!(listed.iter().all(|component| component["Name"] != hidden));
        assert_eq!(
            client
                .code("Component.GetControls", json!({"Name": hidden}))
                .await,
            7
        );
    }
    let script = client
        .result("Component.GetControls", json!({"Name": "Room Script"}))
        .await;
    assert!(script["Controls"][0]["String"].as_str().unwrap().len() > 100_000);
    let mute = client
        .result("Component.GetControls", json!({"Name": "Hall A Gain"}))
        .await;
    assert_eq!(mute["Controls"][1]["Value"], json!(false));
    assert!(mute["Controls"][1].get("Choices").is_none());
}

#[tokio::test(start_paused = true)]
async fn ids_come_back_as_they_went_and_notifications_are_not_answered() {
    let mut client = Client::connect(&core()).await;
    client
        .send(r#"{"jsonrpc":"2.0","method":"NoOp","params":{}}"#)
        .await;
    for (id, params) in [
        ("\"8561\"", "0"),
        ("7", "\"\""),
        ("\"a b\"", "null"),
        ("7", "{}"),
    ] {
        client
            .send(&format!(
                r#"{{"jsonrpc":"2.0","method":"StatusGet","params":{params},"id":{id}}}"#
            ))
            .await;
        let answer = client.frame().await.unwrap();
        assert_eq!(answer["id"].to_string(), id);
        assert_eq!(answer["result"]["Platform"], "Core 110f");
    }
    for (text, code) in [
        ("{\"id\":", -32_700),
        ("[1]", -32_600),
        ("{\"id\":3}", -32_600),
        (r#"{"id":3,"method":"Lua.Execute"}"#, -32_601),
    ] {
        client.send(text).await;
        assert_eq!(
            client.frame().await.unwrap()["error"]["code"],
            code,
            "{text}"
        );
    }
    assert_eq!(
        client
            .code("Component.Get", json!({"Name": "Hall A Gain"}))
            .await,
        -32_602
    );
}

#[tokio::test(start_paused = true)]
async fn groups_are_four_to_a_connection_and_tell_everything_once() {
    let core = core();
    let mut client = Client::connect(&core).await;
    assert_eq!(
        client.add("g1", "Hall A Gain", &["gain", "mute"]).await["result"],
        true
    );
    assert_eq!(client.poll("g1").await.len(), 2);
    assert!(client.poll("g1").await.is_empty());
    core.set_value("Hall A Gain", "gain", -12.0);
    assert_eq!(client.poll("g1").await, [("gain".to_owned(), json!(-12.0))]);
    client.add("g1", "Hall A Gain", &["mute"]).await;
    assert_eq!(
        client.poll("g1").await.len(),
        1,
        "adding again marks as changed"
    );
    client
        .result("ChangeGroup.Invalidate", json!({"Id": "g1"}))
        .await;
    assert_eq!(client.poll("g1").await.len(), 2);
    client
        .result("ChangeGroup.Clear", json!({"Id": "g1"}))
        .await;
    assert!(client.poll("g1").await.is_empty());
    for group in ["g2", "g3", "g4"] {
        client.add(group, "Hall A Gain", &["gain"]).await;
    }
    assert_eq!(
        client.add("g5", "Hall A Gain", &["gain"]).await["error"]["code"],
        5
    );
    client
        .result("ChangeGroup.Destroy", json!({"Id": "g2"}))
        .await;
    let error = client.ask("ChangeGroup.Poll", json!({"Id": "g2"})).await["error"].clone();
    assert_eq!(
        error,
        json!({"code": 6, "message": "Change group 'g2' does not exist"})
    );
    assert_eq!(
        client.add("g1", "Nobody", &["gain"]).await["error"]["code"],
        7
    );
    assert_eq!(
        client.add("g1", "Hall A Gain", &["nothing"]).await["error"]["code"],
        8
    );
    core.forget_groups();
    assert_eq!(
        client.code("ChangeGroup.Poll", json!({"Id": "g1"})).await,
        6
    );
}

#[tokio::test(start_paused = true)]
async fn auto_poll_pushes_every_tick_also_when_nothing_changed() {
    let core = core();
    let mut client = Client::connect(&core).await;
    client.add("g", "Hall A Gain", &["gain"]).await;
    assert_eq!(
        client
            .result("ChangeGroup.AutoPoll", json!({"Id": "g", "Rate": 0.5}))
            .await,
        true
    );
    for expected in [1, 0, 0] {
        let push = client.frame().await.unwrap();
        assert_eq!(
            (push["method"].as_str(), push.get("id")),
            (Some("ChangeGroup.Poll"), None)
        );
        assert_eq!(
            push["params"]["Changes"].as_array().unwrap().len(),
            expected
        );
    }
    assert_eq!(
        client
            .code("ChangeGroup.AutoPoll", json!({"Id": "other", "Rate": 1}))
            .await,
        6
    );
    assert_eq!(
        client
            .code("ChangeGroup.AutoPoll", json!({"Id": "g", "Rate": 0}))
            .await,
        -32_602
    );
}

#[tokio::test(start_paused = true)]
async fn named_controls_have_no_component_and_ramp_in_seconds() {
    let core = core();
    let mut client = Client::connect(&core).await;
    client
        .result(
            "ChangeGroup.AddControl",
            json!({"Id": "n", "Controls": ["MainGain", "MainMute"]}),
        )
        .await;
    let polled = client.result("ChangeGroup.Poll", json!({"Id": "n"})).await;
    assert!(polled["Changes"][0].get("Component").is_none());
    let state = client
        .result(
            "Control.Set",
            json!({"Name": "MainGain", "Value": -16, "Ramp": 2.0}),
        )
        .await;
    assert_eq!(
        state["Value"],
        json!(-6.0),
        "a ramp begins where the control stands"
    );
    sleep(Duration::from_secs(1)).await;
    assert!((core.named_value("MainGain").unwrap() + 11.0).abs() < 0.01);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        client.result("Control.Get", json!(["MainGain"])).await[0]["String"],
        "-16.0dB"
    );
    assert_eq!(client.code("Control.Get", json!(["Nobody"])).await, 8);
    assert_eq!(
        client
            .result(
                "ChangeGroup.Remove",
                json!({"Id": "n", "Controls": ["MainGain"]})
            )
            .await,
        true
    );
    assert!(client.poll("n").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn writes_clamp_leave_read_only_controls_and_take_old_names() {
    let core = core();
    let mut client = Client::connect(&core).await;
    assert_eq!(
        client.set("Hall A Gain", "gain", json!(99)).await[0]["Value"],
        json!(20.0)
    );
    assert_eq!(
        client.set("Core Status", "status", json!(2)).await[0]["String"],
        "OK"
    );
    let aliased = client.set("Main Mixer", "input_1_gain", json!(-3)).await;
    assert_eq!(
        (
            aliased[0]["Name"].as_str(),
            core.value("Main Mixer", "input.1.gain")
        ),
        (Some("input_1_gain"), Some(-3.0))
    );
    let params = json!({"Name": "Hall A Gain", "Controls": [{"Name": "gain", "Position": 0.5}]});
    assert_eq!(client.result("Component.Set", params).await, true);
    assert_eq!(core.value("Hall A Gain", "gain"), Some(-40.0));
    let mixed = json!({"Name": "Hall A Gain", "Controls": [{"Name": "gain", "Value": 0}, {"Name": "nope", "Value": 0}]});
    assert_eq!(client.result("Component.Set", mixed).await, json!(["nope"]));
    assert_eq!(core.value("Hall A Gain", "gain"), Some(0.0));
    assert_eq!(core.writes().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn access_control_asks_for_a_logon_or_a_key() {
    let options = Options {
        logon: Some(("box".to_owned(), Secret::new("1234"))),
        api_key: Some(Secret::new("k")),
        ..Options::default()
    };
    let core = SimCore::new(design::venue(), options);
    let mut client = Client::connect(&core).await;
    assert_eq!(client.code("StatusGet", json!(0)).await, 10);
    assert_eq!(client.result("NoOp", json!({})).await, true);
    client
        .send(r#"{"apiKey":"k","jsonrpc":"2.0","method":"StatusGet","id":99}"#)
        .await;
    assert_eq!(client.frame().await.unwrap()["result"]["State"], "Active");
    assert_eq!(
        client
            .code("Logon", json!({"User": "box", "Password": "4321"}))
            .await,
        10
    );
    assert_eq!(
        client
            .result("Logon", json!({"User": "box", "Password": "1234"}))
            .await,
        true
    );
    assert_eq!(
        client.result("StatusGet", json!(0)).await["State"],
        "Active"
    );
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_upgraded_on_qrcs_paths_only_and_carries_no_nul() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let core = core();
    for (path, is_served) in [
        (WEBSOCKET_PATH, true),
        ("/qrc", true),
        ("/", false),
        ("/qrc-public-api/v1", false),
    ] {
        let (ours, theirs) = duplex(1 << 16);
        let mut task = JoinSet::new();
        let served = core.clone();
        task.spawn(async move { served.serve_websocket(theirs).await });
        let upgraded = tokio_tungstenite::client_async(format!("ws://core{path}"), ours).await;
        assert_eq!(upgraded.is_ok(), is_served, "{path}");
        let Ok((mut socket, _)) = upgraded else {
            continue;
        };
        let hello = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert!(hello.contains("EngineStatus") && hello.ends_with('}'));
        socket
            .send(Message::text(r#"{"method":"NoOp","id":"x"}"#))
            .await
            .unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap().into_text().unwrap(),
            r#"{"jsonrpc":"2.0","result":true,"id":"x"}"#
        );
        core.drop_connections();
        assert!(matches!(
            socket.next().await,
            Some(Ok(Message::Close(Some(_))))
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn a_generated_design_is_as_large_as_asked() {
    let core = SimCore::new(design::generated(50, 40), Options::default());
    let mut client = Client::connect(&core).await;
    let names: Vec<_> = core.design().components()[7]
        .control_names()
        .map(str::to_owned)
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    client.add("g", "Block 8", &names).await;
    assert_eq!(client.poll("g").await.len(), 40);
    sleep(Duration::from_millis(150)).await;
    assert_eq!(client.poll("g").await.len(), 10, "a quarter are meters");
    assert_eq!(core.design().components().len(), 50);
}
