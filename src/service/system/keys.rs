//! `system_list_keys`, `system_new_key`, `system_revoke_key`: what `rackhand key` does on the box, for those who may do everything.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Definition, Outcome, SystemService, bad_argument};
use crate::base::clock::UnixMillis;
use crate::guard::{
    Granted, Guard, KeyEntry, KeyFileError, ManageFault, Network, NewKey, Role, Scope,
};
use crate::limits::{KEY_NETWORKS_MAX, REACH_PATTERN_MAX_CHARS, REACH_PATTERNS_MAX};
use crate::service::{Effect, FaultCode, ToolAnswer, ToolCall, ToolFault, schema};

pub(super) const LIST: Definition = Definition {
    name: "system_list_keys",
    title: "List keys",
    description: "The API keys of this box: whose they are, role, last day, components and networks that bound them, when they were made. \
        The keys themselves are kept nowhere.",
    input: schema::input::<Nothing>,
    output: schema::output::<List>,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Admin,
    call: list,
};

pub(super) const NEW: Definition = Definition {
    name: "system_new_key",
    title: "Make a key",
    description: "Makes an API key for a person or a program, with no more rights than your own. The answer shows it this once: give it to \
        whom it is for, and to nobody else. Ask the user before you make one.",
    input: schema::input::<New>,
    output: schema::output::<Made>,
    effect: Effect::Write,
    is_destructive: false,
    scope: Scope::Admin,
    call: new,
};

pub(super) const REVOKE: Definition = Definition {
    name: "system_revoke_key",
    title: "Revoke a key",
    description: "Takes an API key away, with everything that is open on its strength: within a second its holder is shut out. Ask the user \
        before you revoke one.",
    input: schema::input::<Revoke>,
    output: schema::output::<Revoked>,
    effect: Effect::WriteIdempotent,
    is_destructive: true,
    scope: Scope::Admin,
    call: revoke,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct List {
    /// How many there are.
    total: usize,
    /// The keys, those of the environment first.
    keys: Vec<Row>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// Whose key it is.
    name: String,
    /// Its role.
    role: &'static str,
    /// Its scopes, where they are not those of the role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'static str>,
    /// The last day on which it works, in UTC. Absent if it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// True when its time is over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    expired: bool,
    /// Patterns of the components that it reaches. Absent if it reaches everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<String>,
    /// Networks from which it works. Absent if it works from everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<String>,
    /// When it was made, or came with the start of the box.
    made: String,
    /// True when it comes from the environment of the service, and cannot be revoked here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    from_environment: bool,
}

impl From<KeyEntry> for Row {
    fn from(entry: KeyEntry) -> Self {
        let record = entry.record;
        let scopes = record.scopes.into_iter().flatten();
        Self {
            name: shown(&record.name),
            role: record.role.as_str(),
            scopes: scopes.map(Scope::as_str).collect(),
            expires: record.expires.map(UnixMillis::last_day),
            expired: entry.has_expired,
            components: record.components.iter().map(|one| shown(one)).collect(),
            networks: record.networks.iter().map(ToString::to_string).collect(),
            made: record.created.to_iso(),
            from_environment: entry.is_given,
        }
    }
}

/// The file may have been written by hand.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// Whose key it is, such as "FOH laptop".
    #[schemars(length(min = 1, max = 64))]
    name: String,
    /// What it may do: `guest`, `viewer`, `operator`, `engineer` or `admin`; `viewer` without it, which changes nothing.
    #[schemars(with = "Option<RoleWord>")]
    role: Option<Role>,
    /// The last day on which it works, such as 2027-01-31, in UTC; for ever without it.
    #[schemars(length(min = 10, max = 10))]
    expires: Option<String>,
    /// Patterns of the components and named controls that it reaches, with * and ?; everything without them.
    #[schemars(length(max = REACH_PATTERNS_MAX), inner(length(min = 1, max = REACH_PATTERN_MAX_CHARS)))]
    components: Option<Vec<String>>,
    /// Networks from which it may be used, such as 192.168.5.0/24; from everywhere without them.
    #[schemars(length(max = KEY_NETWORKS_MAX), inner(length(min = 2, max = 43)))]
    networks: Option<Vec<String>>,
}

/// The roles as they are published.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes the words of a role in the schema")]
enum RoleWord {
    /// sees values.
    Guest,
    /// sees values and runs diagnoses.
    Viewer,
    /// changes the room.
    Operator,
    /// stores and restores states too.
    Engineer,
    /// everything.
    Admin,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Made {
    /// Whose key it is.
    name: String,
    /// Its role.
    role: &'static str,
    /// The key itself, shown this once. It is sent as the header `Authorization: Bearer KEY`.
    key: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Revoke {
    /// The key's name, as `system_list_keys` gives it.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// True to revoke even the last key that can make keys. Keys are then made on the box alone.
    even_last_admin: Option<bool>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Revoked {
    /// Whose key it was.
    name: String,
}

fn list(service: &SystemService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let Nothing {} = arguments(call.arguments)?;
        let keys = apart(service, Guard::keys).await?;
        let keys: Vec<Row> = keys.into_iter().map(Row::from).collect();
        let lines: Vec<_> = keys.iter().map(line).collect();
        let text = format!("{} keys.\n{}", keys.len(), lines.join("\n"));
        answer(
            &List {
                total: keys.len(),
                keys,
            },
            text,
        )
    })
}

fn line(row: &Row) -> String {
    let mut words = vec![format!("{}: {}", row.name, row.role)];
    let over = if row.expired { " (over)" } else { "" };
    words.extend(row.expires.iter().map(|day| format!("until {day}{over}")));
    if !row.components.is_empty() {
        words.push(format!("reaches {}", row.components.join(" ")));
    }
    if !row.networks.is_empty() {
        words.push(format!("from {}", row.networks.join(" ")));
    }
    words.join(", ")
}

fn new(service: &SystemService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let asked: New = arguments(call.arguments)?;
        let wanted = wanted(asked)?;
        let maker = call.caller;
        let Granted { key, entry } =
            apart(service, move |guard| guard.new_key(wanted, &maker)).await?;
        let made = Made {
            name: entry.name,
            role: entry.role.as_str(),
            key: key.expose().to_owned(),
        };
        let text = format!(
            "Key of \"{}\" ({}), shown this once: {}",
            made.name, made.role, made.key
        );
        answer(&made, text)
    })
}

