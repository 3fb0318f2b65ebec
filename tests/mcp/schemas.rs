//! Messages against the official schemas, revision by revision. Clients of the bed record what they send and receive on a [`Tape`],
//! which checks it: no test can leave that out.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

pub(crate) const MODERN: &str = "2026-07-28";
const NEWEST_LEGACY: &str = "2025-11-25";

/// The extension for tasks, which stands beside the revision that has it.
const TASKS: &str = "ext-tasks-draft";

const SCHEMAS: [(&str, &str); 6] = [
    (
        MODERN,
        include_str!("../golden/mcp-schemas/schema-2026-07-28.json"),
    ),
    (
        NEWEST_LEGACY,
        include_str!("../golden/mcp-schemas/schema-2025-11-25.json"),
    ),
    (
        "2025-06-18",
        include_str!("../golden/mcp-schemas/schema-2025-06-18.json"),
    ),
    (
        "2025-03-26",
        include_str!("../golden/mcp-schemas/schema-2025-03-26.json"),
    ),
    (
        "2024-11-05",
        include_str!("../golden/mcp-schemas/schema-2024-11-05.json"),
    ),
    (
        TASKS,
        include_str!("../golden/mcp-schemas/schema-ext-tasks-draft.json"),
    ),
];

static PARSED: LazyLock<HashMap<&'static str, Value>> = LazyLock::new(|| {
    SCHEMAS
        .into_iter()
        .map(|(revision, text)| (revision, serde_json::from_str(text).unwrap()))
        .collect()
});

type Validators = Mutex<HashMap<(&'static str, &'static str), jsonschema::Validator>>;
static VALIDATORS: LazyLock<Validators> = LazyLock::new(Mutex::default);

/// Where a schema keeps its definitions.
fn definitions(revision: &str) -> &'static str {
    if PARSED[revision].get("$defs").is_some() {
        "$defs"
    } else {
        "definitions"
    }
}

fn has(revision: &str, definition: &str) -> bool {
    PARSED[revision][definitions(revision)]
        .get(definition)
        .is_some()
}

/// What is wrong with `value` as a `definition` of the revision; nothing if it is one.
pub(crate) fn problems(
    revision: &'static str,
    definition: &'static str,
    value: &Value,
) -> Vec<String> {
    let mut validators = VALIDATORS.lock().unwrap();
    let validator = validators.entry((revision, definition)).or_insert_with(|| {
        assert!(has(revision, definition), "{revision} has no {definition}");
        let place = definitions(revision);
        let mut schema = json!({"$ref": format!("#/{place}/{definition}")});
        schema[place] = PARSED[revision][place].clone();
        if let Some(dialect) = PARSED[revision].get("$schema") {
            schema["$schema"] = dialect.clone();
        }
        jsonschema::validator_for(&schema).unwrap()
    });
    validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect()
}

/// Panics if `value` is not a `definition` of the revision.
pub(crate) fn assert_in(revision: &'static str, definition: &'static str, value: &Value) {
    let problems = problems(revision, definition, value);
    assert!(
        problems.is_empty(),
        "no {definition} of {revision}: {problems:?} in {value}"
    );
}

/// Panics if `value` is not a `definition` of the modern revision, or of the newest older one.
pub(crate) fn assert_is(is_modern: bool, definition: &'static str, value: &Value) {
    assert_in(
        if is_modern { MODERN } else { NEWEST_LEGACY },
        definition,
        value,
    );
}

/// Checks a whole JSON-RPC answer to `method`.
pub(crate) fn check_answer(is_modern: bool, method: &str, answer: &Value) {
    check_answer_in(
        if is_modern { MODERN } else { NEWEST_LEGACY },
        method,
        answer,
    );
}

