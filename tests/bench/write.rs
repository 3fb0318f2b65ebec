//! What the box adds to the way of a write to the Core and back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::Scale;
use crate::load::{Client, tool_call};
use crate::program::{self, Program, Site};
use crate::table::{Row, median, micros, quantile, range};

const COMPONENT: &str = "Block 1";
const CONTROL: &str = "channel.1.gain";

/// A client of the Core itself.
struct Direct(WebSocketStream<TcpStream>);

impl Direct {
    async fn connect(core: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(core).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{core}/qrc-public-api/v0");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        Ok(Self(socket))
    }

    async fn set(&mut self, id: usize, value: f64) -> Result<()> {
        let frame = json!({
            "jsonrpc": "2.0", "id": id, "method": "Component.Set",
            "params": {"Name": COMPONENT, "Controls": [{"Name": CONTROL, "Value": value}], "ResponseValues": true},
        });
        self.0.send(Message::text(frame.to_string())).await?;
        loop {
            let message = self
                .0
                .next()
                .await
                .context("the Core closed the connection")??;
            if let Message::Text(text) = message {
                let answer: Value = serde_json::from_str(&text)?;
                if answer["id"] == id {
                    ensure!(
                        answer["result"][0]["Value"] == value,
                        "the Core did not write: {answer}"
                    );
                    return Ok(());
                }
            }
        }
    }
}

pub(crate) fn rows(scale: &Scale) -> Result<Vec<Row>> {
    let (rounds, pairs) = scale.pick((21, 1_000), (5, 200));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let core = program::free_port()?;
        let _core = Program::start(&[
            "simcore", "--listen", &core.to_string(), "--components", "100", "--controls-per", "50",
        ])?;
        let site = Site::new(core)?;
        let _box = site.run()?;
        let status = tool_call(site.listen, &site.key, "qsys_get_link_status", &json!({}));
        program::until(site.listen, &status, Duration::from_millis(100), is_live).await?;

        let mut direct = Direct::connect(core).await?;
        let mut client = Client::connect(site.listen).await?;
        let (mut added, mut middles, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for pair in 0..pairs {
                // The two take turns, so that what else the machine does meets both.
                let value = -40.0 + 0.25 * (pair % 100) as f64;
                let begun = Instant::now();
                direct.set(pair, value).await?;
                theirs.push(micros(begun.elapsed()));
                let change = json!({
                    "changes": [{"component": COMPONENT, "control": CONTROL, "value": value - 30.0}],
                    "reason": "bench",
                });
                let request = tool_call(site.listen, &site.key, "qsys_set_controls", &change);
                let begun = Instant::now();
                let body = client.ask(&request).await?;
                ours.push(micros(begun.elapsed()));
                let answer: Value = serde_json::from_slice(body)?;
                ensure!(
                    answer["result"]["structuredContent"]["changes"][0]["as_asked"] == true,
                    "the box did not write: {answer}"
                );
            }
            if round > 0 {
                added.push(quantile(&ours, 0.99) - quantile(&theirs, 0.99));
                middles.push(median(&ours) - median(&theirs));
                own.push(quantile(&theirs, 0.99));
            }
        }
        let (low, high) = range(&added);
        Ok(vec![Row {
            what: format!(
                "Write path added by the box (`qsys_set_controls` in, frame to the Core, answer back) over the simulated Core's own round trip, one at a time, {} writes each while 5,000 controls are polled (time on the clock)",
                rounds * pairs
            ),
            reach: "≤ 300 µs p99",
            measured: format!(
                "**{:.0} µs** p99 (rounds {low:.0} to {high:.0}), {:.0} µs median; the Core's own p99 is {:.0} µs",
                median(&added),
                median(&middles),
                median(&own)
            ),
            is_reached: Some(median(&added) <= 300.0),
            only: "write",
        }])
    })
}

fn is_live(answer: &Value) -> bool {
    answer["result"]["structuredContent"]["link"] == "live"
}
