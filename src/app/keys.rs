//! `rackhand key`: makes, lists and revokes the keys of clients, in the file that the running service reads.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::base::file;
use crate::config::{Config, JwksPlace, TOKEN_SECRET_VARIABLE};
use crate::guard::Role;
use crate::guard::keyfile::{KeyFile, NewKey};
use crate::guard::token::{KeySetSource, Provider, ProviderRules, SecretFile, TokenTimes, Tokens};
use crate::link::Dial;

/// The key file inside the data folder.
#[must_use]
pub fn key_file(data: &Path) -> KeyFile {
    KeyFile::new(data.join("keys.json"))
}

/// The file with the secret of bearer tokens inside the data folder.
#[must_use]
pub fn token_secret_file(data: &Path) -> SecretFile {
    SecretFile::new(data.join("token-secret.json"))
}

/// The bearer tokens of a configuration.
pub(super) fn tokens(config: &Config) -> Tokens {
    let times = TokenTimes {
        life: config.tokens.life,
        chain: config.tokens.chain,
    };
    if let Some(secret) = &config.tokens.secret {
        return Tokens::chosen(secret, times);
    }
    let (tokens, fault) = Tokens::kept(token_secret_file(&config.store.path), times);
    if let Some(fault) = fault {
        tracing::error!(
            "{:#}. Bearer tokens work, but end when this process does.",
            anyhow::Error::from(fault)
        );
    }
    tokens
}

/// The identity provider of a configuration.
pub(super) fn provider(config: &Config, dial: &Arc<dyn Dial>) -> Option<Arc<Provider>> {
    let provider = config.identity_provider.as_ref()?;
    // Both were looked at when the configuration was read.
    let roles = provider
        .roles
        .iter()
        .filter_map(|(value, role)| Some((value.clone(), role.parse().ok()?)));
    let source = match &provider.jwks {
        JwksPlace::File(path) => KeySetSource::File(path.clone()),
        JwksPlace::Url(url) => KeySetSource::Url {
            url: url.parse().ok()?,
            ca_file: provider.ca_file.clone(),
            dial: Arc::clone(dial),
        },
    };
    let accepted = ProviderRules {
        issuer: provider.issuer.clone(),
        audience: provider.audience.clone(),
        resource: provider.resource.clone(),
        name_claim: provider.name_claim.clone(),
        role_claim: provider.role_claim.clone(),
        roles: roles.collect(),
    };
    Some(Arc::new(Provider::new(accepted, source)))
}

/// Ends every bearer token, and returns what to tell the person.
///
/// # Errors
///
/// The secret cannot be written.
pub fn rotate_secret(data: &Path) -> anyhow::Result<String> {
    file::make_private_folder(data)
        .with_context(|| format!("could not make the folder {}", data.display()))?;
    token_secret_file(data).rotate()?;
    Ok(format!(
        "Every bearer token that was made before has ended; keys hold, and make new ones. A running service knows it within seconds,          unless it was given {TOKEN_SECRET_VARIABLE}: that is changed where it is set."
    ))
}

/// Makes a key and returns what to print: the key is shown this once.
///
/// # Errors
///
/// The name is taken or unusable, or the file cannot be written.
pub fn new(data: &Path, name: &str, role: Role) -> anyhow::Result<String> {
    file::make_private_folder(data)
        .with_context(|| format!("could not make the folder {}", data.display()))?;
    let wanted = NewKey {
        name: name.to_owned(),
        role,
        scopes: None,
        expires: None,
    };
    let key = key_file(data).create(&wanted)?;
    Ok(format!(
        "Key of \"{name}\" ({role}), shown this once:\n\n  {key}\n\nClients send it as `Authorization: Bearer {key}`. A running service knows it within seconds.",
        role = role.as_str(),
        key = key.expose(),
    ))
}

/// One line for each key.
///
/// # Errors
///
/// The file cannot be read.
pub fn list(data: &Path) -> anyhow::Result<String> {
    let keys = key_file(data).list()?;
    if keys.is_empty() {
        return Ok(
            "There is no key yet. Make one: rackhand key new --name \"FOH laptop\" --role operator"
                .to_owned(),
        );
    }
    let lines: Vec<_> = keys
        .iter()
        .map(|key| format!("{:<10} {}", key.role.as_str(), key.name))
        .collect();
    Ok(lines.join("\n"))
}

/// Revokes a key.
///
/// # Errors
///
/// There is no such key, or the file cannot be written.
pub fn revoke(data: &Path, name: &str) -> anyhow::Result<String> {
    key_file(data).revoke(name)?;
    Ok(format!(
        "The key of \"{name}\" is revoked. A running service refuses it within seconds."
    ))
}
