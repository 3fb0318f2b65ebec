//! What each method of QRC does.

use std::time::Duration;

use tokio::time::Instant;

use super::control::Write;
use super::mixer;
use super::plant::{Key, SnapshotFault, TRACK_SECONDS};
use super::world::{Conn, Peer, Reply, World, WriteSeen, done, refuse};
use crate::base::clock::UnixMillis;
use crate::wire::jsonrpc::{self, ErrorObject};
use crate::wire::qrc::{
    ComponentFacts, ComponentGet, ComponentSet, ComponentState, ControlSet, Controls,
    GroupAddComponent, GroupControls, GroupRate, Logon, LoopPlayerStart, LoopPlayerStop, Method,
    Named, Request, SetItem, code, notification,
};

impl World {
    pub(super) fn carry_out(&mut self, peer: Peer, request: Request, now: Instant) -> Reply {
        let method = request.method();
        match request {
            Request::Logon(params) => self.logon(peer, &params),
            Request::NoOp => done(&true),
            Request::StatusGet => done(&self.full_status(peer.half)),
            Request::ControlGet(names) => self.control_get(&names),
            Request::ControlSet(params) => self.control_set(peer, params, now),
            Request::ComponentGetComponents => self.components(),
            Request::ComponentGetControls(params) => self.controls(&params),
            Request::ComponentGet(params) => self.component_get(&params),
            Request::ComponentSet(params) => self.component_set(peer, params, now),
            Request::ChangeGroupAddControl(params) => self.group_add(peer, &params),
            Request::ChangeGroupAddComponentControl(params) => {
                self.group_add_component(peer, &params)
            }
            Request::ChangeGroupRemove(params) => self.group_remove(peer, &params),
            Request::ChangeGroupPoll(params) => {
                let Self { plant, halves, .. } = self;
                let conn = halves
                    .get_mut(peer.half)
                    .and_then(|half| half.conns.get_mut(&peer.conn));
                conn.ok_or_else(closing)?
                    .group(&params.id)?
                    .poll(plant, &params.id)
            }
            Request::ChangeGroupAutoPoll(GroupRate { id, rate }) => {
                self.live(peer)?.group(&id)?.set_auto_poll(id, rate, now)
            }
            Request::ChangeGroupInvalidate(params) => {
                self.live(peer)?.group(&params.id)?.invalidate();
                done(&true)
            }
            Request::ChangeGroupClear(params) => {
                self.live(peer)?.group(&params.id)?.clear();
                done(&true)
            }
            Request::ChangeGroupDestroy(params) => self.live(peer)?.destroy_group(&params.id),
            Request::LoopPlayerStart(params) => self.loop_start(peer, &params, now),
            Request::LoopPlayerStop(params) => self.loop_stop(peer, &params, false, now),
            Request::LoopPlayerCancel(params) => self.loop_stop(peer, &params, true, now),
            Request::SnapshotLoad(params) => {
                self.log_snapshot(peer, method, (&params.name, params.bank), params.ramp, now);
                snapshot_reply(self.plant.load_snapshot(
                    &params.name,
                    slot(params.bank),
                    params.ramp,
                    now,
                ))
            }
            Request::SnapshotSave(params) => {
                self.log_snapshot(peer, method, (&params.name, params.bank), None, now);
                snapshot_reply(
                    self.plant
                        .save_snapshot(&params.name, slot(params.bank), now),
                )
            }
            Request::PaPageSubmit(params) => self.page_submit(peer, *params, now),
            Request::PaPageStart(params) => self.page_start(peer, params.page_id, now),
            Request::PaPageStop(params) | Request::PaPageCancel(params) => {
                self.page_end(peer, params.page_id, now)
            }
            Request::PaPageProceed(params) => self.page_proceed(peer, params.page_id, now),
            Request::PaZoneStatusConfigure(params) => self.zone_status(peer, params.enabled, now),
            Request::PaSourceWatchdog(_) => done(&"OK"),
            Request::PaGetConfig => self.pa_config(),
            Request::MixerSetCrossPointGain(call)
            | Request::MixerSetCrossPointDelay(call)
            | Request::MixerSetCrossPointMute(call)
            | Request::MixerSetCrossPointSolo(call)
            | Request::MixerSetInputGain(call)
            | Request::MixerSetInputMute(call)
            | Request::MixerSetInputSolo(call)
            | Request::MixerSetOutputGain(call)
            | Request::MixerSetOutputMute(call)
            | Request::MixerSetCueGain(call)
            | Request::MixerSetCueMute(call)
            | Request::MixerSetInputCueEnable(call)
            | Request::MixerSetInputCueAfl(call) => {
                let (component, description) = self.component(&call.name)?;
                let names = mixer::targets(method, description, &call.target)?;
                let write = Write {
                    value: Some(call.value),
                    ramp: call.ramp,
                    ..Write::default()
                };
                for name in names {
                    let key = self
                        .plant
                        .key(component, &name)
                        .ok_or_else(mixer::bad_channel)?;
                    self.write_logged(peer, method, (&call.name, &name, key), &write, now);
                }
                done(&true)
            }
        }
    }

