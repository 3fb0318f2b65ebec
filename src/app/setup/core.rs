//! A Core as a person tells it: checked, tried, and stored where it wins over the configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use anyhow::Context as _;
use serde::Deserialize;
use toml::Table;

use super::super::doctor::{self, Report};
use super::super::identity::Identity;
use super::super::secrets;
use crate::base::file;
use crate::base::secret::Secret;
use crate::config::{Config, SITE_TOML};
use crate::limits::SITE_MAX_BYTES;
use crate::link::Dial;

/// A Core as a person types it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CoreWish {
    /// Host name or address, with a port if it is not the usual one.
    pub address: String,
    /// The other Core of a redundant pair.
    #[serde(default)]
    pub standby_address: String,
    /// The name that tools show and take.
    #[serde(default = "usual_name")]
    pub name: String,
    /// "auto", "wss", "ws" or "tcp".
    #[serde(default = "usual_transport")]
    pub transport: String,
    /// User of Q-SYS Administrator.
    #[serde(default)]
    pub user: String,
    /// Their PIN.
    #[serde(default)]
    pub pin: Option<Secret>,
    /// QRC access key.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Named Controls to mirror.
    #[serde(default)]
    pub named_controls: Vec<String>,
}

fn usual_name() -> String {
    "core".to_owned()
}

fn usual_transport() -> String {
    "auto".to_owned()
}

impl CoreWish {
    /// This Core, with everything else as it is usual.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            standby_address: String::new(),
            name: usual_name(),
            transport: usual_transport(),
            user: String::new(),
            pin: None,
            api_key: None,
            named_controls: Vec::new(),
        }
    }

    /// Its secrets, each with the file that keeps it.
    fn secrets<'a>(&'a self, data: &Path) -> Vec<(&'static str, PathBuf, &'a Secret)> {
        // Names of systems may have blanks and slashes: the files are told apart by what stays the same of them.
        let name: String = self
            .name
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '_'
                }
            })
            .collect();
        let kept = [
            ("pin-file", "pin", self.pin.as_ref()),
            ("api-key-file", "api-key", self.api_key.as_ref()),
        ];
        kept.into_iter()
            .filter_map(|(key, kind, secret)| {
                let path = data.join(format!("core-{name}.{kind}"));
                Some((key, path, secret?))
            })
            .collect()
    }

    /// Its `[[core]]`.
    fn table(&self, data: &Path) -> Table {
        let mut table = Table::new();
        let mut put = |key: &str, text: &str| {
            if !text.is_empty() {
                table.insert(key.to_owned(), text.into());
            }
        };
        put("name", &self.name);
        put("address", &self.address);
        put("standby-address", &self.standby_address);
        put("transport", &self.transport);
        put("user", &self.user);
        for (key, path, _) in self.secrets(data) {
            put(key, &path.display().to_string());
        }
        if !self.named_controls.is_empty() {
            table.insert(
                "named-controls".to_owned(),
                self.named_controls.clone().into(),
            );
        }
        table
    }
}

/// The text of the file with what the box was told; empty where it was told nothing.
///
/// # Errors
///
/// It is there and cannot be read, or is too long to be one.
pub fn site_text(data: &Path) -> io::Result<String> {
    let path = data.join(SITE_TOML);
    match fs::metadata(&path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Ok(facts) if facts.len() > SITE_MAX_BYTES => Err(io::Error::other(format!(
            "{} is longer than {SITE_MAX_BYTES} bytes",
            path.display()
        ))),
        Ok(_) => fs::read_to_string(path),
        Err(fault) => Err(fault),
    }
}

/// What the box was told, with this Core in it: in place of one with the same name, or besides the others.
///
/// # Errors
///
/// What was told before cannot be read, or a setting of the Core is none: every fault, each under its key.
fn site_with(told: &str, core: &CoreWish, data: &Path) -> Result<String, String> {
    let mut site: Table = told
        .parse()
        .map_err(|fault| format!("{SITE_TOML} cannot be read: {fault}"))?;
    let mut cores = match site.remove("core") {
        Some(toml::Value::Array(cores)) => cores,
        _ => Vec::new(),
    };
    let table = toml::Value::Table(core.table(data));
    let name = |core: &toml::Value| core.get("name").cloned();
    match cores.iter_mut().find(|other| name(other) == name(&table)) {
        Some(same) => *same = table,
        None => cores.push(table),
    }
    site.insert("core".to_owned(), cores.into());
    let text = site.to_string();
    let (_, problems) = Config::read(&text, &BTreeMap::new());
    if problems.is_empty() {
        Ok(text)
    } else {
        Err(problems.to_string().trim_end().to_owned())
    }
}

