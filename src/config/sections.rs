//! Each section of the merged table, read into its type; faults are noted and reading goes on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::board;
use super::health;
use super::problems::{Problems, Section, unknown_key};
use super::{
    AUTH_VARIABLE, AccessConfig, AuditConfig, BreakerConfig, CREDENTIALS_VARIABLE, CeilingRule,
    Config, CoreConfig, KEYS_CREDENTIAL, KEYS_VARIABLE, LinkTiming, ListenConfig, LogConfig,
    LogFormat, MetricsConfig, RateConfig, SafetyRules, StoreConfig, TOKEN_SECRET_VARIABLE,
    TlsConfig, TokensConfig, Transport, Trust,
};
use super::{provider, tracing};
use crate::base::rate::Rate;
use crate::base::secret::Secret;
use crate::limits::{
    ANONYMOUS_TOOLS_MAX, CEILINGS_MAX, CORES_MAX, NAMED_CONTROLS_MAX, PROTECTED_PATTERNS_MAX,
    RATE_BURST_MAX, RATE_PER_MINUTE_MAX, SCRAPER_NETWORKS_MAX, TOKEN_CHAIN_MAX_SECS,
    TOKEN_LIFE_MAX_SECS, TOKEN_SECRET_MIN_BYTES,
};
use crate::model::name::ControlName;
use crate::tls::is_host_name;

pub(super) fn read(
    mut merged: Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Config {
    let mut section = |name: &str| match merged.remove(name) {
        Some(Value::Table(table)) => table,
        _ => Table::new(),
    };
    let (listen, link, breaker) = (section("listen"), section("link"), section("breaker"));
    let (safety, store) = (section("safety"), section("store"));
    let (audit, log) = (section("audit"), section("log"));
    let (access, tokens) = (section("access"), section("tokens"));
    let (rate, metrics, health) = (section("rate"), section("metrics"), section("health"));
    let (provider, traces) = (section("identity-provider"), section("tracing"));
    let board = section("board");
    let access = read_access(Section::new("access", access, problems));
    Config {
        rate: read_rate(Section::new("rate", rate, problems)),
        metrics: read_metrics(Section::new("metrics", metrics, problems)),
        identity_provider: provider::read(Section::new("identity-provider", provider, problems)),
        tokens: read_tokens(Section::new("tokens", tokens, problems)),
        listen: read_listen(listen, problems),
        cores: read_cores(merged, access.claim, problems),
        access,
        link: read_link(Section::new("link", link, problems)),
        breaker: read_breaker(Section::new("breaker", breaker, problems)),
        safety: read_safety(safety, problems),
        store: read_store(Section::new("store", store, problems)),
        audit: read_audit(Section::new("audit", audit, problems)),
        board: board::read(Section::new("board", board, problems)),
        health: health::read(Section::new("health", health, problems)),
        log: read_log(Section::new("log", log, problems)),
        tracing: tracing::read(Section::new("tracing", traces, problems), environment),
    }
}

fn read_listen(table: Table, problems: &mut Problems) -> ListenConfig {
    let mut section = Section::new("listen", table, problems);
    let address = section.address("address");
    let may_be_lan = match section.text("plain").as_str() {
        "loopback" => false,
        "lan" => true,
        other => {
            section.fault(
                "plain",
                format!("\"{other}\" is neither \"loopback\" nor \"lan\""),
            );
            true
        }
    };
    if !may_be_lan && !address.ip().to_canonical().is_loopback() {
        section.fault(
            "address",
            format!(
                "{address} is on the LAN, where everybody on the way could read the keys: write \"127.0.0.1:{}\" here and let clients use [listen.tls], or write plain = \"lan\" beside it if it has to be so",
                address.port()
            ),
        );
    }
    let names = section.texts("names", 32);
    for (index, name) in names.iter().enumerate() {
        if name.parse::<IpAddr>().is_err() && !is_host_name(name) {
            let message = format!("\"{name}\" is neither a host name nor an address");
            section.fault(&format!("names[{index}]"), message);
        }
    }
    let allowed_origins = section.texts("allowed-origins", 32);
    for (index, origin) in allowed_origins.iter().enumerate() {
        if !(origin.starts_with("http://") || origin.starts_with("https://")) {
            let message = format!("\"{origin}\" is not an origin such as \"https://panel.local\"");
            section.fault(&format!("allowed-origins[{index}]"), message);
        }
    }
    let connections_max =
        usize::try_from(section.whole("connections-max", 8..=16_384)).unwrap_or(8);
    let stop_within = Duration::from_secs(section.whole("stop-within-secs", 12..=300));
    let tls = section.table("tls");
    ListenConfig {
        address,
        tls: read_tls(Section::new("listen.tls", tls, problems)),
        names,
        allowed_origins,
        connections_max,
        stop_within,
    }
}

fn read_tls(mut section: Section<'_>) -> Option<TlsConfig> {
    let address = section.optional_address("address");
    let certificate = optional(section.text("certificate-file"));
    let files = match (certificate, optional(section.text("key-file"))) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => {
            section.fault("key-file", "a certificate needs the file with its key");
            None
        }
        (None, Some(_)) => {
            section.fault(
                "certificate-file",
                "a key needs the file with its certificate",
            );
            None
        }
    };
    Some(TlsConfig {
        address: address?,
        files,
    })
}

