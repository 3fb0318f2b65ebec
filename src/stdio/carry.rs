//! How one message gets to the box and its answer back, whatever the connection does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::client::{Ask, Broken, Client, Field, Reply, SendFault};
use super::events::Events;
use super::fault::{Fault, with_id};
use super::lines::as_line;
use crate::base::backoff::{Backoff, random_unit};
use crate::limits::{BRIDGE_MESSAGE_MAX_BYTES, CALL_TIMEOUT_SECS};
use crate::mcp::{Outline, Sort};

/// How long a request may be without any answer: what the box allows a tool, and some more.
const ANSWER_WAIT: Duration = Duration::from_secs(CALL_TIMEOUT_SECS + 15);

/// How long what the box answers at once may take.
const PROMPT_WAIT: Duration = Duration::from_secs(10);

/// How often in a row a stream is resumed without anything new on it before its answer is given up.
const RESUMES_MAX: u32 = 6;

/// The pause before a stream is resumed, unless the box asks for another.
const RESUME_PAUSE: Duration = Duration::from_millis(500);

/// A message on its way to the box.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// The message.
    pub(super) line: Bytes,
    /// The id under which it wants an answer.
    pub(super) id: Option<Arc<str>>,
    /// Whether the client waits for something: it is a request, or an array of messages.
    pub(super) wants_answer: bool,
    /// The resource that it is about.
    pub(super) uri: Option<Box<str>>,
    /// The id of the request that it takes back.
    pub(super) cancels: Option<Box<str>>,
    pub(super) method: Box<str>,
    /// What a modern message needs beyond the usual headers. A legacy one needs its session.
    pub(super) modern: Option<Vec<Field>>,
    /// Whether it was sent before, in a session that the box had forgotten.
    pub(super) was_turned_away: bool,
}

impl Parcel {
    /// Whether it only looks, so that to send it twice does nothing twice.
    fn only_looks(&self) -> bool {
        matches!(
            &*self.method,
            "server/discover"
                | "ping"
                | "tools/list"
                | "prompts/list"
                | "prompts/get"
                | "resources/list"
                | "resources/templates/list"
                | "resources/read"
                | "completion/complete"
                | "tasks/get"
        )
    }

    /// The fault when the connection broke after it was sent.
    fn lost(&self) -> Fault {
        if self.only_looks() || self.method.starts_with("notifications/") {
            Fault::Lost
        } else {
            Fault::OutcomeUnknown
        }
    }

    /// Whether the box answers it at once.
    fn is_prompt(&self) -> bool {
        !self.wants_answer || &*self.method == "initialize"
    }
}

/// What a message of a session carries in its headers: the revision, and the session's name if it has one.
#[derive(Debug, Clone)]
pub(super) struct SessionKey {
    fields: Vec<Field>,
    version: String,
}

impl SessionKey {
    /// The session that an answer to `initialize` opened. `None` for texts that no header carries.
    pub(super) fn new(id: Option<&str>, version: String) -> Option<Self> {
        let mut fields = vec![Field::new("mcp-protocol-version", &version)?];
        if let Some(id) = id {
            fields.push(Field::new("mcp-session-id", id)?);
        }
        Some(Self { fields, version })
    }

    /// The revision that was agreed on.
    pub(super) fn version(&self) -> &str {
        &self.version
    }
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Met {
    /// The answer to it.
    Answer(Vec<u8>),
    /// It was taken; there is no answer to it.
    Taken,
    /// Nothing was done: the box does not know the session.
    NoSession,
}

/// Why the stream of a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The box does not know the session.
    NoSession,
    /// The box has no such stream, or not for this client.
    NotServed,
}

/// Carries messages between the box and the client.
#[derive(Debug, Clone)]
pub(super) struct Carrier {
    client: Arc<Client>,
    to_client: mpsc::Sender<Bytes>,
}

impl Carrier {
    pub(super) fn new(client: Client, to_client: mpsc::Sender<Bytes>) -> Self {
        Self {
            client: Arc::new(client),
            to_client,
        }
    }

    /// Hands a message to the client. Waits while it does not read.
    pub(super) async fn tell(&self, message: &[u8]) {
        // A client that is gone hears nothing; the bridge ends for it elsewhere.
        let _gone = self.to_client.send(as_line(message)).await;
    }

