//! The protocol: which request means what, in which revision, and how it is answered. It knows nothing of Q-SYS and nothing of
//! sockets; tools come from the registry, bytes come from a transport.

mod answer;
mod batch;
mod error;
mod ladder;
mod outline;
mod revision;
mod schema;
mod session;
mod stream;
mod tools;

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use error::{Code, error_json};
pub use ladder::{Field, Routing};
pub use outline::{Outline, Sort};
pub use revision::Revision;
pub use schema::Method;
pub use session::SessionId;
pub use stream::EventStream;

use self::answer::Answer;
use self::error::Fault;
use self::ladder::Era;
use self::schema::{Kind, Message};
use self::session::Sessions;
use self::stream::{Course, Full, OfSession, Streams};
use crate::base::shutdown::Stop;
use crate::guard::{Caller, Scope};
use crate::limits::{DISCOVER_CACHE_MS, TOOLS_PAGE};
use crate::service::{Registry, RegistryError, Service};

/// How the server names itself to clients.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    /// Name for programs.
    pub name: &'static str,
    /// Name for people.
    pub title: String,
    /// Version of the program.
    pub version: &'static str,
    /// A few sentences for the model: what this server is and how to begin. Never text from a device.
    pub instructions: String,
}

/// A body that was posted, and what came with it.
#[derive(Debug)]
pub struct Post<'a> {
    /// The body.
    pub body: &'a [u8],
    /// The header fields that route it; `None` on transports that have none.
    pub routing: Option<Routing<'a>>,
    /// Who sent it.
    pub caller: &'a Caller,
}

/// What a transport sends back.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status, where HTTP carries it.
    pub status: u16,
    /// The body.
    pub body: ReplyBody,
    /// The session that this request opened.
    pub session: Option<SessionId>,
    /// The scope that the caller lacks, with status 403.
    pub needed_scope: Option<Scope>,
}

/// The body of a reply.
#[derive(Debug)]
pub enum ReplyBody {
    /// Nothing.
    Empty,
    /// One JSON document.
    Json(Vec<u8>),
    /// Messages as they come.
    Events(EventStream),
}

impl Reply {
    const fn empty(status: u16) -> Self {
        Self {
            status,
            body: ReplyBody::Empty,
            session: None,
            needed_scope: None,
        }
    }

    const fn json(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            body: ReplyBody::Json(body),
            session: None,
            needed_scope: None,
        }
    }

    const fn events(events: EventStream) -> Self {
        Self {
            status: 200,
            body: ReplyBody::Events(events),
            session: None,
            needed_scope: None,
        }
    }

    fn fault(fault: &Fault, id: Option<&str>) -> Self {
        Self {
            status: fault.status,
            body: ReplyBody::Json(fault.to_json(id)),
            session: None,
            needed_scope: fault.needed_scope,
        }
    }
}

/// A request on its way to its handler. Handlers ask the revision for traits, never for its date.
struct Request<'a> {
    id: &'a str,
    revision: Revision,
    message: &'a Message<'a>,
    caller: &'a Caller,
}

/// The MCP server, shared by all transports.
#[derive(Debug)]
pub struct Server {
    registry: Registry,
    listings: Vec<tools::Listing>,
    /// Tools on one page of a list.
    page: usize,
    info: Value,
    instructions: String,
    /// `_meta` of every result of a revision that marks its results.
    meta: String,
    sessions: Arc<Mutex<Sessions>>,
    streams: Streams,
    /// Cancelled when all streams shall end.
    closing: Stop,
    /// Calls that change something; they finish even if their client went away.
    writes: TaskTracker,
}

impl Server {
    /// A server that offers the tools of these services.
    ///
    /// # Errors
    /// The services contradict each other, or a schema is wrong: faults of the program.
    pub fn new(services: &[Arc<dyn Service>], info: ServerInfo) -> Result<Self, RegistryError> {
        let registry = Registry::new(services)?;
        let named = json!({"name": info.name, "title": info.title, "version": info.version});
        Ok(Self {
            listings: tools::Listing::all(&registry),
            registry,
            page: TOOLS_PAGE,
            meta: json!({"io.modelcontextprotocol/serverInfo": named}).to_string(),
            info: named,
            instructions: info.instructions,
            sessions: Arc::default(),
            streams: Streams::default(),
            closing: Stop::new(),
            writes: TaskTracker::new(),
        })
    }

    /// The same server with another length of pages.
    #[must_use]
    pub fn with_page(mut self, tools: usize) -> Self {
        self.page = tools.max(1);
        self
    }

    /// Ends all event streams in good order.
    pub fn close_streams(&self) {
        self.closing.cancel();
    }

