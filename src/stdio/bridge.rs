//! A bridge: a host that talks to a program on one side, a box on the LAN on the other. It decides nothing and remembers only what it
//! needs to open a session again that the box has forgotten.
//!
//! One task owns the state; each message travels in a task of its own and reports back. Requests overtake each other as they do on
//! HTTP; whatever has no answer is brought to the box before the next line is read, so that the order of what was said is kept.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::codec::FramedRead;

use super::carry::{Carrier, Met, Parcel, SessionKey, StreamEnd};
use super::client::{Client, Field};
use super::fault::Fault;
use super::lines::{Line, LineFraming};
use super::session::{self, Memory};
use crate::base::shutdown::Stop;
use crate::limits::{BRIDGE_QUEUE_MAX, BRIDGE_REQUESTS_MAX, LINE_MAX_BYTES};
use crate::mcp::{Code, Outline, Sort, error_json};

/// How long answers are waited for after the last message of the client. Hosts give a program two seconds before they end it.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// How long the end of the session and the last lines may take.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// The pause before a session is opened anew that only its stream misses.
const FORGOTTEN_PAUSE: Duration = Duration::from_secs(1);

/// The pause before a session that nobody asks anything of is opened anew once more.
const REOPEN_PAUSE: Duration = Duration::from_secs(10);

/// A bridge between a client on standard input and output and a box.
#[derive(Debug)]
pub struct Bridge {
    carrier: Carrier,
    lines: mpsc::Receiver<Bytes>,
}

impl Bridge {
    /// A bridge to a box.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let (to_client, lines) = mpsc::channel(BRIDGE_QUEUE_MAX);
        Self {
            carrier: Carrier::new(client, to_client),
            lines,
        }
    }

    /// Carries messages until the input ends, the output is closed, or `stop`.
    pub async fn run<R, W>(self, input: R, output: W, stop: Stop)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut writer = pin!(write_lines(self.lines, output));
        let mut work = Work::new(self.carrier);
        let mut input = FramedRead::new(input, LineFraming::new(LINE_MAX_BYTES));
        let mut is_closed = false;
        let has_ended = tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = &mut writer => {
                is_closed = true;
                false
            }
            () = work.serve(&mut input) => true,
        };
        if has_ended {
            work.drop_streams();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = &mut writer => is_closed = true,
                _drained = timeout(DRAIN_WAIT, work.drain()) => {}
            }
        }
        work.end().await;
        if !is_closed {
            let _written = timeout(GOODBYE_WAIT, writer).await;
        }
    }
}

/// Writes each line as soon as it is there.
async fn write_lines<W: AsyncWrite + Unpin>(mut lines: mpsc::Receiver<Bytes>, mut output: W) {
    while let Some(line) = lines.recv().await {
        let written = async {
            output.write_all(&line).await?;
            output.flush().await
        };
        if let Err(fault) = written.await {
            tracing::debug!("standard output is closed: {fault}");
            return;
        }
    }
}

/// How things stand with the session of an older client.
#[derive(Debug)]
enum State {
    /// There is none, or the box has forgotten it.
    Closed,
    /// It is being opened anew.
    Opening,
    /// It is open.
    Open(SessionKey),
}

/// What a task reports.
#[derive(Debug)]
enum News {
    /// A message was brought to the box, in the session with this number.
    Carried(Parcel, u32, Result<Met, Fault>),
    /// `initialize` was answered.
    Opened(Parcel, Result<(Met, Option<String>), Fault>),
    /// The session was opened anew.
    Reopened(Result<SessionKey, Fault>),
    /// The stream of the session with this number ended.
    StreamEnded(u32, StreamEnd),
    /// It is time to try again.
    PauseOver,
    /// Nothing.
    Nothing,
}

/// A message that is being carried.
#[derive(Debug)]
struct Load {
    /// The id of the request.
    id: Option<Arc<str>>,
    is_modern: bool,
    /// It never ends by itself.
    is_stream: bool,
    /// The next line waits for it.
    holds_up: bool,
}

