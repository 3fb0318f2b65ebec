//! What the Core tells: engine status, components, controls and their changes.

use std::borrow::Cow;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::base::json::{AtMost, first_items};
use crate::limits::{ANSWERED_MAX, CHOICES_MAX, COMPONENT_CONTROLS_MAX, PROPERTIES_MAX};
use crate::wire::jsonrpc::Text;

/// A control's raw value: number, boolean or text. Absent values (some triggers) are `None` where this stands in an `Option`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar<'a> {
    /// dB, seconds, Hz, an index, or 0 and 1 of a boolean.
    Number(f64),
    /// `Component.GetControls` writes a Boolean's value so.
    Bool(bool),
    /// The text of a Text control.
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The value as a number; booleans are 1 and 0, texts have none.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bool(on) => Some(f64::from(u8::from(*on))),
            Self::Text(_) => None,
        }
    }

    /// The same value, free of the frame.
    #[must_use]
    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Number(number) => Scalar::Number(number),
            Self::Bool(on) => Scalar::Bool(on),
            Self::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar_or_nothing(deserializer)?
            .ok_or_else(|| de::Error::custom("expected a number, a boolean or a string"))
    }
}

/// A field that reads as `None` when it is absent, `null`, or of another JSON type than expected: a vendor's surprise in one
/// field must not cost the other fields, nor the other thousand changes of the frame.
mod lenient {
    use serde::Deserialize;
    use serde::de::Deserializer;
    use serde_json::value::RawValue;

    /// The text is looked at twice: what serde keeps of a value for a second try takes twenty times the memory of its text.
    pub(super) fn option<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let raw: &'de RawValue = Deserialize::deserialize(deserializer)?;
        Ok(serde_json::from_str(raw.get()).ok())
    }
}

fn scalar_or_nothing<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Scalar<'a>>, D::Error> {
    struct AnyVisitor;

    impl<'de> Visitor<'de> for AnyVisitor {
        type Value = Option<Scalar<'de>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("any JSON value")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
            Ok(Some(Scalar::Number(number)))
        }

        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "the Core's numbers are floats; whole ones arrive without a point"
        )]
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(Scalar::Number(number as f64)))
        }

        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "the Core's numbers are floats; whole ones arrive without a point"
        )]
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(Scalar::Number(number as f64)))
        }

        fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
            Ok(Some(Scalar::Bool(on)))
        }

        fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Some(Scalar::Text(Cow::Borrowed(text))))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(Scalar::Text(Cow::Owned(text.to_owned()))))
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<de::IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map
                .next_entry::<de::IgnoredAny, de::IgnoredAny>()?
                .is_some()
            {}
            Ok(None)
        }
    }

    deserializer.deserialize_any(AnyVisitor)
}

/// The engine's state, in a notification and, with `Platform` and `Status` added, as the answer to `StatusGet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EngineStatus {
    /// The Core's model, `Emulator` in Designer. Only in answers to `StatusGet`, as far as the help tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Whether the engine runs, and as which half of a pair.
    pub state: EngineState,
    /// The design's file name.
    #[serde(default)]
    pub design_name: String,
    /// Changes with every compile: another code means that names, ranges and groups known before are void.
    #[serde(default)]
    pub design_code: String,
    /// Whether the design runs on a redundant pair.
    #[serde(default)]
    pub is_redundant: bool,
    /// Whether this is Designer's emulator.
    #[serde(default)]
    pub is_emulator: bool,
    /// The Core's overall status. Only in answers to `StatusGet`, as far as the help tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusCode>,
}

/// `Idle`, `Active` or `Standby`; a word that this version does not know is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineState {
    /// No design runs.
    Idle,
    /// The design runs here.
    Active,
    /// The design runs on the other Core of the pair.
    Standby,
    /// A state that no source names.
    Other(String),
}

impl EngineState {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Idle => "Idle",
            Self::Active => "Active",
            Self::Standby => "Standby",
            Self::Other(word) => word,
        }
    }
}

impl Serialize for EngineState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EngineState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match word.as_str() {
            "Idle" => Self::Idle,
            "Active" => Self::Active,
            "Standby" => Self::Standby,
            _ => Self::Other(word),
        })
    }
}

/// A status number with its text. 0 is OK; the others follow the Status control: 1 Compromised, 2 Fault, 3 Not Present,
/// 4 Missing, 5 Initializing (assumed, not stated for this object).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StatusCode {
    /// The number.
    #[serde(default)]
    pub code: i64,
    /// The text.
    #[serde(default)]
    pub string: String,
}

