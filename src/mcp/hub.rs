//! The hub: who wants to hear of which change. Changes are found by looking: a few times a second, and not at all while nobody listens.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::feed::{Feed, Form, Lists, Mark};
use super::places::{Capacity, Places};
use crate::guard::{Caller, Reach};
use crate::limits::{
    RESOURCE_LOOK_INTERVAL, SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX,
    SUBSCRIPTIONS_PER_CALLER_MAX, SUBSCRIPTIONS_PER_STREAM_MAX,
};
use crate::service::{Generations, Registry};

/// Tells how a task stands.
pub(super) trait TaskSource: Send + Sync {
    /// The whole task as a JSON object, if it is there and this caller's.
    fn task(&self, id: &str, caller: &str) -> Option<String>;
}

/// All feeds.
pub(super) struct Hub {
    places: Arc<Places>,
    state: Mutex<State>,
    is_heard: Notify,
    tasks: OnceLock<Arc<dyn TaskSource>>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    feeds: HashMap<u64, Weak<Feed>>,
    uris: HashMap<Subject, Watched>,
    /// Feeds by task.
    tasks: HashMap<Box<str>, Vec<u64>>,
    /// As they were at the last look.
    generations: Generations,
    /// No feed opens any more.
    is_closed: bool,
}

/// What is looked at: a resource, as callers of one reach see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    uri: Arc<str>,
    reach: Reach,
}

#[derive(Debug)]
struct Watched {
    stamp: Option<u64>,
    feeds: Vec<u64>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            places: Places::new(Capacity {
                total: SUBSCRIPTIONS_MAX,
                per_caller: SUBSCRIPTIONS_PER_CALLER_MAX,
                bytes: SUBSCRIPTION_BYTES_MAX,
            }),
            state: Mutex::default(),
            is_heard: Notify::new(),
            tasks: OnceLock::new(),
        }
    }
}

impl Feed {
    fn subject(&self, uri: &str) -> Subject {
        Subject {
            uri: Arc::from(uri),
            reach: self.reach.clone(),
        }
    }
}

impl State {
    /// The feeds of these numbers. They must not be dropped while the state is locked: a feed that ends forgets itself here.
    fn feeds(&self, numbers: &[u64]) -> Vec<Arc<Feed>> {
        let found = numbers.iter().filter_map(|number| self.feeds.get(number));
        found.filter_map(Weak::upgrade).collect()
    }

    fn all(&self) -> Vec<Arc<Feed>> {
        self.feeds.values().filter_map(Weak::upgrade).collect()
    }
}

impl Hub {
    /// Opens a feed that hears of these lists, of which `now` is the edition that its client knows at most.
    pub(super) fn open(
        self: &Arc<Self>,
        form: Form,
        caller: &Caller,
        wanted: Lists,
        now: Generations,
    ) -> Arc<Feed> {
        let mut state = self.state.lock();
        if state.feeds.is_empty() {
            // Nobody looked since the last feed ended.
            state.generations = now;
            self.is_heard.notify_one();
        }
        state.last += 1;
        let number = state.last;
        let feed = Feed::new(number, Arc::clone(self), form, caller, wanted);
        let feed = Arc::new(feed);
        state.feeds.insert(number, Arc::downgrade(&feed));
        let is_closed = state.is_closed;
        drop(state);
        if is_closed {
            feed.end();
        }
        feed
    }

    /// Ends every feed, and each that is opened from now on.
    pub(super) fn close(&self) {
        let feeds = {
            let mut state = self.state.lock();
            state.is_closed = true;
            state.all()
        };
        for feed in feeds {
            feed.end();
        }
    }

    /// Says who tells how a task stands.
    pub(super) fn set_task_source(&self, source: Arc<dyn TaskSource>) {
        let _ = self.tasks.set(source);
    }

