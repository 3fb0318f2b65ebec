//! Holds the direction of dependencies: a layer may look down, never up, and only demo, simcore and tests reach the simulated Core.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. Modules of one row see each other; those in [`APART`] do not, although they stand in one row.
const LAYERS: &[&[&str]] = &[
    &["base", "limits", "wire"],
    &["model"],
    &["config", "telemetry", "tls"],
    &["link"],
    &["store", "audit"],
    &["safety"],
    &["ops"],
    &["guard"],
    &["service"],
    &["mcp", "service::qsys", "service::system"],
    &["http", "stdio"],
    &["app"],
    &["main"],
];

/// Modules that must not look at each other.
const APART: &[&str] = &["mcp", "service::qsys", "service::system"];

/// What the simulated Core may look at.
const SIM_SEES: &[&str] = &["base", "limits", "wire", "sim"];

/// Who may look at the simulated Core.
const SEES_SIM: &[&str] = &["app::demo", "app::simcore", "sim"];

#[test]
fn no_layer_looks_up() {
    let mut faults = Vec::new();
    for file in sources(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let here = module_of(&file);
        for (number, line) in product_lines(&text) {
            for path in used_paths(line) {
                if let Some(fault) = fault(&here, &path) {
                    faults.push(format!("{}:{number}: {fault}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "upward looks:\n{}", faults.join("\n"));
}

/// What may stand at the top level, besides dot-files and what is built.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "board",
    "systemd",
    "cross.toml",
    "image",
    "tests",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "target",
];

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    for entry in fs::read_dir(".").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || TOP_LEVEL.contains(&name.as_str()),
            "{name} does not belong at the top level"
        );
    }
}

#[test]
fn the_check_itself_sees_an_upward_look() {
    assert!(fault("link::driver", "store::mirror").is_some());
    assert!(fault("store::mirror", "link::status").is_none());
    assert!(fault("mcp::tools", "service::qsys::list").is_some());
    assert!(fault("mcp::tools", "service::fault").is_none());
    assert!(fault("service::qsys::overview", "mcp::error").is_some());
    assert!(fault("http", "sim::core").is_some());
    assert!(fault("app::demo", "sim::core").is_none());
    assert!(fault("sim::core", "model::name").is_some());
}

fn fault(here: &str, target: &str) -> Option<String> {
    let (from, to) = (layer_name(here), layer_name(target));
    if to == "sim" {
        return (!SEES_SIM.iter().any(|allowed| here.starts_with(allowed)))
            .then(|| format!("{here} looks at the simulated Core"));
    }
    if from == "sim" {
        return (!SIM_SEES.contains(&to.as_str()))
            .then(|| format!("the simulated Core looks at {target}"));
    }
    let (from_rank, to_rank) = (rank(&from)?, rank(&to)?);
    let is_sideways = from != to && APART.contains(&from.as_str()) && APART.contains(&to.as_str());
    (to_rank > from_rank || is_sideways).then(|| format!("{here} looks up at {target}"))
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&layer))
}

fn layer_name(module: &str) -> String {
    let mut parts = module.split("::");
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        Some(second @ ("qsys" | "system")) if first == "service" => format!("service::{second}"),
        _ => first.to_owned(),
    }
}

fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix("src").unwrap().with_extension("");
    let path = inside.to_string_lossy().replace('/', "::");
    path.strip_suffix("::mod").unwrap_or(&path).to_owned()
}

/// Lines before the tests, which may look anywhere, without comments.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn used_paths(line: &str) -> Vec<String> {
    ["crate::", "rackhand::"]
        .iter()
        .flat_map(|root| line.split(root).skip(1))
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                .collect()
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("lib.rs")
        {
            found.push(path);
        }
    }
    found
}

/// Files whose product code compares in constant time: keys at the guard, tokens at the guard, secrets in general, sealed states.
const COMPARES: &[&str] = &[
    "src/base/secret.rs",
    "src/guard/table.rs",
    "src/guard/token/own.rs",
    "src/mcp/seal.rs",
];

/// Files whose product code makes the hash of a key: for the file, for the look-up, for tickets, for tokens that were checked.
const HASHES_KEYS: &[&str] = &[
    "src/guard/keyfile.rs",
    "src/guard/table.rs",
    "src/guard/ticket.rs",
    "src/guard/token/checked.rs",
];

#[test]
fn secrets_are_compared_in_few_places_and_there_in_constant_time() {
    let (mut compares, mut hashes, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for file in sources(Path::new("src")) {
        let name = file.to_string_lossy().into_owned();
        if name.ends_with("tests.rs") || name.contains("/tests/") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text_before_tests(&text) {
            let is_import = line.trim_start().starts_with("use ");
            if line.contains("ct_eq(") {
                compares.push(name.clone());
            }
            if line.contains("key::hash(") && !is_import {
                hashes.push(name.clone());
            }
            if let Some((before, after)) = line.split_once(".expose()")
                && (before.contains("==") || before.contains("!=") || compares_next(after))
            {
                faults.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    for found in [&mut compares, &mut hashes] {
        found.sort();
        found.dedup();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(compares, COMPARES);
    assert_eq!(hashes, HASHES_KEYS);
}

/// Whether an exposed secret is compared with what follows. Whether it is empty is no secret.
fn compares_next(after: &str) -> bool {
    let after = after.trim_start();
    [
        "==",
        "!=",
        ".eq(",
        ".ne(",
        ".cmp(",
        ".contains(",
        ".starts_with(",
        ".ends_with(",
    ]
    .iter()
    .any(|way| after.starts_with(way))
}

/// Lines before the tests of a file, which stand at its end, without comments.
fn text_before_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let product = text.get(..end).unwrap_or(text);
    product
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}
