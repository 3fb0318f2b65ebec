//! Change groups of one connection.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::plant::{Key, Plant};
use super::world::{Conn, Reply, done, push_frame, refuse};
use crate::wire::jsonrpc::{self, ErrorObject};
use crate::wire::qrc::{ChangesOut, ControlChange, GROUPS_PER_CONNECTION_MAX, code, notification};

/// Fastest `AutoPoll`, seconds. Beckhoff's documentation says 0.1; scripts were seen to use 0.05 with an emulator.
const RATE_MIN: f64 = 0.05;

/// Slowest `AutoPoll`, seconds: the idle limit is shorter, so nobody needs more.
const RATE_MAX: f64 = 3_600.0;

#[derive(Debug)]
struct Member {
    key: Key,
    /// The name that the client used, if the control's own is another: a named control, or `_` for `.`.
    alias: Option<String>,
    is_named: bool,
    /// Number of the change told last.
    seen: u64,
}

#[derive(Debug)]
struct AutoPoll {
    id: Value,
    rate: Duration,
    next: Instant,
}

/// A change group.
#[derive(Debug)]
pub(super) struct Group {
    id: String,
    members: Vec<Member>,
    places: HashMap<(Key, bool), usize>,
    auto_poll: Option<AutoPoll>,
}

impl Group {
    /// Adds a control, or marks it as changed if it is in already.
    pub(super) fn add(&mut self, key: Key, alias: Option<String>, is_named: bool) {
        let place = *self
            .places
            .entry((key, is_named))
            .or_insert(self.members.len());
        match self.members.get_mut(place) {
            Some(member) => member.seen = 0,
            None => self.members.push(Member {
                key,
                alias,
                is_named,
                seen: 0,
            }),
        }
    }

    pub(super) fn remove_named(&mut self, key: Key) {
        self.members
            .retain(|member| !(member.is_named && member.key == key));
        self.places = self
            .members
            .iter()
            .enumerate()
            .map(|(place, member)| ((member.key, member.is_named), place))
            .collect();
    }

    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.places.clear();
    }

    pub(super) fn invalidate(&mut self) {
        self.members.iter_mut().for_each(|member| member.seen = 0);
    }

    pub(super) fn poll(&mut self, plant: &Plant, id: &Value) -> Reply {
        let changes = changed(&mut self.members, plant);
        done(&ChangesOut {
            id,
            changes: &changes,
        })
    }

    pub(super) fn set_auto_poll(&mut self, id: Value, rate: f64, now: Instant) -> Reply {
        if !rate.is_finite() || rate <= 0.0 {
            return refuse(
                jsonrpc::code::INVALID_PARAMS,
                "Invalid params: Rate must be above 0",
            );
        }
        let rate = Duration::from_secs_f64(rate.clamp(RATE_MIN, RATE_MAX));
        self.auto_poll = Some(AutoPoll {
            id,
            rate,
            next: now + rate,
        });
        done(&true)
    }

    pub(super) fn next_push(&self) -> Option<Instant> {
        self.auto_poll.as_ref().map(|auto| auto.next)
    }

    /// Lets the tick pass without a push; what changed waits for the next one.
    pub(super) fn skip_due(&mut self, now: Instant) {
        if let Some(auto) = self.auto_poll.as_mut().filter(|auto| auto.next <= now) {
            auto.next = now + auto.rate;
        }
    }

    /// The pushed poll of this tick, also when nothing changed. Ticks that were missed are not made up for.
    pub(super) fn push_if_due(&mut self, plant: &Plant, now: Instant) -> Option<String> {
        let auto = self.auto_poll.as_mut().filter(|auto| auto.next <= now)?;
        auto.next = now + auto.rate;
        let changes = changed(&mut self.members, plant);
        Some(push_frame(
            notification::CHANGE_GROUP_POLL,
            &ChangesOut {
                id: &auto.id,
                changes: &changes,
            },
        ))
    }
}

fn changed<'a>(members: &'a mut [Member], plant: &'a Plant) -> Vec<ControlChange<'a>> {
    let fresh = members.iter_mut().filter_map(|member| {
        let control = plant.control(member.key)?;
        if control.serial <= member.seen {
            return None;
        }
        member.seen = control.serial;
        let component = (!member.is_named).then(|| plant.component_name(member.key));
        Some(control.change(component, member.alias.as_deref().unwrap_or(&control.name)))
    });
    fresh.collect()
}

impl Conn {
    /// The group of an Add, made if need be.
    pub(super) fn group_or_new(&mut self, id: &Value) -> Result<&mut Group, ErrorObject> {
        let id = group_name(id)?;
        let place = match self.groups.iter().position(|group| group.id == id) {
            Some(place) => place,
            None if self.groups.len() >= GROUPS_PER_CONNECTION_MAX => {
                return Err(ErrorObject::new(
                    code::GROUPS_EXHAUSTED,
                    "Change groups exhausted",
                ));
            }
            None => {
                self.groups.push(Group {
                    id,
                    members: Vec::new(),
                    places: HashMap::new(),
                    auto_poll: None,
                });
                self.groups.len() - 1
            }
        };
        self.groups
            .get_mut(place)
            .ok_or_else(|| ErrorObject::new(jsonrpc::code::INTERNAL_ERROR, "no such group"))
    }

    pub(super) fn group(&mut self, id: &Value) -> Result<&mut Group, ErrorObject> {
        let id = group_name(id)?;
        let unknown = || {
            ErrorObject::new(
                code::UNKNOWN_GROUP,
                format!("Change group '{id}' does not exist"),
            )
        };
        self.groups
            .iter_mut()
            .find(|group| group.id == id)
            .ok_or_else(unknown)
    }

    pub(super) fn destroy_group(&mut self, id: &Value) -> Result<Box<RawValue>, ErrorObject> {
        self.group(id)?;
        let id = group_name(id)?;
        self.groups.retain(|group| group.id != id);
        done(&true)
    }
}

/// A group's id as text: a string in all official material, a number is accepted.
fn group_name(id: &Value) -> Result<String, ErrorObject> {
    match id {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(ErrorObject::new(
            jsonrpc::code::INVALID_PARAMS,
            "Invalid params: Id must be a string",
        )),
    }
}
