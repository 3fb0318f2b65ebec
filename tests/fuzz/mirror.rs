//! The mirror, told designs and values in any order, against a map that does the same the simple way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bolero::TypeGenerator;
use rackhand::limits::{COMPONENTS_MAX, CONTROLS_MAX, NAME_MAX_BYTES, TEXT_MAX_BYTES};
use rackhand::model::change::ChangeSink;
use rackhand::model::control::Quality;
use rackhand::model::name::ControlRef;
use rackhand::store::Mirror;
use rackhand::store::mirror::SearchKind;
use rackhand::store::view::Reading;
use rackhand::wire::qrc::{ComponentFacts, ControlChange, ControlFacts, EngineStatus, Scalar};
use tokio::time::Instant;

/// What a frame says of a control's state.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct State {
    value: Value,
    string: Option<Text>,
    position: Option<u8>,
    look: Option<Text>,
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Value {
    None,
    Number(i8),
    Bool(bool),
    Text(Text),
}

/// Texts around the length at which they are cut.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Text {
    Short(u8),
    Long(u8),
    LongUmlaut(u8),
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Short(number) => format!("{}dB", number % 4),
            Self::Long(more) => "x".repeat(TEXT_MAX_BYTES - 2 + usize::from(more % 5)),
            Self::LongUmlaut(more) => "ü".repeat(TEXT_MAX_BYTES / 2 - 2 + usize::from(more % 5)),
        }
    }
}

impl Value {
    fn scalar(&self) -> Option<Scalar<'static>> {
        match self {
            Self::None => None,
            Self::Number(number) => Some(Scalar::Number(f64::from(*number) / 2.0)),
            Self::Bool(on) => Some(Scalar::Bool(*on)),
            Self::Text(text) => Some(Scalar::Text(Cow::Owned(text.text()))),
        }
    }
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Told {
    name: u8,
    kind: u8,
    is_read_only: bool,
    has_range: bool,
    state: State,
}

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Op {
    Began(u8),
    Component(u8, Vec<Told>),
    Named(u8),
    Ended,
    Values(Vec<(Option<u8>, u8, State)>),
    Confirmed,
    Stale,
    Passes(u16),
    Ask(u8, u8),
    /// More than fits, but seldom: it is slow.
    Flood([bool; 8], bool),
}

fn name(number: u8) -> String {
    match number % 16 {
        13 => String::new(),
        14 => "a\u{7}".to_owned(),
        15 => "n".repeat(NAME_MAX_BYTES + usize::from(number / 16 % 2)),
        plain => ["gain", "input.1.meter", "Ä", "mute"]
            .get(usize::from(plain))
            .map_or_else(|| format!("c{plain}"), |text| (*text).to_owned()),
    }
}

fn can_be_named(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.chars().any(char::is_control)
}

type Key = (Option<String>, String);

#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    value: Option<f64>,
    text: Option<String>,
    truncated: bool,
    position: Option<f32>,
    is_reported: bool,
    is_seen: bool,
    is_new: bool,
}

/// What the mirror promises, the simple way.
#[derive(Debug, Default)]
struct Model {
    controls: BTreeMap<Key, Known>,
    components: BTreeMap<String, bool>,
    code: Option<u8>,
    is_telling: bool,
    is_replacing: bool,
    is_linked: bool,
    is_all_live: bool,
    refused: u64,
    changes: u64,
}

impl Model {
    fn began(&mut self, code: u8) {
        let is_other = self.code.is_some_and(|known| known != code);
        self.code = Some(code);
        self.is_telling = true;
        self.is_linked = true;
        self.refused = 0;
        if is_other {
            self.is_replacing = true;
            self.is_all_live = false;
        }
        for known in self.controls.values_mut() {
            known.is_seen = false;
            if is_other {
                let is_new = known.is_new;
                *known = Known {
                    is_new,
                    ..Known::default()
                };
            }
        }
        self.components
            .values_mut()
            .for_each(|is_seen| *is_seen = false);
    }

    fn component(&mut self, component: &str, told: &[(String, &State)]) {
        if !self.components.contains_key(component) {
            if self.components.len() >= COMPONENTS_MAX && self.is_replacing {
                self.drop_unseen();
            }
            if !can_be_named(component) || self.components.len() >= COMPONENTS_MAX {
                self.refused += 1 + u64::try_from(told.len()).unwrap();
                return;
            }
        }
        self.components.insert(component.to_owned(), true);
        for (control, state) in told {
            self.told((Some(component.to_owned()), control.clone()), Some(state));
        }
    }

    fn told(&mut self, key: Key, state: Option<&State>) {
        if !self.controls.contains_key(&key) {
            if self.controls.len() >= CONTROLS_MAX && self.is_replacing {
                self.drop_unseen();
            }
            if !can_be_named(&key.1) || self.controls.len() >= CONTROLS_MAX {
                self.refused += 1;
                return;
            }
            let is_new = true;
            self.controls.insert(
                key.clone(),
                Known {
                    is_new,
                    ..Known::default()
                },
            );
        }
        let known = self.controls.get_mut(&key).unwrap();
        known.is_seen = true;
        if let Some(state) = state {
            known.report(state);
        }
    }

