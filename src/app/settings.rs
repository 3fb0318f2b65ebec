//! The configuration as the program takes it: read from its files and the environment, checked for what only this layer can see, and cut to
//! what the board bears.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use super::{certificate, keys, secrets, setup, traces};
use crate::config::{self, Config, Problems};
use crate::ops::export::CollectorFault;
use crate::ops::host::Root;
use crate::safety::{Ceiling, Policy, SafetyConfig};

/// The environment variable with the key of a bridge. It is no setting of a configuration.
pub const KEY_VARIABLE: &str = "RACKHAND_KEY";

/// A configuration as far as it reads, with what the box was told while it ran, the environment taken in, and every fault of it. `data` is
/// the folder for what lasts, whatever the configuration says.
///
/// # Errors
///
/// A file cannot be read.
pub fn read(file: &Path, data: Option<&Path>) -> io::Result<(Config, Problems)> {
    let text = fs::read_to_string(file)?;
    let environment: BTreeMap<_, _> = std::env::vars()
        .filter(|(name, _)| config::is_variable(name) && name != KEY_VARIABLE)
        .collect();
    let (alone, _) = Config::read(&text, &environment);
    let data = data.map_or(alone.store.path, Path::to_path_buf);
    let site = setup::site_text(&data)?;
    let (mut config, mut problems) = Config::read_with(&text, &site, &environment);
    config.store.path = data;
    check(&config, &mut problems);
    Ok((config, problems))
}

/// The same for those who are about to say what is missing: a file that is not there is an empty one, and faults are left for the start.
///
/// # Errors
///
/// A file is there and cannot be read.
pub fn read_for_setup(file: &Path, data: Option<&Path>) -> io::Result<Config> {
    match read(file, data) {
        Ok((config, _)) => Ok(config),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            let (mut config, _) = Config::read("", &BTreeMap::new());
            if let Some(data) = data {
                config.store.path = data.to_path_buf();
            }
            Ok(config)
        }
        Err(fault) => Err(fault),
    }
}

/// Finds out on which board this runs, unless it is named, and keeps to what that board bears.
pub(super) fn on_board(config: &mut Config) {
    config.board = config
        .board
        .take()
        .or_else(|| Root::new(&config.health.root).board().map(Box::new));
    let Some(board) = &config.board else {
        return;
    };
    let (asked, borne) = (config.listen.connections_max, board.limits.connections_max);
    config.listen.connections_max = asked.min(borne);
    if asked > borne {
        tracing::warn!(
            "This is {}, whose memory bears {borne} connections: listen.connections-max is {borne} and not {asked}.",
            board.title
        );
    } else {
        tracing::info!("This is {}.", board.title);
    }
}

/// The compiled safety rules.
///
/// # Errors
///
/// Every pattern and number that cannot be used, with its key.
pub(super) fn policy(config: &Config) -> Result<Policy, Problems> {
    let rules = &config.safety;
    let ceilings = rules.ceilings.iter().map(|rule| Ceiling {
        pattern: rule.pattern.clone(),
        max_value: rule.max,
        max_step_up: rule.max_step_up,
    });
    let rules = SafetyConfig {
        writes: rules.writes,
        protected: rules.protected.clone(),
        snapshots: rules.snapshots,
        ceilings: ceilings.collect(),
    };
    Policy::new(&rules).map_err(|faults| {
        let mut problems = Problems::default();
        for fault in faults {
            problems.note(format!("safety.{}", fault.key), fault.problem);
        }
        problems
    })
}

/// Notes what only this layer can see: rules that cannot be used, and files that are not there.
pub fn check(config: &Config, problems: &mut Problems) {
    if let Err(faults) = policy(config) {
        problems.extend(faults);
    }
    for faults in [keys::given(config).err(), keys::open(config).err()] {
        problems.extend(faults.unwrap_or_default());
    }
    certificate::check(config, problems);
    // A URL that is none is noted already.
    if let Err(fault) = traces::collector(config)
        && !fault.is::<CollectorFault>()
    {
        problems.note("tracing.headers-file", format!("{fault:#}"));
    }
    for (index, core) in config.cores.iter().enumerate() {
        for (key, file) in secrets::files(core) {
            if let Err(fault) = secrets::check(key, file) {
                problems.note(format!("core[{index}].{key}"), format!("{fault:#}"));
            }
        }
    }
}
