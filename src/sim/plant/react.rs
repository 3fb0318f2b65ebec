//! What follows from a write inside the component it went to: snapshots recall, players play, routers route.

use std::time::Duration;

use tokio::time::Instant;

use super::{Effect, Key, Plant, TRACK_SECONDS, Track, Write};

/// Why a snapshot could not be loaded or saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum SnapshotFault {
    /// No bank of this name.
    UnknownBank,
    /// The bank has no snapshot of this number.
    NoSuchSlot,
}

impl Plant {
    pub(super) fn react(&mut self, key: Key, effect: Effect, now: Instant) {
        let Some(component) = self.design.components.get(key.component) else {
            return;
        };
        let Some(control) = component.controls.get(key.control) else {
            return;
        };
        let (kind, bank, name) = (
            component.kind.clone(),
            component.name.clone(),
            control.name.clone(),
        );
        let (id, is_fired) = (key.component, effect == Effect::Fired);
        match (kind.as_str(), name.as_str()) {
            ("snapshot_controller", name) if is_fired => {
                self.snapshot_trigger(id, &bank, name, now);
            }
            ("gain", "stepper.increase") if is_fired => self.step(id, 1.0, now),
            ("gain", "stepper.decrease") if is_fired => self.step(id, -1.0, now),
            ("audio_file_player", name) if is_fired => self.play(id, name, now),
            ("router_with_output", name) => self.route(id, name, now),
            ("selector", name) => self.select(id, name, now),
            ("room_combiner", _) => self.combine(id, now),
            ("device_controller_script", "log.clear") if is_fired => {
                self.put_text(id, "log.history", "", now);
            }
            ("device_controller_script", "reload") if is_fired => {
                self.put(id, "script.error.count", 0.0, now);
                self.put_text(id, "log.history", "Reloaded", now);
            }
            _ => (),
        }
    }

    /// Recalls a snapshot, counted from 1; one that was never saved changes nothing.
    pub(in crate::sim) fn load_snapshot(
        &mut self,
        bank: &str,
        slot: usize,
        ramp: Option<f64>,
        now: Instant,
    ) -> Result<(), SnapshotFault> {
        let index = self.bank(bank).ok_or(SnapshotFault::UnknownBank)?;
        let kept = self
            .slot(index, slot)
            .ok_or(SnapshotFault::NoSuchSlot)?
            .clone();
        let Some(kept) = kept else { return Ok(()) };
        for (key, (number, text)) in self
            .banks
            .get(index)
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .zip(kept)
        {
            let string = (!text.is_empty()).then_some(text);
            self.force(
                key,
                &Write {
                    string,
                    ..Write::number(number, ramp)
                },
                now,
            );
        }
        self.mark_last(bank, index, slot, now);
        Ok(())
    }

    /// Keeps the present state as a snapshot, counted from 1.
    pub(in crate::sim) fn save_snapshot(
        &mut self,
        bank: &str,
        slot: usize,
        now: Instant,
    ) -> Result<(), SnapshotFault> {
        let index = self.bank(bank).ok_or(SnapshotFault::UnknownBank)?;
        let members = self.banks.get(index).cloned().unwrap_or_default();
        let kept = members
            .into_iter()
            .filter_map(|key| Some(self.control(key)?.kept()))
            .collect();
        *self.slot(index, slot).ok_or(SnapshotFault::NoSuchSlot)? = Some(kept);
        self.mark_last(bank, index, slot, now);
        Ok(())
    }

    fn bank(&self, name: &str) -> Option<usize> {
        self.design.banks.iter().position(|bank| bank.name == name)
    }

    fn slot(&mut self, bank: usize, slot: usize) -> Option<&mut Option<Vec<(f64, String)>>> {
        self.design
            .banks
            .get_mut(bank)?
            .slots
            .get_mut(slot.checked_sub(1)?)
    }

    fn mark_last(&mut self, bank: &str, index: usize, slot: usize, now: Instant) {
        if let Some(&controller) = self.components.get(bank) {
            let slots = self
                .design
                .banks
                .get(index)
                .map_or(0, |bank| bank.slots.len());
            for number in 1..=slots {
                self.put(
                    controller,
                    &format!("last.{number}"),
                    f64::from(u8::from(number == slot)),
                    now,
                );
            }
        }
        self.compare(index);
    }

