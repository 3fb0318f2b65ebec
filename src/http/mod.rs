//! HTTP on hyper: accepts connections within bounds, with TLS and without, lets the guard decide, routes, and drains when asked to stop.

mod auth;
mod authority;
mod body;
mod converse;
mod endpoint;
mod farewell;
mod health;
mod lasting;
mod limits;
mod messages;
mod metrics;
mod multiplexed;
mod open;
mod openapi;
mod origin;
mod places;
mod rate;
mod refusal;
mod reply;
mod resource;
mod route;
mod seats;
mod secure;
mod setup;
mod socket;
mod sse;
mod stream;
mod ticket;
mod trail;
mod visit;
mod websocket;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, Version};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use limits::Limits;
pub use origin::{OriginFault, OriginRules};
pub use route::{Access, Route};
pub use setup::{Setup, Stage, Step, StepFault};

use self::body::{Body, Room};
use self::messages::Inboxes;
use self::places::Places;
use self::refusal::{lacks_scope, refuse, turn_away, wrong_kind};
use self::resource::Metadata;
use self::seats::{Full, Seats};
use self::secure::Secure;
use self::stream::Stream;
use self::visit::Visit;
use crate::base::life::Life;
use crate::base::shutdown::Stop;
use crate::base::trace::{Trace, Traces};
use crate::guard::{Allowance, Caller, Door, Guard, Refusal};
use crate::limits::{
    AUDIT_EXPORTS_MAX, HTTP2_CONNECTIONS_MAX, PINGS_MAX, REQUESTS_PER_CALLER_MAX, SETUP_STEPS_MAX,
    UNACKNOWLEDGED_SECS, WEBSOCKETS_MAX,
};
use crate::mcp::Server;
use crate::ops::health::Source;
use crate::telemetry::metrics::Facts;
use crate::tls::Certificates;

/// Rest after the system refused to hand over a connection, most often because it is out of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The HTTP surface, shared by all connections.
pub struct Front {
    server: Arc<Server>,
    guard: Arc<Guard>,
    health: Arc<dyn Source>,
    origins: OriginRules,
    limits: Limits,
    requests: Arc<places::OfCallers>,
    bodies: Room,
    /// Where clients of HTTP+SSE post to.
    inboxes: Arc<Inboxes>,
    /// Requests of strangers whose bodies are read.
    pings: Places,
    websockets: Places,
    /// Makes ids of requests.
    traces: Traces,
    /// Whether each request gets a line in the log.
    logs_requests: bool,
    exports: Places,
    multiplexed: Places,
    answers: multiplexed::Answers,
    seats: Arc<Seats>,
    /// The certificate, where one of the ports has TLS.
    certificates: OnceLock<Arc<Certificates>>,
    /// The first start, where it is done by a page.
    setup: Option<Arc<dyn Setup>>,
    /// Steps of it that are under way.
    setups: Places,
    /// What the other parts of the box tell at a scrape.
    facts: Option<Arc<dyn Facts>>,
    /// What is told of the identity provider, if there is one.
    metadata: Option<Metadata>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("limits", &self.limits)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

/// What is spoken on a port before HTTP.
#[derive(Debug, Clone)]
enum Port {
    Plain,
    Secure(Arc<Secure>),
}

impl Front {
    /// The surface of this server, behind this guard.
    #[must_use]
    pub fn new(
        server: Arc<Server>,
        guard: Arc<Guard>,
        health: Arc<dyn Source>,
        origins: OriginRules,
        limits: Limits,
    ) -> Self {
        let metadata = guard
            .provider()
            .map(|provider| Metadata::new(provider.rules()));
        Self {
            metadata,
            facts: None,
            setup: None,
            setups: Places::new(SETUP_STEPS_MAX),
            server,
            guard,
            health,
            origins,
            limits,
            requests: places::of_callers(limits.requests, REQUESTS_PER_CALLER_MAX),
            bodies: Room::default(),
            inboxes: Arc::default(),
            pings: Places::new(PINGS_MAX),
            websockets: Places::new(WEBSOCKETS_MAX),
            traces: Traces::default(),
            logs_requests: false,
            exports: Places::new(AUDIT_EXPORTS_MAX),
            multiplexed: Places::new(HTTP2_CONNECTIONS_MAX),
            answers: multiplexed::Answers::default(),
            seats: Seats::new(limits.connections, limits.per_address),
            certificates: OnceLock::new(),
        }
    }

