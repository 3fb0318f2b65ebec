//! Wrong arguments for every tool of the Core and every older name, made from the very schemas that are published: each is refused before
//! the tool runs, with a list of places that exist.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use proptest::prelude::*;
use rackhand::safety::{Policy, SafetyConfig};
use rackhand::service::qsys::QsysService;
use rackhand::service::{FaultCode, Service, Step, Tool, ToolAnswer, ToolCall, ToolFault};
use serde_json::{Map, Value, json};

use crate::bed::{Bed, Client, fault_code};

/// The tools of the Core, none of which does anything.
struct Trap {
    tools: QsysService,
    ran: AtomicUsize,
}

impl Service for Trap {
    fn name(&self) -> &'static str {
        "qsys"
    }

    fn tools(&self) -> &[Tool] {
        self.tools.tools()
    }

    fn older_names(&self) -> &[Tool] {
        self.tools.older_names()
    }

    fn call(&self, _call: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        self.ran.fetch_add(1, Ordering::Relaxed);
        let fault = ToolFault::new(FaultCode::Busy, "It ran.", "Look at the test.");
        Box::pin(std::future::ready(Err(fault)))
    }
}

fn trap() -> Arc<Trap> {
    let policy = Arc::new(Policy::new(&SafetyConfig::default()).unwrap());
    Arc::new(Trap {
        tools: QsysService::new(Vec::new(), policy),
        ran: AtomicUsize::new(0),
    })
}

impl Trap {
    /// Name and schema of each.
    fn schemas(&self) -> Vec<(&'static str, Arc<Value>)> {
        let all = self.tools().iter().chain(self.older_names());
        all.map(|tool| (tool.name, Arc::clone(&tool.input_schema)))
            .collect()
    }

    fn has_run(&self) -> bool {
        self.ran.load(Ordering::Relaxed) > 0
    }
}

/// A number of a schema's keyword.
fn number(schema: &Value, keyword: &str) -> Option<usize> {
    schema[keyword]
        .as_u64()
        .map(|number| number.try_into().unwrap())
}

/// The types that a schema names.
fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(word) => vec![word],
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The least value that a schema takes, rules between fields aside.
fn example(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    for choices in ["anyOf", "oneOf"] {
        if let Some(first) = schema[choices].get(0) {
            return example(first);
        }
    }
    match types(schema).first() {
        Some(&"object") | None => {
            let names = schema["required"].as_array().into_iter().flatten();
            let names = names.filter_map(Value::as_str);
            let fields: Map<String, Value> = names
                .map(|name| (name.to_owned(), example(&schema["properties"][name])))
                .collect();
            fields.into()
        }
        Some(&"array") => {
            let count = number(schema, "minItems").unwrap_or(0);
            vec![example(&schema["items"]); count].into()
        }
        Some(&"string") => "a".repeat(number(schema, "minLength").unwrap_or(1)).into(),
        Some(&"integer" | &"number") => {
            let least = schema["minimum"].as_i64().unwrap_or(1);
            least.into()
        }
        Some(&"boolean") => true.into(),
        Some(other) => panic!("{other}"),
    }
}

/// Every way in which one place of a value can be wrong: where, and the whole value.
fn broken(schema: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let own = types(schema);
    let mut here = |value: Value| all.push((String::new(), value));
    if !own.is_empty() {
        for (kind, value) in [
            ("null", Value::Null),
            ("boolean", true.into()),
            ("number", 7.5.into()),
            ("string", "text".into()),
            ("array", json!([])),
            ("object", json!({})),
        ] {
            if !own.contains(&kind) {
                here(value);
            }
        }
    }
    if schema["enum"].is_array() {
        here("no such word".into());
    }
    if let Some(most) = number(schema, "maxLength") {
        here("x".repeat(most + 1).into());
    }
    if number(schema, "minLength").is_some_and(|least| least > 0) {
        here("".into());
    }
    if let Some(most) = schema["maximum"].as_f64() {
        here((most + 1.0).into());
        here(1e300.into());
    }
    if let Some(least) = schema["minimum"].as_f64() {
        here((least - 1.0).into());
    }
    if number(schema, "minItems").is_some_and(|least| least > 0) {
        here(json!([]));
    }
    if let Some(most) = number(schema, "maxItems") {
        here(vec![example(&schema["items"]); most + 1].into());
    }
    if own.contains(&"array") {
        for (path, item) in broken(&schema["items"]) {
            all.push((format!("/0{path}"), json!([item])));
        }
    }
    if let Some(properties) = schema["properties"].as_object() {
        let whole = example(schema);
        let with = |name: &str, value: Value| {
            let mut whole = whole.clone();
            whole[name] = value;
            whole
        };
        if schema["additionalProperties"] == false {
            all.push(("/no_such".to_owned(), with("no_such", 1.into())));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let mut whole = whole.clone();
            whole
                .as_object_mut()
                .unwrap()
                .remove(name.as_str().unwrap());
            all.push((String::new(), whole));
        }
        for (name, inner) in properties {
            for (path, value) in broken(inner) {
                all.push((format!("/{name}{path}"), with(name, value)));
            }
        }
    }
    all
}

