//! The way back to the client of one request, for what goes before its answer: progress, log lines, and requests of ours.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::push_json;
use super::error::Fault;
use super::line::Line;
use super::peer::{Expected, Peer};
use super::revision::Revision;
use super::schema::{self, Meta};
use crate::base::shutdown::Stop;
use crate::limits::{ASK_TIMEOUT_SECS, LOG_LINES_PER_SECOND, PROGRESS_PER_SECOND};
use crate::service::{Listener, LogLevel, Voice};

/// The way back to the client of one request. Nobody hears by [`Default`].
#[derive(Debug, Clone, Default)]
pub(super) struct Outlet(Option<Arc<Open>>);

/// Why a client did not answer a request of ours.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum AskFault {
    /// There is no way to ask this client, or none in this revision.
    #[error("this client cannot be asked here")]
    NotAvailable,
    /// Too many requests wait for this client already, or it does not read.
    #[error("too many questions wait for this client already")]
    Busy,
    /// No answer came in time.
    #[error("the client did not answer within {ASK_TIMEOUT_SECS} s")]
    TimedOut,
    /// The session ended meanwhile.
    #[error("the client is gone")]
    Gone,
    /// The client answered with an error.
    #[error("the client refused: {message} ({code})")]
    Refused {
        /// JSON-RPC code.
        code: i64,
        /// The client's words, cut to a sentence.
        message: String,
    },
}

/// What a request wants to hear before its answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Hears {
    /// The progress token as JSON, byte for byte.
    token: Option<Box<str>>,
    /// The gravest level that is left out is below this one. Sessions have theirs in [`Peer`].
    level: Option<Threshold>,
}

/// A lower bound for log lines, as MCP orders its eight levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Threshold(u8);

/// The levels of MCP, from the least to the gravest (RFC 5424, section 6.2.1).
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

impl Threshold {
    /// What a session hears that asked for nothing.
    pub(super) const INFO: Self = Self(1);

    /// Reads the name of a level.
    pub(super) fn parse(raw: Option<&RawValue>, field: &str) -> Result<Self, Fault> {
        let name = raw.and_then(schema::text);
        let position = name.and_then(|name| LEVELS.iter().position(|level| *level == name));
        position
            .and_then(|position| u8::try_from(position).ok())
            .map(Self)
            .ok_or_else(|| {
                Fault::params(format!("`{field}` must be one of {}.", LEVELS.join(", ")))
            })
    }

    /// The level as it is kept in a session.
    pub(super) const fn number(self) -> u8 {
        self.0
    }

    /// The level that was kept.
    pub(super) const fn of(number: u8) -> Self {
        Self(number)
    }

    const fn of_line(level: LogLevel) -> (Self, &'static str) {
        match level {
            LogLevel::Debug => (Self(0), "debug"),
            LogLevel::Info => (Self(1), "info"),
            LogLevel::Warning => (Self(3), "warning"),
            LogLevel::Error => (Self(4), "error"),
        }
    }
}

impl Hears {
    /// What the metadata of a request asks for.
    pub(super) fn of(meta: &Meta<'_>, revision: Revision) -> Result<Self, Fault> {
        let token = meta.progress_token.map(|raw| {
            schema::is_id(raw.get())
                .then(|| raw.get().into())
                .ok_or_else(|| Fault::params("`progressToken` must be a string or an integer."))
        });
        let level = match meta.log_level {
            Some(_) if revision.has_log_level_of_session() => None,
            None => None,
            raw => Some(Threshold::parse(raw, "io.modelcontextprotocol/logLevel")?),
        };
        Ok(Self {
            token: token.transpose()?,
            level,
        })
    }

    /// Whether it asks for nothing.
    pub(super) const fn is_nothing(&self) -> bool {
        self.token.is_none() && self.level.is_none()
    }
}

/// An outlet that somebody hears.
#[derive(Debug)]
struct Open {
    line: Arc<Line>,
    revision: Revision,
    hears: Hears,
    /// The session, in revisions that have them.
    peer: Option<Arc<Peer>>,
    /// Cancelled when the process stops: then nobody is asked any more.
    closing: Stop,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    /// The last progress that was told.
    progress: f64,
    progress_bucket: Bucket,
    log_bucket: Bucket,
}

/// Lets so many through at once and as many a second.
#[derive(Debug)]
struct Bucket {
    left: u32,
    filled: Instant,
}

impl Bucket {
    const fn full(size: u32, now: Instant) -> Self {
        Self {
            left: size,
            filled: now,
        }
    }