    /// Who decides who comes in.
    #[must_use]
    pub const fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Closes connections on which nothing was asked for so long. How many.
    #[must_use]
    pub fn cut_idle(&self, since: Duration) -> usize {
        self.seats.cut_idle(since)
    }

    /// Whoever holds this holds up the acceptors.
    #[cfg(test)]
    pub(crate) fn hold_seats(&self) -> impl Drop {
        self.seats.hold()
    }

    /// The same surface, with a line in the log for each request if `logs` says so.
    #[must_use]
    pub fn with_request_log(mut self, logs: bool) -> Self {
        self.logs_requests = logs;
        self
    }

    /// The same surface, by which the box is claimed and set up.
    #[must_use]
    pub fn with_setup(mut self, setup: Arc<dyn Setup>) -> Self {
        self.setup = Some(setup);
        self
    }

    /// The same surface, whose numbers have what these parts tell.
    #[must_use]
    pub fn with_facts(mut self, facts: Arc<dyn Facts>) -> Self {
        self.facts = Some(facts);
        self
    }

    /// Accepts connections until its life is stopped, then ends streams, lets requests finish, and waits for the changes under way; what is
    /// still open after [`Limits::drain`] is cut. A panic in a connection goes on here, so that the supervisor sees it.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        life: impl Into<Life>,
    ) -> &'static str {
        self.accept(listener, Port::Plain, life.into()).await;
        "http"
    }

    /// Does the same with TLS, HTTP/1.1 and HTTP/2.
    pub async fn serve_secure(
        self: Arc<Self>,
        listener: TcpListener,
        certificates: Arc<Certificates>,
        life: impl Into<Life>,
    ) -> &'static str {
        match Secure::new(&certificates, &self.limits) {
            Ok(secure) => {
                // Of two ports with TLS the first names the authority.
                let _first = self.certificates.set(certificates);
                self.accept(listener, Port::Secure(Arc::new(secure)), life.into())
                    .await;
            }
            Err(error) => tracing::error!(%error, "TLS cannot be set up"),
        }
        "https"
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, port: Port, life: Life) {
        let Life { stop, beat } = life;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                never = beat.answer() => match never {},
                Some(ended) = connections.join_next() => pass_on_panic(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let peer = peer.ip().to_canonical();
                        self.take(stream, peer, &port, &stop, &mut connections);
                    }
                    Err(error) => self.rest_after(&error).await,
                },
            }
        }
        drop(listener);
        self.server.close_streams();
        let drained = tokio::time::timeout(self.limits.drain, async {
            let mut tick = tokio::time::interval(crate::limits::DRAIN_TOLD_EVERY);
            tick.tick().await;
            loop {
                tokio::select! {
                    ended = connections.join_next() => match ended {
                        Some(ended) => pass_on_panic(ended),
                        None => break,
                    },
                    _ = tick.tick() => tracing::info!("Stopping: {} connections are still open.", connections.len()),
                }
            }
            self.server.finish_writes().await;
        });
        if drained.await.is_err() {
            tracing::warn!(
                open = connections.len(),
                "connections did not end in time and are cut"
            );
            connections.shutdown().await;
        }
    }

    /// Serves one connection with HTTP/1.1 until it ends or, after `stop`, its last request is answered. Not counted against the caps.
    pub async fn serve_connection<S>(self: Arc<Self>, stream: S, peer: IpAddr, stop: Stop)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        converse::converse(self, stream, peer, stop, None).await;
    }

    /// Gives a fresh connection a seat and a task, or turns it away.
    fn take(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        port: &Port,
        stop: &Stop,
        connections: &mut JoinSet<()>,
    ) {
        let seat = match self.seats.take(peer) {
            Ok(seat) => seat,
            Err(full) => {
                if matches!(port, Port::Plain) {
                    // Best effort: the socket's buffer is empty, so these few bytes fit, and nobody waits for them.
                    let _ = stream.try_write(no_place(full).as_bytes());
                }
                return;
            }
        };
        // Answers are written whole; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        // A client that lost its power says nothing, and the kernel would resend for a quarter of an hour.
        let limit = Duration::from_secs(UNACKNOWLEDGED_SECS);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(limit));
        let front = Arc::clone(self);
        let stop = stop.clone();
        match port {
            Port::Plain => connections.spawn(async move {
                converse::converse(front, Stream::Plain(stream), peer, stop, Some(seat)).await;
            }),
            Port::Secure(secure) => {
                let secure = Arc::clone(secure);
                connections.spawn(secure::converse(front, secure, stream, peer, stop, seat))
            }
        };
    }

    /// A connection that broke before it was accepted is nothing; anything else needs a pause, or this would spin.
    async fn rest_after(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset
        ) {
            return;
        }
        tracing::warn!(%error, "no connection can be accepted");
        tokio::time::sleep(ACCEPT_REST).await;
    }

    async fn respond(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let mut visit = Visit::begin(self, &request, peer);
        let mut response = self.check_and_answer(request, peer, &mut visit).await;
        visit.end(&mut response);
        response
    }

    async fn check_and_answer(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        visit: &mut Visit,
    ) -> Response<Body> {
        let route = Route::of(request.uri().path());
        if body::is_coded_twice(request.headers()) {
            let mut response = refuse(
                route,
                request.headers(),
                501,
                "The body is coded in a way that is not read here: send it with `Content-Length`, or with `Transfer-Encoding: chunked` alone.",
            );
            // What follows could be read as part of it.
            reply::close(&mut response);
            return response;
        }
        match self
            .origins
            .check(request.version(), request.uri(), request.headers())
        {
            Err(fault) => {
                let headers = request.headers();
                let mut response = match self.guard.spend_as_stranger(peer) {
                    Ok(_) => {
                        visit.refused(self, None, "ORIGIN");
                        refuse(route, headers, fault.status(), &fault.to_string())
                    }
                    Err(exceeded) => {
                        visit.asks_too_often(self, None);
                        rate::refuse(route, endpoint::version(headers), &exceeded)
                    }
                };
                // Whoever is mistaken about the host may be mistaken about where his request ends.
                if request.version() < Version::HTTP_2 {
                    reply::close(&mut response);
                }
                response
            }
            Ok(None) => self.admit_and_answer(route, request, peer, visit).await,
            Ok(Some(origin)) => {
                let origin: HeaderValue = origin.clone();
                let mut response = if request.method() == Method::OPTIONS {
                    reply::preflight()
                } else {
                    self.admit_and_answer(route, request, peer, visit).await
                };
                reply::allow_origin(&mut response, origin);
                response
            }
        }
    }

    async fn admit_and_answer(
        &self,
        route: Route,
        request: Request<Incoming>,
        peer: IpAddr,
        visit: &mut Visit,
    ) -> Response<Body> {
        let mut paid = None;
        let mut response = self.decide(route, request, peer, visit, &mut paid).await;
        if let Some(allowance) = paid
            && !response.headers().contains_key(RETRY_AFTER)
        {
            rate::tell(response.headers_mut(), &allowance);
        }
        if let Some(metadata) = &self.metadata {
            metadata.hint_at(response.headers_mut());
        }
        response
    }

    async fn decide(
        &self,
        route: Route,
        request: Request<Incoming>,
        peer: IpAddr,
        visit: &mut Visit,
        paid: &mut Option<Allowance>,
    ) -> Response<Body> {
        if let Some(shut) = setup::shut(self, route, &request) {
            return shut;
        }
        let headers = request.headers();
        let wants_detail = request.uri().query().is_some_and(|query| {
            query
                .split('&')
                .any(|part| part == "detail" || part.starts_with("detail="))
        });
        let needs_key = match route.access() {
            Access::Open => None,
            Access::OpenDetailBy(scope) => wants_detail.then_some(Some(scope)),
            Access::Key | Access::KeyAlone | Access::TokenAlone => Some(None),
            Access::KeyOrScraper(_) if self.guard.takes_scraper(peer) => None,
            Access::KeyWith(scope) | Access::KeyOrScraper(scope) => Some(Some(scope)),
        };
        let door = Door {
            headers,
            query: request.uri().query(),
            takes_ticket: route.takes_ticket(request.method()),
            speaks_mcp: route.is_mcp(),
            peer,
        };
        let caller = match needs_key.map(|scope| (scope, self.guard.admit_at(&door))) {
            // A probe that is refused has its process restarted, and the answer costs no more than the refusal.
            // Scrapers are let in by the configuration, and few.
            None if matches!(route, Route::Live | Route::Metrics) => None,
            None => {
                if let Err(exceeded) = self.guard.spend_as_stranger(peer) {
                    visit.asks_too_often(self, None);
                    return rate::refuse(route, endpoint::version(headers), &exceeded);
                }
                None
            }
            Some((_, Err(refusal))) => {
                if let Err(exceeded) = self.guard.spend_as_stranger(peer) {
                    visit.asks_too_often(self, None);
                    return rate::refuse(route, endpoint::version(headers), &exceeded);
                }
                let refused = turn_away(route, headers, &refusal);
                let may_ping = matches!(refusal, Refusal::Missing | Refusal::NoKeys)
                    && self.guard.answers_ping();
                if may_ping
                    && route == Route::Mcp
                    && request.method() == Method::POST
                    && let Some(pong) = open::ping(self, request).await
                {
                    return pong;
                }
                visit.refused(self, None, refusal.word());
                return refused;
            }
            Some((scope, Ok(caller))) => {
                visit.admitted(self, &caller);
                *paid = match self.guard.spend(&caller, 1) {
                    Ok(paid) => paid,
                    Err(exceeded) => {
                        visit.asks_too_often(self, Some(caller.role));
                        return rate::refuse(route, endpoint::version(headers), &exceeded);
                    }
                };
                if let Some(paid) = paid {
                    let metrics = self.server.metrics();
                    metrics.remaining(caller.role.as_str(), paid.left);
                }
                if let Some(scope) = scope.filter(|scope| !caller.scopes.has(*scope)) {
                    visit.refused(self, Some(scope.as_str()), "FORBIDDEN");
                    return lacks_scope(route, headers, scope);
                }
                Some(caller)
            }
        };
        if let Some(caller) = &caller
            && let Some(message) = wrong_kind(route, caller)
        {
            visit.refused(self, None, "WRONG_KIND");
            return refuse(route, headers, 403, message);
        }
        if !route.allows(request.method()) {
            return refuse(route, headers, 405, "This path does not take that verb.");
        }
        self.handle(route, request, caller, peer, visit.trace())
            .await
    }

    async fn handle(
        &self,
        route: Route,
        request: Request<Incoming>,
        caller: Option<Caller>,
        peer: IpAddr,
        trace: &Trace,
    ) -> Response<Body> {
        match (route, caller) {
            (Route::Claim | Route::SetupPage | Route::SetupStep, caller) => {
                setup::answer(self, route, request, caller.as_ref(), peer).await
            }
            (route, Some(caller)) if route.is_mcp() => {
                endpoint::answer(self, route, request, &caller, trace).await
            }
            (Route::Live | Route::Ready | Route::Health, caller) => {
                health::answer(&*self.health, route, caller.as_ref())
            }
            (Route::StatusPage, Some(caller)) => health::page(&*self.health, &caller),
            (Route::Help, Some(_)) => reply::text(200, crate::docs::TEXT),
            (Route::OpenApi, Some(_)) => openapi::answer(self.setup.is_some()),
            (Route::Metrics, _) => metrics::answer(self, &request),
            (Route::Token | Route::Refresh, Some(caller)) => {
                auth::answer(self, route, request, &caller).await
            }
            (Route::Ticket, Some(caller)) => ticket::answer(self, &caller),
            (Route::AuditLines, Some(caller)) => {
                trail::answer(self, request.uri().query(), &caller).await
            }
            (Route::Authority, _) => authority::answer(self.certificates.get().map(Arc::as_ref)),
            (Route::ResourceMetadata, _) => match &self.metadata {
                Some(metadata) => metadata.answer(),
                None => reply::text(404, resource::NO_OAUTH),
            },
            (Route::NoOauth, _) => reply::text(404, resource::NO_OAUTH),
            // A guarded route without a caller cannot come here; should a later change let it, nothing is shown.
            (
                Route::Nothing
                | Route::Mcp
                | Route::Sse
                | Route::Messages
                | Route::WebSocket
                | Route::StatusPage
                | Route::AuditLines
                | Route::Help
                | Route::OpenApi
                | Route::Token
                | Route::Refresh
                | Route::Ticket,
                _,
            ) => reply::text(404, "There is nothing here. The MCP endpoint is /mcp.\n"),
        }
    }
}

/// What a client hears for which there is no place.
const fn no_place(full: Full) -> &'static str {
    match full {
        Full::All => {
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        }
        Full::Address => {
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        }
    }
}

fn pass_on_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
