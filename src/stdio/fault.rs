//! Why a box did not answer, in words for the person at the other end: what happened, whether anything was done, what to do next.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::address::Address;
use crate::limits::BRIDGE_MESSAGE_MAX_BYTES;
use crate::mcp::{Code, error_json};

/// A request that the box did not answer by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// There is no connection; nothing was sent.
    #[error(
        "The box at {address} cannot be reached ({why}), so nothing was sent. Check that it runs and that the URL is right.{}",
        port_hint(address)
    )]
    Unreachable {
        /// The box.
        address: Address,
        /// What the system says.
        why: String,
    },
    /// TLS failed; nothing was sent.
    #[error("The box at {address} cannot be spoken to with TLS ({why}), so nothing was sent.")]
    Tls {
        /// The box.
        address: Address,
        /// What went wrong.
        why: String,
    },
    /// The certificate is another one; nothing was sent.
    #[error(
        "The box at {address} shows another certificate than the one of --fingerprint, and none that this one signed, so nothing was sent. It shows SHA-256 {shown}: compare it with what `rackhand certificate` prints on the box, and use it only if they agree."
    )]
    Untrusted {
        /// The box.
        address: Address,
        /// The SHA-256 that it shows.
        shown: String,
    },
    /// The certificate is not vouched for; nothing was sent.
    #[error(
        "The certificate of the box at {address} is not good ({why}), so nothing was sent. Use a name or address of the box that its certificate names (`rackhand certificate` on the box prints them), and the authority from its /ca.pem."
    )]
    Unsigned {
        /// The box.
        address: Address,
        /// What is wrong with it.
        why: String,
    },
    /// The file of `--ca` cannot be used; nothing was sent.
    #[error("{} of --ca cannot be used ({why}), so nothing was sent. Get it from the box: http://BOX:8080/ca.pem on the box itself, or https://BOX:8443/ca.pem.", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The box took no key, or not this one.
    #[error("{words} Give the bridge the key with RACKHAND_KEY or --key-file.")]
    Key {
        /// The box's own words.
        words: String,
        /// The box's code.
        code: i64,
    },
    /// What answers is no box.
    #[error(
        "{address} is not the MCP endpoint of a box: it answers with HTTP status {status}. The URL of a box ends in /mcp."
    )]
    NoBox {
        /// The URL.
        address: Address,
        /// What it answers with.
        status: u16,
    },
    /// The answer to something that may change the room did not come.
    #[error(
        "The connection to the box broke before its answer came. What was asked may have been carried out: read the present state before you ask again."
    )]
    OutcomeUnknown,
    /// The answer to something that only looks did not come.
    #[error("The connection to the box broke before its answer came. Ask again.")]
    Lost,
    /// The answer is longer than a bridge holds.
    #[error(
        "The answer of the box is longer than {} MiB and was not taken. What was asked has been carried out.",
        BRIDGE_MESSAGE_MAX_BYTES >> 20
    )]
    TooLong,
    /// The bridge carries as much as it can.
    #[error("Too many requests are under way through this bridge. Wait for one of them to end.")]
    Busy,
    /// The box forgets each session as soon as it is opened.
    #[error(
        "The box ended the session again as soon as it was opened anew. Start this client again."
    )]
    NoSession,
    /// A new session is not like the one before.
    #[error(
        "The box has changed since this client connected, and speaks another revision of MCP with it now. Start this client again."
    )]
    OtherRevision,
}

fn port_hint(address: &Address) -> &'static str {
    match (address.names_port, address.is_secure) {
        (true, _) => "",
        (false, true) => " The URL names no port; boxes usually listen on 8443 with https.",
        (false, false) => " The URL names no port; boxes usually listen on 8080.",
    }
}

impl Fault {
    /// Whether nothing was sent for want of a connection, so that it may be tried again.
    pub(super) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether trying again helps, without a person doing something before.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Lost
                | Self::OutcomeUnknown
                | Self::TooLong
                | Self::Busy
        )
    }

    /// The JSON-RPC error for the request with this id.
    pub(super) fn to_json(&self, id: Option<&str>) -> Vec<u8> {
        let message = self.to_string();
        match self {
            Self::Key { code, .. } => {
                let error = json!({"code": code, "message": message}).to_string();
                with_id(&error, id)
            }
            Self::OutcomeUnknown => error_json(
                Code::Internal,
                &message,
                &json!({"code": "OUTCOME_UNKNOWN"}),
                id,
            ),
            _ => error_json(Code::Internal, &message, &Value::Null, id),
        }
    }
}

/// An error object, as it is in JSON, as the answer to the request with this id.
pub(super) fn with_id(error: &str, id: Option<&str>) -> Vec<u8> {
    let id = id.map_or_else(String::new, |id| format!("\"id\":{id},"));
    format!(r#"{{"jsonrpc":"2.0",{id}"error":{error}}}"#).into_bytes()
}
