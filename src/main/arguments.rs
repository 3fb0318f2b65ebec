//! What can be typed behind `rackhand`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, value_parser};
use rackhand::app::simcore::{Addresses, SimcoreOptions};
use rackhand::app::{KEY_VARIABLE, audit, keys, simcore, stdio};
use rackhand::base::clock::UnixMillis;
use rackhand::base::secret::Secret;
use rackhand::guard::{Network, Role};
use rackhand::stdio::Address;

/// Components of a generated design: what the mirror takes.
const GENERATED_COMPONENTS_MAX: i64 = 4_096;

/// Controls of each component of a generated design. The largest real mixer seen has 693.
const GENERATED_CONTROLS_MAX: i64 = 1_000;

/// The flight recorder and the safety rail between AI clients and a live Q-SYS system.
#[derive(Debug, Parser)]
#[command(
    name = "rackhand",
    version,
    about,
    propagate_version = true,
    max_term_width = 100
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show everything at once: a simulated Core, the service, a key and ready client configurations
    Demo(DemoArguments),
    /// Serve a simulated Core for other clients, with faults that can be switched while it runs
    Simcore(SimcoreArguments),
    /// Serve MCP for the Cores of a configuration
    Run(RunArguments),
    /// Show a page that says why the service does not stay up, in its place; the service manager starts it
    Rescue(RunArguments),
    /// Speak MCP on standard input and output, for clients that start a program instead of opening a URL
    Stdio(StdioArguments),
    /// Ask a running box how well it is; exits with 0 when it is healthy or degraded, 1 when it is unhealthy or does not answer
    Health(HealthArguments),
    /// Report every fault of a configuration at once, without starting anything
    Check {
        /// The configuration file
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/rackhand/rackhand.toml"
        )]
        config: PathBuf,
    },
    /// Print the documented default configuration
    PrintConfig,
    /// Find the Core, check the way to it, take it, and make the first key
    Setup(SetupArguments),
    /// Check the way to each Core and the box itself, and say what to do; exits with 1 when something keeps the box from its work
    Doctor(RunArguments),
    /// Check the files that make boxes, or make this box of one
    Provision(ProvisionArguments),
    /// Do what the boot partition says: a factory reset, a file that makes the box; the image runs it before the service
    OnBoot(OnBootArguments),
    /// Pack keys, identity, what the box was told and its record into one file, which makes another board this box
    Backup(BackupArguments),
    /// Make this board the box of a backup
    Restore(RestoreArguments),
    /// Pack what somebody who helps has to know into one file, without secrets
    Support(SupportArguments),
    /// Show the code with which a box that is nobody's yet is claimed
    ClaimCode(RunArguments),
    /// Show the certificate that clients see: names, validity, fingerprints
    Certificate(RunArguments),
    /// Make, list and revoke the keys of clients
    Key {
        /// Folder with the keys; the one of a default installation otherwise
        #[arg(
            long,
            value_name = "DIR",
            default_value = "/var/lib/rackhand",
            global = true
        )]
        data: PathBuf,
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// End the short-lived tokens that keys have made
    Token {
        /// Folder with the secret; the one of a default installation otherwise
        #[arg(
            long,
            value_name = "DIR",
            default_value = "/var/lib/rackhand",
            global = true
        )]
        data: PathBuf,
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Check and print the record of who did what
    Audit {
        /// Folder with the data; the one of a default installation otherwise
        #[arg(
            long,
            value_name = "DIR",
            default_value = "/var/lib/rackhand",
            global = true
        )]
        data: PathBuf,
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// What concerns the Core itself
    Core {
        #[command(subcommand)]
        command: CoreCommand,
    },
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Address and port to serve on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,
    /// Use this key instead of making one: 16 to 256 letters, digits, dashes and underscores
    #[arg(long, value_parser = chosen_key)]
    pub(super) key: Option<Secret>,
    /// Generate a design with this many components instead of the sample design
    #[arg(long, value_name = "N", requires = "controls_per", value_parser = value_parser!(u32).range(1..=GENERATED_COMPONENTS_MAX))]
    pub(super) components: Option<u32>,
    /// Controls of each generated component
    #[arg(long, value_name = "M", requires = "components", value_parser = value_parser!(u32).range(1..=GENERATED_CONTROLS_MAX))]
    pub(super) controls_per: Option<u32>,
    /// Keep what was learnt in this folder; a temporary one otherwise
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SimcoreArguments {
    /// WebSocket without TLS
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8088")]
    pub(super) listen: SocketAddr,
    /// WebSocket over TLS, with a certificate made at the start
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) tls_listen: Option<SocketAddr>,
    /// QRC over TCP
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) tcp: Option<SocketAddr>,
    /// Where faults are switched while it runs
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) control: Option<SocketAddr>,
    /// Generate a design with this many components instead of the sample design
    #[arg(long, value_name = "N", requires = "controls_per", value_parser = value_parser!(u32).range(1..=GENERATED_COMPONENTS_MAX))]
    pub(super) components: Option<u32>,
    /// Controls of each generated component
    #[arg(long, value_name = "M", requires = "components", value_parser = value_parser!(u32).range(1..=GENERATED_CONTROLS_MAX))]
    pub(super) controls_per: Option<u32>,
    /// WebSocket of a second Core that makes a redundant pair with the first
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) twin: Option<SocketAddr>,
    /// Ask clients for this user and PIN
    #[arg(long, value_name = "USER:PIN", value_parser = user_and_pin)]
    pub(super) logon: Option<(String, Secret)>,
    /// Ask clients for this access key
    #[arg(long, value_name = "KEY")]
    pub(super) api_key: Option<String>,
}

