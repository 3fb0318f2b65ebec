//! A design as a designer makes it: components, named controls, snapshot banks, paging. Running it is for `plant`.

pub use super::control::{Control, Kind, Look, Unit};
pub use super::designs::{generated, venue};
use crate::wire::qrc::{Property, Scalar};

/// Who may see a component (Q-SYS Help, Code Name and Script Access).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptAccess {
    /// Nobody; the default of a component without a custom Code Name.
    None,
    /// Scripts on the Core only.
    Script,
    /// Clients of QRC only.
    External,
    /// Both.
    All,
}

impl ScriptAccess {
    pub(super) fn is_external(self) -> bool {
        matches!(self, Self::External | Self::All)
    }
}

/// A component with its controls.
#[derive(Debug, Clone)]
pub struct Component {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) access: ScriptAccess,
    pub(super) properties: Vec<Property>,
    pub(super) controls: Vec<Control>,
}

impl Component {
    /// A component of a type (`gain`, `mixer`, …) that everybody may see.
    #[must_use]
    pub fn new(name: &str, kind: &str, controls: Vec<Control>) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            access: ScriptAccess::All,
            properties: Vec::new(),
            controls,
        }
    }

    /// Adds a property, its value as text as Cores send it.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str, pretty_name: &str) -> Self {
        self.properties.push(Property {
            name: name.to_owned(),
            value: Some(Scalar::Text(value.to_owned().into())),
            pretty_name: pretty_name.to_owned(),
        });
        self
    }

    /// Sets who may see it.
    #[must_use]
    pub fn access(self, access: ScriptAccess) -> Self {
        Self { access, ..self }
    }

    /// Adds a control.
    #[must_use]
    pub fn with(mut self, control: Control) -> Self {
        self.controls.push(control);
        self
    }

    /// Its Code Name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its controls' names.
    pub fn control_names(&self) -> impl Iterator<Item = &str> {
        self.controls.iter().map(|control| control.name.as_str())
    }
}

/// A control dragged into the Named Controls pane.
#[derive(Debug, Clone)]
pub(super) struct NamedControl {
    pub(super) name: String,
    pub(super) component: String,
    pub(super) control: String,
}

/// A snapshot bank: the controls it holds and what each of its snapshots keeps of them.
#[derive(Debug, Clone)]
pub struct Bank {
    pub(super) name: String,
    pub(super) members: Vec<(String, String)>,
    /// Per snapshot, one number and text per member; `None` was never saved.
    pub(super) slots: Vec<Option<Vec<(f64, String)>>>,
}

impl Bank {
    /// An empty bank over `members` (component and control). A `snapshot_controller` of the same name loads and saves it.
    #[must_use]
    pub fn new(name: &str, slots: usize, members: &[(&str, &str)]) -> Self {
        let members = members
            .iter()
            .map(|&(component, control)| (component.to_owned(), control.to_owned()))
            .collect();
        Self {
            name: name.to_owned(),
            members,
            slots: vec![None; slots],
        }
    }

    /// Puts numbers into the next empty snapshot, in the order of the members; a missing one is 0.
    #[must_use]
    pub fn saved(mut self, values: &[f64]) -> Self {
        let kept = (0..self.members.len())
            .map(|n| (values.get(n).copied().unwrap_or(0.0), String::new()))
            .collect();
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(kept);
        }
        self
    }
}

/// A paging zone.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) tags: Vec<String>,
}

/// A whole design.
#[derive(Debug, Clone)]
pub struct Design {
    pub(super) name: String,
    pub(super) code: String,
    pub(super) platform: String,
    pub(super) components: Vec<Component>,
    pub(super) named: Vec<NamedControl>,
    pub(super) banks: Vec<Bank>,
    pub(super) zones: Vec<Zone>,
    /// Files on the Core: page messages and loop-player material.
    pub(super) media: Vec<String>,
}

impl Design {
    /// An empty design; `code` is 12 characters of base 62 in every sample.
    #[must_use]
    pub fn new(name: &str, code: &str) -> Self {
        Self {
            name: name.to_owned(),
            code: code.to_owned(),
            platform: "Core 110f".to_owned(),
            components: Vec::new(),
            named: Vec::new(),
            banks: Vec::new(),
            zones: Vec::new(),
            media: Vec::new(),
        }
    }

    /// The Core's model.
    #[must_use]
    pub fn platform(self, platform: &str) -> Self {
        Self {
            platform: platform.to_owned(),
            ..self
        }
    }

    /// Adds a component.
    #[must_use]
    pub fn with(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// Names a component's control, so that `Control.*` reaches it.
    #[must_use]
    pub fn named(mut self, name: &str, component: &str, control: &str) -> Self {
        self.named.push(NamedControl {
            name: name.to_owned(),
            component: component.to_owned(),
            control: control.to_owned(),
        });
        self
    }

    /// Adds a snapshot bank.
    #[must_use]
    pub fn bank(mut self, bank: Bank) -> Self {
        self.banks.push(bank);
        self
    }

    /// Adds a paging zone; zones are numbered from 1 in this order.
    #[must_use]
    pub fn zone(mut self, name: &str, group: &str, tags: &[&str]) -> Self {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        self.zones.push(Zone {
            name: name.to_owned(),
            group: group.to_owned(),
            tags,
        });
        self
    }

    /// Adds a media file of the Core.
    #[must_use]
    pub fn media(mut self, file: &str) -> Self {
        self.media.push(file.to_owned());
        self
    }

    /// The same design compiled again: another `DesignCode`.
    #[must_use]
    pub fn recompiled(self, code: &str) -> Self {
        Self {
            code: code.to_owned(),
            ..self
        }
    }

    /// The design after somebody gave a component another Code Name. What refers to it follows.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        let rename = |name: &mut String| {
            if name == from {
                to.clone_into(name);
            }
        };
        self.components
            .iter_mut()
            .for_each(|component| rename(&mut component.name));
        self.named
            .iter_mut()
            .for_each(|named| rename(&mut named.component));
        for bank in &mut self.banks {
            rename(&mut bank.name);
            bank.members
                .iter_mut()
                .for_each(|(component, _)| rename(component));
        }
        self
    }

    /// Its components.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Its `DesignCode`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}