/// Checks a whole JSON-RPC answer to `method` in a revision.
pub(crate) fn check_answer_in(revision: &'static str, method: &str, answer: &Value) {
    if let Some(error) = answer.get("error") {
        let definition = match error["code"].as_i64() {
            Some(-32020) => "HeaderMismatchError",
            Some(-32021) => "MissingRequiredClientCapabilityError",
            Some(-32022) => "UnsupportedProtocolVersionError",
            _ if has(revision, "JSONRPCErrorResponse") => "JSONRPCErrorResponse",
            // The first ones knew no error without an id, although JSON-RPC has it for what cannot be read.
            _ if answer.get("id").is_none() => {
                return assert_in(NEWEST_LEGACY, "JSONRPCErrorResponse", answer);
            }
            _ => "JSONRPCError",
        };
        return assert_in(revision, definition, answer);
    }
    let envelope = if has(revision, "JSONRPCResultResponse") {
        "JSONRPCResultResponse"
    } else {
        "JSONRPCResponse"
    };
    assert_in(revision, envelope, answer);
    let result = &answer["result"];
    let definition = match (method, result["resultType"].as_str()) {
        ("tools/call" | "prompts/get" | "resources/read", Some("input_required")) => {
            "InputRequiredResult"
        }
        ("tools/call", Some("task")) => {
            return assert_in(TASKS, "CreateTaskResult", result);
        }
        ("tasks/get", _) => return check_task(result),
        ("tasks/update", _) => return assert_in(TASKS, "UpdateTaskResult", result),
        ("tasks/cancel", _) => return assert_in(TASKS, "CancelTaskResult", result),
        ("server/discover", _) => "DiscoverResult",
        ("initialize", _) => "InitializeResult",
        ("tools/list", _) => "ListToolsResult",
        ("tools/call", _) => "CallToolResult",
        ("prompts/list", _) => "ListPromptsResult",
        ("prompts/get", _) => "GetPromptResult",
        ("resources/list", _) => "ListResourcesResult",
        ("resources/templates/list", _) => "ListResourceTemplatesResult",
        ("resources/read", _) => "ReadResourceResult",
        ("completion/complete", _) => "CompleteResult",
        ("subscriptions/listen", _) => "SubscriptionsListenResult",
        _ => "Result",
    };
    assert_in(revision, definition, result);
}

/// Checks the result of `tasks/get`, and what it has of a call in it.
fn check_task(task: &Value) {
    assert_in(TASKS, "GetTaskResult", task);
    assert_eq!(task["resultType"], "complete");
    for field in ["ttlMs", "pollIntervalMs"] {
        assert!(task[field].is_u64(), "{task}");
    }
    for (status, field, definition) in [
        ("completed", "result", "CallToolResult"),
        ("failed", "error", "Error"),
        ("input_required", "inputRequests", "InputRequests"),
    ] {
        assert_eq!(
            task.get(field).is_some(),
            task["status"] == status,
            "{task}"
        );
        if let Some(value) = task.get(field) {
            assert_in(MODERN, definition, value);
        }
    }
}

/// The definition of a request by either side.
fn request(method: &str) -> Option<&'static str> {
    Some(match method {
        "initialize" => "InitializeRequest",
        "ping" => "PingRequest",
        "logging/setLevel" => "SetLevelRequest",
        "tools/list" => "ListToolsRequest",
        "tools/call" => "CallToolRequest",
        "prompts/list" => "ListPromptsRequest",
        "prompts/get" => "GetPromptRequest",
        "resources/list" => "ListResourcesRequest",
        "resources/templates/list" => "ListResourceTemplatesRequest",
        "resources/read" => "ReadResourceRequest",
        "resources/subscribe" => "SubscribeRequest",
        "resources/unsubscribe" => "UnsubscribeRequest",
        "completion/complete" => "CompleteRequest",
        "server/discover" => "DiscoverRequest",
        "subscriptions/listen" => "SubscriptionsListenRequest",
        "elicitation/create" => "ElicitRequest",
        "sampling/createMessage" => "CreateMessageRequest",
        "roots/list" => "ListRootsRequest",
        _ => return None,
    })
}

/// The definition of a notification of the server.
fn notification(method: &str) -> Option<&'static str> {
    Some(match method {
        "notifications/cancelled" => "CancelledNotification",
        "notifications/progress" => "ProgressNotification",
        "notifications/message" => "LoggingMessageNotification",
        "notifications/tools/list_changed" => "ToolListChangedNotification",
        "notifications/prompts/list_changed" => "PromptListChangedNotification",
        "notifications/resources/list_changed" => "ResourceListChangedNotification",
        "notifications/resources/updated" => "ResourceUpdatedNotification",
        "notifications/subscriptions/acknowledged" => "SubscriptionsAcknowledgedNotification",
        _ => return None,
    })
}

