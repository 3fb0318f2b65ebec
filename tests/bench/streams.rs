//! What many clients that only listen, or went away without a word, cost in memory.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::child::Role;
use crate::load::{Client, listen};
use crate::table::Row;
use crate::{Scale, clock, serve};

const REVISION: &str = "2025-11-25";

async fn open(address: SocketAddr, request: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    while !answer.windows(12).any(|part| part == b"acknowledged") {
        let read = stream.read_buf(&mut answer).await?;
        ensure!(
            read > 0 && answer.starts_with(b"HTTP/1.1 200"),
            "no stream: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(stream)
}

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let count = scale.pick(10_000, 1_000);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut role = Role::start(&["serve", "front"])?;
        let address: SocketAddr = role.hear()?.parse()?;
        let rss = || clock::rss_of(role.pid());
        drop(open(address, &listen(address, &serve::key(0))).await?);
        let before = rss()?;
        let mut streams = Vec::new();
        for number in 0..count {
            let key = serve::key(number % serve::KEYS);
            let stream = open(address, &listen(address, &key)).await;
            streams.push(stream.with_context(|| format!("stream {number}"))?);
        }
        let listening = rss()?;
        drop((streams, role));
        // A process of its own, or it would live on what the streams left.
        let mut role = Role::start(&["serve", "front"])?;
        let address: SocketAddr = role.hear()?.parse()?;
        let rss = || clock::rss_of(role.pid());
        let mut client = Client::connect(address).await?;
        client.initialize(address, &serve::key(0), REVISION).await?;
        let settled = rss()?;
        for number in 0..count {
            let key = serve::key(number % serve::KEYS);
            client.initialize(address, &key, REVISION).await?;
        }
        let abandoned = rss()?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let each = |bytes: u64| bytes as f64 / count as f64;
        let total = mib(listening);
        let sessions = mib(abandoned.saturating_sub(settled));
        Ok(vec![
            Row {
                what: format!("Memory of the process with {count} idle event streams, with a mirror of {} controls", serve::CONTROLS),
                reach: "≤ 96 MiB RSS with 10,000",
                measured: format!("**{total:.1}** MiB; {:.0} bytes each", each(listening.saturating_sub(before))),
                is_reached: Some(total <= 96.0),
                only: "streams",
            },
            Row {
                what: format!("Memory of {count} sessions of older clients that went away without a word"),
                reach: "≤ 8 MiB RSS for 10,000",
                measured: format!("**{sessions:.1}** MiB; {:.0} bytes each", each(abandoned.saturating_sub(settled))),
                is_reached: Some(sessions <= 8.0),
                only: "streams",
            },
        ])
    })
}