/// One component as `Component.GetComponents` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ComponentFacts {
    /// Same as the name in every sample.
    #[serde(rename = "ID", default)]
    pub id: String,
    /// The Code Name.
    pub name: String,
    /// The component's class: `gain`, `mixer`, `snapshot_controller`, …; kept open.
    #[serde(rename = "Type", default)]
    pub kind: String,
    /// What the designer set: sizes, ranges, options.
    #[serde(default, deserialize_with = "vec_or_nothing")]
    pub properties: Vec<Property>,
    /// Always `null` here.
    #[serde(default, skip_deserializing)]
    pub controls: Option<()>,
    /// Internal to the Core; 2 in every sample.
    #[serde(default)]
    pub control_source: i64,
}

/// Reads an optional value and frees it from the frame; anything but a scalar reads as absent.
pub(super) fn owned_scalar_or_nothing<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Scalar<'static>>, D::Error> {
    Ok(scalar_or_nothing(deserializer)?.map(Scalar::into_owned))
}

/// Reads a value that must be there and frees it from the frame.
pub(super) fn owned_scalar<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Scalar<'static>, D::Error> {
    Scalar::deserialize(deserializer).map(Scalar::into_owned)
}

fn vec_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Property>, D::Error> {
    type Properties = AtMost<Property, PROPERTIES_MAX>;
    let read: Option<Properties> = lenient::option(deserializer)?;
    Ok(read.unwrap_or_default().items)
}

fn choices<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Text<'a>>>, D::Error> {
    type Choices<'a> = AtMost<Text<'a>, CHOICES_MAX>;
    let read: Option<Choices<'a>> = Option::deserialize(deserializer)?;
    Ok(read.map(|read| read.items))
}

/// One property of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Property {
    /// The property's name.
    #[serde(default)]
    pub name: String,
    /// A string in all but one sample, which has a number.
    #[serde(
        default,
        deserialize_with = "owned_scalar_or_nothing",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Scalar<'static>>,
    /// The name that Designer shows.
    #[serde(default)]
    pub pretty_name: String,
}

/// The answer to `Component.GetControls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Controls<'a> {
    /// The component.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Its controls, as far as they are taken.
    #[serde(
        borrow,
        deserialize_with = "first_items::<_, _, COMPONENT_CONTROLS_MAX>"
    )]
    pub controls: Vec<ControlFacts<'a>>,
}

/// One control as `Component.GetControls` describes it: range and value, but no choices, colours or legends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ControlFacts<'a> {
    /// The control's name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// `Float`, `Boolean`, `Text`, `Trigger`, …; kept open, may be empty.
    #[serde(
        borrow,
        rename = "Type",
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<Text<'a>>,
    /// The value; JSON `true` and `false` for a Boolean.
    #[serde(
        borrow,
        default,
        deserialize_with = "scalar_or_nothing",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Scalar<'a>>,
    /// Lower end of the range.
    #[serde(
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub value_min: Option<f64>,
    /// Upper end of the range.
    #[serde(
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub value_max: Option<f64>,
    /// Lower end as Designer shows it.
    #[serde(
        borrow,
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub string_min: Option<Text<'a>>,
    /// Upper end as Designer shows it.
    #[serde(
        borrow,
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub string_max: Option<Text<'a>>,
    /// The value as Designer shows it.
    #[serde(
        borrow,
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub string: Option<Text<'a>>,
    /// The values of a vector control (an analyser). Written, never read: nothing here keeps vectors.
    #[serde(default, skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
    /// The value between 0 and 1.
    #[serde(
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub position: Option<f64>,
    /// `Read/Write` or `Read Only`.
    #[serde(
        borrow,
        default,
        deserialize_with = "lenient::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub direction: Option<Text<'a>>,
}

/// One control in a poll, in an answer to a write, or in an answer to `Component.Get`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ControlChange<'a> {
    /// The component; absent for a named control, and in answers to `Component.Get`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Text<'a>>,
    /// The control's name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// What Designer shows.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub string: Option<Text<'a>>,
    /// The raw value; 0 and 1 for booleans.
    #[serde(
        borrow,
        default,
        deserialize_with = "scalar_or_nothing",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Scalar<'a>>,
    /// The value between 0 and 1, single precision on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<f64>,
    /// Entries of a combo box; `[]` if it is none.
    #[serde(
        borrow,
        default,
        deserialize_with = "choices",
        skip_serializing_if = "Option::is_none"
    )]
    pub choices: Option<Vec<Text<'a>>>,
    /// Empty, a colour name, `#RRGGBB` or `#AARRGGBB`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub color: Option<Text<'a>>,
    /// In between on and off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indeterminate: Option<bool>,
    /// Hidden on user interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invisible: Option<bool>,
    /// Greyed out on user interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Text that a script set.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub legend: Option<Text<'a>>,
    /// Style class of a user interface.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub css_class: Option<Text<'a>>,
    /// The values of a vector control (an analyser). Written, never read: nothing here keeps vectors.
    #[serde(default, skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
}

