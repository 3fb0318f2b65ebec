//! Every tool of the box, under its present and its older names, for every role: what the documentation says that it needs is what
//! decides, in lists and in calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use rackhand::guard::{Role, Scope, Scopes};
use rackhand::safety::{Policy, SafetyConfig};
use rackhand::service::Service as _;
use rackhand::service::qsys::QsysService;
use rackhand::sim::design;
use serde_json::{Value, json};

use crate::bed::{Bed, OPEN};

const TOOLS: &str = include_str!("../../src/docs/tools.md");

const OLDER: &str = include_str!("../../src/docs/older-names.md");

/// The cells of the table that begins with this head.
fn table<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let (_, table) = text.split_once(head).unwrap();
    let rows = table.lines().skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// Names in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What each listed tool needs.
fn listed() -> BTreeMap<&'static str, Scope> {
    let rows = table(TOOLS, "| Tool | Arguments beyond `core` | Needs |");
    let rows = rows.into_iter().map(|cells| {
        let word = cells[3].split([',', ';']).next().unwrap();
        let mut scopes = Scope::ALL.into_iter();
        let scope = scopes.find(|scope| scope.as_str() == word);
        (names(cells[1]).next().unwrap(), scope.unwrap())
    });
    rows.collect()
}

/// What each older name needs: the same as the present one.
fn older() -> BTreeMap<&'static str, Scope> {
    let listed = listed();
    let rows = table(OLDER, "| Older name | Arguments | Now |");
    let rows = rows.iter().flat_map(|cells| {
        let now = listed[names(cells[3]).next().unwrap()];
        names(cells[1]).map(move |name| (name, now))
    });
    rows.collect()
}

#[test]
fn every_older_name_stands_in_the_documentation() {
    let policy = Policy::new(&SafetyConfig::default()).unwrap();
    let service = QsysService::new(Vec::new(), Arc::new(policy));
    let known: Vec<_> = service.older_names().iter().map(|tool| tool.name).collect();
    assert!(known.len() > 15, "{known:?}");
    let documented = older();
    for name in &known {
        assert!(documented.contains_key(name), "{name}");
    }
    assert_eq!(documented.len(), known.len());
}

/// The names that `tools/list` shows to a role.
async fn shown(bed: &Bed, role: &str) -> Vec<String> {
    let client = bed.client(role);
    let key = client.key.as_deref().unwrap();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "roles", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {} } } })
    .to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = client.exchange(&request).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert!(answer["result"].get("nextCursor").is_none(), "{answer}");
    let tools = answer["result"]["tools"].as_array().unwrap().iter();
    let mut names: Vec<_> = tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn each_role_is_shown_and_may_call_what_the_documentation_says_and_nothing_else() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let (listed, older) = (listed(), older());
    assert_eq!(shown(&bed, "admin").await.len(), listed.len());
    let roles = Role::ALL.map(|role| (role.as_str(), role.scopes()));
    let blind = ("blind", Scopes::of(&[Scope::Diagnose]));
    let bounded = ("bounded", Role::Operator.scopes());
    for (role, scopes) in roles.into_iter().chain([blind, bounded]) {
        let may = |(_, scope): &(&&str, &Scope)| scopes.has(**scope);
        let wanted: Vec<_> = listed.iter().filter(may).map(|(name, _)| *name).collect();
        assert_eq!(shown(&bed, role).await, wanted, "{role}");
        for (name, scope) in listed.iter().chain(&older) {
            // An argument that no tool takes: what is let through ends there.
            let client = bed.client(role);
            let request = client.tool_request(name, &json!({ "\u{1}": 1 }));
            let reply = client.exchange(&request).await;
            let wanted = if scopes.has(*scope) { 200 } else { 403 };
            assert_eq!(reply.status, wanted, "{role} {name}: {reply:?}");
            let is_let_through = reply.body.contains("BAD_ARGUMENTS");
            assert_eq!(is_let_through, wanted == 200, "{role} {name}: {reply:?}");
        }
    }
    assert!(bed.sim.writes().is_empty());
}