/// Stores a Core that the box was told. It is taken at the next start.
///
/// # Errors
///
/// The Core cannot be used as it is typed, or the files cannot be written.
pub fn adopt(data: &Path, core: &CoreWish) -> anyhow::Result<()> {
    file::make_private_folder(data)
        .with_context(|| format!("could not make the folder {}", data.display()))?;
    let told = site_text(data)?;
    let text = site_with(&told, core, data).map_err(anyhow::Error::msg)?;
    for (key, path, secret) in core.secrets(data) {
        file::replace(&path, secret.expose().as_bytes())
            .with_context(|| format!("{key}: could not write {}", path.display()))?;
    }
    file::replace(&data.join(SITE_TOML), text.as_bytes())
        .with_context(|| format!("could not write {SITE_TOML} in {}", data.display()))
}

/// Tries a Core as it is typed, and stores nothing.
///
/// # Errors
///
/// A setting of it is none.
pub async fn check(
    config: &Config,
    core: &CoreWish,
    dial: &Arc<dyn Dial>,
) -> anyhow::Result<Report> {
    let data = &config.store.path;
    let text = site_with("", core, data).map_err(anyhow::Error::msg)?;
    let (typed, _) = Config::read(&text, &BTreeMap::new());
    let identity = Arc::new(Identity::open(data));
    let given = |key: &str, _: &Path| {
        let secret = if key == "pin-file" {
            &core.pin
        } else {
            &core.api_key
        };
        secret.clone().context("a secret is missing")
    };
    let mut report = Report::default();
    for core in &typed.cores {
        let link = secrets::link_config_with(core, config, &identity, given)?;
        doctor::examine_link(link, dial, &mut report).await;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_was_told_is_in_the_configuration_and_its_secrets_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let core = CoreWish {
            user: "tech".to_owned(),
            pin: Some(Secret::new("1234")),
            api_key: Some(Secret::new("an-access-key")),
            named_controls: vec!["MainGain".to_owned()],
            ..CoreWish::at("192.168.5.10")
        };
        adopt(folder.path(), &core).unwrap();
        let text = site_text(folder.path()).unwrap();
        assert!(
            !text.contains("1234") && !text.contains("an-access-key"),
            "{text}"
        );
        let (config, problems) =
            Config::read_with("[access]\nclaim = true", &text, &BTreeMap::new());
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(config.cores.len(), 1);
        let (user, pin) = config.cores[0].logon.clone().unwrap();
        assert_eq!(user, "tech");
        assert_eq!(fs::read_to_string(pin).unwrap(), "1234");
    }

    #[test]
    fn a_core_told_again_takes_the_place_of_itself_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let other = CoreWish {
            name: "foyer".to_owned(),
            ..CoreWish::at("192.168.5.20")
        };
        for core in [
            CoreWish::at("192.168.5.10"),
            other,
            CoreWish::at("192.168.5.11"),
        ] {
            adopt(folder.path(), &core).unwrap();
        }
        let text = site_text(folder.path()).unwrap();
        let (config, _) = Config::read(&text, &BTreeMap::new());
        let cores: Vec<_> = config
            .cores
            .iter()
            .map(|core| (core.name.as_str(), core.address.as_str()))
            .collect();
        assert_eq!(cores, [("core", "192.168.5.11"), ("foyer", "192.168.5.20")]);
    }

    #[test]
    fn a_core_that_cannot_be_is_refused_with_the_key_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let core = CoreWish {
            transport: "carrier pigeon".to_owned(),
            ..CoreWish::at("not a host")
        };
        let fault = adopt(folder.path(), &core).unwrap_err().to_string();
        assert!(
            fault.contains("core[0].address") && fault.contains("core[0].transport"),
            "{fault}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