    fn take(&mut self, size: u32, now: Instant) -> bool {
        let each = Duration::from_secs(1) / size.max(1);
        let since = now.duration_since(self.filled).as_nanos();
        let more = u32::try_from(since / each.as_nanos().max(1)).unwrap_or(u32::MAX);
        if more >= size - self.left.min(size) {
            *self = Self::full(size, now);
        } else {
            self.left += more;
            self.filled += each * more;
        }
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

impl Outlet {
    /// An outlet to the reader of this line.
    pub(super) fn open(
        line: Arc<Line>,
        revision: Revision,
        hears: Hears,
        peer: Option<Arc<Peer>>,
        closing: Stop,
    ) -> Self {
        let now = Instant::now();
        Self(Some(Arc::new(Open {
            line,
            revision,
            hears,
            peer,
            closing,
            pace: Mutex::new(Pace {
                progress: f64::NEG_INFINITY,
                progress_bucket: Bucket::full(PROGRESS_PER_SECOND, now),
                log_bucket: Bucket::full(LOG_LINES_PER_SECOND, now),
            }),
        })))
    }

    /// Whether [`Outlet::ask`] can reach the client.
    pub(super) fn can_ask(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|open| open.peer.is_some() && open.revision.has_server_requests())
    }

    /// Sends a notification. Dropped when the client does not keep up.
    #[expect(dead_code, reason = "for handlers with notifications of their own")]
    pub(super) fn notify(&self, message: Vec<u8>) {
        if let Some(open) = &self.0 {
            open.line.offer(message);
        }
    }

    /// What a call says while it runs.
    pub(super) fn voice(&self) -> Voice {
        match &self.0 {
            Some(open) if open.hears_anything() => {
                let listener: Arc<dyn Listener> = Arc::<Open>::clone(open);
                Voice::heard_by(listener)
            }
            _ => Voice::default(),
        }
    }

    /// Sends the client a request and waits for its answer: the result as the client wrote it, which is hostile input. To drop the
    /// future takes the request back.
    pub(super) async fn ask(&self, method: &str, params: &Value) -> Result<Value, AskFault> {
        let (Some(open), true) = (&self.0, self.can_ask()) else {
            return Err(AskFault::NotAvailable);
        };
        let peer = open.peer.as_ref().ok_or(AskFault::NotAvailable)?;
        let mut expected = peer.expect_answer().ok_or(AskFault::Busy)?;
        let id = expected.id();
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        if !open.line.offer_request(request.to_string().into_bytes()) {
            return Err(AskFault::Busy);
        }
        let mut question = Question {
            line: &open.line,
            expected: &mut expected,
            is_over: false,
        };
        let limit = Duration::from_secs(ASK_TIMEOUT_SECS);
        tokio::select! {
            biased;
            answer = question.expected.answer() => {
                question.is_over = true;
                answer
            }
            () = tokio::time::sleep(limit) => Err(AskFault::TimedOut),
            () = open.closing.cancelled() => Err(AskFault::Gone),
        }
    }
}

/// A request that the client has: taken back when dropped before its answer.
struct Question<'a> {
    line: &'a Line,
    expected: &'a mut Expected,
    is_over: bool,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let notice = json!({
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": self.expected.id(), "reason": "The answer is no longer needed."},
            });
            self.line.offer(notice.to_string().into_bytes());
        }
    }
}

impl Open {
    fn hears_anything(&self) -> bool {
        !self.hears.is_nothing() || self.threshold().is_some()
    }

    fn threshold(&self) -> Option<Threshold> {
        match &self.peer {
            Some(peer) if self.revision.has_log_level_of_session() => Some(peer.log_level()),
            _ => self.hears.level,
        }
    }
}

impl Listener for Open {
    fn progress(&self, progress: f64, total: Option<f64>, message: &str) {
        let Some(token) = &self.hears.token else {
            return;
        };
        {
            let mut pace = self.pace.lock();
            // Written so that a number that is none is left out too.
            let is_rising = progress.is_finite() && progress > pace.progress;
            if !is_rising
                || !pace
                    .progress_bucket
                    .take(PROGRESS_PER_SECOND, Instant::now())
            {
                return;
            }
            pace.progress = progress;
        }
        let mut out = Vec::with_capacity(160 + token.len() + message.len());
        out.extend_from_slice(
            b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":",
        );
        out.extend_from_slice(token.as_bytes());
        out.extend_from_slice(b",\"progress\":");
        push_json(&mut out, &progress);
        if let Some(total) = total.filter(|total| total.is_finite()) {
            out.extend_from_slice(b",\"total\":");
            push_json(&mut out, &total);
        }
        if !message.is_empty() && self.revision.has_progress_messages() {
            out.extend_from_slice(b",\"message\":");
            push_json(&mut out, message);
        }
        out.extend_from_slice(b"}}");
        self.line.offer(out);
    }

