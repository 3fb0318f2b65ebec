//! Redundant pairs, and Cores on standby.

use std::time::Duration;

use rackhand::link::{CommandError, LinkState, Transport};
use rackhand::sim::design::venue;
use rackhand::sim::{Options, Outage, SimCore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bed::{Bed, set};
use crate::link::{GAIN, over, secs, venue_core};

#[tokio::test(start_paused = true)]
async fn standby_switch_with_writes_in_flight() {
    let (first, second) = SimCore::pair(venue(), Options::default());
    let bed = Bed::with(&[("a", &first), ("b", &second)], over(Transport::Ws));
    bed.reaches(LinkState::Live, secs(10)).await;
    let states = |bed: &Bed| {
        bed.link
            .status()
            .peers
            .iter()
            .map(|peer| (peer.address.clone(), peer.state))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states(&bed),
        [
            ("a".into(), LinkState::Live),
            ("b".into(), LinkState::Standby)
        ]
    );
    first.slow_replies(Duration::from_millis(800));
    let mut writes = JoinSet::new();
    for number in 0..5_u8 {
        let link = bed.link.clone();
        writes.spawn(async move { set(&link, "Hall A Gain", "gain", -f64::from(number)).await });
    }
    sleep(Duration::from_millis(100)).await;
    first.outage(Outage {
        refuse: secs(600),
        ..Default::default()
    });
    while let Some(outcome) = writes.join_next().await {
        let outcome = outcome.unwrap();
        assert!(
            matches!(outcome, Ok(_) | Err(CommandError::OutcomeUnknown { .. })),
            "{outcome:?}"
        );
    }
    bed.sees(secs(10), |status| {
        status.address == "b" && status.state == LinkState::Live
    })
    .await;
    assert!(first.writes().len() <= 5);
    assert_eq!(second.writes().len(), 0, "nothing is sent a second time");
    bed.set("Hall A Gain", "gain", -25.0).await.unwrap();
    bed.hears(GAIN, -25.0, secs(1)).await;
    assert_eq!(second.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_changes_roles_on_living_connections_is_followed() {
    let (first, second) = SimCore::pair(venue(), Options::default());
    let bed = Bed::with(&[("a", &first), ("b", &second)], over(Transport::Ws));
    bed.reaches(LinkState::Live, secs(10)).await;
    for (address, other) in [("b", &first), ("a", &second)] {
        other.switch_over();
        bed.sees(secs(10), |status| {
            status.address == address && status.state == LinkState::Live
        })
        .await;
        bed.set("Hall A Gain", "gain", -8.0).await.unwrap();
    }
    assert_eq!(
        (first.connections_seen(), second.connections_seen()),
        (1, 1)
    );
    assert_eq!((first.writes().len(), second.writes().len()), (1, 1));
    assert_eq!(bed.sink.stale(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_single_core_on_standby_takes_no_commands() {
    let sim = venue_core();
    let bed = Bed::live(&sim).await;
    sim.standby(true);
    bed.reaches(LinkState::Standby, secs(5)).await;
    assert_eq!(
        bed.set("Hall A Gain", "gain", 0.0).await,
        Err(CommandError::Standby)
    );
    sleep(secs(300)).await;
    assert_eq!(bed.link.status().drops, 0, "a standby is kept connected");
    sim.standby(false);
    bed.reaches(LinkState::Live, secs(5)).await;
}
