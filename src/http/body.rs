//! Bodies: read with bounds in bytes and time, written whole or as a stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, TRANSFER_ENCODING};

use super::lasting::Lasting;
use super::seats::Busy;
use super::sse::{Pulse, Sse};
use super::trail::Lines;
use crate::base::shutdown::Stop;
use crate::guard::Guard;

/// Whether a body is coded in another way than in chunks (RFC 9112, section 6.1). Who takes it apart sees the chunks alone, so that what
/// is compressed within them would look like the body itself.
pub(super) fn is_coded_twice(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(one), None) => !one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It is longer than one body may be.
    TooLarge,
    /// All bodies together would be more than is held at once.
    NoRoom,
    /// It did not come in time.
    TooSlow,
    /// The connection broke, or the framing is wrong.
    Broken,
}

/// Bytes of bodies that are held at this moment.
#[derive(Debug, Default)]
pub(super) struct Room {
    held: AtomicUsize,
}

/// A body in memory; gives its room back when dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) bytes: Bytes,
    _share: Share<'a>,
}

#[derive(Debug)]
struct Share<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Share<'_> {
    fn grow(&mut self, more: usize, limit: usize) -> Result<(), BodyFault> {
        let before = self.room.held.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if before + more > limit {
            return Err(BodyFault::NoRoom);
        }
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How much is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) each: usize,
    pub(super) all: usize,
    pub(super) time: Duration,
}

impl Room {
    /// Reads a whole body. A length that is announced is checked before the first byte is read.
    pub(super) async fn read(
        &self,
        body: Incoming,
        limits: BodyLimits,
    ) -> Result<Held<'_>, BodyFault> {
        let announced = body.size_hint().lower();
        if usize::try_from(announced).map_or(true, |length| length > limits.each) {
            return Err(BodyFault::TooLarge);
        }
        tokio::time::timeout(limits.time, self.collect(body, limits))
            .await
            .unwrap_or(Err(BodyFault::TooSlow))
    }

    async fn collect(&self, mut body: Incoming, limits: BodyLimits) -> Result<Held<'_>, BodyFault> {
        let mut share = Share {
            room: self,
            bytes: 0,
        };
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyFault::Broken)?.into_data() else {
                continue;
            };
            if share.bytes + data.len() > limits.each {
                return Err(BodyFault::TooLarge);
            }
            share.grow(data.len(), limits.all)?;
            // Nearly every body comes in one piece, which is then not copied.
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        let bytes = if rest.is_empty() {
            first
        } else {
            let mut whole = BytesMut::with_capacity(first.len() + rest.len());
            whole.extend_from_slice(&first);
            whole.unsplit(rest);
            whole.freeze()
        };
        Ok(Held {
            bytes,
            _share: share,
        })
    }
}

/// The body of a response.
#[derive(Debug)]
pub(super) enum Body {
    /// One piece, or nothing any more.
    Whole(Bytes),
    /// Server-sent events.
    Events(Box<Sse>),
    /// Lines of the audit trail.
    Lines(Box<Lines>),
    /// A stream that lasts: no body of hyper's.
    Lasting(Lasting),
}

impl Body {
    /// The stream that lasts, if it is one.
    pub(super) fn take_lasting(&mut self) -> Option<Lasting> {
        match self {
            Self::Whole(_) | Self::Events(_) | Self::Lines(_) => None,
            Self::Lasting(_) => match std::mem::replace(self, Self::Whole(Bytes::new())) {
                Self::Lasting(lasting) => Some(lasting),
                Self::Whole(_) | Self::Events(_) | Self::Lines(_) => None,
            },
        }
    }
}

impl Body {
    /// Makes a stream that lasts an ordinary body, which ends with its key and when the server stops.
    pub(super) fn flow(&mut self, guard: &Arc<Guard>, stop: Stop) {
        if let Some(lasting) = self.take_lasting() {
            *self = lasting
                .flow(guard, stop)
                .map_or(Self::Whole(Bytes::new()), |events| {
                    Self::Events(Box::new(events))
                });
        }
    }

    /// Lets somebody watch whether a stream is taken.
    pub(super) fn pulse(&mut self) -> Option<Arc<Pulse>> {
        match self {
            Self::Events(events) => Some(events.pulse()),
            Self::Lines(lines) => Some(lines.pulse()),
            Self::Whole(_) | Self::Lasting(_) => None,
        }
    }

    /// Counts a stream as work for as long as it flows. Anything else was done when it was made.
    pub(super) fn hold(&mut self, busy: Busy) {
        match self {
            Self::Events(events) => events.hold(busy),
            Self::Lines(lines) => lines.hold(busy),
            Self::Whole(_) | Self::Lasting(_) => {}
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(events) => events
                .poll_event(context)
                .map(|event| event.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Lines(lines) => lines
                .poll_next(context)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
            Self::Lasting(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Events(_) | Self::Lines(_) | Self::Lasting(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Events(_) | Self::Lines(_) | Self::Lasting(_) => SizeHint::default(),
        }
    }
}
