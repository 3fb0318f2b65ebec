//! A call of a tool on a cached value, against the least that could read the same request and send the same answer.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::child::Role;
use crate::load::{Client, drive, tool_call};
use crate::table::{Row, median, range};
use crate::{Scale, clock, design, serve};

/// Kept-alive connections that ask at the same time.
pub(crate) const CONNECTIONS: usize = 16;

/// One server and what it was asked.
pub(crate) struct Server {
    role: Role,
    pub(crate) address: SocketAddr,
    pub(crate) request: [Vec<u8>; 1],
    /// Requests per CPU second, a figure a round.
    pub(crate) rates: Vec<f64>,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let mut role = Role::start(&[&["serve"], arguments].concat())?;
        let address: SocketAddr = role.hear()?.parse()?;
        let controls = json!({
            "controls": [{"component": design::component_name(7), "control": design::control_name(0)}],
        });
        let request = [tool_call(
            address,
            serve::KEY,
            "qsys_get_controls",
            &controls,
        )];
        Ok(Self {
            role,
            address,
            request,
            rates: Vec::new(),
        })
    }

    pub(crate) async fn ask_once(&self) -> Result<Vec<u8>> {
        let mut client = Client::connect(self.address).await?;
        let body = client.ask(&self.request[0]).await?.to_vec();
        let answer: Value = serde_json::from_slice(&body)?;
        let row = &answer["result"]["structuredContent"]["controls"][0];
        ensure!(row["quality"] == "live", "this is no live value: {answer}");
        Ok(body)
    }

    pub(crate) fn round(&mut self, requests: usize) -> Result<()> {
        let before = clock::cpu_of(self.role.pid())?;
        drive(self.address, &self.request, CONNECTIONS, requests)?;
        let used = clock::cpu_of(self.role.pid())?.saturating_sub(before);
        self.rates.push(requests as f64 / used.as_secs_f64());
        Ok(())
    }

    /// How it compares, and between which rounds.
    fn against(&self, yardstick: &Self) -> (f64, String) {
        let ratios: Vec<_> = self
            .rates
            .iter()
            .zip(&yardstick.rates)
            .map(|(own, other)| own / other)
            .collect();
        let (low, high) = range(&ratios);
        let (own, other) = (median(&self.rates), median(&yardstick.rates));
        let ratio = own / other;
        let text = format!(
            "**{ratio:.2}** (rounds {low:.2} to {high:.2}): {own:.0} against {other:.0} requests per CPU second, {:.1} against {:.1} µs each",
            1e6 / own,
            1e6 / other
        );
        (ratio, text)
    }
}

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let (rounds, requests) = scale.pick((11, 48_000), (3, 8_000));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut bare, mut front) = (Server::start(&["bare"])?, Server::start(&["front"])?);
        bare.ask_once().await?;
        let answer = front.ask_once().await?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(&file, &answer)?;
        let mut yardstick = Server::start(&["yardstick", &file.path().display().to_string()])?;
        ensure!(yardstick.ask_once().await? == answer, "the yardstick answers something else");
        for server in [&mut bare, &mut front, &mut yardstick] {
            drive(server.address, &server.request, CONNECTIONS, requests / 4)?;
        }
        for _ in 0..rounds {
            for server in [&mut yardstick, &mut bare, &mut front] {
                server.round(requests)?;
            }
        }
        let what = |with: &str| {
            format!(
                "`tools/call` of `qsys_get_controls` on a cached value, kept-alive, {with}, against bare hyper and serde_json reading the same request and sending the same {} bytes",
                answer.len()
            )
        };
        let (bare_ratio, bare_text) = bare.against(&yardstick);
        let (front_ratio, front_text) = front.against(&yardstick);
        Ok(vec![
            Row {
                what: what("protocol and tools alone, without guard and bounds"),
                reach: "≥ 0.75 of its requests per CPU second",
                measured: bare_text,
                is_reached: Some(bare_ratio >= 0.75),
                only: "call",
            },
            Row {
                what: what("guard, origin rules and bounds in front"),
                reach: "≥ 0.6 of its requests per CPU second",
                measured: front_text,
                is_reached: Some(front_ratio >= 0.6),
                only: "call",
            },
        ])
    })
}
