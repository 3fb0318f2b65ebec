//! `/openapi.json`: what is here besides MCP, in OpenAPI 3.1. Paths, verbs and who may come are those that [`Route`] routes by; what
//! stands here besides is what each answers.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Map, Value, json};

use super::body::Body;
use super::reply;
use super::route::{Access, Route};
use crate::guard::{Role, Scope};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document(false).to_string()));

/// The same of a box that is set up by its pages.
static WITH_SETUP: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document(true).to_string()));

pub(super) fn answer(has_setup: bool) -> Response<Body> {
    let document = if has_setup { &WITH_SETUP } else { &DOCUMENT };
    reply::json(200, Bytes::clone(document))
}

/// What is not there is not described.
fn document(has_setup: bool) -> Value {
    let mut paths = Map::new();
    let is_setup =
        |route: &Route| matches!(route, Route::Claim | Route::SetupPage | Route::SetupStep);
    for route in Route::ALL
        .into_iter()
        .filter(|route| has_setup || !is_setup(route))
    {
        for path in route.paths() {
            if let Some(item) = item(route, path) {
                paths.insert((*path).to_owned(), item);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rackhand",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What rackhand serves besides MCP, whose endpoint is /mcp.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "securitySchemes": schemes(), "schemas": schemas() },
    })
}

fn schemes() -> Value {
    json!({
        "bearer": {
            "type": "http", "scheme": "bearer",
            "description": "An API key of `rackhand key new`, or a token of `/auth/token` or of the site's identity provider.",
        },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same." },
        "mcpKey": { "type": "apiKey", "in": "header", "name": "X-MCP-Key", "description": "The same." },
    })
}

fn schemas() -> Value {
    let scopes = Scope::ALL.map(Scope::as_str);
    let roles = Role::ALL.map(Role::as_str);
    json!({
        "Error": {
            "type": "object", "required": ["error"],
            "properties": { "error": { "type": "string", "description": "What is wrong, and what to do." } },
        },
        "Probe": {
            "type": "object", "required": ["status", "version", "uptime"],
            "properties": {
                "status": { "type": "string", "enum": ["HEALTHY", "DEGRADED", "UNHEALTHY", "alive", "ready", "not ready"] },
                "version": { "type": "string" },
                "uptime": { "type": "integer", "description": "Seconds since the start." },
                "level": { "type": "string", "enum": ["HEALTHY", "DEGRADED", "UNHEALTHY"], "description": "With `detail` alone, as all below." },
                "ready": { "type": "boolean" },
                "not_ready": { "type": "string", "description": "Why not." },
                "summary": { "type": "string", "description": "What is wrong, in a few sentences." },
                "checks": { "type": "array", "items": { "type": "object" }, "description": "Each check: level, reason, since when, when last well." },
                "changes": { "type": "array", "items": { "type": "object" }, "description": "The last changes, newest first." },
                "changes_total": { "type": "integer" },
                "detail": { "type": "object", "description": "The figures behind it." },
            },
        },
        "TokenWish": {
            "type": "object", "additionalProperties": false,
            "description": "Nothing of it is needed. A token is never worth more than what makes it.",
            "properties": {
                "expires_in": { "type": "integer", "minimum": 1, "maximum": u32::MAX, "description": "Longest life, seconds." },
                "scope": {
                    "type": "string", "pattern": format!("^({0})( ({0}))*$", scopes.join("|")),
                    "description": "What it may do, with blanks between.",
                },
            },
        },
        "Token": {
            "type": "object",
            "required": ["access_token", "token_type", "expires_in", "scope", "role", "refresh_expires_in"],
            "properties": {
                "access_token": { "type": "string" },
                "token_type": { "const": "Bearer" },
                "expires_in": { "type": "integer", "description": "Its life, seconds." },
                "scope": { "type": "string" },
                "role": { "type": "string", "enum": roles },
                "refresh_expires_in": { "type": "integer", "description": "For how long it and its successors can be refreshed, seconds." },
            },
        },
        "Ticket": {
            "type": "object", "required": ["ticket", "expires_in"],
            "properties": {
                "ticket": { "type": "string" },
                "expires_in": { "type": "integer", "description": "Its life, seconds." },
            },
        },
        "ResourceMetadata": {
            "type": "object", "required": ["resource", "authorization_servers"],
            "properties": {
                "resource": { "type": "string" },
                "authorization_servers": { "type": "array", "items": { "type": "string" } },
            },
        },
    })
}

/// What a route is for, and what it answers; nothing for MCP, and for what is not there.
fn told(route: Route, path: &str) -> Option<(&'static str, Vec<Answer>)> {
    let told = match route {
        Route::Mcp | Route::Sse | Route::Messages | Route::WebSocket | Route::Nothing => {
            return None;
        }
        Route::Live => ("Whether the process answers", vec![probe(200, "It does.")]),
        Route::Ready => (
            "Whether requests should be sent here",
            vec![probe(200, "Ready."), probe(503, "Not ready.")],
        ),
        Route::Health => (
            "How well the box is",
            vec![
                probe(200, "It works."),
                probe(503, "It cannot do its work."),
            ],
        ),
        Route::StatusPage => (
            "The status page",
            vec![content(
                200,
                "The page.",
                "text/html",
                &json!({"type": "string"}),
            )],
        ),
        Route::Help => ("The documentation", vec![text(200, "All of it.")]),
        Route::Authority => (
            "The box's own certificate authority",
            vec![
                content(
                    200,
                    "PEM.",
                    "application/x-pem-file",
                    &json!({"type": "string"}),
                ),
                text(404, "There is none."),
            ],
        ),
        Route::OpenApi => (
            "This description",
            vec![content(
                200,
                "OpenAPI 3.1.",
                "application/json",
                &json!({"type": "object"}),
            )],
        ),
        Route::Metrics if path == "/metrics.json" => (
            "The numbers of /metrics as JSON",
            vec![content(
                200,
                "For each name a list of samples with `labels` and `value`.",
                "application/json",
                &json!({"type": "object", "additionalProperties": {"type": "array"}}),
            )],
        ),
        Route::Metrics => (
            "Numbers for monitoring systems",
            vec![(
                "200".to_owned(),
                json!({ "description": "Prometheus text, or OpenMetrics for those who accept it.", "content": {
                    "text/plain": { "schema": { "type": "string" } },
                    "application/openmetrics-text": { "schema": { "type": "string" } },
                } }),
            )],
        ),
        Route::Token => ("A short-lived token for a key", token_answers()),
        Route::Refresh => ("The next token for one that is still good", token_answers()),
        Route::Ticket => (
            "A one-use ticket for an event stream that a browser opens",
            vec![schema(200, "The ticket.", "Ticket")],
        ),
        Route::AuditLines => (
            "The audit trail as it stands on disk",
            vec![content(
                200,
                "JSON lines.",
                "application/jsonl",
                &json!({"type": "string"}),
            )],
        ),
        Route::Claim | Route::SetupPage | Route::SetupStep => {
            (told_of_setup(route), setup_answers())
        }
        Route::ResourceMetadata => (
            "The identity provider whose tokens are taken (RFC 9728)",
            vec![
                schema(200, "There is one.", "ResourceMetadata"),
                text(404, "There is none."),
            ],
        ),
        Route::NoOauth => (
            "Where clients look for OAuth, which is not here",
            vec![text(404, "What to do instead.")],
        ),
    };
    Some(told)
}

/// What the routes of the first start are for. They are there where `[access] claim` is on.
const fn told_of_setup(route: Route) -> &'static str {
    match route {
        Route::Claim => "The claim of a box that nobody owns yet",
        Route::SetupPage => "The page by which an owner tells the box its Core",
        _ => "What that page asks for",
    }
}

