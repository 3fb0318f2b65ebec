//! Who comes in without a credential: nobody, unless the configuration says otherwise.

use std::sync::Arc;

use super::door::Door;
use super::{Caller, CredentialId, Network, Purse, Reach, Role, Scopes};

/// Name of callers that no credential let in.
const ANONYMOUS: &str = "(anonymous)";

/// Name of callers on this machine.
const LOOPBACK: &str = "(loopback)";

/// Who comes in without a credential.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// What programs on this machine are let in as; none is not at all. An address of the LAN is never this machine.
    pub loopback: Option<Role>,
    /// Tools that anybody may call.
    pub tools: Arc<[String]>,
    /// Networks whose machines read the numbers of the box.
    pub scrapers: Vec<Network>,
    /// Whether MCP's `ping` is answered to anybody.
    pub answers_ping: bool,
}

impl Open {
    /// Who somebody without a credential is here, if anybody.
    pub(super) fn admit(&self, door: &Door<'_>) -> Option<Caller> {
        if let Some(role) = self.loopback
            && door.is_from_this_machine()
        {
            return Some(Caller {
                credential: CredentialId::Loopback,
                address: Some(door.peer.to_canonical()),
                ..Caller::local(LOOPBACK, role)
            });
        }
        (door.speaks_mcp && !self.tools.is_empty()).then(|| Caller {
            name: ANONYMOUS.into(),
            role: Role::Guest,
            scopes: Scopes::default(),
            reach: Reach::everything(),
            tools: Some(Arc::clone(&self.tools)),
            credential: CredentialId::Anonymous,
            address: Some(door.peer.to_canonical()),
            purse: Purse::default(),
        })
    }
}
