//! What the box was told while it ran: a file in its data folder, of the same form as the configuration, that wins over it.

use toml::{Table, Value};

/// Name of the file in the data folder.
pub const SITE_TOML: &str = "site.toml";

/// Lays it over the file, key by key. Lists, and with them the Cores, are replaced whole.
pub(super) fn lay_over(file: &mut Table, site: Table) {
    for (key, value) in site {
        match (file.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay_over(under, over),
            (_, value) => {
                file.insert(key, value);
            }
        }
    }
}