/// What each verb of a path is.
fn item(route: Route, path: &str) -> Option<Value> {
    let (summary, mut answers) = told(route, path)?;
    let security = match route.access() {
        Access::Open => json!([]),
        // With nothing too, and with something for the details.
        Access::OpenDetailBy(_) | Access::KeyOrScraper(_) => {
            json!([{}, {"bearer": []}, {"apiKey": []}, {"mcpKey": []}])
        }
        Access::Key | Access::KeyWith(_) | Access::KeyAlone | Access::TokenAlone => {
            json!([{"bearer": []}, {"apiKey": []}, {"mcpKey": []}])
        }
    };
    if route.access() != Access::Open {
        answers.push(error(401, "The credential is missing, wrong or over."));
        answers.push(error(403, "The credential is good, but not for this."));
    }
    let mut answers: Map<String, Value> = answers.into_iter().collect();
    let refused = error(
        0,
        "Refused before anything was looked at, such as 400, 413, 429 or 503.",
    );
    answers.insert("default".to_owned(), refused.1);
    let mut item = Map::new();
    for verb in verbs(route) {
        let mut operation = json!({
            "operationId": operation_id(verb, path),
            "summary": summary,
            "description": format!("For: {}.", route.access().who()),
            "security": security,
            "responses": answers,
        });
        if let Some(fields) = operation.as_object_mut() {
            if let Some(parameters) = parameters(route, path) {
                fields.insert("parameters".to_owned(), parameters);
            }
            match route {
                Route::Token | Route::Refresh => {
                    fields.insert("requestBody".to_owned(), wish());
                }
                Route::Claim | Route::SetupStep if verb == "post" => {
                    fields.insert("requestBody".to_owned(), typed(path));
                }
                _ => {}
            }
        }
        item.insert(verb.to_owned(), operation);
    }
    Some(Value::Object(item))
}

