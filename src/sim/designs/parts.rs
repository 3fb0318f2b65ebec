//! Components as Designer has them, with the control names that real designs showed.

use crate::sim::design::{Component, Control, Unit};

const GAIN: (f64, f64) = (-100.0, 20.0);
const CROSSPOINT: (f64, f64) = (-100.0, 10.0);
const METER: (f64, f64) = (-120.0, 20.0);

fn db(name: &str, value: f64) -> Control {
    Control::float(name, GAIN, Unit::Db, value)
}

fn meter(name: &str, base: f64, phase: f64) -> Control {
    Control::float(name, METER, Unit::Db, base)
        .read_only()
        .moving(12.0, phase)
}

fn phase_of(name: &str) -> f64 {
    name.bytes().map(f64::from).sum()
}

fn toggle(name: &str, on: bool) -> Control {
    Control::boolean(name, on)
}

/// `gain` with steppers.
pub(super) fn gain(name: &str, value: f64) -> Component {
    Component::new(
        name,
        "gain",
        vec![
            db("gain", value),
            Control::mute("mute", false),
            toggle("invert", false).words("normal", "inverted"),
            toggle("bypass", false).words("no", "yes"),
            Control::trigger("stepper.increase"),
            Control::trigger("stepper.decrease"),
            Control::float("stepper.value", (0.1, 24.0), Unit::Db, 3.0),
        ],
    )
    .property("max_gain", "20", "Max Gain (dB)")
    .property("min_gain", "-100", "Min Gain (dB)")
    .property("enable_stepper", "true", "Steppers")
    .property("multi_channel_count", "1", "Channel Count")
}

/// `mixer`; labels name the inputs.
pub(super) fn mixer(name: &str, labels: &[&str], outputs: usize, cues: usize) -> Component {
    let mut controls = Vec::new();
    for (input, label) in (1..).zip(labels) {
        let prefix = format!("input.{input}");
        controls.extend([
            db(&format!("{prefix}.gain"), 0.0),
            Control::mute(&format!("{prefix}.mute"), false),
            toggle(&format!("{prefix}.solo"), false),
            toggle(&format!("{prefix}.invert"), false).words("normal", "inverted"),
            Control::text(&format!("{prefix}.label"), label),
            Control::float(&format!("{prefix}.trim"), (-20.0, 20.0), Unit::Db, 0.0),
        ]);
        for output in 1..=outputs {
            let point = format!("{prefix}.output.{output}");
            let level = if input == output { 0.0 } else { -100.0 };
            controls.extend([
                Control::float(&format!("{point}.gain"), CROSSPOINT, Unit::Db, level),
                Control::mute(&format!("{point}.mute"), false),
                toggle(&format!("{point}.solo"), false),
                Control::float(&format!("{point}.delay"), (0.0, 2.0), Unit::Seconds, 0.0),
            ]);
        }
        for cue in 1..=cues {
            controls.extend([
                toggle(&format!("{prefix}.cue.{cue}.enable"), false),
                toggle(&format!("{prefix}.cue.{cue}.afl"), false),
            ]);
        }
    }
    for output in 1..=outputs {
        controls.extend([
            db(&format!("output.{output}.gain"), 0.0),
            Control::mute(&format!("output.{output}.mute"), false),
            Control::text(
                &format!("output.{output}.label"),
                &format!("Output {output}"),
            ),
        ]);
    }
    for cue in 1..=cues {
        controls.extend([
            db(&format!("cue.{cue}.gain"), 0.0),
            Control::mute(&format!("cue.{cue}.mute"), false),
        ]);
    }
    Component::new(name, "mixer", controls)
        .property("n_inputs", &labels.len().to_string(), "Inputs")
        .property("n_outputs", &outputs.to_string(), "Outputs")
        .property("n_cues", &cues.to_string(), "Cues")
}

/// `router_with_output`: output `n` listens to input `n` at first.
pub(super) fn router(name: &str, inputs: u32, outputs: u32) -> Component {
    let mut controls = Vec::new();
    for output in 1..=outputs {
        let chosen = output.min(inputs);
        controls.push(Control::integer(
            &format!("select.{output}"),
            (1.0, f64::from(inputs)),
            f64::from(chosen),
        ));
        controls.push(Control::mute(&format!("mute.{output}"), false));
        controls.extend((1..=inputs).map(|input| {
            toggle(
                &format!("output.{output}.input.{input}.select"),
                input == chosen,
            )
        }));
    }
    Component::new(name, "router_with_output", controls)
        .property("n_inputs", &inputs.to_string(), "Inputs")
        .property("n_outputs", &outputs.to_string(), "Outputs")
}

