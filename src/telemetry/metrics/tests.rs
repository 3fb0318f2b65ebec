//! What a page of numbers looks like, in each of its forms.

use super::*;

struct Few;

impl Facts for Few {
    fn facts(&self) -> Vec<Fact> {
        let fact = |name, labels: &[(&'static str, &str)], value| Fact {
            name,
            labels: labels
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            value,
        };
        vec![
            fact(&names::CORE_CONNECTIONS, &[], 1.0),
            fact(&names::BREAKER_STATE, &[("system", "hall")], 0.0),
            fact(
                &names::BREAKER_STATE,
                &[("system", "odd \"name\" \\ {x}\nnext")],
                2.0,
            ),
            fact(&names::CHANGES, &[("system", "hall")], 12.0),
        ]
    }
}

fn busy() -> Metrics {
    let metrics = Metrics::default();
    metrics.request("tools/call", None, Duration::from_micros(300));
    metrics.request("tools/call", Some("-32602"), Duration::from_secs(2));
    metrics.tool(
        "qsys_set_controls",
        Some("LINK_DOWN"),
        Duration::from_secs(1),
    );
    metrics.too_often("operator");
    metrics.remaining("operator", 59);
    metrics.refused("TOO_OFTEN");
    metrics
}

#[test]
fn what_was_counted_and_what_is_told_stand_on_one_page() {
    let page = busy().page(&Few).unwrap();
    for line in [
        "# TYPE mcp_requests counter",
        "mcp_requests_total{method=\"tools/call\",status=\"success\"} 1",
        "mcp_requests_total{method=\"tools/call\",status=\"error\"} 1",
        "mcp_request_errors_total{error_type=\"-32602\"} 1",
        "mcp_request_duration_seconds_bucket{le=\"0.0005\",method=\"tools/call\"} 1",
        "mcp_request_duration_seconds_count{method=\"tools/call\"} 2",
        "mcp_tool_errors_total{tool=\"qsys_set_controls\",error_type=\"LINK_DOWN\"} 1",
        "mcp_rate_limit_remaining{role=\"operator\"} 59",
        "qsys_active_connections 1.0",
        "qsys_changes_total{system=\"hall\"} 12.0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}:\n{page}");
    }
    assert_eq!(page.matches("# TYPE qsys_breaker_state gauge").count(), 1);
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert_eq!(page.matches("# EOF").count(), 1);
}

#[test]
fn the_older_text_names_counters_as_their_samples() {
    let text = plain(&busy().page(&Few).unwrap());
    for line in [
        "# TYPE mcp_requests_total counter",
        "# TYPE qsys_changes_total counter",
        "# TYPE mcp_tool_duration_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    assert!(!text.contains("# EOF") && !text.contains("# TYPE mcp_requests counter"));
}

#[test]
fn json_has_every_sample_with_its_labels() {
    let page = busy().page(&Few).unwrap();
    let found = json(&page);
    assert_eq!(
        found["qsys_breaker_state"],
        serde_json::json!([
            {"labels": {"system": "hall"}, "value": 0.0},
            {"labels": {"system": "odd \"name\" \\ {x}\nnext"}, "value": 2.0},
        ])
    );
    assert_eq!(
        found["qsys_active_connections"],
        serde_json::json!([{"labels": {}, "value": 1.0}])
    );
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    let told: usize = found
        .as_object()
        .unwrap()
        .values()
        .map(|list| list.as_array().unwrap().len())
        .sum();
    assert_eq!(samples, told);
}

#[test]
fn no_name_stands_twice_and_none_says_what_its_kind_puts_behind_it() {
    let mut seen = std::collections::BTreeSet::new();
    for known in names::ALL {
        assert!(seen.insert(known.name), "{}", known.name);
        assert!(
            !known.name.ends_with("_total") && !known.help.ends_with('.'),
            "{}",
            known.name
        );
    }
}
