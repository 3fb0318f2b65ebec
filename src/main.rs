//! The program: arguments, configuration, logging, runtime, exit code; nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgGroup, Args, Parser, Subcommand, value_parser};
use rackhand::app::KEY_VARIABLE;
use rackhand::app::simcore::{Addresses, SimcoreOptions};
use rackhand::app::systemd::Inherited;
use rackhand::app::{self, audit, certificate, demo, keys, probe, rescue, simcore, stdio, trust};
use rackhand::base::clock::UnixMillis;
use rackhand::base::secret::Secret;
use rackhand::config::{Config, DEFAULT_TOML, LogFormat};
use rackhand::guard::{Network, NewKey, Role};
use rackhand::stdio::Address;
use rackhand::telemetry::logging;

/// The configuration cannot be used (`EX_CONFIG` of sysexits.h): restarting does not help.
const EXIT_CONFIG: u8 = 78;

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
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
struct DemoArguments {
    /// Address and port to serve on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Use this key instead of making one: 16 to 256 letters, digits, dashes and underscores
    #[arg(long, value_parser = chosen_key)]
    key: Option<Secret>,
    /// Generate a design with this many components instead of the sample design
    #[arg(long, value_name = "N", requires = "controls_per", value_parser = value_parser!(u32).range(1..=GENERATED_COMPONENTS_MAX))]
    components: Option<u32>,
    /// Controls of each generated component
    #[arg(long, value_name = "M", requires = "components", value_parser = value_parser!(u32).range(1..=GENERATED_CONTROLS_MAX))]
    controls_per: Option<u32>,
    /// Keep what was learnt in this folder; a temporary one otherwise
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SimcoreArguments {
    /// WebSocket without TLS
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8088")]
    listen: SocketAddr,
    /// WebSocket over TLS, with a certificate made at the start
    #[arg(long, value_name = "ADDRESS:PORT")]
    tls_listen: Option<SocketAddr>,
    /// QRC over TCP
    #[arg(long, value_name = "ADDRESS:PORT")]
    tcp: Option<SocketAddr>,
    /// Where faults are switched while it runs
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<SocketAddr>,
    /// Generate a design with this many components instead of the sample design
    #[arg(long, value_name = "N", requires = "controls_per", value_parser = value_parser!(u32).range(1..=GENERATED_COMPONENTS_MAX))]
    components: Option<u32>,
    /// Controls of each generated component
    #[arg(long, value_name = "M", requires = "components", value_parser = value_parser!(u32).range(1..=GENERATED_CONTROLS_MAX))]
    controls_per: Option<u32>,
    /// WebSocket of a second Core that makes a redundant pair with the first
    #[arg(long, value_name = "ADDRESS:PORT")]
    twin: Option<SocketAddr>,
    /// Ask clients for this user and PIN
    #[arg(long, value_name = "USER:PIN", value_parser = user_and_pin)]
    logon: Option<(String, Secret)>,
    /// Ask clients for this access key
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
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
struct RunArguments {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/rackhand/rackhand.toml"
    )]
    config: PathBuf,
    /// Keep state and keys in this folder, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl RunArguments {
    /// The configuration, or nothing after every fault of it was shown.
    fn checked(self) -> Option<Config> {
        let mut config = checked(&self.config)?;
        if let Some(data) = self.data {
            config.store.path = data;
        }
        Some(config)
    }
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("side").required(true).args(["url", "config"])))]
struct StdioArguments {
    /// Carry everything to the running box at this URL, such as `http://192.168.1.20:8080/mcp`
    #[arg(long, value_name = "URL")]
    url: Option<Address>,
    /// Or be the box: serve with the Cores of this configuration, without listening anywhere
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The key for the box; better in the environment, where other users of this machine do not see it
    #[arg(long, env = KEY_VARIABLE, hide_env_values = true, value_parser = sent_key)]
    key: Option<Secret>,
    /// Read the key for the box from this file, whatever the environment says
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    key_file: Option<PathBuf>,
    /// For https: the SHA-256 of the box's certificate, or of the authority that signed it, as `rackhand certificate` prints it on the box
    #[arg(long, value_name = "SHA256", conflicts_with = "config")]
    fingerprint: Option<String>,
    /// For https: the authority that signed the box's certificate, as the box has it at /ca.pem; the name in the URL is checked too
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "fingerprint"])]
    ca: Option<PathBuf>,
    /// With --config: what the client may do, as guest, viewer, operator, engineer or admin
    #[arg(long, default_value = "operator", conflicts_with = "url")]
    role: Role,
    /// With --config: keep state in this folder, whatever the configuration says
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// What to log on standard error: error, warn, info, debug; the configuration's, or warn for a bridge
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Debug, Args)]
struct HealthArguments {
    /// The box
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: Address,
    /// Show each check, which needs a key: in the environment as `RACKHAND_KEY`, or in a file
    #[arg(long)]
    detail: bool,
    /// Read the key from this file, whatever the environment says
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// For https: the SHA-256 of the box's certificate, or of the authority that signed it
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// For https: the authority that signed the box's certificate
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
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
enum TokenCommand {
    /// Change the secret that signs tokens: every token ends at once, keys hold
    RotateSecret,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
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
enum CoreCommand {
    /// Accept a Core's certificate after it changed
    Trust(TrustArguments),
}

#[derive(Debug, Args)]
struct TrustArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Accept only this SHA-256 fingerprint; without it the one that the Core shows now is printed and accepted
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Which [[core]], when there are several
    #[arg(long, value_name = "NAME")]
    core: Option<String>,
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match carry_out(arguments.command) {
        Ok(code) => code,
        Err(fault) => {
            complain(&format!("{fault:#}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(arguments) => {
            logging::start("info", LogFormat::Text)?;
            let options = demo::DemoOptions {
                listen: arguments.listen,
                key: arguments.key,
                generated: arguments.components.zip(arguments.controls_per),
                data: arguments.data,
            };
            block_on(demo::run(options, print))?;
        }
        Command::Simcore(arguments) => {
            logging::start("info", LogFormat::Text)?;
            block_on(simcore::run(arguments.into()))?;
        }
        Command::Run(arguments) => {
            let Some(config) = arguments.checked() else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            logging::start(&config.log.level, config.log.format)?;
            let (inherited, data) = (Inherited::take()?, config.store.path.clone());
            block_on(app::run(config, inherited))
                .inspect_err(|fault| rescue::remember(&data, fault))?;
        }
        Command::Rescue(arguments) => {
            logging::start("info", LogFormat::Text)?;
            let inherited = Inherited::take()?;
            block_on(rescue::run(&arguments.config, arguments.data, inherited))?;
        }
        Command::Stdio(arguments) => return on_pipes(arguments),
        Command::Health(arguments) => return on_health(arguments),
        Command::Check { config: file } => {
            let Some(config) = checked(&file) else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            if let Err(fault) = certificate::check_dates(&config) {
                complain(&fault.to_string());
                return Ok(ExitCode::from(EXIT_CONFIG));
            }
            print(&format!(
                "{} is good: {} Q-SYS system(s), writing is {}.",
                file.display(),
                config.cores.len(),
                on_or_off(config.safety.writes)
            ));
        }
        Command::Certificate(arguments) => {
            let Some(config) = arguments.checked() else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            print(&certificate::describe(&config)?);
        }
        Command::PrintConfig => print(DEFAULT_TOML.trim_end()),
        Command::Key { data, command } => print(&match command {
            KeyCommand::New {
                name,
                role,
                expires,
                components,
                network,
            } => keys::new(
                &data,
                &NewKey {
                    expires,
                    components,
                    networks: network,
                    ..NewKey::new(&name, role)
                },
            )?,
            KeyCommand::Rotate { name, keep_days } => keys::rotate(&data, &name, keep_days)?,
            KeyCommand::List => keys::list(&data)?,
            KeyCommand::Revoke { name } => keys::revoke(&data, &name)?,
        }),
        Command::Token {
            data,
            command: TokenCommand::RotateSecret,
        } => print(&keys::rotate_secret(&data)?),
        Command::Audit { data, command } => return on_record(&data, &command),
        Command::Core {
            command: CoreCommand::Trust(arguments),
        } => {
            let Some(mut config) = checked(&arguments.run.config) else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            if let Some(data) = arguments.run.data {
                config.store.path = data;
            }
            let (core, fingerprint) = (&arguments.core, &arguments.fingerprint);
            let said = trust::trust(&config, core.as_deref(), fingerprint.as_deref());
            let said = block_on(said)?;
            print(&said);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `rackhand audit`
fn on_record(data: &Path, command: &AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify => {
            let report = audit::verify(data)?;
            print(&report.to_string());
            if !report.is_whole() {
                return Ok(ExitCode::FAILURE);
            }
        }
        AuditCommand::Export { since } => {
            audit::export(data, *since, std::io::stdout().lock())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `rackhand health`
fn on_health(arguments: HealthArguments) -> anyhow::Result<ExitCode> {
    let key = match &arguments.key_file {
        Some(file) => Some(stdio::key_in(file)?),
        None => stdio::key(&std::env::var(KEY_VARIABLE).unwrap_or_default()),
    };
    let options = stdio::BridgeOptions {
        url: arguments.url,
        key: key.filter(|_| arguments.detail),
        fingerprint: arguments.fingerprint,
        ca: arguments.ca,
    };
    let said = block_on(probe::ask(options, arguments.detail))?;
    print(&said.text);
    Ok(ExitCode::from(u8::from(!said.is_good)))
}

/// `rackhand stdio`: standard output belongs to the protocol from here on.
fn on_pipes(arguments: StdioArguments) -> anyhow::Result<ExitCode> {
    if let Some(url) = arguments.url {
        logging::start(arguments.log.as_deref().unwrap_or("warn"), LogFormat::Text)?;
        let key = match arguments.key_file {
            Some(file) => Some(stdio::key_in(&file)?),
            // An empty variable is none.
            None => arguments.key.filter(|key| !key.expose().is_empty()),
        };
        let options = stdio::BridgeOptions {
            url,
            key,
            fingerprint: arguments.fingerprint,
            ca: arguments.ca,
        };
        block_on(stdio::bridge(options))?;
    } else {
        let file = arguments.config.unwrap_or_default();
        let Some(mut config) = checked(&file) else {
            return Ok(ExitCode::from(EXIT_CONFIG));
        };
        if let Some(data) = arguments.data {
            config.store.path = data;
        }
        let level = arguments.log.as_deref().unwrap_or(&config.log.level);
        logging::start(level, config.log.format)?;
        block_on(stdio::serve(config, arguments.role))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration, or nothing after every fault of it was shown.
fn checked(file: &Path) -> Option<Config> {
    let (config, problems) = match app::read(file) {
        Ok(read) => read,
        Err(fault) => {
            let file = file.display();
            complain(&format!(
                "could not read {file} ({fault}): make one with `rackhand print-config` and name it with --config"
            ));
            return None;
        }
    };
    if problems.is_empty() {
        return Some(config);
    }
    let count = problems.as_slice().len();
    complain(&format!(
        "{} has {count} {}:\n{problems}",
        file.display(),
        if count == 1 { "fault" } else { "faults" }
    ));
    None
}

/// Runs to the end on a runtime of its own. A thread that hangs in the system, on a dead disk or on standard input, does not keep
/// the process.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

const fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

#[expect(
    clippy::print_stdout,
    reason = "what a person asked for goes to standard output, and the log does not"
)]
fn print(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "faults before and after logging go to standard error"
)]
fn complain(text: &str) {
    eprintln!("rackhand: {text}");
}
