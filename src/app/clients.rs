//! Client configurations, ready to paste.

use serde_json::{Value, json};

/// The configurations of the usual MCP clients for one URL and key, as a person pastes them. `authority` is the fingerprint of the box's own
/// certificate authority, where it has one and the URL is one with TLS.
#[must_use]
pub fn configurations(url: &str, key: &str, authority: Option<&str>) -> String {
    let authority = authority.filter(|_| url.starts_with("https://"));
    let first = authority.map_or_else(String::new, |_| {
        let (site, _) = url.rsplit_once('/').unwrap_or((url, ""));
        format!(
            "The box signs its own certificate. Clients on Node.js (Claude Code, VS Code, Cursor) trust it after\n\n  \
             curl -k -o rackhand-ca.pem {site}/ca.pem\n  export NODE_EXTRA_CA_CERTS=$PWD/rackhand-ca.pem\n\n"
        )
    });
    format!(
        "{first}Claude Code:\n\n  claude mcp add --transport http rackhand {url} --header \"Authorization: Bearer {key}\"\n\n\
         VS Code, .vscode/mcp.json:\n\n{}\n\n\
         Cursor, ~/.cursor/mcp.json:\n\n{}\n\n\
         Claude Desktop, claude_desktop_config.json (it cannot open a URL with a key, so this program carries everything for it):\n\n{}\n",
        indented(&vs_code(url, key)),
        indented(&cursor(url, key)),
        indented(&desktop(url, key, authority)),
    )
}

fn vs_code(url: &str, key: &str) -> Value {
    json!({ "servers": { "rackhand": { "type": "http", "url": url, "headers": { "Authorization": bearer(key) } } } })
}

fn cursor(url: &str, key: &str) -> Value {
    json!({ "mcpServers": { "rackhand": { "url": url, "headers": { "Authorization": bearer(key) } } } })
}

/// Hosts start the program from wherever they are, so it is named by its whole path.
fn desktop(url: &str, key: &str, authority: Option<&str>) -> Value {
    let program = std::env::current_exe().map_or_else(
        |_| env!("CARGO_PKG_NAME").to_owned(),
        |path| path.display().to_string(),
    );
    // Clients of a box run elsewhere, where it has another path.
    let program = authority.map_or(program, |_| env!("CARGO_PKG_NAME").to_owned());
    let mut arguments = vec!["stdio".to_owned(), "--url".to_owned(), url.to_owned()];
    if let Some(authority) = authority {
        arguments.extend(["--fingerprint".to_owned(), format!("sha256:{authority}")]);
    }
    json!({ "mcpServers": { "rackhand": {
        "command": program,
        "args": arguments,
        "env": { "RACKHAND_KEY": key },
    } } })
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn indented(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_carries_the_url_and_the_key_and_is_json() {
        let text = configurations("http://127.0.0.1:8080/mcp", "rh_key", Some("ab12"));
        assert!(!text.contains("ab12"));
        assert_eq!(text.matches("http://127.0.0.1:8080/mcp").count(), 4);
        assert_eq!(text.matches("Bearer rh_key").count(), 3);
        assert_eq!(text.matches("\"RACKHAND_KEY\": \"rh_key\"").count(), 1);
        let blocks: Vec<_> = text
            .split("\n\n")
            .filter(|block| block.starts_with("  {"))
            .collect();
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            serde_json::from_str::<Value>(block).unwrap();
        }
    }

    #[test]
    fn with_tls_the_box_s_own_authority_is_named_to_those_who_need_it() {
        let text = configurations("https://box.local:8443/mcp", "rh_key", Some("ab12"));
        assert!(text.contains("https://box.local:8443/ca.pem"), "{text}");
        assert!(text.contains("\"sha256:ab12\""), "{text}");
    }
}
