//! Where tasks stand: bounded per caller and in total, each for a time that its client knows. Nothing runs here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::ask;
use super::super::error::{Code, Fault};
use super::super::hub::TaskSource;
use crate::base::clock::UnixMillis;
use crate::base::shutdown::Stop;
use crate::limits::{
    TASK_POLL_MS, TASK_TTL_SECS, TASKS_BYTES_MAX, TASKS_MAX, TASKS_PER_CALLER_MAX,
};
use crate::service::{Question, QuestionKind};

const TTL: Duration = Duration::from_secs(TASK_TTL_SECS);

/// The name of a task: 128 random bits. It is no credential: each use is checked against the caller too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::mcp) struct TaskId([u8; 16]);

impl TaskId {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads a name as clients send it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 16];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Why no task can be made, or nothing be added to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are too many, or they take too much memory.
    Tasks,
    /// The system has no randomness.
    NoName,
}

/// What a task came to.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// The call has a result, be it a fault of the tool.
    Completed(Box<RawValue>),
    /// The protocol failed: a JSON-RPC error.
    Failed(Box<RawValue>),
    /// Its client took it back.
    Cancelled,
}

/// How a task stands.
#[derive(Debug)]
enum Status {
    Working,
    InputRequired(Inputs),
    Ended(End),
}

/// What a task waits for.
#[derive(Debug, Default)]
struct Inputs {
    /// Questions without an answer, under the name that the client sees.
    open: Vec<Open>,
    /// Answers by the service's own key.
    given: Map<String, Value>,
}

#[derive(Debug)]
struct Open {
    name: String,
    key: String,
    kind: QuestionKind,
    params: Value,
}

#[derive(Debug)]
struct Task {
    owner: Arc<str>,
    created: UnixMillis,
    updated: UnixMillis,
    expires: Instant,
    status: Status,
    message: String,
    /// Memory that counts against [`TASKS_BYTES_MAX`].
    bytes: usize,
    /// Cancelled when the client takes the task back.
    stop: Stop,
    /// Told when nothing is open any more.
    is_answered: Arc<Notify>,
}

/// What whoever carries out a task needs of its entry.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    pub(super) id: TaskId,
    /// Cancelled when the client takes the task back.
    pub(super) stop: Stop,
    /// Told when nothing is open any more.
    pub(super) is_answered: Arc<Notify>,
}

/// All tasks.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Table(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    tasks: HashMap<TaskId, Task>,
    /// The sum of [`Task::bytes`].
    bytes: usize,
}

impl Entries {
    /// Lets a task take so much memory from now on, if there is so much.
    fn resize(&mut self, id: TaskId, bytes: usize) -> Result<&mut Task, Full> {
        let task = self.tasks.get_mut(&id).ok_or(Full::Tasks)?;
        let others = self.bytes.saturating_sub(task.bytes);
        if bytes > task.bytes && others + bytes > TASKS_BYTES_MAX {
            return Err(Full::Tasks);
        }
        self.bytes = others + bytes;
        task.bytes = bytes;
        Ok(task)
    }

    fn expire(&mut self, now: Instant) {
        let Self { tasks, bytes } = self;
        tasks.retain(|_, task| {
            let is_kept = task.expires > now;
            if !is_kept {
                *bytes = bytes.saturating_sub(task.bytes);
            }
            is_kept
        });
    }
}

/// A task as clients see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    task_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    status_message: &'a str,
    created_at: String,
    last_updated_at: String,
    ttl_ms: u64,
    poll_interval_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_requests: Option<Map<String, Value>>,
}

impl Task {
    /// The whole task, or only what is told when it is made.
    fn show(&self, id: TaskId, is_whole: bool) -> String {
        let (result, error, input_requests) = match &self.status {
            Status::Ended(End::Completed(result)) if is_whole => (Some(&**result), None, None),
            Status::Ended(End::Failed(error)) if is_whole => (None, Some(&**error), None),
            Status::InputRequired(inputs) if is_whole => (None, None, Some(inputs.show())),
            _ => (None, None, None),
        };
        let shown = Shown {
            task_id: id.to_string(),
            status: self.status.as_str(),
            status_message: &self.message,
            created_at: self.created.to_iso(),
            last_updated_at: self.updated.to_iso(),
            ttl_ms: TASK_TTL_SECS * 1_000,
            poll_interval_ms: TASK_POLL_MS,
            result,
            error,
            input_requests,
        };
        let mut out = Vec::new();
        super::super::answer::push_json(&mut out, &shown);
        String::from_utf8(out).unwrap_or_default()
    }

