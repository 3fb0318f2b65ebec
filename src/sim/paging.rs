//! Paging (Q-SYS Help, PA Remote API): pages wait for their zones, are heard, count down and end.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::control::Write;
use super::world::{Peer, Reply, World, done, refuse};
use crate::base::clock::UnixMillis;
use crate::wire::qrc::{PaPageSubmit, code, notification};

/// How long every message of the simulated media is heard.
const MESSAGE_LENGTH: Duration = Duration::from_secs(5);

/// Pages that may be known at once; one more is a bad page request.
const PAGES_MAX: usize = 64;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Wait,
    Output,
}

#[derive(Debug)]
struct Page {
    id: u64,
    owner: Peer,
    /// Indices of its zones.
    zones: Vec<usize>,
    priority: u32,
    station: Option<u32>,
    message: String,
    state: State,
    /// When a page that waits gives up, or one that is heard ends.
    ends: Option<Instant>,
    queue_timeout: Option<Duration>,
    length: Option<Duration>,
    counted: u64,
}

/// Pages of the running design.
#[derive(Debug, Default)]
pub(super) struct Paging {
    last_id: u64,
    pages: Vec<Page>,
    next_event: Option<Instant>,
}

impl Paging {
    pub(super) fn next_event(&self) -> Option<Instant> {
        self.next_event
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PageStatus<'a> {
    #[serde(rename = "PageID")]
    page_id: u64,
    state: &'a str,
    sub_state: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl World {
    pub(super) fn page_submit(&mut self, peer: Peer, params: PaPageSubmit, now: Instant) -> Reply {
        let zones = match self.zones_of(&params) {
            Some(zones) if !zones.is_empty() => zones,
            _ => {
                return refuse(
                    code::BAD_PAGE_REQUEST,
                    "Bad page request: unknown or missing zones",
                );
            }
        };
        let is_message = match params.mode.as_str() {
            "message" => true,
            "live" | "delay" | "auto" => false,
            _ => {
                return refuse(
                    code::PA_BAD_PARAMETERS,
                    "Mode must be message, live, delay or auto",
                );
            }
        };
        if self.paging.pages.len() >= PAGES_MAX || (!is_message && params.station.is_none()) {
            return refuse(code::BAD_PAGE_REQUEST, "Bad page request");
        }
        let message = params.message.unwrap_or_default();
        if is_message && !self.plant.design().media.contains(&message) {
            return refuse(code::MISSING_FILE, "Message file does not exist");
        }
        let seconds = |seconds: Option<f64>| {
            seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        };
        self.paging.last_id += 1;
        let id = self.paging.last_id;
        self.paging.pages.push(Page {
            id,
            owner: peer,
            zones,
            priority: params.priority.max(1),
            station: params.station,
            message,
            state: State::Ready,
            ends: None,
            queue_timeout: seconds(params.queue_timeout).filter(|timeout| !timeout.is_zero()),
            length: if is_message {
                Some(MESSAGE_LENGTH)
            } else {
                seconds(params.max_page_time)
            },
            counted: 0,
        });
        self.tell_page(peer, (id, "ready", "", None), now);
        if params.start == Some(true) {
            self.page_start(peer, id, now)?;
        }
        done(&json!({"PageID": id}))
    }

    pub(super) fn page_start(&mut self, _peer: Peer, id: u64, now: Instant) -> Reply {
        let Some(page) = self.paging.pages.iter_mut().find(|page| page.id == id) else {
            return unknown_page();
        };
        if page.state == State::Ready {
            page.state = State::Wait;
            page.ends = page.queue_timeout.map(|timeout| now + timeout);
            let owner = page.owner;
            self.tell_page(owner, (id, "wait", "", None), now);
            self.advance_pages(now);
        }
        done(&"OK")
    }

    /// A page that waits goes on at the cost of whoever is heard.
    pub(super) fn page_proceed(&mut self, _peer: Peer, id: u64, now: Instant) -> Reply {
        let Some(page) = self.paging.pages.iter_mut().find(|page| page.id == id) else {
            return unknown_page();
        };
        page.priority = 1;
        self.advance_pages(now);
        done(&"OK")
    }

    pub(super) fn page_end(&mut self, _peer: Peer, id: u64, now: Instant) -> Reply {
        if !self.paging.pages.iter().any(|page| page.id == id) {
            return unknown_page();
        }
        self.end_page(id, "stopped", now);
        self.advance_pages(now);
        done(&"OK")
    }

    /// One `PA.ZoneStatus` for each zone, then the answer.
    pub(super) fn zone_status(&mut self, peer: Peer, enabled: bool, now: Instant) -> Reply {
        if let Some(conn) = self.conn_mut(peer) {
            conn.wants_zone_status = enabled;
        }
        if enabled {
            for zone in 0..self.plant.design().zones.len() {
                let told = self.zone_told(zone);
                self.notify(peer, notification::PA_ZONE_STATUS, &told, now);
            }
        }
        done(&"OK")
    }

    pub(super) fn pa_config(&self) -> Reply {
        let zones = &self.plant.design().zones;
        let mut tags: Vec<_> = zones.iter().flat_map(|zone| &zone.tags).collect();
        tags.sort();
        tags.dedup();
        let guid = |kind: u32, n: usize| format!("{kind:08x}-0000-4000-8000-{n:012x}");
        let priorities = ["Emergency", "Paging", "Music"].iter().enumerate().map(|(n, name)| {
            json!({"Name": name, "Guid": guid(1, n), "Color": "#FFFF0000", "Archive": false, "Retry": true, "Split": false})
        });
        let tags = tags
            .iter()
            .enumerate()
            .map(|(n, tag)| json!({"Guid": guid(2, n), "Name": tag}));
        let zones = (1..).zip(zones).map(|(index, zone)| {
            json!({"Index": u32::to_string(&index), "Name": zone.name, "Group": zone.group, "IsLocal": true, "Tags": zone.tags})
        });
        done(&json!({
            "Priorities": priorities.collect::<Vec<_>>(),
            "Tags": tags.collect::<Vec<_>>(),
            "Zones": zones.collect::<Vec<_>>(),
        }))
    }

    /// Lets pages begin, count and end.
    pub(super) fn advance_pages(&mut self, now: Instant) {
        if self.paging.pages.is_empty() {
            self.paging.next_event = None;
            return;
        }
        let over = |page: &&Page| page.ends.is_some_and(|ends| ends <= now);
        let ended: Vec<_> = self
            .paging
            .pages
            .iter()
            .filter(over)
            .map(|page| (page.id, page.state))
            .collect();
        for (id, state) in ended {
            self.end_page(
                id,
                if state == State::Wait {
                    "timeout"
                } else {
                    "complete"
                },
                now,
            );
        }
        let mut waiting: Vec<_> = self
            .paging
            .pages
            .iter()
            .filter(|page| page.state == State::Wait)
            .map(|page| (page.priority, page.id))
            .collect();
        waiting.sort_unstable();
        for (priority, id) in waiting {
            self.try_page(id, priority, now);
        }
        self.count_pages(now);
        let is_busy = self
            .paging
            .pages
            .iter()
            .any(|page| page.state != State::Ready);
        let ends = self.paging.pages.iter().filter_map(|page| page.ends).min();
        self.paging.next_event = is_busy.then(|| ends.unwrap_or(now + SECOND).min(now + SECOND));
    }

    fn try_page(&mut self, id: u64, priority: u32, now: Instant) {
        let Some(zones) = self
            .paging
            .pages
            .iter()
            .find(|page| page.id == id)
            .map(|page| page.zones.clone())
        else {
            return;
        };
        let is_rival = |page: &&Page| {
            page.state == State::Output && page.zones.iter().any(|zone| zones.contains(zone))
        };
        let rivals: Vec<_> = self
            .paging
            .pages
            .iter()
            .filter(is_rival)
            .map(|page| (page.id, page.priority))
            .collect();
        if rivals.iter().any(|(_, theirs)| *theirs <= priority) {
            return;
        }
        for (rival, _) in rivals {
            self.end_page(rival, "interrupted", now);
        }
        if let Some(page) = self.paging.pages.iter_mut().find(|page| page.id == id) {
            page.state = State::Output;
            page.ends = page.length.map(|length| now + length);
        }
        self.show_zones(&zones, now);
    }

    fn count_pages(&mut self, now: Instant) {
        let mut told = Vec::new();
        for page in self
            .paging
            .pages
            .iter_mut()
            .filter(|page| page.state == State::Output)
        {
            let left = page.ends.map(|ends| {
                ends.saturating_duration_since(now)
                    .as_millis()
                    .div_ceil(1_000)
            });
            let count = left.map(|left| u64::try_from(left).unwrap_or(u64::MAX));
            if count.is_none_or(|count| count != page.counted)
                && (count.is_some() || page.counted == 0)
            {
                page.counted = count.unwrap_or(1);
                told.push((page.owner, page.id, count));
            }
        }
        for (owner, id, count) in told {
            self.tell_page(owner, (id, "output", "", count), now);
        }
    }

    fn end_page(&mut self, id: u64, reason: &str, now: Instant) {
        let Some(place) = self.paging.pages.iter().position(|page| page.id == id) else {
            return;
        };
        let page = self.paging.pages.remove(place);
        if page.state == State::Output {
            self.show_zones(&page.zones, now);
        }
        self.tell_page(page.owner, (id, "done", reason, None), now);
    }

    fn tell_page(
        &mut self,
        peer: Peer,
        (page_id, state, sub_state, count): (u64, &str, &str, Option<u64>),
        now: Instant,
    ) {
        let status = PageStatus {
            page_id,
            state,
            sub_state,
            message: "",
            count,
        };
        self.notify(peer, notification::PA_PAGE_STATUS, &status, now);
    }

    /// Tells whoever asked that these zones became busy or idle, and moves the router's controls.
    fn show_zones(&mut self, zones: &[usize], now: Instant) {
        for &zone in zones {
            let told = self.zone_told(zone);
            let is_active = self.pager(zone).is_some();
            if let Some(key) = self.plant.find("PA", &format!("zone.{}.active", zone + 1)) {
                self.plant.force(
                    key,
                    &Write::number(f64::from(u8::from(is_active)), None),
                    now,
                );
            }
            let listeners: Vec<_> = (0..)
                .zip(&self.halves)
                .flat_map(|(half, entry)| {
                    let listening = entry
                        .conns
                        .iter()
                        .filter(|(_, conn)| conn.wants_zone_status);
                    listening.map(move |(&conn, _)| Peer { half, conn })
                })
                .collect();
            for peer in listeners {
                self.notify(peer, notification::PA_ZONE_STATUS, &told, now);
            }
        }
    }

    fn pager(&self, zone: usize) -> Option<&Page> {
        self.paging
            .pages
            .iter()
            .find(|page| page.state == State::Output && page.zones.contains(&zone))
    }

    fn zone_told(&self, zone: usize) -> Value {
        let time = UnixMillis::now().to_iso();
        match self.pager(zone) {
            None => json!({"Zone": zone + 1, "Active": false, "Time": time}),
            Some(page) => json!({
                "Zone": zone + 1, "Active": true, "Time": time, "Priority": page.priority, "PriorityName": format!("Priority {}", page.priority),
                "Station": page.station.unwrap_or(0), "PageID": page.id, "Message": page.message,
            }),
        }
    }

    /// The zones that a page names by number, name or tag; `None` if one of them does not exist.
    fn zones_of(&self, params: &PaPageSubmit) -> Option<Vec<usize>> {
        let zones = &self.plant.design().zones;
        let mut chosen = Vec::new();
        for wanted in &params.zones {
            let name = wanted
                .as_str()
                .map_or_else(|| wanted.to_string(), str::to_owned);
            chosen.push((1..).zip(zones).position(|(number, zone): (u32, _)| {
                zone.name == name || number.to_string() == name
            })?);
        }
        for tag in &params.zone_tags {
            let tagged = zones
                .iter()
                .enumerate()
                .filter(|(_, zone)| zone.tags.contains(tag))
                .map(|(index, _)| index);
            chosen.extend(tagged);
        }
        chosen.sort_unstable();
        chosen.dedup();
        Some(chosen)
    }
}

fn unknown_page() -> Reply {
    refuse(code::BAD_PAGE_ID, "Invalid page request id")
}
