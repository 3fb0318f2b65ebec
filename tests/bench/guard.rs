//! What the guard adds to a call: finding out who asks and counting it, alone in a loop, and what counting adds to a whole call.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use rackhand::base::secret::Secret;
use rackhand::guard::{Guard, KeySource, NewKey, Role, key};

use crate::call::{CONNECTIONS, Server};
use crate::load::drive;
use crate::table::{Row, median, range};
use crate::{Scale, clock, serve};

/// Most that the guard may add to a call, microseconds of CPU.
const REACH_MICROS: f64 = 2.0;

/// Keys in the table.
const KEYS: usize = 64;

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let (rounds, calls) = scale.pick((11, 400_000), (3, 40_000));
    let admit = alone(rounds, calls, false)?;
    let both = alone(rounds, calls, true)?;
    let (low, high) = range(&both);
    let (admitted, spent) = (median(&admit), median(&both));
    let requests = scale.pick(48_000, 8_000);
    let counting = in_a_call(rounds, requests)?;
    let (least, most) = range(&counting);
    let counted = median(&counting);
    let all = admitted + counted.max(spent - admitted);
    Ok(vec![Row {
        what: "what the guard adds to a `tools/call`: the key from the headers, its hash, its rights and its bucket, and the headers that tell of it".to_owned(),
        reach: "≤ 2 µs of CPU",
        measured: format!(
            "**{all:.2} µs**: admission alone {admitted:.2} µs, with counting {spent:.2} µs (rounds {low:.2} to {high:.2}); counting and its headers within a call {counted:.2} µs (rounds {least:.2} to {most:.2}, against the same server without)"
        ),
        is_reached: Some(all <= REACH_MICROS),
        only: "guard",
    }])
}

/// Microseconds of CPU for each request that is let in, a figure a round.
fn alone(rounds: usize, calls: usize, counts: bool) -> Result<Vec<f64>> {
    let mut keys = Vec::new();
    for number in 0..KEYS {
        let person = NewKey {
            name: format!("client {number}"),
            role: Role::Operator,
            scopes: None,
            expires: None,
            components: Vec::new(),
            networks: Vec::new(),
        };
        keys.push((person, key::generate()?));
    }
    let key: &Secret = &keys[KEYS / 2].1;
    let bearer = format!("Bearer {}", key.expose());
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8080"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer)?);
    let mut guard = Guard::new(KeySource::memory(&keys))?;
    if counts {
        guard = guard.with_rates(serve::unbounded());
    }
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut figures = Vec::new();
    for _ in 0..rounds {
        let before = clock::own_cpu()?;
        for _ in 0..calls {
            let caller = guard.admit(black_box(&headers), black_box(peer))?;
            ensure!(
                guard.spend(&caller, 1)?.is_some() == counts,
                "not counted as said"
            );
            black_box(caller);
        }
        let used = clock::own_cpu()?.saturating_sub(before);
        figures.push(used.as_secs_f64() * 1e6 / calls as f64);
    }
    Ok(figures)
}

/// Microseconds of CPU that counting adds to a call on a whole server, a figure a round.
fn in_a_call(rounds: usize, requests: usize) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut with = Server::start(&["front"])?;
        let mut without = Server::start(&["uncounted"])?;
        for server in [&mut with, &mut without] {
            server.ask_once().await?;
            drive(server.address, &server.request, CONNECTIONS, requests / 4)?;
        }
        for _ in 0..rounds {
            with.round(requests)?;
            without.round(requests)?;
        }
        let pairs = with.rates.iter().zip(&without.rates);
        Ok(pairs
            .map(|(with, without)| 1e6 / with - 1e6 / without)
            .collect())
    })
}
