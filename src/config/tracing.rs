//! Section `[tracing]`, and what OpenTelemetry's own variables of the environment say of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::problems::{Problems, Section};
use crate::base::secret::Secret;
use crate::limits::{COLLECTOR_HEADERS_MAX, RESOURCE_ATTRIBUTES_MAX};

/// What every such variable begins with.
pub(super) const PREFIX: &str = "OTEL_";

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Variables that name one thing in general and for traces alone; the second wins.
const HEADERS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
];
const TIMEOUT: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
];
const CERTIFICATE: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
];
const PROTOCOL: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
];

/// Section `[tracing]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingConfig {
    /// Where spans are sent; absent if nothing is traced.
    pub endpoint: Option<String>,
    /// The part of requests that is traced, percent.
    pub percent: f64,
    /// Whether what callers say of their traces decides for those.
    pub follows_callers: bool,
    /// How long the collector may take.
    pub timeout: Duration,
    /// The authorities that may sign its certificate.
    pub ca_file: PathBuf,
    /// Names and values of headers for it, from the environment alone.
    pub headers: Vec<(String, Secret)>,
    /// A file with more of them.
    pub headers_file: Option<PathBuf>,
    /// Names and values that every span has in common, `service.name` the first.
    pub attributes: Vec<(String, String)>,
}

/// Lays OpenTelemetry's variables over the file.
pub(super) fn apply_environment(
    merged: &mut Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let Some(Value::Table(section)) = merged.get_mut("tracing") else {
        return;
    };
    // An empty one is as good as none (OpenTelemetry specification, Environment Variables).
    let said = |name: &str| {
        let text = environment.get(name).map(|text| text.trim());
        text.filter(|text| !text.is_empty())
    };
    let either = |names: [&'static str; 2]| {
        let mut found = names.into_iter().rev();
        found.find_map(|name| said(name).map(|text| (name, text)))
    };
    let mut set = |key: &str, value: Value| section.insert(key.to_owned(), value);
    if let Some(whole) = said(TRACES_ENDPOINT) {
        set("endpoint", whole.into());
    } else if let Some(base) = said(ENDPOINT) {
        set(
            "endpoint",
            format!("{}/v1/traces", base.trim_end_matches('/')).into(),
        );
    }
    if let Some((name, text)) = either(TIMEOUT) {
        match text.parse::<i64>() {
            Ok(millis) => drop(set("timeout-millis", millis.into())),
            Err(_) => problems.note(name, format!("\"{text}\" is no number of milliseconds")),
        }
    }
    if let Some((_, file)) = either(CERTIFICATE) {
        set("ca-file", file.into());
    }
    if let Some(name) = said("OTEL_SERVICE_NAME") {
        set("service-name", name.into());
    }
    if let Some((name, other)) = either(PROTOCOL).filter(|(_, text)| *text != "http/protobuf") {
        let message = format!(
            "\"{other}\" is not spoken here: point it at a port that takes \"http/protobuf\", usually 4318"
        );
        problems.note(name, message);
    }
    let share = said(SAMPLER_ARG).unwrap_or("1");
    let share = share
        .parse::<f64>()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    let (is_share, percent) =
        match said(SAMPLER).map(|text| text.trim_start_matches("parentbased_")) {
            None => (false, None),
            Some("always_on") => (false, Some(100.0)),
            Some("always_off") => (false, Some(0.0)),
            Some("traceidratio") => (true, share.map(|share| share * 100.0)),
            Some(_) => {
                let known =
                    "always_on, always_off, traceidratio, each also with parentbased_ before it";
                problems.note(SAMPLER, format!("this is none of {known}"));
                (false, None)
            }
        };
    if is_share && share.is_none() {
        problems.note(SAMPLER_ARG, "this is not a number from 0 to 1");
    }
    if let Some(percent) = percent {
        let follows = said(SAMPLER).is_some_and(|text| text.starts_with("parentbased_"));
        set("percent", percent.into());
        set("follow-callers", follows.into());
    }
    if let Some(pairs) = said("OTEL_RESOURCE_ATTRIBUTES") {
        let mut table = Table::new();
        for (name, value) in pairs_in(pairs) {
            table.insert(name, value.into());
        }
        set("attributes", table.into());
    }
    let is_off = said("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if is_off || said("OTEL_TRACES_EXPORTER") == Some("none") {
        set("endpoint", "".into());
    }
}

