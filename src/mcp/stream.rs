//! Event streams: what they carry and when they end. Framing and keep-alive belong to the transport.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::AbortOnDropHandle;

use super::line::Line;
use super::places::Place;
use super::session::{SessionId, Sessions};
use crate::base::shutdown::Stop;

/// An open stream of server messages, to be framed by the transport. To drop it means that the client went away.
#[derive(Debug)]
pub struct EventStream(Kind);

#[derive(Debug)]
enum Kind {
    /// What a call says, and its result.
    Call {
        line: Arc<Line>,
        /// The call, ended with the stream where a client that goes away takes its request back.
        _task: Option<AbortOnDropHandle<()>>,
    },
    /// Opening and closing words.
    Quiet(Quiet),
    /// Nothing at all.
    Ended,
}

#[derive(Debug)]
struct Quiet {
    opening: Option<Vec<u8>>,
    closing: Option<Vec<u8>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _session: Option<OfSession>,
    _place: Place,
}

/// The session that a stream belongs to, told when the stream ends: it is idle from then on.
#[derive(Debug)]
pub(super) struct OfSession {
    pub(super) sessions: Arc<Mutex<Sessions>>,
    pub(super) id: SessionId,
    pub(super) ended: Stop,
}

impl Drop for OfSession {
    fn drop(&mut self) {
        self.sessions
            .lock()
            .detach(self.id, &self.ended, Instant::now());
    }
}

/// What opens and closes a stream, and when.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) opening: Option<Vec<u8>>,
    pub(super) closing: Option<Vec<u8>>,
    pub(super) ended: Stop,
    pub(super) session: Option<OfSession>,
}

impl EventStream {
    /// The stream of a call.
    pub(super) const fn of_call(line: Arc<Line>, task: Option<AbortOnDropHandle<()>>) -> Self {
        Self(Kind::Call { line, _task: task })
    }

    /// A stream that nothing comes on until it ends.
    pub(super) fn quiet(course: Course, place: Place) -> Self {
        Self(Kind::Quiet(Quiet {
            opening: course.opening,
            closing: course.closing,
            ended: Box::pin(course.ended.cancelled_owned()),
            _session: course.session,
            _place: place,
        }))
    }

    /// A stream that has ended.
    pub(super) const fn ended() -> Self {
        Self(Kind::Ended)
    }

    /// The next message; `None` at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        match &mut self.0 {
            Kind::Call { line, .. } => line.poll_next(context),
            Kind::Quiet(quiet) => {
                if let Some(opening) = quiet.opening.take() {
                    return Poll::Ready(Some(opening));
                }
                std::task::ready!(quiet.ended.as_mut().poll(context));
                let closing = quiet.closing.take();
                self.0 = Kind::Ended;
                Poll::Ready(closing)
            }
            Kind::Ended => Poll::Ready(None),
        }
    }
}
