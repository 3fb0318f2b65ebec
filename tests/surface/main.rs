//! The HTTP surface over real sockets, as friends and foes meet it: TLS, HTTP/2, framing tricks, slow clients and crowds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that finds something else has failed"
)]

mod bed;
mod crowd;
mod frames;
mod framing;
mod http2;
mod log;
mod pages;
mod slow;
mod tls;
