//! A client's socket: writes that make no progress end it, and whoever takes it over can see that everything was sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::limits::WRITE_STALL_SECS;

/// A socket on which a write may not stand still for ever: a client that does not read is cut.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    is_flushed: Flushed,
    stalled: Option<Pin<Box<Sleep>>>,
}

/// Whether everything that was written was also sent, as the writer sees it: it flushes when it has nothing more.
#[derive(Debug, Clone, Default)]
pub(super) struct Flushed(Arc<AtomicBool>);

impl Flushed {
    pub(super) fn is_true(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, is_flushed: bool) {
        self.0.store(is_flushed, Ordering::Relaxed);
    }
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, is_flushed: Flushed) -> Self {
        is_flushed.set(true);
        Self {
            stream,
            is_flushed,
            stalled: None,
        }
    }

    /// What a write came to: one that waits is given some time, counted from the last that went through.
    fn judge<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let limit = Duration::from_secs(WRITE_STALL_SECS);
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_flushed.set(false);
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(outcome, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_flushed.set(false);
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.judge(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        if outcome.is_ready() {
            this.is_flushed.set(true);
        }
        this.judge(outcome, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_and_one_that_reads_slowly_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut socket = Socket::new(ours, Flushed::default());
        let limit = Duration::from_secs(WRITE_STALL_SECS);
        let reading = async {
            let mut buffer = [0; 4];
            for _ in 0..5 {
                tokio::time::sleep(limit * 9 / 10).await;
                theirs.read_exact(&mut buffer).await.unwrap();
            }
            Instant::now()
        };
        let writing = async {
            let fault = socket.write_all(&[0; 64]).await.unwrap_err();
            (fault.kind(), Instant::now())
        };
        let (last_read, (fault, cut)) = tokio::join!(reading, writing);
        assert_eq!(fault, io::ErrorKind::TimedOut);
        assert_eq!(cut - last_read, limit);
    }
}
