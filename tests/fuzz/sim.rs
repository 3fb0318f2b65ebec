//! The simulated Core, which everything else is tried against: clients of all sorts, and faults in between.

use std::time::Duration;

use bolero::TypeGenerator;
use rackhand::sim::{Options, SimCore, console, design};
use rackhand::wire::jsonrpc::{Frame, Id};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::house::runtime;
use super::json::{Bent, Slip, ToCore};

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Step {
    Frame(Bent<ToCore>),
    /// What is no frame at all.
    Bytes([u8; 12]),
    /// So many times 5 ms: after a minute of silence the Core would end the connection.
    Passes(u8),
    Console(u8, Option<Slip>),
}

/// Lines for the control port.
const LINES: &[&str] = &[
    "status",
    "get \"Hall A Gain\" gain",
    "set \"Hall A Gain\" gain -3",
    "reboot 3",
    "boot-slowly 2",
    "outage 1 1 1",
    "close",
    "reset",
    "freeze on",
    "freeze off",
    "refuse on",
    "mute on",
    "standby on",
    "standby off",
    "switch-over",
    "slow 0.5",
    "lose 2",
    "lose-writes 1",
    "fail NoOp 6 no",
    "garbage 2",
    "oversize 100",
    "split 3",
    "split off",
    "auto-poll off",
    "forget-groups",
    "design b",
    "design c \"Hall A Gain\" \"Hall B\"",
    "swap-design d",
    "meters 0.1",
    "help",
    "get \"",
];

/// It answers every request that it can read, writes nothing but frames, and never panics.
pub(crate) fn holds(steps: &Vec<Step>) {
    let is_well = !steps.iter().any(|step| matches!(step, Step::Console(..)));
    let sent = runtime().block_on(async {
        let sim = SimCore::new(design::venue(), Options::default());
        let (mut ours, theirs) = tokio::io::duplex(64 << 20);
        let mut asked = Vec::new();
        let client = async {
            for step in steps {
                match step {
                    Step::Frame(frame) => {
                        asked.extend(id_of(&frame.text));
                        send(&mut ours, frame.text.as_bytes()).await;
                    }
                    Step::Bytes(bytes) => send(&mut ours, bytes).await,
                    Step::Passes(steps) => {
                        sleep(Duration::from_millis(u64::from(*steps) * 5)).await;
                    }
                    Step::Console(line, slip) => {
                        let mut line = LINES[usize::from(*line) % LINES.len()].to_owned();
                        if let Some(slip) = slip {
                            slip.clone().apply(&mut line);
                        }
                        let _words = console::command(&sim, &line);
                    }
                }
            }
            let mut heard = Vec::new();
            let _ended = timeout(Duration::from_mins(2), ours.read_to_end(&mut heard)).await;
            drop(ours);
            heard
        };
        let (heard, served) = tokio::join!(
            client,
            timeout(Duration::from_mins(15), sim.serve_tcp(theirs))
        );
        let may_hang = !is_well;
        assert!(served.is_ok() || may_hang, "the connection does not end");
        (asked, heard)
    });
    if is_well {
        let (asked, heard) = sent;
        are_frames(&heard, &asked);
    }
}

async fn send(stream: &mut tokio::io::DuplexStream, bytes: &[u8]) {
    // A Core that has closed takes nothing any more.
    let _sent = stream.write_all(bytes).await;
    let _sent = stream.write_all(&[0]).await;
}

/// The id of a request that has to be answered.
fn id_of(text: &str) -> Option<Id> {
    let is_frame = !text.contains('\0') && text.trim_start().starts_with('{');
    let frame: Frame<'_> = serde_json::from_str(text).ok().filter(|_| is_frame)?;
    frame.id.filter(|_| frame.method.is_some())
}

fn are_frames(heard: &[u8], asked: &[Id]) {
    let mut answers = Vec::new();
    for frame in heard
        .split(|byte| *byte == 0)
        .filter(|frame| !frame.is_empty())
    {
        let text = std::str::from_utf8(frame).expect("a frame is text");
        let frame: Frame<'_> =
            serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        let has_outcome = frame.result.is_some() != frame.error.is_some();
        assert_eq!(has_outcome, frame.method.is_none(), "{text}");
        answers.extend(frame.id);
    }
    for id in asked {
        assert!(answers.contains(id), "{id:?} was not answered");
    }
}