/// What is under way.
#[derive(Debug)]
struct Work {
    carrier: Carrier,
    tasks: JoinSet<News>,
    running: HashMap<Id, (Load, AbortHandle)>,
    memory: Option<Memory>,
    state: State,
    /// Counts the sessions, so that late news of an earlier one is known as such.
    number: u32,
    /// Messages that wait for the session.
    waiting: Vec<Parcel>,
    /// The stream of the session.
    following: Option<AbortHandle>,
}

impl Work {
    fn new(carrier: Carrier) -> Self {
        Self {
            carrier,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            memory: None,
            state: State::Closed,
            number: 0,
            waiting: Vec::new(),
            following: None,
        }
    }

    /// Takes line after line until the input ends.
    async fn serve<R: AsyncRead + Unpin>(&mut self, input: &mut FramedRead<R, LineFraming>) {
        loop {
            let can_read = self.can_read();
            tokio::select! {
                biased;
                Some(news) = self.tasks.join_next_with_id() => self.hear(news).await,
                line = input.next(), if can_read => match line {
                    Some(Ok(line)) => self.take(line).await,
                    Some(Err(fault)) => {
                        tracing::warn!("Standard input cannot be read: {fault}");
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    /// Whether nothing is under way that the next message could overtake.
    fn can_read(&self) -> bool {
        !self.running.values().any(|(load, _)| load.holds_up)
            && self.waiting.iter().all(|parcel| parcel.wants_answer)
    }

    /// Takes a line from the client.
    async fn take(&mut self, line: Line) {
        let Line::Whole(line) = line else {
            let message = format!(
                "The message is too long: at most {} MiB is taken on a line.",
                LINE_MAX_BYTES >> 20
            );
            let error = error_json(
                Code::InvalidRequest,
                &message,
                &serde_json::Value::Null,
                None,
            );
            return self.carrier.tell(&error).await;
        };
        let parcel = match Outline::of(&line) {
            Err(answer) => return self.carrier.tell(&answer).await,
            Ok(outline) => Parcel {
                id: match outline.sort {
                    Sort::Request(id) => Some(Arc::from(id)),
                    Sort::Notification | Sort::Response(_) | Sort::Batch => None,
                },
                wants_answer: matches!(outline.sort, Sort::Request(_) | Sort::Batch),
                uri: outline.uri.as_deref().map(Box::from),
                cancels: outline.cancels.map(Box::from),
                modern: outline.is_modern.then(|| modern_fields(&outline)),
                method: outline.method.as_ref().into(),
                was_turned_away: false,
                line: line.clone(),
            },
        };
        if &*parcel.method == "notifications/cancelled" && self.cancel(&parcel) {
            return;
        }
        if parcel.wants_answer && self.running.len() + self.waiting.len() >= BRIDGE_REQUESTS_MAX {
            return self.carrier.refuse(&parcel, &Fault::Busy).await;
        }
        self.dispatch(parcel);
    }

    fn dispatch(&mut self, parcel: Parcel) {
        if parcel.modern.is_some() {
            return self.send(parcel, None);
        }
        if &*parcel.method == "initialize" {
            return self.open(parcel);
        }
        if let Some(memory) = &mut self.memory {
            memory.note(&parcel);
        }
        match (&self.state, &self.memory) {
            (State::Open(session), _) => {
                let session = session.clone();
                self.send(parcel, Some(session));
            }
            (State::Opening, _) => self.waiting.push(parcel),
            (State::Closed, Some(_)) => {
                self.waiting.push(parcel);
                self.reopen();
            }
            // The box says best what is missing.
            (State::Closed, None) => self.send(parcel, None),
        }
    }

    fn send(&mut self, parcel: Parcel, session: Option<SessionKey>) {
        let (carrier, number) = (self.carrier.clone(), self.number);
        self.spawn(Load::of(&parcel), async move {
            let came = carrier.carry(&parcel, session.as_ref()).await;
            if let Ok((Met::Answer(answer), _)) = &came
                && parcel.wants_answer
            {
                carrier.tell(answer).await;
            }
            News::Carried(parcel, number, came.map(|(met, _)| met))
        });
    }

    /// Opens the session that the client asks for; one before it ends.
    fn open(&mut self, parcel: Parcel) {
        self.forget_session();
        let carrier = self.carrier.clone();
        let load = Load {
            holds_up: true,
            ..Load::of(&parcel)
        };
        self.spawn(load, async move {
            let came = carrier.carry(&parcel, None).await;
            News::Opened(parcel, came)
        });
    }

    fn forget_session(&mut self) {
        self.stop_following();
        self.memory = None;
        if let State::Open(session) = std::mem::replace(&mut self.state, State::Closed) {
            let carrier = self.carrier.clone();
            self.start(async move {
                carrier.end(&session).await;
                News::Nothing
            });
        }
    }

    /// Opens the session anew, unless that is under way.
    fn reopen(&mut self) {
        let Some(memory) = self.memory.clone() else {
            return;
        };
        self.stop_following();
        self.state = State::Opening;
        let carrier = self.carrier.clone();
        self.start(async move {
            let reopened = memory.open_again(&carrier).await;
            if reopened.is_ok() {
                memory.tell_what_may_have_changed(&carrier).await;
            }
            News::Reopened(reopened)
        });
    }

    /// Starts a task. All are of one type, or each kind would be compiled with a runtime of its own around it.
    fn start(&mut self, task: impl Future<Output = News> + Send + 'static) -> AbortHandle {
        let task: BoxFuture<'static, News> = Box::pin(task);
        self.tasks.spawn(task)
    }

    fn spawn(&mut self, load: Load, task: impl Future<Output = News> + Send + 'static) {
        let task = self.start(task);
        self.running.insert(task.id(), (load, task));
    }

    async fn hear(&mut self, news: Result<(Id, News), JoinError>) {
        let (id, news) = match news {
            Ok((id, news)) => (id, news),
            Err(fault) if fault.is_panic() => std::panic::resume_unwind(fault.into_panic()),
            Err(cancelled) => (cancelled.id(), News::Nothing),
        };
        self.running.remove(&id);
        match news {
            News::Carried(parcel, number, carried) => self.carried(parcel, number, carried).await,
            News::Opened(parcel, carried) => self.opened(parcel, carried).await,
            News::Reopened(reopened) => self.reopened(reopened).await,
            News::StreamEnded(number, StreamEnd::NoSession) if number == self.number => {
                self.is_forgotten(number);
                self.reopen_soon(FORGOTTEN_PAUSE);
            }
            News::PauseOver => {
                if matches!(self.state, State::Closed) {
                    self.reopen();
                }
            }
            News::StreamEnded(..) | News::Nothing => {}
        }
    }

    async fn carried(&mut self, parcel: Parcel, number: u32, carried: Result<Met, Fault>) {
        match carried {
            Ok(Met::NoSession) if parcel.was_turned_away => {
                self.carrier.refuse(&parcel, &Fault::NoSession).await;
            }
            Ok(Met::NoSession) => {
                self.is_forgotten(number);
                self.dispatch(Parcel {
                    was_turned_away: true,
                    ..parcel
                });
            }
            Ok(Met::Answer(_) | Met::Taken) => {
                if &*parcel.method == "notifications/initialized" && number == self.number {
                    self.follow();
                }
            }
            Err(fault) => self.carrier.refuse(&parcel, &fault).await,
        }
    }

    /// The box does not know the session with this number. If another was opened since, that one is good.
    fn is_forgotten(&mut self, number: u32) {
        if number == self.number && matches!(self.state, State::Open(_)) {
            self.state = State::Closed;
        }
    }

    async fn opened(&mut self, parcel: Parcel, carried: Result<(Met, Option<String>), Fault>) {
        match carried {
            Ok((Met::Answer(answer), session_id)) => {
                if let Some(session) = session::opened(&answer, session_id.as_deref()) {
                    self.memory = Some(Memory::new(parcel, session.version().to_owned()));
                    self.is_open(session);
                }
                self.carrier.tell(&answer).await;
            }
            Ok((Met::Taken | Met::NoSession, _)) => {
                self.carrier.refuse(&parcel, &Fault::NoSession).await;
            }
            Err(fault) => self.carrier.refuse(&parcel, &fault).await,
        }
    }

    fn is_open(&mut self, session: SessionKey) {
        self.state = State::Open(session);
        self.number = self.number.wrapping_add(1);
    }

    async fn reopened(&mut self, reopened: Result<SessionKey, Fault>) {
        if !matches!(self.state, State::Opening) {
            // The client opened another one meanwhile.
            return;
        }
        match reopened {
            Ok(session) => {
                tracing::info!("The box had forgotten the session; it was opened anew.");
                self.is_open(session);
                if self.memory.as_ref().is_some_and(Memory::is_ready) {
                    self.follow();
                }
                for parcel in std::mem::take(&mut self.waiting) {
                    self.dispatch(parcel);
                }
            }
            Err(fault) => {
                self.state = State::Closed;
                let waiting = std::mem::take(&mut self.waiting);
                if waiting.is_empty() {
                    tracing::warn!("{fault}");
                }
                for parcel in waiting {
                    self.carrier.refuse(&parcel, &fault).await;
                }
                let hears_changes = self.memory.as_ref().is_some_and(Memory::is_ready);
                if hears_changes && fault.may_pass() {
                    self.reopen_soon(REOPEN_PAUSE);
                }
            }
        }
    }

    /// Opens the session anew after a pause, unless a message comes before.
    fn reopen_soon(&mut self, pause: Duration) {
        self.start(async move {
            sleep(pause).await;
            News::PauseOver
        });
    }

    /// Listens to the stream of the session.
    fn follow(&mut self) {
        self.stop_following();
        let State::Open(session) = &self.state else {
            return;
        };
        let (carrier, session, number) = (self.carrier.clone(), session.clone(), self.number);
        let task = self.start(async move {
            let end = carrier.follow(&session).await;
            News::StreamEnded(number, end)
        });
        self.following = Some(task);
    }

    fn stop_following(&mut self) {
        if let Some(task) = self.following.take() {
            task.abort();
        }
    }

    /// Takes a request back that the client does not want any more. True if the box need not be told.
    fn cancel(&mut self, parcel: &Parcel) -> bool {
        let Some(id) = parcel.cancels.as_deref() else {
            return false;
        };
        let before = self.waiting.len();
        self.waiting
            .retain(|parcel| parcel.id.as_deref() != Some(id));
        let mut is_done = self.waiting.len() < before;
        for (load, task) in self.running.values() {
            if load.is_modern && load.id.as_deref() == Some(id) {
                // To hang up is how a modern request is cancelled on HTTP.
                task.abort();
                is_done = true;
            }
        }
        is_done || parcel.modern.is_some()
    }

    /// Ends what would never end by itself.
    fn drop_streams(&mut self) {
        self.stop_following();
        for (_, task) in self.running.values().filter(|(load, _)| load.is_stream) {
            task.abort();
        }
    }

    /// Waits for the answers that are still to come.
    async fn drain(&mut self) {
        while !self.running.is_empty() || matches!(self.state, State::Opening) {
            let Some(news) = self.tasks.join_next_with_id().await else {
                return;
            };
            self.hear(news).await;
            self.stop_following();
        }
    }

    /// Takes leave of the box.
    async fn end(mut self) {
        self.tasks.abort_all();
        if let State::Open(session) = &self.state {
            let until = Instant::now() + GOODBYE_WAIT;
            let _ended = tokio::time::timeout_at(until, self.carrier.end(session)).await;
        }
        self.tasks.shutdown().await;
    }
}

impl Load {
    fn of(parcel: &Parcel) -> Self {
        Self {
            id: parcel.id.clone(),
            is_modern: parcel.modern.is_some(),
            is_stream: &*parcel.method == "subscriptions/listen",
            holds_up: !parcel.wants_answer,
        }
    }
}

fn modern_fields(outline: &Outline<'_>) -> Vec<Field> {
    let fields = [
        ("mcp-protocol-version", outline.version.as_deref()),
        ("mcp-method", Some(&*outline.method)),
        ("mcp-name", outline.name.as_deref()),
    ];
    let fields = fields.into_iter();
    fields
        .filter_map(|(name, value)| Field::new(name, value?))
        .collect()
}
