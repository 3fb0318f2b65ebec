//! The configuration, checked and typed: defaults, then the file, then the environment, then every fault at once.
//!
//! `default.toml` is both the documentation and the defaults: it is laid under the file key by key, so that no default stands in
//! the code. Secrets are not here but in files that this names.

mod board;
mod health;
mod older;
mod problems;
mod provider;
mod record;
mod sections;
mod site;
#[cfg(test)]
mod tests;
pub(crate) mod tracing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

pub use self::tracing::TracingConfig;
pub use board::{
    Architecture, Board, BoardLimits, BoardMemory, Boot, BootMethod, Loader, Sensors, UnderVoltage,
};
pub use health::{HealthConfig, Steps};
use problems::unknown_key;
pub use problems::{Problem, Problems};
pub use record::{AuditConfig, LogConfig, LogFormat, SyslogTarget};
pub use site::SITE_TOML;

use crate::base::rate::Rate;
use crate::base::secret::Secret;
use crate::model::name::ControlName;

/// The documented defaults, as `rackhand print-config` prints them.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// What every environment name of a setting begins with.
pub const ENVIRONMENT_PREFIX: &str = "RACKHAND_";

/// The environment name of a secret that signs tokens.
pub const TOKEN_SECRET_VARIABLE: &str = "MCP_JWT_SECRET";

/// The environment name of keys, with commas between them.
pub const KEYS_VARIABLE: &str = "MCP_API_KEYS";

/// The environment name by which other servers switch authentication off. This one does not.
pub const AUTH_VARIABLE: &str = "MCP_AUTH_ENABLED";

/// Where systemd tells the folder of the credentials of a service.
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The credential with keys.
pub const KEYS_CREDENTIAL: &str = "rackhand-keys";

/// Whether a variable of the environment is one for the configuration.
#[must_use]
pub fn is_variable(name: &str) -> bool {
    let others = [
        TOKEN_SECRET_VARIABLE,
        KEYS_VARIABLE,
        AUTH_VARIABLE,
        CREDENTIALS_VARIABLE,
    ];
    let is_ours = name.starts_with(ENVIRONMENT_PREFIX) || name.starts_with(tracing::PREFIX);
    is_ours || others.contains(&name)
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients come in.
    pub listen: ListenConfig,
    /// Who comes in without a key, and keys that come with the start.
    pub access: AccessConfig,
    /// Who reads the numbers.
    pub metrics: MetricsConfig,
    /// Bearer tokens of the box's own.
    pub tokens: TokensConfig,
    /// How often clients may ask.
    pub rate: RateConfig,
    /// The site's identity provider, if there is one.
    pub identity_provider: Option<ProviderConfig>,
    /// The Q-SYS systems; none only where the box can be claimed and was not told its Core yet.
    pub cores: Vec<CoreConfig>,
    /// Timing of every link.
    pub link: LinkTiming,
    /// When to leave a failing Core alone.
    pub breaker: BreakerConfig,
    /// What tools may change.
    pub safety: SafetyRules,
    /// What survives a restart.
    pub store: StoreConfig,
    /// What is on record of those who come in.
    pub audit: AuditConfig,
    /// The board, where it is named; otherwise it is found.
    pub board: Option<Box<Board>>,
    /// When the box counts as ill.
    pub health: HealthConfig,
    /// What is logged.
    pub log: LogConfig,
    /// What is traced.
    pub tracing: TracingConfig,
}

/// Section `[listen]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// Address and port without TLS.
    pub address: SocketAddr,
    /// The port with TLS, if there is one.
    pub tls: Option<TlsConfig>,
    /// Names and addresses beyond the box's own.
    pub names: Vec<String>,
    /// Web origins that may call.
    pub allowed_origins: Vec<String>,
    /// Connections at once.
    pub connections_max: usize,
    /// Time in which the whole service stops when it is told to.
    pub stop_within: Duration,
}

/// Section `[access]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessConfig {
    /// What anybody may call; `ping` is MCP's.
    pub anonymous_tools: Vec<String>,
    /// What programs on this machine are let in as; none is not at all.
    pub loopback_role: Option<String>,
    /// Whether a box without a key can be claimed, and needs no Core to begin with.
    pub claim: bool,
    /// Keys, from the environment alone.
    pub keys: Option<Secret>,
    /// The credential of systemd that has keys, where there is one.
    pub keys_credential: Option<PathBuf>,
}

/// Section `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether times are counted for each method and tool.
    pub detail: bool,
    /// Networks whose machines read them without a key.
    pub allow: Vec<String>,
}

/// Section `[listen.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// The site's certificate and its key; without them the box makes its own.
    pub files: Option<(PathBuf, PathBuf)>,
}

/// Section `[tokens]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensConfig {
    /// How long each lasts.
    pub life: Duration,
    /// For how long they can be refreshed.
    pub chain: Duration,
    /// A secret in place of the box's own, from the environment alone.
    pub secret: Option<Secret>,
}