    /// Tells the client, if it waits for an answer, and the log why there is none from the box.
    pub(super) async fn refuse(&self, parcel: &Parcel, fault: &Fault) {
        tracing::warn!("{fault}");
        if parcel.wants_answer {
            self.tell(&fault.to_json(parcel.id.as_deref())).await;
        }
    }

    /// Brings a message to the box. What precedes its answer goes to the client as it comes; the answer itself is returned, with the
    /// session that it opened.
    pub(super) async fn carry(
        &self,
        parcel: &Parcel,
        session: Option<&SessionKey>,
    ) -> Result<(Met, Option<String>), Fault> {
        match self.carry_once(parcel, session).await {
            Err(Fault::Lost) if parcel.id.is_some() => self.carry_once(parcel, session).await,
            carried => carried,
        }
    }

    async fn carry_once(
        &self,
        parcel: &Parcel,
        session: Option<&SessionKey>,
    ) -> Result<(Met, Option<String>), Fault> {
        let fields = match (&parcel.modern, session) {
            (Some(modern), _) => &modern[..],
            (None, Some(session)) => &session.fields,
            (None, None) => &[],
        };
        let ask = Ask {
            verb: "POST",
            accept: "application/json, text/event-stream",
            fields,
            body: &parcel.line,
            wait: if parcel.is_prompt() {
                PROMPT_WAIT
            } else {
                ANSWER_WAIT
            },
        };
        let reply = self.client.send(ask).await.map_err(|fault| match fault {
            SendFault::NotSent(fault) => fault,
            SendFault::Sent => parcel.lost(),
        })?;
        let opened = reply.head.session.clone();
        if reply.is_events() {
            let answer = self.through_events(reply, parcel, session).await?;
            return Ok((Met::Answer(answer), opened));
        }
        let met = self.at_once(reply, parcel, session).await?;
        Ok((met, opened))
    }

    /// An answer in one piece.
    async fn at_once(
        &self,
        reply: Reply,
        parcel: &Parcel,
        session: Option<&SessionKey>,
    ) -> Result<Met, Fault> {
        let status = reply.head.status;
        let is_json = reply.is_json();
        let is_taken = matches!(status, 202 | 204) && parcel.id.is_none();
        if is_taken {
            return Ok(Met::Taken);
        }
        let no_box = || Fault::NoBox {
            address: self.client.address().clone(),
            status,
        };
        if !is_json {
            return Err(no_box());
        }
        let body = reply.whole().await.map_err(|broken| match broken {
            Broken::Cut => parcel.lost(),
            Broken::TooLong => Fault::TooLong,
        })?;
        if status == 404 && parcel.modern.is_none() && session.is_some() {
            return Ok(Met::NoSession);
        }
        let outline = Outline::of(&body).map_err(|_| no_box())?;
        match (outline.sort, outline.error) {
            (Sort::Batch | Sort::Response(Some(_)), _) => Ok(Met::Answer(body)),
            // A refusal before the message was read: it gets the id of the request that it answers.
            (Sort::Response(None), Some(error)) => {
                let refusal: Value = serde_json::from_str(error).unwrap_or_default();
                let words = refusal.get("message").and_then(Value::as_str);
                let words = words.unwrap_or_default().to_owned();
                if status == 401 {
                    let code = refusal.get("code").and_then(Value::as_i64);
                    return Err(Fault::Key {
                        words,
                        code: code.unwrap_or(401),
                    });
                }
                tracing::warn!("The box refused a message: {words}");
                Ok(Met::Answer(with_id(error, parcel.id.as_deref())))
            }
            _ => Err(no_box()),
        }
    }

