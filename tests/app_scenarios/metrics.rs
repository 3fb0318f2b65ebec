//! The numbers of a box at work.

use rackhand::sim::design;
use rackhand::telemetry::metrics::names::{ALL, Kind};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, OPEN, Reply, change, one};

const DOCS: &str = include_str!("../../src/docs/metrics.md");

async fn page(bed: &Bed) -> String {
    let reply = bed.client("viewer").get("/metrics").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// Calls a tool, whatever comes of it.
async fn ask(client: &Client, tool: &str) -> Reply {
    let request = client.tool_request(tool, &change("Hall A Gain", "gain", -6.0));
    client.exchange(&request).await
}

/// The value of the one sample that begins so.
fn sample(page: &str, series: &str) -> f64 {
    let found: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with(series))
        .collect();
    assert_eq!(found.len(), 1, "{series}: {found:?} of\n{page}");
    found[0].rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_technician_did_shows_in_the_numbers() {
    let mut bed = Bed::live(design::venue(), OPEN).await;
    let operator = bed.client("operator");
    operator
        .call("qsys_get_controls", one("Hall A Gain", "gain"))
        .await
        .unwrap();
    operator
        .call("qsys_set_controls", change("Hall A Gain", "gain", -3.0))
        .await
        .unwrap();
    operator
        .call("qsys_get_component", json!({"component": "no such"}))
        .await
        .unwrap_err();
    ask(&bed.client("viewer"), "qsys_set_controls").await;
    let numbers = page(&bed).await;
    for (series, value) in [
        (
            "mcp_tool_calls_total{tool=\"qsys_set_controls\",status=\"success\"}",
            1.0,
        ),
        (
            "mcp_tool_calls_total{tool=\"qsys_get_component\",status=\"error\"}",
            1.0,
        ),
        (
            "mcp_tool_errors_total{tool=\"qsys_get_component\",error_type=\"NOT_FOUND\"}",
            1.0,
        ),
        (
            "mcp_tool_duration_seconds_count{tool=\"qsys_set_controls\"}",
            1.0,
        ),
        ("qsys_active_connections ", 1.0),
        ("qsys_reconnects_total{", 0.0),
        ("qsys_breaker_state{", 0.0),
        ("rackhand_store_errors_total ", 0.0),
        ("rackhand_health{check=\"link\"}", 0.0),
        ("rackhand_health_changes_total{check=\"disk\"}", 0.0),
        ("event_loop_lag_seconds{quantile=\"0.5\"}", 0.0),
    ] {
        assert!(
            (sample(&numbers, series) - value).abs() < f64::EPSILON,
            "{series}\n{numbers}"
        );
    }
    assert!(sample(&numbers, "mcp_cache_hits_total ") >= 1.0);
    assert!(sample(&numbers, "mcp_cache_size_items ") > 100.0);
    let refused: Vec<&str> = numbers
        .lines()
        .filter(|line| line.starts_with("mcp_requests_refused_total{"))
        .collect();
    assert_eq!(refused.len(), 1, "the viewer was refused: {refused:?}");

    bed.sim.reboot(std::time::Duration::from_secs(20));
    bed.reached("backoff").await;
    let numbers = page(&bed).await;
    assert!(sample(&numbers, "qsys_active_connections ").abs() < f64::EPSILON);
    assert!(sample(&numbers, "qsys_reconnects_total{").abs() < f64::EPSILON);
    bed.reached("live").await;
    let numbers = page(&bed).await;
    assert!((sample(&numbers, "qsys_reconnects_total{") - 1.0).abs() < f64::EPSILON);
    assert!(sample(&numbers, "qsys_connection_errors_total{") >= 1.0);
    bed.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_names_that_are_made_up_adds_no_series() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let viewer = bed.client("viewer");
    ask(&viewer, "no_such_tool").await;
    viewer.get("/no/such/path").await;
    let series = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
    let first = page(&bed).await;
    for number in 0..200 {
        ask(&viewer, &format!("made_up_{number}")).await;
        viewer.get(&format!("/made/up/{number}")).await;
        let mut body = viewer.tool_request("ping", &json!({}));
        body = body.replace("tools/call", &format!("made/up{number}"));
        viewer.exchange(&body).await;
    }
    let last = page(&bed).await;
    // The first unknown method makes its one row.
    assert!(series(&last) <= series(&first) + 16, "{last}");
    let made_up = |line: &str| !line.starts_with('#') && line.contains("made");
    assert!(!last.lines().any(made_up), "{last}");
}

#[tokio::test(start_paused = true)]
async fn json_and_open_metrics_have_the_same_numbers() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let viewer = bed.client("viewer");
    let reply = viewer.get("/metrics.json").await;
    let numbers: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(numbers["qsys_active_connections"][0]["value"], 1.0);
    let key = viewer.key.as_ref().unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\naccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n"
    );
    let reply = viewer.exchange(&request).await;
    assert!(reply.body.ends_with("# EOF\n"), "{reply:?}");
    assert!(!page(&bed).await.contains("# EOF"));
}