    fn drop_unseen(&mut self) {
        self.controls.retain(|_, known| known.is_seen);
        self.components.retain(|_, is_seen| *is_seen);
    }

    fn ended(&mut self) {
        if std::mem::take(&mut self.is_telling) {
            self.is_replacing = false;
            self.drop_unseen();
            self.controls
                .values_mut()
                .for_each(|known| known.is_new = false);
        }
    }

    fn quality(&self, known: &Known) -> Quality {
        if known.value.is_none() && known.text.is_none() && known.position.is_none() {
            Quality::Unknown
        } else if self.is_linked && (self.is_all_live || known.is_reported) {
            Quality::Live
        } else {
            Quality::Stale
        }
    }
}

impl Known {
    fn report(&mut self, state: &State) {
        let scalar = state.value.scalar();
        let mut string = state.string.as_ref().map(Text::text);
        match scalar {
            Some(Scalar::Text(text)) => {
                self.value = None;
                string = string.or(Some(text.into_owned()));
            }
            Some(number) => self.value = number.as_number(),
            None => {}
        }
        if let Some(position) = state.position {
            self.position = Some(f32::from(position) / 255.0);
        }
        if let Some(string) = string {
            self.truncated = string.len() > TEXT_MAX_BYTES;
            self.text = Some(string[..string.floor_char_boundary(TEXT_MAX_BYTES)].to_owned());
        }
        let says_something = !matches!(state.value, Value::None)
            || state.string.is_some()
            || state.position.is_some();
        self.is_reported |= says_something;
    }

    fn is(&self, reading: &Reading) -> bool {
        reading.value == self.value
            && reading.string == self.text.as_deref().unwrap_or_default()
            && reading.truncated == self.truncated
            && reading.position == self.position
    }
}

/// Whatever it is told in whatever order, the mirror has the last value of each control of the design, and never more than fits.
pub(crate) fn holds(ops: &[Op]) {
    let mut now = Instant::now();
    let mirror = Mirror::new(now);
    let mut notices = mirror.subscribe();
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Began(code) => {
                mirror.design_began(&engine(code % 3), now);
                model.began(code % 3);
            }
            Op::Component(number, told) => {
                component(&mirror, &mut model, &name(*number), told, now);
            }
            Op::Named(number) => {
                mirror.named_control(&name(*number), now);
                model.told((None, name(*number)), None);
            }
            Op::Ended => {
                mirror.design_ended(now);
                model.ended();
            }
            Op::Values(values) => change(&mirror, &mut model, values, now),
            Op::Confirmed => {
                mirror.confirmed(now);
                model.is_all_live |= model.is_linked;
            }
            Op::Stale => {
                mirror.went_stale(now);
                model.is_telling = false;
                model.is_linked = false;
                model.is_all_live = false;
                model
                    .controls
                    .values_mut()
                    .for_each(|known| known.is_reported = false);
            }
            Op::Passes(millis) => now += Duration::from_millis(u64::from(*millis)),
            Op::Ask(one, other) => ask(&mirror, *one, *other),
            Op::Flood(coins, of_components) => {
                if coins.iter().all(|coin| *coin) {
                    flood(&mirror, &mut model, *of_components, now);
                }
            }
        }
        while notices.try_recv().is_ok() {}
        let status = mirror.status();
        assert_eq!(
            (
                status.components,
                status.controls,
                status.refused,
                status.changes
            ),
            (
                model.components.len(),
                model.controls.len(),
                model.refused,
                model.changes
            ),
            "after {op:?}"
        );
        assert!(status.controls <= CONTROLS_MAX && status.components <= COMPONENTS_MAX);
    }
    compare(&mirror, &model);
}

fn engine(code: u8) -> EngineStatus {
    let text = format!(r#"{{"State":"Active","DesignName":"Hall","DesignCode":"{code}"}}"#);
    serde_json::from_str(&text).unwrap()
}

fn facts(name: &str) -> ComponentFacts {
    let name = serde_json::Value::from(name);
    let facts = serde_json::json!({ "Name": name, "Type": "gain", "Properties": [{ "Name": "n", "Value": "8" }] });
    serde_json::from_str(&facts.to_string()).unwrap()
}

fn control_facts<'a>(name: &'a str, told: &Told) -> ControlFacts<'a> {
    let mut facts: ControlFacts<'a> = serde_json::from_str(r#"{"Name":""}"#).unwrap();
    facts.name = name.into();
    facts.kind = Some(["Float", "Boolean", "Text", ""][usize::from(told.kind % 4)].into());
    facts.direction = told.is_read_only.then(|| "Read Only".into());
    if told.has_range {
        (facts.value_min, facts.value_max) = (Some(-100.0), Some(f64::from(told.kind)));
    }
    facts.value = told.state.value.scalar();
    facts.string = told.state.string.as_ref().map(|text| text.text().into());
    facts.position = told
        .state
        .position
        .map(|position| f64::from(f32::from(position) / 255.0));
    facts
}

