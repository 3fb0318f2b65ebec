//! The bounds of the HTTP surface, by which a test can narrow them.

use std::time::Duration;

use crate::limits;

/// The bounds of the HTTP surface. [`Default`] takes the numbers of [`crate::limits`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub per_address: usize,
    /// TLS handshakes under way.
    pub handshakes: usize,
    /// TLS handshakes of one address under way.
    pub handshakes_per_address: usize,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Requests that are being answered.
    pub requests: usize,
    /// Bytes of one body.
    pub body: usize,
    /// Bytes of all bodies that are held at one moment.
    pub bodies: usize,
    /// Time for the head of a request, from the end of the one before.
    pub head_timeout: Duration,
    /// Time for the body of a request.
    pub body_timeout: Duration,
    /// Time for open connections to end when the process stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::CONNECTIONS_MAX,
            per_address: limits::CONNECTIONS_PER_ADDRESS_MAX,
            handshakes: limits::HANDSHAKES_MAX,
            handshakes_per_address: limits::HANDSHAKES_PER_ADDRESS_MAX,
            handshake_timeout: Duration::from_secs(limits::HANDSHAKE_TIMEOUT_SECS),
            requests: limits::REQUESTS_MAX,
            body: limits::BODY_MAX_BYTES,
            bodies: limits::BODIES_MAX_BYTES,
            head_timeout: Duration::from_secs(limits::HEAD_TIMEOUT_SECS),
            body_timeout: Duration::from_secs(limits::BODY_TIMEOUT_SECS),
            drain: Duration::from_secs(limits::DRAIN_TIMEOUT_SECS),
        }
    }
}
