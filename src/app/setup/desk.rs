//! The steps of the first start as the page asks for them.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::{certificate, clients, doctor, keys};
use super::console;
use super::core::{CoreWish, adopt, check};
use crate::base::file;
use crate::base::json::object;
use crate::base::secret::Secret;
use crate::base::shutdown::Stop;
use crate::base::text::for_log;
use crate::config::Config;
use crate::guard::claim::{Claim, ClaimFault};
use crate::guard::keyfile::{KeyFileError, NewKey};
use crate::guard::{Caller, Guard, Role};
use crate::http::{Setup, Stage, Step, StepFault};
use crate::limits::FIND_TIME;
use crate::link::{Dial, find};

/// Where systemd tells the folder for what lasts as long as the service (`RuntimeDirectory=`).
const RUNTIME_VARIABLE: &str = "RUNTIME_DIRECTORY";

/// What the console shows, in that folder; `agetty` prints files with this ending.
const CONSOLE_FILE: &str = "rackhand.issue";

/// Longest URL under which a person says that they reached the box, characters. Client configurations carry it.
const URL_MAX_CHARS: usize = 300;

/// Everything that the pages of the first start ask for.
pub(in crate::app) struct Desk {
    config: Config,
    guard: Arc<Guard>,
    claim: Claim,
    dial: Arc<dyn Dial>,
    /// Ends this service, so that the next begins with what it was told.
    again: Again,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("claim", &self.claim)
            .finish_non_exhaustive()
    }
}

/// The wish that the service ends and begins anew, and whether it was wished.
#[derive(Debug, Clone)]
pub(in crate::app) struct Again {
    stop: Stop,
    wished: Arc<AtomicBool>,
}

impl Again {
    pub(in crate::app) fn new(stop: Stop) -> Self {
        Self {
            stop,
            wished: Arc::default(),
        }
    }

    fn wish(&self) {
        self.wished.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    /// Whether the stop was of this kind.
    pub(in crate::app) fn is_wished(&self) -> bool {
        self.wished.load(Ordering::Relaxed)
    }
}

impl Desk {
    /// The desk of a box that can be claimed.
    ///
    /// # Errors
    ///
    /// The claim cannot be read or made.
    pub(in crate::app) fn open(
        config: &Config,
        guard: Arc<Guard>,
        dial: Arc<dyn Dial>,
        again: Again,
    ) -> anyhow::Result<Self> {
        let data = &config.store.path;
        let claim = Claim::open(data)
            .context("the claim of this box cannot be used; a factory reset makes a new one")?;
        if guard.has_keys() && claim.code().is_some() {
            // Somebody gave it keys by other means: its code is worth nothing from now on.
            claim.end();
        }
        let desk = Self {
            config: config.clone(),
            guard,
            claim,
            dial,
            again,
        };
        desk.show();
        Ok(desk)
    }

    /// Shows the code where only people before the box see it, or takes it away there.
    fn show(&self) {
        let Some(folder) = std::env::var_os(RUNTIME_VARIABLE) else {
            return;
        };
        let path = Path::new(&folder).join(CONSOLE_FILE);
        let shown = match self.claim.code() {
            Some(code) => file::replace(&path, console(&self.config, &code).as_bytes()),
            None => match fs::remove_file(&path) {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
                _ => Ok(()),
            },
        };
        if let Err(error) = shown {
            tracing::warn!(%error, "the console cannot be told what to show; `rackhand claim-code` prints it");
        }
    }

    /// Ends this service for one that does its whole work.
    pub(in crate::app) fn make_way(&self) {
        self.again.wish();
    }

    fn made(&self, name: &str, role: Role, url: &str, key: &Secret) -> Value {
        let url = if is_url(url) {
            url
        } else {
            "https://BOX:8443/mcp"
        };
        json!({
            "name": name,
            "role": role.as_str(),
            "key": key.expose(),
            "clients": clients::configurations(url, key.expose(), certificate::authority(&self.config).as_deref()),
        })
    }