/// The list of problems in a refusal of a session of this revision.
fn problems(revision: &str, answer: &Value) -> Value {
    if revision == "2025-11-25" {
        let result = &answer["result"];
        assert_eq!(fault_code(result), "BAD_ARGUMENTS", "{answer}");
        let text = result["content"][0]["text"].as_str().unwrap();
        let list = text.find("[{").unwrap_or_else(|| panic!("{text}"));
        serde_json::from_str(&text[list..]).unwrap()
    } else {
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        answer["error"]["data"].clone()
    }
}

/// Asks with wrong arguments and holds that the answer tells of places that exist, one of them around `path`.
async fn refuses(client: &mut Client, tool: &str, path: &str, arguments: &Value) {
    let call = json!({"name": tool, "arguments": arguments});
    let answer = client.legacy("tools/call", call).await.json();
    let told = problems(client.version.unwrap(), &answer);
    let told = told.as_array().unwrap();
    assert!((1..=10).contains(&told.len()), "{answer}");
    let mut is_there = false;
    for problem in told {
        let place = problem["path"].as_str().unwrap();
        assert!(
            arguments.pointer(place).is_some(),
            "{tool} {arguments} has no {place}"
        );
        is_there |= path.starts_with(place);
        for field in ["problem", "hint"] {
            assert!(!problem[field].as_str().unwrap().is_empty(), "{answer}");
        }
    }
    assert!(
        is_there,
        "{tool} {arguments}: nothing tells of {path} in {answer}"
    );
}

/// A bed in front of the trap, and a client of each way to tell of wrong arguments.
async fn clients(trap: &Arc<Trap>) -> (Bed, [Client; 2]) {
    let service: Arc<dyn Service> = Arc::<Trap>::clone(trap);
    let mut bed = Bed::serving_also(service);
    let mut newer = bed.client_as("admin");
    newer.initialize("2025-11-25").await;
    let mut older = bed.client_as("admin");
    older.initialize("2025-06-18").await;
    (bed, [newer, older])
}

#[tokio::test(start_paused = true)]
async fn every_tool_refuses_each_wrong_argument_with_its_place_before_it_runs() {
    let trap = trap();
    let (_bed, mut clients) = clients(&trap).await;
    let mut count = 0;
    for (tool, schema) in trap.schemas() {
        assert_eq!(schema["additionalProperties"], false, "{tool}");
        for (path, arguments) in broken(&schema) {
            if !arguments.is_object() {
                continue;
            }
            let turn = count % 2;
            refuses(&mut clients[turn], tool, &path, &arguments).await;
            assert!(!trap.has_run(), "{tool} {arguments}");
            count += 1;
        }
    }
    assert!(count > 500, "{count}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_object_or_holds_a_number_beyond_all_numbers_is_refused() {
    let trap = trap();
    let (_bed, [mut client, _]) = clients(&trap).await;
    for arguments in [
        "7",
        "[]",
        "\"text\"",
        "{\"timeout_s\":1e999}",
        "{\"a\":1,\"a\":2}",
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"qsys_wait_for_change","arguments":{arguments}}}}}"#
        );
        let answer = client.post(&[], &body).await.json();
        let is_refused = answer["error"].is_object() || answer["result"]["isError"] == true;
        assert!(is_refused && !trap.has_run(), "{answer}");
    }
}

/// Any JSON, with names that tools know among those of its fields.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[a-z]{250,260}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop_oneof![
            Just("controls".to_owned()),
            Just("component".to_owned()),
            Just("control".to_owned()),
            Just("name".to_owned()),
            Just("value".to_owned()),
            "[a-z/~ ]{1,8}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_in_place_of_an_argument_is_judged_as_the_published_schema_says(
        place in any::<prop::sample::Index>(), value in any_json(),
    ) {
        let trap = trap();
        let registry = rackhand::service::Registry::new(&[Arc::<Trap>::clone(&trap)]).unwrap();
        for (tool, schema) in trap.schemas() {
            let mut arguments = example(&schema);
            let names: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
            let name = if names.is_empty() { "no_such" } else { place.get(&names).as_str() };
            arguments[name] = value.clone();
            let is_good = jsonschema::draft202012::is_valid(&schema, &arguments);
            match registry.find(tool).unwrap().check(&arguments) {
                Ok(()) => prop_assert!(is_good, "{} took {}", tool, arguments),
                Err(problems) => {
                    prop_assert!(!is_good, "{} refused {}", tool, arguments);
                    for problem in problems {
                        let there = arguments.pointer(&problem.path).is_some();
                        prop_assert!(there, "{} has no {}", arguments, problem.path);
                    }
                }
            }
        }
    }
}
