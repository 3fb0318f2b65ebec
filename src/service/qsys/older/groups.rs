//! Change groups of callers: watches under names that the caller chose. The Core knows nothing of them; it has four real ones for all.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::names::Named;
use super::{Rows, any_object, missing_row, name_row, reading_row, said, without_nulls};
use crate::base::clock::UnixMillis;
use crate::guard::{Caller, Scope};
use crate::limits::{GROUP_UNUSED_MAX, PAGE_MAX, READ_MAX};
use crate::service::qsys::answer::{self, Shown, millis};
use crate::service::qsys::text::count;
use crate::service::qsys::watch::{Change, Key, Kind, Taken, Watch};
use crate::service::qsys::{Core, Definition, Outcome, QsysService, fault, schema};
use crate::service::{Effect, ToolCall, ToolFault};

/// Longest name of a group, bytes.
const GROUP_NAME_MAX_BYTES: usize = 128;

/// Seconds between two polls of a group unless asked otherwise.
const USUAL_RATE: f64 = 1.0;

/// Unknown names of one call that are looked into.
const LOOKED_INTO: usize = 10;

pub(super) const CREATE: Definition = Definition {
    name: "create_change_group",
    title: "Create a change group (older name)",
    description: "Older name; use qsys_start_watch.",
    input: schema::input::<Create>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: create,
};

pub(super) const ADD: Definition = Definition {
    name: "add_controls_to_change_group",
    title: "Add controls to a change group (older name)",
    description: "Older name; use qsys_start_watch.",
    input: schema::input::<SomeControls>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: add,
};

pub(super) const REMOVE: Definition = Definition {
    name: "remove_controls_from_change_group",
    title: "Remove controls from a change group (older name)",
    description: "Older name; use qsys_start_watch.",
    input: schema::input::<SomeControls>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: remove,
};

pub(super) const CLEAR: Definition = Definition {
    name: "clear_change_group",
    title: "Clear a change group (older name)",
    description: "Older name; use qsys_stop_watch.",
    input: schema::input::<Group>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: clear,
};

pub(super) const POLL: Definition = Definition {
    name: "poll_change_group",
    title: "Poll a change group (older name)",
    description: "Older name; use qsys_poll_watch.",
    input: schema::input::<Group>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: poll,
};

pub(super) const LIST: Definition = Definition {
    name: "list_change_groups",
    title: "List change groups (older name)",
    description: "Older name; there is none among the present tools.",
    input: schema::input::<Nothing>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: list,
};

pub(super) const DESTROY: Definition = Definition {
    name: "destroy_change_group",
    title: "Destroy a change group (older name)",
    description: "Older name; use qsys_stop_watch.",
    input: schema::input::<Group>,
    output: any_object,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: destroy,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Create {
    /// Name of the group, of the caller's choice.
    #[schemars(length(min = 1, max = GROUP_NAME_MAX_BYTES))]
    group_id: Option<String>,
    /// The same.
    #[schemars(length(min = 1, max = GROUP_NAME_MAX_BYTES))]
    id: Option<String>,
    /// Seconds between two polls, 0.03 to 3600; 1 without it. Below 1 the group is polled several times a second, if it is small.
    #[schemars(range(min = 0.03, max = 3600))]
    poll_rate: Option<f64>,
    /// Name of the Core, where this box has several.
    core: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Group {
    /// Name of the group.
    #[schemars(length(min = 1, max = GROUP_NAME_MAX_BYTES))]
    group_id: Option<String>,
    /// The same.
    #[schemars(length(min = 1, max = GROUP_NAME_MAX_BYTES))]
    id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SomeControls {
    /// Name of the group.
    #[schemars(length(min = 1, max = GROUP_NAME_MAX_BYTES))]
    group_id: Option<String>,
    /// The same.
    #[schemars(length(min = 1, max = GROUP_NAME_MAX_BYTES))]
    id: Option<String>,
    /// The controls, at most 100.
    #[schemars(length(max = READ_MAX))]
    controls: Option<Vec<Named>>,
    /// The same.
    #[schemars(length(max = READ_MAX))]
    control_names: Option<Vec<Named>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn group(caller: &Caller, one: Option<String>, other: Option<String>) -> Result<Key, ToolFault> {
    match one.or(other) {
        Some(name) if (1..=GROUP_NAME_MAX_BYTES).contains(&name.len()) => {
            Ok(Key::group(&caller.name, &name))
        }
        _ => Err(fault::bad_argument(
            "groupId",
            format!("a name of 1 to {GROUP_NAME_MAX_BYTES} bytes is needed"),
            "Give the name of the change group.",
        )),
    }
}

fn create(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Create = answer::arguments(call.arguments)?;
        let core = &service.core(arguments.core.as_deref(), &call.caller)?;
        let key = group(&call.caller, arguments.group_id, arguments.id)?;
        let rate = arguments.poll_rate.unwrap_or(USUAL_RATE);
        let watch = Watch::new(core, rate < USUAL_RATE);
        service.watches.add(key.clone(), watch, GROUP_UNUSED_MAX)?;
        said(&json!({
            "success": true,
            "groupId": key.name.as_str(),
            "message": format!("Change group '{}' was made.", key.name),
            "pollRate": rate,
            "frequency": format!("{:.1}Hz", 1.0 / rate.max(0.001)),
            "recording": false,
        }))
    })
}

fn add(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: SomeControls = answer::arguments(call.arguments)?;
        let key = group(&call.caller, arguments.group_id, arguments.id)?;
        let asked = asked(arguments.controls, arguments.control_names)?;
        let mut taken = service.watches.take(&key)?;
        let core = &core_of(service, &mut taken, &call.caller)?;
        let (mut names, mut missing) = (Vec::new(), Vec::new());
        for one in &asked {
            match one.resolve(core, missing.len() < LOOKED_INTO) {
                Ok(name) => names.push(name),
                Err(fault) => missing.push(missing_row(&one.asked(), &fault)),
            }
        }
        let fresh = taken.with(|watch| {
            names.sort_unstable();
            names.dedup();
            names.retain(|name| !watch.names().any(|known| known == name));
            watch.len() + names.len()
        })?;
        taken.admit(fresh)?;
        let added = names.len();
        taken.with(|watch| {
            for name in names {
                watch.add(name);
            }
        })?;
        taken.keep_fast(&core.link, added > 0);
        said(&without_nulls(json!({
            "success": true,
            "groupId": key.name.as_str(),
            "controlsAdded": added,
            "message": format!("{} added to change group '{}'.", count(added, "control"), key.name),
            "notFound": (!missing.is_empty()).then_some(missing),
        })))
    })
}