    async fn take(&self, step: Step, wish: Bytes) -> Result<Value, StepFault> {
        match step {
            Step::Find => {
                let devices = find::find(FIND_TIME).await.map_err(|fault| StepFault {
                    status: 503,
                    message: format!("Nothing can be listened to: {fault}."),
                })?;
                Ok(json!({ "devices": devices }))
            }
            Step::Check => {
                let Asked { core } = typed(&wish)?;
                let report = match core {
                    Some(core) => check(&self.config, &core, &self.dial)
                        .await
                        .map_err(|fault| bad(&fault))?,
                    None => doctor::box_alone(&self.config),
                };
                Ok(json!({ "is_good": report.is_good(), "checks": report.checks() }))
            }
            Step::Core => {
                let core: CoreWish = typed(&wish)?;
                adopt(&self.config.store.path, &core).map_err(|fault| bad(&fault))?;
                tracing::info!(address = %for_log(&core.address), "The box was told its Core and begins anew with it.");
                self.again.wish();
                Ok(json!({ "taken": core.address }))
            }
            Step::Key => {
                let wish: KeyWish = typed(&wish)?;
                let key = self.key(&wish.name, wish.role).map_err(|fault| StepFault {
                    status: if matches!(fault, ClaimFault::Storage(_)) {
                        503
                    } else {
                        400
                    },
                    message: fault.to_string(),
                })?;
                Ok(self.made(&wish.name, wish.role, &wish.url, &key))
            }
        }
    }

    fn key(&self, name: &str, role: Role) -> Result<Secret, ClaimFault> {
        let file = keys::key_file(&self.config.store.path);
        let key = file
            .create(&NewKey::new(name, role))
            .map_err(|fault| match fault {
                KeyFileError::Io { .. } => ClaimFault::Storage(fault.to_string()),
                fault => ClaimFault::Name(format!("{:#}.", anyhow::Error::from(fault))),
            })?;
        if let Err(error) = self.guard.read_again() {
            tracing::warn!(%error, "the key that was just made is known within a second");
        }
        Ok(key)
    }
}

impl Setup for Desk {
    fn stage(&self) -> Stage {
        if self.claim.code().is_some() && !self.guard.has_keys() {
            Stage::Unclaimed
        } else if self.config.cores.is_empty() {
            Stage::NoCore
        } else {
            Stage::Done
        }
    }

    fn claim(&self, code: &str, name: &str, url: &str, from: IpAddr) -> Result<Value, ClaimFault> {
        if self.guard.has_keys() {
            // Made at the shell, or handed over: it is somebody's already.
            self.claim.end();
            self.show();
            return Err(ClaimFault::Taken);
        }
        let key = self
            .claim
            .take(code, from, Instant::now(), || self.key(name, Role::Admin))?;
        tracing::warn!(name = %for_log(name), %from, "This box was claimed: the first key is an admin's.");
        self.show();
        Ok(self.made(name, Role::Admin, url, &key))
    }

    fn step(
        &self,
        step: Step,
        caller: &Caller,
        wish: Bytes,
    ) -> BoxFuture<'_, Result<Value, StepFault>> {
        tracing::info!(caller = %for_log(&caller.name), ?step, "A step of the setup.");
        self.take(step, wish).boxed()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    core: Option<CoreWish>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyWish {
    name: String,
    role: Role,
    #[serde(default)]
    url: String,
}

fn typed<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, StepFault> {
    object(text).map_err(|fault| StepFault {
        status: 400,
        message: format!("This cannot be read: {fault}."),
    })
}

fn bad(fault: &anyhow::Error) -> StepFault {
    let is_disk = fault.downcast_ref::<io::Error>().is_some();
    StepFault {
        status: if is_disk { 503 } else { 400 },
        message: format!("{fault:#}"),
    }
}

/// Whether a text can stand in a client configuration as a URL: it is pasted into shells.
fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    text.len() <= URL_MAX_CHARS
        && rest.is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_:/[]".contains(&byte))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_get_into_what_is_pasted_into_shells() {
        assert!(is_url("https://rackhand-12ab.local:8443/mcp") && is_url("http://[::1]:8080/mcp"));
        for text in [
            "",
            "https://",
            "ftp://x",
            "https://x/$(reboot)",
            "https://x/\" ",
            "https://x y",
        ] {
            assert!(!is_url(text), "{text}");
        }
    }
}
