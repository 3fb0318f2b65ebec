//! A line: messages on their way to one reader, bounded, so that a reader who does not keep up costs a known amount of memory.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::limits::{LINE_BYTES_MAX, LINE_MESSAGES_MAX};

/// Messages on their way to one reader. Writers never wait: what does not fit is refused.
#[derive(Debug, Default)]
pub(super) struct Line {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Nothing more is taken.
    is_closed: bool,
}

impl Line {
    /// Puts a message on the line; whether it was taken. None is after the end or past the bound.
    pub(super) fn offer(&self, message: Vec<u8>) -> bool {
        self.put(message, LINE_MESSAGES_MAX, LINE_BYTES_MAX)
    }

    /// The same for a message that somebody waits for: half as much room again is kept for these.
    pub(super) fn offer_request(&self, message: Vec<u8>) -> bool {
        self.put(
            message,
            LINE_MESSAGES_MAX + LINE_MESSAGES_MAX / 2,
            LINE_BYTES_MAX + LINE_BYTES_MAX / 2,
        )
    }

    fn put(&self, message: Vec<u8>, messages_max: usize, bytes_max: usize) -> bool {
        {
            let mut queue = self.queue.lock();
            if queue.is_closed
                || queue.messages.len() >= messages_max
                || queue.bytes + message.len() > bytes_max
            {
                return false;
            }
            queue.bytes += message.len();
            queue.messages.push_back(message);
        }
        self.reader.wake();
        true
    }

    /// Puts the last message on the line, whatever its size, and closes it.
    pub(super) fn close(&self, last: Option<Vec<u8>>) {
        {
            let mut queue = self.queue.lock();
            if queue.is_closed {
                return;
            }
            queue.is_closed = true;
            if let Some(last) = last {
                queue.bytes += last.len();
                queue.messages.push_back(last);
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
            Some(message) => {
                queue.bytes = queue.bytes.saturating_sub(message.len());
                Poll::Ready(Some(message))
            }
            None if queue.is_closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_the_last_message_always_fits() {
        let line = Line::default();
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
}
