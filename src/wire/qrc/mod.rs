//! QRC: the Core's methods, notifications and errors, spelt as the Core spells them.
//!
//! Source of every name: Q-SYS Help, "QRC Commands", "Change Groups for ECP and QRC" and "Q-SYS PA Remote API"; where Cores were
//! seen to differ from the help, the type accepts both.

pub mod objects;
pub mod params;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::jsonrpc::{self, ErrorObject};
pub use objects::{
    ChangesOut, ComponentFacts, ComponentState, ControlChange, ControlFacts, Controls, EngineState,
    EngineStatus, Property, Scalar, States, StatusCode,
};
pub use params::{
    ComponentGet, ComponentSet, ControlSet, GroupAddComponent, GroupControls, GroupId, GroupRate,
    Logon, LoopPlayerFile, LoopPlayerStart, LoopPlayerStop, MixerCall, MixerTarget, Named, PaPage,
    PaPageSubmit, PaSourceWatchdog, PaZoneStatusConfigure, SetItem, SnapshotLoad, SnapshotSave,
};

/// Error codes that QRC adds to JSON-RPC's (Q-SYS Help, QRC Commands, error codes).
pub mod code {
    /// The Core is the standby of a redundant pair.
    pub const STANDBY: i64 = -32_604;
    /// PARAPI only: bad parameters.
    pub const PA_BAD_PARAMETERS: i64 = 1;
    /// Invalid page request id.
    pub const BAD_PAGE_ID: i64 = 2;
    /// Bad page request: could not be carried out.
    pub const BAD_PAGE_REQUEST: i64 = 3;
    /// A message file is missing.
    pub const MISSING_FILE: i64 = 4;
    /// A connection has its four change groups already.
    pub const GROUPS_EXHAUSTED: i64 = 5;
    /// No such change group on this connection.
    pub const UNKNOWN_GROUP: i64 = 6;
    /// No such component, or none that may be seen.
    pub const UNKNOWN_COMPONENT: i64 = 7;
    /// No such control.
    pub const UNKNOWN_CONTROL: i64 = 8;
    /// A mixer channel that the mixer does not have.
    pub const BAD_MIXER_CHANNEL: i64 = 9;
    /// Access control is on and this connection has not logged on.
    pub const LOGON_REQUIRED: i64 = 10;
}

/// Change groups that one connection may have (Q-SYS Help, QRC Commands, change groups).
pub const GROUPS_PER_CONNECTION_MAX: usize = 4;

/// WebSocket path of the current protocol.
pub const WEBSOCKET_PATH: &str = "/qrc-public-api/v0";

/// WebSocket path that the first alpha clients used.
pub const WEBSOCKET_PATH_OLD: &str = "/qrc";

/// TCP port of QRC with NUL framing (Q-SYS Help, Network services).
pub const TCP_PORT: u16 = 1710;

/// Methods of notifications that the Core sends.
pub mod notification {
    /// The engine's state, at once after connecting and at every change.
    pub const ENGINE_STATUS: &str = "EngineStatus";
    /// A pushed poll of a change group under `AutoPoll`.
    pub const CHANGE_GROUP_POLL: &str = "ChangeGroup.Poll";
    /// A loop-player job that carried a `RefID` failed.
    pub const LOOP_PLAYER_ERROR: &str = "LoopPlayer.Error";
    /// Progress of a page.
    pub const PA_PAGE_STATUS: &str = "PA.PageStatus";
    /// A paging zone became busy or idle.
    pub const PA_ZONE_STATUS: &str = "PA.ZoneStatus";
}

