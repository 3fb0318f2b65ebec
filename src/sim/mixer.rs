//! Which controls a `Mixer.Set…` reaches.

use super::design::Component;
use crate::wire::jsonrpc::ErrorObject;
use crate::wire::qrc::{Method, MixerTarget, Scalar, code};

/// Names of the controls that a mixer method sets.
///
/// # Errors
///
/// 7 if the component is no mixer, 9 if a channel is missing, out of range or not a channel.
pub(super) fn targets(
    method: Method,
    component: &Component,
    target: &MixerTarget,
) -> Result<Vec<String>, ErrorObject> {
    if component.kind != "mixer" {
        let message = format!("'{}' is not a mixer", component.name);
        return Err(ErrorObject::new(code::UNKNOWN_COMPONENT, message));
    }
    let pick = |selector: &Option<String>, property: &str| {
        channels(selector.as_deref(), size(component, property))
    };
    let inputs = || pick(&target.inputs, "n_inputs");
    let outputs = || pick(&target.outputs, "n_outputs");
    let cues = || pick(&target.cues, "n_cues");
    let one = |channels: Vec<u32>, kind: &str, what: &str| {
        channels
            .iter()
            .map(|n| format!("{kind}.{n}.{what}"))
            .collect()
    };
    let two = |first: Vec<u32>, second: &[u32], kind: &str, what: &str| {
        first
            .iter()
            .flat_map(|n| {
                second
                    .iter()
                    .map(move |m| format!("input.{n}.{kind}.{m}.{what}"))
            })
            .collect()
    };
    Ok(match method {
        Method::MixerSetCrossPointGain => two(inputs()?, &outputs()?, "output", "gain"),
        Method::MixerSetCrossPointDelay => two(inputs()?, &outputs()?, "output", "delay"),
        Method::MixerSetCrossPointMute => two(inputs()?, &outputs()?, "output", "mute"),
        Method::MixerSetCrossPointSolo => two(inputs()?, &outputs()?, "output", "solo"),
        Method::MixerSetInputCueEnable => two(inputs()?, &cues()?, "cue", "enable"),
        Method::MixerSetInputCueAfl => two(inputs()?, &cues()?, "cue", "afl"),
        Method::MixerSetInputGain => one(inputs()?, "input", "gain"),
        Method::MixerSetInputMute => one(inputs()?, "input", "mute"),
        Method::MixerSetInputSolo => one(inputs()?, "input", "solo"),
        Method::MixerSetOutputGain => one(outputs()?, "output", "gain"),
        Method::MixerSetOutputMute => one(outputs()?, "output", "mute"),
        Method::MixerSetCueGain => one(cues()?, "cue", "gain"),
        Method::MixerSetCueMute => one(cues()?, "cue", "mute"),
        _ => Vec::new(),
    })
}

/// Error 9.
pub(super) fn bad_channel() -> ErrorObject {
    ErrorObject::new(code::BAD_MIXER_CHANNEL, "Illegal mixer channel index")
}

fn size(component: &Component, property: &str) -> u32 {
    let property = component
        .properties
        .iter()
        .find(|candidate| candidate.name == property);
    match property.and_then(|property| property.value.as_ref()) {
        Some(Scalar::Text(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Reads a selector: `*`, `1 2 3` or `1,2,3`, `1-6`, `1-6 9`, `1-8 !3`, `* !3-5`.
fn channels(selector: Option<&str>, count: u32) -> Result<Vec<u32>, ErrorObject> {
    let mut chosen = Vec::new();
    for word in selector
        .ok_or_else(bad_channel)?
        .split([' ', ','])
        .filter(|word| !word.is_empty())
    {
        let (is_except, word) = word
            .strip_prefix('!')
            .map_or((false, word), |rest| (true, rest));
        let (first, last) = match (word, word.split_once('-')) {
            ("*", _) => (1, count),
            (_, Some((first, last))) => (number(first)?, number(last)?),
            _ => (number(word)?, number(word)?),
        };
        if first < 1 || last > count || first > last {
            return Err(bad_channel());
        }
        chosen.retain(|channel| !(first..=last).contains(channel));
        if !is_except {
            chosen.extend(first..=last);
        }
    }
    chosen.sort_unstable();
    Ok(chosen)
}

fn number(word: &str) -> Result<u32, ErrorObject> {
    word.parse().map_err(|_| bad_channel())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_as_the_help_writes_them() {
        for (selector, expected) in [
            ("*", vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
            ("1 2 3", vec![1, 2, 3]),
            ("1,2,3", vec![1, 2, 3]),
            ("1-6 9", vec![1, 2, 3, 4, 5, 6, 9]),
            ("1-8 !3", vec![1, 2, 4, 5, 6, 7, 8]),
            ("* !3-5", vec![1, 2, 6, 7, 8, 9]),
        ] {
            assert_eq!(channels(Some(selector), 9).unwrap(), expected, "{selector}");
        }
    }

    #[test]
    fn a_channel_that_the_mixer_does_not_have_is_error_9() {
        for selector in ["10", "0", "1-10", "three", "5-2", "-"] {
            assert_eq!(
                channels(Some(selector), 9).unwrap_err().code,
                code::BAD_MIXER_CHANNEL,
                "{selector}"
            );
        }
        assert_eq!(channels(None, 9).unwrap_err().code, code::BAD_MIXER_CHANNEL);
    }
}