/// `selector`: the first entry is active.
pub(super) fn selector(name: &str, entries: &[&str]) -> Component {
    let listed: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(n, entry)| format!("{{\"Index\":{n},\"Text\":\"{entry}\"}}"))
        .collect();
    let choices: Vec<_> = listed.iter().map(String::as_str).collect();
    let mut controls = vec![Control::combo(
        "selector",
        &choices,
        choices.first().copied().unwrap_or(""),
    )];
    for (n, entry) in entries.iter().enumerate() {
        controls.push(toggle(&format!("selector.{n}"), n == 0));
        controls.push(Control::text(&format!("label.{n}"), entry));
    }
    Component::new(name, "selector", controls).property(
        "count",
        &entries.len().to_string(),
        "Count",
    )
}

/// `snapshot_controller`; it loads and saves the bank of the same name.
pub(super) fn snapshots(name: &str, slots: u32) -> Component {
    let mut controls = Vec::new();
    for slot in 1..=slots {
        controls.extend([
            Control::state_trigger(&format!("load.{slot}")),
            Control::trigger(&format!("load.trigger.{slot}")),
            Control::integer(&format!("load.state.{slot}"), (0.0, 2.0), 0.0).read_only(),
            Control::trigger(&format!("save.{slot}")),
            toggle(&format!("last.{slot}"), false).read_only(),
            toggle(&format!("match.{slot}"), false).read_only(),
        ]);
    }
    controls.extend([
        Control::float("ramp.time", (0.0, 60.0), Unit::Seconds, 0.0),
        Control::trigger("load.next"),
        Control::trigger("load.previous"),
        toggle("write.protect", false),
    ]);
    Component::new(name, "snapshot_controller", controls).property(
        "n_snapshots",
        &slots.to_string(),
        "Snapshots",
    )
}

/// `meter2` whose meters move.
pub(super) fn meters(name: &str, channels: u32, base: f64) -> Component {
    let mut controls = Vec::new();
    for channel in 1..=channels {
        let phase = phase_of(name) + f64::from(channel);
        controls.push(meter(&format!("meter.{channel}"), base, phase));
        controls.push(meter(&format!("peak.{channel}"), base + 6.0, phase + 0.3));
    }
    controls.push(Control::float("hold.time", (0.0, 60.0), Unit::Seconds, 1.0));
    controls.push(toggle("infinite.hold", false));
    Component::new(name, "meter2", controls).property("meter_type", "Peak", "Meter Type")
}

/// `audio_file_player`.
pub(super) fn player(name: &str, file: &str) -> Component {
    Component::new(
        name,
        "audio_file_player",
        vec![
            Control::trigger("play"),
            Control::trigger("pause"),
            Control::trigger("stop"),
            toggle("playing", false).read_only(),
            toggle("paused", false).read_only(),
            toggle("stopped", true).read_only(),
            toggle("loop", false),
            Control::mute("mute", false),
            db("gain", 0.0),
            Control::time("progress", 0.0),
            Control::time("remaining", super::super::plant::TRACK_SECONDS),
            Control::float(
                "locate",
                (0.0, super::super::plant::TRACK_SECONDS),
                Unit::Seconds,
                0.0,
            ),
            Control::combo(
                "filename",
                &["Walk-in.mp3", "Chime.wav", "Evacuation.wav"],
                file,
            ),
            Control::text("directory", "Music"),
            Control::text("root", "Audio"),
            Control::status("status", 0, "OK"),
        ],
    )
}

/// `loop_player`.
pub(super) fn loop_player(name: &str, outputs: u32) -> Component {
    let mut controls = Vec::new();
    for output in 1..=outputs {
        let prefix = format!("output.{output}");
        controls.extend([
            db(&format!("{prefix}.gain"), 0.0),
            Control::time(&format!("{prefix}.elapsed"), 0.0),
            Control::time(&format!("{prefix}.remaining"), 0.0),
            Control::text(&format!("{prefix}.status"), "Idle").read_only(),
            Control::text(&format!("{prefix}.next"), "").read_only(),
        ]);
    }
    Component::new(name, "loop_player", controls).property(
        "n_outputs",
        &outputs.to_string(),
        "Outputs",
    )
}

/// `equalizer_parametric`.
pub(super) fn equalizer(name: &str, bands: u32) -> Component {
    let mut controls = vec![
        Control::float("master.gain", GAIN, Unit::Db, 0.0),
        toggle("bypass", false).words("no", "yes"),
        Control::mute("mute", false),
    ];
    for band in 1..=bands {
        let pitch = (100.0 * f64::from(band).powi(2)).min(20_000.0);
        controls.extend([
            Control::float(
                &format!("frequency.{band}"),
                (20.0, 20_000.0),
                Unit::Hertz,
                pitch,
            )
            .logarithmic(),
            Control::float(&format!("gain.{band}"), (-24.0, 24.0), Unit::Db, 0.0),
            Control::float(&format!("bandwidth.{band}"), (0.05, 4.0), Unit::None, 1.0)
                .logarithmic(),
            Control::computed(&format!("q.factor.{band}"), (0.1, 30.0), 1.41),
            Control::integer(&format!("type.{band}"), (1.0, 3.0), 1.0),
            toggle(&format!("bypass.{band}"), false).words("no", "yes"),
        ]);
    }
    Component::new(name, "equalizer_parametric", controls).property(
        "n_bands",
        &bands.to_string(),
        "Bands",
    )
}