impl<'a> ControlChange<'a> {
    /// A change that says nothing yet but whom it is about.
    #[must_use]
    pub fn new(component: Option<Text<'a>>, name: Text<'a>) -> Self {
        Self {
            component,
            name,
            string: None,
            value: None,
            position: None,
            choices: None,
            color: None,
            indeterminate: None,
            invisible: None,
            disabled: None,
            legend: None,
            css_class: None,
            values: Vec::new(),
        }
    }

    /// The same change, free of the frame.
    #[must_use]
    pub fn into_owned(self) -> ControlChange<'static> {
        ControlChange {
            component: self.component.map(Text::into_owned),
            name: self.name.into_owned(),
            string: self.string.map(Text::into_owned),
            value: self.value.map(Scalar::into_owned),
            position: self.position,
            choices: self
                .choices
                .map(|choices| choices.into_iter().map(Text::into_owned).collect()),
            color: self.color.map(Text::into_owned),
            indeterminate: self.indeterminate,
            invisible: self.invisible,
            disabled: self.disabled,
            legend: self.legend.map(Text::into_owned),
            css_class: self.css_class.map(Text::into_owned),
            values: self.values,
        }
    }
}

/// The payload of a poll, ready to be written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangesOut<'a> {
    /// The change group.
    pub id: &'a serde_json::Value,
    /// What changed.
    pub changes: &'a [ControlChange<'a>],
}

/// The answer to `Component.Get`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ComponentState<'a> {
    /// The component.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// The controls asked for.
    #[serde(borrow, deserialize_with = "first_items::<_, _, ANSWERED_MAX>")]
    pub controls: Vec<ControlChange<'a>>,
}

/// States in an answer, as far as they are taken.
pub type States<'a> = AtMost<ControlChange<'a>, ANSWERED_MAX>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_value_that_a_core_was_seen_to_send_reads() {
        let change = |value: &str| {
            let text = format!(
                r#"{{"Component":"C","Name":"n"{value},"Extra":{{"x":[1]}},"Values":[1,2]}}"#
            );
            serde_json::from_str::<ControlChange<'_>>(&text)
                .unwrap()
                .into_owned()
                .value
        };
        assert_eq!(change(r#","Value":-12"#), Some(Scalar::Number(-12.0)));
        assert_eq!(change(r#","Value":0.5"#), Some(Scalar::Number(0.5)));
        assert_eq!(change(r#","Value":true"#), Some(Scalar::Bool(true)));
        assert_eq!(
            change(r#","Value":"HDMI \"1\"""#),
            Some(Scalar::Text("HDMI \"1\"".into()))
        );
        assert_eq!(change(""), None);
        assert_eq!(change(r#","Value":null"#), None);
        assert_eq!(change(r#","Value":[1,{}]"#), None);
    }

    #[test]
    fn controls_read_with_unknown_types_and_without_ranges() {
        let text = r#"{"Name":"Gain","Controls":[
            {"Name":"gain","Type":"Float","Value":0.0,"ValueMin":-100.0,"ValueMax":20.0,"StringMin":"-100dB","StringMax":"20.0dB","String":"0dB","Position":0.83333331,"Direction":"Read/Write"},
            {"Name":"mute","Type":"Boolean","Value":false,"String":"unmuted","Position":0.0,"Direction":"Read/Write"},
            {"Name":"odd","Type":"","Direction":null,"ValueMin":"low"}]}"#;
        let controls: Controls<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(controls.controls[0].value_max, Some(20.0));
        assert_eq!(controls.controls[1].value, Some(Scalar::Bool(false)));
        assert_eq!(
            (
                controls.controls[2].value_min,
                controls.controls[2].direction.as_ref()
            ),
            (None, None)
        );
    }

    #[test]
    fn an_engine_status_reads_with_and_without_the_optional_members() {
        let pushed = r#"{"State":"Active","DesignName":"TownHall","DesignCode":"qTh3jZ0aLm42","IsRedundant":false,"IsEmulator":false}"#;
        let status: EngineStatus = serde_json::from_str(pushed).unwrap();
        assert_eq!(
            (status.state.clone(), status.platform.as_deref()),
            (EngineState::Active, None)
        );
        assert_eq!(serde_json::to_string(&status).unwrap(), pushed);
        let odd: EngineStatus = serde_json::from_str(r#"{"State":"Rebooting"}"#).unwrap();
        assert_eq!(odd.state, EngineState::Other("Rebooting".into()));
    }
}
