//! Parameters of QRC requests. Unknown members are ignored on reading; absent ones are not written.

use serde::{Deserialize, Serialize};

use super::objects::{self, Scalar};

macro_rules! params {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_attr:meta])* pub $field:ident : $kind:ty,)* })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "PascalCase")]
            pub struct $name { $($(#[$field_attr])* pub $field: $kind,)* }
        )+
    };
}

params! {
    /// Parameters of `Logon`.
    pub struct Logon {
        /// A user of Q-SYS Administrator.
        pub user: String,
        /// The user's PIN.
        pub password: String,
    }

    /// Parameters that name one component.
    pub struct Named {
        /// The component's Code Name, or a control's name in a list.
        pub name: String,
    }

    /// Parameters of `Control.Set`.
    pub struct ControlSet {
        /// The named control.
        pub name: String,
        /// The new value.
        #[serde(default, deserialize_with = "objects::owned_scalar_or_nothing", skip_serializing_if = "Option::is_none")]
        pub value: Option<Scalar<'static>>,
        /// The new position, 0 to 1, instead of a value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub position: Option<f64>,
        /// The new text, instead of a value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub string: Option<String>,
        /// Seconds until the new value is reached; 0 or absent is at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ramp: Option<f64>,
    }

    /// Parameters of `Component.Get`.
    pub struct ComponentGet {
        /// The component.
        pub name: String,
        /// The controls; required by the Core.
        pub controls: Vec<Named>,
    }

    /// Parameters of `Component.Set`.
    pub struct ComponentSet {
        /// The component.
        pub name: String,
        /// What to write.
        pub controls: Vec<SetItem>,
        /// Whether the answer is to carry the new states.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub response_values: Option<bool>,
    }

    /// A named-control list of a change group.
    pub struct GroupControls {
        /// The change group.
        pub id: serde_json::Value,
        /// Named controls.
        pub controls: Vec<String>,
    }

    /// Parameters of `ChangeGroup.AddComponentControl`.
    pub struct GroupAddComponent {
        /// The change group.
        pub id: serde_json::Value,
        /// The component and its controls.
        pub component: ComponentGet,
    }

    /// Parameters that name a change group.
    pub struct GroupId {
        /// The change group; a string in all official material, a number is accepted.
        pub id: serde_json::Value,
    }

    /// Parameters of `ChangeGroup.AutoPoll`.
    pub struct GroupRate {
        /// The change group.
        pub id: serde_json::Value,
        /// Seconds between pushes.
        pub rate: f64,
    }

    /// Parameters of every `Mixer.Set…`.
    pub struct MixerCall {
        /// The mixer.
        pub name: String,
        /// Which channels.
        #[serde(flatten)]
        pub target: MixerTarget,
        /// dB, seconds or a boolean, by method.
        #[serde(deserialize_with = "objects::owned_scalar")]
        pub value: Scalar<'static>,
        /// Seconds until the new value is reached, where the method allows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ramp: Option<f64>,
    }

    /// Channels of a mixer: `*`, `1 2 3`, `1,2,3`, `1-6`, `1-8 !3`; those that the method does not use stay absent.
    pub struct MixerTarget {
        /// Inputs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub inputs: Option<String>,
        /// Outputs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub outputs: Option<String>,
        /// Cues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cues: Option<String>,
    }

    /// Parameters of `LoopPlayer.Start`. All but the files stand at the top level.
    pub struct LoopPlayerStart {
        /// The loop player.
        pub name: String,
        /// Time of day in seconds; -1 is now, -2 after the current job.
        #[serde(default)]
        pub start_time: f64,
        /// What plays where.
        pub files: Vec<LoopPlayerFile>,
        /// Whether to start over at the end.
        #[serde(default, rename = "Loop")]
        pub repeat: bool,
        /// Seconds into the file.
        #[serde(default)]
        pub seek: f64,
        /// Whether the Core logs the job.
        #[serde(default)]
        pub log: bool,
        /// Name under which a failure is told.
        #[serde(default, rename = "RefID", skip_serializing_if = "Option::is_none")]
        pub ref_id: Option<String>,
    }

    /// One file of a loop-player job.
    pub struct LoopPlayerFile {
        /// File on the Core.
        pub name: String,
        /// `mono` or `stereo`.
        #[serde(default)]
        pub mode: String,
        /// Output, from 1.
        pub output: u32,
    }

    /// Parameters of `LoopPlayer.Stop` and `LoopPlayer.Cancel`.
    pub struct LoopPlayerStop {
        /// The loop player.
        pub name: String,
        /// Outputs, from 1.
        pub outputs: Vec<u32>,
        /// Whether the Core logs it.
        #[serde(default)]
        pub log: bool,
    }

    /// Parameters of `Snapshot.Load`.
    pub struct SnapshotLoad {
        /// The snapshot bank.
        pub name: String,
        /// Number of the snapshot in it, from 1.
        pub bank: u32,
        /// Seconds until all values are reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ramp: Option<f64>,
    }

    /// Parameters of `Snapshot.Save`.
    pub struct SnapshotSave {
        /// The snapshot bank.
        pub name: String,
        /// Number of the snapshot in it, from 1.
        pub bank: u32,
    }

    /// Parameters that name a page.
    pub struct PaPage {
        /// What `PA.PageSubmit` answered.
        #[serde(rename = "PageID")]
        pub page_id: u64,
    }

    /// Parameters of `PA.ZoneStatusConfigure`.
    pub struct PaZoneStatusConfigure {
        /// Whether zone status is wanted.
        pub enabled: bool,
    }

    /// Parameters of `PA.SourceWatchdog`.
    pub struct PaSourceWatchdog {
        /// The remote system's name.
        pub remote_system: String,
    }
}

/// One control of a `Component.Set`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SetItem {
    /// The control.
    pub name: String,
    /// The new value; decisive when several are given.
    #[serde(
        default,
        deserialize_with = "objects::owned_scalar_or_nothing",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Scalar<'static>>,
    /// The new position, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<f64>,
    /// The new text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string: Option<String>,
    /// Seconds until the new value is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<f64>,
}

/// Parameters of `PA.PageSubmit`. Needs zones or tags, and a message in mode `message`, a station otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PaPageSubmit {
    /// `message`, `live`, `delay` or `auto`.
    pub mode: String,
    /// Zone numbers or names.
    pub zones: Vec<serde_json::Value>,
    /// Zone tags.
    pub zone_tags: Vec<String>,
    /// 1 is the highest.
    pub priority: u32,
    /// Media name of a chime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preamble: Option<String>,
    /// Media name of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether the message is deleted afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_delete: Option<bool>,
    /// The station that speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub station: Option<u32>,
    /// Whether to start at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<bool>,
    /// Seconds that the page may wait for its zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<f64>,
    /// Whether it is archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<bool>,
    /// Whether zones may hear it at different times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<bool>,
    /// How often it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<u32>,
    /// Longest page, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_page_time: Option<f64>,
    /// Seconds during which it can be cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_delay: Option<f64>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub originator: Option<String>,
    /// Whether an interruption splits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_on_interrupt: Option<bool>,
}