/// `compressor`, `limiter` or `gate`.
pub(super) fn dynamics(name: &str, kind: &str, threshold: f64) -> Component {
    let phase = phase_of(name);
    let component = Component::new(
        name,
        kind,
        vec![
            Control::float("threshold.level", (-60.0, 20.0), Unit::Db, threshold),
            Control::float("ratio", (1.0, 100.0), Unit::None, 4.0).logarithmic(),
            Control::float("attack", (0.000_1, 0.5), Unit::Seconds, 0.01).logarithmic(),
            Control::float("release", (0.01, 5.0), Unit::Seconds, 0.2).logarithmic(),
            Control::float("soft.knee", (0.0, 20.0), Unit::Db, 0.0),
            meter("detector.level", -40.0, phase),
            Control::float("applied.gain", (-100.0, 0.0), Unit::Db, -3.0)
                .read_only()
                .moving(3.0, phase + 0.5),
            Control::float("output.gain", GAIN, Unit::Db, 0.0),
            toggle("bypass", false).words("no", "yes"),
        ],
    );
    if kind == "gate" {
        component
            .with(Control::float("hold.time", (0.0, 5.0), Unit::Seconds, 0.1))
            .with(toggle("open", true).read_only())
    } else {
        component
    }
}

/// `delay`.
pub(super) fn delay(name: &str, seconds: f64) -> Component {
    let controls = vec![
        Control::float("delay", (0.0, 2.0), Unit::Seconds, seconds),
        toggle("bypass", false).words("no", "yes"),
    ];
    Component::new(name, "delay", controls)
}

/// `room_combiner` with `rooms` rooms in a row and a wall between each two.
pub(super) fn room_combiner(name: &str, rooms: u32) -> Component {
    let mut controls = Vec::new();
    for wall in 1..rooms {
        controls.push(toggle(&format!("wall.{wall}.open"), false));
    }
    for room in 1..=rooms {
        controls.push(toggle(&format!("output.{room}.combined"), false).read_only());
        controls.push(db(&format!("room.{room}.gain"), 0.0));
        controls.push(Control::mute(&format!("room.{room}.mute"), false));
    }
    Component::new(name, "room_combiner", controls).property("n_rooms", &rooms.to_string(), "Rooms")
}

/// A block of analogue inputs or outputs of the Core.
pub(super) fn analog(name: &str, kind: &str, channels: u32) -> Component {
    let mut controls = Vec::new();
    for channel in 1..=channels {
        let prefix = format!("channel.{channel}");
        let phase = phase_of(name) + f64::from(channel);
        if kind == "output_box" {
            controls.push(db(&format!("{prefix}.output.gain"), 0.0));
            controls.push(Control::mute(&format!("{prefix}.output.mute"), false));
            controls.push(meter(
                &format!("{prefix}.digital.output.level"),
                -30.0,
                phase,
            ));
        } else {
            controls.push(db(&format!("{prefix}.input.gain"), 0.0));
            controls.push(Control::mute(&format!("{prefix}.input.mute"), false));
            controls.push(Control::float(
                &format!("{prefix}.preamp.gain"),
                (0.0, 66.0),
                Unit::Db,
                36.0,
            ));
            controls
                .push(toggle(&format!("{prefix}.phantom.power"), channel == 1).words("off", "on"));
            controls.push(meter(
                &format!("{prefix}.digital.input.level"),
                -42.0,
                phase,
            ));
            controls.push(toggle(&format!("{prefix}.clip"), false).read_only());
        }
    }
    Component::new(name, kind, controls).property(
        "channel_count",
        &channels.to_string(),
        "Channel Count",
    )
}

/// A device of the inventory: a status with its text, and what else `more` brings.
pub(super) fn device(
    name: &str,
    kind: &str,
    (code, text): (u8, &str),
    more: Vec<Control>,
) -> Component {
    let mut controls = vec![
        Control::status("status", code, text),
        toggle("status.led", code == 0).read_only(),
        Control::text("device.name", &name.replace(' ', "-")).read_only(),
    ];
    controls.extend(more);
    Component::new(name, kind, controls)
}

/// A temperature that drifts.
pub(super) fn temperature(name: &str, value: f64) -> Control {
    Control::float(name, (0.0, 100.0), Unit::Celsius, value).read_only()
}
