//! A feed: what one stream hears of changes. It keeps marks and no messages, so a reader who does not keep up costs nothing and finds
//! the newest state when it reads again.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::answer::{Answer, push_json};
use super::hub::Hub;
use super::places::Place;
use super::revision::Revision;
use crate::guard::{Caller, Reach};
use crate::service::Generations;

/// A set of lists that can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lists(u8);

impl Lists {
    pub(super) const TOOLS: Self = Self(1);
    pub(super) const PROMPTS: Self = Self(2);
    pub(super) const RESOURCES: Self = Self(4);
    pub(super) const ALL: Self = Self(7);

    const EACH: [(Self, &'static str); 3] = [
        (Self::TOOLS, "notifications/tools/list_changed"),
        (Self::PROMPTS, "notifications/prompts/list_changed"),
        (Self::RESOURCES, "notifications/resources/list_changed"),
    ];

    /// Those whose edition differs.
    pub(super) fn changed(before: Generations, after: Generations) -> Self {
        let mut lists = Self::default();
        for (list, differs) in [
            (Self::TOOLS, before.tools != after.tools),
            (Self::PROMPTS, before.prompts != after.prompts),
            (Self::RESOURCES, before.resources != after.resources),
        ] {
            if differs {
                lists.add(list);
            }
        }
        lists
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Whose feed it is, which decides how its messages are written.
#[derive(Debug)]
pub(super) enum Form {
    /// Opened by a request with this id, which marks every message and gets a result at the end.
    Listen(Box<str>, Revision),
    /// Belongs to a session.
    Session,
}

/// What one stream hears of changes.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) number: u64,
    hub: Arc<Hub>,
    form: Form,
    pub(super) caller: Arc<str>,
    /// What its caller may know of.
    pub(super) reach: Reach,
    pub(super) state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
pub(super) struct State {
    opening: Option<Vec<u8>>,
    wanted: Lists,
    dirty: Lists,
    pub(super) uris: Vec<Mark<Arc<str>>>,
    pub(super) tasks: Vec<Mark<Box<str>>>,
    has_ended: bool,
    has_closed: bool,
    /// Number of the reader whose feed it is now.
    reader: u32,
    /// Events that had ids.
    count: u64,
}

/// Something that was subscribed to.
#[derive(Debug)]
pub(super) struct Mark<T> {
    pub(super) name: T,
    is_dirty: bool,
    _place: Place,
}

impl<T> Mark<T> {
    pub(super) const fn new(name: T, place: Place) -> Self {
        Self {
            name,
            is_dirty: false,
            _place: place,
        }
    }
}

impl Feed {
    /// Made by [`Hub::open`] alone.
    pub(super) fn new(
        number: u64,
        hub: Arc<Hub>,
        form: Form,
        caller: &Caller,
        wanted: Lists,
    ) -> Self {
        Self {
            number,
            hub,
            form,
            caller: Arc::clone(&caller.name),
            reach: caller.reach.clone(),
            state: Mutex::new(State {
                wanted,
                ..State::default()
            }),
            reader: AtomicWaker::new(),
        }
    }

    /// The first message.
    pub(super) fn open_with(&self, message: Vec<u8>) {
        self.state.lock().opening = Some(message);
        self.reader.wake();
    }

    /// Hands the feed to a new reader; the one before finds its end.
    pub(super) fn attach(&self) -> u32 {
        let reader = {
            let mut state = self.state.lock();
            state.reader = state.reader.wrapping_add(1);
            state.reader
        };
        self.reader.wake();
        reader
    }

    /// Whether this is the reader whose feed it is now.
    pub(super) fn is_read_by(&self, reader: u32) -> bool {
        self.state.lock().reader == reader
    }

    /// Whether the request with this id opened it.
    pub(super) fn is_of(&self, id: &str) -> bool {
        matches!(&self.form, Form::Listen(own, _) if **own == *id)
    }

    /// The number of the next event with an id.
    pub(super) fn count(&self) -> u64 {
        let mut state = self.state.lock();
        state.count += 1;
        state.count
    }

    /// Ends what one reader hears: the subscription that a request opened, in good order; of a session's feed only this stream.
    pub(super) fn end_for_reader(&self) {
        match self.form {
            Form::Listen(..) => self.end(),
            Form::Session => {
                self.attach();
            }
        }
    }

    /// Ends the feed in good order.
    pub(super) fn end(&self) {
        self.state.lock().has_ended = true;
        self.reader.wake();
    }

    /// Marks lists as changed.
    pub(super) fn mark_lists(&self, lists: Lists) {
        {
            let mut state = self.state.lock();
            let lists = lists.both(state.wanted);
            if lists.is_empty() {
                return;
            }
            state.dirty.add(lists);
        }
        self.reader.wake();
    }

    /// Marks a resource as changed.
    pub(super) fn mark_uri(&self, uri: &str) {
        let is_marked = mark(&mut self.state.lock().uris, uri);
        if is_marked {
            self.reader.wake();
        }
    }

    /// Marks a task as changed.
    pub(super) fn mark_task(&self, id: &str) {
        let is_marked = mark(&mut self.state.lock().tasks, id);
        if is_marked {
            self.reader.wake();
        }
    }

    /// Subscribes to a resource whose stamp is this at the moment; whether there was room.
    pub(super) fn subscribe(&self, uri: &str, stamp: Option<u64>) -> bool {
        self.hub.subscribe(self, uri, stamp)
    }

    /// Ends a subscription to a resource, if there is one.
    pub(super) fn unsubscribe(&self, uri: &str) {
        self.hub.unsubscribe(self, uri);
    }

    /// Subscribes to a task; whether there was room.
    pub(super) fn subscribe_task(&self, id: &str) -> bool {
        self.hub.subscribe_task(self, id)
    }

    /// The next message for this reader; `None` at its end.
    pub(super) fn poll_next(
        &self,
        reader: u32,
        context: &mut Context<'_>,
    ) -> Poll<Option<Vec<u8>>> {
        loop {
            let mut state = self.state.lock();
            if state.reader != reader {
                return Poll::Ready(None);
            }
            self.reader.register(context.waker());
            if let Some(opening) = state.opening.take() {
                return Poll::Ready(Some(opening));
            }
            if state.has_ended {
                let is_first = !std::mem::replace(&mut state.has_closed, true);
                return Poll::Ready(is_first.then(|| self.closing()).flatten());
            }
            if let Some((list, method)) =
                Lists::EACH.iter().find(|(list, _)| state.dirty.has(*list))
            {
                state.dirty = state.dirty.without(*list);
                return Poll::Ready(Some(self.list_changed(method)));
            }
            if let Some(uri) = take_dirty(&mut state.uris) {
                return Poll::Ready(Some(self.updated(&uri)));
            }
            let Some(task) = take_dirty(&mut state.tasks) else {
                return Poll::Pending;
            };
            drop(state);
            // A task that is no longer there has nothing to tell.
            if let Some(task) = self.hub.task(&task, &self.caller) {
                return Poll::Ready(Some(self.task(&task)));
            }
        }
    }

    fn list_changed(&self, method: &str) -> Vec<u8> {
        let mut out = opened(method);
        if let Form::Listen(id, _) = &self.form {
            out.extend_from_slice(b",\"params\":{");
            label(&mut out, id);
            out.push(b'}');
        }
        out.push(b'}');
        out
    }

    fn updated(&self, uri: &str) -> Vec<u8> {
        let mut out = opened("notifications/resources/updated");
        out.extend_from_slice(b",\"params\":{\"uri\":");
        push_json(&mut out, uri);
        if let Form::Listen(id, _) = &self.form {
            out.push(b',');
            label(&mut out, id);
        }
        out.extend_from_slice(b"}}");
        out
    }

    /// `task` is the whole task, a JSON object that is not empty.
    fn task(&self, task: &str) -> Vec<u8> {
        let mut out = opened("notifications/tasks");
        out.extend_from_slice(b",\"params\":");
        let fields = task.trim_end().strip_suffix('}').unwrap_or("{");
        out.extend_from_slice(fields.as_bytes());
        if let Form::Listen(id, _) = &self.form {
            out.push(b',');
            label(&mut out, id);
        }
        out.extend_from_slice(b"}}");
        out
    }

    fn closing(&self) -> Option<Vec<u8>> {
        match &self.form {
            Form::Session => None,
            Form::Listen(id, revision) => {
                let mut meta = vec![b'{'];
                push_label(&mut meta, id);
                meta.push(b'}');
                let meta = String::from_utf8(meta).unwrap_or_default();
                Some(Answer::open(id, *revision, 128).close(*revision, &meta))
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hub.forget(self);
    }
}

fn mark<T: AsRef<str>>(marks: &mut [Mark<T>], name: &str) -> bool {
    let found = marks.iter_mut().find(|mark| mark.name.as_ref() == name);
    found.is_some_and(|mark| !std::mem::replace(&mut mark.is_dirty, true))
}

fn take_dirty<T: Clone>(marks: &mut [Mark<T>]) -> Option<T> {
    let mark = marks.iter_mut().find(|mark| mark.is_dirty)?;
    mark.is_dirty = false;
    Some(mark.name.clone())
}

fn opened(method: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
    out.extend_from_slice(method.as_bytes());
    out.push(b'"');
    out
}

/// `_meta` with the id of the request that opened the stream.
pub(super) fn label(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"\"_meta\":{");
    push_label(out, id);
    out.push(b'}');
}

fn push_label(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"\"io.modelcontextprotocol/subscriptionId\":");
    out.extend_from_slice(id.as_bytes());
}
