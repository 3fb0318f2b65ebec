//! A line: messages on their way to one reader, bounded, so that a reader who does not keep up costs a known amount of memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::places::Place;
use crate::limits::{
    CONNECTION_LINE_BYTES_MAX, CONNECTION_LINE_MESSAGES_MAX, LINE_BYTES_MAX, LINE_MESSAGES_MAX,
    LINES_BYTES_MAX,
};

/// Messages on their way to one reader. Writers never wait: what does not fit is refused.
#[derive(Debug)]
pub(super) struct Line {
    messages_max: usize,
    bytes_max: usize,
    budget: Budget,
    queue: Mutex<Queue>,
    reader: AtomicWaker,
    /// Told when something was read.
    writer: AtomicWaker,
}

/// Bytes that wait on all lines together.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before + bytes <= LINES_BYTES_MAX;
        if !has_room {
            self.give_back(bytes);
        }
        has_room
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Entry>,
    /// Charged to the budget.
    bytes: usize,
    /// Nothing more is taken.
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    message: Vec<u8>,
    /// The place of the call whose answer it is: such messages are bounded by their places.
    _place: Option<Place>,
    /// Bytes of the budget that it takes.
    charged: usize,
}

impl Line {
    /// A line for one call.
    pub(super) fn of_call(budget: &Budget) -> Self {
        Self::bounded(LINE_MESSAGES_MAX, LINE_BYTES_MAX, budget)
    }

    /// A line for all that goes out of one connection.
    pub(super) fn of_connection(budget: &Budget) -> Self {
        Self::bounded(
            CONNECTION_LINE_MESSAGES_MAX,
            CONNECTION_LINE_BYTES_MAX,
            budget,
        )
    }

    fn bounded(messages_max: usize, bytes_max: usize, budget: &Budget) -> Self {
        Self {
            messages_max,
            bytes_max,
            budget: budget.clone(),
            queue: Mutex::default(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        }
    }

    /// Puts a message on the line; whether it was taken. None is after the end or past the bound.
    pub(super) fn offer(&self, message: Vec<u8>) -> bool {
        self.put(message, self.messages_max, self.bytes_max)
    }

    /// The same for a message that somebody waits for: half as much room again is kept for these.
    pub(super) fn offer_request(&self, message: Vec<u8>) -> bool {
        self.put(
            message,
            self.messages_max + self.messages_max / 2,
            self.bytes_max + self.bytes_max / 2,
        )
    }

    fn put(&self, message: Vec<u8>, messages_max: usize, bytes_max: usize) -> bool {
        {
            let mut queue = self.queue.lock();
            let charged = message.len();
            if queue.is_closed
                || queue.messages.len() >= messages_max
                || queue.bytes + charged > bytes_max
                || !self.budget.take(charged)
            {
                return false;
            }
            queue.bytes += charged;
            queue.messages.push_back(Entry {
                message,
                _place: None,
                charged,
            });
        }
        self.reader.wake();
        true
    }

    /// Puts an answer on the line that keeps its place until it is read.
    pub(super) fn deliver(&self, message: Vec<u8>, place: Place) {
        {
            let mut queue = self.queue.lock();
            if queue.is_closed {
                return;
            }
            queue.messages.push_back(Entry {
                message,
                _place: Some(place),
                charged: 0,
            });
        }
        self.reader.wake();
    }

    /// Lets the reader look again.
    pub(super) fn wake(&self) {
        self.reader.wake();
    }

    /// Closes the line and drops what was not read.
    pub(super) fn cut(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        // Places are given back without this lock.
        let messages = std::mem::take(&mut queue.messages);
        self.budget.give_back(std::mem::take(&mut queue.bytes));
        drop(queue);
        drop(messages);
        self.writer.wake();
    }

    /// Ready while less than half of the line is taken, or it is closed.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        self.writer.register(context.waker());
        let queue = self.queue.lock();
        let is_short =
            queue.messages.len() < self.messages_max / 2 && queue.bytes < self.bytes_max / 2;
        if is_short || queue.is_closed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Puts the last message on the line, whatever its size, and closes it.
    pub(super) fn close(&self, last: Option<Vec<u8>>) {
        {
            let mut queue = self.queue.lock();
            if queue.is_closed {
                return;
            }
            queue.is_closed = true;
            if let Some(message) = last {
                queue.messages.push_back(Entry {
                    message,
                    _place: None,
                    charged: 0,
                });
            }
        }
        self.reader.wake();
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.lock().messages.is_empty()
    }

    /// Ready as soon as something can be read, be it the end.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.reader.register(context.waker());
        let queue = self.queue.lock();
        if queue.messages.is_empty() && !queue.is_closed {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// The next message; `None` at the end.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.reader.register(context.waker());
        let mut queue = self.queue.lock();
        match queue.messages.pop_front() {
            Some(Entry {
                message, charged, ..
            }) => {
                queue.bytes = queue.bytes.saturating_sub(charged);
                drop(queue);
                self.budget.give_back(charged);
                self.writer.wake();
                Poll::Ready(Some(message))
            }
            None if queue.is_closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.budget.give_back(self.queue.get_mut().bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_the_last_message_always_fits() {
        let budget = Budget::default();
        let line = Line::of_call(&budget);
        for _ in 0..LINE_MESSAGES_MAX {
            assert!(line.offer(b"{}".to_vec()));
        }
        assert!(!line.offer(b"{}".to_vec()));
        assert!(line.offer_request(b"{}".to_vec()));
        assert!(!line.offer_request(vec![b' '; LINE_BYTES_MAX * 2]));
        line.close(Some(vec![b' '; LINE_BYTES_MAX * 2]));
        assert!(!line.offer(b"{}".to_vec()) && !line.is_empty());
        let mut read = 0;
        while poll_fn(|context| line.poll_next(context)).await.is_some() {
            read += 1;
        }
        assert_eq!(read, LINE_MESSAGES_MAX + 2);
        assert_eq!(line.queue.lock().bytes, 0);
    }

    #[test]
    fn all_lines_together_stay_within_their_budget() {
        let budget = Budget::default();
        let fill = || {
            let line = Line::of_connection(&budget);
            while line.offer(vec![b' '; 1024]) {}
            line
        };
        let lines: Vec<_> = (0..=LINES_BYTES_MAX / CONNECTION_LINE_BYTES_MAX)
            .map(|_| fill())
            .collect();
        assert!(lines.last().unwrap().is_empty());
        assert_eq!(budget.0.load(Ordering::Relaxed), LINES_BYTES_MAX);
        lines[0].cut();
        drop(lines);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
