//! The protocol: which request means what, in which revision, and how it is answered. It knows nothing of Q-SYS and nothing of
//! sockets; tools come from the registry, bytes come from a transport.

mod answer;
mod ask;
mod attend;
mod batch;
mod berth;
mod call;
mod completion;
mod connection;
mod content;
mod error;
mod feed;
mod heading;
mod hub;
mod ladder;
mod line;
mod listen;
mod load;
mod offers;
mod outlet;
mod outline;
mod page;
mod param_headers;
mod peer;
mod places;
mod prompts;
mod replay;
mod reply;
mod resources;
mod revision;
mod schema;
mod seal;
mod session;
mod stream;
mod tasks;
mod tools;
mod trail;
mod welcome;

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use connection::{Connection, Outgoing, Overrun};
pub use error::{Code, error_json};
pub use ladder::{Field, Routing};
pub use load::Load;
pub use outline::{Outline, Sort};
pub use param_headers::ParamHeaders;
pub use reply::{Post, Reply, ReplyBody};
pub use revision::Revision;
pub use schema::Method;
pub use session::SessionId;
pub use stream::{Event, EventId, EventStream};

use self::answer::Answer;
use self::attend::Work;
use self::berth::Berths;
use self::error::Fault;
use self::heading::{Heading, legacy_heading};
use self::hub::Hub;
use self::ladder::Era;
use self::line::Budget;
use self::offers::Offers;
use self::outlet::{Hears, Outlet, Threshold};
use self::param_headers::DeclaredHeaders;
use self::peer::Peer;
use self::places::{Capacity, Places};
use self::replay::Shelf;
use self::schema::{Kind, Message};
use self::seal::Seal;
use self::session::Sessions;
use self::trail::Trail;
use crate::audit::Audit;
use crate::base::shutdown::Stop;
use crate::base::trace::{TraceParent, Traces};
use crate::guard::Caller;
use crate::limits::{
    ATTENDED_BYTES_MAX, ATTENDED_MAX, ATTENDED_PER_CALLER_MAX, LIST_PAGE, WRITES_PER_CALLER_MAX,
    WRITES_RUNNING_MAX,
};
use crate::ops::pressure::Gauge;
use crate::service::{Abilities, Registry, RegistryError, Service};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::{self, Spans};

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

/// A request on its way to its handler. Handlers ask the revision for traits, never for its date.
struct Request<'a> {
    id: &'a str,
    revision: Revision,
    message: &'a Message<'a>,
    caller: &'a Caller,
    /// What the client can be asked: by [`Outlet::ask`] where the revision has requests of the server, else by a result that asks.
    abilities: Abilities,
    /// The session, in revisions that have them.
    peer: Option<&'a Arc<Peer>>,
    /// The way back to the client for what goes before the answer.
    outlet: &'a Outlet,
    /// Its ids.
    trail: &'a Trail,
}

/// The MCP server, shared by all transports.
#[derive(Debug)]
pub struct Server {
    registry: Registry,
    listings: Vec<tools::Listing>,
    param_headers: DeclaredHeaders,
    offers: Offers,
    /// Entries on one page of a list.
    page: usize,
    info: Value,
    instructions: String,
    /// `_meta` of every result of a revision that marks its results.
    meta: String,
    /// For what clients carry between two rounds of a call. Nothing if the system has no randomness.
    seal: Result<Seal, getrandom::Error>,
    tasks: Arc<tasks::Table>,
    /// What is on record of calls.
    audit: Audit,
    /// Makes ids of messages.
    traces: Traces,
    /// Decides which of them are traced.
    spans: Arc<Spans>,
    sessions: Arc<Mutex<Sessions>>,
    /// Who wants to hear of changes.
    hub: Arc<Hub>,
    /// What waits on all lines together.
    lines: Budget,
    /// What is kept of streams that can be taken up again.
    shelf: Arc<Shelf>,
    streams: Arc<Berths>,
    /// How short memory is.
    gauge: Gauge,
    attended: Arc<Places>,
    /// Places for [`Server::writes`].
    writing: Arc<Places>,
    /// Cancelled when all streams shall end.
    closing: Stop,
    metrics: Arc<Metrics>,
    /// Calls that change something; they finish even if their client went away.
    writes: TaskTracker,
    /// Calls that speak before their answer, or whose client went away and did not take them back.
    calls: TaskTracker,
    /// What a call of [`Server::calls`] panicked with.
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
    has_panicked: Notify,
}

