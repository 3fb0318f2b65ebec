//! Whether a resource reads otherwise than before, found out without reading it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::uri::{Address, Place};
use crate::guard::Reach;
use crate::limits::INEXACT_NAMES_MAX;
use crate::link::LinkStatus;
use crate::model::name::{ComponentName, ControlRef};
use crate::service::qsys::{Core, QsysService, get_link_status, get_overview, resolve};
use crate::store::view::ControlId;

/// What was looked up for stamps and is good until the design changes, since a stamp is asked for again and again.
#[derive(Debug, Default)]
pub(in crate::service::qsys) struct Lookups {
    /// The controls that the overview of each Core looks at.
    overviews: Mutex<HashMap<(usize, Reach), Overview>>,
    /// Names that are not spelt as the Core spells them, or that nothing has.
    inexact: Mutex<HashMap<Wanted, Known<Option<ControlRef>>>>,
}

/// Overviews whose controls are kept: one for each system and reach that somebody subscribed with. One more forgets them all.
const OVERVIEWS_MAX: usize = 64;

/// The number of a Core, who asks, and the name asked for there.
type Wanted = (usize, Reach, ControlRef);

/// The controls of an overview.
type Overview = Known<Arc<[ControlId]>>;

/// What is known since a generation of the design.
type Known<T> = (u64, T);

impl Lookups {
    fn overview(&self, number: usize, core: &Core) -> Arc<[ControlId]> {
        let generation = core.mirror.generation();
        let wanted = (number, core.reach().clone());
        let known = self.overviews.lock().get(&wanted).cloned();
        if let Some((since, ids)) = known
            && since == generation
        {
            return ids;
        }
        let ids: Arc<[ControlId]> = get_overview::looked_at(core).into();
        let known = (generation, Arc::clone(&ids));
        let mut all = self.overviews.lock();
        if all.len() >= OVERVIEWS_MAX {
            all.clear();
        }
        all.insert(wanted, known);
        ids
    }

    /// A control as the Core spells it, if there is one.
    fn control(&self, number: usize, core: &Core, name: ControlRef) -> Option<ControlId> {
        if let Some(id) = core.mirror.find(&name) {
            return Some(id);
        }
        let found = self.inexact(number, core, name, |name| {
            let component = name.component.as_ref().map(ComponentName::as_str);
            let found = resolve::control(core, component, name.control.as_str());
            found.ok().map(|(_, name)| name)
        })?;
        core.mirror.find(&found)
    }

    /// Where the controls of a component are, if there is one.
    fn component(&self, number: usize, core: &Core, name: &str) -> Option<Vec<ControlId>> {
        if let Some(ids) = core.mirror.control_ids(name) {
            return Some(ids);
        }
        // Beside a component of this name no control can have it, so that both share the table.
        let name = resolve::control_ref(Some(name), COMPONENT).ok()?;
        let found = self.inexact(number, core, name, |name| {
            let component = name.component.as_ref()?.as_str();
            let view = resolve::find_component(core, component).ok()??;
            resolve::control_ref(Some(&view.name), COMPONENT).ok()
        })?;
        core.mirror.control_ids(found.component?.as_str())
    }

    fn inexact(
        &self,
        number: usize,
        core: &Core,
        name: ControlRef,
        find: impl FnOnce(&ControlRef) -> Option<ControlRef>,
    ) -> Option<ControlRef> {
        let generation = core.mirror.generation();
        let wanted = (number, core.reach().clone(), name);
        let known = self.inexact.lock().get(&wanted).cloned();
        if let Some((since, found)) = known
            && since == generation
        {
            return found;
        }
        let found = find(&wanted.2);
        let mut all = self.inexact.lock();
        if all.len() >= INEXACT_NAMES_MAX {
            all.clear();
        }
        all.insert(wanted, (generation, found.clone()));
        found
    }
}

/// Stands for a component as a whole among names of controls; no Core has such a control.
const COMPONENT: &str = "//";

/// A number that is another one when a read would give other contents, ages and round trips aside. Nothing for a URI that is none of this
/// service. What is not there has a number too, so that its coming shows.
pub(in crate::service::qsys) fn stamp(
    service: &QsysService,
    uri: &str,
    reach: &Reach,
) -> Option<u64> {
    let address = Address::of(uri)?.ok()?;
    let mut hasher = DefaultHasher::new();
    if let Place::Guide(guide) = &address.place {
        guide.name.hash(&mut hasher);
        return Some(hasher.finish());
    }
    let number = match &address.core {
        Some(name) => service.systems.number(name)?,
        None => 0,
    };
    let core = &service.systems.at(number, reach)?;
    head(core, &mut hasher);
    match &address.place {
        Place::Overview => {
            let ids = service.lookups.overview(number, core);
            core.mirror.stamp(&ids).hash(&mut hasher);
            link(&core.link.status(), &mut hasher);
            // Rules may fit controls of any Core.
            let mirrors = service.systems.mirrors();
            let designs = mirrors.iter().map(|mirror| mirror.generation());
            designs.for_each(|generation| generation.hash(&mut hasher));
        }
        Place::Link => link(&core.link.status(), &mut hasher),
        Place::Guide(_) | Place::Design | Place::Components => {}
        Place::Component(name) => {
            let ids = service.lookups.component(number, core, name);
            ids.map(|ids| core.mirror.stamp(&ids)).hash(&mut hasher);
        }
        Place::Control(component, control) => {
            let name = resolve::control_ref(component.as_deref(), control).ok();
            let id = name.and_then(|name| service.lookups.control(number, core, name));
            core.mirror.stamp(id.as_slice()).hash(&mut hasher);
        }
    }
    Some(hasher.finish())
}

/// What every answer begins with, and how much there is.
fn head(core: &Core, hasher: &mut DefaultHasher) {
    let known = core.mirror.status();
    if let Some(engine) = &known.engine {
        (&engine.design_name, &engine.design_code).hash(hasher);
        (engine.state.as_str(), &engine.platform).hash(hasher);
        engine
            .status
            .as_ref()
            .map(|status| &status.string)
            .hash(hasher);
    }
    let counts = (known.components, known.controls, known.refused);
    (counts, known.generation).hash(hasher);
    (core.link.state(), std::mem::discriminant(&known.quality)).hash(hasher);
}

/// What is told of a link, but for what changes all the time.
fn link(status: &LinkStatus, hasher: &mut DefaultHasher) {
    (status.state, status.breaker, &status.address).hash(hasher);
    let engine = status.engine.as_ref();
    engine.map(|engine| engine.state.as_str()).hash(hasher);
    (status.drops, status.attempts, status.breaker_opened).hash(hasher);
    (status.garbage_frames, status.change_groups).hash(hasher);
    (&status.last_fault, &status.untrusted_fingerprint).hash(hasher);
    (&status.oversize_components, &status.unlisted_components).hash(hasher);
    get_link_status::is_silent(status, Instant::now()).hash(hasher);
    for peer in &status.peers {
        link(peer, hasher);
    }
}
