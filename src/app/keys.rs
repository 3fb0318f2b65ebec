//! `rackhand key`: makes, lists and revokes the keys of clients, in the file that the running service reads.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::base::clock::UnixMillis;
use crate::base::file;
use crate::base::secret::Secret;
use crate::config::{
    Config, JwksPlace, KEYS_CREDENTIAL, KEYS_VARIABLE, Problems, RateConfig, TOKEN_SECRET_VARIABLE,
};
use crate::guard::keyfile::{KeyFile, KeyRecord, NewKey};
use crate::guard::token::{KeySetSource, Provider, ProviderRules, SecretFile, TokenTimes, Tokens};
use crate::guard::{Guard, HighTime, Network, Open, RateRules, Role, given};
use crate::link::Dial;
use crate::service::qsys;

/// How MCP's own `ping` is named among the tools that anybody may call.
const PING: &str = "ping";

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

/// The guard with the rates of a configuration.
pub(super) fn limited(guard: Guard, rate: &RateConfig) -> Guard {
    if !rate.enabled {
        tracing::warn!("rate.enabled is false: clients may ask as often as they like");
        return guard;
    }
    guard.with_rates(RateRules {
        roles: rate.roles,
        strangers: rate.strangers,
        all: rate.all,
    })
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

/// The time by which keys are judged, in the data folder.
pub(super) fn time(data: &Path) -> HighTime {
    let (time, fault) = HighTime::kept(data.join("highest-time"));
    if let Some(fault) = fault {
        tracing::error!(
            "The highest time ever seen cannot be read ({fault}): keys with an end are judged by the clock alone."
        );
    }
    time
}

/// The keys that come with the start: of the environment, then of the credential.
///
/// # Errors
///
/// Every fault of both, under the name of where they stand, and never with a key in it.
pub(super) fn given(config: &Config) -> Result<Vec<KeyRecord>, Problems> {
    let mut problems = Problems::default();
    let mut all: Vec<KeyRecord> = Vec::new();
    let mut take = |place: &str, name: &str, text: &str| match given::read(name, text) {
        Ok(keys) => {
            for key in keys {
                if all.iter().any(|other| other.name == key.name) {
                    problems.note(
                        place,
                        format!("the name \"{}\" is taken by another key", key.name),
                    );
                } else {
                    all.push(key);
                }
            }
        }
        Err(faults) => faults
            .into_iter()
            .for_each(|fault| problems.note(place, fault)),
    };
    if let Some(keys) = &config.access.keys {
        take(KEYS_VARIABLE, "environment", keys.expose());
    }
    if let Some(path) = &config.access.keys_credential {
        match fs::read_to_string(path) {
            Ok(text) => take(KEYS_CREDENTIAL, "credential", &text),
            Err(fault) => problems.note(KEYS_CREDENTIAL, format!("it cannot be read: {fault}")),
        }
    }
    if problems.is_empty() {
        Ok(all)
    } else {
        Err(problems)
    }
}

/// Who comes in without a key.
///
/// # Errors
///
/// A role or a tool that does not exist, or that is not for everybody.
pub(super) fn open(config: &Config) -> Result<Open, Problems> {
    let mut problems = Problems::default();
    let access = &config.access;
    let loopback = access.loopback_role.as_deref().map(str::parse::<Role>);
    let loopback = loopback.transpose().unwrap_or_else(|fault| {
        problems.note("access.loopback-role", fault);
        None
    });
    for (index, tool) in access.anonymous_tools.iter().enumerate() {
        if tool != PING && !qsys::FOR_ANYBODY.contains(&tool.as_str()) {
            problems.note(
                format!("access.anonymous-tools[{index}]"),
                format!(
                    "\"{tool}\" is not for everybody; there are {PING}, {}",
                    qsys::FOR_ANYBODY.join(", ")
                ),
            );
        }
    }
    let mut scrapers = Vec::new();
    for (index, text) in config.metrics.allow.iter().enumerate() {
        match text.parse::<Network>() {
            Ok(network) => scrapers.push(network),
            Err(fault) => problems.note(format!("metrics.allow[{index}]"), fault),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let tools = access.anonymous_tools.iter().filter(|tool| *tool != PING);
    Ok(Open {
        loopback,
        tools: tools.cloned().collect(),
        scrapers,
        answers_ping: access.anonymous_tools.iter().any(|tool| tool == PING),
    })
}

/// The last day of a key, as it is written on the command line.
///
/// # Errors
///
/// It is no day, or one that is over.
pub fn last_day(text: &str) -> Result<UnixMillis, String> {
    let end = UnixMillis::end_of_day(text)
        .ok_or("write the last day on which the key works, such as 2027-01-31")?;
    if end <= UnixMillis::now() {
        return Err("this day is over already".to_owned());
    }
    Ok(end)
}

/// Makes a key and returns what to print: the key is shown this once.
///
/// # Errors
///
/// The name is taken or unusable, or the file cannot be written.
pub fn new(data: &Path, wanted: &NewKey) -> anyhow::Result<String> {
    file::make_private_folder(data)
        .with_context(|| format!("could not make the folder {}", data.display()))?;
    let key = key_file(data).create(wanted)?;
    let end = wanted.expires.iter();
    let end = end.map(|end| format!("It works until {} (UTC). ", end.last_day()));
    let components = wanted.components.join(", ");
    let reach =
        (!components.is_empty()).then(|| format!("It reaches {components} and nothing else. "));
    let networks = listed(&wanted.networks);
    let networks = (!networks.is_empty()).then(|| format!("It works from {networks} alone. "));
    let bounds: String = end.chain(reach).chain(networks).collect();
    Ok(shown(&wanted.name, wanted.role, &key, &bounds))
}

fn shown(name: &str, role: Role, key: &Secret, bounds: &str) -> String {
    format!(
        "Key of \"{name}\" ({role}), shown this once:\n\n  {key}\n\n{bounds}Clients send it as `Authorization: Bearer {key}`. A running service knows it within seconds.",
        role = role.as_str(),
        key = key.expose(),
    )
}

/// Makes a new key with the rights and the name of another, which goes on under another name for some days.
///
/// # Errors
///
/// There is no such key, or the file cannot be written.
pub fn rotate(data: &Path, name: &str, keep_days: u16) -> anyhow::Result<String> {
    // A board whose clock was not set yet would end the key before at once.
    let now = time(data).now();
    let rotated = key_file(data).rotate(name, keep_days, now)?;
    let bounds = match &rotated.old {
        Some(old) => format!("The key before is now called \"{old}\" and ends with that day. "),
        None => "The key before has ended. ".to_owned(),
    };
    Ok(shown(name, rotated.role, &rotated.key, &bounds))
}

/// A table of the keys: everything but the keys themselves.
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
    let now = time(data).now();
    let head = ["NAME", "ROLE", "UNTIL", "COMPONENTS", "NETWORKS", "MADE"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head)
        .chain(keys.iter().map(|key| row(key, now)))
        .collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    Ok(rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn row(key: &KeyRecord, now: UnixMillis) -> [String; 6] {
    let scopes = key.scopes.iter().map(|scopes| {
        let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
        format!(" ({})", scopes.join(" "))
    });
    let until = match key.expires {
        None => "-".to_owned(),
        Some(end) if end <= now => format!("{} (over)", end.last_day()),
        Some(end) => end.last_day(),
    };
    let or_all = |text: String| {
        if text.is_empty() {
            "all".to_owned()
        } else {
            text
        }
    };
    let mut made = key.created.to_iso();
    made.truncate(10);
    [
        // What stands in the file may have been written by hand.
        key.name.replace(char::is_control, "?"),
        format!("{}{}", key.role.as_str(), scopes.collect::<String>()),
        until,
        or_all(key.components.join(" ").replace(char::is_control, "?")),
        or_all(listed(&key.networks)),
        made,
    ]
}

fn listed(networks: &[Network]) -> String {
    let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
    networks.join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_rates_are_those_of_the_roles() {
        let file = "[[core]]\naddress = \"core.local\"\n";
        let rate = Config::load(file, &std::collections::BTreeMap::new())
            .unwrap()
            .rate;
        let rules = RateRules::default();
        assert_eq!(rate.roles, rules.roles);
        assert_eq!((rate.strangers, rate.all), (rules.strangers, rules.all));
    }
}
