//! The program: arguments, configuration, logging, runtime, exit code; nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use rackhand::app::{self, demo, keys, simcore, trust};
use rackhand::config::{Config, DEFAULT_TOML, ENVIRONMENT_PREFIX};
use rackhand::telemetry::logging;

/// The configuration cannot be used (`EX_CONFIG` of sysexits.h): restarting does not help.
const EXIT_CONFIG: u8 = 78;

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
    /// Use this key instead of making one
    #[arg(long)]
    key: Option<String>,
    /// Generate a design with this many components instead of the sample design
    #[arg(long, value_name = "N", requires = "controls_per")]
    components: Option<usize>,
    /// Controls of each generated component
    #[arg(long, value_name = "M", requires = "components")]
    controls_per: Option<usize>,
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
    #[arg(long, value_name = "N", requires = "controls_per")]
    components: Option<usize>,
    /// Controls of each generated component
    #[arg(long, value_name = "M", requires = "components")]
    controls_per: Option<usize>,
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

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key and print it, this once
    New {
        /// What it is for, such as "FOH laptop"
        #[arg(long)]
        name: String,
        /// guest, viewer, operator, engineer or admin
        #[arg(long, default_value = "viewer")]
        role: String,
    },
    /// List keys by name, role and prefix
    List,
    /// Revoke a key by its name
    Revoke {
        /// The key's name
        #[arg(long)]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum CoreCommand {
    /// Accept a Core's certificate after it changed
    Trust {
        /// The configuration file
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/rackhand/rackhand.toml"
        )]
        config: PathBuf,
        /// The folder with the pinned certificates, whatever the configuration says
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Accept only this SHA-256 fingerprint; without it the one that the Core shows now is printed and accepted
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<String>,
        /// Which [[core]], when there are several
        #[arg(long, value_name = "NAME")]
        core: Option<String>,
    },
}
