//! What follows from requests inside the design.

#![expect(
    clippy::float_cmp,
    reason = "the values are written and read back without arithmetic"
)]

use super::*;
use crate::sim::plant;

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
    sleep(Duration::from_mins(5)).await;
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