    fn live(&mut self, peer: Peer) -> Result<&mut Conn, ErrorObject> {
        self.conn_mut(peer).ok_or_else(closing)
    }

    fn component(&self, name: &str) -> Result<(usize, &super::design::Component), ErrorObject> {
        let unknown = || {
            ErrorObject::new(
                code::UNKNOWN_COMPONENT,
                format!("Unknown component '{name}'"),
            )
        };
        self.plant.visible(name).ok_or_else(unknown)
    }

    fn named(&self, name: &str) -> Result<Key, ErrorObject> {
        self.plant.named(name).ok_or_else(|| unknown_control(name))
    }

    fn logon(&mut self, peer: Peer, params: &Logon) -> Reply {
        let is_right = self
            .half(peer.half)
            .is_some_and(|half| half.options.admits_user(&params.user, &params.password));
        self.live(peer)?.is_logged_on = is_right;
        if is_right {
            done(&true)
        } else {
            refuse(code::LOGON_REQUIRED, "Logon failed")
        }
    }

    fn control_get(&self, names: &[String]) -> Reply {
        let mut states = Vec::with_capacity(names.len());
        for name in names {
            let control = self
                .plant
                .control(self.named(name)?)
                .ok_or_else(|| unknown_control(name))?;
            states.push(control.change(None, name));
        }
        done(&states)
    }

    fn control_set(&mut self, peer: Peer, params: ControlSet, now: Instant) -> Reply {
        let ControlSet {
            name,
            value,
            position,
            string,
            ramp,
        } = params;
        let key = self.named(&name)?;
        self.write_logged(
            peer,
            Method::ControlSet,
            ("", &name, key),
            &Write {
                value,
                position,
                string,
                ramp,
            },
            now,
        );
        let control = self
            .plant
            .control(key)
            .ok_or_else(|| unknown_control(&name))?;
        done(&control.change(None, &name))
    }

    fn components(&self) -> Reply {
        let visible = self
            .plant
            .design()
            .components
            .iter()
            .filter(|component| component.access.is_external());
        let facts = visible.map(|component| ComponentFacts {
            id: component.name.clone(),
            name: component.name.clone(),
            kind: component.kind.clone(),
            properties: component.properties.clone(),
            controls: None,
            control_source: 2,
        });
        done(&facts.collect::<Vec<_>>())
    }

    fn controls(&self, params: &Named) -> Reply {
        let (_, component) = self.component(&params.name)?;
        let controls = component
            .controls
            .iter()
            .map(super::control::Control::facts)
            .collect();
        done(&Controls {
            name: params.name.as_str().into(),
            controls,
        })
    }

    fn component_get(&self, params: &ComponentGet) -> Reply {
        let (component, _) = self.component(&params.name)?;
        let mut controls = Vec::with_capacity(params.controls.len());
        for Named { name } in &params.controls {
            let key = self
                .plant
                .key(component, name)
                .ok_or_else(|| unknown_control(name))?;
            let control = self
                .plant
                .control(key)
                .ok_or_else(|| unknown_control(name))?;
            controls.push(control.change(None, name));
        }
        done(&ComponentState {
            name: params.name.as_str().into(),
            controls,
        })
    }