impl Section<'_> {
    /// An address and port.
    fn address(&mut self, key: &str) -> SocketAddr {
        let text = self.text(key);
        self.parsed_address(key, &text)
    }

    /// An address and port, or nothing.
    fn optional_address(&mut self, key: &str) -> Option<SocketAddr> {
        let text = optional(self.text(key))?;
        Some(self.parsed_address(key, &text))
    }

    fn parsed_address(&mut self, key: &str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.fault(
                key,
                format!("\"{text}\" is not an address and port such as \"0.0.0.0:8443\""),
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }
}

fn read_rate(mut section: Section<'_>) -> RateConfig {
    let number = |section: &mut Section<'_>, key: &str, least: u32, most: u32| {
        let number = section.whole(key, least.into()..=most.into());
        u32::try_from(number).unwrap_or(most)
    };
    let mut rate = |who: &str, least| Rate {
        per_minute: number(
            &mut section,
            &format!("{who}per-minute"),
            least,
            RATE_PER_MINUTE_MAX,
        ),
        burst: number(&mut section, &format!("{who}burst"), least, RATE_BURST_MAX),
    };
    // Zero is none for these two.
    let (every, all) = (rate("", 0), rate("all-", 0));
    let strangers = rate("stranger-", 1);
    let roles = ["guest-", "viewer-", "operator-", "engineer-", "admin-"].map(|who| {
        let own = rate(who, 1);
        let chosen = Rate {
            per_minute: Some(every.per_minute)
                .filter(|number| *number > 0)
                .unwrap_or(own.per_minute),
            burst: Some(every.burst)
                .filter(|number| *number > 0)
                .unwrap_or(own.burst),
        };
        match who {
            "guest-" => Rate {
                per_minute: chosen.per_minute.min(own.per_minute),
                burst: chosen.burst.min(own.burst),
            },
            _ => chosen,
        }
    });
    RateConfig {
        enabled: section.flag("enabled"),
        roles,
        strangers,
        all: (all.per_minute > 0).then(|| Rate::new(all.per_minute, all.burst)),
    }
}

fn read_access(mut section: Section<'_>) -> AccessConfig {
    AccessConfig {
        anonymous_tools: section.texts("anonymous-tools", ANONYMOUS_TOOLS_MAX),
        loopback_role: optional(section.text("loopback-role")),
        claim: section.flag("claim"),
        ..AccessConfig::default()
    }
}

fn read_metrics(mut section: Section<'_>) -> MetricsConfig {
    MetricsConfig {
        detail: section.flag("detail"),
        allow: section.texts("allow", SCRAPER_NETWORKS_MAX),
    }
}

/// What the environment has of keys. Whether they are good is seen where keys are known.
pub(super) fn read_given(
    access: &mut AccessConfig,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    access.keys = environment.get(KEYS_VARIABLE).map(|text| Secret::new(text));
    let folder = environment.get(CREDENTIALS_VARIABLE);
    let credential = folder.map(|folder| PathBuf::from(folder).join(KEYS_CREDENTIAL));
    access.keys_credential = credential.filter(|path| path.exists());
    match environment.get(AUTH_VARIABLE).map(|text| text.trim()) {
        None | Some("true" | "1" | "yes" | "on") => {}
        Some("false" | "0" | "no" | "off") => problems.note(
            AUTH_VARIABLE,
            "this server is not opened to everybody: take the variable away. Single tools are opened to anybody with `access.anonymous-tools`, and programs on this very machine are let in with `access.loopback-role`",
        ),
        Some(_) => problems.note(AUTH_VARIABLE, "it is neither true nor false: take it away"),
    }
}

