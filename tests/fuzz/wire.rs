//! Frames of a Core and of its clients.

use std::fmt::Debug;

use rackhand::wire::jsonrpc::{Frame, Id};
use rackhand::wire::poll;
use rackhand::wire::qrc::{
    ComponentFacts, ComponentState, ControlChange, Controls, EngineStatus, Request,
};
use serde::{Deserialize, Serialize};

use super::json::{Bent, FromCore, Polls, ToCore};

/// Whatever payload a Core may send is refused or read, and what was read is written so that it reads the same.
pub(crate) fn from_core_holds(frame: &Bent<FromCore>) {
    let Ok(frame) = Frame::parse(&frame.text) else {
        return;
    };
    for payload in [frame.params, frame.result].into_iter().flatten() {
        let payload = payload.get();
        reads_again::<EngineStatus>(payload);
        reads_again::<Vec<ComponentFacts>>(payload);
        reads_again::<Controls<'_>>(payload);
        reads_again::<ComponentState<'_>>(payload);
        reads_again::<ControlChange<'_>>(payload);
        reads_again::<Vec<ControlChange<'_>>>(payload);
    }
    if let Some(error) = frame.error {
        assert!(error.to_string().contains(&error.code.to_string()));
    }
}

fn reads_again<'a, T: Deserialize<'a> + Serialize + Debug>(payload: &'a str) {
    if let Ok(read) = serde_json::from_str::<T>(payload) {
        let written = serde_json::to_string(&read).unwrap();
        // The text outlives the comparison only by being leaked, and is compared as JSON instead, which numbers survive.
        let again: serde_json::Value = serde_json::from_str(&written).expect("it was written here");
        assert!(!again.is_null(), "{read:?} was written as null");
    }
}

/// A request is refused with a code and a reason, or it survives being written and read.
pub(crate) fn to_core_holds(frame: &Bent<ToCore>) {
    let Ok(frame) = Frame::parse(&frame.text) else {
        return;
    };
    let Some(method) = &frame.method else { return };
    match Request::read(method, frame.params) {
        Ok(request) => {
            let id = frame.id.unwrap_or(Id::Number(1));
            let written = request.to_frame(Some(&id), frame.api_key.as_deref());
            let again: Frame<'_> = serde_json::from_str(&written).expect("it was written here");
            assert!(again.id.expect("it was written with an id").means(&id));
            assert_eq!(again.method.as_deref(), Some(request.method().as_str()));
            let read = Request::read(request.method().as_str(), again.params);
            assert_eq!(read, Ok(request), "{written}");
        }
        Err(error) => {
            assert!(matches!(error.code, -32_601 | -32_602), "{error}");
            assert!(!error.message.is_empty());
        }
    }
}

/// The stream reader finds what the envelope and the payload, read one after the other, hold.
pub(crate) fn poll_holds(frame: &Bent<Polls>) {
    let text = &frame.text;
    let mut streamed = Vec::new();
    let in_stream = poll::read_frame(text, &mut |batch| {
        assert!(!batch.is_empty() && batch.len() <= poll::BATCH_MAX);
        streamed.extend(batch.iter().cloned().map(ControlChange::into_owned));
    });
    let _ = poll::looks_like_poll(text);
    if let Ok(found) = &in_stream {
        assert_eq!(found.changes, streamed.len());
        assert!(
            serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
            "it is not even JSON"
        );
    }
    let Ok(envelope) = Frame::parse(text) else {
        return;
    };
    let ((Some(payload), None) | (None, Some(payload))) = (envelope.result, envelope.params) else {
        return;
    };
    let mut slow = Vec::new();
    let in_pieces = poll::changes_of(payload.get(), &mut |batch| {
        slow.extend(batch.iter().cloned().map(ControlChange::into_owned));
    });
    assert_eq!(slow, streamed);
    match (in_pieces, in_stream) {
        (Ok(pieces), Ok(stream)) => {
            assert_eq!(stream.id, envelope.id);
            assert_eq!(
                (pieces.group, pieces.changes, pieces.is_poll),
                (stream.group, stream.changes, stream.is_poll)
            );
        }
        (Err(_), Err(_)) => {}
        (pieces, stream) => panic!("{pieces:?} in pieces, {stream:?} in a stream"),
    }
}
