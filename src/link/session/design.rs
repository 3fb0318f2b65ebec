//! Learning the design: which components there are, and which controls they have.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::exchange::Purpose;
use super::{Event, Phase, Session};
use crate::base::json::AtMost;
use crate::limits::{
    COMPONENT_CONTROLS_MAX, COMPONENTS_MAX, GET_CONTROLS_IN_FLIGHT_MAX, OVERSIZE_COMPONENTS_MAX,
    PROPERTIES_ALL_MAX, SUBSCRIBED_TEXT_MAX_BYTES, UNLISTED_COMPONENTS_MAX,
};
use crate::link::config::CONTROLS_WAIT;
use crate::model::change::ChangeSink;
use crate::model::name::ControlName;
use crate::wire::jsonrpc::ErrorObject;
use crate::wire::qrc::{ComponentFacts, ControlFacts, Controls, Named, Request, Scalar};

/// How often a component's controls are asked for in a row before the component is left out.
const CONTROLS_ASKED_MAX: u8 = 3;

/// Pauses before a design is learnt again of which something could not be, on one connection. Writes have to wait for some seconds
/// each time, so that it is not done for ever.
const RELEARN_AFTER: [Duration; 2] = [Duration::from_secs(30), Duration::from_mins(5)];

/// The components that a Core lists: twice as many as the mirror takes, so that it can count those that it does not.
type Listed<'a> = AtMost<&'a RawValue, { 2 * COMPONENTS_MAX }>;

/// Where the enumeration stands.
#[derive(Debug, Default)]
pub(super) struct Enumeration {
    /// Absent until the Core has listed them.
    components: Option<Vec<ComponentFacts>>,
    /// Components to ask for one at a time, because one of them may break the connection.
    alone: VecDeque<usize>,
    rest: VecDeque<usize>,
    /// One is being asked for alone.
    is_alone: bool,
    /// How often the Core refused to tell about a component.
    refusals: BTreeMap<usize, u8>,
}

impl Enumeration {
    fn next(&mut self, in_flight: usize) -> Option<usize> {
        if in_flight == 0 {
            self.is_alone = !self.alone.is_empty();
            self.alone.pop_front().or_else(|| self.rest.pop_front())
        } else if self.is_alone || in_flight >= GET_CONTROLS_IN_FLIGHT_MAX {
            None
        } else {
            self.rest.pop_front()
        }
    }

    /// Puts a component that was refused at the end of the queue, unless it was asked for often enough.
    fn again(&mut self, at: usize) -> bool {
        let refusals = self.refusals.entry(at).or_default();
        *refusals += 1;
        let again = *refusals < CONTROLS_ASKED_MAX;
        if again {
            self.rest.push_back(at);
        }
        again
    }

    fn get(&self, at: usize) -> Option<&ComponentFacts> {
        self.components.as_ref()?.get(at)
    }

    fn is_done(&self, in_flight: usize) -> bool {
        self.components.is_some() && self.alone.is_empty() && self.rest.is_empty() && in_flight == 0
    }
}

/// Components of a design whose answer is too large to take. It outlives connections, since each such answer costs one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oversize {
    design_code: String,
    /// Known ones, not asked for again.
    known: Vec<String>,
    /// One of these broke the last connection.
    suspects: Vec<String>,
}

impl Oversize {
    /// Another design has other components.
    pub(super) fn for_design(&mut self, design_code: &str) {
        if self.design_code != design_code {
            *self = Self {
                design_code: design_code.to_owned(),
                ..Self::default()
            };
        }
    }

    fn broke(&mut self, asked: Vec<String>) {
        if asked.is_empty() {
            return;
        }
        if let [culprit] = asked.as_slice() {
            tracing::warn!(
                "The answer about component {culprit} is too large: it is left out of this design"
            );
            self.suspects.retain(|suspect| suspect != culprit);
            if self.known.len() < OVERSIZE_COMPONENTS_MAX {
                self.known.push(culprit.clone());
            }
        } else {
            self.suspects = asked;
        }
    }

    pub(crate) fn known(&self) -> &[String] {
        &self.known
    }
}

