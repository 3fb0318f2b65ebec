//! Any row of events leaves the mirror with the last value of every control, within its bounds, its lists in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What can happen to a mirror.
#[derive(Debug, Clone)]
enum Event {
    /// A design with this code and these components is told; the last part of it maybe not.
    Design(u8, Vec<u8>, bool),
    /// A control of a component is reported.
    Value(u8, u8, f64),
    Confirmed,
    Stale,
    Stored,
}

fn event() -> impl Strategy<Value = Event> {
    let components = proptest::collection::vec(0..6_u8, 0..6);
    prop_oneof![
        1 => (0..3_u8, components, any::<bool>()).prop_map(|(code, names, whole)| Event::Design(code, names, whole)),
        8 => (0..7_u8, 0..4_u8, -100.0..20.0).prop_map(|(component, control, value)| Event::Value(component, control, value)),
        1 => Just(Event::Confirmed),
        1 => Just(Event::Stale),
        1 => Just(Event::Stored),
    ]
}

/// What the mirror has to know: the value of every control of the design, `None` for a voided one.
#[derive(Debug, Default)]
struct Model {
    code: Option<u8>,
    values: BTreeMap<(u8, u8), Option<f64>>,
}

impl Model {
    fn design(&mut self, mirror: &Mirror, code: u8, components: &[u8], whole: bool, now: Instant) {
        mirror.design_began(&engine(&code.to_string()), now);
        if self.code.is_some_and(|known| known != code) {
            self.values.values_mut().for_each(|value| *value = None);
        }
        self.code = Some(code);
        for component in components {
            let controls = [
                ("c0", "Float", "Read/Write", 0.5),
                ("c1", "Float", "Read Only", 1.5),
                ("c2", "Text", "", 2.5),
            ];
            tell(mirror, &format!("C{component}"), "gain", &controls, now);
            for (control, value) in [(0, 0.5), (1, 1.5), (2, 2.5)] {
                self.values.insert((*component, control), Some(value));
            }
        }
        if whole {
            mirror.design_ended(now);
            self.values
                .retain(|(component, _), _| components.contains(component));
        }
    }

    fn agrees(&self, mirror: &Mirror) {
        for ((component, control), value) in &self.values {
            let id = id(
                mirror,
                Some(&format!("C{component}")),
                &format!("c{control}"),
            )
            .unwrap();
            assert_eq!(
                mirror.reading(id).unwrap().value,
                *value,
                "C{component}/c{control}"
            );
        }
        let status = mirror.status();
        assert_eq!(status.controls, self.values.len());
        assert!(status.controls <= CONTROLS_MAX && status.components <= COMPONENTS_MAX);
        let table = mirror.table.read();
        let listed: usize = table
            .component_names
            .ids()
            .map(|(id, _)| table.component(id).unwrap().controls.len())
            .sum();
        assert_eq!(listed, status.controls);
        let mut dirty = table.owed.controls.clone();
        dirty.sort_unstable();
        dirty.dedup();
        assert_eq!(
            dirty.len(),
            table.owed.controls.len(),
            "a control waits twice"
        );
    }
}

proptest! {
    #[test]
    fn after_any_events_the_mirror_has_the_last_value_of_every_control(events in proptest::collection::vec(event(), 1..60)) {
        let now = Instant::now();
        let mirror = Mirror::new(now);
        let mut model = Model::default();
        for event in events {
            match event {
                Event::Design(code, names, whole) => model.design(&mirror, code, &names, whole, now),
                Event::Value(component, control, value) => {
                    change(&mirror, Some(&format!("C{component}")), &format!("c{control}"), value, now);
                    if let Some(known) = model.values.get_mut(&(component, control)) {
                        *known = Some(value);
                    }
                }
                Event::Confirmed => mirror.confirmed(now),
                Event::Stale => mirror.went_stale(now),
                Event::Stored => drop(mirror.take_owed()),
            }
            model.agrees(&mirror);
        }
    }
}
