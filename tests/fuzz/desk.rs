//! A server with a service that does at once, late, or never what clients ask, and costs nothing to build: one for each input.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, poll_fn};
use rackhand::base::shutdown::Stop;
use rackhand::guard::{Caller, Reach, Role, Scope};
use rackhand::limits::{
    ATTENDED_BYTES_MAX, ATTENDED_MAX, KEPT_BYTES_MAX, SESSIONS_MAX, STREAMS_MAX,
    SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX, TASKS_BYTES_MAX, TASKS_MAX,
};
use rackhand::mcp::{Event, EventStream, Load, Post, Reply, Routing, Server, ServerInfo};
use rackhand::service::{
    Ask, Effect, Form, Generations, LogLevel, Question, QuestionKind, Resource, ResourceBody,
    ResourceContent, ResourceContents, Service, Step, TaskMode, Tool, ToolAnswer, ToolCall,
    ToolFault,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Resources that can be watched.
pub(crate) const RESOURCES: u8 = 8;

/// What the service can be made to do.
#[derive(Debug, Default)]
pub(crate) struct Knobs {
    pub(crate) stamps: [AtomicU64; 8],
    pub(crate) tools: AtomicU64,
}

/// The server, and what it needs beside answering.
pub(crate) struct Desk {
    pub(crate) server: Arc<Server>,
    pub(crate) knobs: Arc<Knobs>,
    stop: Stop,
    keeping: JoinSet<&'static str>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let knobs = Arc::<Knobs>::default();
        let services: Vec<Arc<dyn Service>> = vec![Arc::new(Clerk::new(Arc::clone(&knobs)))];
        let info = ServerInfo {
            name: "rackhand",
            title: "rackhand".to_owned(),
            version: "0",
            instructions: "Ask.".to_owned(),
        };
        let server = Arc::new(Server::new(&services, info).unwrap());
        let stop = Stop::new();
        let mut keeping = JoinSet::new();
        keeping.spawn(Arc::clone(&server).keep(stop.clone()));
        Self {
            server,
            knobs,
            stop,
            keeping,
        }
    }

    /// What is held stays below every limit.
    pub(crate) fn is_bounded(&self) -> Load {
        let load = self.server.load();
        for (figure, limit) in [
            (load.sessions, SESSIONS_MAX),
            (load.streams, STREAMS_MAX),
            (load.calls, ATTENDED_MAX),
            (load.call_bytes, ATTENDED_BYTES_MAX),
            (load.subscriptions, SUBSCRIPTIONS_MAX),
            (load.subscription_bytes, SUBSCRIPTION_BYTES_MAX),
            (load.listeners, STREAMS_MAX + SESSIONS_MAX),
            (load.kept_bytes, KEPT_BYTES_MAX),
            (load.tasks, TASKS_MAX),
            (load.task_bytes, TASKS_BYTES_MAX),
        ] {
            assert!(figure <= limit, "{figure} is more than {limit}: {load:?}");
        }
        load
    }

    /// Ends it in good order, and holds that nothing in it has panicked.
    pub(crate) async fn closes(mut self) {
        self.server.close_streams();
        self.stop.cancel();
        while let Some(ended) = self.keeping.join_next().await {
            ended.expect("a call panicked");
        }
    }
}

/// One of several callers.
pub(crate) fn caller(number: u8) -> Caller {
    Caller::local(&format!("caller {}", number % 3), Role::Operator)
}

/// Posts a body as a task may: on data of its own.
pub(crate) async fn post(
    server: Arc<Server>,
    caller: Caller,
    session: Option<String>,
    body: String,
) -> Reply {
    let session = session.as_deref();
    let routing = session.map(|session| Routing {
        session: rackhand::mcp::Field::One(session),
        ..Routing::default()
    });
    let post = Post {
        body: body.as_bytes(),
        routing,
        caller: &caller,
        accepts_events: true,
        trace: None,
    };
    server.post(post).await
}

/// What comes next on a stream, if it is there: an event, or the end.
pub(crate) fn next(stream: &mut EventStream) -> Option<Option<Event>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).now_or_never()
}