    fn set(&mut self, status: Status) {
        self.status = status;
        self.updated = UnixMillis::now();
    }
}

impl Status {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired(_) => "input_required",
            Self::Ended(End::Completed(_)) => "completed",
            Self::Ended(End::Failed(_)) => "failed",
            Self::Ended(End::Cancelled) => "cancelled",
        }
    }
}

impl Inputs {
    fn show(&self) -> Map<String, Value> {
        let open = self.open.iter();
        open.map(|open| {
            let asked = json!({"method": ask::method(open.kind), "params": open.params});
            (open.name.clone(), asked)
        })
        .collect()
    }

    /// Takes what answers an open question and ignores the rest. Each question is answered once.
    fn take(&mut self, mut answers: Map<String, Value>) {
        let Self { open, given } = self;
        open.retain(|question| match answers.remove(&question.name) {
            Some(answer) if ask::fits(question.kind, &answer) => {
                given.insert(question.key.clone(), answer);
                false
            }
            _ => true,
        });
    }
}

impl Table {
    /// How many there are, and their bytes.
    pub(in crate::mcp) fn taken(&self) -> (usize, usize) {
        let entries = self.0.lock();
        (entries.tasks.len(), entries.bytes)
    }

    /// Makes a task that works on so many bytes. It is kept for [`TASK_TTL_SECS`], come what may.
    pub(super) fn create(
        &self,
        owner: &Arc<str>,
        bytes: usize,
        now: Instant,
    ) -> Result<Handle, Full> {
        let id = TaskId::random().map_err(|_| Full::NoName)?;
        let mut entries = self.0.lock();
        entries.expire(now);
        let all = entries.tasks.values();
        let own = all.filter(|task| task.owner == *owner).count();
        let is_full = entries.tasks.len() >= TASKS_MAX || own >= TASKS_PER_CALLER_MAX;
        if is_full || entries.bytes + bytes > TASKS_BYTES_MAX {
            return Err(Full::Tasks);
        }
        let wall = UnixMillis::now();
        let task = Task {
            owner: Arc::clone(owner),
            created: wall,
            updated: wall,
            expires: now + TTL,
            status: Status::Working,
            message: String::new(),
            bytes,
            stop: Stop::new(),
            is_answered: Arc::default(),
        };
        let handle = Handle {
            id,
            stop: task.stop.clone(),
            is_answered: Arc::clone(&task.is_answered),
        };
        entries.bytes += bytes;
        entries.tasks.insert(id, task);
        Ok(handle)
    }

    /// The whole task, if it is this caller's.
    pub(super) fn show(&self, id: TaskId, owner: &str, now: Instant) -> Option<String> {
        self.with(id, owner, now, |task| task.show(id, true))
    }

    /// What is told of a task when it was made.
    pub(super) fn announce(&self, id: TaskId, owner: &str, now: Instant) -> Option<String> {
        self.with(id, owner, now, |task| task.show(id, false))
    }

    /// Takes answers of this caller, so many bytes of them. `None` if the task is none of theirs; else whether it stands otherwise now.
    pub(super) fn update(
        &self,
        id: TaskId,
        owner: &str,
        (answers, bytes): (Map<String, Value>, usize),
        now: Instant,
    ) -> Option<Result<bool, Full>> {
        let mut entries = self.0.lock();
        let task = entries.tasks.get(&id)?;
        if *task.owner != *owner || task.expires <= now {
            return None;
        }
        let wanted = task.bytes + bytes;
        if !matches!(task.status, Status::InputRequired(_)) {
            return Some(Ok(false));
        }
        let task = match entries.resize(id, wanted) {
            Ok(task) => task,
            Err(full) => return Some(Err(full)),
        };
        let Status::InputRequired(inputs) = &mut task.status else {
            return Some(Ok(false));
        };
        let open = inputs.open.len();
        inputs.take(answers);
        if inputs.open.len() == open {
            return Some(Ok(false));
        }
        if inputs.open.is_empty() {
            task.is_answered.notify_one();
        }
        task.updated = UnixMillis::now();
        Some(Ok(true))
    }