impl Server {
    /// A server that offers what these services have.
    ///
    /// # Errors
    /// The services contradict each other, or a schema is wrong: faults of the program.
    pub fn new(services: &[Arc<dyn Service>], info: ServerInfo) -> Result<Self, RegistryError> {
        let registry = Registry::new(services)?;
        let (tasks, hub) = (Arc::<tasks::Table>::default(), Arc::<Hub>::default());
        hub.set_task_source(Arc::<tasks::Table>::clone(&tasks));
        let named = json!({"name": info.name, "title": info.title, "version": info.version});
        Ok(Self {
            listings: tools::Listing::all(&registry),
            param_headers: DeclaredHeaders::of(&registry)?,
            offers: Offers::of(&registry),
            registry,
            page: LIST_PAGE,
            meta: json!({"io.modelcontextprotocol/serverInfo": named}).to_string(),
            info: named,
            instructions: info.instructions,
            seal: Seal::new(),
            tasks,
            audit: Audit::default(),
            traces: Traces::default(),
            spans: Arc::clone(spans::of_process()),
            sessions: Arc::default(),
            hub,
            lines: Budget::default(),
            shelf: Arc::default(),
            streams: Berths::new(Gauge::default()),
            gauge: Gauge::default(),
            attended: Places::new(Capacity {
                total: ATTENDED_MAX,
                per_caller: ATTENDED_PER_CALLER_MAX,
                bytes: ATTENDED_BYTES_MAX,
            }),
            writing: Places::new(Capacity {
                total: WRITES_RUNNING_MAX,
                per_caller: WRITES_PER_CALLER_MAX,
                bytes: usize::MAX,
            }),
            closing: Stop::new(),
            metrics: Arc::default(),
            writes: TaskTracker::new(),
            calls: TaskTracker::new(),
            panicked: Mutex::default(),
            has_panicked: Notify::new(),
        })
    }

    /// The same server with another length of pages.
    #[must_use]
    pub fn with_page(mut self, entries: usize) -> Self {
        self.page = entries.max(1);
        self
    }

    /// Ends all event streams in good order.
    pub fn close_streams(&self) {
        self.closing.cancel();
        self.hub.close();
    }

    /// Waits until no call that changes something is under way. Called once no new ones can come.
    pub async fn finish_writes(&self) {
        self.calls.close();
        self.calls.wait().await;
        self.writes.close();
        self.writes.wait().await;
    }