fn remove(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: SomeControls = answer::arguments(call.arguments)?;
        let key = group(&call.caller, arguments.group_id, arguments.id)?;
        let asked = asked(arguments.controls, arguments.control_names)?;
        let mut taken = service.watches.take(&key)?;
        let core = &core_of(service, &mut taken, &call.caller)?;
        let removed =
            taken.with(|watch| watch.remove(|name| asked.iter().any(|one| one.means(name))))?;
        taken.keep_fast(&core.link, removed > 0);
        said(&json!({
            "success": true,
            "groupId": key.name.as_str(),
            "controlsRemoved": removed,
            "message": format!("{} removed from change group '{}'.", count(removed, "control"), key.name),
        }))
    })
}

fn clear(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Group = answer::arguments(call.arguments)?;
        let key = group(&call.caller, arguments.group_id, arguments.id)?;
        let mut taken = service.watches.take(&key)?;
        let core = &core_of(service, &mut taken, &call.caller)?;
        taken.with(|watch| watch.remove(|_| true))?;
        taken.keep_fast(&core.link, true);
        said(&json!({
            "success": true,
            "groupId": key.name.as_str(),
            "message": format!("Change group '{}' is empty now.", key.name),
        }))
    })
}

fn poll(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Group = answer::arguments(call.arguments)?;
        let key = group(&call.caller, arguments.group_id, arguments.id)?;
        let mut taken = service.watches.take(&key)?;
        let core = &core_of(service, &mut taken, &call.caller)?;
        let look = taken.with(|watch| watch.look(core, PAGE_MAX, 0))?;
        taken.keep_fast(&core.link, false);
        let now = UnixMillis::now();
        let mut rows = Rows::default();
        let fitting = look
            .changes
            .iter()
            .take_while(|change| rows.push(changed_row(change, now)))
            .count();
        let has_more = look.total > fitting;
        taken.with(|watch| watch.told(look.changes.into_iter().take(fitting)))?;
        said(&json!({
            "groupId": key.name.as_str(),
            "changes": rows.taken,
            "changeCount": fitting,
            "hasChanges": fitting > 0,
            "hasMore": has_more,
            "lagged": !look.lagged.is_empty(),
        }))
    })
}

fn changed_row(change: &Change, now: UnixMillis) -> Value {
    let Some(reading) = &change.now else {
        let mut row = name_row(&change.name);
        row.insert("gone".into(), true.into());
        return row.into();
    };
    let mut row = reading_row(&change.name, &Shown::cached(reading));
    let age = reading.changed.map_or(0, millis);
    row.insert("timestamp".into(), now.0.saturating_sub(age).into());
    row.into()
}

fn list(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let Nothing {} = answer::arguments(call.arguments)?;
        let groups = service.watches.list(&call.caller.name, Kind::Group);
        let total = groups.len();
        let mut rows = Rows::default();
        for (name, controls) in groups {
            let row = json!({ "id": name.as_str(), "controlCount": controls, "hasAutoPoll": true });
            if !rows.push(row) {
                break;
            }
        }
        said(&json!({
            "groups": rows.taken,
            "totalGroups": total,
            "message": format!("{} here.", count(total, "change group")),
        }))
    })
}

fn destroy(service: &QsysService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments: Group = answer::arguments(call.arguments)?;
        let key = group(&call.caller, arguments.group_id, arguments.id)?;
        if !service.watches.remove(&key) {
            return Err(key.gone());
        }
        said(&json!({
            "success": true,
            "groupId": key.name.as_str(),
            "message": format!("Change group '{}' is gone.", key.name),
        }))
    })
}

fn asked(one: Option<Vec<Named>>, other: Option<Vec<Named>>) -> Result<Vec<Named>, ToolFault> {
    let all: Vec<_> = one.into_iter().chain(other).flatten().collect();
    if (1..=READ_MAX).contains(&all.len()) {
        return Ok(all);
    }
    Err(fault::bad_argument(
        "controls",
        format!("{} controls are outside 1 to {READ_MAX}", all.len()),
        "Split them over several calls.",
    ))
}

fn core_of(
    service: &QsysService,
    taken: &mut Taken<'_>,
    caller: &Caller,
) -> Result<Core, ToolFault> {
    taken.with(|watch| service.core(Some(watch.core()), caller))?
}
