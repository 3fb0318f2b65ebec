//! `rackhand key`: makes, lists and revokes the keys of clients, in the file that the running service reads.

use std::path::Path;

use anyhow::Context as _;

use crate::base::file;
use crate::guard::Role;
use crate::guard::keyfile::{KeyFile, NewKey};

/// The key file inside the data folder.
#[must_use]
pub fn key_file(data: &Path) -> KeyFile {
    KeyFile::new(data.join("keys.json"))
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
