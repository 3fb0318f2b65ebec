//! The simulated Core as a client meets it, over pipes and under a paused clock.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::wire::qrc::WEBSOCKET_PATH;

const WAIT: Duration = Duration::from_secs(300);

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
async fn a_mixer_call_reaches_the_crosspoints_it_selects() {
    let core = core();
    let mut client = Client::connect(&core).await;
    let call = json!({"Name": "Main Mixer", "Inputs": "1-4 !2", "Outputs": "*", "Value": -6.0, "Ramp": 2.0});
    assert_eq!(client.result("Mixer.SetCrossPointGain", call).await, true);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        core.value("Main Mixer", "input.3.output.4.gain"),
        Some(-6.0)
    );
    assert_eq!(
        core.value("Main Mixer", "input.2.output.4.gain"),
        Some(-100.0)
    );
    assert_eq!(core.writes().len(), 12);
    client
        .result(
            "Mixer.SetInputMute",
            json!({"Name": "Main Mixer", "Inputs": "8", "Value": true}),
        )
        .await;
    assert_eq!(
        core.text("Main Mixer", "input.8.mute").as_deref(),
        Some("muted")
    );
    assert_eq!(
        client
            .code(
                "Mixer.SetInputMute",
                json!({"Name": "Main Mixer", "Inputs": "9", "Value": true})
            )
            .await,
        9
    );
    assert_eq!(
        client
            .code(
                "Mixer.SetInputMute",
                json!({"Name": "Hall A Gain", "Inputs": "1", "Value": true})
            )
            .await,
        7
    );
}

#[tokio::test(start_paused = true)]
async fn snapshots_recall_what_they_kept_and_say_whether_they_still_match() {
    let core = core();
    let mut client = Client::connect(&core).await;
    assert_eq!(
        client
            .result(
                "Snapshot.Load",
                json!({"Name": "House Scenes", "Bank": 3, "Ramp": 2})
            )
            .await,
        true
    );
    sleep(Duration::from_secs(1)).await;
    assert!(core.value("Hall A Gain", "gain").unwrap() > -40.0);
    sleep(Duration::from_secs(2)).await;
    let _ = core.value("Hall A Gain", "gain");
    let shown = |control: &str| core.value("House Scenes", control).unwrap();
    assert_eq!(
        (
            core.value("Hall A Gain", "gain"),
            shown("match.3"),
            shown("last.3"),
            shown("load.state.3")
        ),
        (Some(-40.0), 1.0, 1.0, 1.0)
    );
    client.set("Hall A Gain", "mute", json!(0)).await;
    assert_eq!((shown("match.3"), shown("load.state.3")), (0.0, 2.0));
    client
        .result("Snapshot.Save", json!({"Name": "House Scenes", "Bank": 8}))
        .await;
    client.set("House Scenes", "load.1", json!(1)).await;
    assert_eq!(
        (core.value("Wall Panel", "lights"), shown("last.8")),
        (Some(100.0), 0.0)
    );
    client.set("House Scenes", "load.8", json!(1)).await;
    assert_eq!(
        (core.value("Wall Panel", "lights"), shown("match.8")),
        (Some(0.0), 1.0)
    );
    assert_eq!(
        client
            .code("Snapshot.Load", json!({"Name": "House Scenes", "Bank": 9}))
            .await,
        -32_602
    );
    assert_eq!(
        client
            .code("Snapshot.Load", json!({"Name": "Nobody", "Bank": 1}))
            .await,
        7
    );
}