    /// Writes what it knows. With `ResponseValues` an unknown control is error 8; without, the unknown names are the result.
    fn component_set(&mut self, peer: Peer, params: ComponentSet, now: Instant) -> Reply {
        let (component, _) = self.component(&params.name)?;
        let (mut written, mut unknown) = (Vec::new(), Vec::new());
        for SetItem {
            name,
            value,
            position,
            string,
            ramp,
        } in params.controls
        {
            let Some(key) = self.plant.key(component, &name) else {
                unknown.push(name);
                continue;
            };
            let write = Write {
                value,
                position,
                string,
                ramp,
            };
            self.write_logged(
                peer,
                Method::ComponentSet,
                (&params.name, &name, key),
                &write,
                now,
            );
            written.push((key, name));
        }
        match (params.response_values.unwrap_or(false), unknown.first()) {
            (true, Some(name)) => Err(unknown_control(name)),
            (true, None) => {
                let written = written.iter();
                let states = written.filter_map(|(key, name)| {
                    Some(self.plant.control(*key)?.change(Some(&params.name), name))
                });
                done(&states.collect::<Vec<_>>())
            }
            (false, Some(_)) => done(&unknown),
            (false, None) => done(&true),
        }
    }

    fn group_add(&mut self, peer: Peer, params: &GroupControls) -> Reply {
        let found: Vec<_> = params
            .controls
            .iter()
            .map(|name| (name, self.plant.named(name)))
            .collect();
        let group = self.live(peer)?.group_or_new(&params.id)?;
        for (name, key) in &found {
            if let Some(key) = key {
                group.add(*key, Some((*name).clone()), true);
            }
        }
        match found.iter().find(|(_, key)| key.is_none()) {
            Some((name, _)) => Err(unknown_control(name)),
            None => done(&true),
        }
    }

    fn group_add_component(&mut self, peer: Peer, params: &GroupAddComponent) -> Reply {
        let (component, _) = self.component(&params.component.name)?;
        let mut found = Vec::with_capacity(params.component.controls.len());
        let mut unknown = None;
        for Named { name } in &params.component.controls {
            match self.plant.key(component, name) {
                Some(key) => {
                    let own_name = self
                        .plant
                        .control(key)
                        .is_some_and(|control| control.name == *name);
                    found.push((key, (!own_name).then(|| name.clone())));
                }
                None => unknown = unknown.or(Some(name)),
            }
        }
        let group = self.live(peer)?.group_or_new(&params.id)?;
        for (key, alias) in found {
            group.add(key, alias, false);
        }
        unknown.map_or_else(|| done(&true), |name| Err(unknown_control(name)))
    }

    fn group_remove(&mut self, peer: Peer, params: &GroupControls) -> Reply {
        let (known, unknown): (Vec<_>, Vec<_>) = params
            .controls
            .iter()
            .map(|name| (name, self.plant.named(name)))
            .partition(|(_, key)| key.is_some());
        let group = self.live(peer)?.group(&params.id)?;
        known
            .into_iter()
            .filter_map(|(_, key)| key)
            .for_each(|key| group.remove_named(key));
        if unknown.is_empty() {
            done(&true)
        } else {
            done(&unknown.iter().map(|(name, _)| name).collect::<Vec<_>>())
        }
    }

    /// Writes a control as the client asked and keeps a record of it.
    fn write_logged(
        &mut self,
        peer: Peer,
        method: Method,
        (component, name, key): (&str, &str, Key),
        write: &Write,
        now: Instant,
    ) {
        self.log_write(
            peer,
            WriteSeen {
                at: now,
                connection: peer.conn,
                method: method.as_str(),
                component: component.to_owned(),
                control: name.to_owned(),
                wish: write.wish(),
                ramp: write.ramp,
            },
        );
        self.plant.write(key, write, now);
    }