fn wanted(asked: New) -> Result<NewKey, ToolFault> {
    let expires = asked.expires.map(|day| {
        let end = UnixMillis::end_of_day(&day).filter(|end| *end > UnixMillis::now());
        end.ok_or_else(|| {
            bad_argument(
                "expires",
                "it is no day to come",
                "Write the last day on which the key works, such as 2027-01-31.",
            )
        })
    });
    let networks = asked.networks.into_iter().flatten();
    let networks: Result<Vec<Network>, String> = networks.map(|text| text.parse()).collect();
    let networks = networks.map_err(|problem| {
        bad_argument(
            "networks",
            &problem,
            "Write networks such as 192.168.5.0/24.",
        )
    })?;
    Ok(NewKey {
        expires: expires.transpose()?,
        components: asked.components.unwrap_or_default(),
        networks,
        ..NewKey::new(&asked.name, asked.role.unwrap_or(Role::Viewer))
    })
}

fn revoke(service: &SystemService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let asked: Revoke = arguments(call.arguments)?;
        let (name, caller) = (asked.name.clone(), call.caller);
        let even_last = asked.even_last_admin.unwrap_or(false);
        apart(service, move |guard| {
            guard.revoke_key(&name, even_last, &caller)
        })
        .await?;
        let name = shown(&asked.name);
        let text = format!("The key of \"{name}\" is revoked.");
        answer(&Revoked { name }, text)
    })
}

/// Works on the key file, which may lie on a slow card, beside the runtime.
async fn apart<T: Send + 'static>(
    service: &SystemService,
    work: impl FnOnce(&Guard) -> Result<T, ManageFault> + Send + 'static,
) -> Result<T, ToolFault> {
    let guard = Arc::clone(&service.guard);
    let worked = tokio::task::spawn_blocking(move || work(&guard)).await;
    match worked {
        Ok(worked) => worked.map_err(|fault| told(&fault)),
        Err(_) => Err(ToolFault::new(
            FaultCode::Busy,
            "The keys could not be worked on.",
            "Call again.",
        )),
    }
}

fn told(fault: &ManageFault) -> ToolFault {
    let (code, next_step) = match fault {
        ManageFault::NoFile => (
            FaultCode::Protected,
            "Tell the user: a box that runs with `rackhand run` keeps its keys in a file.",
        ),
        ManageFault::MoreThanOwn(_) => (
            FaultCode::LimitExceeded,
            "Ask for less, or have the person make it on the box with `rackhand key new`.",
        ),
        ManageFault::LastAdmin(_) => (
            FaultCode::ApprovalRequired,
            "Ask the user, and call again with `even_last_admin` true if that is what they want.",
        ),
        ManageFault::Given(_) => (
            FaultCode::Protected,
            "Tell the user to change the environment of the service.",
        ),
        ManageFault::File(KeyFileError::Unknown(_)) => {
            (FaultCode::NotFound, "List the keys with system_list_keys.")
        }
        ManageFault::File(
            KeyFileError::NameTaken(_)
            | KeyFileError::BadName(_)
            | KeyFileError::BadComponents(_)
            | KeyFileError::TooManyNetworks,
        ) => (FaultCode::BadArguments, "Change it and call again."),
        ManageFault::File(
            KeyFileError::Full | KeyFileError::TooManyPatterns | KeyFileError::TooLong { .. },
        ) => (
            FaultCode::LimitExceeded,
            "Revoke a key that nobody needs any more.",
        ),
        ManageFault::File(_) => (
            FaultCode::Busy,
            "Tell the user: somebody has to look at the box's data folder.",
        ),
    };
    ToolFault::new(code, format!("{fault}."), next_step)
}

pub(super) fn arguments<T: serde::de::DeserializeOwned>(
    arguments: serde_json::Value,
) -> Result<T, ToolFault> {
    serde_json::from_value(arguments).map_err(|fault| {
        bad_argument(
            "arguments",
            fault.to_string(),
            "Compare with the tool's input schema.",
        )
    })
}

pub(super) fn answer<T: Serialize>(structured: &T, text: String) -> Outcome {
    let structured = serde_json::to_string(structured).and_then(RawValue::from_string);
    let structured = structured.map_err(|fault| {
        ToolFault::new(
            FaultCode::Busy,
            format!("The answer could not be written: {fault}."),
            "Call again.",
        )
    })?;
    Ok(ToolAnswer {
        structured: Some(structured),
        text,
        more: Vec::new(),
    })
}
