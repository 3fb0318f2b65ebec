//! Commands that begin, say something, and end.

use crate::bed::{PROGRAM, Place, run};

#[tokio::test]
async fn every_fault_of_a_configuration_is_reported_at_once_and_exits_78() {
    let place = Place::new("address = \"127.0.0.1\"");
    place.configure(
        "[listen]\naddress = \"nowhere\"\n[[core]]\nname = \"hall\"\naddress = \"a b\"\ntransport = \"pigeon\"\nuser = \"x\"\npin-file = \"/nonexistent/pin\"\n\
         [link]\npoll-millis = 3\n[safety]\nprotected = [\"good\", \"[bad\"]\nsurprise = 1\n[[safety.ceiling]]\npattern = \"{bad\"\nmax = 0.0\n",
    );
    for command in ["check", "run"] {
        let (code, said) = run(&[command, "--config", &place.config()]).await;
        assert_eq!(code, Some(78), "{command}: {said}");
        for fault in [
            "listen.address",
            "core[0].address",
            "core[0].transport",
            "link.poll-millis",
            "safety.surprise",
        ] {
            assert!(
                said.contains(fault),
                "{command} does not say {fault}:\n{said}"
            );
        }
    }
}

#[tokio::test]
async fn rules_and_secrets_that_cannot_be_used_are_faults_of_the_configuration_too() {
    let place = Place::new("address = \"127.0.0.1\"");
    place.configure(&format!(
        "[[core]]\nname = \"hall\"\naddress = \"127.0.0.1\"\nuser = \"x\"\npin-file = \"/nonexistent/pin\"\napi-key-file = \"/nonexistent/key\"\n\
         [safety]\nprotected = [\"good\", \"[bad\"]\n[[safety.ceiling]]\npattern = \"{{bad\"\nmax = 0.0\n[store]\npath = {:?}\n",
        place.data()
    ));
    for command in ["check", "run"] {
        let (code, said) = run(&[command, "--config", &place.config()]).await;
        assert_eq!(code, Some(78), "{command}: {said}");
        for fault in [
            "safety.protected[1]",
            "safety.ceiling[0].pattern",
            "/nonexistent/pin",
            "/nonexistent/key",
        ] {
            assert!(
                said.contains(fault),
                "{command} does not say {fault}:\n{said}"
            );
        }
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_there_exits_78_and_says_how_to_make_one() {
    for command in ["check", "run"] {
        let (code, said) = run(&[command, "--config", "/nonexistent/rackhand.toml"]).await;
        assert_eq!(code, Some(78), "{said}");
        assert!(
            said.contains("/nonexistent/rackhand.toml") && said.contains("print-config"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_printed_configuration_is_good_once_the_address_is_filled_in() {
    let place = Place::new("");
    let (code, printed) = run(&["print-config"]).await;
    assert_eq!(code, Some(0));
    place.configure(&printed);
    let (code, said) = run(&["check", "--config", &place.config()]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("1 fault") && said.contains("core[0].address"),
        "{said}"
    );
    let empty = "\naddress = \"\"";
    assert!(printed.contains(empty));
    place.configure(&printed.replacen(empty, "\naddress = \"192.168.5.10\"", 1));
    let (code, said) = run(&["check", "--config", &place.config()]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("is good") && said.contains("writing is off"),
        "{said}"
    );
}

#[tokio::test]
async fn without_a_key_the_lan_is_not_served_and_the_way_to_a_key_is_shown() {
    let place = Place::new("address = \"127.0.0.1:9\"");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let lan = config.replace("127.0.0.1:0", "0.0.0.0:0");
    place.configure(&lan.replace("[listen]", "[listen]\nplain = \"lan\""));
    let (code, said) = run(&["run", "--config", &place.config()]).await;
    assert_eq!(code, Some(1), "{said}");
    let way = format!("--data {}", place.data());
    assert!(
        said.contains("there is no key yet")
            && said.contains("rackhand key new")
            && said.contains(&way),
        "{said}"
    );
}

#[tokio::test]
async fn keys_that_cannot_be_made_or_revoked_say_why() {
    let place = Place::new("");
    let data = place.data();
    place.key("FOH laptop", "operator").await;
    let (code, said) = run(&["key", "new", "--data", &data, "--name", "FOH laptop"]).await;
    assert!(code == Some(1) && said.contains("FOH laptop"), "{said}");
    let (code, said) = run(&["key", "revoke", "--data", &data, "--name", "BOH laptop"]).await;
    assert!(code == Some(1) && said.contains("BOH laptop"), "{said}");
    let (code, said) = run(&["key", "list", "--data", &data]).await;
    assert!(
        code == Some(0) && said.contains("operator") && !said.contains("rh_"),
        "{said}"
    );
    let (code, said) = run(&[
        "key", "new", "--data", &data, "--name", "x", "--role", "king",
    ])
    .await;
    assert!(code == Some(2) && said.contains("engineer"), "{said}");
}

#[tokio::test]
async fn a_secret_for_tokens_that_is_too_short_is_a_fault_and_is_not_shown() {
    let place = Place::new("address = \"127.0.0.1\"");
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["check", "--config", &place.config()]);
    command.env("MCP_JWT_SECRET", "sesame-open");
    let output = command.output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("MCP_JWT_SECRET") && said.contains("32"),
        "{said}"
    );
    assert!(!said.contains("sesame"), "{said}");
}

#[tokio::test]
async fn the_secret_of_tokens_is_changed_by_a_command_and_stays_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new("address = \"127.0.0.1\"");
    let data = place.data();
    let file = std::path::Path::new(&data).join("token-secret.json");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (code, said) = run(&["token", "rotate-secret", "--data", &data]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("has ended"), "{said}");
        seen.push(std::fs::read_to_string(&file).unwrap());
    }
    assert_ne!(seen[0], seen[1]);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
