//! The port with TLS: few handshakes at once and little time for each, then HTTP/2 or HTTP/1.1, as the client chooses.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::seats::{Seat, Seats};
use super::stream::Stream;
use super::{Front, Limits, converse, multiplexed};
use crate::base::shutdown::Stop;
use crate::tls::Certificates;

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// What a port with TLS shares among its connections.
pub(super) struct Secure {
    both: TlsAcceptor,
    /// For when there are as many connections with HTTP/2 as may be.
    older: TlsAcceptor,
    handshakes: Arc<Seats>,
    handshake_timeout: Duration,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure")
            .field("handshakes", &self.handshakes)
            .finish_non_exhaustive()
    }
}

impl Secure {
    pub(super) fn new(
        certificates: &Arc<Certificates>,
        limits: &Limits,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            both: certificates.server_config(&[HTTP_2, HTTP_1])?.into(),
            older: certificates.server_config(&[HTTP_1])?.into(),
            handshakes: Seats::new(limits.handshakes, limits.handshakes_per_address),
            handshake_timeout: limits.handshake_timeout,
        })
    }
}

/// Serves one connection from the first byte of its handshake on.
pub(super) async fn converse(
    front: Arc<Front>,
    secure: Arc<Secure>,
    stream: TcpStream,
    peer: IpAddr,
    stop: Stop,
    seat: Seat,
) {
    let Ok(place) = secure.handshakes.take(peer) else {
        return;
    };
    let acceptor = if front.multiplexed.has_room() {
        &secure.both
    } else {
        &secure.older
    };
    let handshake = Box::pin(timeout(secure.handshake_timeout, acceptor.accept(stream)));
    let stream = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        () = seat.usage.left() => return,
        () = place.usage.left() => return,
        made = handshake => match made {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "a TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "a TLS handshake took too long");
                return;
            }
        },
    };
    drop(place);
    drop(secure);
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() == Some(HTTP_2) {
        multiplexed::converse(front, Stream::Secure(stream), peer, stop, Some(seat)).await;
    } else {
        converse::converse(front, Stream::Secure(stream), peer, stop, Some(seat)).await;
    }
}