fn wish() -> Value {
    json!({
        "required": false,
        "content": { "application/json": { "schema": reference("TokenWish") } },
    })
}

/// What a person typed on the pages of the first start.
fn typed(path: &str) -> Value {
    let schema = match path {
        "/claim" => json!({
            "type": "object", "required": ["code", "name"],
            "properties": { "code": { "type": "string" }, "name": { "type": "string" }, "url": { "type": "string" } },
        }),
        "/setup/key" => json!({
            "type": "object", "required": ["name", "role"],
            "properties": { "name": { "type": "string" }, "role": { "type": "string" }, "url": { "type": "string" } },
        }),
        _ => json!({ "type": "object" }),
    };
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn setup_answers() -> Vec<Answer> {
    let object = json!({"type": "object"});
    vec![
        (
            "200".to_owned(),
            json!({
                "description": "The page, or the answer of the step.",
                "content": { "text/html": { "schema": { "type": "string" } }, "application/json": { "schema": object } },
            }),
        ),
        error(400, "What was typed cannot be read, or used."),
        error(403, "The code is not the box's, or the key not an admin's."),
        error(409, "The box is claimed already."),
        error(413, "The body is too large."),
        error(415, "The body is not JSON."),
    ]
}

/// The verbs as OpenAPI writes them. What answers every verb alike is described by the one that clients use.
fn verbs(route: Route) -> Vec<&'static str> {
    let all = ["get", "head", "post", "delete"];
    let allow = route.allow();
    if allow.is_empty() {
        return vec!["get"];
    }
    let takes = |verb: &str| allow.split(", ").any(|one| one.eq_ignore_ascii_case(verb));
    all.into_iter().filter(|verb| takes(verb)).collect()
}

fn operation_id(verb: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!(
        "{verb}_{}",
        if words.is_empty() {
            "status".to_owned()
        } else {
            words.join("_")
        }
    )
}

fn parameters(route: Route, path: &str) -> Option<Value> {
    if matches!(route.access(), Access::OpenDetailBy(_)) {
        return Some(json!([{
            "name": "detail", "in": "query", "required": false,
            "allowEmptyValue": true, "schema": { "type": "string" },
            "description": "What is behind it; needs a credential.",
        }]));
    }
    if route == Route::AuditLines {
        return Some(json!([{
            "name": "since", "in": "query", "required": false,
            "schema": { "type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$" },
            "description": "The day in UTC from which on lines are told; a moment such as 2026-11-21T18:55Z is taken too.",
        }]));
    }
    path.contains('{').then(|| {
        json!([{
            "name": "document", "in": "path", "required": true,
            "schema": { "type": "string", "enum": ["oauth-authorization-server", "openid-configuration"] },
        }])
    })
}

type Answer = (String, Value);

fn content(status: u16, description: &str, kind: &str, schema: &Value) -> Answer {
    let answer = json!({ "description": description, "content": { kind: { "schema": schema } } });
    (status.to_string(), answer)
}

fn text(status: u16, description: &str) -> Answer {
    content(
        status,
        description,
        "text/plain",
        &json!({"type": "string"}),
    )
}

fn schema(status: u16, description: &str, name: &str) -> Answer {
    content(status, description, "application/json", &reference(name))
}

fn probe(status: u16, description: &str) -> Answer {
    schema(status, description, "Probe")
}

fn error(status: u16, description: &str) -> Answer {
    schema(status, description, "Error")
}

fn token_answers() -> Vec<Answer> {
    vec![
        schema(200, "The token.", "Token"),
        error(
            400,
            "The wish cannot be read, or is for more than can be given.",
        ),
        error(413, "The body is too large."),
        error(415, "The body is not JSON."),
    ]
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_but_those_of_mcp_is_described_with_each_of_its_verbs() {
        let document = document(true);
        assert!(super::document(false)["paths"]["/claim"].is_null());
        for route in Route::ALL {
            for path in route.paths() {
                let item = &document["paths"][*path];
                let is_left_out = route.is_mcp() || route == Route::Nothing;
                assert_eq!(item.is_null(), is_left_out, "{path}");
                if !is_left_out && !route.allow().is_empty() {
                    let verbs: Vec<String> = item
                        .as_object()
                        .unwrap()
                        .keys()
                        .map(|verb| verb.to_uppercase())
                        .collect();
                    let mut allowed: Vec<&str> = route.allow().split(", ").collect();
                    allowed.sort_unstable();
                    assert_eq!(verbs, allowed, "{path}");
                }
            }
        }
    }
}