/// Section `[rate]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateConfig {
    /// Whether anything is limited.
    pub enabled: bool,
    /// Rates of keys by role: guest, viewer, operator, engineer, admin.
    pub roles: [Rate; 5],
    /// Rate of an address for requests without a credential.
    pub strangers: Rate,
    /// Rate of all keys together.
    pub all: Option<Rate>,
}

/// Section `[identity-provider]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// The issuer.
    pub issuer: String,
    /// The audience.
    pub audience: String,
    /// The URL of this box.
    pub resource: String,
    /// Where its keys are.
    pub jwks: JwksPlace,
    /// The authorities for an `https` URL of its keys.
    pub ca_file: PathBuf,
    /// The claim with the person's name.
    pub name_claim: String,
    /// The claim that gives roles.
    pub role_claim: String,
    /// What its values give, as words.
    pub roles: Vec<(String, String)>,
}

/// Where the keys of an identity provider are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksPlace {
    /// A file.
    File(PathBuf),
    /// A URL that was found fit.
    Url(String),
}

/// One `[[core]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreConfig {
    /// The name that tools show and take.
    pub name: String,
    /// Host, with a port if one was written.
    pub address: String,
    /// The other Core of a pair.
    pub standby_address: Option<String>,
    /// How to reach it.
    pub transport: Transport,
    /// How far to trust its certificate.
    pub trust: Trust,
    /// Whom to log on as, and the file with the PIN.
    pub logon: Option<(String, PathBuf)>,
    /// The file with the access key.
    pub api_key_file: Option<PathBuf>,
    /// Named controls to mirror.
    pub named_controls: Vec<ControlName>,
}

/// How to reach a Core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// wss, then ws, then tcp.
    Auto,
    /// WebSocket over TLS, port 443.
    Wss,
    /// WebSocket, port 80.
    Ws,
    /// QRC with NUL framing, port 1710.
    Tcp,
}

/// How far to trust a Core's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The first one seen is pinned.
    FirstUse,
    /// Signed by the authority in this PEM file.
    Authority(PathBuf),
    /// Any: somebody wrote `insecure = true`.
    Anything,
}

/// Section `[link]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTiming {
    /// Between polls of everything.
    pub poll: Duration,
    /// Between polls of what is watched.
    pub fast_poll: Duration,
    /// Silence before a probe.
    pub keepalive: Duration,
    /// Wait for a probe's answer.
    pub probe_timeout: Duration,
    /// Longest pause between attempts.
    pub retry_max: Duration,
}

/// Section `[breaker]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Successes in a row that close it.
    pub successes: u32,
    /// Longest rest.
    pub open_max: Duration,
}

/// Section `[safety]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SafetyRules {
    /// Whether tools may change anything.
    pub writes: bool,
    /// Patterns that no tool may write.
    pub protected: Vec<String>,
    /// Whether snapshots may be recalled although rules exist.
    pub snapshots: bool,
    /// Highest values by pattern.
    pub ceilings: Vec<CeilingRule>,
}

/// One `[[safety.ceiling]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CeilingRule {
    /// Which controls.
    pub pattern: String,
    /// Highest value, in the control's unit.
    pub max: f64,
    /// Largest step upwards in one write, in the control's unit.
    pub max_step_up: Option<f64>,
}

/// Section `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder.
    pub path: PathBuf,
}

