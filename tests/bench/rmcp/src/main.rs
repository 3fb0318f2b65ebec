//! The official Rust SDK behind bare hyper, with one tool that answers what the product's tool answered: the yardstick of the benches.
//!
//! `rackhand-bench-rmcp FILE` serves the answer in the file, prints its address, and ends with its standard input.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, schemars, tool, tool_handler, tool_router};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One control, as the product's tool takes it.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Control {
    #[expect(dead_code, reason = "read from the arguments, as a tool does that needs it")]
    component: Option<String>,
    #[expect(dead_code, reason = "read from the arguments, as a tool does that needs it")]
    control: String,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Arguments {
    controls: Vec<Control>,
}

#[derive(Clone)]
struct Equal {
    answer: Arc<CallToolResult>,
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl Equal {
    #[tool(name = "qsys_get_controls", description = "Reads controls")]
    fn get_controls(&self, Parameters(arguments): Parameters<Arguments>) -> CallToolResult {
        std::hint::black_box(arguments.controls);
        CallToolResult::clone(&self.answer)
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Equal {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("the file with the answer is missing")?;
    let answer: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let answer: CallToolResult = serde_json::from_value(answer["result"].clone())?;
    let equal = Equal {
        answer: Arc::new(answer),
        tool_router: Equal::tool_router(),
    };
    // One thread, as every server of the benches has.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(equal))
}

async fn serve(equal: Equal) -> Result<()> {
    // JSON where it can be: its faster form. Sessions, for clients that need them.
    let mut config = StreamableHttpServerConfig::default();
    config.json_response = true;
    let service = StreamableHttpService::new(
        move || Ok(equal.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    let service = TowerToHyperService::new(service);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    let mut parent = tokio::io::stdin();
    let mut nothing = Vec::new();
    loop {
        let (stream, _peer) = tokio::select! {
            _ended = parent.read_to_end(&mut nothing) => return Ok(()),
            accepted = listener.accept() => accepted?,
        };
        stream.set_nodelay(true)?;
        let service = service.clone();
        connections.spawn(async move {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            served.await.ok();
        });
    }
}
