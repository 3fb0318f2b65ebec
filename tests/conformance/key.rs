//! The way in for clients that have no key: a connection on which every request carries one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The end of the first line of a request; no line of a header or of JSON ends so.
const REQUEST_LINE_END: &[u8] = b" HTTP/1.1\r\n";

/// A connection whose requests get one more header.
#[derive(Debug)]
pub(crate) struct WithKey<S> {
    inner: S,
    header: Vec<u8>,
    /// Bytes of [`REQUEST_LINE_END`] that were seen last.
    seen: usize,
    /// Bytes that were read and not handed on yet.
    ready: Vec<u8>,
}

impl<S> WithKey<S> {
    pub(crate) fn new(inner: S, key: &str) -> Self {
        Self {
            inner,
            header: format!("authorization: Bearer {key}\r\n").into_bytes(),
            seen: 0,
            ready: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.ready.push(*byte);
            self.seen = if REQUEST_LINE_END.get(self.seen) == Some(byte) {
                self.seen + 1
            } else {
                usize::from(REQUEST_LINE_END.first() == Some(byte))
            };
            if self.seen == REQUEST_LINE_END.len() {
                self.ready.extend_from_slice(&self.header);
                self.seen = 0;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithKey<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready.is_empty() {
            let mut bytes = [0_u8; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
            let this = &mut *self;
            this.take(read.filled());
        }
        let length = self.ready.len().min(buffer.remaining());
        let handed: Vec<u8> = self.ready.drain(..length).collect();
        buffer.put_slice(&handed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithKey<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