    /// Which snapshots of a bank the present values are equal to.
    pub(super) fn compare(&mut self, bank: usize) {
        let Some(description) = self.design.banks.get(bank) else {
            return;
        };
        let Some(&controller) = self.components.get(&description.name) else {
            return;
        };
        let members = self.banks.get(bank).map_or(&[][..], Vec::as_slice);
        let is_equal = |key: Key, kept: &(f64, String)| {
            self.control(key).is_some_and(|control| {
                (control.value - kept.0).abs() < 1e-9
                    && (kept.1.is_empty() || control.text == kept.1)
            })
        };
        let matches: Vec<_> = description
            .slots
            .iter()
            .map(|slot| {
                slot.as_ref().is_some_and(|kept| {
                    members
                        .iter()
                        .zip(kept)
                        .all(|(&key, kept)| is_equal(key, kept))
                })
            })
            .collect();
        let now = Instant::now();
        for (number, is_match) in (1..).zip(matches) {
            let is_last = self.value(controller, &format!("last.{number}")) > 0.5;
            let state = match (is_last, is_match) {
                (false, _) => 0.0,
                (true, true) => 1.0,
                (true, false) => 2.0,
            };
            self.put(
                controller,
                &format!("match.{number}"),
                f64::from(u8::from(is_match)),
                now,
            );
            for control in ["load.state", "load"] {
                if (self.value(controller, &format!("{control}.{number}")) - state).abs() > 0.5 {
                    self.put(controller, &format!("{control}.{number}"), state, now);
                }
            }
        }
    }

    fn snapshot_trigger(&mut self, controller: usize, bank: &str, name: &str, now: Instant) {
        let Some(index) = self.bank(bank) else { return };
        let slots = self
            .design
            .banks
            .get(index)
            .map_or(0, |bank| bank.slots.len());
        let last = (1..=slots)
            .find(|number| self.value(controller, &format!("last.{number}")) > 0.5)
            .unwrap_or(0);
        let number = name
            .rsplit('.')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let slot = match name {
            "load.next" if last >= slots => 1,
            "load.next" => last + 1,
            "load.previous" if last <= 1 => slots,
            "load.previous" => last - 1,
            _ => number,
        };
        if name.starts_with("save.") {
            if self.value(controller, "write.protect") < 0.5 {
                let _ = self.save_snapshot(bank, slot, now);
            }
            return;
        }
        let ramp = self.value(controller, "ramp.time");
        let _ = self.load_snapshot(bank, slot, Some(ramp), now);
    }

    fn step(&mut self, component: usize, direction: f64, now: Instant) {
        let wanted =
            self.value(component, "gain") + direction * self.value(component, "stepper.value");
        self.put(component, "gain", wanted, now);
    }

    fn route(&mut self, component: usize, name: &str, now: Instant) {
        let parts: Vec<_> = name.split('.').collect();
        let (output, input) = match parts.as_slice() {
            ["select", output] => (*output, format!("{:.0}", self.value(component, name))),
            ["output", output, "input", input, "select"] if self.value(component, name) > 0.5 => {
                (*output, (*input).to_owned())
            }
            _ => return,
        };
        self.put(
            component,
            &format!("select.{output}"),
            input.parse().unwrap_or(1.0),
            now,
        );
        for number in 1.. {
            let control = format!("output.{output}.input.{number}.select");
            if self.key(component, &control).is_none() {
                break;
            }
            self.put(
                component,
                &control,
                f64::from(u8::from(number.to_string() == input)),
                now,
            );
        }
    }

    fn select(&mut self, component: usize, name: &str, now: Instant) {
        let Some(chosen) = name
            .strip_prefix("selector.")
            .and_then(|number| number.parse::<usize>().ok())
        else {
            return;
        };
        let key = self.key(component, "selector");
        let entry = key
            .and_then(|key| self.control(key))
            .and_then(|control| control.choice(chosen))
            .map(str::to_owned);
        let Some(entry) = entry else { return };
        self.put_text(component, "selector", &entry, now);
        for number in 0.. {
            let control = format!("selector.{number}");
            if self.key(component, &control).is_none() {
                break;
            }
            self.put(
                component,
                &control,
                f64::from(u8::from(number == chosen)),
                now,
            );
        }
    }

    /// A room is combined when a wall beside it is open.
    fn combine(&mut self, component: usize, now: Instant) {
        let mut was_open = false;
        for room in 1.. {
            if self
                .key(component, &format!("output.{room}.combined"))
                .is_none()
            {
                break;
            }
            let is_open = self.value(component, &format!("wall.{room}.open")) > 0.5;
            self.put(
                component,
                &format!("output.{room}.combined"),
                f64::from(u8::from(was_open || is_open)),
                now,
            );
            was_open = is_open;
        }
    }

