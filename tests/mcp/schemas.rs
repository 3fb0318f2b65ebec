//! Answers against the official schemas.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

const MODERN: &str = include_str!("../golden/mcp-schemas/schema-2026-07-28.json");
const LEGACY: &str = include_str!("../golden/mcp-schemas/schema-2025-11-25.json");

type Validators = Mutex<HashMap<(bool, &'static str), jsonschema::Validator>>;
static VALIDATORS: LazyLock<Validators> = LazyLock::new(Mutex::default);

/// Panics if `value` is not a `definition` of the revision.
pub(crate) fn assert_is(is_modern: bool, definition: &'static str, value: &Value) {
    let mut validators = VALIDATORS.lock().unwrap();
    let validator = validators
        .entry((is_modern, definition))
        .or_insert_with(|| {
            let text = if is_modern { MODERN } else { LEGACY };
            let mut schema: Value = serde_json::from_str(text).unwrap();
            schema["$ref"] = json!(format!("#/$defs/{definition}"));
            jsonschema::draft202012::new(&schema).unwrap()
        });
    let problems: Vec<_> = validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect();
    assert!(
        problems.is_empty(),
        "no {definition}: {problems:?} in {value}"
    );
}

/// Checks a whole JSON-RPC answer to `method`.
pub(crate) fn check_answer(is_modern: bool, method: &str, answer: &Value) {
    if let Some(error) = answer.get("error") {
        let definition = match error["code"].as_i64() {
            Some(-32020) => "HeaderMismatchError",
            Some(-32022) => "UnsupportedProtocolVersionError",
            _ => "JSONRPCErrorResponse",
        };
        return assert_is(is_modern, definition, answer);
    }
    assert_is(is_modern, "JSONRPCResultResponse", answer);
    let definition = match method {
        "server/discover" => "DiscoverResult",
        "initialize" => "InitializeResult",
        "tools/list" => "ListToolsResult",
        "tools/call" => "CallToolResult",
        "resources/list" => "ListResourcesResult",
        "resources/templates/list" => "ListResourceTemplatesResult",
        "resources/read" => "ReadResourceResult",
        "prompts/list" => "ListPromptsResult",
        "prompts/get" => "GetPromptResult",
        "completion/complete" => "CompleteResult",
        _ => "Result",
    };
    assert_is(is_modern, definition, &answer["result"]);
}
