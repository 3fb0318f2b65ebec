//! What Cores and networks do to a link.

use std::time::Duration;

use rackhand::base::secret::Secret;
use rackhand::link::{
    BreakerState, CommandError, Credentials, LinkConfig, LinkState, MixerSet, Ramped, Transport,
};
use rackhand::sim::design::{Design, generated, venue};
use rackhand::sim::{Options, SimCore};
use rackhand::wire::qrc::{Method, Scalar, SetItem};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::bed::{Bed, control, set};

pub(crate) const GAIN: &str = "Hall A Gain/gain";

pub(crate) fn venue_core() -> SimCore {
    SimCore::new(venue(), Options::default())
}

pub(crate) fn over(transport: Transport) -> LinkConfig {
    LinkConfig {
        transport,
        ..LinkConfig::default()
    }
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn a_link_learns_the_design_hears_changes_and_carries_commands() {
    let sim = venue_core();
    let config = LinkConfig {
        named_controls: vec!["FoyerGain".parse().unwrap()],
        ..over(Transport::Ws)
    };
    let bed = Bed::with(&[("core", &sim)], config);
    bed.reaches(LinkState::Live, secs(5)).await;
    assert!(bed.sink.components().len() >= 40);
    assert!((bed.sink.value("/FoyerGain").unwrap() + 20.0).abs() < 1e-6);
    sim.set_value("Hall A Gain", "gain", -17.0);
    bed.hears(GAIN, -17.0, secs(1)).await;
    assert!((bed.set("Hall A Gain", "gain", -9.0).await.unwrap() + 9.0).abs() < 1e-6);
    bed.hears(GAIN, -9.0, secs(1)).await;
    bed.link
        .load_snapshot("House Scenes", 1, None)
        .await
        .unwrap();
    let mixer = "Main Mixer".parse().unwrap();
    let to = Ramped {
        value: -11.0,
        over: secs(2),
    };
    bed.link
        .mixer(&mixer, MixerSet::InputGain("1-2".into(), to))
        .await
        .unwrap();
    bed.hears("Main Mixer/input.2.gain", -11.0, secs(4)).await;
    assert_eq!(
        bed.link.status().engine.unwrap().platform.as_deref(),
        Some("Core 110f")
    );
    bed.stop().await;
    sleep(secs(1)).await;
    assert_eq!(sim.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_ramp_is_heard_on_its_way() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    bed.set("Hall A Gain", "gain", -40.0).await.unwrap();
    let item = SetItem {
        name: "gain".into(),
        value: Some(Scalar::Number(-20.0)),
        ramp: Some(10.0),
        ..SetItem::default()
    };
    let _watch = bed
        .link
        .watch_fast(vec![control("Hall A Gain", "gain")])
        .unwrap();
    bed.link
        .set_component(&"Hall A Gain".parse().unwrap(), vec![item])
        .await
        .unwrap();
    sleep(secs(5)).await;
    let halfway = bed.sink.value(GAIN).unwrap();
    assert!((-31.0..=-29.0).contains(&halfway), "{halfway}");
    bed.hears(GAIN, -20.0, secs(6)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_watched_is_heard_sooner() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    let watch = bed
        .link
        .watch_fast(vec![
            control("Hall A Gain", "gain"),
            control("No such", "thing"),
        ])
        .unwrap();
    sleep(secs(1)).await;
    sim.set_value("Hall A Gain", "gain", -33.0);
    assert!(bed.hears(GAIN, -33.0, secs(1)).await <= Duration::from_millis(150));
    drop(watch);
    sleep(secs(1)).await;
    assert_eq!(bed.link.status().change_groups, 1);
}

#[tokio::test(start_paused = true)]
async fn core_reboots_for_90_seconds() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sleep(secs(60)).await;
    let begun = Instant::now();
    sim.reboot(secs(90));
    bed.drops(secs(1)).await;
    assert_eq!(bed.sink.stale(), 1);
    bed.sees(secs(30), |status| status.breaker == BreakerState::Open)
        .await;
    let refused = bed.set("Hall A Gain", "gain", 0.0).await.unwrap_err();
    assert!(
        matches!(refused, CommandError::BreakerOpen { retry_in } if retry_in <= secs(60)),
        "{refused}"
    );
    sim.set_value("Hall A Gain", "gain", -42.0);
    bed.reaches(LinkState::Live, secs(180)).await;
    assert!(begun.elapsed() <= secs(90 + 15), "{:?}", begun.elapsed());
    assert_eq!(bed.breaker(), BreakerState::Closed);
    assert!((bed.sink.value(GAIN).unwrap() + 42.0).abs() < 1e-6);
    assert!(bed.network.dialled_since(begun) < 60);
}

#[tokio::test(start_paused = true)]
async fn a_core_that_cannot_be_reached_for_minutes_is_live_within_fifteen_seconds_of_its_return() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sim.refuse(true);
    sim.drop_connections();
    sleep(secs(207)).await;
    assert_eq!(bed.breaker(), BreakerState::Open);
    let probed = bed.network.dialled_since(Instant::now() - secs(60));
    assert!((10..=16).contains(&probed), "{probed} looks in a minute");
    sim.refuse(false);
    assert!(bed.reaches(LinkState::Live, secs(60)).await <= secs(15));
    assert_eq!(bed.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_only_blinked_is_back_at_once() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sleep(secs(60)).await;
    for _ in 0..3 {
        sim.reset_connections();
        bed.drops(secs(1)).await;
        assert!(bed.reaches(LinkState::Live, secs(10)).await <= secs(3));
        sleep(secs(40)).await;
    }
    let status = bed.link.status();
    assert_eq!((status.drops, status.breaker_opened), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn core_boots_slowly_and_closes_what_it_accepts_for_3_minutes() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    let begun = Instant::now();
    sim.boot_slowly(secs(180));
    bed.sees(secs(60), |status| status.breaker == BreakerState::Open)
        .await;
    sleep(secs(175).saturating_sub(begun.elapsed())).await;
    let attempts = bed.link.status().attempts;
    assert!(attempts < 30, "{attempts} attempts on a Core that boots");
    bed.reaches(LinkState::Live, secs(25)).await;
    assert!(begun.elapsed() <= secs(180 + 15), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn half_open_link() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sleep(secs(40)).await;
    sim.freeze(true);
    let took = bed.drops(secs(60)).await;
    assert!((secs(14)..=secs(16)).contains(&took), "{took:?}");
    assert_eq!(bed.link.status().last_fault, "the Core has fallen silent");
    sleep(secs(30)).await;
    sim.freeze(false);
    assert!(bed.reaches(LinkState::Live, secs(60)).await <= secs(15));
}

#[tokio::test(start_paused = true)]
async fn change_groups_forgotten() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    let _watch = bed
        .link
        .watch_fast(vec![control("Hall B Gain", "gain")])
        .unwrap();
    sleep(secs(2)).await;
    sim.forget_groups();
    sim.set_value("Hall A Gain", "gain", -31.0);
    bed.hears(GAIN, -31.0, secs(2)).await;
    sleep(secs(1)).await;
    let status = bed.link.status();
    assert_eq!(
        (status.state, status.drops, status.change_groups),
        (LinkState::Live, 0, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn design_pushed_with_renamed_components() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    let renamed = sim
        .design()
        .renamed("Hall A Gain", "Saal A")
        .recompiled("another00001");
    sim.push_design(renamed.clone());
    bed.drops(secs(5)).await;
    bed.reaches(LinkState::Live, secs(60)).await;
    assert!(
        bed.sink.components().contains("Saal A") && !bed.sink.components().contains("Hall A Gain")
    );
    bed.set("Saal A", "gain", -13.0).await.unwrap();
    bed.hears("Saal A/gain", -13.0, secs(1)).await;
    // The same on a connection that stays.
    sim.swap_design(
        renamed
            .renamed("Saal A", "Salle A")
            .recompiled("another00002"),
    );
    bed.drops(secs(5)).await;
    bed.reaches(LinkState::Live, secs(10)).await;
    assert!(bed.sink.components().contains("Salle A") && !bed.sink.components().contains("Saal A"));
    assert_eq!(bed.link.status().drops, 1);
}

#[tokio::test(start_paused = true)]
async fn lost_answer_to_a_write() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sim.lose_next_write_replies(1);
    let begun = Instant::now();
    let outcome = bed.set("Hall A Gain", "gain", -14.0).await;
    assert_eq!(
        outcome,
        Err(CommandError::OutcomeUnknown {
            method: Method::ComponentSet
        })
    );
    assert!(begun.elapsed() <= secs(6));
    sleep(secs(1)).await;
    assert_eq!(sim.writes().len(), 1, "never sent twice");
    assert_eq!(sim.requests_seen(Method::ComponentGet), 1, "read again");
    assert!((bed.sink.value(GAIN).unwrap() + 14.0).abs() < 1e-6);
    assert_eq!(bed.link.status().drops, 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_connection_is_cut_is_unknown_and_read_again() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sim.slow_replies(secs(2));
    let link = bed.link.clone();
    let mut write = JoinSet::new();
    write.spawn(async move { set(&link, "Hall A Gain", "gain", -15.0).await });
    sleep(secs(1)).await;
    sim.reset_connections();
    sim.slow_replies(Duration::ZERO);
    let outcome = write.join_next().await.unwrap().unwrap();
    assert!(
        matches!(outcome, Err(CommandError::OutcomeUnknown { .. })),
        "{outcome:?}"
    );
    bed.reaches(LinkState::Live, secs(10)).await;
    assert!((bed.sink.value(GAIN).unwrap() + 15.0).abs() < 1e-6);
    assert_eq!(sim.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_of_any_kind_lose_no_change() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    for round in 0..5_i32 {
        let value = -20.0 - f64::from(round);
        sim.lose_next_replies(1);
        sim.set_value("Hall A Gain", "gain", value);
        bed.hears(GAIN, value, secs(7)).await;
    }
    assert_eq!(bed.link.status().drops, 0);
}

#[tokio::test(start_paused = true)]
async fn certificate_changed() {
    let sim = venue_core();
    let bed = Bed::with(&[("core", &sim)], over(Transport::Auto));
    bed.reaches(LinkState::Live, secs(10)).await;
    let changed = bed.network.change_certificate();
    sim.reset_connections();
    bed.reaches(LinkState::Refused, secs(10)).await;
    sleep(secs(1)).await;
    let begun = Instant::now();
    sleep(secs(3_600)).await;
    let status = bed.link.status();
    assert_eq!(status.untrusted_fingerprint.as_deref(), Some(&*changed));
    assert_eq!(bed.network.dialled_since(begun), 0, "it waits for a person");
    assert!(matches!(
        bed.set("Hall A Gain", "gain", 0.0).await,
        Err(CommandError::Down { .. })
    ));
    bed.link.trust("00").unwrap();
    sleep(secs(60)).await;
    assert_eq!(bed.link.status().state, LinkState::Refused);
    bed.link.trust(&changed.to_uppercase()).unwrap();
    assert!(bed.reaches(LinkState::Live, secs(10)).await <= secs(2));
    assert_eq!(bed.link.status().untrusted_fingerprint, None);
    // It is pinned now.
    sim.reset_connections();
    bed.drops(secs(1)).await;
    bed.reaches(LinkState::Live, secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn wrong_key() {
    let options = Options {
        api_key: Some(Secret::new("right")),
        ..Options::default()
    };
    let sim = SimCore::new(venue(), options);
    let config = LinkConfig {
        api_key: Some(Secret::new("wrong")),
        ..over(Transport::Ws)
    };
    let bed = Bed::with(&[("core", &sim)], config);
    bed.reaches(LinkState::Refused, secs(10)).await;
    let begun = Instant::now();
    sleep(secs(3_600)).await;
    let attempts = bed.network.dialled_since(begun);
    assert!(
        (9..=15).contains(&attempts),
        "{attempts} attempts in an hour"
    );
    let before = Instant::now();
    bed.link.reset_breaker().unwrap();
    sleep(secs(2)).await;
    assert_eq!(
        bed.network.dialled_since(before),
        1,
        "on request it is tried at once"
    );
}

#[tokio::test(start_paused = true)]
async fn the_right_key_and_the_right_pin_open_the_core() {
    let options = Options {
        api_key: Some(Secret::new("key")),
        logon: Some(("tech".into(), Secret::new("1234"))),
        ..Options::default()
    };
    let sim = SimCore::new(venue(), options);
    let config = LinkConfig {
        api_key: Some(Secret::new("key")),
        ..over(Transport::Ws)
    };
    Bed::with(&[("core", &sim)], config)
        .reaches(LinkState::Live, secs(10))
        .await;
    let logon = Some(Credentials {
        user: "tech".into(),
        pin: Secret::new("1234"),
    });
    let bed = Bed::with(
        &[("core", &sim)],
        LinkConfig {
            logon: logon.clone(),
            ..over(Transport::Tcp)
        },
    );
    bed.reaches(LinkState::Live, secs(10)).await;
    sim.fail_next(Method::ComponentSet, 10, "Logon required");
    assert!(bed.set("Hall A Gain", "gain", 0.0).await.is_err());
    bed.reaches(LinkState::Live, secs(10)).await;
    assert_eq!(sim.requests_seen(Method::Logon), 2);
    let wrong = logon.map(|logon| Credentials {
        pin: Secret::new("9"),
        ..logon
    });
    let refused = Bed::with(
        &[("core", &sim)],
        LinkConfig {
            logon: wrong,
            ..over(Transport::Tcp)
        },
    );
    refused.reaches(LinkState::Refused, secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn on_tcp_the_core_pushes_and_polls_replace_pushes_that_stop() {
    let sim = venue_core();
    sim.split(Some(7));
    let bed = Bed::with(&[("core", &sim)], over(Transport::Tcp));
    bed.reaches(LinkState::Live, secs(10)).await;
    sleep(secs(30)).await;
    assert!(sim.requests_seen(Method::ChangeGroupPoll) < 10);
    sim.set_value("Hall A Gain", "gain", -18.0);
    bed.hears(GAIN, -18.0, secs(1)).await;
    sim.silence_auto_poll(true);
    sim.set_value("Hall A Gain", "gain", -19.0);
    bed.hears(GAIN, -19.0, secs(7)).await;
    sim.set_value("Hall A Gain", "gain", -21.0);
    bed.hears(GAIN, -21.0, secs(1)).await;
    assert_eq!(bed.link.status().drops, 0);
}

#[tokio::test(start_paused = true)]
async fn garbage() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sim.send_garbage(30);
    bed.drops(secs(5)).await;
    assert!(bed.link.status().garbage_frames >= 3);
    bed.reaches(LinkState::Live, secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_beyond_the_limit_ends_the_connection_and_not_the_link() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sim.oversize_next(17 << 20);
    bed.drops(secs(10)).await;
    assert!(bed.link.status().last_fault.contains("16 MiB"));
    bed.reaches(LinkState::Live, secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_and_closes_and_a_person_may_close_it() {
    let sim = venue_core();
    sim.refuse(true);
    let bed = Bed::to(&sim);
    bed.sees(secs(60), |status| status.breaker == BreakerState::Open)
        .await;
    assert_eq!(bed.link.status().attempts, 5);
    sim.refuse(false);
    bed.link.reset_breaker().unwrap();
    assert!(bed.reaches(LinkState::Live, secs(10)).await < secs(1));
    let status = bed.link.status();
    assert_eq!(
        (status.breaker, status.breaker_opened, status.retry_at),
        (BreakerState::Closed, 1, None)
    );
}

#[tokio::test(start_paused = true)]
async fn connect_storm_avoided_with_100_clients_waiting() {
    let attempts = |callers: u32| async move {
        let sim = venue_core();
        let bed = Bed::live(&sim).await;
        let begun = Instant::now();
        sim.refuse(true);
        sim.drop_connections();
        let mut waiting = JoinSet::new();
        for _ in 0..callers {
            let link = bed.link.clone();
            waiting.spawn(async move {
                let mut tries = 0_u32;
                while set(&link, "Hall A Gain", "gain", -1.0).await.is_err() {
                    tries += 1;
                    sleep(secs(1)).await;
                }
                tries
            });
        }
        sleep(secs(300)).await;
        let dialled = bed.network.dialled_since(begun);
        sim.refuse(false);
        while let Some(tries) = waiting.join_next().await {
            assert!(
                tries.unwrap() > 250,
                "an outage is told at once, not waited for"
            );
        }
        bed.reaches(LinkState::Live, secs(60)).await;
        assert_eq!(sim.connections(), 1);
        dialled
    };
    let (alone, crowded) = (attempts(0).await, attempts(100).await);
    assert!(
        crowded < 90 && crowded.abs_diff(alone) < 30,
        "{crowded} attempts against {alone}"
    );
}

#[tokio::test(start_paused = true)]
async fn fifty_thousand_controls() {
    let sim = SimCore::new(generated(100, 500), Options::default());
    let bed = Bed::to(&sim);
    bed.reaches(LinkState::Live, secs(60)).await;
    assert_eq!(bed.sink.0.lock().values.len(), 50_000);
    assert_eq!(bed.link.status().change_groups, 3);
    sim.set_value("Block 100", "channel.497.gain", -5.5);
    bed.hears("Block 100/channel.497.gain", -5.5, secs(2)).await;
    bed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_outlives_the_cores_patience() {
    let sim = SimCore::new(Design::new("Empty", "empty0000001"), Options::default());
    let bed = Bed::live(&sim).await;
    sleep(secs(600)).await;
    assert_eq!(
        (bed.link.status().drops, bed.link.status().state),
        (0, LinkState::Live)
    );
}