impl From<SimcoreArguments> for SimcoreOptions {
    fn from(arguments: SimcoreArguments) -> Self {
        Self {
            addresses: Addresses {
                websocket: Some(arguments.listen),
                tls: arguments.tls_listen,
                tcp: arguments.tcp,
                control: arguments.control,
            },
            twin: arguments.twin.map(|address| Addresses {
                websocket: Some(address),
                ..Addresses::default()
            }),
            generated: arguments.components.zip(arguments.controls_per),
            core: simcore::Options {
                logon: arguments.logon,
                api_key: arguments.api_key.as_deref().map(Secret::new),
                ..simcore::Options::default()
            },
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/rackhand/rackhand.toml"
    )]
    pub(super) config: PathBuf,
    /// Keep state and keys in this folder, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ProvisionArguments {
    /// Files, each for one box
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Say what each does and what is wrong, also of all together, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) places: Places,
}

#[derive(Debug, Args)]
pub(super) struct OnBootArguments {
    /// Where the boot partition is
    #[arg(long, value_name = "DIR", default_value = "/boot")]
    pub(super) boot: PathBuf,
    #[command(flatten)]
    pub(super) places: Places,
}

#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(super) archive: PathBuf,
    /// Keys, Cores, what was learnt
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rackhand")]
    pub(super) data: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    pub(super) backup: BackupArguments,
    /// Let this box, which has keys of its own, become the other one
    #[arg(long)]
    pub(super) replace: bool,
}

#[derive(Debug, Args)]
pub(super) struct SupportArguments {
    /// The file to make
    #[arg(value_name = "FILE")]
    pub(super) archive: PathBuf,
    #[command(flatten)]
    pub(super) run: RunArguments,
}