    fn log(&self, level: LogLevel, text: &str) {
        let (grade, name) = Threshold::of_line(level);
        let is_wanted = self.threshold().is_some_and(|threshold| grade >= threshold);
        if !is_wanted
            || !self
                .pace
                .lock()
                .log_bucket
                .take(LOG_LINES_PER_SECOND, Instant::now())
        {
            return;
        }
        let mut out = Vec::with_capacity(120 + text.len());
        out.extend_from_slice(
            b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"",
        );
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",\"data\":");
        push_json(&mut out, text);
        out.extend_from_slice(b"}}");
        self.line.offer(out);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::limits::ASKS_PER_SESSION_MAX;
    use crate::mcp::line::Budget;
    use crate::mcp::schema::Message;
    use crate::service::Generations;

    struct Client {
        line: Arc<Line>,
        peer: Arc<Peer>,
        outlet: Outlet,
        closing: Stop,
    }

    fn client(revision: Revision) -> Client {
        let (line, closing) = (Line::of_call(&Budget::default()), Stop::new());
        let line = Arc::new(line);
        let peer = Arc::new(Peer::new(revision, None, Generations::default()));
        let session = revision.has_server_requests().then(|| Arc::clone(&peer));
        let outlet = Outlet::open(
            Arc::clone(&line),
            revision,
            Hears::default(),
            session,
            closing.clone(),
        );
        Client {
            line,
            peer,
            outlet,
            closing,
        }
    }

    impl Client {
        async fn read(&self) -> Value {
            let message = poll_fn(|context| self.line.poll_next(context)).await;
            serde_json::from_slice(&message.unwrap()).unwrap()
        }

        fn respond(&self, message: &Value) {
            let text = message.to_string();
            let message = Message::parse(text.as_bytes()).unwrap();
            self.peer.answered(&message.response);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_finds_the_question_with_its_id_and_others_find_nobody() {
        let client = client(Revision::R2025_06_18);
        let params = json!({"message": "Sure?"});
        let asking = client.outlet.ask("elicitation/create", &params);
        let answering = async {
            let request = client.read().await;
            assert_eq!(request["method"], "elicitation/create");
            assert_eq!(request["params"], params);
            let id = request["id"].as_u64().unwrap();
            for stray in [json!(id + 1), json!(id.to_string()), json!(null)] {
                client.respond(
                    &json!({"jsonrpc": "2.0", "id": stray, "result": {"action": "decline"}}),
                );
            }
            client.respond(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}}));
            client.respond(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "cancel"}}));
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer, Ok(json!({"action": "accept"})));
        assert!(client.line.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_client_is_told_and_cut() {
        let client = client(Revision::R2025_11_25);
        let params = json!({});
        let asking = client.outlet.ask("roots/list", &params);
        let answering = async {
            let id = client.read().await["id"].clone();
            client.respond(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "x".repeat(5000)}}));
        };
        match tokio::join!(asking, answering).0 {
            Err(AskFault::Refused { code: -1, message }) => assert_eq!(message.len(), 200),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_ends_in_time_and_is_taken_back() {
        let client = client(Revision::R2025_11_25);
        let params = json!({});
        let started = Instant::now();
        let answer = client.outlet.ask("roots/list", &params).await;
        assert_eq!(answer, Err(AskFault::TimedOut));
        assert_eq!(started.elapsed(), Duration::from_secs(ASK_TIMEOUT_SECS));
        let id = client.read().await["id"].clone();
        let notice = client.read().await;
        assert_eq!(notice["method"], "notifications/cancelled");
        assert_eq!(notice["params"]["requestId"], id);
        client.closing.cancel();
        let answer = client.outlet.ask("roots/list", &params).await;
        assert_eq!(answer, Err(AskFault::Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_bounded_and_not_put_where_nobody_can_answer() {
        let params = json!({});
        let modern = client(Revision::R2026_07_28);
        for outlet in [&modern.outlet, &Outlet::default()] {
            let answer = outlet.ask("roots/list", &params).await;
            assert_eq!(answer, Err(AskFault::NotAvailable));
        }
        let client = client(Revision::R2024_11_05);
        let open: Vec<_> = (0..ASKS_PER_SESSION_MAX)
            .map(|_| client.peer.expect_answer().unwrap())
            .collect();
        let answer = client.outlet.ask("roots/list", &params).await;
        assert_eq!(answer, Err(AskFault::Busy));
        drop(open);
        assert!(client.peer.expect_answer().is_some());
    }

    #[test]
    fn a_bucket_lets_through_its_size_at_once_and_as_many_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, start);
        let mut through = |ms: u64| bucket.take(10, start + Duration::from_millis(ms));
        assert_eq!((0..20).filter(|_| through(0)).count(), 10);
        assert_eq!((0..1000).filter(|ms| through(*ms)).count(), 9);
        assert_eq!((5000..5001).filter(|ms| through(*ms)).count(), 1);
        assert_eq!((0..20).filter(|_| through(5001)).count(), 9);
    }
}
