//! The official Rust SDK as a yardstick. It is a package of its own, which `tests/bench/run` builds; without it its figures are left out.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use tempfile::NamedTempFile;

use crate::child::Role;

/// Where `tests/bench/run` says that the program is.
const PROGRAM: &str = "RACKHAND_BENCH_RMCP";

/// Its version, as the package has it.
pub(crate) const NAME: &str = "rmcp 3.9.0";

/// What stands in the table where it was not built.
pub(crate) const MISSING: &str = "not measured: `tests/bench/run` builds rmcp";

/// Starts it with a tool that gives the answer in `body`, a whole JSON-RPC response; the process, and where it listens.
pub(crate) fn start(body: &[u8]) -> Result<Option<(Role, SocketAddr)>> {
    let Some(program) = std::env::var_os(PROGRAM) else {
        return Ok(None);
    };
    let mut file = NamedTempFile::new()?;
    file.write_all(body)?;
    let mut role = Role::of(Command::new(program).arg(file.path()))?;
    let address = role.hear()?.parse()?;
    Ok(Some((role, address)))
}
