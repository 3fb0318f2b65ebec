//! `/audit.jsonl`: the audit trail as it stands on disk, in pieces that are read as the client takes them.

use std::fmt;
use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::Response;
use hyper::header::HeaderMap;
use tokio::task::spawn_blocking;

use super::Front;
use super::body::Body;
use super::lasting::Pass;
use super::places::Place;
use super::reply;
use super::route::Route;
use super::seats::Busy;
use super::sse::{Beating, Pulse};
use crate::audit::Export;
use crate::base::clock::UnixMillis;
use crate::guard::Caller;

type Read = io::Result<(Export, Option<Vec<u8>>)>;

/// An export on its way to a client, which ends with the key that asked for it.
pub(super) struct Lines {
    reading: Option<BoxFuture<'static, Read>>,
    /// Ready when the key has ended.
    over: BoxFuture<'static, ()>,
    busy: Option<Busy>,
    pulse: Option<Beating>,
    _place: Place,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    fn new(reading: BoxFuture<'static, Read>, mut pass: Pass, place: Place) -> Self {
        Self {
            reading: Some(reading),
            over: Box::pin(async move { pass.ended().await }),
            busy: None,
            pulse: None,
            _place: place,
        }
    }

    /// Lets somebody watch whether it is taken.
    pub(super) fn pulse(&mut self) -> Arc<Pulse> {
        let (beating, pulse) = Beating::new();
        self.pulse = Some(beating);
        pulse
    }

    /// Counts as work from now on.
    pub(super) fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// The next piece; an error where the disk does not give it or the key has ended, so that nobody takes half a trail for a whole one.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(pulse) = &self.pulse {
            pulse.beat();
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        if self.over.as_mut().poll(context).is_ready() {
            self.reading = None;
            return Poll::Ready(Some(Err(io::Error::other("the key has ended"))));
        }
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
pub(super) async fn answer(front: &Front, query: Option<&str>, caller: &Caller) -> Response<Body> {
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
    let pass = Pass::new(&front.guard, caller.clone());
    match begun.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok(Some(export)) => reply::lines(Lines::new(read_on(export), pass, place)),
        Ok(None) => {
            let nothing = ready(Err(io::ErrorKind::NotFound.into()));
            reply::lines(Lines::new(Box::pin(nothing), pass, place))
        }
        Err(error) => {
            tracing::warn!(%error, "the audit trail cannot be read");
            refuse(503, "The audit trail cannot be read from disk.")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::net::IpAddr;

    use super::super::places::Places;
    use super::super::seats::Usage;
    use super::*;
    use crate::guard::{Guard, KeyFile, KeySource, NewKey, Role};

    #[tokio::test]
    async fn an_export_counts_as_work_and_ends_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        let key = file.create(&NewKey::new("desk", Role::Admin)).unwrap();
        let guard = Arc::new(Guard::new(KeySource::File(file.clone())).unwrap());
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", key.expose().parse().unwrap());
        let caller = guard.admit(&headers, IpAddr::from([127, 0, 0, 1])).unwrap();
        let (usage, places) = (Usage::new(), Places::new(1));
        let place = places.take().unwrap();
        // A disk that does not answer.
        let mut lines = Lines::new(Box::pin(pending()), Pass::new(&guard, caller), place);
        lines.hold(usage.begin());
        assert!(usage.idle_since().is_none());
        let first = futures_util::poll!(poll_fn(|context| lines.poll_next(context)));
        assert!(first.is_pending());
        file.revoke("desk").unwrap();
        guard.reload().unwrap();
        let last = poll_fn(|context| lines.poll_next(context)).await;
        assert!(last.unwrap().is_err());
        assert!(poll_fn(|context| lines.poll_next(context)).await.is_none());
        drop(lines);
        assert!(usage.idle_since().is_some() && places.has_room());
    }
}
