//! What clients are told of the identity provider: the metadata of a protected resource (RFC 9728), and the hint at it in refusals.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, Uri};
use serde_json::json;

use super::body::Body;
use super::reply;
use crate::guard::token::ProviderRules;

/// The path of the metadata; that of the endpoint follows it (RFC 9728, section 3.1).
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// Where clients without a provider to ask are sent.
pub(super) const NO_OAUTH: &str = "This server does not use OAuth: put an API key into the client's configuration as the header `Authorization: Bearer KEY`; `rackhand key new` on the server makes one.\n";

/// What is told, made once.
#[derive(Debug)]
pub(super) struct Metadata {
    document: Bytes,
    /// The parameter of a challenge that names the document.
    hint: String,
}

impl Metadata {
    pub(super) fn new(rules: &ProviderRules) -> Self {
        let uri: Uri = rules.resource.parse().unwrap_or_default();
        let origin = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or("https"),
            uri.authority().map_or("", |authority| authority.as_str())
        );
        let path = uri.path().trim_end_matches('/');
        let document = json!({
            "resource": rules.resource,
            "resource_name": "rackhand for Q-SYS",
            "authorization_servers": [rules.issuer],
            "bearer_methods_supported": ["header"],
        });
        Self {
            document: Bytes::from(document.to_string()),
            hint: format!("resource_metadata=\"{origin}{METADATA}{path}\""),
        }
    }

    pub(super) fn answer(&self) -> Response<Body> {
        reply::json(200, self.document.clone())
    }

    /// Names the document in a challenge, if there is one.
    pub(super) fn hint_at(&self, headers: &mut HeaderMap) {
        let challenge = headers
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok());
        let hinted = challenge.map(|challenge| format!("{challenge}, {}", self.hint));
        if let Some(value) = hinted.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, value);
        }
    }
}
