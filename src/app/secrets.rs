//! What a link is told at its start: the configuration of one Core, with the secrets that it names read from their files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::identity::Identity;
use crate::base::secret::Secret;
use crate::config::{Config, CoreConfig, Trust};
use crate::link::config::{CoreAddress, Credentials, LinkConfig, TlsTrust};

/// Longest secret file that is read, bytes.
const SECRET_MAX_BYTES: usize = 4096;

/// The configuration of one link.
///
/// # Errors
///
/// A secret file cannot be read or holds nothing.
pub(super) fn link_config(
    core: &CoreConfig,
    config: &Config,
    identity: &Arc<Identity>,
) -> anyhow::Result<LinkConfig> {
    link_config_with(core, config, identity, secret)
}

/// The same with secrets that `read` tells by their key and file.
///
/// # Errors
///
/// A secret cannot be told.
pub(super) fn link_config_with(
    core: &CoreConfig,
    config: &Config,
    identity: &Arc<Identity>,
    read: impl Fn(&str, &Path) -> anyhow::Result<Secret>,
) -> anyhow::Result<LinkConfig> {
    let addresses = [Some(&core.address), core.standby_address.as_ref()];
    let addresses: Result<Vec<CoreAddress>, _> = addresses
        .into_iter()
        .flatten()
        .map(|text| text.parse())
        .collect();
    let trust = match &core.trust {
        Trust::FirstUse => TlsTrust::Pin(identity.clone()),
        Trust::Authority(file) => TlsTrust::CaFile(file.clone()),
        Trust::Anything => TlsTrust::Insecure,
    };
    let logon = match &core.logon {
        None => None,
        Some((user, file)) => Some(Credentials {
            user: user.clone(),
            pin: read("pin-file", file)?,
        }),
    };
    Ok(LinkConfig {
        addresses: addresses.with_context(|| format!("core \"{}\": the address", core.name))?,
        transport: core.transport,
        trust,
        logon,
        api_key: core
            .api_key_file
            .as_deref()
            .map(|file| read("api-key-file", file))
            .transpose()?,
        named_controls: core.named_controls.clone(),
        timing: config.link.clone(),
        breaker: config.breaker.clone(),
    })
}

/// The files that a Core's configuration names, each with its key.
pub(super) fn files(core: &CoreConfig) -> impl Iterator<Item = (&'static str, &Path)> {
    let authority = match &core.trust {
        Trust::Authority(file) => Some(("ca-file", file.as_path())),
        Trust::FirstUse | Trust::Anything => None,
    };
    let pin = core
        .logon
        .as_ref()
        .map(|(_, file)| ("pin-file", file.as_path()));
    let key = core
        .api_key_file
        .as_deref()
        .map(|file| ("api-key-file", file));
    [authority, pin, key].into_iter().flatten()
}

/// Whether a file can be read and has something in it.
pub(super) fn check(key: &str, file: &Path) -> anyhow::Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    anyhow::ensure!(
        !text.trim().is_empty(),
        "{key}: {} is empty",
        file.display()
    );
    Ok(())
}

/// The text of a secret file, without what is blank around it.
///
/// # Errors
///
/// It cannot be read, or holds nothing, or too much.
pub(super) fn secret(key: &str, file: &Path) -> anyhow::Result<Secret> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("{key}: could not read {}", file.display()))?;
    let secret = text.trim();
    anyhow::ensure!(!secret.is_empty(), "{key}: {} is empty", file.display());
    anyhow::ensure!(
        secret.len() <= SECRET_MAX_BYTES,
        "{key}: {} is longer than {SECRET_MAX_BYTES} bytes",
        file.display()
    );
    Ok(Secret::new(secret))
}