/// Metadata of a modern request, with the abilities that a client may have.
pub(crate) fn meta(has_tasks: bool) -> Value {
    let extensions = if has_tasks {
        json!({"io.modelcontextprotocol/tasks": {}})
    } else {
        json!({})
    };
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}, "extensions": extensions},
        "progressToken": "p",
        "io.modelcontextprotocol/logLevel": "debug",
    })
}

#[derive(Debug)]
struct Clerk {
    tools: Vec<Tool>,
    knobs: Arc<Knobs>,
}

impl Clerk {
    fn new(knobs: Arc<Knobs>) -> Self {
        let tool = |name, effect| Tool {
            name,
            title: "A desk",
            description: "Does what the fuzz targets need.",
            input_schema: Arc::new(json!({"type": "object", "properties": {
                "ms": {"type": "integer"}, "says": {"type": "integer"}, "bytes": {"type": "integer"}}})),
            output_schema: Arc::new(json!({"type": "object"})),
            effect,
            is_destructive: false,
            scope: Scope::Read,
        };
        Self {
            tools: vec![
                tool("desk_wait", Effect::Read),
                tool("desk_set", Effect::Write),
                tool("desk_ask", Effect::Read),
                tool("desk_task", Effect::Read),
            ],
            knobs,
        }
    }
}

impl Service for Clerk {
    fn name(&self) -> &'static str {
        "desk"
    }

    fn tools(&self) -> &[Tool] {
        &self.tools
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        Box::pin(async move {
            let number = |name: &str| call.arguments[name].as_u64().unwrap_or(0);
            let (ms, says) = (number("ms") % 10_000, number("says") % 20);
            match (call.tool.as_str(), call.task) {
                ("desk_ask", _)
                    if call.abilities.elicitation && call.said.form("a") == Form::Open =>
                {
                    return Ok(Step::Ask(question()));
                }
                ("desk_task", TaskMode::Possible) => return Ok(Step::Task),
                _ => {}
            }
            let says = u8::try_from(says).unwrap();
            for said in 0..says {
                call.voice.log(LogLevel::Info, "on my way");
                call.voice.progress(said.into(), None, "on my way");
                tokio::time::sleep(Duration::from_millis(ms / u64::from(says))).await;
            }
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let bytes = usize::try_from(number("bytes") % 50_000).unwrap();
            Ok(Step::Done(ToolAnswer {
                structured: None,
                text: "x".repeat(bytes + 1),
                more: Vec::new(),
            }))
        })
    }

    fn resources(&self) -> Vec<Resource> {
        let resource = |number: u8| Resource {
            uri: format!("desk://{number}"),
            name: number.to_string(),
            title: "A drawer".to_owned(),
            description: "Something to look at.".to_owned(),
            mime_type: "text/plain",
        };
        (0..RESOURCES).map(resource).collect()
    }

    fn read_resource<'a>(
        &'a self,
        uri: &'a str,
        _caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Option<ResourceContents>, ToolFault>> {
        let contents =
            self.resource_stamp(uri, &Reach::everything())
                .map(|stamp| ResourceContents {
                    contents: vec![ResourceContent {
                        uri: uri.to_owned(),
                        mime_type: "text/plain",
                        body: ResourceBody::Text(stamp.to_string()),
                    }],
                    is_static: false,
                });
        Box::pin(async move { Ok(contents) })
    }

    fn resource_stamp(&self, uri: &str, _: &Reach) -> Option<u64> {
        let number: usize = uri.strip_prefix("desk://")?.parse().ok()?;
        let stamp = self.knobs.stamps.get(number)?;
        Some(stamp.load(Ordering::Relaxed))
    }

    fn generations(&self) -> Generations {
        Generations {
            tools: self.knobs.tools.load(Ordering::Relaxed),
            ..Generations::default()
        }
    }
}

fn question() -> Ask {
    let form = json!({"mode": "form", "message": "Well?", "requestedSchema":
        {"type": "object", "properties": {"yes": {"type": "boolean"}}}});
    Ask {
        questions: vec![Question {
            key: "a".to_owned(),
            kind: QuestionKind::Elicitation,
            params: form,
        }],
        state: Value::Null,
    }
}