    fn log_snapshot(
        &mut self,
        peer: Peer,
        method: Method,
        (bank, number): (&str, u32),
        ramp: Option<f64>,
        now: Instant,
    ) {
        let write = WriteSeen {
            at: now,
            connection: peer.conn,
            method: method.as_str(),
            component: bank.to_owned(),
            control: "Bank".to_owned(),
            wish: number.to_string(),
            ramp,
        };
        self.log_write(peer, write);
    }

    /// Starts files on outputs. A job that cannot run is told by `LoopPlayer.Error`, and only if it has a `RefID`.
    fn loop_start(&mut self, peer: Peer, params: &LoopPlayerStart, now: Instant) -> Reply {
        let (component, _) = self.component(&params.name)?;
        let wait = match seconds_until(params.start_time) {
            Ok(wait) => wait,
            Err(error) => return self.loop_fault(peer, params, error, now),
        };
        for file in &params.files {
            if self
                .plant
                .key(component, &format!("output.{}.gain", file.output))
                .is_none()
            {
                return Err(mixer::bad_channel());
            }
            if !self.plant.design().media.contains(&file.name) {
                return self.loop_fault(peer, params, "FileNotFound", now);
            }
        }
        for file in &params.files {
            // After the current job: how long that lasts is known, since every simulated file has one length.
            let wait = wait.unwrap_or(Duration::from_secs_f64(TRACK_SECONDS));
            self.plant.start_loop(
                component,
                file.output,
                &file.name,
                (wait, params.seek, params.repeat),
                now,
            );
        }
        done(&true)
    }

    fn loop_fault(
        &mut self,
        peer: Peer,
        params: &LoopPlayerStart,
        error: &str,
        now: Instant,
    ) -> Reply {
        if let Some(ref_id) = &params.ref_id {
            let told = serde_json::json!({"Error": error, "RefId": ref_id});
            self.notify(peer, notification::LOOP_PLAYER_ERROR, &told, now);
        }
        done(&true)
    }

    fn loop_stop(
        &mut self,
        _peer: Peer,
        params: &LoopPlayerStop,
        only_waiting: bool,
        now: Instant,
    ) -> Reply {
        let (component, _) = self.component(&params.name)?;
        for output in &params.outputs {
            if self
                .plant
                .key(component, &format!("output.{output}.gain"))
                .is_none()
            {
                return Err(mixer::bad_channel());
            }
            self.plant.stop_loop(component, *output, only_waiting, now);
        }
        done(&true)
    }
}

/// How long until a job's time of day; `None` is after the current job.
fn seconds_until(start_time: f64) -> Result<Option<Duration>, &'static str> {
    if start_time < -1.5 {
        return Ok(None);
    }
    if start_time <= 0.0 {
        return Ok(Some(Duration::ZERO));
    }
    let seconds = Duration::from_millis(UnixMillis::now().0 % 86_400_000).as_secs_f64();
    if start_time < seconds {
        return Err("JobInPast");
    }
    Duration::try_from_secs_f64((start_time - seconds).min(86_400.0))
        .map(Some)
        .map_err(|_| "JobInPast")
}

fn slot(bank: u32) -> usize {
    usize::try_from(bank).unwrap_or(0)
}

fn snapshot_reply(outcome: Result<(), SnapshotFault>) -> Reply {
    match outcome {
        Ok(()) => done(&true),
        Err(SnapshotFault::UnknownBank) => refuse(code::UNKNOWN_COMPONENT, "Unknown snapshot bank"),
        Err(SnapshotFault::NoSuchSlot) => refuse(
            jsonrpc::code::INVALID_PARAMS,
            "Invalid params: no such snapshot",
        ),
    }
}

fn unknown_control(name: &str) -> ErrorObject {
    ErrorObject::new(code::UNKNOWN_CONTROL, format!("Unknown control '{name}'"))
}

fn closing() -> ErrorObject {
    ErrorObject::new(jsonrpc::code::INTERNAL_ERROR, "the connection is closing")
}
