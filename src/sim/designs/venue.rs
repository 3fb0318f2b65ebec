//! The default design: the building of a small convention centre, with what technicians meet there.

use std::fmt::Write as _;

use super::parts::{
    analog, delay, device, dynamics, equalizer, gain, loop_player, meters, mixer, player,
    room_combiner, router, selector, snapshots, temperature,
};
use crate::sim::design::{Bank, Component, Control, Design, Look, ScriptAccess, Unit};

/// The default design: 47 components that may be seen, two that may not, one device of the inventory with a fault.
#[must_use]
pub fn venue() -> Design {
    let design = Design::new("Lakeside Convention Centre", "qLk51dE7aV0n").platform("Core 110f");
    let design = rooms(design);
    let design = processing(design);
    let design = playback_and_paging(design);
    let design = devices(design);
    scenes(scripts(design))
}

fn rooms(design: Design) -> Design {
    let microphones = [
        "Lectern",
        "Handheld 1",
        "Handheld 2",
        "Lapel 1",
        "Lapel 2",
        "Ceiling",
        "Laptop",
        "Playback",
    ];
    design
        .with(mixer("Main Mixer", &microphones, 4, 2))
        .with(mixer("Foyer Mixer", &["Music", "Paging"], 2, 0))
        .with(gain("Hall A Gain", -6.0))
        .with(gain("Hall B Gain", -6.0))
        .with(gain("Hall C Gain", -10.0))
        .with(gain("Foyer Gain", -20.0))
        .with(gain("Terrace Gain", -30.0))
        .with(gain("Stream Gain", 0.0))
        .with(gain("Hearing Loop Gain", -3.0))
        .with(room_combiner("Hall Combiner", 3))
        .with(router("Projector Router", 6, 4))
        .with(router("Audio Router", 8, 8))
        .with(selector(
            "Hall A Source",
            &["Laptop HDMI", "Lectern PC", "Wireless", "Camera"],
        ))
        .with(selector(
            "Hall B Source",
            &["Laptop HDMI", "Wireless", "Camera"],
        ))
        .named("MainGain", "Hall A Gain", "gain")
        .named("MainMute", "Hall A Gain", "mute")
        .named("FoyerGain", "Foyer Gain", "gain")
        .named("Lectern Mic Mute", "Main Mixer", "input.1.mute")
}

fn processing(design: Design) -> Design {
    design
        .with(analog("Stage Inputs", "input_box", 8))
        .with(analog("Hall Outputs", "output_box", 8))
        .with(meters("Input Meters", 8, -38.0))
        .with(meters("Hall Meters", 4, -24.0))
        .with(equalizer("Hall A EQ", 6))
        .with(equalizer("Hall B EQ", 6))
        .with(equalizer("Foyer EQ", 3))
        .with(dynamics("Lectern Compressor", "compressor", -20.0))
        .with(dynamics("Lectern Gate", "gate", -50.0))
        .with(dynamics("Hall A Limiter", "limiter", -3.0))
        .with(dynamics("Hall B Limiter", "limiter", -3.0))
        .with(delay("Hall A Rear Delay", 0.024))
        .with(delay("Terrace Delay", 0.085))
        .with(Component::new(
            "Room Analyser",
            "real_time_analyzer",
            vec![
                Control::array(
                    "magnitude",
                    &[-62.0, -48.5, -41.0, -38.5, -44.0, -51.5, -60.0],
                ),
                Control::boolean("bypass", false).words("no", "yes"),
            ],
        ))
}

fn playback_and_paging(design: Design) -> Design {
    let zones = [
        ("Hall A", "Halls"),
        ("Hall B", "Halls"),
        ("Hall C", "Halls"),
        ("Foyer", "Public"),
        ("Terrace", "Public"),
    ];
    let mut paging = Component::new("PA", "pa_router", Vec::new());
    for (number, (name, _)) in (1..).zip(zones) {
        paging = paging
            .with(Control::float(
                &format!("zone.{number}.gain"),
                (-100.0, 20.0),
                Unit::Db,
                -12.0,
            ))
            .with(Control::mute(&format!("zone.{number}.mute"), false))
            .with(Control::boolean(&format!("zone.{number}.active"), false).read_only())
            .with(Control::text(&format!("zone.{number}.name"), name).read_only());
    }
    let design = design
        .with(paging)
        .with(player("Walk-in Player", "Walk-in.mp3"))
        .with(player("Chime Player", "Chime.wav"))
        .with(loop_player("Show Loops", 4))
        .media("Walk-in.mp3")
        .media("Chime.wav")
        .media("Evacuation.wav")
        .media("Rain.wav")
        .media("Welcome.wav");
    zones.iter().fold(design, |design, &(name, group)| {
        design.zone(name, group, &[group, "Everywhere"])
    })
}

