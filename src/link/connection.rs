//! One open connection to a Core as frames in and frames out, whatever carries them.

use std::io;
use std::pin::Pin;

use bytes::{Buf, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_util::codec::{Decoder, Encoder, Framed};

use crate::limits::CORE_FRAME_MAX_BYTES;

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// One frame.
    Text(Utf8Bytes),
    /// Something that cannot be a frame: a binary message, or bytes that are no UTF-8.
    Noise,
    /// A sign of life without content: a ping or pong.
    Beat,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The Core said goodbye, or just left; with its words if it had some.
    #[error("the Core closed the connection{0}")]
    Closed(String),
    /// A frame that is too large to be taken.
    #[error("the Core sent a frame of more than {} MiB", CORE_FRAME_MAX_BYTES >> 20)]
    Oversize,
    /// Anything else, in the words of the layer below.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl From<io::Error> for Cut {
    fn from(fault: io::Error) -> Self {
        match fault.kind() {
            io::ErrorKind::FileTooLarge => Self::Oversize,
            io::ErrorKind::UnexpectedEof => Self::Closed(String::new()),
            _ => Self::Broken(fault.to_string()),
        }
    }
}

impl From<tungstenite::Error> for Cut {
    fn from(fault: tungstenite::Error) -> Self {
        match fault {
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::Oversize,
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Closed(String::new())
            }
            tungstenite::Error::Io(fault) => fault.into(),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Frames in and out, without waiting. The end of the stream is an orderly close without a reason.
pub(crate) trait Frames:
    Stream<Item = Result<Inbound, Cut>> + Sink<String, Error = Cut> + Send
{
}

impl<T: Stream<Item = Result<Inbound, Cut>> + Sink<String, Error = Cut> + Send> Frames for T {}

/// An open connection.
pub(crate) type Connection = Pin<Box<dyn Frames>>;

/// The limits under which a WebSocket to a Core is read. Frame and message are the same to QRC.
pub(super) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(CORE_FRAME_MAX_BYTES))
        .max_frame_size(Some(CORE_FRAME_MAX_BYTES))
}

/// A WebSocket after its upgrade.
pub(super) fn over_websocket<S>(socket: WebSocketStream<S>) -> Connection
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let frames = socket
        .map(|message| match message? {
            Message::Text(text) => Ok(Inbound::Text(text)),
            Message::Ping(_) | Message::Pong(_) => Ok(Inbound::Beat),
            Message::Binary(_) | Message::Frame(_) => Ok(Inbound::Noise),
            Message::Close(reason) => {
                Err(Cut::Closed(reason.map_or_else(String::new, |reason| {
                    format!(" with code {}", reason.code)
                })))
            }
        })
        .sink_map_err(Cut::from)
        .with(|frame: String| future::ready(Ok::<_, Cut>(Message::text(frame))));
    Box::pin(frames)
}

/// QRC over plain TCP: each frame ends with a NUL.
pub(super) fn over_tcp<S>(stream: S) -> Connection
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    Box::pin(Framed::new(stream, NulFraming { scanned: 0 }))
}

/// Splits at NUL, skips empty frames, never buffers more than [`CORE_FRAME_MAX_BYTES`] and what one read adds.
#[derive(Debug)]
struct NulFraming {
    /// Bytes at the start of the buffer that hold no NUL, so that a large frame is not searched again at every read.
    scanned: usize,
}

impl Decoder for NulFraming {
    type Item = Inbound;
    type Error = Cut;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Inbound>, Cut> {
        loop {
            let unseen = buffer.get(self.scanned..).unwrap_or_default();
            let Some(at) = unseen.iter().position(|byte| *byte == 0) else {
                self.scanned = buffer.len();
                if buffer.len() > CORE_FRAME_MAX_BYTES {
                    return Err(Cut::Oversize);
                }
                return Ok(None);
            };
            let frame = buffer.split_to(self.scanned + at).freeze();
            buffer.advance(1);
            self.scanned = 0;
            if frame.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Ok(Some(
                    Utf8Bytes::try_from(frame).map_or(Inbound::Noise, Inbound::Text),
                ));
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Inbound>, Cut> {
        match self.decode(buffer)? {
            // Half a frame at the end is as good as none.
            None => {
                buffer.clear();
                Ok(None)
            }
            frame => Ok(frame),
        }
    }
}

impl Encoder<String> for NulFraming {
    type Error = Cut;

    fn encode(&mut self, frame: String, buffer: &mut BytesMut) -> Result<(), Cut> {
        buffer.reserve(frame.len() + 1);
        buffer.extend_from_slice(frame.as_bytes());
        buffer.extend_from_slice(&[0]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(framing: &mut NulFraming, buffer: &mut BytesMut) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(Inbound::Text(text)) = framing.decode(buffer).unwrap() {
            found.push(text.to_string());
        }
        found
    }

    proptest! {
        #[test]
        fn frames_come_whole_however_the_reads_are_split(frames in prop::collection::vec("[a-z{}\"]{1,40}", 0..20), cuts in prop::collection::vec(1_usize..30, 1..60)) {
            let mut bytes = BytesMut::new();
            let mut framing = NulFraming { scanned: 0 };
            for frame in &frames {
                framing.encode(frame.clone(), &mut bytes).unwrap();
            }
            let mut seen = Vec::new();
            let mut buffer = BytesMut::new();
            let mut cuts = cuts.iter().cycle();
            while !bytes.is_empty() {
                let some = bytes.split_to((*cuts.next().unwrap()).min(bytes.len()));
                buffer.extend_from_slice(&some);
                seen.extend(texts(&mut framing, &mut buffer));
            }
            prop_assert_eq!(seen, frames);
        }
    }

    #[test]
    fn empty_frames_are_skipped_and_bytes_that_are_no_text_are_noise() {
        let mut framing = NulFraming { scanned: 0 };
        let mut buffer = BytesMut::from(&b"\0\0\r\n\0\xff\xfe\0{}\0"[..]);
        assert_eq!(framing.decode(&mut buffer).unwrap(), Some(Inbound::Noise));
        assert_eq!(texts(&mut framing, &mut buffer), ["{}"]);
    }

    #[test]
    fn a_frame_without_an_end_is_cut_at_the_limit() {
        let mut framing = NulFraming { scanned: 0 };
        let mut buffer = BytesMut::zeroed(0);
        buffer.resize(CORE_FRAME_MAX_BYTES + 1, b'x');
        assert!(matches!(framing.decode(&mut buffer), Err(Cut::Oversize)));
    }
}
