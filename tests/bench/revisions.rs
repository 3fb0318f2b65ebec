//! The same call of a tool in each revision, and what the official Rust SDK needs for an equal tool.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::json;

use crate::child::Role;
use crate::load::{Client, drive, session_call, tool_call};
use crate::table::{Row, median, range};
use crate::{Scale, clock, design, rmcp, serve};

/// Kept-alive connections that ask at the same time.
const CONNECTIONS: usize = 16;

const MODERN: &str = "2026-07-28";

/// Revisions with a session, newest first.
const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// One revision at one server.
struct Course {
    pid: u32,
    address: SocketAddr,
    revision: &'static str,
    /// One for all connections, or one for each, as a session has one client.
    requests: Vec<Vec<u8>>,
    /// Requests per CPU second, a figure a round.
    rates: Vec<f64>,
}

impl Course {
    /// Opens a session, if the revision has one, and asks once.
    async fn open(
        role: &Role,
        address: SocketAddr,
        revision: &'static str,
    ) -> Result<(Self, Vec<u8>)> {
        let tool = "qsys_get_controls";
        let arguments = json!({
            "controls": [{"component": design::component_name(7), "control": design::control_name(0)}],
        });
        let mut client = Client::connect(address).await?;
        let mut requests = Vec::new();
        if revision == MODERN {
            requests.push(tool_call(address, serve::KEY, tool, &arguments));
        } else {
            for _ in 0..CONNECTIONS {
                let id = client.initialize(address, serve::KEY, revision).await?;
                let session = (&*id, revision);
                client.initialized(address, serve::KEY, session).await?;
                requests.push(session_call(address, serve::KEY, session, tool, &arguments));
            }
        }
        let answer = client.ask(&requests[0]).await?.to_vec();
        let text = String::from_utf8_lossy(&answer);
        anyhow::ensure!(text.contains("live"), "this is no live value: {text}");
        let course = Self {
            pid: role.pid(),
            address,
            revision,
            requests,
            rates: Vec::new(),
        };
        Ok((course, answer))
    }

    fn round(&mut self, requests: usize) -> Result<()> {
        let before = clock::cpu_of(self.pid)?;
        drive(self.address, &self.requests, CONNECTIONS, requests)?;
        let used = clock::cpu_of(self.pid)?.saturating_sub(before);
        self.rates.push(requests as f64 / used.as_secs_f64());
        Ok(())
    }
}

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let (rounds, requests) = scale.pick((9, 24_000), (3, 6_000));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut front = Role::start(&["serve", "front"])?;
        let address = front.hear()?.parse()?;
        let (modern, answer) = Course::open(&front, address, MODERN).await?;
        let mut courses = vec![modern];
        for revision in LEGACY {
            courses.push(Course::open(&front, address, revision).await?.0);
        }
        let own = courses.len();
        let official = rmcp::start(&answer)?;
        if let Some((role, address)) = &official {
            for revision in [MODERN, LEGACY[0]] {
                courses.push(Course::open(role, *address, revision).await?.0);
            }
        }
        measure(&mut courses, rounds, requests)?;
        let (ours, theirs) = courses.split_at(own);
        let mut rows = vec![Row {
            what: "The same call in each revision, guard and bounds in front".to_owned(),
            reach: "",
            measured: ours
                .iter()
                .map(|course| format!("{} **{:.0}**", course.revision, median(&course.rates)))
                .collect::<Vec<_>>()
                .join(", ")
                + " requests per CPU second",
            is_reached: None,
            only: "revisions",
        }];
        for (at, revision) in [MODERN, LEGACY[0]].into_iter().enumerate() {
            let form = if revision == MODERN { "JSON" } else { "in a session" };
            let (measured, is_reached) = match theirs.get(at) {
                Some(other) => against(&ours[at], other),
                None => (rmcp::MISSING.to_owned(), None),
            };
            rows.push(Row {
                what: format!("The same call by {revision}, {form}, against {} behind bare hyper with a tool that gives the same answer without looking", rmcp::NAME),
                reach: "≥ 1.5 times its requests per CPU second",
                measured,
                is_reached,
                only: "revisions",
            });
        }
        Ok(rows)
    })
}

fn measure(courses: &mut [Course], rounds: usize, requests: usize) -> Result<()> {
    for course in &mut *courses {
        drive(course.address, &course.requests, CONNECTIONS, requests / 4)?;
    }
    for _ in 0..rounds {
        for course in &mut *courses {
            course.round(requests)?;
        }
    }
    Ok(())
}

fn against(own: &Course, other: &Course) -> (String, Option<bool>) {
    let ratios: Vec<_> = own
        .rates
        .iter()
        .zip(&other.rates)
        .map(|(own, other)| own / other)
        .collect();
    let (low, high) = range(&ratios);
    let (own, other) = (median(&own.rates), median(&other.rates));
    let ratio = own / other;
    let text = format!(
        "**{ratio:.2}** (rounds {low:.2} to {high:.2}): {own:.0} against {other:.0} requests per CPU second, {:.1} against {:.1} µs each",
        1e6 / own,
        1e6 / other
    );
    (text, Some(ratio >= 1.5))
}
