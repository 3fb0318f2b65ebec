//! The session under random sequences of everything that can happen to it.

use proptest::prelude::*;
use serde_json::json;

use super::bench::{Bench, with_logon};
use crate::link::session::*;
use crate::wire::qrc::Method;

#[derive(Debug, Clone)]
enum Op {
    Answer,
    LoseAnswer,
    Garbage(String),
    Answers(i64, u8),
    Engine(u8),
    Design,
    Forget,
    Refuse(u8, u8),
    Write,
    Watch(bool),
    Pass(u64),
    Cut(bool),
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => Just(Op::Answer),
        3 => Just(Op::LoseAnswer),
        1 => "[ -~]{0,40}".prop_map(Op::Garbage),
        2 => (0_i64..60, any::<u8>()).prop_map(|(id, kind)| Op::Answers(id, kind)),
        2 => any::<u8>().prop_map(Op::Engine),
        1 => Just(Op::Design),
        1 => Just(Op::Forget),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(method, code)| Op::Refuse(method, code)),
        5 => Just(Op::Write),
        2 => any::<bool>().prop_map(Op::Watch),
        6 => (0_u64..3_000).prop_map(Op::Pass),
        1 => any::<bool>().prop_map(Op::Cut),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_every_caller_is_answered_and_nothing_spins(tcp in any::<bool>(), ops in prop::collection::vec(ops(), 0..250)) {
        let transport = if tcp { Transport::Tcp } else { Transport::Wss };
        let mut bench = Bench::with(transport, with_logon());
        let mut answers = Vec::new();
        for op in ops {
            match op {
                Op::Answer => if let Some(answer) = bench.read_one() { bench.frame(&answer) },
                Op::LoseAnswer => drop(bench.read_one()),
                Op::Garbage(text) => bench.frame(&text),
                Op::Answers(id, kind) => {
                    let result = [json!(true), json!(null), json!([]), json!({"Id": "rackhand-all-0", "Changes": [{"Name": "x"}]}), json!({"Name": "Gain", "Controls": []})];
                    bench.frame(&json!({"id": id, "result": result[usize::from(kind) % result.len()]}).to_string());
                }
                Op::Engine(which) => bench.push_engine(["Active", "Standby", "Idle", "Rebooting"][usize::from(which % 4)]),
                Op::Design => {
                    bench.code = if bench.code == "first" { "second" } else { "first" };
                    bench.push_engine("Active");
                }
                Op::Forget => bench.groups.clear(),
                Op::Refuse(method, fault) => {
                    bench.refuse.clear();
                    let method = Method::ALL[usize::from(method) % Method::ALL.len()].as_str();
                    bench.refuse.insert(method, [code::STANDBY, code::LOGON_REQUIRED, code::UNKNOWN_GROUP, code::UNKNOWN_CONTROL, -32_603][usize::from(fault % 5)]);
                }
                Op::Write => answers.push(bench.write(1.0)),
                Op::Watch(on) => {
                    let control = ControlRef { component: Some("Gain".parse().unwrap()), control: "gain".parse().unwrap() };
                    bench.session.watch(bench.now, on.then_some(control).into_iter().collect());
                    bench.collect();
                }
                Op::Pass(millis) => bench.pass(Duration::from_millis(millis)),
                Op::Cut(oversize) => {
                    let cut = if oversize { Cut::Oversize } else { Cut::Closed(String::new()) };
                    bench.session.cut(bench.now, &cut, &bench.sink);
                    bench.collect();
                }
            }
            if !bench.session.has_ended() {
                bench.session.timeout(bench.now, &bench.sink);
                bench.collect();
                prop_assert!(bench.session.has_ended() || bench.session.next_deadline() > bench.now, "a deadline that has been served must not come again");
            }
        }
        bench.pass(Duration::from_secs(6));
        for mut answer in answers {
            prop_assert!(answer.try_recv().is_ok(), "a caller waits for ever");
        }
        if bench.session.has_ended() {
            prop_assert_eq!(bench.sink.count("stale") > 0, bench.sink.count("began") > 0);
            prop_assert!(bench.session.transmit(bench.now).is_none());
        }
    }
}
