//! The session against a small Core that answers at once, late, or not at all.

mod bench;
mod random;

use self::bench::{Bench, with_logon};
use tokio::sync::oneshot;

use super::*;
use crate::limits::{ADDED_PER_POLL_MAX, GET_CONTROLS_IN_FLIGHT_MAX};
use crate::wire::qrc::{ComponentGet, ControlSet, Method, Named, Request};

#[test]
fn a_core_that_reports_is_learnt_subscribed_and_live() {
    let mut config = LinkConfig::default();
    config.named_controls.push("MainGain".parse().unwrap());
    let mut bench = Bench::with(Transport::Wss, config);
    assert_eq!(bench.session.state(), LinkState::AwaitEngineStatus);
    bench.become_live();
    assert_eq!(
        *bench.sink.log.lock(),
        [
            "began first",
            "component Camera 3",
            "component Gain 3",
            "component Meter 3",
            "component Mixer 3",
            "named MainGain",
            "ended",
            "confirmed"
        ]
    );
    assert_eq!(bench.sink.values.lock().len(), 13);
    assert!(bench.events.contains(&Event::Live {
        components: 4,
        controls: 13
    }));
    let proofs = bench
        .events
        .iter()
        .filter(|event| **event == Event::Proof)
        .count();
    assert_eq!(proofs, 3, "status, components, first poll");
}

#[test]
fn an_empty_design_is_live_without_a_poll() {
    let mut bench = Bench::new(Transport::Wss);
    bench.values.clear();
    bench.become_live();
    assert_eq!(bench.count(Method::ChangeGroupPoll), 0);
    assert_eq!(bench.sink.count("confirmed"), 1);
}

#[test]
fn a_mute_core_is_asked_once_and_given_up_after_five_seconds() {
    let mut bench = Bench::new(Transport::Wss);
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.sent.len(), 1, "one StatusGet");
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.ended(), Some((false, _))));
    assert_eq!(bench.sink.count("stale"), 0);
}

#[test]
fn a_core_that_only_answers_is_as_good_as_one_that_pushes() {
    let mut bench = Bench::new(Transport::Wss);
    bench.pass(Duration::from_secs(3));
    bench.converse();
    assert_eq!(bench.session.state(), LinkState::Live);
}

