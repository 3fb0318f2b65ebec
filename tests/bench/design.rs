//! A large design as a Core would tell it, and polls of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rackhand::model::change::ChangeSink;
use rackhand::wire::qrc::{
    ComponentFacts, ControlFacts, EngineState, EngineStatus, Property, Scalar,
};
use tokio::time::Instant;

use crate::random::Random;

/// Controls of one component.
pub(crate) const CONTROLS_PER: usize = 50;

/// Kinds of control that take turns in a component; every tenth is a meter.
const TURNS: usize = 10;

/// Where the meter stands among them.
const METER: usize = 3;

/// Name of component `index`.
pub(crate) fn component_name(index: usize) -> String {
    const PLACES: [&str; 8] = [
        "Lecture Hall",
        "Foyer",
        "Boardroom",
        "Atrium",
        "Auditorium",
        "Breakout",
        "Chapel",
        "Gym",
    ];
    const PARTS: [&str; 5] = ["Mixer", "Router", "Processor", "Amplifier", "Zone Control"];
    let (place, part) = (PLACES[index % PLACES.len()], PARTS[index % PARTS.len()]);
    format!("{place} {part} {}", index / PLACES.len() + 1)
}

/// Name of control `index` of any component.
pub(crate) fn control_name(index: usize) -> String {
    let channel = index / TURNS + 1;
    let word = match index % TURNS {
        0 => "gain",
        1 => "mute",
        2 => "label",
        METER => "meter",
        4 => "invert",
        5 => "solo",
        6 => "pan",
        7 => "delay",
        8 => "trim",
        _ => "status",
    };
    format!("input.{channel}.{word}")
}

/// The engine that runs it.
pub(crate) fn engine() -> EngineStatus {
    EngineStatus {
        platform: Some("Core 24f".into()),
        state: EngineState::Active,
        design_name: "Congress Centre".into(),
        design_code: "bEnCh0000001".into(),
        is_redundant: false,
        is_emulator: false,
        status: None,
    }
}

fn component(index: usize) -> ComponentFacts {
    let name = component_name(index);
    ComponentFacts {
        id: name.clone(),
        name,
        kind: "mixer".into(),
        properties: vec![Property {
            name: "n_inputs".into(),
            value: Some(Scalar::Text("5".into())),
            pretty_name: "Inputs".into(),
        }],
        controls: None,
        control_source: 2,
    }
}

fn control(index: usize, random: &mut Random) -> ControlFacts<'static> {
    let turn = index % TURNS;
    let (kind, range) = match turn {
        0 | 8 | METER => ("Float", Some((-100.0, 20.0, "-100dB", "20.0dB"))),
        6 => ("Float", Some((-1.0, 1.0, "L", "R"))),
        7 => ("Time", Some((0.0, 0.5, "0.00ms", "500ms"))),
        2 => ("Text", None),
        9 => ("Status", None),
        _ => ("Boolean", None),
    };
    let state = State::of(index, random);
    ControlFacts {
        name: control_name(index).into(),
        kind: Some(kind.into()),
        value: Some(match state.text {
            Some(text) => Scalar::Text(text.into()),
            None => Scalar::Number(state.value),
        }),
        values: Vec::new(),
        value_min: range.map(|range| range.0),
        value_max: range.map(|range| range.1),
        string_min: range.map(|range| range.2.into()),
        string_max: range.map(|range| range.3.into()),
        string: Some(state.string.into()),
        position: Some(state.position),
        direction: Some(
            if matches!(turn, METER | 9) {
                "Read Only"
            } else {
                "Read/Write"
            }
            .into(),
        ),
    }
}

/// Where a control stands.
struct State {
    value: f64,
    text: Option<String>,
    string: String,
    position: f64,
}

impl State {
    fn of(index: usize, random: &mut Random) -> Self {
        let step = random.below(1200);
        let position = f64::from((step as f32) / 1200.0);
        let number = |value: f64, string: String| Self {
            value,
            text: None,
            string,
            position,
        };
        match index % TURNS {
            0 | 8 | METER => {
                let value = step as f64 / 10.0 - 100.0;
                number(value, format!("{value:.1}dB"))
            }
            1 | 4 | 5 => {
                let on = step % 2;
                let string = if on == 1 { "true" } else { "false" };
                number(on as f64, string.into())
            }
            2 => {
                const LABELS: [&str; 4] = [
                    "Lectern mic",
                    "Röhre 3",
                    "Ceiling mic, rear left",
                    "Laptop HDMI",
                ];
                let text = LABELS[step % LABELS.len()];
                Self {
                    value: 0.0,
                    text: Some(text.into()),
                    string: text.into(),
                    position: 0.0,
                }
            }
            9 => number(0.0, format!("OK - {} V", 228 + step % 5)),
            _ => {
                let value = step as f64 / 1200.0;
                number(value, format!("{value:.2}"))
            }
        }
    }
}

/// Tells a design of this many controls, its values included, and confirms them.
pub(crate) fn tell(sink: &dyn ChangeSink, controls: usize) {
    let mut random = Random(1);
    let now = Instant::now();
    sink.design_began(&engine(), now);
    for index in 0..controls / CONTROLS_PER {
        let facts: Vec<_> = (0..CONTROLS_PER)
            .map(|index| control(index, &mut random))
            .collect();
        sink.component(&component(index), &facts, now);
    }
    sink.design_ended(now);
    sink.confirmed(now);
}

/// Which controls move.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mix {
    /// Nine of ten changes are a meter's, of the rest four fifths are those of a few busy controls. A frame has each control once,
    /// in the order in which controls were registered.
    Meters,
    /// Any control, in any order.
    Any,
}

impl Mix {
    /// The controls that one frame reports.
    fn moved(self, controls: usize, changes: usize, random: &mut Random) -> Vec<usize> {
        if matches!(self, Self::Any) {
            return (0..changes).map(|_| random.below(controls)).collect();
        }
        let mut moved = BTreeSet::new();
        while moved.len() < changes {
            let any = random.below(controls);
            moved.insert(match random.below(100) {
                0..90 => any / TURNS * TURNS + METER,
                // Faders and the like: some of the first thousand controls.
                90..98 => (any % 1000) / TURNS * TURNS + [0, 1, 2, 8][any % 4],
                _ => any,
            });
        }
        moved.into_iter().collect()
    }
}

/// Poll frames of a design of this many controls, `changes` each.
pub(crate) fn polls(controls: usize, frames: usize, changes: usize, mix: Mix) -> Vec<String> {
    let mut random = Random(2);
    (0..frames)
        .map(|frame| poll(controls, frame, changes, mix, &mut random))
        .collect()
}

/// One poll frame.
pub(crate) fn poll(
    controls: usize,
    id: usize,
    changes: usize,
    mix: Mix,
    random: &mut Random,
) -> String {
    let mut text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"Id":"slow","Changes":["#);
    for (index, moved) in mix.moved(controls, changes, random).into_iter().enumerate() {
        let state = State::of(moved, random);
        let (component, control) = (
            component_name(moved / CONTROLS_PER),
            control_name(moved % CONTROLS_PER),
        );
        let comma = if index == 0 { "" } else { "," };
        let value = match &state.text {
            Some(text) => format!("\"{text}\""),
            None => state.value.to_string(),
        };
        // Positions are single precision on the wire.
        let position = state.position as f32;
        write!(
            text,
            r#"{comma}{{"Component":"{component}","Name":"{control}","String":"{}","Value":{value},"Position":{position}}}"#,
            state.string
        )
        .ok();
    }
    text.push_str("]}}");
    text
}