    /// Waits until no call that changes something is under way. Called once no new ones can come.
    pub async fn finish_writes(&self) {
        self.writes.close();
        self.writes.wait().await;
    }

    /// Answers a posted message. To drop the future means that the client went away.
    pub async fn post(&self, post: Post<'_>) -> Reply {
        if batch::is_batch(post.body) {
            let answer = batch::answer(self, &post).await;
            return answer.unwrap_or_else(|fault| Reply::fault(&fault, None));
        }
        let message = match Message::parse(post.body) {
            Ok(message) => message,
            Err(malformed) => return Reply::fault(&Fault::malformed(malformed), None),
        };
        let id = match message.kind {
            Kind::Request(id) => Some(id),
            Kind::Notification | Kind::Response => None,
        };
        match self.dispatch(&post, &message).await {
            Ok(reply) => reply,
            Err(fault) => Reply::fault(&fault, id),
        }
    }

    async fn dispatch(&self, post: &Post<'_>, message: &Message<'_>) -> Result<Reply, Fault> {
        let routing = post.routing.unwrap_or_default();
        let (id, revision, method) = match (ladder::era(message, routing.version), message.kind) {
            (Era::Modern, Kind::Request(id)) => {
                let (revision, method) = ladder::check(message, post.routing.as_ref())?;
                (id, revision, method)
            }
            (Era::Modern, Kind::Notification) => return Ok(Reply::empty(202)),
            (Era::Modern, Kind::Response) => return Err(not_asked()),
            (Era::Opening, Kind::Request(id)) => return self.initialize(id, message, post.caller),
            (Era::Opening, _) => return Err(invalid("`initialize` needs an id.")),
            (Era::Legacy, kind) => {
                let (_, revision) = self.session(&routing, post.caller)?;
                match kind {
                    Kind::Request(id) => (id, revision, legacy_method(message, revision)?),
                    Kind::Notification | Kind::Response => return Ok(Reply::empty(202)),
                }
            }
        };
        let request = Request {
            id,
            revision,
            message,
            caller: post.caller,
        };
        self.answer(&request, method).await
    }

    /// The table of handlers.
    async fn answer(&self, request: &Request<'_>, method: Method) -> Result<Reply, Fault> {
        if request.message.params.is_malformed {
            return Err(Fault::params(
                "`params` must be an object in which no field comes twice.",
            ));
        }
        match method {
            Method::CallTool => tools::call(self, request).await.map(Reply::json),
            Method::ListTools => tools::list(self, request).map(Reply::json),
            Method::Discover => Ok(Reply::json(self.discover(request))),
            Method::Ping => Ok(Reply::json(self.nothing(request))),
            Method::SetLogLevel => self.set_log_level(request).map(Reply::json),
            Method::Listen => self.listen(request),
            // Answered before there is a session.
            Method::Initialize => Err(Fault::method_not_found("initialize", false)),
        }
    }