/// Reads the section, and the headers of the environment.
pub(super) fn read(
    mut section: Section<'_>,
    environment: &BTreeMap<String, String>,
) -> TracingConfig {
    let service = section.text("service-name");
    let mut attributes = section.words("attributes", RESOURCE_ATTRIBUTES_MAX);
    // The name that was written for itself counts.
    let is_default = service == env!("CARGO_PKG_NAME");
    let given = attributes
        .iter()
        .position(|(name, _)| name == "service.name");
    let given = given.map(|at| attributes.remove(at).1);
    let service = given.filter(|_| is_default).unwrap_or(service);
    attributes.insert(0, ("service.name".to_owned(), service));
    let given = HEADERS
        .into_iter()
        .rev()
        .find_map(|name| environment.get(name));
    let given = given.map(String::as_str).unwrap_or_default();
    let headers: Vec<(String, Secret)> = pairs_in(given)
        .map(|(name, value)| (name, Secret::new(&value)))
        .collect();
    let file = section.text("headers-file");
    let config = TracingConfig {
        endpoint: Some(section.text("endpoint")).filter(|text| !text.is_empty()),
        percent: section.number("percent"),
        follows_callers: section.flag("follow-callers"),
        timeout: Duration::from_millis(section.whole("timeout-millis", 100..=60_000)),
        ca_file: section.text("ca-file").into(),
        headers_file: Some(PathBuf::from(file)).filter(|file| file.components().next().is_some()),
        headers,
        attributes,
    };
    if !(0.0..=100.0).contains(&config.percent) {
        let message = format!("{} is not from 0 to 100", config.percent);
        section.fault("percent", message);
    }
    if config.headers.len() > COLLECTOR_HEADERS_MAX {
        let message = format!("more than {COLLECTOR_HEADERS_MAX} headers for the collector");
        section.fault("headers", message);
    }
    let has_headers = !config.headers.is_empty() || config.headers_file.is_some();
    if let Some(fault) = config
        .endpoint
        .as_deref()
        .and_then(|text| endpoint_fault(text, has_headers))
    {
        section.fault("endpoint", fault);
    }
    config
}

/// `name=value` pairs with commas between them, in which `%2C` stands for a comma (W3C Baggage, as OpenTelemetry takes it over).
pub(crate) fn pairs_in(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text
        .split([',', '\n'])
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), decoded(value.trim())))
        .filter(|(name, _)| !name.is_empty())
}