/// Where things are on a box.
#[derive(Debug, Args)]
pub(super) struct Places {
    /// Keys, Cores, what was learnt
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rackhand")]
    pub(super) data: PathBuf,
    /// Host name and network, for the rest of the system
    #[arg(long, value_name = "DIR", default_value = "/data/system")]
    pub(super) system: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SetupArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
    /// The Core's host name or address, instead of searching for it
    #[arg(long, value_name = "ADDRESS")]
    pub(super) core: Option<String>,
    /// Ask nothing: take the Core even if something is wrong with the way to it
    #[arg(long, requires = "core")]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("side").required(true).args(["url", "config"])))]
pub(super) struct StdioArguments {
    /// Carry everything to the running box at this URL, such as `http://192.168.1.20:8080/mcp`
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Address>,
    /// Or be the box: serve with the Cores of this configuration, without listening anywhere
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The key for the box; better in the environment, where other users of this machine do not see it
    #[arg(long, env = KEY_VARIABLE, hide_env_values = true, value_parser = sent_key)]
    pub(super) key: Option<Secret>,
    /// Read the key for the box from this file, whatever the environment says
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(super) key_file: Option<PathBuf>,
    /// For https: the SHA-256 of the box's certificate, or of the authority that signed it, as `rackhand certificate` prints it on the box
    #[arg(long, value_name = "SHA256", conflicts_with = "config")]
    pub(super) fingerprint: Option<String>,
    /// For https: the authority that signed the box's certificate, as the box has it at /ca.pem; the name in the URL is checked too
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "fingerprint"])]
    pub(super) ca: Option<PathBuf>,
    /// With --config: what the client may do, as guest, viewer, operator, engineer or admin
    #[arg(long, default_value = "operator", conflicts_with = "url")]
    pub(super) role: Role,
    /// With --config: keep state in this folder, whatever the configuration says
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(super) data: Option<PathBuf>,
    /// What to log on standard error: error, warn, info, debug; the configuration's, or warn for a bridge
    #[arg(long, value_name = "LEVEL")]
    pub(super) log: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// The box
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(super) url: Address,
    /// Show each check, which needs a key: in the environment as `RACKHAND_KEY`, or in a file
    #[arg(long)]
    pub(super) detail: bool,
    /// Read the key from this file, whatever the environment says
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// For https: the SHA-256 of the box's certificate, or of the authority that signed it
    #[arg(long, value_name = "SHA256")]
    pub(super) fingerprint: Option<String>,
    /// For https: the authority that signed the box's certificate
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub(super) ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print it, this once
    New {
        /// What it is for, such as "FOH laptop"
        #[arg(long)]
        name: String,
        /// guest, viewer, operator, engineer or admin
        #[arg(long, default_value = "viewer")]
        role: Role,
        /// The last day on which it works, such as 2027-01-31; for ever otherwise
        #[arg(long, value_name = "DATE", value_parser = keys::last_day)]
        expires: Option<UnixMillis>,
        /// Components and named controls that it reaches, with * and ?; everything otherwise
        #[arg(long, value_name = "PATTERN", num_args = 1..)]
        components: Vec<String>,
        /// Networks from which it may be used, such as 192.168.5.0/24; from everywhere otherwise
        #[arg(long, value_name = "NETWORK", num_args = 1..)]
        network: Vec<Network>,
    },
    /// List keys: name, role, end, reach, networks, when made; never the keys
    List,
    /// Make a new key with the rights of another, which goes on for some days
    Rotate {
        /// The key's name, which the new one takes over
        #[arg(long)]
        name: String,
        /// Days for which the old key still works; 0 ends it at once
        #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = value_parser!(u16).range(0..=365))]
        keep_days: u16,
    },
    /// Revoke a key by its name
    Revoke {
        /// The key's name
        #[arg(long)]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Change the secret that signs tokens: every token ends at once, keys hold
    RotateSecret,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Say whether any line was changed or removed; the exit code is 1 if so
    Verify,
    /// Print the lines as they stand on disk, one JSON object each
    Export {
        /// From this moment on: 2026-11-21, 2026-11-21T18:55Z, or 90m, 12h, 7d ago
        #[arg(long, value_name = "MOMENT", value_parser = audit::moment)]
        since: Option<UnixMillis>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CoreCommand {
    /// Accept a Core's certificate after it changed
    Trust(TrustArguments),
}

#[derive(Debug, Args)]
pub(super) struct TrustArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
    /// Accept only this SHA-256 fingerprint; without it the one that the Core shows now is printed and accepted
    #[arg(long, value_name = "HEX")]
    pub(super) fingerprint: Option<String>,
    /// Which [[core]], when there are several
    #[arg(long, value_name = "NAME")]
    pub(super) core: Option<String>,
}

/// A key that a person chose: hard enough to guess, and safe to paste into a shell or a header.
fn chosen_key(text: &str) -> Result<Secret, String> {
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_plain && (16..=256).contains(&text.len()) {
        Ok(Secret::new(text))
    } else {
        Err("a key has 16 to 256 letters, digits, dashes and underscores".to_owned())
    }
}

/// A key as a client sends it.
fn sent_key(text: &str) -> Result<Secret, String> {
    if text.is_empty() {
        return Ok(Secret::new(""));
    }
    stdio::key(text).ok_or_else(|| "this is no key: a key is one word".to_owned())
}

fn user_and_pin(text: &str) -> Result<(String, Secret), String> {
    let (user, pin) = text.split_once(':').ok_or("write USER:PIN, with a colon")?;
    Ok((user.to_owned(), Secret::new(pin)))
}