fn component(mirror: &Mirror, model: &mut Model, component: &str, told: &[Told], now: Instant) {
    let names: Vec<String> = told.iter().map(|told| name(told.name)).collect();
    let controls: Vec<ControlFacts<'_>> = names
        .iter()
        .zip(told)
        .map(|(name, told)| control_facts(name, told))
        .collect();
    ChangeSink::component(mirror, &facts(component), &controls, now);
    let told: Vec<_> = names
        .iter()
        .cloned()
        .zip(told.iter().map(|told| &told.state))
        .collect();
    model.component(component, &told);
}

fn change(mirror: &Mirror, model: &mut Model, values: &[(Option<u8>, u8, State)], now: Instant) {
    let mut changes = Vec::new();
    for (component, control, state) in values {
        let key = (
            component.map(name).filter(|name| !name.is_empty()),
            name(*control),
        );
        let mut change = ControlChange::new(
            component.map(|number| name(number).into()),
            key.1.clone().into(),
        );
        change.value = state.value.scalar();
        change.string = state.string.as_ref().map(|text| text.text().into());
        change.position = state
            .position
            .map(|position| f64::from(f32::from(position) / 255.0));
        if let Some(look) = &state.look {
            change.color = Some(look.text().into());
            change.legend = Some("".into());
            change.choices = Some(vec![look.text().into(), "b".into()]);
        }
        changes.push(change);
        if let Some(known) = model.controls.get_mut(&key) {
            known.report(state);
            // A change that says nothing of the state still says that the control is there.
            known.is_reported = true;
            model.changes += 1;
        }
    }
    mirror.values(&changes, now);
}

fn ask(mirror: &Mirror, one: u8, other: u8) {
    let query = format!("{} {}", name(one), name(other).to_uppercase());
    let limit = usize::from(other % 8);
    assert!(mirror.search(&query, &[], limit).len() <= limit);
    assert!(mirror.search(&query, &[SearchKind::Control], limit).len() <= limit);
    assert!(mirror.nearest_components(&query, limit).len() <= limit);
    assert!(mirror.nearest_controls(None, &query, limit).len() <= limit);
    assert!(
        mirror
            .nearest_controls(Some(&name(one)), &query, limit)
            .len()
            <= limit
    );
    let (page, total) = mirror.components(&mut |_| true, usize::from(one % 4), limit);
    assert!(page.len() <= limit && page.len() <= total);
}

fn flood(mirror: &Mirror, model: &mut Model, of_components: bool, now: Instant) {
    let state = State {
        value: Value::Number(1),
        string: None,
        position: None,
        look: None,
    };
    let told = Told {
        name: 0,
        kind: 0,
        is_read_only: false,
        has_range: false,
        state,
    };
    let (components, controls) = if of_components {
        (COMPONENTS_MAX + 2, 0)
    } else {
        (17, CONTROLS_MAX / 16)
    };
    let names: Vec<String> = (0..controls)
        .map(|number| format!("flood.{number}"))
        .collect();
    let described: Vec<ControlFacts<'_>> = names
        .iter()
        .map(|name| control_facts(name, &told))
        .collect();
    let modelled: Vec<_> = names
        .iter()
        .cloned()
        .map(|name| (name, &told.state))
        .collect();
    for number in 0..components {
        let component = format!("Flood {number}");
        ChangeSink::component(mirror, &facts(&component), &described, now);
        model.component(&component, &modelled);
    }
}

/// Controls looked up at the end of a flood.
const SAMPLE: usize = 500;

fn compare(mirror: &Mirror, model: &Model) {
    for (key, known) in model.controls.iter().take(SAMPLE) {
        let id = mirror
            .find(&reference(key))
            .unwrap_or_else(|| panic!("{key:?} is lost"));
        let reading = mirror.reading(id).unwrap();
        assert!(
            known.is(&reading),
            "{key:?} is {known:?}, the mirror says {reading:?}"
        );
        assert_eq!(reading.quality, model.quality(known), "{key:?} {known:?}");
        assert_eq!(mirror.control(id).unwrap().name, reference(key));
    }
    let (page, total) = mirror.components(&mut |_| true, 0, SAMPLE);
    assert_eq!(total, model.components.len());
    for (view, name) in page.iter().zip(model.components.keys()) {
        assert_eq!(view.name, *name);
        let controls = mirror.component_controls(name).unwrap();
        let mut names = BTreeSet::new();
        assert!(
            controls
                .iter()
                .all(|control| names.insert(control.name.clone())),
            "{name} has a control twice"
        );
        assert_eq!(controls.len(), view.controls);
    }
    let named = model
        .controls
        .keys()
        .filter(|(component, _)| component.is_none())
        .count();
    assert_eq!(mirror.named_controls().len(), named);
}

fn reference((component, control): &Key) -> ControlRef {
    ControlRef {
        component: component.as_ref().map(|name| name.parse().unwrap()),
        control: control.parse().unwrap(),
    }
}
