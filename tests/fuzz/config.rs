//! The configuration file and the environment on top of it.

use std::collections::BTreeMap;

use bolero::{Driver, TypeGenerator};
use rackhand::config::{Config, DEFAULT_TOML};
use rackhand::limits::{CEILINGS_MAX, CORES_MAX, NAMED_CONTROLS_MAX, PROTECTED_PATTERNS_MAX};

use super::json::{Odd, Slip};

/// A file that is nearly right, and some of the environment.
#[derive(Debug, Clone)]
pub(crate) struct File {
    text: String,
    environment: BTreeMap<String, String>,
}

/// A file with all that the defaults leave out.
const FULL: &str = include_str!("seeds/full.toml");

const NAMES: &[&str] = &[
    "RACKHAND_LISTEN_ADDRESS",
    "RACKHAND_LISTEN_ALLOWED_HOSTS",
    "RACKHAND_CORE_ADDRESS",
    "RACKHAND_CORE_NAMED_CONTROLS",
    "RACKHAND_LINK_POLL_MILLIS",
    "RACKHAND_SAFETY_CEILING",
    "RACKHAND_STORE_BUDGET_MIB",
    "RACKHAND_LOG_LEVEL",
    "RACKHAND_",
    "PATH",
];

impl TypeGenerator for File {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let seed = if driver.produce()? {
            FULL
        } else {
            DEFAULT_TOML
        };
        let mut lines: Vec<String> = seed
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        for _ in 0..driver.produce::<u8>()? % 6 {
            let at = driver.produce::<usize>()? % lines.len();
            match driver.produce::<u8>()? % 4 {
                0 if lines.len() > 1 => drop(lines.remove(at)),
                1 => {
                    let other = driver.produce::<usize>()? % lines.len();
                    lines.swap(at, other);
                }
                2 => {
                    let again = lines[at].clone();
                    lines.push(again);
                }
                _ => {
                    let key = lines[at].split('=').next().unwrap_or_default().to_owned();
                    lines[at] = format!("{key} = {}", driver.produce::<Odd>()?.text());
                }
            }
        }
        let mut text = lines.join("\n");
        for _ in 0..driver.produce::<u8>()? % 3 {
            driver.produce::<Slip>()?.apply(&mut text);
        }
        let mut environment = BTreeMap::new();
        for _ in 0..driver.produce::<u8>()? % 3 {
            let name = NAMES[driver.produce::<usize>()? % NAMES.len()];
            environment.insert(name.to_owned(), driver.produce::<Odd>()?.text());
        }
        Some(Self { text, environment })
    }
}

/// What is accepted is within the documented bounds; what is not says where and why.
pub(crate) fn holds(file: &File) {
    match Config::load(&file.text, &file.environment) {
        Ok(config) => is_within_bounds(&config),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems.as_slice() {
                assert!(
                    !problem.key.is_empty() && !problem.message.is_empty(),
                    "{problem:?}"
                );
            }
            assert!(!problems.to_string().is_empty());
        }
    }
}

fn is_within_bounds(config: &Config) {
    assert!((8..=16_384).contains(&config.listen.connections_max));
    assert!((1..=CORES_MAX).contains(&config.cores.len()));
    for (index, core) in config.cores.iter().enumerate() {
        assert!(!core.address.is_empty());
        assert!((1..=64).contains(&core.name.chars().count()));
        assert!(core.named_controls.len() <= NAMED_CONTROLS_MAX);
        let others = &config.cores[..index];
        assert!(others.iter().all(|other| other.name != core.name));
    }
    let link = &config.link;
    assert!((100..=10_000).contains(&link.poll.as_millis()));
    assert!((50..=10_000).contains(&link.fast_poll.as_millis()));
    assert!((5..=30).contains(&link.keepalive.as_secs()));
    assert!((1..=30).contains(&link.probe_timeout.as_secs()));
    assert!((1..=300).contains(&link.retry_max.as_secs()));
    assert!((1..=100).contains(&config.breaker.failures));
    assert!((1..=20).contains(&config.breaker.successes));
    assert!((5..=600).contains(&config.breaker.open_max.as_secs()));
    assert!(config.safety.protected.len() <= PROTECTED_PATTERNS_MAX);
    assert!(config.safety.ceilings.len() <= CEILINGS_MAX);
    for ceiling in &config.safety.ceilings {
        assert!(ceiling.max.is_finite());
        assert!(
            ceiling
                .max_step_up
                .is_none_or(|step| step.is_finite() && step > 0.0)
        );
    }
}