    fn play(&mut self, component: usize, command: &str, now: Instant) {
        let at = self.value(component, "progress");
        self.tracks.retain(|track| track.component != component);
        match command {
            "play" => {
                let start = if at >= TRACK_SECONDS { 0.0 } else { at };
                let zero = now
                    .checked_sub(Duration::from_secs_f64(start))
                    .unwrap_or(now);
                let file = self
                    .key(component, "filename")
                    .and_then(|key| self.control(key))
                    .map_or(String::new(), |control| control.text.clone());
                let repeats = self.value(component, "loop") > 0.5;
                self.tracks.push(Track {
                    component,
                    prefix: String::new(),
                    file,
                    zero,
                    starts: now,
                    repeats,
                });
            }
            "stop" => self.show_progress(component, "", 0.0, now),
            _ => (),
        }
        self.show_state(component, command, now);
    }

    fn show_state(&mut self, component: usize, command: &str, now: Instant) {
        for (control, word) in [
            ("playing", "play"),
            ("paused", "pause"),
            ("stopped", "stop"),
        ] {
            self.put(
                component,
                control,
                f64::from(u8::from(command == word)),
                now,
            );
        }
    }

    fn show_progress(&mut self, component: usize, prefix: &str, seconds: f64, now: Instant) {
        let elapsed = if prefix.is_empty() {
            "progress"
        } else {
            "elapsed"
        };
        self.put(component, &format!("{prefix}{elapsed}"), seconds, now);
        self.put(
            component,
            &format!("{prefix}remaining"),
            TRACK_SECONDS - seconds,
            now,
        );
    }

    /// Starts a file on an output of a loop player, `wait` from now, `seek` seconds into it.
    pub(in crate::sim) fn start_loop(
        &mut self,
        component: usize,
        output: u32,
        file: &str,
        (wait, seek, repeats): (Duration, f64, bool),
        now: Instant,
    ) {
        let prefix = format!("output.{output}.");
        self.tracks
            .retain(|track| track.component != component || track.prefix != prefix);
        let starts = now + wait;
        let zero = starts
            .checked_sub(Duration::from_secs_f64(seek.clamp(0.0, TRACK_SECONDS)))
            .unwrap_or(starts);
        self.put_text(component, &format!("{prefix}next"), file, now);
        self.tracks.push(Track {
            component,
            prefix,
            file: file.to_owned(),
            zero,
            starts,
            repeats,
        });
        self.advance_tracks(now);
    }

    /// Stops what plays on an output, or, with `only_waiting`, takes back what has not begun.
    pub(in crate::sim) fn stop_loop(
        &mut self,
        component: usize,
        output: u32,
        only_waiting: bool,
        now: Instant,
    ) {
        let prefix = format!("output.{output}.");
        self.tracks.retain(|track| {
            track.component != component
                || track.prefix != prefix
                || (only_waiting && track.starts <= now)
        });
        self.put_text(component, &format!("{prefix}next"), "", now);
        if !only_waiting {
            self.put_text(component, &format!("{prefix}status"), "Idle", now);
            self.show_progress(component, &prefix, 0.0, now);
        }
    }

    pub(super) fn advance_tracks(&mut self, now: Instant) {
        let mut still = Vec::new();
        for mut track in std::mem::take(&mut self.tracks) {
            if now < track.starts {
                still.push(track);
                continue;
            }
            let mut seconds = now.saturating_duration_since(track.zero).as_secs_f64();
            if track.repeats && seconds >= TRACK_SECONDS {
                seconds %= TRACK_SECONDS;
                track.zero = now
                    .checked_sub(Duration::from_secs_f64(seconds))
                    .unwrap_or(now);
            }
            let (component, prefix) = (track.component, track.prefix.as_str());
            let is_over = seconds >= TRACK_SECONDS;
            self.show_progress(
                component,
                prefix,
                if is_over { 0.0 } else { seconds.floor() },
                now,
            );
            if prefix.is_empty() {
                self.show_state(component, if is_over { "stop" } else { "play" }, now);
            } else {
                let status = if is_over {
                    "Idle".to_owned()
                } else {
                    format!("Playing {}", track.file)
                };
                self.put_text(component, &format!("{prefix}status"), &status, now);
                self.put_text(component, &format!("{prefix}next"), "", now);
            }
            if !is_over {
                still.push(track);
            }
        }
        self.tracks = still;
    }
}