fn read_tokens(mut section: Section<'_>) -> TokensConfig {
    let life = section.whole("life-minutes", 1..=TOKEN_LIFE_MAX_SECS / 60);
    let chain = section.whole("chain-hours", 1..=TOKEN_CHAIN_MAX_SECS / 3_600);
    if chain * 60 < life {
        section.fault(
            "chain-hours",
            format!("{chain} h is less than one token lasts, which is {life} minutes"),
        );
    }
    TokensConfig {
        life: Duration::from_mins(life),
        chain: Duration::from_hours(chain),
        secret: None,
    }
}

/// A secret that signs tokens, from the environment. Nothing of it is told.
pub(super) fn read_token_secret(text: &str, problems: &mut Problems) -> Option<Secret> {
    let text = text.trim();
    if text.len() < TOKEN_SECRET_MIN_BYTES {
        problems.note(
            TOKEN_SECRET_VARIABLE,
            format!(
                "{} bytes are too few: at least {TOKEN_SECRET_MIN_BYTES} random ones keep others from making tokens. Leave it away, and the box makes a secret for itself",
                text.len()
            ),
        );
        return None;
    }
    Some(Secret::new(text))
}

fn read_cores(merged: Table, may_lack: bool, problems: &mut Problems) -> Vec<CoreConfig> {
    let tables = Section::new("", merged, problems).tables("core", CORES_MAX);
    let has_address = |table: &Table| table.get("address").and_then(Value::as_str) != Some("");
    if may_lack && !tables.iter().any(has_address) {
        return Vec::new();
    }
    let mut cores: Vec<CoreConfig> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let mut section = Section::new(&format!("core[{index}]"), table, problems);
        let core = read_core(&mut section);
        if cores.iter().any(|other| other.name == core.name) {
            section.fault(
                "name",
                format!(
                    "\"{}\" is taken: give each [[core]] a name of its own",
                    core.name
                ),
            );
        }
        cores.push(core);
    }
    if cores.is_empty() {
        problems.note("core", "write at least one [[core]] table with an address");
    }
    cores
}

fn read_core(section: &mut Section<'_>) -> CoreConfig {
    let name = section.text("name");
    if !(1..=64).contains(&name.chars().count()) {
        section.fault("name", "a name has 1 to 64 characters");
    }
    let address = section.text("address");
    if address.is_empty() {
        section.fault(
            "address",
            "write the Core's host name or address, such as \"192.168.5.10\"",
        );
    } else if let Some(fault) = address_fault(&address) {
        section.fault("address", fault);
    }
    let standby_address = optional(section.text("standby-address"));
    if let Some(fault) = standby_address.as_deref().and_then(address_fault) {
        section.fault("standby-address", fault);
    }
    let word = section.text("transport");
    let transport = match word.as_str() {
        "auto" => Transport::Auto,
        "wss" => Transport::Wss,
        "ws" => Transport::Ws,
        "tcp" => Transport::Tcp,
        _ => {
            section.fault(
                "transport",
                format!("\"{word}\" is none of \"auto\", \"wss\", \"ws\", \"tcp\""),
            );
            Transport::Auto
        }
    };
    let trust = match (optional(section.text("ca-file")), section.flag("insecure")) {
        (Some(_), true) => {
            section.fault("insecure", "set either `ca-file` or `insecure`, not both");
            Trust::FirstUse
        }
        (Some(file), false) => Trust::Authority(file.into()),
        (None, true) => Trust::Anything,
        (None, false) => Trust::FirstUse,
    };
    CoreConfig {
        name,
        address,
        standby_address,
        transport,
        trust,
        logon: read_logon(section),
        api_key_file: optional(section.text("api-key-file")).map(PathBuf::from),
        named_controls: read_named_controls(section),
    }
}

fn read_logon(section: &mut Section<'_>) -> Option<(String, PathBuf)> {
    match (
        optional(section.text("user")),
        optional(section.text("pin-file")),
    ) {
        (Some(user), Some(file)) => Some((user, file.into())),
        (None, None) => None,
        (Some(_), None) => {
            section.fault("pin-file", "a user needs a file with the PIN");
            None
        }
        (None, Some(_)) => {
            section.fault("user", "a PIN needs the user that it belongs to");
            None
        }
    }
}

