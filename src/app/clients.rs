//! Client configurations, ready to paste.

use serde_json::{Value, json};

/// The configurations of the usual MCP clients for one URL and key, as a person pastes them.
#[must_use]
pub fn configurations(url: &str, key: &str) -> String {
    format!(
        "Claude Code:\n\n  claude mcp add --transport http rackhand {url} --header \"Authorization: Bearer {key}\"\n\n\
         VS Code, .vscode/mcp.json:\n\n{}\n\n\
         Cursor, ~/.cursor/mcp.json:\n\n{}\n\n\
         Claude Desktop (through a bridge, for it cannot send a key by itself), claude_desktop_config.json:\n\n{}\n",
        indented(&vs_code(url, key)),
        indented(&cursor(url, key)),
        indented(&desktop(url, key)),
    )
}

fn vs_code(url: &str, key: &str) -> Value {
    json!({ "servers": { "rackhand": { "type": "http", "url": url, "headers": { "Authorization": bearer(key) } } } })
}

fn cursor(url: &str, key: &str) -> Value {
    json!({ "mcpServers": { "rackhand": { "url": url, "headers": { "Authorization": bearer(key) } } } })
}

/// The bridge takes the header from the environment: some hosts split arguments at blanks.
fn desktop(url: &str, key: &str) -> Value {
    json!({ "mcpServers": { "rackhand": {
        "command": "npx",
        "args": ["-y", "mcp-remote", url, "--allow-http", "--header", "Authorization:${AUTHORIZATION}"],
        "env": { "AUTHORIZATION": bearer(key) },
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
        let text = configurations("http://127.0.0.1:8080/mcp", "rh_key");
        assert_eq!(text.matches("http://127.0.0.1:8080/mcp").count(), 4);
        assert_eq!(text.matches("Bearer rh_key").count(), 4);
        let blocks: Vec<_> = text
            .split("\n\n")
            .filter(|block| block.starts_with("  {"))
            .collect();
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            serde_json::from_str::<Value>(block).unwrap();
        }
    }
}