impl Session {
    pub(super) fn components_answered(
        &mut self,
        now: Instant,
        outcome: Result<&RawValue, ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        let listed = outcome.map_err(|error| error.to_string()).and_then(|raw| {
            serde_json::from_str::<Listed<'_>>(raw.get()).map_err(|fault| fault.to_string())
        });
        let listed = match listed {
            Ok(listed) => listed,
            Err(fault) => {
                let fault = format!("the Core's components could not be listed: {fault}");
                return self.end(now, false, &fault, sink);
            }
        };
        self.prove(true);
        let Phase::Enumerating(enumeration) = &mut self.phase else {
            return;
        };
        if listed.more > 0 {
            tracing::warn!(
                more = listed.more,
                "The Core lists more components than any design has: the last ones are not looked at"
            );
        }
        let mut properties = 0;
        let components: Vec<ComponentFacts> = listed
            .items
            .into_iter()
            .filter_map(|raw| serde_json::from_str(raw.get()).ok())
            .map(|mut component: ComponentFacts| {
                properties += component.properties.len();
                if properties > PROPERTIES_ALL_MAX {
                    component.properties = Vec::new();
                }
                component
            })
            .collect();
        for (at, component) in components.iter().enumerate() {
            // The mirror counts what is beyond its bound, so it is told, but not asked about.
            if at >= COMPONENTS_MAX || self.oversize.known.contains(&component.name) {
                sink.component(component, &[], now);
            } else if self.oversize.suspects.contains(&component.name) {
                enumeration.alone.push_back(at);
            } else {
                enumeration.rest.push_back(at);
            }
        }
        self.components = components.len();
        enumeration.components = Some(components);
    }

    /// Asks for the next components' controls, and goes on when all are there.
    pub(super) fn pump_enumeration(&mut self, now: Instant, sink: &dyn ChangeSink) {
        loop {
            let in_flight = self.controls_in_flight();
            let has_room = self.exchange.has_room();
            let Phase::Enumerating(enumeration) = &mut self.phase else {
                return;
            };
            if enumeration.is_done(in_flight) {
                return self.finish_design(now, sink);
            }
            let Some(at) = has_room.then(|| enumeration.next(in_flight)).flatten() else {
                return;
            };
            if let Some(component) = enumeration.get(at) {
                let name = component.name.clone();
                let request = Request::ComponentGetControls(Named { name });
                // There is room, as was just seen.
                let _room = self
                    .exchange
                    .ask(now, CONTROLS_WAIT, &request, Purpose::Controls(at));
            }
        }
    }

    fn controls_in_flight(&self) -> usize {
        self.exchange
            .count(|purpose| matches!(purpose, Purpose::Controls(_)))
    }

    pub(super) fn controls_answered(
        &mut self,
        now: Instant,
        at: usize,
        outcome: Result<&RawValue, ErrorObject>,
        sink: &dyn ChangeSink,
    ) {
        let Phase::Enumerating(enumeration) = &self.phase else {
            return;
        };
        let Some(component) = enumeration.get(at) else {
            return;
        };
        let name = &component.name;
        let raw = match outcome {
            Ok(raw) => raw,
            Err(error) => return self.controls_refused(now, at, &error.to_string(), sink),
        };
        match serde_json::from_str::<Controls<'_>>(raw.get()) {
            Ok(found) => {
                let mut controls = found.controls;
                if controls.len() >= COMPONENT_CONTROLS_MAX {
                    tracing::warn!("Component {name} has too many controls: not all are mirrored");
                    if self.unlisted.len() < UNLISTED_COMPONENTS_MAX {
                        let most = COMPONENT_CONTROLS_MAX;
                        self.unlisted
                            .push(format!("{name}: it has {most} controls or more"));
                    }
                }
                let is_script = is_script(component, &controls);
                controls.retain(|control| is_mirrored(control, is_script));
                sink.component(component, &controls, now);
                let names = controls.iter().map(|control| control.name.as_str());
                self.groups.plan(now, Some(name), names);
                self.oversize.suspects.retain(|suspect| suspect != name);
            }
            Err(fault) => {
                tracing::warn!(
                    "What the Core tells about component {name} cannot be read: {fault}"
                );
                sink.component(component, &[], now);
            }
        }
    }

    /// A Core that boots refuses what it tells a moment later: asked again, and left out only if it goes on refusing.
    fn controls_refused(&mut self, now: Instant, at: usize, why: &str, sink: &dyn ChangeSink) {
        if let Phase::Enumerating(enumeration) = &mut self.phase
            && !enumeration.again(at)
        {
            self.leave_out(now, at, why, sink);
        }
    }

    /// A Core that answers everything but this is not asked again at once, or the link would never be live.
    pub(super) fn controls_lost(&mut self, now: Instant, at: usize, sink: &dyn ChangeSink) {
        self.leave_out(now, at, "the Core did not answer", sink);
    }

    fn leave_out(&mut self, now: Instant, at: usize, why: &str, sink: &dyn ChangeSink) {
        if let Phase::Enumerating(enumeration) = &self.phase
            && let Some(component) = enumeration.get(at)
        {
            let name = &component.name;
            tracing::warn!("The controls of component {name} are not mirrored for now: {why}");
            if self.unlisted.len() < UNLISTED_COMPONENTS_MAX {
                self.unlisted.push(format!("{name}: {why}"));
            }
            sink.component(component, &[], now);
        }
    }

    /// When the design is to be learnt again, because something of it could not be.
    pub(super) fn relearn_at(&self) -> Option<Instant> {
        self.relearn.filter(|_| matches!(self.phase, Phase::Live))
    }

    /// A frame broke the limit: the components that were asked for are to blame.
    pub(super) fn note_oversize(&mut self) {
        if let Phase::Enumerating(enumeration) = &self.phase {
            let mut asked = Vec::new();
            self.exchange.each(|purpose| {
                if let Purpose::Controls(at) = purpose
                    && let Some(component) = enumeration.get(*at)
                {
                    asked.push(component.name.clone());
                }
            });
            self.oversize.broke(asked);
        }
    }

    fn finish_design(&mut self, now: Instant, sink: &dyn ChangeSink) {
        for name in &self.config.named_controls {
            sink.named_control(name.as_str(), now);
        }
        let names = self.config.named_controls.iter().map(ControlName::as_str);
        self.groups.plan(now, None, names);
        sink.design_ended(now);
        let pause = RELEARN_AFTER
            .get(self.relearnt)
            .filter(|_| !self.unlisted.is_empty());
        self.relearn = pause.map(|pause| now + *pause);
        if self.groups.left_out() > 0 {
            tracing::warn!(
                "The design has more controls than can be mirrored: {} are left out",
                self.groups.left_out()
            );
        }
        self.phase = Phase::Subscribing;
        self.events.push_back(Event::Moved);
    }
}

