//! What has to be said again when the box has forgotten a session, so that the client need not know.

use std::collections::BTreeMap;

use serde_json::Value;

use super::carry::{Carrier, Met, Parcel, SessionKey};
use super::fault::Fault;
use crate::limits::BRIDGE_SUBSCRIPTIONS_MAX;
use crate::mcp::Outline;

/// A session as the client made it.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// The client's `initialize`.
    opening: Parcel,
    /// The revision that was agreed on.
    version: String,
    /// The client's `notifications/initialized`.
    initialized: Option<Parcel>,
    /// The client's last `logging/setLevel`.
    level: Option<Parcel>,
    /// The client's `resources/subscribe` for each URI.
    subscriptions: BTreeMap<Box<str>, Parcel>,
}

/// The session that an answer to `initialize` opens; `None` when the answer is an error.
pub(super) fn opened(answer: &[u8], id: Option<&str>) -> Option<SessionKey> {
    let result: Value = serde_json::from_str(Outline::of(answer).ok()?.result?).ok()?;
    let version = result.get("protocolVersion")?.as_str()?;
    SessionKey::new(id, version.to_owned())
}

impl Memory {
    /// A session that was just opened.
    pub(super) const fn new(opening: Parcel, version: String) -> Self {
        Self {
            opening,
            version,
            initialized: None,
            level: None,
            subscriptions: BTreeMap::new(),
        }
    }

    /// Whether the client has said that it is ready: then it hears what comes without being asked for.
    pub(super) const fn is_ready(&self) -> bool {
        self.initialized.is_some()
    }

    /// Keeps what has to be said again.
    pub(super) fn note(&mut self, parcel: &Parcel) {
        match &*parcel.method {
            "notifications/initialized" => self.initialized = Some(parcel.clone()),
            "logging/setLevel" => self.level = Some(parcel.clone()),
            "resources/subscribe" => {
                if let Some(uri) = &parcel.uri
                    && (self.subscriptions.len() < BRIDGE_SUBSCRIPTIONS_MAX
                        || self.subscriptions.contains_key(uri))
                {
                    self.subscriptions.insert(uri.clone(), parcel.clone());
                }
            }
            "resources/unsubscribe" => {
                if let Some(uri) = &parcel.uri {
                    self.subscriptions.remove(uri);
                }
            }
            _ => {}
        }
    }

    /// Opens the session anew.
    pub(super) async fn open_again(&self, carrier: &Carrier) -> Result<SessionKey, Fault> {
        let (met, id) = carrier.carry(&self.opening, None).await?;
        let Met::Answer(answer) = met else {
            return Err(Fault::NoSession);
        };
        let session = opened(&answer, id.as_deref()).ok_or(Fault::NoSession)?;
        if session.version() != self.version {
            return Err(Fault::OtherRevision);
        }
        let rest = [&self.initialized, &self.level];
        let rest = rest
            .into_iter()
            .flatten()
            .chain(self.subscriptions.values());
        for parcel in rest {
            if let (Met::NoSession, _) = carrier.carry(parcel, Some(&session)).await? {
                return Err(Fault::NoSession);
            }
        }
        Ok(session)
    }

    /// Tells the client that what it has subscribed to may have changed while nobody looked.
    pub(super) async fn tell_what_may_have_changed(&self, carrier: &Carrier) {
        for uri in self.subscriptions.keys() {
            let notice = serde_json::json!({
                "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri},
            });
            carrier.tell(notice.to_string().as_bytes()).await;
        }
    }
}
