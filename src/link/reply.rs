//! Where the answer to a command goes, and the spans that end with it.

use tokio::sync::oneshot;
use tracing::Span;

use super::error::CommandError;
use super::session::Answer;
use crate::telemetry::spans;
use crate::wire::qrc::Method;

/// The way back to a caller. To drop it tells that no answer will come.
#[derive(Debug)]
pub struct Reply {
    to: oneshot::Sender<Answer>,
    /// Nothing where nothing is traced.
    traced: Option<Box<Traced>>,
}

#[derive(Debug)]
struct Traced {
    command: Span,
    /// None until the command goes to a Core.
    frame: Span,
}

impl From<oneshot::Sender<Answer>> for Reply {
    fn from(to: oneshot::Sender<Answer>) -> Self {
        Self { to, traced: None }
    }
}

impl Reply {
    /// The way back to one whose command is this span.
    pub(super) fn new(to: oneshot::Sender<Answer>, command: &Span) -> Self {
        let traced = (!command.is_disabled()).then(|| {
            Box::new(Traced {
                command: command.clone(),
                frame: Span::none(),
            })
        });
        Self { to, traced }
    }

    /// From here on the time is that of the Core at this address.
    pub(super) fn framed(&mut self, method: Method, address: &str) {
        if let Some(traced) = &mut self.traced {
            traced.frame = spans::frame(&traced.command, method.as_str(), address);
        }
    }

    /// Answers. A caller who left does not need it, and the effect is the same.
    pub(crate) fn send(self, answer: Answer) {
        if let (Err(fault), Some(traced)) = (&answer, &self.traced) {
            note(&traced.frame, fault);
        }
        // Before its caller goes on, so that the span of a command is over after that of its frame.
        drop(self.traced);
        let _left = self.to.send(answer);
    }
}

/// Notes in a span why its command failed.
pub(super) fn note(span: &Span, fault: &CommandError) {
    if span.is_disabled() {
        return;
    }
    spans::failed(span, fault.word());
    if let CommandError::Refused { code, message, .. } = fault {
        span.record("rpc.jsonrpc.error_code", *code);
        spans::told(span, message);
    }
}