fn read_named_controls(section: &mut Section<'_>) -> Vec<ControlName> {
    let mut names = Vec::new();
    for (index, text) in section
        .texts("named-controls", NAMED_CONTROLS_MAX)
        .iter()
        .enumerate()
    {
        match text.parse::<ControlName>() {
            Ok(name) => names.push(name),
            Err(fault) => section.fault(&format!("named-controls[{index}]"), fault.to_string()),
        }
    }
    names
}

fn optional(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// What is wrong with a host or `host:port`, if anything.
fn address_fault(address: &str) -> Option<String> {
    if address.contains("://") || address.contains('/') {
        return Some(format!(
            "\"{address}\" is a URL: write the host alone, and `transport` beside it"
        ));
    }
    let is_address = address.parse::<IpAddr>().is_ok() || address.parse::<SocketAddr>().is_ok();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "1"));
    let is_host = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    (!(is_address || (is_host && is_port)))
        .then(|| format!("\"{address}\" is not a host name or address, with or without :port"))
}

fn read_link(mut section: Section<'_>) -> LinkTiming {
    LinkTiming {
        poll: Duration::from_millis(section.whole("poll-millis", 100..=10_000)),
        fast_poll: Duration::from_millis(section.whole("fast-poll-millis", 50..=10_000)),
        keepalive: Duration::from_secs(section.whole("keepalive-secs", 5..=30)),
        probe_timeout: Duration::from_secs(section.whole("probe-timeout-secs", 1..=30)),
        retry_max: Duration::from_secs(section.whole("retry-max-secs", 1..=300)),
    }
}

fn read_breaker(mut section: Section<'_>) -> BreakerConfig {
    let mut count = |key, most| u32::try_from(section.whole(key, 1..=most)).unwrap_or(1);
    BreakerConfig {
        failures: count("failures", 100),
        successes: count("successes", 20),
        open_max: Duration::from_secs(section.whole("open-max-secs", 5..=600)),
    }
}

fn read_safety(table: Table, problems: &mut Problems) -> SafetyRules {
    let mut section = Section::new("safety", table, problems);
    let writes = section.flag("writes");
    let protected = section.texts("protected", PROTECTED_PATTERNS_MAX);
    let snapshots = section.flag("snapshots");
    let tables = section.tables("ceiling", CEILINGS_MAX);
    let mut ceilings = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        ceilings.push(read_ceiling(
            &format!("safety.ceiling[{index}]"),
            table,
            problems,
        ));
    }
    SafetyRules {
        writes,
        protected,
        snapshots,
        ceilings,
    }
}

fn read_ceiling(path: &str, table: Table, problems: &mut Problems) -> CeilingRule {
    const KEYS: [&str; 3] = ["pattern", "max", "max-step-up"];
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        problems.note(format!("{path}.{key}"), unknown_key(key, KEYS));
    }
    let has_step = table.contains_key("max-step-up");
    let mut section = Section::new(path, table, problems);
    CeilingRule {
        pattern: section.text("pattern"),
        max: section.number("max"),
        max_step_up: has_step.then(|| section.number("max-step-up")),
    }
}

fn read_store(mut section: Section<'_>) -> StoreConfig {
    let path = section.text("path");
    if path.is_empty() {
        section.fault("path", "write a folder, such as \"/var/lib/rackhand\"");
    }
    StoreConfig { path: path.into() }
}

fn read_audit(mut section: Section<'_>) -> AuditConfig {
    let bytes_max = section.whole("bytes-max-mib", 1..=4_096) << 20;
    let age_max = Duration::from_hours(section.whole("days-max", 1..=36_500) * 24);
    let syslog = optional(section.text("syslog")).and_then(|text| {
        let target = text.parse().ok();
        if target.is_none() {
            let message = format!(
                "\"{text}\" is none of \"udp://HOST:PORT\", \"tcp://HOST:PORT\", \"unix:/dev/log\""
            );
            section.fault("syslog", message);
        }
        target
    });
    AuditConfig {
        detail: section.flag("detail"),
        required: section.flag("required"),
        bytes_max,
        age_max,
        clock_file: optional(section.text("clock-file")).map(PathBuf::from),
        syslog,
        journald: optional(section.text("journald")).map(PathBuf::from),
    }
}

fn read_log(mut section: Section<'_>) -> LogConfig {
    let word = section.text("format");
    let format = match word.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => {
            section.fault(
                "format",
                format!("\"{word}\" is none of \"text\", \"json\""),
            );
            LogFormat::Text
        }
    };
    LogConfig {
        level: section.text("level"),
        format,
        requests: section.flag("requests"),
    }
}
