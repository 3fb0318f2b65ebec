//! The program: arguments, configuration, logging, runtime, exit code; nothing else.

#[path = "main/arguments.rs"]
mod arguments;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use rackhand::app::systemd::Inherited;
use rackhand::app::{
    self, KEY_VARIABLE, Next, archive, audit, certificate, demo, doctor, keys, probe, provision,
    rescue, setup, simcore, stdio, trust,
};
use rackhand::config::{Config, DEFAULT_TOML, LogFormat};
use rackhand::guard::NewKey;
use rackhand::link::{Dial, NetDial};
use rackhand::telemetry::logging;

use arguments::{
    Arguments, AuditCommand, BackupArguments, Command, CoreCommand, HealthArguments, KeyCommand,
    Places, ProvisionArguments, RunArguments, SetupArguments, StdioArguments, TokenCommand,
};

/// The configuration cannot be used (`EX_CONFIG` of sysexits.h): restarting does not help.
const EXIT_CONFIG: u8 = 78;

impl RunArguments {
    /// The configuration, or nothing after every fault of it was shown.
    fn checked(&self) -> Option<Config> {
        checked(&self.config, self.data.as_deref())
    }
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
            return on_run(&arguments);
        }
        Command::Rescue(arguments) => {
            logging::start("info", LogFormat::Text)?;
            let inherited = Inherited::take()?;
            block_on(rescue::run(&arguments.config, arguments.data, inherited))?;
        }
        Command::Stdio(arguments) => return on_pipes(arguments),
        Command::Health(arguments) => return on_health(arguments),
        Command::Check { config: file } => {
            let Some(config) = checked(&file, None) else {
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
        Command::Setup(arguments) => return on_setup(arguments),
        Command::Provision(arguments) => return on_provision(&arguments),
        Command::OnBoot(arguments) => {
            let Places { data, system } = &arguments.places;
            print(provision::on_boot::run(&arguments.boot, data, system)?.trim_end());
        }
        Command::Doctor(arguments) => return on_doctor(&arguments),
        Command::Backup(arguments) => {
            print(&archive::backup(&arguments.data, &arguments.archive)?);
        }
        Command::Restore(arguments) => {
            let BackupArguments { archive, data } = &arguments.backup;
            print(&archive::restore(data, archive, arguments.replace)?);
        }
        Command::Support(arguments) => {
            let RunArguments { config, data } = &arguments.run;
            let read = app::read_for_setup(config, data.as_deref())?;
            let dial: Arc<dyn Dial> = Arc::new(NetDial);
            let packed = archive::support(&read, config, &dial, &arguments.archive);
            print(&block_on(packed)?);
        }
        Command::ClaimCode(arguments) => {
            let Some(config) = arguments.checked() else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            print(&setup::claim_code(&config)?);
        }
        Command::Certificate(arguments) => {
            let Some(config) = arguments.checked() else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            print(&certificate::describe(&config)?);
        }
        Command::PrintConfig => print(DEFAULT_TOML.trim_end()),
        Command::Key { data, command } => print(&on_key(&data, command)?),
        Command::Token {
            data,
            command: TokenCommand::RotateSecret,
        } => print(&keys::rotate_secret(&data)?),
        Command::Audit { data, command } => return on_record(&data, &command),
        Command::Core {
            command: CoreCommand::Trust(arguments),
        } => {
            let Some(config) = arguments.run.checked() else {
                return Ok(ExitCode::from(EXIT_CONFIG));
            };
            let (core, fingerprint) = (&arguments.core, &arguments.fingerprint);
            let said = trust::trust(&config, core.as_deref(), fingerprint.as_deref());
            let said = block_on(said)?;
            print(&said);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `rackhand run`: begins anew with the configuration read again whenever the box was told something.
fn on_run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let Some(mut config) = arguments.checked() else {
        return Ok(ExitCode::from(EXIT_CONFIG));
    };
    logging::start(&config.log.level, config.log.format)?;
    let mut inherited = Inherited::take()?;
    loop {
        let data = config.store.path.clone();
        let next = block_on(app::run(config, &mut inherited))
            .inspect_err(|fault| rescue::remember(&data, fault))?;
        if next == Next::Over {
            return Ok(ExitCode::SUCCESS);
        }
        let Some(read) = arguments.checked() else {
            return Ok(ExitCode::from(EXIT_CONFIG));
        };
        config = read;
    }
}

/// `rackhand setup`: works without a configuration file, and with one that names no Core yet.
fn on_setup(arguments: SetupArguments) -> anyhow::Result<ExitCode> {
    let RunArguments { config, data } = arguments.run;
    let config = app::read_for_setup(&config, data.as_deref())?;
    let said = setup::terminal::Said {
        core: arguments.core,
        yes: arguments.yes,
    };
    let (dial, input) = (Arc::new(NetDial), std::io::stdin().lock());
    block_on(setup::terminal::run(&config, said, dial, input, print))?;
    Ok(ExitCode::SUCCESS)
}

/// `rackhand provision`
fn on_provision(arguments: &ProvisionArguments) -> anyhow::Result<ExitCode> {
    let Places { data, system } = &arguments.places;
    let (told, is_good) = provision::dry_run(&arguments.files, data)?;
    print(&told);
    if !is_good {
        return Ok(ExitCode::from(EXIT_CONFIG));
    }
    if !arguments.dry_run {
        let [file] = arguments.files.as_slice() else {
            anyhow::bail!("this box is made of one file; several are checked with --dry-run");
        };
        provision::make(file, data, system)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `rackhand doctor`
fn on_doctor(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let Some(config) = arguments.checked() else {
        return Ok(ExitCode::from(EXIT_CONFIG));
    };
    let dial: Arc<dyn Dial> = Arc::new(NetDial);
    let report = block_on(async { Ok(doctor::examine(&config, &dial).await) })?;
    print(report.to_string().trim_end());
    Ok(ExitCode::from(u8::from(!report.is_good())))
}

/// `rackhand key`
fn on_key(data: &Path, command: KeyCommand) -> anyhow::Result<String> {
    match command {
        KeyCommand::New {
            name,
            role,
            expires,
            components,
            network,
        } => keys::new(
            data,
            &NewKey {
                expires,
                components,
                networks: network,
                ..NewKey::new(&name, role)
            },
        ),
        KeyCommand::Rotate { name, keep_days } => keys::rotate(data, &name, keep_days),
        KeyCommand::List => keys::list(data),
        KeyCommand::Revoke { name } => keys::revoke(data, &name),
    }
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
        let Some(config) = checked(&file, arguments.data.as_deref()) else {
            return Ok(ExitCode::from(EXIT_CONFIG));
        };
        let level = arguments.log.as_deref().unwrap_or(&config.log.level);
        logging::start(level, config.log.format)?;
        block_on(stdio::serve(config, arguments.role))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration, or nothing after every fault of it was shown.
fn checked(file: &Path, data: Option<&Path>) -> Option<Config> {
    let (config, problems) = match app::read(file, data) {
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