/// What is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).filter(|_| *first == b'%');
        let byte = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn endpoint_fault(text: &str, has_headers: bool) -> Option<String> {
    let uri: Option<hyper::Uri> = text.parse().ok();
    let Some(uri) = uri.filter(|uri| {
        let authority = uri.authority().map(hyper::http::uri::Authority::as_str);
        let is_plain = authority.is_some_and(|authority| !authority.contains('@'));
        is_plain && matches!(uri.scheme_str(), Some("http" | "https"))
    }) else {
        return Some(format!(
            "\"{text}\" is not a URL such as \"http://collector.local:4318/v1/traces\""
        ));
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    (has_headers && !is_here && uri.scheme_str() == Some("http")).then(|| {
        "headers for the collector would be read by everybody on the way: use https".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, TracingConfig};
    use super::*;

    const CORE: &str = "[[core]]\naddress = \"a\"\n";

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<TracingConfig, Problems> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::load(&format!("{CORE}{file}"), &environment).map(|config| config.tracing)
    }

    fn fault(file: &str, environment: &[(&str, &str)]) -> String {
        let problems = load(file, environment).unwrap_err();
        let [problem] = problems.as_slice() else {
            panic!("{problems}");
        };
        problem.key.clone()
    }

    #[test]
    fn nothing_is_traced_until_there_is_a_collector() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.endpoint, None);
        assert_eq!(
            config.attributes,
            [("service.name".into(), "rackhand".into())]
        );
        assert!(config.follows_callers && config.headers.is_empty());
    }

    #[test]
    fn the_usual_variables_say_everything() {
        let config = load(
            "[tracing]\nendpoint = \"http://one.local:4318/v1/traces\"\n",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://two.local:4318/"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%2Cb, x-more = c=d"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
                ("OTEL_SERVICE_NAME", "rack-7"),
                (
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "site=Hall%20A,service.name=other,empty",
                ),
                ("OTEL_UNKNOWN", "x"),
            ],
        );
        let config = config.unwrap();
        assert_eq!(
            config.endpoint.as_deref(),
            Some("https://two.local:4318/v1/traces")
        );
        assert_eq!(
            config.headers,
            [
                ("api-key".into(), Secret::new("a,b")),
                ("x-more".into(), Secret::new("c=d"))
            ]
        );
        assert_eq!(config.timeout, Duration::from_millis(250));
        assert_eq!(config.ca_file, PathBuf::from("/etc/ca.pem"));
        assert!((config.percent - 25.0).abs() < 1e-9 && config.follows_callers);
        assert_eq!(
            config.attributes,
            [
                ("service.name".into(), "rack-7".into()),
                ("site".into(), "Hall A".into())
            ]
        );
    }

    #[test]
    fn what_is_for_traces_alone_wins_and_our_own_variables_win_over_both() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://one:4318");
        let traces = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://two:4318/other",
        );
        let own = ("RACKHAND_TRACING_ENDPOINT", "http://three:4318/v1/traces");
        let found = |all: &[(&str, &str)]| load("", all).unwrap().endpoint.unwrap();
        assert_eq!(found(&[general, traces]), "http://two:4318/other");
        assert_eq!(found(&[general, traces, own]), own.1);
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(load("", &[general, off]).unwrap().endpoint, None);
        }
    }

    #[test]
    fn each_sampler_is_known_and_what_cannot_be_is_a_fault() {
        for (name, percent, follows) in [
            ("always_on", 100.0, false),
            ("always_off", 0.0, false),
            ("parentbased_always_on", 100.0, true),
            ("parentbased_always_off", 0.0, true),
            ("traceidratio", 100.0, false),
        ] {
            let config = load("", &[("OTEL_TRACES_SAMPLER", name)]).unwrap();
            assert!((config.percent - percent).abs() < 1e-9, "{name}");
            assert_eq!(config.follows_callers, follows, "{name}");
        }
        let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
        assert_eq!(
            fault("", &[("OTEL_TRACES_SAMPLER", "jaeger_remote")]),
            "OTEL_TRACES_SAMPLER"
        );
        for share in ["2", "-1", "x", "nan"] {
            assert_eq!(
                fault("", &[ratio, ("OTEL_TRACES_SAMPLER_ARG", share)]),
                "OTEL_TRACES_SAMPLER_ARG"
            );
        }
        let protocol = "OTEL_EXPORTER_OTLP_PROTOCOL";
        assert_eq!(fault("", &[(protocol, "grpc")]), protocol);
        let timeout = "OTEL_EXPORTER_OTLP_TIMEOUT";
        assert_eq!(fault("", &[(timeout, "10s")]), timeout);
        assert_eq!(fault("", &[(timeout, "99")]), "tracing.timeout-millis");
        assert_eq!(fault("[tracing]\npercent = 101.0", &[]), "tracing.percent");
    }

    #[test]
    fn a_key_for_the_collector_does_not_go_over_the_lan_in_clear() {
        let key = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=1");
        let at = |url| format!("[tracing]\nendpoint = \"{url}\"\n");
        assert_eq!(
            fault(&at("http://collector.local/v1/traces"), &[key]),
            "tracing.endpoint"
        );
        for good in [
            "https://collector.local/v1/traces",
            "http://127.0.0.1:4318/v1/traces",
            "http://[::1]:4318/",
        ] {
            assert!(load(&at(good), &[key]).is_ok(), "{good}");
        }
        assert!(load(&at("http://collector.local/v1/traces"), &[]).is_ok());
        for bad in ["collector:4318", "ftp://a/", "http://user@host/", "http://"] {
            assert_eq!(fault(&at(bad), &[]), "tracing.endpoint", "{bad}");
        }
        let shown = format!("{:?}", load("", &[key]).unwrap());
        assert!(!shown.contains("\"1\""), "{shown}");
    }
}