#[test]
fn the_documentation_has_every_name_and_no_other() {
    let rows: Vec<&str> = DOCS
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let wanted: Vec<String> = ALL
        .iter()
        .map(|name| {
            let (end, kind) = match name.kind {
                Kind::Counter => ("_total", "counter"),
                Kind::Gauge => ("", "gauge"),
                Kind::Histogram => ("", "histogram"),
            };
            format!("| `{}{end}` | {kind} | {} |", name.name, name.help)
        })
        .collect();
    assert_eq!(rows, wanted);
}

/// The words of an expression that are names of ours: `mcp_…`, `qsys_…`, `rackhand_…`, `process_…`, `event_loop_…`.
fn names_in(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = ["mcp_", "qsys_", "rackhand_", "process_", "event_loop_"];
    words
        .filter(|word| ours.iter().any(|begin| word.starts_with(begin)))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_names_that_exist_and_the_dashboard_for_all() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../image/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown: Vec<String> = targets
        .flat_map(|target| names_in(target["expr"].as_str().unwrap()))
        .collect();
    let alerts = include_str!("../../image/grafana/alerts.yml");
    let rules = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let asked: Vec<String> = rules.flat_map(names_in).collect();
    assert!(asked.len() >= 10, "{asked:?}");
    let ends: &[&str] = &["", "_bucket", "_sum", "_count"];
    let series: Vec<String> = ALL
        .iter()
        .flat_map(|name| {
            let ends = match name.kind {
                Kind::Counter => &["_total"],
                Kind::Gauge => &ends[..1],
                Kind::Histogram => &ends[1..],
            };
            ends.iter().map(|end| format!("{}{end}", name.name))
        })
        .collect();
    for name in shown.iter().chain(&asked) {
        assert!(series.contains(name), "{name} does not exist");
    }
    for name in ALL {
        let is_shown = shown.iter().any(|one| one.starts_with(name.name));
        assert!(is_shown, "{} is on no panel", name.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_box_at_work_tells_every_number_that_there_is() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let operator = bed.client("operator");
    ask(&operator, "qsys_get_component").await;
    ask(&operator, "no_such_tool").await;
    ask(&bed.client("viewer"), "qsys_set_controls").await;
    let numbers = page(&bed).await;
    let missing: Vec<&str> = ALL
        .iter()
        .map(|name| name.name)
        .filter(|name| !numbers.lines().any(|line| line.starts_with(name)))
        .collect();
    // Told from the second look on, where the machine tells it, once something was written, and where requests are counted.
    let may_miss = [
        "process_cpu_usage_percent",
        "process_open_descriptors",
        "process_memory_usage_bytes",
        "rackhand_store_flush_age_seconds",
        "mcp_rate_limit_hits",
        "mcp_rate_limit_remaining",
    ];
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|name| !may_miss.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}\n{numbers}");
}