    /// `initialize`: opens a session.
    fn initialize(&self, id: &str, message: &Message<'_>, caller: &Caller) -> Result<Reply, Fault> {
        let asked = message
            .params
            .protocol_version
            .and_then(schema::text)
            .ok_or_else(|| Fault::params("`protocolVersion` must be a date."))?;
        let revision = Revision::negotiate(&asked);
        let session = self
            .sessions
            .lock()
            .open(&caller.name, revision, Instant::now())
            .map_err(|error| {
                Fault::new(
                    Code::Internal,
                    format!("No session can be opened: {error}."),
                )
            })?;
        let client: String = message
            .params
            .client_info
            .map(|info| info.get().chars().take(200).collect())
            .unwrap_or_default();
        tracing::debug!(caller = %caller.name, revision = revision.as_str(), ?client, "an MCP session was opened");
        let mut answer = Answer::open(id, revision, 512);
        answer.field("protocolVersion", &revision.as_str());
        answer.raw("capabilities", r#"{"tools":{},"logging":{}}"#);
        answer.field("serverInfo", &self.info);
        answer.field("instructions", &self.instructions);
        Ok(Reply {
            session: Some(session),
            ..Reply::json(answer.close(revision, &self.meta))
        })
    }

    fn discover(&self, request: &Request<'_>) -> Vec<u8> {
        let mut answer = Answer::open(request.id, request.revision, 512);
        let spoken = Revision::SPOKEN.map(Revision::as_str);
        answer.field("supportedVersions", &spoken);
        answer.raw("capabilities", r#"{"tools":{}}"#);
        answer.field("instructions", &self.instructions);
        answer.field("ttlMs", &DISCOVER_CACHE_MS);
        answer.raw("cacheScope", "\"private\"");
        answer.close(request.revision, &self.meta)
    }

    fn nothing(&self, request: &Request<'_>) -> Vec<u8> {
        Answer::open(request.id, request.revision, 0).close(request.revision, &self.meta)
    }

    /// `logging/setLevel`: legal and without effect, since no log messages are sent to clients.
    fn set_log_level(&self, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
        const LEVELS: [&str; 8] = [
            "debug",
            "info",
            "notice",
            "warning",
            "error",
            "critical",
            "alert",
            "emergency",
        ];
        let level = request.message.params.level.and_then(schema::text);
        if level.is_some_and(|level| LEVELS.contains(&&*level)) {
            Ok(self.nothing(request))
        } else {
            Err(Fault::params(format!(
                "`level` must be one of {}.",
                LEVELS.join(", ")
            )))
        }
    }

    /// `subscriptions/listen`: a stream that acknowledges what it serves. No capability that changes is declared, so it serves no
    /// event yet, and says so.
    fn listen(&self, request: &Request<'_>) -> Result<Reply, Fault> {
        if !request
            .message
            .params
            .notifications
            .is_some_and(schema::is_object)
        {
            return Err(Fault::params("`notifications` must be an object."));
        }
        let meta = format!(
            r#"{{"io.modelcontextprotocol/subscriptionId":{}}}"#,
            request.id
        );
        let opening = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{{}},"_meta":{meta}}}}}"#
        );
        let closing =
            Answer::open(request.id, request.revision, 128).close(request.revision, &meta);
        let course = Course {
            opening: Some(opening.into_bytes()),
            closing: Some(closing),
            ended: self.closing.child_token(),
            session: None,
        };
        self.stream(request.caller, course, true)
    }

    /// The stream of a session (GET). A second one replaces the first. It carries no event yet.
    #[must_use]
    pub fn open_stream(&self, routing: &Routing<'_>, caller: &Caller) -> Reply {
        let opened = self.session(routing, caller).and_then(|(id, _)| {
            let ended = self.closing.child_token();
            let course = Course {
                ended: ended.clone(),
                session: Some(OfSession {
                    sessions: Arc::clone(&self.sessions),
                    id,
                    ended: ended.clone(),
                }),
                ..Course::default()
            };
            let reply = self.stream(caller, course, false)?;
            self.sessions.lock().attach(id, ended);
            Ok(reply)
        });
        opened.unwrap_or_else(|fault| Reply::fault(&fault, None))
    }

    /// Ends a session (DELETE).
    #[must_use]
    pub fn end_session(&self, routing: &Routing<'_>, caller: &Caller) -> Reply {
        match routing.session.text() {
            None => Reply::fault(&missing_session(), None),
            Some(id) if self.sessions.lock().end(id, &caller.name) => Reply::empty(204),
            Some(_) => Reply::fault(&Fault::unknown_session(), None),
        }
    }

    fn stream(&self, caller: &Caller, course: Course, is_modern: bool) -> Result<Reply, Fault> {
        match self.streams.open(&caller.name, course) {
            Ok(events) => Ok(Reply::events(events)),
            Err(Full::Caller) => Err(Fault::busy(
                429,
                "This API key has too many event streams open.",
                is_modern,
            )),
            Err(Full::Total) => Err(Fault::busy(
                503,
                "Too many event streams are open.",
                is_modern,
            )),
        }
    }

    /// The session that a request names.
    fn session(
        &self,
        routing: &Routing<'_>,
        caller: &Caller,
    ) -> Result<(SessionId, Revision), Fault> {
        // What was agreed counts, not the header. A header that names no revision at all is a client that lost its way.
        let is_strange = match routing.version {
            Field::Absent => false,
            Field::One(_) => routing.version.text().and_then(Revision::parse).is_none(),
            Field::Unusable => true,
        };
        if is_strange {
            return Err(invalid(
                "The header MCP-Protocol-Version names no revision that is spoken here.",
            ));
        }
        let id = routing.session.text().ok_or_else(missing_session)?;
        let mut sessions = self.sessions.lock();
        sessions
            .find(id, &caller.name, Instant::now())
            .ok_or_else(Fault::unknown_session)
    }
}

fn legacy_method(message: &Message<'_>, revision: Revision) -> Result<Method, Fault> {
    Method::parse(&message.method)
        .filter(|method| revision.has(*method))
        .ok_or_else(|| Fault::method_not_found(&message.method, false))
}

fn invalid(message: &str) -> Fault {
    Fault::new(Code::InvalidRequest, message).with_status(400)
}

fn not_asked() -> Fault {
    invalid("This revision has no requests from the server, so there is nothing to respond to.")
}

fn missing_session() -> Fault {
    invalid(
        "The header Mcp-Session-Id is missing. Send `initialize` first and repeat the id of its answer, or send the metadata of revision 2026-07-28 with each request.",
    )
}