/// What one client sent and received.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    /// Revision of the client's session.
    negotiated: Option<&'static str>,
    /// Requests by id, the last of each.
    asked: HashMap<String, Value>,
    /// Something was sent that cannot be read as a whole.
    is_in_pieces: bool,
    /// The test sends wrong requests on purpose, even such as are answered with a result.
    pub(crate) asks_wrongly: bool,
    /// Everything that came, in order.
    pub(crate) received: Vec<Value>,
}

impl Tape {
    /// Records what goes out. What is sent may be wrong on purpose, so it is checked when it is answered with a result.
    pub(crate) fn sent(&mut self, body: &str) {
        let Ok(body) = serde_json::from_str::<Value>(body) else {
            self.is_in_pieces |= !body.is_empty();
            return;
        };
        for message in body.as_array().unwrap_or(&vec![body.clone()]) {
            if message.get("method").is_some() && message.get("id").is_some() {
                self.asked
                    .insert(message["id"].to_string(), message.clone());
            }
        }
    }

    /// Records what comes in, and checks it.
    pub(crate) fn received(&mut self, message: &Value) {
        if let Some(messages) = message.as_array() {
            for message in messages {
                self.received(message);
            }
            return;
        }
        self.received.push(message.clone());
        match message["method"].as_str() {
            Some(method) if message.get("id").is_some() => {
                let revision = self.negotiated.unwrap();
                let definition =
                    request(method).unwrap_or_else(|| panic!("the server asked {method}"));
                assert_in(revision, "JSONRPCRequest", message);
                assert_in(revision, definition, message);
            }
            Some(method) => self.check_notification(method, message),
            None => self.check_answer(message),
        }
    }

    fn check_notification(&self, method: &str, message: &Value) {
        if method == "notifications/tasks" {
            return assert_in(TASKS, "TaskStatusNotification", message);
        }
        // Ours alone: whoever does not know a notification passes it over (JSON-RPC 2.0, section 4.1).
        if method == "notifications/shutdown_pending" {
            return;
        }
        let definition = notification(method).unwrap_or_else(|| panic!("the server sent {method}"));
        let revisions = [self.negotiated, Some(MODERN)];
        let fits = revisions.into_iter().flatten().any(|revision| {
            has(revision, definition)
                && problems(revision, "JSONRPCNotification", message).is_empty()
                && problems(revision, definition, message).is_empty()
        });
        assert!(fits, "no {definition} of {revisions:?}: {message}");
    }

    fn check_answer(&mut self, message: &Value) {
        let asked = message
            .get("id")
            .and_then(|id| self.asked.get(&id.to_string()));
        let Some(asked) = asked else {
            assert!(
                self.is_in_pieces || message.get("error").is_some(),
                "an answer to nothing: {message}"
            );
            return check_answer_in(self.negotiated.unwrap_or(MODERN), "", message);
        };
        let method = asked["method"].as_str().unwrap_or_default();
        let is_modern = asked["params"]["_meta"]
            .get("io.modelcontextprotocol/protocolVersion")
            .is_some()
            || matches!(method, "server/discover" | "subscriptions/listen");
        if method == "initialize"
            && !is_modern
            && let Some(agreed) = message["result"]["protocolVersion"].as_str()
        {
            let known = SCHEMAS.iter().find(|(revision, _)| *revision == agreed);
            self.negotiated = Some(known.unwrap().0);
        }
        let revision = if is_modern {
            MODERN
        } else {
            self.negotiated.unwrap_or(NEWEST_LEGACY)
        };
        check_answer_in(revision, method, message);
        if message.get("result").is_none() || self.asks_wrongly {
            return;
        }
        match (method, request(method)) {
            ("tasks/get", _) => assert_in(TASKS, "GetTaskRequest", asked),
            ("tasks/update", _) => assert_in(TASKS, "UpdateTaskRequest", asked),
            ("tasks/cancel", _) => assert_in(TASKS, "CancelTaskRequest", asked),
            (_, Some(definition)) => assert_in(revision, definition, asked),
            (_, None) => {}
        }
    }
}
