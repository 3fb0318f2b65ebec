//! The servers that answer calls of tools: the product's, and the least that could.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rackhand::base::rate::Rate;
use rackhand::base::secret::Secret;
use rackhand::base::shutdown::Stop;
use rackhand::guard::keyfile::NewKey;
use rackhand::guard::{Caller, Guard, KeySource, RateRules, Role};
use rackhand::http::{Front, Limits, OriginRules};
use rackhand::link::dial::{ByteStream, Dial};
use rackhand::link::{self, LinkConfig};
use rackhand::mcp::{Field, Post, ReplyBody, Routing, Server, ServerInfo};
use rackhand::ops::health::{Report, Source};
use rackhand::safety::{Policy, SafetyConfig};
use rackhand::service::Service;
use rackhand::service::qsys::{QsysService, System};
use rackhand::store::Mirror;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{child, design};

/// The key that the product's server takes.
pub(crate) const KEY: &str = "rh_bench_0123456789abcdef0123456789";

/// Keys of as many further clients.
pub(crate) const KEYS: usize = 20;

/// One of them.
pub(crate) fn key(number: usize) -> String {
    format!("rh_bench_of_client_{number:08}_0123456789")
}

/// Controls in the mirror that is served.
pub(crate) const CONTROLS: usize = 5_000;

/// A process that serves: `yardstick FILE` answers every request with the file, `bare` is MCP and the tools behind the yardstick's
/// own front, `front` the whole way in with keys, rates, origins and bounds, `uncounted` the same without rates.
pub(crate) fn role(arguments: &[String]) -> Result<()> {
    let stop = child::let_go();
    // One thread for every server: what workers cost by waking each other is the runtime's, not the server's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        child::say(listener.local_addr()?);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["yardstick", file] => {
                let body = Bytes::from(std::fs::read(file)?);
                serve(listener, Arc::new(Yardstick(body)), stop).await
            }
            ["bare"] => {
                let mut tasks = JoinSet::new();
                let server = Arc::new(product(&stop, &mut tasks)?);
                let caller = Caller::local("bench", Role::Operator);
                serve(listener, Arc::new(Bare { server, caller }), stop).await
            }
            [front @ ("front" | "uncounted")] => {
                let mut tasks = JoinSet::new();
                let server = Arc::new(product(&stop, &mut tasks)?);
                let person = |name: String| NewKey::new(&name, Role::Operator);
                let mut keys = vec![(person("bench".into()), Secret::new(KEY))];
                keys.extend((0..KEYS).map(|number| {
                    (
                        person(format!("client {number}")),
                        Secret::new(&key(number)),
                    )
                }));
                let guard = Guard::new(KeySource::memory(&keys))?;
                let guard = if *front == "front" {
                    guard.with_rates(unbounded())
                } else {
                    guard
                };
                let origins = OriginRules::new([], []);
                let front = Front::new(
                    server,
                    Arc::new(guard),
                    Arc::new(Well),
                    origins,
                    Limits::default(),
                );
                Arc::new(front).serve(listener, stop).await;
                Ok(())
            }
            other => bail!("there is no server {other:?}"),
        }
    })
}

/// Rates that count everything and refuse nothing.
pub(crate) fn unbounded() -> RateRules {
    RateRules {
        roles: [Rate::new(u32::MAX, u32::MAX); 5],
        ..RateRules::default()
    }
}

/// MCP with the tools of one Core, whose mirror is full and whose link never comes about.
fn product(stop: &Stop, tasks: &mut JoinSet<&'static str>) -> Result<Server> {
    let now = Instant::now();
    let mirror = Arc::new(Mirror::new(now));
    design::tell(&*mirror, CONTROLS);
    let nobody = Arc::new(Mirror::new(now));
    let link = link::spawn(
        LinkConfig::default(),
        Arc::new(Nowhere),
        nobody,
        stop.clone(),
        tasks,
    );
    let core = System::new("hall".into(), link, mirror);
    let policy =
        Policy::new(&SafetyConfig::default()).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let services: [Arc<dyn Service>; 1] =
        [Arc::new(QsysService::new(vec![core], Arc::new(policy)))];
    let info = ServerInfo {
        name: "rackhand",
        title: "rackhand for Q-SYS".into(),
        version: "0.0.0",
        instructions: String::new(),
    };
    Server::new(&services, info).context("the tools")
}

/// Dials for ever.
#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial(
        &self,
        _host: String,
        _port: u16,
    ) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(future::pending())
    }
}

/// All is well.
struct Well;

impl Source for Well {
    fn report(&self) -> Arc<Report> {
        Arc::new(Report::new(Instant::now()))
    }

    fn detail(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// What stands behind a bare front.
trait Handler: Send + Sync + 'static {
    /// Answers a body.
    fn answer<'a>(
        &'a self,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> impl Future<Output = Result<Bytes>> + Send + 'a;
}

/// Reads the request and answers the same to all.
struct Yardstick(Bytes);

impl Handler for Yardstick {
    async fn answer(&self, _headers: &HeaderMap, body: &[u8]) -> Result<Bytes> {
        std::hint::black_box(serde_json::from_slice::<serde_json::Value>(body)?);
        Ok(self.0.clone())
    }
}

/// The protocol layer and the tools, for one caller whom nobody checks.
struct Bare {
    server: Arc<Server>,
    caller: Caller,
}

impl Handler for Bare {
    async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Result<Bytes> {
        let field = |name: &str| match headers.get(name).map(HeaderValue::to_str) {
            Some(Ok(text)) => Field::One(text),
            Some(Err(_)) => Field::Unusable,
            None => Field::Absent,
        };
        let routing = Routing {
            version: field("mcp-protocol-version"),
            method: field("mcp-method"),
            name: field("mcp-name"),
            session: Field::Absent,
            ..Routing::default()
        };
        let post = Post {
            body,
            routing: Some(routing),
            caller: &self.caller,
            accepts_events: true,
            trace: None,
        };
        match self.server.post(post).await.body {
            ReplyBody::Json(body) => Ok(body.into()),
            other => bail!("no JSON: {other:?}"),
        }
    }
}

/// HTTP as hyper has it, with nothing added.
async fn serve<H: Handler>(listener: TcpListener, handler: Arc<H>, stop: Stop) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _peer): (_, SocketAddr) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted?,
        };
        stream.set_nodelay(true)?;
        let handler = Arc::clone(&handler);
        connections.spawn(async move {
            let service = service_fn(|request| respond(&*handler, request));
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

async fn respond<H: Handler>(
    handler: &H,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let answered = async {
        handler
            .answer(&head.headers, &body.collect().await?.to_bytes())
            .await
    };
    let (status, body) = match answered.await {
        Ok(body) => (200, body),
        Err(fault) => (500, format!("{fault:#}").into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
