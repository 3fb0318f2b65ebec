//! `rackhand core trust`: a person accepts a Core's certificate after it changed.

use std::sync::Arc;

use anyhow::Context as _;

use super::identity::Identity;
use super::secrets;
use crate::base::file;
use crate::config::{Config, CoreConfig, Trust};
use crate::link::pin::FingerprintStore as _;
use crate::link::{CoreAddress, NetDial, dial};

/// Hex digits of a SHA-256.
const FINGERPRINT_DIGITS: usize = 64;

/// Pins a certificate for the Cores of one system: `fingerprint`, or what each Core shows now. Returns what to tell the person.
///
/// # Errors
///
/// No such Core, it does not pin certificates, it cannot be reached, or the identity file cannot be written.
pub async fn trust(
    config: &Config,
    core: Option<&str>,
    fingerprint: Option<&str>,
) -> anyhow::Result<String> {
    let core = chosen(config, core)?;
    anyhow::ensure!(
        core.trust == Trust::FirstUse,
        "core \"{}\" does not pin certificates: its configuration has `ca-file` or `insecure`",
        core.name
    );
    let data = &config.store.path;
    file::make_private_folder(data)
        .with_context(|| format!("could not make the folder {}", data.display()))?;
    let identity = Arc::new(Identity::open(data));
    let addresses = secrets::link_config(core, config, &identity)?.addresses;
    let mut said = Vec::new();
    for address in addresses {
        let accepted = match fingerprint {
            Some(text) => normal(text)?,
            None => shown(&address).await?,
        };
        identity.pin(&address.to_string(), &accepted)?;
        said.push(format!(
            "{address} is trusted with the certificate {accepted}"
        ));
    }
    said.push("A running service takes it at its next attempt, within seconds.".to_owned());
    Ok(said.join("\n"))
}

fn chosen<'a>(config: &'a Config, name: Option<&str>) -> anyhow::Result<&'a CoreConfig> {
    let names = || {
        config
            .cores
            .iter()
            .map(|core| core.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (name, config.cores.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => anyhow::bail!(
            "there are several Cores: choose one of {} with --core",
            names()
        ),
        (Some(name), cores) => cores
            .iter()
            .find(|core| core.name == name)
            .with_context(|| {
                format!(
                    "there is no Core \"{name}\" in the configuration, only {}",
                    names()
                )
            }),
    }
}

async fn shown(address: &CoreAddress) -> anyhow::Result<String> {
    dial::shown_by(address, &NetDial)
        .await
        .with_context(|| format!("could not see the certificate of {address}"))
}

/// A fingerprint as people copy it: `sha256:` before it, colons, blanks and capitals do not matter.
pub(super) fn normal(text: &str) -> anyhow::Result<String> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower
        .strip_prefix("sha256")
        .or_else(|| lower.strip_prefix("sha-256"))
        .unwrap_or(&lower);
    let digits: String = bare.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let is_hex = digits.chars().all(|c| c.is_ascii_hexdigit());
    anyhow::ensure!(
        is_hex && digits.len() == FINGERPRINT_DIGITS,
        "\"{text}\" is no SHA-256 fingerprint: it has {FINGERPRINT_DIGITS} hexadecimal digits"
    );
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_taken_as_people_copy_them() {
        let pasted = "AB:".repeat(31) + "AB";
        assert_eq!(normal(&pasted).unwrap(), "ab".repeat(32));
        for before in ["sha256:", "SHA256 ", "SHA-256 ", " sha-256:"] {
            let text = format!("{before}{pasted}");
            assert_eq!(normal(&text).unwrap(), "ab".repeat(32), "{text}");
        }
        assert!(normal("ab").is_err() && normal(&"zz".repeat(32)).is_err());
    }
}