    /// Takes a task of this caller back, as far as that is still possible. `None` if it is none of theirs.
    pub(super) fn cancel(&self, id: TaskId, owner: &str, now: Instant) -> Option<()> {
        self.with(id, owner, now, |task| task.stop.cancel())
    }

    fn with<T>(
        &self,
        id: TaskId,
        owner: &str,
        now: Instant,
        f: impl FnOnce(&mut Task) -> T,
    ) -> Option<T> {
        let mut entries = self.0.lock();
        let task = entries.tasks.get_mut(&id)?;
        (*task.owner == *owner && task.expires > now).then(|| f(task))
    }

    // For whoever carries the task out

    /// The task waits for answers to these questions of its `round`. Their names are new in each round.
    pub(super) fn ask(&self, id: TaskId, round: u8, questions: Vec<Question>) {
        let open = questions.into_iter().map(|question| Open {
            name: format!("{round}.{}", question.key),
            key: question.key,
            kind: question.kind,
            params: question.params,
        });
        let inputs = Inputs {
            open: open.collect(),
            given: Map::new(),
        };
        if let Some(task) = self.0.lock().tasks.get_mut(&id) {
            task.set(Status::InputRequired(inputs));
        }
    }

    /// The task works again, with these answers.
    pub(super) fn go_on(&self, id: TaskId) -> Map<String, Value> {
        let mut entries = self.0.lock();
        let Some(task) = entries.tasks.get_mut(&id) else {
            return Map::new();
        };
        let before = std::mem::replace(&mut task.status, Status::Working);
        task.updated = UnixMillis::now();
        match before {
            Status::InputRequired(inputs) => inputs.given,
            Status::Working | Status::Ended(_) => Map::new(),
        }
    }

    /// The task says what it is at.
    pub(super) fn say(&self, id: TaskId, message: String) {
        if let Some(task) = self.0.lock().tasks.get_mut(&id)
            && matches!(task.status, Status::Working)
        {
            task.message = message;
            task.updated = UnixMillis::now();
        }
    }

    /// The task has come to its end.
    pub(super) fn end(&self, id: TaskId, end: End) {
        let bytes = match &end {
            End::Completed(json) | End::Failed(json) => json.get().len(),
            End::Cancelled => 0,
        };
        let mut entries = self.0.lock();
        let end = match entries.resize(id, bytes) {
            Ok(_) => end,
            Err(_) => End::Failed(no_room()),
        };
        if let Some(task) = entries.tasks.get_mut(&id) {
            task.message = String::new();
            task.set(Status::Ended(end));
        }
    }
}

/// What a task came to whose result cannot be kept.
fn no_room() -> Box<RawValue> {
    Fault::new(Code::Internal, "There is no room for the result.").to_error()
}

