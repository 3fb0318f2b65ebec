//! What clients cost in memory that do nothing: sessions that were opened and left, streams on which nothing comes.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::json;

use crate::child::Role;
use crate::load::{Client, listen, session_stream};
use crate::table::Row;
use crate::{Scale, clock, rmcp, serve};

const REVISION: &str = "2025-11-25";

/// Streams that are opened. One client may have this many.
const STREAMS: usize = 96;

/// What comes before the measurement, so that what the first ones cost the process is not counted.
const BEFORE: usize = 24;

/// Bytes for each of something.
#[derive(Debug)]
struct Cost {
    session: f64,
    stream: f64,
    /// A stream of the newest revision.
    listening: Option<f64>,
}

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let sessions = scale.pick(900, 400);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let own = runtime.block_on(async {
        let (role, address) = front()?;
        cost(&role, address, sessions, true).await
    })?;
    let answer = json!({"result": {"content": [], "structuredContent": {}}});
    let other = match rmcp::start(answer.to_string().as_bytes())? {
        Some((role, address)) => Some(runtime.block_on(cost(&role, address, sessions, false))?),
        None => None,
    };
    let beside = |theirs: Option<f64>| match theirs {
        Some(theirs) => format!("; {} {theirs:.0}", rmcp::NAME),
        None => format!("; {}", rmcp::MISSING),
    };
    Ok(vec![
        Row {
            what: format!(
                "Memory per session that was opened and left, {sessions} of them by {REVISION}"
            ),
            reach: "≤ 1,024 bytes RSS",
            measured: format!(
                "**{:.0}** bytes{}",
                own.session,
                beside(other.as_ref().map(|cost| cost.session))
            ),
            is_reached: Some(own.session <= 1_024.0),
            only: "clients",
        },
        Row {
            what: format!(
                "Memory per idle event stream with its connection and session, {STREAMS} of them"
            ),
            reach: "≤ 8,192 bytes RSS",
            measured: format!(
                "**{:.0}** bytes by {REVISION}{}; {:.0} by 2026-07-28",
                own.stream,
                beside(other.as_ref().map(|cost| cost.stream)),
                own.listening.unwrap_or_default()
            ),
            is_reached: Some(own.stream <= 8_192.0 && own.listening.unwrap_or_default() <= 8_192.0),
            only: "clients",
        },
    ])
}

fn front() -> Result<(Role, SocketAddr)> {
    let mut role = Role::start(&["serve", "front"])?;
    let address = role.hear()?.parse()?;
    Ok((role, address))
}

async fn cost(role: &Role, address: SocketAddr, sessions: usize, is_own: bool) -> Result<Cost> {
    let mut client = Client::connect(address).await?;
    for _ in 0..BEFORE {
        client.initialize(address, serve::KEY, REVISION).await?;
    }
    let before = clock::rss_of(role.pid())?;
    for _ in 0..sessions {
        client.initialize(address, serve::KEY, REVISION).await?;
    }
    let session = each(before, clock::rss_of(role.pid())?, sessions);
    drop(client);

    let early = session_streams(address, BEFORE).await?;
    let before = clock::rss_of(role.pid())?;
    let streams = session_streams(address, STREAMS).await?;
    let stream = each(before, clock::rss_of(role.pid())?, STREAMS);
    drop((early, streams));

    let listening = if is_own {
        // In a process of its own: what the streams before have left would be taken first.
        let (fresh, address) = front()?;
        let early = listeners(address, BEFORE).await?;
        let before = clock::rss_of(fresh.pid())?;
        let streams = listeners(address, STREAMS).await?;
        let listening = each(before, clock::rss_of(fresh.pid())?, STREAMS);
        drop((early, streams));
        Some(listening)
    } else {
        None
    };
    Ok(Cost {
        session,
        stream,
        listening,
    })
}

fn each(before: u64, after: u64, count: usize) -> f64 {
    after.saturating_sub(before) as f64 / count as f64
}

async fn session_streams(address: SocketAddr, count: usize) -> Result<Vec<Client>> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(address).await?;
        let session = client.initialize(address, serve::KEY, REVISION).await?;
        let request = session_stream(address, serve::KEY, (&session, REVISION));
        client.open_stream(&request).await?;
        streams.push(client);
    }
    Ok(streams)
}

async fn listeners(address: SocketAddr, count: usize) -> Result<Vec<Client>> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(address).await?;
        client.open_stream(&listen(address, serve::KEY)).await?;
        streams.push(client);
    }
    Ok(streams)
}