fn devices(design: Design) -> Design {
    let camera = vec![
        Control::float("pan", (-170.0, 170.0), Unit::None, 0.0),
        Control::float("tilt", (-30.0, 90.0), Unit::None, 10.0),
        Control::float("zoom", (1.0, 20.0), Unit::None, 1.0).logarithmic(),
        Control::boolean("toggle.privacy", false).words("off", "on"),
        Control::trigger("preset.home.load"),
        Control::trigger("preset.home.save"),
        Control::combo(
            "preset.select",
            &["Lectern", "Stage wide", "Audience"],
            "Stage wide",
        ),
        Control::boolean("autoframe.enable", false),
    ];
    let core = vec![
        Control::text("clock.master", "Core-110f").read_only(),
        Control::text("grandmaster.name", "Core-110f").read_only(),
        temperature("processor.temperature", 52.0).moving(1.5, 0.4),
        Control::float("system.fan.1.speed", (0.0, 6_000.0), Unit::Rpm, 2_400.0)
            .read_only()
            .moving(60.0, 1.1),
        Control::text("lan.a.address", "10.20.0.10").read_only(),
        Control::text("lan.b.address", "10.21.0.10").read_only(),
        Control::text("design.name", "Lakeside Convention Centre").read_only(),
    ];
    let amplifier = |celsius| {
        vec![
            temperature("temperature", celsius),
            Control::boolean("channel.1.clip", false).read_only(),
            Control::mute("channel.1.mute", false),
            Control::mute("channel.2.mute", false),
        ]
    };
    design
        .with(device(
            "Stage Camera",
            "onvif_camera_operative",
            (0, "OK"),
            camera.clone(),
        ))
        .with(device(
            "Audience Camera",
            "onvif_camera_operative",
            (0, "OK"),
            camera,
        ))
        .with(device("Core Status", "core_status", (0, "OK"), core))
        .with(device(
            "Hall A Amplifier",
            "cxq_amplifier",
            (0, "OK"),
            amplifier(48.0),
        ))
        .with(device(
            "Hall B Amplifier",
            "cxq_amplifier",
            (2, "Fault - Channel 2 over temperature"),
            amplifier(91.0),
        ))
        .with(device(
            "Hall A Touch Panel",
            "touch_screen_status",
            (0, "OK"),
            Vec::new(),
        ))
        .with(device(
            "Hall B Touch Panel",
            "touch_screen_status",
            (0, "OK"),
            Vec::new(),
        ))
        .with(device(
            "Hall A Display",
            "vst_hdmi_display",
            (0, "OK"),
            vec![Control::boolean("power", true).words("off", "on")],
        ))
        .with(device(
            "Lectern Source",
            "vst_hdmi_source",
            (0, "OK"),
            Vec::new(),
        ))
        .with(device(
            "Dante Receivers",
            "soft_dante_input",
            (0, "OK"),
            Vec::new(),
        ))
        .with(device(
            "Network Monitor",
            "monitoring_proxy",
            (0, "OK"),
            Vec::new(),
        ))
}

fn scripts(design: Design) -> Design {
    let panel = vec![
        Control::text("text.1", "Good morning"),
        Control::boolean("led.1", true).read_only().look(Look {
            color: "#FF00FF00".to_owned(),
            ..Look::default()
        }),
        Control::boolean("button.1", false).look(Look {
            legend: "Do not disturb".to_owned(),
            ..Look::default()
        }),
        Control::trigger("button.2").look(Look {
            legend: "Call host".to_owned(),
            disabled: true,
            ..Look::default()
        }),
        Control::combo(
            "combo.1",
            &["Presentation", "Conference", "Concert", "Off"],
            "Presentation",
        ),
        Control::integer("knob.1", (0.0, 10.0), 5.0),
        Control::float("lights", (0.0, 100.0), Unit::Percent, 70.0),
    ];
    let script = vec![
        Control::text("code", &lua()),
        Control::text("log.history", "Started").read_only(),
        Control::trigger("log.clear"),
        Control::trigger("reload"),
        Control::status("script.status", 0, "OK"),
        Control::integer("script.error.count", (0.0, 1_000_000.0), 0.0).read_only(),
        Control::boolean("blinds.down", false),
        Control::boolean("projector.on", false),
    ];
    design
        .with(Component::new("Wall Panel", "custom_controls", panel))
        .with(Component::new(
            "Room Script",
            "device_controller_script",
            script,
        ))
        .with(gain("Alarm Override", 0.0).access(ScriptAccess::None))
        .with(gain("Internal Ducker", 0.0).access(ScriptAccess::Script))
}

fn scenes(design: Design) -> Design {
    let members = [
        ("Hall A Gain", "gain"),
        ("Hall A Gain", "mute"),
        ("Hall B Gain", "gain"),
        ("Foyer Gain", "gain"),
        ("Main Mixer", "input.1.mute"),
        ("Wall Panel", "lights"),
    ];
    let house = Bank::new("House Scenes", 8, &members)
        .saved(&[-6.0, 0.0, -6.0, -20.0, 0.0, 100.0])
        .saved(&[-3.0, 0.0, -3.0, -26.0, 0.0, 30.0])
        .saved(&[-40.0, 1.0, -40.0, -40.0, 1.0, 0.0]);
    let lights = Bank::new("Light Scenes", 4, &[("Wall Panel", "lights")])
        .saved(&[100.0])
        .saved(&[20.0]);
    design
        .with(snapshots("House Scenes", 8))
        .with(snapshots("Light Scenes", 4))
        .bank(house)
        .bank(lights)
}

/// The text of a long script: about 190 KiB, as large as real ones get.
fn lua() -> String {
    let mut code = String::from("-- Room automation\nlocal rooms = {}\n");
    for number in 1..=2_600 {
        let is_open = number % 2 == 0;
        let _ = writeln!(
            code,
            "rooms[{number}] = {{ level = Controls.lights.Value, open = {is_open} }} -- seat row {number}"
        );
    }
    code
}
