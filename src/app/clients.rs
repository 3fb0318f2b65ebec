//! Client configurations, ready to paste.

use serde_json::{Value, json};

/// The configurations of the usual MCP clients for one URL and key, as a person pastes them.
#[must_use]
pub fn configurations(url: &str, key: &str) -> String {
    format!(
        "Claude Code:\n\n  claude mcp add --transport http rackhand {url} --header \"Authorization: Bearer {key}\"\n\n\
         VS Code, .vscode/mcp.json:\n\n{}\n\n\
         Cursor, ~/.cursor/mcp.json:\n\n{}\n\n\
         Claude Desktop, claude_desktop_config.json (it cannot open a URL with a key, so this program carries everything for it):\n\n{}\n",
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

/// Hosts start the program from wherever they are, so it is named by its whole path.
fn desktop(url: &str, key: &str) -> Value {
    let program = std::env::current_exe().map_or_else(
        |_| env!("CARGO_PKG_NAME").to_owned(),
        |path| path.display().to_string(),
    );
    json!({ "mcpServers": { "rackhand": {
        "command": program,
        "args": ["stdio", "--url", url],
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
        let text = configurations("http://127.0.0.1:8080/mcp", "rh_key");
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
}