#[tokio::test(start_paused = true)]
async fn players_play_routers_route_walls_combine_and_meters_move() {
    let core = SimCore::new(design::venue(), Options::default());
    let mut client = Client::connect(&core).await;
    client.set("Walk-in Player", "play", json!(1)).await;
    sleep(Duration::from_millis(10_500)).await;
    let shown = |component: &str, control: &str| core.value(component, control).unwrap();
    assert_eq!(
        (
            shown("Walk-in Player", "playing"),
            shown("Walk-in Player", "progress")
        ),
        (1.0, 10.0)
    );
    assert_eq!(
        core.text("Walk-in Player", "progress").as_deref(),
        Some("00:00:10")
    );
    client.set("Walk-in Player", "stop", json!(1)).await;
    assert_eq!(
        (
            shown("Walk-in Player", "stopped"),
            shown("Walk-in Player", "progress")
        ),
        (1.0, 0.0)
    );
    client.set("Projector Router", "select.2", json!(5)).await;
    assert_eq!(
        (
            shown("Projector Router", "output.2.input.5.select"),
            shown("Projector Router", "output.2.input.2.select")
        ),
        (1.0, 0.0)
    );
    client
        .set("Projector Router", "output.2.input.6.select", json!(true))
        .await;
    assert_eq!(shown("Projector Router", "select.2"), 6.0);
    client.set("Hall Combiner", "wall.1.open", json!(1)).await;
    assert_eq!(
        [1, 2, 3].map(|room| shown("Hall Combiner", &format!("output.{room}.combined"))),
        [1.0, 1.0, 0.0]
    );
    client.set("Hall A Source", "selector.2", json!(1)).await;
    assert!(
        core.text("Hall A Source", "selector")
            .unwrap()
            .contains("Wireless")
    );
    client.set("Foyer Gain", "stepper.increase", json!(1)).await;
    assert_eq!(shown("Foyer Gain", "gain"), -17.0);
    let before = shown("Input Meters", "meter.1");
    sleep(Duration::from_secs(1)).await;
    assert_ne!(shown("Input Meters", "meter.1"), before);
    core.meter_clock(Duration::ZERO);
    let before = shown("Input Meters", "meter.1");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(shown("Input Meters", "meter.1"), before);
}

#[tokio::test(start_paused = true)]
async fn loop_players_start_stop_and_tell_faults_to_who_gave_a_reference() {
    let core = core();
    let mut client = Client::connect(&core).await;
    let start = |file: &str, time: f64| json!({"Name": "Show Loops", "StartTime": time, "Files": [{"Name": file, "Mode": "mono", "Output": 2}], "Loop": true, "RefID": "abc"});
    assert_eq!(
        client
            .result("LoopPlayer.Start", start("Rain.wav", -1.0))
            .await,
        true
    );
    sleep(Duration::from_secs(300)).await;
    assert_eq!(
        core.text("Show Loops", "output.2.status").as_deref(),
        Some("Playing Rain.wav")
    );
    assert_eq!(
        core.value("Show Loops", "output.2.elapsed"),
        Some(300.0 - plant::TRACK_SECONDS)
    );
    let mut client = Client::connect(&core).await;
    client
        .result(
            "LoopPlayer.Stop",
            json!({"Name": "Show Loops", "Outputs": [2]}),
        )
        .await;
    assert_eq!(
        core.text("Show Loops", "output.2.status").as_deref(),
        Some("Idle")
    );
    client
        .result("LoopPlayer.Start", start("Missing.wav", -1.0))
        .await;
    assert_eq!(
        client.pushed[0]["params"],
        json!({"Error": "FileNotFound", "RefId": "abc"})
    );
    assert_eq!(
        client
            .code(
                "LoopPlayer.Stop",
                json!({"Name": "Show Loops", "Outputs": [5]})
            )
            .await,
        9
    );
}

