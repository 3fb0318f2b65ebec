//! The configuration as a whole: defaults, files, environment, faults.

use super::*;

const SMALLEST: &str = "[[core]]\naddress = \"192.168.5.10\"\n";

fn load(file: &str) -> Result<Config, Problems> {
    Config::load(file, &BTreeMap::new())
}

fn faults(file: &str) -> Vec<(String, String)> {
    let problems = load(file).unwrap_err();
    problems
        .as_slice()
        .iter()
        .map(|problem| (problem.key.clone(), problem.message.clone()))
        .collect()
}

#[test]
fn a_file_with_only_an_address_has_the_documented_defaults() {
    let config = load(SMALLEST).unwrap();
    assert_eq!(config.listen.address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.cores[0].trust, Trust::FirstUse);
    assert_eq!(
        config.breaker,
        BreakerConfig {
            failures: 5,
            successes: 3,
            open_max: Duration::from_mins(1)
        }
    );
    assert!(!config.safety.writes);
}

#[test]
fn the_printed_defaults_lack_nothing_but_the_address() {
    assert_eq!(
        faults(DEFAULT_TOML),
        [(
            "core[0].address".into(),
            "write the Core's host name or address, such as \"192.168.5.10\"".into()
        )]
    );
}

#[test]
fn every_fault_of_a_file_is_reported_at_once_with_its_key() {
    let file = r#"
            [listen]
            adress = "0.0.0.0:8080"
            connections-max = 3
            [[core]]
            address = "wss://core/qrc"
            transport = "udp"
            user = "tech"
            named-controls = ["", 5]
            [safety]
            writes = "yes"
            [[safety.ceiling]]
            pattern = "Zone*/gain"
            maximum = 3
            [sefety]
            writes = true
        "#;
    let found = faults(file);
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    for key in [
        "listen.adress",
        "sefety",
        "listen.connections-max",
        "core[0].address",
        "core[0].transport",
        "core[0].pin-file",
        "core[0].named-controls[0]",
        "core[0].named-controls[1]",
        "safety.writes",
        "safety.ceiling[0].maximum",
        "safety.ceiling[0].max",
    ] {
        assert!(keys.contains(&key), "{key} is missing in {keys:?}");
    }
    assert!(
        found[0].1.contains("did you mean `address`?"),
        "{}",
        found[0].1
    );
}

#[test]
fn the_environment_wins_over_the_file_and_unknown_names_are_refused() {
    let environment = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    };
    let good = environment(&[
        ("RACKHAND_SAFETY_WRITES", "true"),
        ("RACKHAND_LISTEN_TLS_ADDRESS", "127.0.0.1:9443"),
        ("RACKHAND_CORE_ADDRESS", "core.local"),
        ("PATH", "/bin"),
    ]);
    let config = Config::load(SMALLEST, &good).unwrap();
    assert!(config.safety.writes);
    assert_eq!(
        config.listen.tls.unwrap().address,
        "127.0.0.1:9443".parse().unwrap()
    );
    assert_eq!(config.cores[0].address, "core.local");
    let bad = environment(&[
        ("RACKHAND_SAFETY_WRITE", "true"),
        ("RACKHAND_LINK_POLL_MILLIS", "often"),
    ]);
    let problems = Config::load(SMALLEST, &bad).unwrap_err();
    assert!(
        problems.to_string().contains("RACKHAND_SAFETY_WRITES"),
        "{problems}"
    );
    assert!(
        problems
            .to_string()
            .contains("\"often\" is not a whole number"),
        "{problems}"
    );
}

#[test]
fn rates_are_taken_by_role_and_by_the_tiers_of_older_servers() {
    let text = |rate: &str| format!("{SMALLEST}[rate]\n{rate}");
    let config = load(SMALLEST).unwrap().rate;
    assert!(config.enabled);
    assert_eq!(config.roles[1], Rate::new(300, 60));
    assert_eq!((config.strangers, config.all), (Rate::new(300, 60), None));
    let config = load(&text(
        "user-per-minute = 100\npremium-burst = 7\nall-per-minute = 500",
    ));
    let config = config.unwrap().rate;
    assert_eq!(config.roles[2], Rate::new(100, 60));
    assert_eq!(config.roles[3], Rate::new(1_000, 7));
    assert_eq!(config.all, Some(Rate::new(500, 200)));
    let config = load(&text("per-minute = 50\nburst = 5")).unwrap().rate;
    assert_eq!(config.roles[0], Rate::new(10, 5));
    assert!(
        config.roles[1..]
            .iter()
            .all(|rate| *rate == Rate::new(50, 5))
    );
    let found = faults(&text(
        "user-burst = 1\noperator-burst = 2\nviewer-burst = 0\nguest-per-minute = 9000000\nadmin-minute = 1",
    ));
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    for key in [
        "rate.user-burst",
        "rate.viewer-burst",
        "rate.guest-per-minute",
        "rate.admin-minute",
    ] {
        assert!(keys.contains(&key), "{key} is missing in {keys:?}");
    }
}

