//! A design of any size, for load.

use crate::sim::design::{Component, Control, Design, Unit};

/// `components` components with `controls_per` controls each: two floats, a mute and a meter in turn, so that a quarter moves.
#[must_use]
pub fn generated(components: u32, controls_per: u32) -> Design {
    (1..=components).fold(
        Design::new("Generated", "gEnErAtEd001"),
        |design, number| {
            let controls = (1..=controls_per)
                .map(|control| generated_control(number, control))
                .collect();
            design.with(Component::new(
                &format!("Block {number}"),
                "custom_controls",
                controls,
            ))
        },
    )
}

fn generated_control(component: u32, number: u32) -> Control {
    let range = (-100.0, 20.0);
    match number % 4 {
        1 => Control::float(&format!("channel.{number}.gain"), range, Unit::Db, 0.0),
        2 => Control::mute(&format!("channel.{number}.mute"), false),
        3 => Control::float(
            &format!("channel.{number}.trim"),
            (-20.0, 20.0),
            Unit::Db,
            0.0,
        ),
        _ => Control::float(
            &format!("channel.{number}.meter"),
            (-120.0, 20.0),
            Unit::Db,
            -40.0,
        )
        .read_only()
        .moving(12.0, f64::from(component) + f64::from(number) / 7.0),
    }
}