    /// A task changed.
    pub(super) fn task_changed(&self, id: &str) {
        let feeds = {
            let state = self.state.lock();
            let numbers = state.tasks.get(id);
            numbers.map(|numbers| state.feeds(numbers))
        };
        for feed in feeds.into_iter().flatten() {
            feed.mark_task(id);
        }
    }

    pub(super) fn task(&self, id: &str, caller: &str) -> Option<String> {
        self.tasks.get()?.task(id, caller)
    }

    pub(super) fn subscribe(&self, feed: &Feed, uri: &str, stamp: Option<u64>) -> bool {
        let mut state = self.state.lock();
        let mut own = feed.state.lock();
        if own.uris.iter().any(|mark| *mark.name == *uri) {
            return true;
        }
        if own.uris.len() >= SUBSCRIPTIONS_PER_STREAM_MAX {
            return false;
        }
        let Ok(place) = self.places.take(&feed.caller, uri.len()) else {
            return false;
        };
        let fresh = feed.subject(uri);
        let known = state.uris.get_key_value(&fresh);
        let subject = known.map_or(fresh, |(known, _)| known.clone());
        own.uris.push(Mark::new(Arc::clone(&subject.uri), place));
        let watched = state.uris.entry(subject).or_insert_with(|| Watched {
            stamp,
            feeds: Vec::new(),
        });
        watched.feeds.push(feed.number);
        true
    }

    pub(super) fn unsubscribe(&self, feed: &Feed, uri: &str) {
        let mut state = self.state.lock();
        let mut own = feed.state.lock();
        if let Some(at) = own.uris.iter().position(|mark| *mark.name == *uri) {
            own.uris.swap_remove(at);
            forget_uri(&mut state.uris, &feed.subject(uri), feed.number);
        }
    }

    pub(super) fn subscribe_task(&self, feed: &Feed, id: &str) -> bool {
        let mut state = self.state.lock();
        let mut own = feed.state.lock();
        if own.tasks.iter().any(|mark| *mark.name == *id) {
            return true;
        }
        if own.tasks.len() >= SUBSCRIPTIONS_PER_STREAM_MAX {
            return false;
        }
        let Ok(place) = self.places.take(&feed.caller, id.len()) else {
            return false;
        };
        state.tasks.entry(id.into()).or_default().push(feed.number);
        own.tasks.push(Mark::new(id.into(), place));
        true
    }

    /// Forgets a feed that ends.
    pub(super) fn forget(&self, feed: &Feed) {
        let mut state = self.state.lock();
        state.feeds.remove(&feed.number);
        let own = feed.state.lock();
        for mark in &own.uris {
            forget_uri(&mut state.uris, &feed.subject(&mark.name), feed.number);
        }
        for mark in &own.tasks {
            if let Some(feeds) = state.tasks.get_mut(&mark.name) {
                feeds.retain(|number| *number != feed.number);
                if feeds.is_empty() {
                    state.tasks.remove(&mark.name);
                }
            }
        }
    }

    /// How many listen, and the subscriptions with the bytes of their names.
    pub(super) fn taken(&self) -> (usize, (usize, usize)) {
        (self.state.lock().feeds.len(), self.places.taken())
    }

    /// Looks for changes, for ever.
    pub(super) async fn watch(&self, registry: &Registry) {
        loop {
            if self.state.lock().feeds.is_empty() {
                self.is_heard.notified().await;
            }
            tokio::time::sleep(RESOURCE_LOOK_INTERVAL).await;
            self.look(registry);
        }
    }