#[test]
fn rates_of_older_environment_names_are_those_of_every_role() {
    let load = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, text)| ((*name).into(), (*text).into()));
        Config::load(SMALLEST, &pairs.collect())
    };
    for (pairs, rate) in [
        (
            vec![("MCP_RATE_LIMIT_RPM", "120"), ("MCP_RATE_LIMIT_BURST", "8")],
            Rate::new(120, 8),
        ),
        (vec![("MCP_RATE_LIMIT_RPM", " 120 ")], Rate::new(120, 60)),
        (
            vec![("MCP_RL_BUCKET", "30"), ("MCP_RL_WINDOW_MS", "10000")],
            Rate::new(180, 30),
        ),
        (vec![("MCP_RL_BUCKET", "30")], Rate::new(30, 30)),
        (
            vec![
                ("MCP_RATE_LIMIT_RPM", "120"),
                ("RACKHAND_RATE_PER_MINUTE", "7"),
            ],
            Rate::new(7, 60),
        ),
    ] {
        assert_eq!(load(&pairs).unwrap().rate.roles[2], rate, "{pairs:?}");
    }
    for (pairs, key) in [
        (
            vec![
                ("MCP_RATE_LIMIT_RPM", "many"),
                ("MCP_RATE_LIMIT_BURST", "0"),
            ],
            "MCP_RATE_LIMIT_BURST",
        ),
        (vec![("MCP_RL_WINDOW_MS", "1000")], "MCP_RL_WINDOW_MS"),
        (
            vec![("MCP_RL_WINDOW_MS", "1"), ("MCP_RL_BUCKET", "10000")],
            "MCP_RL_BUCKET",
        ),
        (
            vec![("MCP_RL_BUCKET", "5"), ("MCP_RATE_LIMIT_RPM", "5")],
            "MCP_RL_BUCKET",
        ),
    ] {
        let problems = load(&pairs).unwrap_err();
        let mut all = problems.as_slice().iter();
        assert!(all.any(|problem| problem.key == key), "{problems}");
    }
}

#[test]
fn the_lan_is_served_without_tls_only_where_somebody_wrote_so() {
    let listen = |lines: &str| format!("{SMALLEST}[listen]\n{lines}\n");
    for address in ["0.0.0.0:8080", "[::]:8080", "192.168.5.20:8080"] {
        let file = listen(&format!("address = \"{address}\""));
        let [(key, message)] = &faults(&file)[..] else {
            panic!("{address}: {:?}", faults(&file));
        };
        assert_eq!(key, "listen.address");
        assert!(message.contains("plain = \"lan\""), "{message}");
        load(&format!("{file}plain = \"lan\"\n")).unwrap();
    }
    load(&listen("address = \"[::1]:8080\"")).unwrap();
    let found = faults(&listen(
        "plain = \"everywhere\"\nnames = [\"a b\"]\nallowed-hosts = []",
    ));
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        ["listen.allowed-hosts", "listen.plain", "listen.names[0]"]
    );
    assert!(found[0].1.contains("called `names` now"), "{}", found[0].1);
}

#[test]
fn tls_is_on_unless_its_address_is_empty_and_wants_both_files_or_none() {
    let tls = |lines: &str| format!("{SMALLEST}[listen.tls]\n{lines}\n");
    let config = load(SMALLEST).unwrap().listen.tls.unwrap();
    assert_eq!(config.address, "0.0.0.0:8443".parse().unwrap());
    assert_eq!(config.files, None);
    assert_eq!(load(&tls("address = \"\"")).unwrap().listen.tls, None);
    let files = load(&tls("certificate-file = \"a\"\nkey-file = \"b\"")).unwrap();
    assert_eq!(
        files.listen.tls.unwrap().files,
        Some(("a".into(), "b".into()))
    );
    let found = faults(&tls(
        "certificate-file = \"a\"\naddress = \"8443\"\ncolour = 1",
    ));
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "listen.tls.colour",
            "listen.tls.address",
            "listen.tls.key-file"
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    let found = faults("[listen\naddress=1");
    assert!(found[0].1.contains("line 1"), "{}", found[0].1);
}

#[test]
fn two_cores_need_two_names() {
    let file = "[[core]]\naddress = \"a\"\n[[core]]\naddress = \"b\"\n";
    assert_eq!(faults(file)[0].0, "core[1].name");
}