impl TaskSource for Table {
    fn task(&self, id: &str, caller: &str) -> Option<String> {
        self.show(TaskId::parse(id)?, caller, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn form(key: &str) -> Question {
        Question {
            key: key.to_owned(),
            kind: QuestionKind::Elicitation,
            params: json!({"message": key}),
        }
    }

    fn shown(table: &Table, id: TaskId) -> Value {
        let text = table.show(id, "me", Instant::now()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_its_callers_alone_until_its_time_is_over() {
        let table = Table::default();
        let me: Arc<str> = "me".into();
        let start = Instant::now();
        let Handle { id, .. } = table.create(&me, 0, start).unwrap();
        assert_eq!(TaskId::parse(&id.to_string()), Some(id));
        assert!(table.show(id, "you", start).is_none());
        assert!(table.update(id, "you", (Map::new(), 0), start).is_none());
        assert!(table.cancel(id, "you", start).is_none());
        table.end(id, End::Cancelled);
        assert!(
            table
                .show(id, "me", start + TTL - Duration::from_millis(1))
                .is_some()
        );
        assert!(table.show(id, "me", start + TTL).is_none());
        assert!(TaskId::parse("no such name").is_none() && TaskId::parse("").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_bound_for_each_and_for_all_and_time_makes_room() {
        let table = Table::default();
        let start = Instant::now();
        let mut left = TASKS_MAX;
        for caller in 0.. {
            let owner: Arc<str> = format!("caller {caller}").into();
            let own = left.min(TASKS_PER_CALLER_MAX);
            for _ in 0..own {
                assert!(table.create(&owner, 0, start).is_ok());
            }
            assert_eq!(table.create(&owner, 0, start).err(), Some(Full::Tasks));
            left -= own;
            if left == 0 {
                break;
            }
        }
        let late: Arc<str> = "late".into();
        assert_eq!(table.create(&late, 0, start).err(), Some(Full::Tasks));
        assert!(table.create(&late, 0, start + TTL).is_ok());
        assert_eq!(table.0.lock().tasks.len(), 1, "what is over is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_come_in_parts_and_each_question_has_a_name_of_its_own() {
        let table = Table::default();
        let me: Arc<str> = "me".into();
        let now = Instant::now();
        let Handle { id, .. } = table.create(&me, 0, now).unwrap();
        table.ask(id, 1, vec![form("a"), form("b")]);
        let names = |task: &Value| -> Vec<String> {
            let open = task["inputRequests"].as_object();
            open.into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect()
        };
        assert_eq!(shown(&table, id)["status"], "input_required");
        assert_eq!(names(&shown(&table, id)), ["1.a", "1.b"]);
        let update = |answers: Value| {
            let answers = serde_json::from_value(answers).unwrap();
            table.update(id, "me", (answers, 0), now).unwrap().unwrap()
        };
        let yes = json!({"action": "accept", "content": {"n": 1}});
        assert!(!update(
            json!({"a": yes, "2.a": yes, "1.a": 7, "1.b": {"ignored": true}})
        ));
        assert!(update(json!({"1.a": yes})));
        assert_eq!(names(&shown(&table, id)), ["1.b"]);
        assert!(
            !update(json!({"1.a": {"action": "cancel"}})),
            "answered already"
        );
        assert!(update(json!({"1.b": {"action": "decline"}})));
        let given = table.go_on(id);
        assert_eq!(given["a"], yes);
        assert_eq!(given["b"]["action"], "decline");
        assert_eq!(shown(&table, id)["status"], "working");
        table.ask(id, 2, vec![form("a")]);
        assert_eq!(names(&shown(&table, id)), ["2.a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_task_came_to_stands_in_it_and_not_in_its_announcement() {
        let table = Table::default();
        let me: Arc<str> = "me".into();
        let now = Instant::now();
        for (end, status, field) in [
            (End::Completed(raw("{}")), "completed", "result"),
            (End::Failed(raw("{}")), "failed", "error"),
            (End::Cancelled, "cancelled", ""),
        ] {
            let Handle { id, .. } = table.create(&me, 0, now).unwrap();
            table.say(id, "half way".to_owned());
            assert_eq!(shown(&table, id)["statusMessage"], "half way");
            table.end(id, end);
            let task = shown(&table, id);
            assert_eq!(task["status"], status);
            for other in ["result", "error", "inputRequests", "statusMessage"] {
                assert_eq!(
                    task.get(other).is_some(),
                    other == field,
                    "{status} {other}"
                );
            }
            let told = table.announce(id, "me", now).unwrap();
            assert!(
                !told.contains("result") && !told.contains("error"),
                "{told}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_over_all_and_given_back() {
        let table = Table::default();
        let me: Arc<str> = "me".into();
        let start = Instant::now();
        let half = TASKS_BYTES_MAX / 2;
        let first = table.create(&me, half, start).unwrap().id;
        let second = table.create(&me, half, start).unwrap().id;
        assert_eq!(table.create(&me, 1, start).err(), Some(Full::Tasks));
        table.ask(first, 1, vec![form("a")]);
        let answers = || serde_json::from_value(json!({"1.a": {"action": "cancel"}})).unwrap();
        let taken = table.update(first, "me", (answers(), 1), start);
        assert_eq!(taken, Some(Err(Full::Tasks)));
        table.end(second, End::Completed(raw("{}")));
        let taken = table.update(first, "me", (answers(), 1), start);
        assert_eq!(taken, Some(Ok(true)));
        let large = format!("\"{}\"", "x".repeat(TASKS_BYTES_MAX));
        table.end(first, End::Completed(raw(&large)));
        assert_eq!(shown(&table, first)["status"], "failed");
        let third: Arc<str> = "third".into();
        table.create(&third, 0, start + TTL).unwrap();
        assert_eq!(table.0.lock().bytes, 0);
    }
}