    /// What the server does beside answering, until `stop`: it looks for changes that somebody wants to hear of. Its owner spawns this
    /// once. A panic of a call that nobody waits for goes on here, so that the supervisor sees it.
    pub async fn keep(self: Arc<Self>, stop: Stop) -> &'static str {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.has_panicked.notified() => {
                if let Some(panic) = self.panicked.lock().take() {
                    std::panic::resume_unwind(panic);
                }
            }
            () = self.hub.watch(&self.registry) => {}
        }
        "mcp"
    }

    /// The work of a task that nobody joins: should it panic, [`Server::keep`] tells.
    fn watched<F>(self: &Arc<Self>, work: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send,
    {
        let server = Arc::clone(self);
        async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                *server.panicked.lock() = Some(panic);
                server.has_panicked.notify_one();
            }
        }
    }

    /// Answers a posted message. To drop the future means that the client went away.
    pub async fn post(self: &Arc<Self>, post: Post<'_>) -> Reply {
        if batch::is_batch(post.body) {
            let answer = batch::answer(self, &post).await;
            return answer.unwrap_or_else(|fault| Reply::fault(&fault, None));
        }
        let message = match Message::parse(post.body) {
            Ok(message) => message,
            Err(malformed) => {
                let fault = Fault::malformed(malformed);
                self.metrics
                    .request("other", Some(fault.code.word()), Duration::ZERO);
                return Reply::fault(&fault, None);
            }
        };
        let id = match message.kind {
            Kind::Request(id) => Some(id),
            Kind::Notification | Kind::Response => None,
        };
        let mut trace = None;
        let reply = match self.dispatch(&post, &message, &mut trace).await {
            Ok(reply) => reply,
            Err(fault) => Reply::fault(&fault, id),
        };
        Reply { trace, ..reply }
    }

    async fn dispatch(
        self: &Arc<Self>,
        post: &Post<'_>,
        message: &Message<'_>,
        trace: &mut Option<Box<TraceParent>>,
    ) -> Result<Reply, Fault> {
        let heading = match self.understand(post, message) {
            Ok(Understood::Answered(reply)) => return Ok(reply),
            Ok(Understood::Request(heading)) => heading,
            Err(fault) => {
                let error = Some(fault.code.word());
                self.metrics.request("other", error, Duration::ZERO);
                return Err(fault);
            }
        };
        let parent = heading.trail.trace.parent;
        let is_news = post.trace.is_some_and(|given| given.parent != parent);
        *trace = is_news.then(|| Box::new(parent));
        if attend::may_speak(post, &heading) {
            let running = attend::runs(&heading)?;
            let work = Work::One(heading.into_owned(), running);
            return self.attend(post, work).await;
        }
        let request = Request {
            id: &heading.id,
            revision: heading.revision,
            message,
            caller: post.caller,
            abilities: heading.abilities,
            peer: heading.peer.as_ref(),
            outlet: &Outlet::default(),
            trail: &heading.trail,
        };
        if heading.method == Method::Listen {
            if !post.accepts_events {
                let code = Code::of_refusal(406, Some(heading.revision.as_str()));
                let fault = Fault::new(
                    code,
                    "This is answered by a stream: accept `text/event-stream`.",
                );
                return Err(fault.with_status(406));
            }
            let reading = listen::open(self, &request)?;
            return Ok(Reply::events(EventStream::of_feed(reading)));
        }
        self.answer(&request, heading.method).await.map(Reply::json)
    }

    /// Finds out what a message is. All but requests are answered at once.
    fn understand<'a>(
        &self,
        post: &Post<'_>,
        message: &Message<'a>,
    ) -> Result<Understood<'a>, Fault> {
        let routing = post.routing.unwrap_or_default();
        let heading = match (ladder::era(message, routing.version), message.kind) {
            (Era::Modern, Kind::Request(id)) => {
                let trail = Trail::of(self, post.trace, &message.meta);
                self.modern_heading(id, message, post.routing.as_ref(), trail)?
            }
            (Era::Modern, Kind::Notification) => {
                return Ok(Understood::Answered(Reply::empty(202)));
            }
            (Era::Modern, Kind::Response) => return Err(not_asked()),
            (Era::Opening, Kind::Request(id)) => {
                let opened = self.initialize(id, message, post.caller)?;
                return Ok(Understood::Answered(opened));
            }
            (Era::Opening, _) => return Err(invalid("`initialize` needs an id.")),
            (Era::Legacy, kind) => {
                let (_, peer) = self.session(&routing, post.caller)?;
                match kind {
                    Kind::Request(id) => {
                        let trail = Trail::of(self, post.trace, &message.meta);
                        legacy_heading(id, message, &peer, self.offers, trail)?
                    }
                    Kind::Notification | Kind::Response => {
                        take_notice(&peer, message);
                        return Ok(Understood::Answered(Reply::empty(202)));
                    }
                }
            }
        };
        Ok(Understood::Request(heading))
    }

    /// A modern request; `routing` is `None` on transports without headers.
    fn modern_heading<'a>(
        &self,
        id: &'a str,
        message: &Message<'_>,
        routing: Option<&Routing<'_>>,
        trail: Trail,
    ) -> Result<Heading<'a>, Fault> {
        let (revision, method) = ladder::check(message, routing, self.offers)?;
        if let (Method::CallTool, Some(routing)) = (method, routing) {
            self.param_headers.check(message, routing)?;
        }
        Ok(Heading {
            id: Cow::Borrowed(id),
            revision,
            method,
            abilities: peer::abilities(message.meta.client_capabilities, revision),
            hears: Hears::of(&message.meta, revision)?,
            peer: None,
            trail,
        })
    }

    /// Answers, and counts.
    async fn answer(
        self: &Arc<Self>,
        request: &Request<'_>,
        method: Method,
    ) -> Result<Vec<u8>, Fault> {
        let began = Instant::now();
        let trace = &request.trail.trace;
        let span = spans::request(trace, method.as_str(), request.revision.as_str());
        let mut work = pin!(self.handle(request, method).instrument(span));
        let result = work.as_mut().await;
        if let Err(fault) = &result {
            spans::failed(work.span(), fault.code.word());
        }
        self.count(method, &result, began);
        result
    }

    fn count<T>(&self, method: Method, result: &Result<T, Fault>, began: Instant) {
        let error = result.as_ref().err().map(|fault| fault.code.word());
        self.metrics
            .request(method.as_str(), error, began.elapsed());
    }

    /// The table of handlers.
    async fn handle(
        self: &Arc<Self>,
        request: &Request<'_>,
        method: Method,
    ) -> Result<Vec<u8>, Fault> {
        if request.message.params.is_malformed {
            return Err(Fault::malformed_params());
        }
        match method {
            Method::CallTool => call::call(self, request).await,
            Method::ListTools => tools::list(self, request),
            Method::ListResources => resources::list(self, request),
            Method::ListTemplates => resources::list_templates(self, request),
            Method::ReadResource => resources::read(self, request).await,
            Method::ListPrompts => prompts::list(self, request),
            Method::GetPrompt => prompts::get(self, request).await,
            Method::Complete => completion::complete(self, request),
            Method::GetTask => tasks::get(self, request),
            Method::UpdateTask => tasks::update(self, request),
            Method::CancelTask => tasks::cancel(self, request),
            Method::Discover => Ok(self.discover(request)),
            Method::Ping => Ok(self.nothing(request)),
            Method::SetLogLevel => self.set_log_level(request),
            Method::Subscribe => listen::subscribe(self, request),
            Method::Unsubscribe => listen::unsubscribe(self, request),
            // Answered with a session, and with a stream: not here.
            Method::Initialize | Method::Listen => Err(Fault::method_not_found(
                &request.message.method,
                request.revision.is_modern(),
            )),
        }
    }

    /// `initialize`: opens a session.
    fn initialize(&self, id: &str, message: &Message<'_>, caller: &Caller) -> Result<Reply, Fault> {
        let peer = self.agree(message, caller)?;
        let welcome = self.welcome(id, peer.revision());
        let session = self
            .sessions
            .lock()
            .open(&caller.name, peer, Instant::now())
            .map_err(|error| {
                Fault::new(
                    Code::Internal,
                    format!("No session can be opened: {error}."),
                )
            })?;
        Ok(Reply {
            session: Some(session),
            ..Reply::json(welcome)
        })
    }

    fn nothing(&self, request: &Request<'_>) -> Vec<u8> {
        Answer::open(request.id, request.revision, 0).close(request.revision, &self.meta)
    }

    /// `logging/setLevel`: which log lines of its calls the session hears from now on.
    fn set_log_level(&self, request: &Request<'_>) -> Result<Vec<u8>, Fault> {
        let level = Threshold::parse(request.message.params.level, "level")?;
        if let Some(peer) = request.peer {
            peer.set_log_level(level);
        }
        Ok(self.nothing(request))
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

    fn seal(&self) -> Result<&Seal, Fault> {
        self.seal.as_ref().map_err(|error| {
            Fault::new(
                Code::Internal,
                format!("Nothing can be asked here: {error}."),
            )
        })
    }

    /// The session that a request names.
    fn session(
        &self,
        routing: &Routing<'_>,
        caller: &Caller,
    ) -> Result<(SessionId, Arc<Peer>), Fault> {
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
        let id = match routing.session {
            Field::Absent => return Err(missing_session()),
            Field::Unusable => {
                return Err(invalid(
                    "The header Mcp-Session-Id must be there once, as plain text.",
                ));
            }
            Field::One(_) => routing.session.text().unwrap_or_default(),
        };
        let mut sessions = self.sessions.lock();
        sessions
            .find(id, &caller.name, Instant::now())
            .ok_or_else(Fault::unknown_session)
    }
}

/// What a message turned out to be.
enum Understood<'a> {
    /// Something that is answered already.
    Answered(Reply),
    /// A request, to be answered by its handler.
    Request(Heading<'a>),
}

/// Takes a notification or a response of a session.
fn take_notice(peer: &Peer, message: &Message<'_>) {
    match (message.kind, &*message.method) {
        (Kind::Response, _) => peer.answered(&message.response),
        (Kind::Notification, "notifications/cancelled") => {
            if let Some(id) = message.params.request_id {
                peer.cancel(id.get());
            }
        }
        _ => {}
    }
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