#[test]
fn the_access_key_goes_into_every_frame_of_a_websocket_and_no_logon_does() {
    let mut bench = Bench::with(Transport::Wss, with_logon());
    bench.push_engine("Active");
    let mut frames = 0;
    while let Some(frame) = bench.sent.first() {
        assert!(frame.starts_with(r#"{"apiKey":"k","#), "{frame}");
        frames += 1;
        let answer = bench.read_one().unwrap();
        bench.frame(&answer);
    }
    assert!(frames > 8);
    assert_eq!(bench.count(Method::Logon), 0);
}

#[test]
fn on_tcp_the_link_logs_on_first_and_once_more_when_the_core_asks_again() {
    let mut bench = Bench::with(Transport::Tcp, with_logon());
    bench.become_live();
    assert_eq!(bench.read.first().map(Request::method), Some(Method::Logon));
    bench
        .refuse
        .insert("ChangeGroup.AutoPoll", code::LOGON_REQUIRED);
    bench.pass(Duration::from_millis(400));
    let answer = bench.read_one().unwrap();
    bench.refuse.clear();
    bench.frame(&answer);
    assert_eq!(bench.session.state(), LinkState::LoggingOn);
    bench.converse();
    assert_eq!(bench.session.state(), LinkState::Live);
    assert_eq!(bench.count(Method::Logon), 2);
}

#[test]
fn a_core_that_asks_for_a_logon_again_and_again_is_left_alone() {
    let mut bench = Bench::with(Transport::Tcp, with_logon());
    bench.refuse.insert("StatusGet", code::LOGON_REQUIRED);
    bench.push_engine("Active");
    bench.converse();
    assert_eq!(bench.count(Method::Logon), 2);
    assert!(matches!(bench.ended(), Some((true, _))));
}

#[test]
fn a_wrong_pin_and_a_wrong_key_are_refusals() {
    let mut bench = Bench::with(Transport::Tcp, with_logon());
    bench.refuse.insert("Logon", -32_602);
    bench.push_engine("Active");
    bench.converse();
    assert!(matches!(bench.ended(), Some((true, _))));
    let mut bench = Bench::with(Transport::Wss, with_logon());
    bench.refuse.insert("StatusGet", -32_600);
    bench.push_engine("Active");
    bench.converse();
    assert!(matches!(bench.ended(), Some((true, _))));
}

#[test]
fn a_core_without_a_running_design_is_waited_for() {
    let mut bench = Bench::new(Transport::Wss);
    bench.refuse.insert("StatusGet", -32_603);
    bench.push_engine("Idle");
    bench.converse();
    assert_eq!(
        (bench.session.state(), bench.ended()),
        (LinkState::AwaitEngineStatus, None)
    );
    bench.refuse.clear();
    bench.become_live();
    bench.push_engine("Idle");
    assert_eq!(bench.sink.count("stale"), 1);
    assert_eq!(bench.session.state(), LinkState::AwaitEngineStatus);
}

#[test]
fn a_lost_answer_to_a_write_is_unknown_never_sent_again_and_the_value_is_read() {
    let mut bench = Bench::live(Transport::Wss);
    let mut answer = bench.write(-12.0);
    bench.lose_answers();
    bench.live_on(Duration::from_secs(6));
    assert_eq!(
        answer.try_recv().unwrap().unwrap_err(),
        CommandError::OutcomeUnknown {
            method: Method::ComponentSet
        }
    );
    assert_eq!(bench.count(Method::ComponentSet), 1);
    let reread = ComponentGet {
        name: "Gain".into(),
        controls: vec![Named {
            name: "gain".into(),
        }],
    };
    assert!(bench.read.contains(&Request::ComponentGet(reread)));
    assert!((bench.sink.values.lock()["Gain/gain"] + 12.0).abs() < f64::EPSILON);
}

#[test]
fn an_answered_write_moves_the_sink_without_waiting_for_the_next_poll() {
    let mut bench = Bench::live(Transport::Wss);
    let mut answer = bench.write(-3.0);
    bench.converse();
    assert!(answer.try_recv().unwrap().unwrap().get().contains("-3"));
    assert!((bench.sink.values.lock()["Gain/gain"] + 3.0).abs() < f64::EPSILON);
}

#[test]
fn an_answer_to_a_request_that_was_not_sent_yet_answers_nobody() {
    let mut bench = Bench::live(Transport::Wss);
    bench.converse();
    let (reply, mut answer) = oneshot::channel();
    bench
        .session
        .command(bench.now, &Request::ControlGet(vec!["a".into()]), reply);
    for id in 1..100 {
        let frame = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":true}}"#);
        bench.session.frame(bench.now, &frame, &bench.sink);
    }
    assert_eq!(
        answer.try_recv().unwrap_err(),
        oneshot::error::TryRecvError::Empty
    );
    bench.collect();
    assert!(bench.sent.iter().any(|frame| frame.contains("Control.Get")));
}

#[test]
fn a_cut_tells_each_caller_what_can_be_known() {
    let mut bench = Bench::live(Transport::Wss);
    let mut sent = bench.write(1.0);
    let (reply, mut read) = oneshot::channel();
    bench
        .session
        .command(bench.now, &Request::ControlGet(vec!["a".into()]), reply);
    bench.collect();
    let (reply, mut unsent) = oneshot::channel();
    let named = ControlSet {
        name: "a".into(),
        value: None,
        position: Some(0.5),
        string: None,
        ramp: None,
    };
    bench
        .session
        .command(bench.now, &Request::ControlSet(named), reply);
    bench
        .session
        .cut(bench.now, &Cut::Closed(String::new()), &bench.sink);
    assert!(matches!(
        sent.try_recv().unwrap(),
        Err(CommandError::OutcomeUnknown { .. })
    ));
    assert!(matches!(
        read.try_recv().unwrap(),
        Err(CommandError::NoAnswer { .. })
    ));
    assert!(unsent.try_recv().unwrap().unwrap_err().was_not_sent());
    assert_eq!(bench.sink.count("stale"), 1);
    bench.collect();
    assert_eq!(bench.sent.len(), 2, "nothing is sent after the cut");
}

#[test]
fn another_design_is_learnt_anew_and_the_same_one_said_twice_is_not() {
    let mut bench = Bench::live(Transport::Wss);
    bench.push_engine("Active");
    bench.push_engine("Active");
    assert_eq!(bench.sink.count("began"), 1);
    bench.code = "second";
    bench.values = [(("Renamed".to_owned(), "gain".to_owned()), 7.0)].into();
    bench.push_engine("Active");
    assert_eq!(bench.session.state(), LinkState::Enumerating);
    bench.converse();
    assert_eq!(bench.session.state(), LinkState::Live);
    assert_eq!(bench.count(Method::ChangeGroupDestroy), 1);
    assert!((bench.sink.values.lock()["Renamed/gain"] - 7.0).abs() < f64::EPSILON);
    assert_eq!(bench.sink.count("stale"), 0);
}

#[test]
fn a_core_that_says_standby_in_any_way_gets_no_commands() {
    let mut bench = Bench::live(Transport::Wss);
    bench.refuse.insert("Component.Set", code::STANDBY);
    let mut answer = bench.write(1.0);
    bench.converse();
    assert_eq!(
        answer.try_recv().unwrap().unwrap_err(),
        CommandError::Standby
    );
    assert_eq!(bench.session.state(), LinkState::Standby);
    assert!(bench.events.contains(&Event::Unready));
    let mut refused = bench.write(1.0);
    assert!(refused.try_recv().unwrap().unwrap_err().was_not_sent());
    bench.push_engine("Active");
    assert!(bench.events.contains(&Event::Ready { took_over: true }));
}

#[test]
fn three_frames_of_garbage_in_a_row_end_the_connection_and_two_do_not() {
    let mut bench = Bench::live(Transport::Wss);
    for garbage in ["hello", "[1]", r#"{"jsonrpc":"2.0","id":1,"result""#] {
        bench.frame(garbage);
        bench.frame("null");
        assert_eq!(bench.ended(), None);
        bench.push_engine("Active");
    }
    bench.session.noise(bench.now, &bench.sink);
    bench.frame("");
    bench.frame("{]");
    assert!(matches!(bench.ended(), Some((false, _))));
    let counted = bench
        .events
        .iter()
        .filter(|event| **event == Event::Garbage)
        .count();
    assert_eq!(counted, 9);
}

#[test]
fn a_silent_core_is_probed_after_ten_seconds_and_dead_five_later() {
    let mut bench = Bench::live(Transport::Wss);
    let alive = bench.now;
    bench.pass(Duration::from_millis(9_999));
    assert!(!bench.sent.iter().any(|frame| frame.contains("NoOp")));
    bench.pass(Duration::from_millis(1));
    assert!(bench.sent.iter().any(|frame| frame.contains("NoOp")));
    bench.pass(Duration::from_secs(20));
    assert!(matches!(
        bench.ended(),
        Some((false, "the Core has fallen silent"))
    ));
    assert!(bench.session.last_heard() == alive);
}

#[test]
fn something_is_sent_at_least_every_half_minute_even_when_the_core_talks_by_itself() {
    let mut bench = Bench::live(Transport::Tcp);
    bench.pass(Duration::from_millis(400));
    bench.converse();
    let before = bench.count(Method::NoOp);
    let push = r#"{"jsonrpc":"2.0","method":"ChangeGroup.Poll","params":{"Id":"rackhand-all-0","Changes":[]}}"#;
    for _ in 0..60 {
        bench.pass(Duration::from_millis(500));
        bench.frame(push);
    }
    bench.converse();
    assert_eq!(bench.count(Method::NoOp), before + 1);
    assert_eq!(
        bench.count(Method::ChangeGroupPoll),
        1,
        "pushes make polls needless"
    );
}

#[test]
fn forgotten_change_groups_are_made_again() {
    let mut bench = Bench::live(Transport::Wss);
    bench.groups.clear();
    bench.change(&("Gain".into(), "gain".into()), 5.0);
    bench.live_on(Duration::from_secs(1));
    assert_eq!(bench.session.state(), LinkState::Live);
    assert_eq!(bench.groups.len(), 1);
    assert!((bench.sink.values.lock()["Gain/gain"] - 5.0).abs() < f64::EPSILON);
}

#[test]
fn what_a_lost_poll_would_have_told_is_told_by_the_next_one() {
    let mut bench = Bench::live(Transport::Wss);
    bench.change(&("Gain".into(), "gain".into()), 5.0);
    bench.pass(Duration::from_millis(400));
    bench.lose_answers();
    bench.live_on(Duration::from_secs(6));
    assert_eq!(bench.count(Method::ChangeGroupInvalidate), 1);
    assert!((bench.sink.values.lock()["Gain/gain"] - 5.0).abs() < f64::EPSILON);
}

#[test]
fn a_large_design_is_learnt_three_at_a_time_and_subscribed_two_thousand_at_a_time() {
    let mut bench = Bench::new(Transport::Wss);
    for component in 0..20 {
        for control in 0..693 {
            bench
                .values
                .insert((format!("Mix{component}"), format!("c.{control}")), 0.0);
        }
    }
    bench.push_engine("Active");
    let mut unpolled = 0;
    while !bench.sent.is_empty() {
        let waiting = bench
            .sent
            .iter()
            .filter(|frame| frame.contains("GetControls"))
            .count();
        assert!(waiting <= GET_CONTROLS_IN_FLIGHT_MAX);
        let answer = bench.read_one().unwrap();
        match bench.read.last() {
            Some(Request::ChangeGroupAddComponentControl(add)) => {
                unpolled += add.component.controls.len();
            }
            Some(Request::ChangeGroupPoll(_)) => unpolled = 0,
            _ => {}
        }
        assert!(unpolled <= ADDED_PER_POLL_MAX);
        bench.frame(&answer);
    }
    assert_eq!(bench.session.state(), LinkState::Live);
    assert_eq!(bench.sink.values.lock().len(), 20 * 693 + 12);
}

#[test]
fn a_component_that_the_core_never_tells_about_does_not_keep_the_link_from_living() {
    let mut bench = Bench::new(Transport::Wss);
    bench.push_engine("Active");
    while bench.session.state() != LinkState::Live {
        let is_mute = |frame: &String| frame.contains("GetControls") && frame.contains("Meter");
        bench.sent.retain(|frame| !is_mute(frame));
        match bench.read_one() {
            Some(answer) => bench.frame(&answer),
            None => bench.pass(Duration::from_millis(100)),
        }
        assert_eq!(bench.ended(), None);
    }
    assert_eq!(bench.sink.count("component Meter 0"), 1);
}

#[test]
fn what_is_watched_is_polled_fast_and_only_while_it_is() {
    let mut bench = Bench::live(Transport::Wss);
    let control = ControlRef {
        component: Some("Gain".parse().unwrap()),
        control: "gain".parse().unwrap(),
    };
    bench.session.watch(bench.now, [control].into());
    bench.collect();
    bench.live_on(Duration::from_secs(2));
    let polls = bench.count(Method::ChangeGroupPoll);
    assert!(polls >= 15, "{polls}");
    assert_eq!(bench.groups.len(), 2);
    bench.session.watch(bench.now, BTreeSet::new());
    bench.collect();
    bench.live_on(Duration::from_secs(2));
    assert!(bench.count(Method::ChangeGroupPoll) - polls <= 6);
    assert_eq!(bench.groups.len(), 1);
    assert_eq!(bench.count(Method::ChangeGroupDestroy), 1);
}

#[test]
fn a_component_with_too_large_an_answer_costs_two_connections_and_is_then_left_out() {
    let mut oversize = Oversize::default();
    for connection in 0..3 {
        let mut bench = Bench::new(Transport::Wss);
        bench.session.oversize = oversize;
        bench.push_engine("Active");
        while bench.ended().is_none() && bench.session.state() != LinkState::Live {
            let frame = bench.sent.first().expect("something is to be read");
            if frame.contains("GetControls") && frame.contains("Camera") {
                bench.session.cut(bench.now, &Cut::Oversize, &bench.sink);
                bench.collect();
            } else {
                let answer = bench.read_one().unwrap();
                bench.frame(&answer);
            }
        }
        assert_eq!(bench.ended().is_none(), connection == 2);
        oversize = bench.session.oversize().clone();
    }
    assert_eq!(oversize.known(), ["Camera"]);
}
