//! What goes wrong, and how clients see it.

use super::*;

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
    second.reboot(Duration::from_mins(1));
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
async fn a_silenced_auto_poll_tells_later_what_it_kept_back() {
    let core = core();
    let mut client = Client::connect(&core).await;
    client.add("g", "Hall A Gain", &["gain"]).await;
    let auto_poll = json!({"Id": "g", "Rate": 0.5});
    client.result("ChangeGroup.AutoPoll", auto_poll).await;
    core.silence_auto_poll(true);
    sleep(Duration::from_secs(5)).await;
    client.result("NoOp", json!({})).await;
    assert!(client.pushed.is_empty());
    core.silence_auto_poll(false);
    let push = client.frame().await.unwrap();
    assert_eq!(push["params"]["Changes"].as_array().unwrap().len(), 1);
    core.standby(true);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(client.frame().await.unwrap()["params"]["State"], "Standby");
}
