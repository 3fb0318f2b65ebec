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

/// Carries a command out and says what there is to show; an empty text means just that it was done.
///
/// # Errors
///
/// What was wrong with the line, in words.
pub fn command(core: &SimCore, line: &str) -> Result<String, String> {
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["help"] => return Ok(HELP.trim_end().to_owned()),
        ["status"] => return Ok(status(core)),
        ["get", component, control] => {
            let value = core.value(component, control).ok_or("no such control")?;
            return Ok(format!(
                "{value} {}",
                core.text(component, control).unwrap_or_default()
            ));
        }
        ["set", component, control, value] => {
            let is_there = match value.parse() {
                Ok(number) => core.set_value(component, control, number),
                Err(_) => core.set_text(component, control, value),
            };
            return if is_there {
                Ok(String::new())
            } else {
                Err("no such control".to_owned())
            };
        }
        ["reboot", length] => core.reboot(seconds(length)?),
        ["boot-slowly", length] => core.boot_slowly(seconds(length)?),
        ["outage", refuse, close, mute] => core.outage(Outage {
            refuse: seconds(refuse)?,
            close: seconds(close)?,
            mute: seconds(mute)?,
        }),
        ["close"] => core.drop_connections(),
        ["reset"] => core.reset_connections(),
        ["freeze", on] => core.freeze(switch(on)?),
        ["refuse", on] => core.refuse(switch(on)?),
        ["accept-close", on] => core.accept_then_close(switch(on)?),
        ["mute", on] => core.mute(switch(on)?),
        ["standby", on] => core.standby(switch(on)?),
        ["switch-over"] => core.switch_over(),
        ["slow", length] => core.slow_replies(seconds(length)?),
        ["lose", count] => core.lose_next_replies(whole(count)?),
        ["lose-writes", count] => core.lose_next_write_replies(whole(count)?),
        ["fail", method, code, message] => {
            let method = Method::ALL
                .iter()
                .find(|known| known.as_str() == *method)
                .ok_or("no such method")?;
            core.fail_next(*method, whole(code)?, message);
        }
        ["garbage", count] => core.send_garbage(whole(count)?),
        ["oversize", bytes] => core.oversize_next(whole(bytes)?),
        ["split", "off"] => core.split(None),
        ["split", bytes] => core.split(Some(whole(bytes)?)),
        ["auto-poll", on] => core.silence_auto_poll(!switch(on)?),
        ["forget-groups"] => core.forget_groups(),
        ["design", code] => core.push_design(core.design().recompiled(code)),
        ["design", code, from, to] => {
            core.push_design(core.design().renamed(from, to).recompiled(code))
        }
        ["swap-design", code] => core.swap_design(core.design().recompiled(code)),
        ["meters", period] => core.meter_clock(seconds(period)?),
        _ => return Err("unknown command or wrong number of words; 'help' lists them".to_owned()),
    }
    Ok(String::new())
}

fn status(core: &SimCore) -> String {
    let design = core.design();
    let state = if core.is_active() {
        "active"
    } else {
        "standby"
    };
    format!(
        "{state}, design {} with {} components, {} connections, {} writes seen",
        design.code(),
        design.components().len(),
        core.connections(),
        core.writes().len()
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
    if line.matches('"').count() % 2 == 0 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Options, design};

    #[tokio::test(start_paused = true)]
    async fn every_command_of_the_help_is_understood() {
        let core = SimCore::new(design::venue(), Options::default());
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
            command(&core, example.trim()).unwrap_or_else(|fault| panic!("{example}: {fault}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_with_a_line_is_said() {
        let core = SimCore::new(design::venue(), Options::default());
        for (line, fault) in [
            ("", "unknown command"),
            ("reboot soon", "'soon' is not a number of seconds"),
            ("freeze maybe", "neither on nor off"),
            ("set \"Hall A Gain gain 3", "not closed"),
            ("set Nobody gain 3", "no such control"),
            ("fail No.Such 8 text", "no such method"),
        ] {
            assert!(command(&core, line).unwrap_err().contains(fault), "{line}");
        }
    }
}