macro_rules! methods {
    ($($(#[$doc:meta])* $wire:literal $variant:ident $(($params:ty))?,)+) => {
        /// Every request that a client may send, with its parameters read.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request { $($(#[$doc])* $variant $(($params))?,)+ }

        /// The name of a request's method.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method { $($(#[$doc])* $variant,)+ }

        impl Method {
            /// Every method, in the order of the help pages.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name as it stands in a frame.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)+ }
            }
        }

        impl Request {
            /// Which method this calls.
            #[must_use]
            pub const fn method(&self) -> Method {
                match self { $(methods!(@pattern $variant $(($params))?) => Method::$variant,)+ }
            }

            /// Reads the parameters of a method.
            ///
            /// # Errors
            ///
            /// -32601 for a method that QRC does not have, -32602 for parameters that do not fit, each saying what was wrong.
            pub fn read(method: &str, params: Option<&RawValue>) -> Result<Self, ErrorObject> {
                let _ = params;
                match method {
                    $($wire => Ok(methods!(@read $variant params $(($params))?)),)+
                    other => Err(ErrorObject::new(jsonrpc::code::METHOD_NOT_FOUND, format!("Method '{other}' not found"))),
                }
            }
        }
    };
    (@pattern $variant:ident) => { Self::$variant };
    (@pattern $variant:ident ($params:ty)) => { Self::$variant(_) };
    (@read $variant:ident $raw:ident) => { Self::$variant };
    (@read $variant:ident $raw:ident ($params:ty)) => { Self::$variant(read_params::<$params>($raw)?) };
}

methods! {
    /// Logs on with a user and a PIN of Q-SYS Administrator.
    "Logon" Logon(Logon),
    /// Does nothing; keeps the connection alive.
    "NoOp" NoOp,
    /// Asks for the engine's state.
    "StatusGet" StatusGet,
    /// Reads named controls.
    "Control.Get" ControlGet(Vec<String>),
    /// Writes one named control.
    "Control.Set" ControlSet(ControlSet),
    /// Lists the components that may be seen.
    "Component.GetComponents" ComponentGetComponents,
    /// Lists one component's controls with ranges.
    "Component.GetControls" ComponentGetControls(Named),
    /// Reads some controls of a component.
    "Component.Get" ComponentGet(ComponentGet),
    /// Writes some controls of a component.
    "Component.Set" ComponentSet(ComponentSet),
    /// Adds named controls to a change group, making it if need be.
    "ChangeGroup.AddControl" ChangeGroupAddControl(GroupControls),
    /// Adds controls of a component to a change group, making it if need be.
    "ChangeGroup.AddComponentControl" ChangeGroupAddComponentControl(GroupAddComponent),
    /// Takes named controls out of a change group.
    "ChangeGroup.Remove" ChangeGroupRemove(GroupControls),
    /// Asks what changed since the last poll.
    "ChangeGroup.Poll" ChangeGroupPoll(GroupId),
    /// Asks to be told at a rate what changed.
    "ChangeGroup.AutoPoll" ChangeGroupAutoPoll(GroupRate),
    /// Marks everything in a group as changed.
    "ChangeGroup.Invalidate" ChangeGroupInvalidate(GroupId),
    /// Empties a group.
    "ChangeGroup.Clear" ChangeGroupClear(GroupId),
    /// Ends a group.
    "ChangeGroup.Destroy" ChangeGroupDestroy(GroupId),
    /// Crosspoint gain, dB.
    "Mixer.SetCrossPointGain" MixerSetCrossPointGain(MixerCall),
    /// Crosspoint delay, seconds.
    "Mixer.SetCrossPointDelay" MixerSetCrossPointDelay(MixerCall),
    /// Crosspoint mute.
    "Mixer.SetCrossPointMute" MixerSetCrossPointMute(MixerCall),
    /// Crosspoint solo.
    "Mixer.SetCrossPointSolo" MixerSetCrossPointSolo(MixerCall),
    /// Input gain, dB.
    "Mixer.SetInputGain" MixerSetInputGain(MixerCall),
    /// Input mute.
    "Mixer.SetInputMute" MixerSetInputMute(MixerCall),
    /// Input solo.
    "Mixer.SetInputSolo" MixerSetInputSolo(MixerCall),
    /// Output gain, dB.
    "Mixer.SetOutputGain" MixerSetOutputGain(MixerCall),
    /// Output mute.
    "Mixer.SetOutputMute" MixerSetOutputMute(MixerCall),
    /// Cue gain, dB.
    "Mixer.SetCueGain" MixerSetCueGain(MixerCall),
    /// Cue mute.
    "Mixer.SetCueMute" MixerSetCueMute(MixerCall),
    /// Whether a cue hears an input.
    "Mixer.SetInputCueEnable" MixerSetInputCueEnable(MixerCall),
    /// Whether a cue hears an input after its fader.
    "Mixer.SetInputCueAfl" MixerSetInputCueAfl(MixerCall),
    /// Starts a loop-player job.
    "LoopPlayer.Start" LoopPlayerStart(LoopPlayerStart),
    /// Stops what plays on some outputs.
    "LoopPlayer.Stop" LoopPlayerStop(LoopPlayerStop),
    /// Cancels what waits for some outputs.
    "LoopPlayer.Cancel" LoopPlayerCancel(LoopPlayerStop),
    /// Recalls a snapshot.
    "Snapshot.Load" SnapshotLoad(SnapshotLoad),
    /// Stores the present state as a snapshot.
    "Snapshot.Save" SnapshotSave(SnapshotSave),
    /// Submits a page.
    "PA.PageSubmit" PaPageSubmit(Box<PaPageSubmit>),
    /// Starts a submitted page.
    "PA.PageStart" PaPageStart(PaPage),
    /// Stops a page.
    "PA.PageStop" PaPageStop(PaPage),
    /// Cancels a page.
    "PA.PageCancel" PaPageCancel(PaPage),
    /// Lets a page that waits proceed.
    "PA.PageProceed" PaPageProceed(PaPage),
    /// Switches zone-status notifications on or off.
    "PA.ZoneStatusConfigure" PaZoneStatusConfigure(PaZoneStatusConfigure),
    /// Tells that a remote paging system is alive.
    "PA.SourceWatchdog" PaSourceWatchdog(PaSourceWatchdog),
    /// Reads priorities, tags and zones of the paging router.
    "PA.GetConfig" PaGetConfig,
}

impl Request {
    /// Writes this request as one frame (without NUL).
    ///
    /// `StatusGet` and `PA.GetConfig`, `NoOp` and `Component.GetComponents` carry the parameters that the official client sends.
    #[must_use]
    pub fn to_frame(&self, id: Option<&jsonrpc::Id>, api_key: Option<&str>) -> String {
        let method = self.method().as_str();
        let call = |params| jsonrpc::Call {
            api_key,
            jsonrpc: jsonrpc::VERSION,
            method,
            params,
            id,
        };
        let written = match self {
            Self::StatusGet => serde_json::to_string(&call(Some(serde_json::json!(0)))),
            Self::NoOp | Self::PaGetConfig => {
                serde_json::to_string(&call(Some(serde_json::json!({}))))
            }
            Self::ComponentGetComponents => {
                serde_json::to_string(&call(Some(serde_json::json!("test"))))
            }
            _ => serde_json::to_string(&call(self.params().ok())),
        };
        written.unwrap_or_default()
    }

    fn params(&self) -> serde_json::Result<serde_json::Value> {
        use serde_json::to_value;
        match self {
            Self::NoOp | Self::StatusGet | Self::ComponentGetComponents | Self::PaGetConfig => {
                Ok(serde_json::Value::Null)
            }
            Self::Logon(params) => to_value(params),
            Self::ControlGet(params) => to_value(params),
            Self::ControlSet(params) => to_value(params),
            Self::ComponentGetControls(params) => to_value(params),
            Self::ComponentGet(params) => to_value(params),
            Self::ComponentSet(params) => to_value(params),
            Self::ChangeGroupAddControl(params) | Self::ChangeGroupRemove(params) => {
                to_value(params)
            }
            Self::ChangeGroupAddComponentControl(params) => to_value(params),
            Self::ChangeGroupPoll(params)
            | Self::ChangeGroupInvalidate(params)
            | Self::ChangeGroupClear(params)
            | Self::ChangeGroupDestroy(params) => to_value(params),
            Self::ChangeGroupAutoPoll(params) => to_value(params),
            Self::MixerSetCrossPointGain(params)
            | Self::MixerSetCrossPointDelay(params)
            | Self::MixerSetCrossPointMute(params)
            | Self::MixerSetCrossPointSolo(params)
            | Self::MixerSetInputGain(params)
            | Self::MixerSetInputMute(params)
            | Self::MixerSetInputSolo(params)
            | Self::MixerSetOutputGain(params)
            | Self::MixerSetOutputMute(params)
            | Self::MixerSetCueGain(params)
            | Self::MixerSetCueMute(params)
            | Self::MixerSetInputCueEnable(params)
            | Self::MixerSetInputCueAfl(params) => to_value(params),
            Self::LoopPlayerStart(params) => to_value(params),
            Self::LoopPlayerStop(params) | Self::LoopPlayerCancel(params) => to_value(params),
            Self::SnapshotLoad(params) => to_value(params),
            Self::SnapshotSave(params) => to_value(params),
            Self::PaPageSubmit(params) => to_value(params),
            Self::PaPageStart(params)
            | Self::PaPageStop(params)
            | Self::PaPageCancel(params)
            | Self::PaPageProceed(params) => to_value(params),
            Self::PaZoneStatusConfigure(params) => to_value(params),
            Self::PaSourceWatchdog(params) => to_value(params),
        }
    }

    /// Whether carrying this out twice, or not knowing whether it was, can matter to the people in the room.
    ///
    /// Reads, registrations and keep-alives may be repeated; everything else is never sent a second time.
    #[must_use]
    pub const fn changes_the_room(&self) -> bool {
        !matches!(
            self,
            Self::Logon(_)
                | Self::NoOp
                | Self::StatusGet
                | Self::ControlGet(_)
                | Self::ComponentGetComponents
                | Self::ComponentGetControls(_)
                | Self::ComponentGet(_)
                | Self::ChangeGroupAddControl(_)
                | Self::ChangeGroupAddComponentControl(_)
                | Self::ChangeGroupRemove(_)
                | Self::ChangeGroupPoll(_)
                | Self::ChangeGroupAutoPoll(_)
                | Self::ChangeGroupInvalidate(_)
                | Self::ChangeGroupClear(_)
                | Self::ChangeGroupDestroy(_)
                | Self::PaZoneStatusConfigure(_)
                | Self::PaGetConfig
        )
    }
}

fn read_params<P: DeserializeOwned>(params: Option<&RawValue>) -> Result<P, ErrorObject> {
    let raw = params.map_or("null", RawValue::get);
    serde_json::from_str(raw).map_err(|fault| {
        ErrorObject::new(
            jsonrpc::code::INVALID_PARAMS,
            format!("Invalid params: {fault}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::{Frame, Id};

    fn round_trip(request: &Request) -> Request {
        let text = request.to_frame(Some(&Id::Number(1)), None);
        let frame: Frame<'_> = serde_json::from_str(&text).unwrap();
        Request::read(&frame.method.unwrap(), frame.params).unwrap()
    }

    #[test]
    fn requests_come_back_as_they_went() {
        let set = Request::ComponentSet(ComponentSet {
            name: "Gain".into(),
            controls: vec![SetItem {
                name: "gain".into(),
                value: Some(Scalar::Number(-10.0)),
                ramp: Some(2.5),
                ..SetItem::default()
            }],
            response_values: Some(true),
        });
        let mixer = Request::MixerSetCrossPointGain(MixerCall {
            name: "Matrix".into(),
            target: MixerTarget {
                inputs: Some("1-4 !2".into()),
                outputs: Some("*".into()),
                cues: None,
            },
            value: Scalar::Number(-6.0),
            ramp: Some(1.5),
        });
        for request in [
            set,
            mixer,
            Request::NoOp,
            Request::StatusGet,
            Request::ControlGet(vec!["MainGain".into()]),
        ] {
            assert_eq!(round_trip(&request), request);
        }
    }

    #[test]
    fn frames_are_spelt_as_the_help_page_spells_them() {
        let request = Request::ControlSet(ControlSet {
            name: "MainGain".into(),
            value: Some(Scalar::Number(-20.0)),
            position: None,
            string: None,
            ramp: Some(2.5),
        });
        assert_eq!(
            request.to_frame(Some(&Id::Number(3)), Some("k")),
            r#"{"apiKey":"k","jsonrpc":"2.0","method":"Control.Set","params":{"Name":"MainGain","Ramp":2.5,"Value":-20.0},"id":3}"#
        );
    }

    #[test]
    fn a_method_that_does_not_exist_and_parameters_that_do_not_fit_are_named() {
        let unknown = Request::read("Status.Get", None).unwrap_err();
        assert_eq!(
            (unknown.code, unknown.message.as_str()),
            (-32_601, "Method 'Status.Get' not found")
        );
        let missing = Request::read("Component.Get", None).unwrap_err();
        assert_eq!(missing.code, -32_602);
    }

    #[test]
    fn every_method_name_is_unique() {
        let mut names: Vec<_> = Method::ALL.iter().map(|method| method.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Method::ALL.len());
    }
}