/// Whether a component runs a script, whose source and log are controls too.
fn is_script(component: &ComponentFacts, controls: &[ControlFacts<'_>]) -> bool {
    component.kind.contains("script")
        || controls
            .iter()
            .any(|control| control.name.starts_with("script."))
}

/// Source and log of a script can have megabytes and change with every line printed; they stay out, and so does every text that large.
fn is_mirrored(control: &ControlFacts<'_>, is_script: bool) -> bool {
    let text = control.string.as_ref().map_or(0, |text| text.len());
    let value = match &control.value {
        Some(Scalar::Text(text)) => text.len(),
        _ => 0,
    };
    let is_script_text =
        is_script && matches!(control.name.as_str(), "code" | "log.history" | "log.entry");
    !is_script_text && text.max(value) <= SUBSCRIBED_TEXT_MAX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_large_is_traced_to_its_component_by_asking_alone() {
        let mut oversize = Oversize::default();
        oversize.for_design("one");
        oversize.broke(vec!["A".into(), "B".into(), "C".into()]);
        assert_eq!(oversize.suspects.len(), 3);
        oversize.broke(vec!["B".into()]);
        assert_eq!(oversize.known(), ["B"]);
        assert_eq!(oversize.suspects, ["A", "C"]);
        oversize.for_design("one");
        assert_eq!(oversize.known().len(), 1);
        oversize.for_design("two");
        assert!(oversize.known().is_empty() && oversize.suspects.is_empty());
    }

    #[test]
    fn suspects_are_asked_one_at_a_time_and_the_others_three_at_a_time() {
        let mut enumeration = Enumeration {
            alone: [7, 8].into(),
            rest: [1, 2, 3, 4].into(),
            ..Enumeration::default()
        };
        assert_eq!(enumeration.next(0), Some(7));
        assert_eq!(enumeration.next(1), None);
        assert_eq!(enumeration.next(0), Some(8));
        assert_eq!(enumeration.next(1), None);
        let three: Vec<_> = (0..4)
            .filter_map(|in_flight| enumeration.next(in_flight))
            .collect();
        assert_eq!(three, [1, 2, 3]);
    }

    #[test]
    fn a_scripts_source_is_left_out_and_a_keypads_code_is_not() {
        let facts = |name: &str, kind: &str| -> ComponentFacts {
            serde_json::from_str(&format!(r#"{{"Name":"{name}","Type":"{kind}"}}"#)).unwrap()
        };
        let texts = ["code", "text.1", "script.status"]
            .map(|name| format!(r#"{{"Name":"{name}","String":"x"}}"#));
        let [code, text, status] = texts
            .each_ref()
            .map(|text| serde_json::from_str::<ControlFacts<'_>>(text).unwrap());
        assert!(is_script(&facts("S", "device_controller_script"), &[]));
        assert!(is_script(&facts("P", "PLUGIN"), &[status]));
        assert!(!is_script(
            &facts("K", "custom_controls"),
            std::slice::from_ref(&code)
        ));
        assert!(!is_mirrored(&code, true));
        assert!(is_mirrored(&code, false));
        assert!(is_mirrored(&text, true));
        let mut long = text;
        long.string = Some("x".repeat(SUBSCRIBED_TEXT_MAX_BYTES + 1).into());
        assert!(!is_mirrored(&long, false));
    }
}