impl Config {
    /// Reads a file's text under an environment.
    ///
    /// # Errors
    ///
    /// Every fault of both, each under its key.
    pub fn load(file: &str, environment: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let (config, problems) = Self::read(file, environment);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Reads as much as can be read, for those who look for further faults before they report them all.
    #[must_use]
    pub fn read(file: &str, environment: &BTreeMap<String, String>) -> (Self, Problems) {
        Self::read_with(file, "", environment)
    }

    /// The same with what the box was told while it ran, in the form of the file, laid over the file.
    #[must_use]
    pub fn read_with(
        file: &str,
        site: &str,
        environment: &BTreeMap<String, String>,
    ) -> (Self, Problems) {
        let mut problems = Problems::default();
        let defaults: Table = DEFAULT_TOML.parse().unwrap_or_default();
        let mut parsed = |name: &str, text: &str| {
            text.parse().unwrap_or_else(|fault: toml::de::Error| {
                problems.note(
                    name,
                    format!("this is not TOML: {}", fault.to_string().trim_end()),
                );
                Table::new()
            })
        };
        let mut file: Table = parsed("(file)", file);
        let site: Table = parsed("(site.toml)", site);
        let is_toml = problems.is_empty();
        if site.contains_key("store") {
            problems.note(
                "store",
                "site.toml lies in this folder and cannot move it: write it into the file that the service is started with",
            );
        }
        site::lay_over(&mut file, site);
        older::rename_tiers(&mut file, &mut problems);
        let mut merged = laid_over(&defaults, file, &mut problems);
        older::apply_environment(&mut merged, environment, &mut problems);
        tracing::apply_environment(&mut merged, environment, &mut problems);
        apply_environment(&mut merged, &defaults, environment, &mut problems);
        // Of a file that is no TOML, nothing else is worth a word.
        let mut unread = Problems::default();
        let noted = if is_toml { &mut problems } else { &mut unread };
        let mut config = sections::read(merged, environment, noted);
        sections::read_given(&mut config.access, environment, &mut problems);
        if let Some(text) = environment.get(TOKEN_SECRET_VARIABLE) {
            config.tokens.secret = sections::read_token_secret(text, &mut problems);
        }
        (config, problems)
    }
}

/// Lays the file's values over the defaults, section by section, each `[[core]]` over the documented one, and names every key
/// that the defaults do not have.
fn laid_over(defaults: &Table, file: Table, problems: &mut Problems) -> Table {
    let mut merged = defaults.clone();
    for (section, value) in file {
        match (merged.get_mut(&section), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay(under, over, &section, problems),
            (Some(Value::Array(tables)), Value::Array(over)) => {
                let under = tables
                    .first()
                    .and_then(Value::as_table)
                    .cloned()
                    .unwrap_or_default();
                *tables = Vec::new();
                for (index, item) in over.into_iter().enumerate() {
                    let mut table = under.clone();
                    match item {
                        Value::Table(over) => {
                            lay(&mut table, over, &format!("{section}[{index}]"), problems);
                        }
                        _ => problems.note(format!("{section}[{index}]"), "this is not a table"),
                    }
                    tables.push(Value::Table(table));
                }
            }
            (Some(Value::Array(_)), _) => {
                problems.note(section, "write it as [[core]], once for each Q-SYS system");
            }
            (Some(_), _) => {
                problems.note(section, "this is a section: write it in square brackets");
            }
            (None, _) => problems.note(section.clone(), unknown_key(&section, defaults.keys())),
        }
    }
    merged
}

fn lay(under: &mut Table, over: Table, section: &str, problems: &mut Problems) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            // A table that is empty by default has names of the site's own.
            (Some(Value::Table(under)), Value::Table(over)) if !under.is_empty() => {
                lay(under, over, &format!("{section}.{key}"), problems);
            }
            (Some(under), value) => *under = value,
            (None, _) => {
                let message = retired_key(section, &key)
                    .map_or_else(|| unknown_key(&key, under.keys()), ToOwned::to_owned);
                problems.note(format!("{section}.{key}"), message);
            }
        }
    }
}

/// What to write instead of a key that is no more.
fn retired_key(section: &str, key: &str) -> Option<&'static str> {
    (section == "listen" && key == "allowed-hosts")
        .then_some("this is called `names` now: the names are also written into the certificate")
}

/// Every setting by its environment name, from the defaults themselves: where it is, section by section.
fn environment_names(defaults: &Table) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    let mut tables = vec![(Vec::new(), defaults)];
    while let Some((path, table)) = tables.pop() {
        for (key, value) in table {
            let mut path = path.clone();
            path.push(key.clone());
            match value {
                Value::Table(table) if !table.is_empty() => tables.push((path, table)),
                Value::Array(items) if path.len() == 1 => {
                    tables.extend(
                        items
                            .first()
                            .and_then(Value::as_table)
                            .map(|table| (path, table)),
                    );
                }
                _ => {
                    let name = path.join("_").replace('-', "_").to_uppercase();
                    names.insert(format!("{ENVIRONMENT_PREFIX}{name}"), path);
                }
            }
        }
    }
    names
}

fn apply_environment(
    merged: &mut Table,
    defaults: &Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let names = environment_names(defaults);
    for (name, text) in environment
        .iter()
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
    {
        let Some((key, sections)) = names.get(name).and_then(|path| path.split_last()) else {
            problems.note(name.clone(), unknown_key(name, names.keys()));
            continue;
        };
        let target = sections.iter().try_fold(&mut *merged, |table, section| {
            match table.get_mut(section) {
                Some(Value::Array(tables)) => tables.first_mut().and_then(Value::as_table_mut),
                other => other.and_then(Value::as_table_mut),
            }
        });
        if let Some(target) = target {
            let value = environment_value(target.get(key), text);
            target.insert(key.clone(), value);
        }
    }
}

/// A text stays a text where the setting is one; otherwise it is read as TOML, and left as text for the type check to name.
fn environment_value(present: Option<&Value>, text: &str) -> Value {
    if matches!(present, Some(Value::String(_))) {
        return Value::String(text.to_owned());
    }
    let wrapped: Result<Table, _> = format!("value = {text}").parse();
    wrapped
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}
