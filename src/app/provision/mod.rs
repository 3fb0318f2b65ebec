//! `rackhand provision`: what an integrator writes once for each of forty boxes, read, checked all at once, and carried out without hands.
//!
//! The file says who the box is (`[box]`), how it is on the network (`[network]`), its keys (`[[key]]`), and anything that the
//! configuration can say; PINs and access keys may stand in it, because it is consumed.

mod network;
pub mod on_boot;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::keys;
use crate::base::clock::UnixMillis;
use crate::base::file;
use crate::base::secret::Secret;
use crate::config::{Config, Problems, SITE_TOML};
use crate::guard::keyfile::{self, KeyFileError, NewKey};
use crate::guard::{Role, given};
use crate::limits::{GIVEN_KEYS_MAX, SITE_MAX_BYTES};
use crate::tls::is_host_name;

use network::Network;

/// The secrets that may stand in a `[[core]]` of the file, each with the key of the configuration that names its file instead.
const SECRETS: [(&str, &str, &str); 2] = [
    ("pin", "pin-file", "pin"),
    ("api-key", "api-key-file", "api-key"),
];

/// What one file says, checked.
#[derive(Debug)]
pub struct BoxFile {
    /// Its host name, if it is to have one of its own.
    name: Option<String>,
    network: Network,
    keys: Vec<(NewKey, Secret)>,
    /// What goes beside the configuration.
    site: Table,
    /// Files with secrets, by their name in the data folder.
    secrets: Vec<(String, Secret)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BoxSection {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    role: Role,
    key: Secret,
}

impl BoxFile {
    /// Reads a file for a box whose data lies in `data`.
    ///
    /// # Errors
    ///
    /// Every fault, each under its key, and never with a secret in it.
    pub fn read(text: &str, data: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut table: Table = match text.parse() {
            Ok(table) => table,
            Err(fault) => {
                let fault: toml::de::Error = fault;
                // Its own words would show the line, and with it a key.
                let at = fault.span().map_or(0, |span| span.start);
                let line = text.get(..at).unwrap_or_default().lines().count().max(1);
                problems.note("(file)", format!("this is not TOML, see line {line}"));
                return Err(problems);
            }
        };
        let whole: BoxSection = section(&mut table, "box", &mut problems);
        if let Some(name) = &whole.name
            && (name.contains('.') || !is_host_name(name))
        {
            problems.note(
                "box.name",
                format!("\"{name}\" is no host name: letters, digits and dashes, at most 63"),
            );
        }
        let network = Network::read(table.remove("network"), &mut problems);
        let keys = read_keys(table.remove("key"), &mut problems);
        let secrets = take_secrets(&mut table, data, &mut problems);
        if let Some(address) = network.serving(&mut problems) {
            let listen = table
                .entry("listen")
                .or_insert_with(|| Table::new().into())
                .as_table_mut();
            let tls = listen.and_then(|listen| {
                listen
                    .entry("tls")
                    .or_insert_with(|| Table::new().into())
                    .as_table_mut()
            });
            if let Some(tls) = tls {
                tls.entry("address")
                    .or_insert_with(|| format!("{address}:8443").into());
            }
        }
        // A box may be claimed by hand afterwards, and told its Core then.
        let file = "[access]\nclaim = true\n";
        let (_, faults) = Config::read_with(file, &table.to_string(), &BTreeMap::new());
        problems.extend(faults);
        if problems.is_empty() {
            Ok(Self {
                name: whole.name,
                network,
                keys,
                site: table,
                secrets,
            })
        } else {
            Err(problems)
        }
    }

