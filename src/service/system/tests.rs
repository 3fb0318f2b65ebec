//! The tools for keys, over a key file.

use serde_json::{Value, json};

use super::*;
use crate::base::clock::UnixMillis;
use crate::base::shutdown::Stop;
use crate::config::{Config, DEFAULT_TOML};
use crate::guard::{Caller, KeyFile, KeySource, Role};
use crate::ops::health::{Board, CHECKS, Facts, Report};
use crate::service::FaultCode;
use std::collections::BTreeMap;
use tokio::time::Instant;

#[derive(Debug)]
struct Well;

impl Source for Well {
    fn report(&self) -> Arc<Report> {
        let now = Instant::now();
        let (mut board, facts) = (Board::new(now), Facts::default());
        let text = DEFAULT_TOML.replace("address = \"\"", "address = \"core\"");
        let config = Config::load(&text, &BTreeMap::new()).unwrap().health;
        board.judge(&facts, None, &config, now, UnixMillis(0));
        board.report()
    }

    fn detail(&self) -> Value {
        Value::Null
    }
}

/// A box that is well.
pub(super) fn well() -> Arc<dyn Source> {
    Arc::new(Well)
}

fn box_with(keys: &KeyFile) -> SystemService {
    let guard = Guard::new(KeySource::File(keys.clone())).unwrap();
    SystemService::new(Audit::default(), Arc::new(guard), well())
}

async fn call(service: &SystemService, tool: &str, arguments: Value) -> Result<Value, ToolFault> {
    let listed = service.tools().iter().find(|one| one.name == tool).unwrap();
    let valid = jsonschema::validator_for(&listed.input_schema).unwrap();
    valid.validate(&arguments).unwrap();
    let caller = Caller::local("root", Role::Admin);
    let call = ToolCall::new(tool, arguments, caller, Stop::new());
    let answer = service.call(call).await?.done().unwrap();
    let value: Value = serde_json::from_str(answer.structured.unwrap().get()).unwrap();
    let valid = jsonschema::validator_for(&listed.output_schema).unwrap();
    valid.validate(&value).unwrap();
    assert!(!answer.text.is_empty());
    Ok(value)
}

#[tokio::test]
async fn a_key_is_made_listed_without_itself_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::new(folder.path().join("keys.json"));
    let service = box_with(&keys);
    let wish = json!({ "name": "FOH laptop", "role": "operator", "expires": "2099-01-31",
        "components": ["Zone.*"], "networks": ["192.168.5.0/24"] });
    let made = call(&service, "system_new_key", wish).await.unwrap();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("rh_") && made["role"] == "operator");
    let listed = call(&service, "system_list_keys", json!({})).await.unwrap();
    let row = &listed["keys"][0];
    assert_eq!(
        (&row["expires"], &row["components"], &row["networks"]),
        (
            &json!("2099-01-31"),
            &json!(["Zone.*"]),
            &json!(["192.168.5.0/24"])
        )
    );
    assert!(!listed.to_string().contains(key));
    let usual = call(&service, "system_new_key", json!({ "name": "plain" }))
        .await
        .unwrap();
    assert_eq!(usual["role"], "viewer");
    call(
        &service,
        "system_revoke_key",
        json!({ "name": "FOH laptop" }),
    )
    .await
    .unwrap();
    assert_eq!(keys.list().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_made_or_revoked_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let service = box_with(&KeyFile::new(folder.path().join("keys.json")));
    let admin = json!({ "name": "root", "role": "admin" });
    call(&service, "system_new_key", admin.clone())
        .await
        .unwrap();
    for (tool, arguments, code) in [
        ("system_new_key", admin, FaultCode::BadArguments),
        (
            "system_new_key",
            json!({ "name": "(odd)" }),
            FaultCode::BadArguments,
        ),
        (
            "system_new_key",
            json!({ "name": "a", "expires": "2020-01-31" }),
            FaultCode::BadArguments,
        ),
        (
            "system_new_key",
            json!({ "name": "a", "expires": "2099-02-31" }),
            FaultCode::BadArguments,
        ),
        (
            "system_new_key",
            json!({ "name": "a", "components": ["[a"] }),
            FaultCode::BadArguments,
        ),
        (
            "system_new_key",
            json!({ "name": "a", "networks": ["192.168.5.7/24"] }),
            FaultCode::BadArguments,
        ),
        (
            "system_revoke_key",
            json!({ "name": "nobody" }),
            FaultCode::NotFound,
        ),
        (
            "system_revoke_key",
            json!({ "name": "root" }),
            FaultCode::ApprovalRequired,
        ),
    ] {
        let fault = call(&service, tool, arguments.clone()).await.unwrap_err();
        assert_eq!(fault.code, code, "{tool} {arguments}: {fault}");
    }
    let last = json!({ "name": "root", "even_last_admin": true });
    call(&service, "system_revoke_key", last).await.unwrap();
}

#[tokio::test]
async fn health_and_ping_answer_as_their_schemas_say_and_each_check_is_a_resource() {
    let folder = tempfile::tempdir().unwrap();
    let service = box_with(&KeyFile::new(folder.path().join("keys.json")));
    let ping = call(&service, "system_ping", json!({})).await.unwrap();
    assert_eq!(ping["status"], "ok");
    let health = call(&service, "system_health", json!({})).await.unwrap();
    assert_eq!(
        (&health["status"], &health["ready"]),
        (&json!("HEALTHY"), &json!(true))
    );
    let checks = health["checks"].as_array().unwrap();
    assert_eq!(checks.len(), CHECKS.len());
    let caller = Caller::local("root", Role::Admin);
    let whole = service.resources().remove(0).uri;
    let uris = checks
        .iter()
        .map(|check| format!("qsys://health/{}", check["check"].as_str().unwrap()));
    for uri in uris.chain([whole]) {
        let read = service.read_resource(&uri, &caller).await.unwrap();
        assert!(
            read.is_some() && service.resource_stamp(&uri, &caller.reach).is_some(),
            "{uri}"
        );
    }
    for uri in [
        "qsys://health/",
        "qsys://health/none",
        "qsys://healthy",
        "qsys://overview",
    ] {
        assert!(
            service.read_resource(uri, &caller).await.unwrap().is_none(),
            "{uri}"
        );
        assert!(
            service.resource_stamp(uri, &caller.reach).is_none(),
            "{uri}"
        );
    }
}
