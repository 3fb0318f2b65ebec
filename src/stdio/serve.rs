//! A server on standard input and output: the host that started this process is its one client.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::codec::FramedRead;

use super::lines::{Line, LineFraming, as_line};
use crate::base::shutdown::Stop;
use crate::guard::Caller;
use crate::limits::{LINE_MAX_BYTES, PIPE_DRAIN_SECS};
use crate::mcp::{Connection, Outgoing, Server};

/// How long answers are waited for after the last message of the client.
const LAST_WORDS: Duration = Duration::from_secs(PIPE_DRAIN_SECS);

/// Serves one client, who may do what `caller` may, until its input ends and everything is answered, its output is closed, or `stop`.
/// What changes something goes on after that; [`Server::finish_writes`] waits for it.
pub async fn serve<R, W>(server: &Arc<Server>, caller: Caller, input: R, output: W, stop: Stop)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Ok((connection, outgoing)) = server.connect(caller) else {
        // There is one client, so there is room for it.
        return;
    };
    let mut input = FramedRead::new(input, LineFraming::new(LINE_MAX_BYTES));
    let mut writer = pin!(write(outgoing, output));
    tokio::select! {
        biased;
        () = &mut writer => return,
        () = stop.cancelled() => {}
        () = read(connection, &mut input) => {}
    }
    // The way in is closed: subscriptions end, and what was asked is answered.
    let _rest = timeout(LAST_WORDS, writer).await;
}

/// Takes line after line. A client that does not read what it was answered is not read from either.
async fn read<R: AsyncRead + Unpin>(
    connection: Connection,
    input: &mut FramedRead<R, LineFraming>,
) {
    loop {
        connection.ready().await;
        let taken = match input.next().await {
            None => return,
            Some(Err(fault)) => {
                tracing::warn!("Standard input cannot be read: {fault}");
                return;
            }
            Some(Ok(Line::Whole(line))) => connection.take(&line),
            Some(Ok(Line::TooLong)) => connection.refuse_unread(&format!(
                "The message is too long: at most {} MiB is taken on a line.",
                LINE_MAX_BYTES >> 20
            )),
        };
        if let Err(overrun) = taken {
            tracing::warn!("{overrun}: the connection ends");
            return;
        }
    }
}

/// Writes each message as soon as it is there, until there will be none.
async fn write<W: AsyncWrite + Unpin>(mut outgoing: Outgoing, mut output: W) {
    while let Some(message) = outgoing.next().await {
        let line = as_line(&message);
        let written = async {
            output.write_all(&line).await?;
            output.flush().await
        };
        if let Err(fault) = written.await {
            tracing::debug!("standard output is closed: {fault}");
            return;
        }
    }
}