    /// An answer with other messages before it. Where the box gives its events names, a stream that broke is resumed: to look for an
    /// answer does nothing twice.
    async fn through_events(
        &self,
        reply: Reply,
        parcel: &Parcel,
        session: Option<&SessionKey>,
    ) -> Result<Vec<u8>, Fault> {
        let mut events = Events::new(BRIDGE_MESSAGE_MAX_BYTES);
        let mut reply = Some(reply);
        let mut resumes = 0;
        loop {
            if let Some(mut stream) = reply.take() {
                loop {
                    while let Some(event) = events.next() {
                        resumes = 0;
                        if parcel
                            .id
                            .as_deref()
                            .is_some_and(|id| answers(&event.data, id))
                        {
                            return Ok(event.data);
                        }
                        self.pass_on(&event.data).await;
                    }
                    match stream.piece().await {
                        Ok(Some(piece)) => events.take(&piece).map_err(|_| Fault::TooLong)?,
                        Ok(None) | Err(_) => break,
                    }
                }
            }
            let (Some(session), Some(last), None) = (session, &events.last_id, &parcel.modern)
            else {
                return Err(parcel.lost());
            };
            if resumes >= RESUMES_MAX {
                return Err(parcel.lost());
            }
            resumes += 1;
            sleep(events.retry.unwrap_or(RESUME_PAUSE)).await;
            match self.ask_for_events(session, Some(last)).await {
                Ok(again) if again.is_events() => {
                    events.resume();
                    reply = Some(again);
                }
                Ok(other) if matches!(other.head.status, 429 | 503) => {}
                Ok(_) => return Err(parcel.lost()),
                Err(_) => {}
            }
        }
    }

    /// Passes on what comes on the stream of a session, for as long as there is the session.
    pub(super) async fn follow(&self, session: &SessionKey) -> StreamEnd {
        let mut events = Events::new(BRIDGE_MESSAGE_MAX_BYTES);
        let mut pauses = Backoff::new(RESUME_PAUSE, Duration::from_secs(10));
        loop {
            match self
                .ask_for_events(session, events.last_id.as_deref())
                .await
            {
                Ok(mut stream) if stream.is_events() => {
                    events.resume();
                    while let Ok(Some(piece)) = stream.piece().await {
                        pauses.reset();
                        if events.take(&piece).is_err() {
                            tracing::warn!("{}", Fault::TooLong);
                            events = Events::new(BRIDGE_MESSAGE_MAX_BYTES);
                            break;
                        }
                        while let Some(event) = events.next() {
                            self.pass_on(&event.data).await;
                        }
                    }
                }
                Ok(reply) => match reply.head.status {
                    404 => return StreamEnd::NoSession,
                    429 | 500..=599 => {}
                    status => {
                        tracing::warn!(
                            "The box has no stream of events for this client (HTTP status {status}): it hears of no changes."
                        );
                        return StreamEnd::NotServed;
                    }
                },
                Err(SendFault::NotSent(fault)) if !fault.may_pass() => {
                    tracing::warn!("{fault}");
                    return StreamEnd::NotServed;
                }
                Err(_) => {}
            }
            let least = events.retry.unwrap_or_default();
            sleep(least + pauses.next_delay(random_unit())).await;
        }
    }

    async fn ask_for_events(
        &self,
        session: &SessionKey,
        last_event: Option<&str>,
    ) -> Result<Reply, SendFault> {
        let mut fields = session.fields.clone();
        fields.extend(last_event.and_then(|id| Field::new("last-event-id", id)));
        let ask = Ask {
            verb: "GET",
            accept: "text/event-stream",
            fields: &fields,
            body: &[],
            wait: PROMPT_WAIT,
        };
        self.client.send(ask).await
    }

    /// Ends a session. If that fails, the box ends it when it was idle for long enough.
    pub(super) async fn end(&self, session: &SessionKey) {
        let ask = Ask {
            verb: "DELETE",
            accept: "application/json",
            fields: &session.fields,
            body: &[],
            wait: PROMPT_WAIT,
        };
        if let Err(fault) = self.client.send(ask).await {
            tracing::debug!("the session could not be ended: {fault:?}");
        }
    }

    async fn pass_on(&self, message: &[u8]) {
        if Outline::of(message).is_ok() {
            self.tell(message).await;
        } else {
            tracing::warn!("The box sent an event that is no message; it is left out.");
        }
    }
}

/// Whether a message is the answer to the request with this id.
fn answers(message: &[u8], id: &str) -> bool {
    Outline::of(message).is_ok_and(|outline| outline.sort == Sort::Response(Some(id)))
}
