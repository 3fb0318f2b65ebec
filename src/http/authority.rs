//! `/ca.pem`: the authority behind the box's certificate, for clients that have to be told whom to trust.

use bytes::Bytes;
use hyper::Response;

use super::body::Body;
use super::reply;
use crate::tls::Certificates;

/// Answers with the box's own authority, if it has one.
pub(super) fn answer(certificates: Option<&Certificates>) -> Response<Body> {
    match certificates.map(Certificates::authority_pem) {
        Some(Some(pem)) => reply::pem(Bytes::from(pem)),
        Some(None) => reply::text(
            404,
            "This box shows a certificate that the site brought along: trust the site's authority.\n",
        ),
        None => reply::text(
            404,
            "This box serves no TLS, so it has no certificate authority.\n",
        ),
    }
}