    /// Carries it out: keys, Cores and settings into `data`, name and network into `system`. What was there of the same kind is replaced, so that
    /// a box whose power was cut in between begins once more.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn apply(&self, data: &Path, system: &Path) -> anyhow::Result<()> {
        file::make_private_folder(data)
            .with_context(|| format!("could not make the folder {}", data.display()))?;
        let key_file = keys::key_file(data);
        for (new, key) in &self.keys {
            match key_file.revoke(&new.name) {
                Ok(()) | Err(KeyFileError::Unknown(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
            key_file.insert(new, key)?;
        }
        for (name, secret) in &self.secrets {
            write(&data.join(name), secret.expose())?;
        }
        write(&data.join(SITE_TOML), &self.site.to_string())?;
        fs::create_dir_all(system)
            .with_context(|| format!("could not make the folder {}", system.display()))?;
        self.network.write(&system.join("network"))?;
        if let Some(name) = &self.name {
            write(&system.join("hostname"), &format!("{name}\n"))?;
        }
        Ok(())
    }

    /// What it does, in one line and without a secret.
    #[must_use]
    pub fn summary(&self) -> String {
        let cores = self.site.get("core").and_then(Value::as_array);
        let cores: Vec<&str> = cores
            .into_iter()
            .flatten()
            .filter_map(|core| core.get("address")?.as_str())
            .collect();
        let cores = if cores.is_empty() {
            "none".to_owned()
        } else {
            cores.join(", ")
        };
        format!(
            "name {}, network {}, Core {cores}, {} key(s)",
            self.name.as_deref().unwrap_or("its own"),
            self.network.summary(),
            self.keys.len()
        )
    }
}

/// Checks files for many boxes, each for itself and all against each other. The text says what each does or what is wrong; the flag, whether
/// all are good.
///
/// # Errors
///
/// A file cannot be read.
pub fn dry_run(files: &[impl AsRef<Path>], data: &Path) -> anyhow::Result<(String, bool)> {
    let (mut told, mut is_good) = (String::new(), true);
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let path = path.as_ref();
        let shown = path.display().to_string();
        // Writing to a string never fails.
        match BoxFile::read(&text(path)?, data) {
            Ok(read) => {
                let _ = writeln!(told, "{shown}: {}", read.summary());
                let name = read.name.iter().map(|name| format!("name {name}"));
                for one in name.chain(read.network.addresses()) {
                    if let Some(other) = taken.insert(one.clone(), shown.clone()) {
                        is_good = false;
                        let _ = writeln!(told, "  {one} is that of {other} too");
                    }
                }
            }
            Err(problems) => {
                is_good = false;
                let _ = write!(told, "{shown} cannot be used:\n{problems}");
            }
        }
    }
    Ok((told.trim_end().to_owned(), is_good))
}

/// Makes this box of a file, which stays as it is.
///
/// # Errors
///
/// The file cannot be read or is faulty, or something cannot be written.
pub fn make(path: &Path, data: &Path, system: &Path) -> anyhow::Result<()> {
    BoxFile::read(&text(path)?, data)?.apply(data, system)
}

/// The text of a file, if it is no longer than one can be.
fn text(path: &Path) -> anyhow::Result<String> {
    let facts = fs::metadata(path).with_context(|| format!("could not read {}", path.display()))?;
    anyhow::ensure!(
        facts.len() <= SITE_MAX_BYTES,
        "{} is longer than {SITE_MAX_BYTES} bytes",
        path.display()
    );
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    file::replace(path, text.as_bytes())
        .with_context(|| format!("could not write {}", path.display()))
}

/// Overwrites a file with zeros before it goes: it held secrets, and the card may be lent. What a card's own controller keeps elsewhere is out of
/// reach.
fn wipe(path: &Path) -> anyhow::Result<()> {
    let wiped = || -> std::io::Result<()> {
        let length = fs::metadata(path)?.len();
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        std::io::copy(
            &mut std::io::Read::take(std::io::repeat(0), length),
            &mut file,
        )?;
        file.flush()?;
        file.sync_all()?;
        fs::remove_file(path)
    };
    wiped().with_context(|| format!("could not wipe {}", path.display()))
}

fn section<T: DeserializeOwned + Default>(
    table: &mut Table,
    name: &str,
    problems: &mut Problems,
) -> T {
    let Some(value) = table.remove(name) else {
        return T::default();
    };
    value.try_into().unwrap_or_else(|fault: toml::de::Error| {
        problems.note(name, fault.message());
        T::default()
    })
}

fn read_keys(value: Option<Value>, problems: &mut Problems) -> Vec<(NewKey, Secret)> {
    let entries = match value {
        None => return Vec::new(),
        Some(Value::Array(entries)) if entries.len() <= GIVEN_KEYS_MAX => entries,
        Some(Value::Array(_)) => {
            problems.note("key", format!("at most {GIVEN_KEYS_MAX} are possible"));
            return Vec::new();
        }
        Some(_) => {
            problems.note("key", "write it as [[key]], once for each key");
            return Vec::new();
        }
    };
    let mut keys: Vec<(NewKey, Secret)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = format!("key[{index}]");
        // The words of the reader show what it read, which can be a key in the wrong place.
        let Ok(entry) = entry.try_into::<KeyEntry>() else {
            problems.note(
                at,
                "write name, role (guest, viewer, operator, engineer or admin) and key, and nothing else",
            );
            continue;
        };
        if !keyfile::is_name(&entry.name) || entry.name.contains(':') {
            problems.note(format!("{at}.name"), "1 to 64 printable characters");
        } else if keys.iter().any(|(other, _)| other.name == entry.name) {
            problems.note(format!("{at}.name"), "another key has this name");
        } else if let Err(faults) = given::read("key", entry.key.expose()) {
            problems.note(format!("{at}.key"), faults.join("; "));
        } else {
            keys.push((NewKey::new(&entry.name, entry.role), entry.key));
        }
    }
    keys
}

/// Takes the secrets out of the Cores, and names the files in which they will be.
fn take_secrets(table: &mut Table, data: &Path, problems: &mut Problems) -> Vec<(String, Secret)> {
    let mut secrets = Vec::new();
    let Some(Value::Array(cores)) = table.get_mut("core") else {
        return secrets;
    };
    for (index, core) in cores.iter_mut().enumerate() {
        let Some(core) = core.as_table_mut() else {
            continue;
        };
        for (key, file_key, kind) in SECRETS {
            match core.remove(key) {
                None => {}
                Some(Value::String(text)) if !text.is_empty() => {
                    let name = format!("core-{index}.{kind}");
                    let path = data.join(&name).display().to_string();
                    if core.insert(file_key.to_owned(), path.into()).is_some() {
                        problems.note(
                            format!("core[{index}].{key}"),
                            format!("write either this or {file_key}"),
                        );
                    }
                    secrets.push((name, Secret::new(&text)));
                }
                Some(_) => problems.note(format!("core[{index}].{key}"), "a text in quotes"),
            }
        }
    }
    secrets
}

/// The moment, for what is left behind on the boot partition.
fn now() -> String {
    UnixMillis::now().to_iso()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[box]
name = "foh-rack-3"
[network.main]
interface = "end0"
address = "192.168.5.23/24"
gateway = "192.168.5.1"
dns = ["192.168.5.1"]
ntp = ["192.168.5.2"]
[network.second]
interface = "enu1"
vlan = 40
address = "10.40.0.23/16"
[network]
serve = "second"
[[core]]
name = "hall"
address = "192.168.5.10"
user = "tech"
pin = "4711"
[[key]]
name = "foh"
role = "operator"
key = "a-key-that-is-long-enough"
[safety]
writes = true
"#;

    #[test]
    fn one_file_makes_a_whole_box_and_no_secret_is_left_where_it_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let (data, system) = (folder.path().join("data"), folder.path().join("system"));
        let read = BoxFile::read(GOOD, &data).unwrap();
        assert!(!read.summary().contains("4711") && !format!("{read:?}").contains("4711"));
        // Twice, as after a power cut.
        for _ in 0..2 {
            read.apply(&data, &system).unwrap();
        }
        let site = fs::read_to_string(data.join(SITE_TOML)).unwrap();
        assert!(
            !site.contains("4711") && !site.contains("long-enough"),
            "{site}"
        );
        let (config, problems) =
            Config::read_with("[access]\nclaim = true\n", &site, &BTreeMap::new());
        assert!(problems.is_empty(), "{problems}");
        assert!(config.safety.writes);
        let tls = config.listen.tls.unwrap();
        assert_eq!(tls.address.to_string(), "10.40.0.23:8443");
        let (_, pin) = config.cores[0].logon.clone().unwrap();
        assert_eq!(fs::read_to_string(pin).unwrap(), "4711");
        let keys = keys::key_file(&data).list().unwrap();
        assert_eq!((keys.len(), keys[0].name.as_str()), (1, "foh"));
        assert_eq!(
            fs::read_to_string(system.join("hostname")).unwrap(),
            "foh-rack-3\n"
        );
        insta::assert_snapshot!(network_of(&system), @r"
        == 10-rackhand-main.network
        [Match]
        Name=end0

        [Network]
        MulticastDNS=yes
        LinkLocalAddressing=ipv6
        Address=192.168.5.23/24
        Gateway=192.168.5.1
        DNS=192.168.5.1
        NTP=192.168.5.2
        == 20-rackhand-second-vlan.netdev
        [NetDev]
        Name=enu1.40
        Kind=vlan

        [VLAN]
        Id=40
        == 20-rackhand-second-vlan.network
        [Match]
        Name=enu1

        [Network]
        LinkLocalAddressing=no
        VLAN=enu1.40
        == 20-rackhand-second.network
        [Match]
        Name=enu1.40

        [Network]
        MulticastDNS=yes
        LinkLocalAddressing=ipv6
        Address=10.40.0.23/16
        ");
    }

    /// All files of the network, one after the other.
    fn network_of(system: &Path) -> String {
        let mut paths: Vec<_> = fs::read_dir(system.join("network"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let mut all = String::new();
        for path in paths {
            let name = path.file_name().unwrap().to_string_lossy();
            let _ = write!(all, "== {name}\n{}", fs::read_to_string(&path).unwrap());
        }
        all
    }

    #[test]
    fn every_fault_is_told_at_once_and_no_secret_with_it() {
        let text = r#"
[box]
name = "no host name"
[network.main]
address = "192.168.5.0/24"
gateway = "10.0.0.1"
vlan = 5000
dns = ["nobody"]
[network]
serve = "second"
[[core]]
address = "192.168.5.10"
transport = "pigeon"
pin = 4711
[[key]]
name = "foh"
role = "operator"
key = "tooshort4711"
[[key]]
name = "x"
role = "god"
key = "secret-4711-secret-4711"
[safety]
wirtes = true
"#;
        let problems = BoxFile::read(text, Path::new("/nowhere")).unwrap_err();
        let told = problems.to_string();
        for key in [
            "box.name",
            "network.main",
            "core[0].pin",
            "core[0].transport",
            "key[0].key",
            "key[1]",
            "safety.wirtes",
        ] {
            assert!(told.contains(key), "{key} is missing:\n{told}");
        }
        assert!(!told.contains("4711"), "{told}");
        let broken = "[[key]]\nname = \"a\"\nkey = \"secret-4711\nrole = 1\n";
        let told = BoxFile::read(broken, Path::new("/nowhere"))
            .unwrap_err()
            .to_string();
        assert!(told.contains("line 3") && !told.contains("4711"), "{told}");
    }

    #[test]
    fn forty_files_are_checked_against_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for number in 1..=40 {
            let path = folder.path().join(format!("box-{number}.toml"));
            let other = if number == 40 { 7 } else { number };
            let text = format!(
                "[box]\nname = \"rack-{number}\"\n[network.main]\naddress = \"192.168.5.{other}/24\"\n"
            );
            fs::write(&path, text).unwrap();
            files.push(path);
        }
        let (told, is_good) = dry_run(&files, Path::new("/nowhere")).unwrap();
        assert!(!is_good);
        assert_eq!(told.matches("is that of").count(), 1, "{told}");
        assert!(told.contains("192.168.5.7 is that of"), "{told}");
        let (told, is_good) = dry_run(&files[..39], Path::new("/nowhere")).unwrap();
        assert!(is_good && told.lines().count() == 39, "{told}");
    }
}
