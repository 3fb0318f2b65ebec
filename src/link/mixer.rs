//! The mixer calls, typed: each has the channels and the kind of value that its method takes, and a ramp only where there is one.
//!
//! Channels are written as Q-SYS writes them: `*`, `1 2 3`, `1-6 9`, `1-8 !3`.

use std::time::Duration;

use crate::model::name::ComponentName;
use crate::wire::qrc::{MixerCall, MixerTarget, Request, Scalar};

/// A gain or a delay, and how long to take to get there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramped {
    /// dB for a gain, seconds for a delay.
    pub value: f64,
    /// Zero is at once.
    pub over: Duration,
}

/// What to set, and on which channels.
#[derive(Debug, Clone, PartialEq)]
pub enum MixerSet {
    /// Gain of the crosspoints of some inputs and outputs.
    CrossPointGain(String, String, Ramped),
    /// Delay of the crosspoints of some inputs and outputs.
    CrossPointDelay(String, String, Ramped),
    /// Mute of the crosspoints of some inputs and outputs.
    CrossPointMute(String, String, bool),
    /// Solo of the crosspoints of some inputs and outputs.
    CrossPointSolo(String, String, bool),
    /// Gain of some inputs.
    InputGain(String, Ramped),
    /// Mute of some inputs.
    InputMute(String, bool),
    /// Solo of some inputs.
    InputSolo(String, bool),
    /// Gain of some outputs.
    OutputGain(String, Ramped),
    /// Mute of some outputs.
    OutputMute(String, bool),
    /// Gain of some cues.
    CueGain(String, Ramped),
    /// Mute of some cues.
    CueMute(String, bool),
    /// Whether some cues hear some inputs.
    InputCueEnable(String, String, bool),
    /// Whether some cues hear some inputs after their faders.
    InputCueAfl(String, String, bool),
}

impl MixerSet {
    /// The request that does this to a mixer.
    #[must_use]
    pub fn request(self, mixer: &ComponentName) -> Request {
        let crosspoint = |inputs, outputs| target(Some(inputs), Some(outputs), None);
        let inputs = |inputs| target(Some(inputs), None, None);
        let outputs = |outputs| target(None, Some(outputs), None);
        let cues = |cues| target(None, None, Some(cues));
        let cue_inputs = |cues, inputs| target(Some(inputs), None, Some(cues));
        let ramp = |target, to: Ramped| call(mixer, target, Scalar::Number(to.value), to.over);
        let switch = |target, on| call(mixer, target, Scalar::Bool(on), Duration::ZERO);
        match self {
            Self::CrossPointGain(i, o, to) => {
                Request::MixerSetCrossPointGain(ramp(crosspoint(i, o), to))
            }
            Self::CrossPointDelay(i, o, to) => {
                Request::MixerSetCrossPointDelay(ramp(crosspoint(i, o), to))
            }
            Self::CrossPointMute(i, o, on) => {
                Request::MixerSetCrossPointMute(switch(crosspoint(i, o), on))
            }
            Self::CrossPointSolo(i, o, on) => {
                Request::MixerSetCrossPointSolo(switch(crosspoint(i, o), on))
            }
            Self::InputGain(i, to) => Request::MixerSetInputGain(ramp(inputs(i), to)),
            Self::InputMute(i, on) => Request::MixerSetInputMute(switch(inputs(i), on)),
            Self::InputSolo(i, on) => Request::MixerSetInputSolo(switch(inputs(i), on)),
            Self::OutputGain(o, to) => Request::MixerSetOutputGain(ramp(outputs(o), to)),
            Self::OutputMute(o, on) => Request::MixerSetOutputMute(switch(outputs(o), on)),
            Self::CueGain(c, to) => Request::MixerSetCueGain(ramp(cues(c), to)),
            Self::CueMute(c, on) => Request::MixerSetCueMute(switch(cues(c), on)),
            Self::InputCueEnable(c, i, on) => {
                Request::MixerSetInputCueEnable(switch(cue_inputs(c, i), on))
            }
            Self::InputCueAfl(c, i, on) => {
                Request::MixerSetInputCueAfl(switch(cue_inputs(c, i), on))
            }
        }
    }
}

const fn target(
    inputs: Option<String>,
    outputs: Option<String>,
    cues: Option<String>,
) -> MixerTarget {
    MixerTarget {
        inputs,
        outputs,
        cues,
    }
}

fn call(
    mixer: &ComponentName,
    target: MixerTarget,
    value: Scalar<'static>,
    over: Duration,
) -> MixerCall {
    MixerCall {
        name: mixer.to_string(),
        target,
        value,
        ramp: (!over.is_zero()).then_some(over.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_names_only_the_channels_that_its_method_takes() {
        let mixer = "Matrix".parse().unwrap();
        let frame = |set: MixerSet| set.request(&mixer).to_frame(None, None);
        let to = Ramped {
            value: -6.0,
            over: Duration::from_millis(1_500),
        };
        assert_eq!(
            frame(MixerSet::CrossPointGain("1-4 !2".into(), "*".into(), to)),
            r#"{"jsonrpc":"2.0","method":"Mixer.SetCrossPointGain","params":{"Inputs":"1-4 !2","Name":"Matrix","Outputs":"*","Ramp":1.5,"Value":-6.0}}"#
        );
        assert_eq!(
            frame(MixerSet::InputCueAfl("1".into(), "2".into(), true)),
            r#"{"jsonrpc":"2.0","method":"Mixer.SetInputCueAfl","params":{"Cues":"1","Inputs":"2","Name":"Matrix","Value":true}}"#
        );
    }
}
