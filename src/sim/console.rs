//! The control port's language: one command a line, answered by `ok` (after what there is to show) or by `error: …`.
//!
//! Words are separated by blanks; a name with blanks stands in double quotes. `help` lists the commands:
//!
#![doc = concat!("```text\n", include_str!("console.txt"), "```")]

use std::time::Duration;

use super::SimCore;
use super::fault::Outage;
use crate::wire::qrc::Method;

const HELP: &str = include_str!("console.txt");

/// Frames of rubbish that one command sends at most.
const GARBAGE_MAX: usize = 10_000;

/// Bytes that one command adds to a frame at most: four times what a client has to take.
const OVERSIZE_MAX_BYTES: usize = 64 << 20;

/// Carries a command out and says what there is to show; an empty text means just that it was done.
///
/// # Errors
///
/// What was wrong with the line, in words.
pub fn command(sim: &SimCore, line: &str) -> Result<String, String> {
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["help"] => return Ok(HELP.trim_end().to_owned()),
        ["status"] => return Ok(status(sim)),
        ["get", component, control] => {
            let value = sim.value(component, control).ok_or("no such control")?;
            return Ok(format!(
                "{value} {}",
                sim.text(component, control).unwrap_or_default()
            ));
        }
        ["set", component, control, value] => {
            let is_there = match value.parse() {
                Ok(number) => sim.set_value(component, control, number),
                Err(_) => sim.set_text(component, control, value),
            };
            return if is_there {
                Ok(String::new())
            } else {
                Err("no such control".to_owned())
            };
        }
        ["reboot", length] => sim.reboot(seconds(length)?),
        ["boot-slowly", length] => sim.boot_slowly(seconds(length)?),
        ["outage", refuse, close, mute] => sim.outage(Outage {
            refuse: seconds(refuse)?,
            close: seconds(close)?,
            mute: seconds(mute)?,
        }),
        ["close"] => sim.drop_connections(),
        ["reset"] => sim.reset_connections(),
        ["freeze", on] => sim.freeze(switch(on)?),
        ["refuse", on] => sim.refuse(switch(on)?),
        ["accept-close", on] => sim.accept_then_close(switch(on)?),
        ["mute", on] => sim.mute(switch(on)?),
        ["standby", on] => sim.standby(switch(on)?),
        ["switch-over"] => sim.switch_over(),
        ["slow", length] => sim.slow_replies(seconds(length)?),
        ["lose", count] => sim.lose_next_replies(whole(count)?),
        ["lose-writes", count] => sim.lose_next_write_replies(whole(count)?),
        ["fail", method, code, message] => {
            let method = Method::ALL
                .iter()
                .find(|known| known.as_str() == *method)
                .ok_or("no such method")?;
            sim.fail_next(*method, whole(code)?, message);
        }
        ["garbage", count] => sim.send_garbage(up_to(count, GARBAGE_MAX)?),
        ["oversize", bytes] => sim.oversize_next(up_to(bytes, OVERSIZE_MAX_BYTES)?),
        ["split", "off"] => sim.split(None),
        ["split", bytes] => sim.split(Some(whole(bytes)?)),
        ["auto-poll", on] => sim.silence_auto_poll(!switch(on)?),
        ["forget-groups"] => sim.forget_groups(),
        ["design", code] => sim.push_design(sim.design().recompiled(code)),
        ["design", code, from, to] => {
            sim.push_design(sim.design().renamed(from, to).recompiled(code));
        }
        ["swap-design", code] => sim.swap_design(sim.design().recompiled(code)),
        ["meters", period] => sim.meter_clock(seconds(period)?),
        _ => return Err("unknown command or wrong number of words; 'help' lists them".to_owned()),
    }
    Ok(String::new())
}

fn status(sim: &SimCore) -> String {
    let design = sim.design();
    let state = if sim.is_active() { "active" } else { "standby" };
    format!(
        "{state}, design {} with {} components, {} connections, {} writes seen",
        design.code(),
        design.components().len(),
        sim.connections(),
        sim.writes().len()
    )
}

/// Splits at blanks, save within double quotes.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for (n, part) in line.split('"').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    if line.matches('"').count().is_multiple_of(2) {
        Ok(words)
    } else {
        Err("a double quote is not closed".to_owned())
    }
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds = word.parse().ok().filter(|seconds| *seconds <= 1e6);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("'{word}' is not a number of seconds"))
}

fn switch(word: &str) -> Result<bool, String> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("'{word}' is neither on nor off")),
    }
}

fn whole<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse()
        .map_err(|_| format!("'{word}' is not a whole number in range"))
}

fn up_to(word: &str, max: usize) -> Result<usize, String> {
    whole(word)
        .ok()
        .filter(|number| *number <= max)
        .ok_or_else(|| format!("'{word}' is not a whole number up to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Options, design};

    #[tokio::test(start_paused = true)]
    async fn every_command_of_the_help_is_understood() {
        let sim = SimCore::new(design::venue(), Options::default());
        for line in HELP.lines() {
            let example = line
                .split_once("  ")
                .unwrap()
                .0
                .replace("on|off", "on")
                .replace("COMPONENT", "\"Hall A Gain\"");
            let example = example
                .replace("CONTROL", "gain")
                .replace("VALUE", "-3")
                .replace("FROM TO", "\"Foyer Gain\" Lobby");
            let example = example
                .replace("METHOD", "Component.Set")
                .replace("MESSAGE", "\"no such control\"")
                .replace("CODE", "8");
            let example: String = example
                .split(' ')
                .map(|word| {
                    if ["S", "N", "R", "C", "M"].contains(&word) {
                        "1 "
                    } else {
                        word
                    }
                    .to_owned()
                        + " "
                })
                .collect();
            command(&sim, example.trim()).unwrap_or_else(|fault| panic!("{example}: {fault}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_with_a_line_is_said() {
        let sim = SimCore::new(design::venue(), Options::default());
        for (line, fault) in [
            ("", "unknown command"),
            ("reboot soon", "'soon' is not a number of seconds"),
            ("freeze maybe", "neither on nor off"),
            ("set \"Hall A Gain gain 3", "not closed"),
            ("set Nobody gain 3", "no such control"),
            ("fail No.Such 8 text", "no such method"),
            ("oversize 67108865", "up to 67108864"),
            ("garbage 10001", "up to 10000"),
        ] {
            assert!(command(&sim, line).unwrap_err().contains(fault), "{line}");
        }
    }
}