#[tokio::test(start_paused = true)]
async fn a_page_occupies_its_zones_counts_down_and_yields_to_a_higher_one() {
    let core = core();
    let mut client = Client::connect(&core).await;
    assert_eq!(
        client
            .result("PA.ZoneStatusConfigure", json!({"Enabled": true}))
            .await,
        "OK"
    );
    assert_eq!(
        client.pushed.len(),
        5,
        "one zone status for each zone comes before the answer"
    );
    client.pushed.clear();
    let page = |priority: u32| json!({"Mode": "message", "Zones": [1, "Foyer"], "Priority": priority, "Message": "Welcome.wav", "Start": true});
    assert_eq!(
        client.result("PA.PageSubmit", page(3)).await,
        json!({"PageID": 1})
    );
    assert_eq!(core.value("PA", "zone.4.active"), Some(1.0));
    assert_eq!(
        client.result("PA.PageSubmit", page(1)).await,
        json!({"PageID": 2})
    );
    let ends = |client: &Client, id: u64| {
        let is_end =
            |frame: &&Value| frame["params"]["PageID"] == id && frame["params"]["State"] == "done";
        client
            .pushed
            .iter()
            .find(is_end)
            .map(|frame| frame["params"]["SubState"].clone())
    };
    assert_eq!(ends(&client, 1), Some(json!("interrupted")));
    while ends(&client, 2).is_none() {
        let frame = client.frame().await.unwrap();
        client.pushed.push(frame);
    }
    let counts: Vec<_> = client
        .pushed
        .iter()
        .filter(|frame| frame["params"]["PageID"] == 2)
        .filter_map(|frame| frame["params"]["Count"].as_u64())
        .collect();
    assert_eq!(counts, [5, 4, 3, 2, 1]);
    assert_eq!(core.value("PA", "zone.4.active"), Some(0.0));
    assert_eq!(client.code("PA.PageStart", json!({"PageID": 1})).await, 2);
    assert_eq!(
        client
            .code(
                "PA.PageSubmit",
                json!({"Mode": "message", "Zones": [9], "Message": "Welcome.wav"})
            )
            .await,
        3
    );
    assert_eq!(
        client
            .code(
                "PA.PageSubmit",
                json!({"Mode": "message", "ZoneTags": ["Halls"], "Message": "No.wav"})
            )
            .await,
        4
    );
    assert_eq!(
        client.result("PA.GetConfig", json!({})).await["Zones"][3]["Index"],
        "4"
    );
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
async fn a_pair_has_one_active_core_and_both_tell_the_switch() {
    let (first, second) = SimCore::pair(design::venue(), Options::default());
    let (mut one, mut two) = (
        Client::connect(&first).await,
        Client::connect(&second).await,
    );
    assert_eq!(
        two.code("Component.GetComponents", json!("test")).await,
        -32_604
    );
    assert_eq!(two.result("StatusGet", json!(0)).await["State"], "Standby");
    one.set("Hall A Gain", "gain", json!(-9)).await;
    first.switch_over();
    let told = |frame: Value| {
        (
            frame["params"]["State"].clone(),
            frame["params"]["IsRedundant"].clone(),
        )
    };
    assert_eq!(
        told(one.frame().await.unwrap()),
        (json!("Standby"), json!(true))
    );
    assert_eq!(
        told(two.frame().await.unwrap()),
        (json!("Active"), json!(true))
    );
    assert_eq!(
        two.set("Hall A Gain", "mute", json!(1)).await[0]["String"],
        "muted"
    );
    assert_eq!(second.value("Hall A Gain", "gain"), Some(-9.0));
    second.reboot(Duration::from_secs(60));
    assert!(first.is_active() && !second.is_active());
}

#[tokio::test(start_paused = true)]
async fn a_client_silent_for_a_minute_is_closed() {
    let core = core();
    let mut client = Client::connect(&core).await;
    sleep(Duration::from_secs(59)).await;
    client.result("NoOp", json!({})).await;
    let start = Instant::now();
    assert!(client.is_closed().await);
    assert_eq!(start.elapsed().as_secs(), 60);
    tokio::task::yield_now().await;
    assert_eq!(core.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_refuses_then_closes_then_serves_and_groups_are_gone() {
    let core = core();
    let mut client = Client::connect(&core).await;
    client.add("g", "Hall A Gain", &["gain"]).await;
    client.set("Hall A Gain", "gain", json!(-20)).await;
    core.reboot(Duration::from_secs(90));
    assert!(client.is_closed().await);
    assert!(!core.accepts());
    sleep(Duration::from_secs(46)).await;
    assert!(core.accepts());
    assert!(Client::silent(&core).is_closed().await);
    sleep(Duration::from_secs(45)).await;
    let mut client = Client::connect(&core).await;
    assert_eq!(client.code("ChangeGroup.Poll", json!({"Id": "g"})).await, 6);
    assert_eq!(
        core.value("Hall A Gain", "gain"),
        Some(-20.0),
        "values outlive a reboot"
    );
}

#[tokio::test(start_paused = true)]
async fn a_mute_core_speaks_when_its_engine_is_up() {
    let core = core();
    core.outage(Outage {
        mute: Duration::from_secs(20),
        ..Outage::default()
    });
    let mut client = Client::silent(&core);
    client
        .send(r#"{"jsonrpc":"2.0","method":"NoOp","id":1}"#)
        .await;
    let start = Instant::now();
    assert_eq!(client.frame().await.unwrap()["method"], "EngineStatus");
    assert_eq!(start.elapsed().as_secs(), 20);
    core.accept_then_close(true);
    assert!(Client::silent(&core).is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_core_neither_answers_nor_closes_until_it_thaws() {
    let core = core();
    let mut client = Client::connect(&core).await;
    core.freeze(true);
    client
        .send(r#"{"jsonrpc":"2.0","method":"NoOp","id":1}"#)
        .await;
    let mut byte = [0];
    let silence = tokio::time::timeout(Duration::from_secs(200), client.stream.read(&mut byte));
    assert!(silence.await.is_err());
    core.freeze(false);
    assert_eq!(
        client.frame().await.unwrap()["id"],
        1,
        "what waited is heard and answered"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_a_write_all_the_same() {
    let core = core();
    let mut client = Client::connect(&core).await;
    core.lose_next_write_replies(1);
    client.send(r#"{"jsonrpc":"2.0","method":"Component.Set","params":{"Name":"Hall A Gain","Controls":[{"Name":"gain","Value":-30}]},"id":500}"#).await;
    assert_eq!(client.result("NoOp", json!({})).await, true);
    assert!(client.pushed.is_empty());
    assert_eq!(
        (core.value("Hall A Gain", "gain"), core.writes().len()),
        (Some(-30.0), 1)
    );
    core.fail_next(Method::ComponentSet, 8, "Unknown control");
    assert_eq!(
        client
            .code(
                "Component.Set",
                json!({"Name": "Hall A Gain", "Controls": [{"Name": "gain", "Value": 3}]})
            )
            .await,
        8
    );
    assert_eq!(core.writes().len(), 1);
    core.slow_replies(Duration::from_secs(3));
    let start = Instant::now();
    client.result("NoOp", json!({})).await;
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn frames_in_odd_pieces_oversize_answers_and_rubbish_arrive() {
    let core = core();
    let mut client = Client::connect(&core).await;
    core.split(Some(3));
    core.oversize_next(5_000);
    assert_eq!(
        client.ask("NoOp", json!({})).await["Padding"]
            .as_str()
            .unwrap()
            .len(),
        5_000
    );
    core.split(None);
    core.send_garbage(1);
    let mut rubbish = [0; 6];
    client.stream.read_exact(&mut rubbish).await.unwrap();
    assert_eq!(&rubbish, b"hello\0");
}

#[tokio::test(start_paused = true)]
async fn a_pushed_design_closes_and_brings_other_names() {
    let core = core();
    let mut client = Client::connect(&core).await;
    client.add("g", "Foyer Gain", &["gain"]).await;
    core.push_design(
        core.design()
            .renamed("Foyer Gain", "Lobby Gain")
            .recompiled("nEwDeSiGn001"),
    );
    assert_eq!(client.frame().await.unwrap()["params"]["State"], "Idle");
    assert!(client.is_closed().await);
    let mut client = Client::connect(&core).await;
    assert_eq!(
        client.result("StatusGet", json!(0)).await["DesignCode"],
        "nEwDeSiGn001"
    );
    assert_eq!(
        client
            .code("Component.GetControls", json!({"Name": "Foyer Gain"}))
            .await,
        7
    );
    assert_eq!(
        client.result("Control.Get", json!(["FoyerGain"])).await[0]["Value"],
        json!(-20.0)
    );
    client.add("g", "Lobby Gain", &["gain"]).await;
    core.swap_design(core.design().recompiled("nEwDeSiGn002"));
    assert_eq!(
        client.frame().await.unwrap()["params"]["DesignCode"],
        "nEwDeSiGn002"
    );
    assert_eq!(client.code("ChangeGroup.Poll", json!({"Id": "g"})).await, 6);
}

#[tokio::test(start_paused = true)]
async fn an_inventory_fault_is_told_to_everybody() {
    let core = core();
    let mut client = Client::connect(&core).await;
    assert_eq!(
        client.result("StatusGet", json!(0)).await["Status"],
        json!({"Code": 1, "String": "Compromised"})
    );
    core.set_value("Hall B Amplifier", "status", 0.0);
    assert_eq!(client.frame().await.unwrap()["method"], "EngineStatus");
    assert_eq!(
        client.result("StatusGet", json!(0)).await["Status"]["String"],
        "OK"
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
