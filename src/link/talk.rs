//! A connection and the session that speaks on it: whatever the socket takes goes out, whatever has arrived comes in.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::connection::{Connection, Cut, Inbound};
use super::session::Session;

/// See the module.
pub(super) struct Talk {
    pub(super) connection: Connection,
    pub(super) session: Session,
    /// It was live at some time.
    pub(super) was_live: bool,
    pub(super) age: Age,
}

/// How long a connection has been what it was made for: live, or a standby's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Unsettled,
    Since(Instant),
    Lasted,
}

impl Talk {
    /// Writes what can be written, then reads what has arrived. Nothing is lost when this is called again instead of awaited.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Inbound, Cut>> {
        self.write(cx)?;
        let read = self.connection.as_mut().poll_next(cx);
        read.map(|read| read.unwrap_or_else(|| Err(Cut::Closed(String::new()))))
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Cut> {
        while let Poll::Ready(ready) = self.connection.as_mut().poll_ready(cx) {
            ready?;
            let Some(frame) = self.session.transmit(Instant::now()) else {
                break;
            };
            self.connection.as_mut().start_send(frame)?;
        }
        match self.connection.as_mut().poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}