    /// Marks on each feed what changed since the last look. Services are asked without a lock.
    fn look(&self, registry: &Registry) {
        let generations = registry.generations();
        let (changed, feeds, uris) = {
            let mut state = self.state.lock();
            let changed = Lists::changed(state.generations, generations);
            state.generations = generations;
            let feeds = if changed.is_empty() {
                Vec::new()
            } else {
                state.all()
            };
            let uris: Vec<_> = state
                .uris
                .iter()
                .map(|(subject, watched)| (subject.clone(), watched.stamp))
                .collect();
            (changed, feeds, uris)
        };
        for feed in feeds {
            feed.mark_lists(changed);
        }
        for (subject, before) in uris {
            let now = registry.resource_stamp(&subject.uri, &subject.reach);
            if now == before {
                continue;
            }
            let feeds = {
                let mut state = self.state.lock();
                let Some(watched) = state.uris.get_mut(&subject) else {
                    continue;
                };
                watched.stamp = now;
                let numbers = watched.feeds.clone();
                state.feeds(&numbers)
            };
            for feed in feeds {
                feed.mark_uri(&subject.uri);
            }
        }
    }
}

fn forget_uri(uris: &mut HashMap<Subject, Watched>, subject: &Subject, number: u64) {
    if let Some(watched) = uris.get_mut(subject) {
        if let Some(at) = watched.feeds.iter().position(|other| *other == number) {
            watched.feeds.swap_remove(at);
        }
        if watched.feeds.is_empty() {
            uris.remove(subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::guard::Role;
    use crate::mcp::revision::Revision;

    struct Tasks;

    impl TaskSource for Tasks {
        fn task(&self, id: &str, caller: &str) -> Option<String> {
            (caller == "me" && id != "gone").then(|| format!(r#"{{"taskId":"{id}"}}"#))
        }
    }

    fn feed(hub: &Arc<Hub>, caller: &str) -> Arc<Feed> {
        let form = Form::Listen("1".into(), Revision::SPOKEN[0]);
        let caller = Caller::local(caller, Role::Viewer);
        hub.open(form, &caller, Lists::ALL, Generations::default())
    }

    #[tokio::test]
    async fn a_task_that_changed_is_told_whole_to_who_asked_and_owns_it() {
        let hub = Arc::new(Hub::default());
        hub.set_task_source(Arc::new(Tasks));
        let (mine, theirs) = (feed(&hub, "me"), feed(&hub, "they"));
        for id in ["a", "gone", "b", "a"] {
            assert!(mine.subscribe_task(id) && theirs.subscribe_task(id));
        }
        let (reader, other) = (mine.attach(), theirs.attach());
        for id in ["b", "gone", "b", "unknown"] {
            hub.task_changed(id);
        }
        let told = poll_fn(|context| mine.poll_next(reader, context)).await;
        assert_eq!(
            String::from_utf8(told.unwrap()).unwrap(),
            r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"b","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#
        );
        hub.close();
        let closing = poll_fn(|context| mine.poll_next(reader, context)).await;
        assert!(closing.is_some());
        for _ in 0..2 {
            assert!(
                poll_fn(|context| mine.poll_next(reader, context))
                    .await
                    .is_none()
            );
        }
        assert!(
            poll_fn(|context| theirs.poll_next(other, context))
                .await
                .is_some(),
            "the result, and no task of somebody else"
        );
    }

    #[test]
    fn a_feed_that_ends_leaves_nothing_behind() {
        let hub = Arc::new(Hub::default());
        let (one, two) = (feed(&hub, "me"), feed(&hub, "me"));
        for feed in [&one, &two] {
            assert!(feed.subscribe("x://1", Some(1)) && feed.subscribe_task("t"));
        }
        one.unsubscribe("x://1");
        drop(two);
        assert!(hub.state.lock().uris.is_empty());
        drop(one);
        let state = hub.state.lock();
        assert!(state.feeds.is_empty() && state.tasks.is_empty());
    }

    #[tokio::test]
    async fn a_new_reader_takes_the_feed_over() {
        let hub = Arc::new(Hub::default());
        let feed = feed(&hub, "me");
        let first = feed.attach();
        let second = feed.attach();
        feed.mark_lists(Lists::TOOLS);
        let next = async |reader| poll_fn(|context| feed.poll_next(reader, context)).await;
        assert!(next(first).await.is_none());
        assert!(next(second).await.is_some());
    }
}
