//! The whole way in, from the socket to the protocol, with the fixture that the official conformance suite asks for behind it.
//! Prints its URL and serves until its input ends.
//!
//! The suite has no credential to send, and the product has no mode without one: each connection here gets a key on its way in.

mod fixture;
mod key;

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Result;
use rackhand::base::shutdown::Stop;
use rackhand::guard::keyfile::NewKey;
use rackhand::guard::{Guard, KeySource, Role, key as keys};
use rackhand::http::{Front, Limits, OriginRules};
use rackhand::mcp::{Server, ServerInfo};
use rackhand::ops::health::{Report, Source};
use rackhand::service::Service;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fixture::Fixture;
use crate::key::WithKey;
use tokio::time::Instant;

#[derive(Debug)]
struct Healthy;

impl Source for Healthy {
    fn report(&self) -> Arc<Report> {
        Arc::new(Report::new(Instant::now()))
    }

    fn detail(&self) -> Value {
        json!({})
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let services: [Arc<dyn Service>; 1] = [Arc::new(Fixture::new())];
    let server = Arc::new(Server::new(
        &services,
        ServerInfo {
            name: "rackhand-conformance",
            title: "rackhand with the conformance fixture".to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            instructions: "A fixture for tests.".to_owned(),
        },
    )?);
    let key = keys::generate()?;
    let person = NewKey::new("suite", Role::Admin);
    let guard = Guard::new(KeySource::memory(&[(person, key.clone())]))?;
    let front = Arc::new(Front::new(
        Arc::clone(&server),
        Arc::new(guard),
        Arc::new(Healthy),
        OriginRules::new([], []),
        Limits::default(),
    ));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "http://{}/mcp", listener.local_addr()?)?;
    let stop = Stop::new();
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let kept = server.keep(stop.clone());
        async move {
            let _ = kept.await;
        }
    });
    let mut input = tokio::io::stdin();
    let mut word = [0_u8; 1];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                let stream = WithKey::new(stream, key.expose());
                let front = Arc::clone(&front);
                tasks.spawn(front.serve_connection(stream, peer.ip(), stop.clone()));
            }
            read = input.read(&mut word) => if read? == 0 { break },
            Some(ended) = tasks.join_next() => ended?,
        }
    }
    tasks.shutdown().await;
    Ok(())
}
