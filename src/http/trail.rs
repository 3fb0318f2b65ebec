//! `/audit.jsonl`: the audit trail as it stands on disk, in pieces that are read as the client takes them.

use std::fmt;
use std::future::ready;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::Response;
use hyper::header::HeaderMap;
use tokio::task::spawn_blocking;

use super::Front;
use super::body::Body;
use super::places::Place;
use super::reply;
use super::route::Route;
use crate::audit::Export;
use crate::base::clock::UnixMillis;

type Read = io::Result<(Export, Option<Vec<u8>>)>;

/// An export on its way to a client.
pub(super) struct Lines {
    reading: Option<BoxFuture<'static, Read>>,
    _place: Place,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    /// The next piece; an error where the disk does not give it, so that nobody takes half a trail for a whole one.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let read = std::task::ready!(Pin::new(reading).poll(context));
        self.reading = None;
        match read {
            Ok((_, None)) => Poll::Ready(None),
            Ok((export, Some(chunk))) => {
                self.reading = Some(read_on(export));
                Poll::Ready(Some(Ok(Bytes::from(chunk))))
            }
            Err(error) => {
                tracing::warn!(%error, "the audit trail cannot be read");
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

fn read_on(mut export: Export) -> BoxFuture<'static, Read> {
    let work = spawn_blocking(move || {
        let chunk = export.next_chunk()?;
        Ok((export, chunk))
    });
    Box::pin(async move {
        work.await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
    })
}

/// `GET /audit.jsonl`, from the moment on that `since` in the query says.
pub(super) async fn answer(front: &Front, query: Option<&str>) -> Response<Body> {
    let asked = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("since="));
    let since = asked.map(|text| UnixMillis::from_iso(&text.replace("%3A", ":")));
    let refuse =
        |status, message| super::refuse(Route::AuditLines, &HeaderMap::new(), status, message);
    if since.is_some_and(|since| since.is_none()) {
        return refuse(
            400,
            "`since` is no moment in UTC: write 2026-11-21 or 2026-11-21T18:55Z.",
        );
    }
    let Some(place) = front.exports.take() else {
        let mut response = refuse(
            429,
            "Too many exports at this moment. Try again when one is over.",
        );
        reply::set_retry_after(response.headers_mut(), std::time::Duration::from_secs(5));
        return response;
    };
    let audit = front.server.audit().clone();
    let begun = spawn_blocking(move || audit.export(since.flatten())).await;
    match begun.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok(Some(export)) => {
            let lines = Lines {
                reading: Some(read_on(export)),
                _place: place,
            };
            reply::lines(lines)
        }
        Ok(None) => reply::lines(Lines {
            reading: Some(Box::pin(ready(Err(io::ErrorKind::NotFound.into())))),
            _place: place,
        }),
        Err(error) => {
            tracing::warn!(%error, "the audit trail cannot be read");
            refuse(503, "The audit trail cannot be read from disk.")
        }
    }
}
