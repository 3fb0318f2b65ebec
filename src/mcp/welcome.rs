//! What a client is told of the server when it comes: by `initialize` in older revisions, by `server/discover` in newer ones.

use tokio::time::Instant;

use super::answer::Answer;
use super::error::Fault;
use super::peer::Peer;
use super::revision::Revision;
use super::schema::{self, Message, Method};
use super::{Request, Server};
use crate::guard::Caller;
use crate::limits::DISCOVER_CACHE_MS;

impl Server {
    /// Finds the revision that an `initialize` leads to, and notes what the client can do.
    pub(super) fn agree(&self, message: &Message<'_>, caller: &Caller) -> Result<Peer, Fault> {
        let began = Instant::now();
        let agreed = self.agreed(message, caller);
        self.count(Method::Initialize, &agreed, began);
        agreed
    }

    fn agreed(&self, message: &Message<'_>, caller: &Caller) -> Result<Peer, Fault> {
        let asked = message
            .params
            .protocol_version
            .and_then(schema::text)
            .ok_or_else(|| Fault::params("`protocolVersion` must be a date."))?;
        let revision = Revision::negotiate(&asked);
        let client: String = message
            .params
            .client_info
            .map(|info| info.get().chars().take(200).collect())
            .unwrap_or_default();
        tracing::debug!(caller = %caller.name, revision = revision.as_str(), ?client, "an MCP session was opened");
        let seen = self.registry.generations();
        Ok(Peer::new(revision, message.params.capabilities, seen))
    }

    /// The answer to `initialize`.
    pub(super) fn welcome(&self, id: &str, revision: Revision) -> Vec<u8> {
        let mut answer = Answer::open(id, revision, 512);
        answer.field("protocolVersion", &revision.as_str());
        answer.field("capabilities", &self.offers.capabilities(revision));
        answer.field("serverInfo", &self.info);
        answer.field("instructions", &self.instructions);
        answer.close(revision, &self.meta)
    }

    pub(super) fn discover(&self, request: &Request<'_>) -> Vec<u8> {
        let mut answer = Answer::open(request.id, request.revision, 512);
        let spoken = Revision::SPOKEN.map(Revision::as_str);
        answer.field("supportedVersions", &spoken);
        answer.field("capabilities", &self.offers.capabilities(request.revision));
        answer.field("instructions", &self.instructions);
        answer.field("ttlMs", &DISCOVER_CACHE_MS);
        answer.raw("cacheScope", "\"private\"");
        answer.close(request.revision, &self.meta)
    }
}
