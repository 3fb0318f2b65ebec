//! `rackhand demo`: the whole product against a simulated Core, with one command and nothing to set up.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Start, clients, endpoint, serve, stop_on_signals};
use crate::base::file;
use crate::base::secret::Secret;
use crate::base::shutdown::Stop;
use crate::config::Config;
use crate::guard::keyfile::NewKey;
use crate::guard::{Guard, KeySource, Role, key};
use crate::link::NetDial;
use crate::sim::listen::{Addresses, Identity, ListenError, Listening};
use crate::sim::{self, SimCore, design};

/// Named controls of the sample design, as they stand in the configuration.
const NAMED_CONTROLS: &str = r#""MainGain", "MainMute", "FoyerGain""#;

/// What a person may choose.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Where to serve.
    pub listen: SocketAddr,
    /// A key of the person's own; one is made otherwise.
    pub key: Option<Secret>,
    /// Components and controls of each, of a generated design; the sample design otherwise.
    pub generated: Option<(u32, u32)>,
    /// Where to keep what is learnt; a temporary folder otherwise.
    pub data: Option<PathBuf>,
}

/// Runs the demo until a signal. `print` gets what the person must see.
///
/// # Errors
///
/// The address is taken, or a part ended unasked.
pub async fn run(options: DemoOptions, print: impl FnOnce(&str)) -> anyhow::Result<()> {
    let folder = Folder::new(options.data.as_deref())?;
    let stop = Stop::new();
    let stop_core = Stop::new();
    let mut simulated = JoinSet::new();
    let core = simulated_core(options.generated)
        .await
        .context("could not start the simulated Core")?;
    let core_address = core
        .addresses()
        .websocket
        .context("the simulated Core has no address")?;
    simulated.spawn(core.serve(stop_core.clone()));

    let key = match options.key {
        Some(key) => key,
        None => key::generate()?,
    };
    let person = NewKey::new("demo", Role::Admin);
    let guard = Guard::new(KeySource::memory(&[(person, key.clone())]))?;
    let listener = TcpListener::bind(options.listen).await.with_context(|| {
        format!(
            "could not listen on {}: choose another with --listen",
            options.listen
        )
    })?;
    print(&welcome(listener.local_addr()?, &key));

    let named = if options.generated.is_none() {
        NAMED_CONTROLS
    } else {
        ""
    };
    let config = configuration(core_address, &folder.path, named)?;
    let start = Start {
        config,
        guard,
        listener,
        secure: None,
        dial: Arc::new(NetDial),
    };
    let served = stop_on_signals(Box::pin(serve(start, stop.clone())), stop).await;
    stop_core.cancel();
    simulated.join_all().await;
    served
}

/// A simulated Core on a free port of this machine, as a real one would be reached.
async fn simulated_core(generated: Option<(u32, u32)>) -> Result<Listening, ListenError> {
    let design = generated.map_or_else(design::venue, |(components, controls_per)| {
        design::generated(components, controls_per)
    });
    let core = SimCore::new(design, sim::Options::default());
    let addresses = Addresses {
        websocket: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..Addresses::default()
    };
    Listening::bind(&core, &addresses, Identity::self_signed()?).await
}

/// The configuration that a person would write for this Core, with writing on.
fn configuration(core: SocketAddr, data: &Path, named_controls: &str) -> anyhow::Result<Config> {
    let file = format!(
        "[[core]]\nname = \"demo\"\naddress = \"{core}\"\ntransport = \"ws\"\nnamed-controls = [{named_controls}]\n[safety]\nwrites = true\n[store]\npath = {:?}\n",
        data.display().to_string()
    );
    Config::load(&file, &BTreeMap::new()).context("the demo's configuration")
}

fn welcome(address: SocketAddr, key: &Secret) -> String {
    let url = endpoint("http", address);
    format!(
        "rackhand demo: a simulated Q-SYS Core, the service, and a key for your AI client.\n\n\
         MCP endpoint   {url}\n\
         Key            {key}\n\
         Writing is on, for nothing here is loud. Ctrl-C stops it.\n\n\
         {}\n\
         Then ask: \"What is this system, and is anything wrong with it?\"\n",
        clients::configurations(&url, key.expose(), None),
        key = key.expose(),
    )
}

/// The data folder: the person's own, or a temporary one that goes with the demo.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    fn new(chosen: Option<&Path>) -> anyhow::Result<Self> {
        let is_temporary = chosen.is_none();
        let path = match chosen {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("rackhand-demo-{:016x}", getrandom::u64()?)),
        };
        file::make_private_folder(&path)
            .with_context(|| format!("could not make the folder {}", path.display()))?;
        Ok(Self { path, is_temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(fault) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(
                "The temporary folder {} is left behind: {fault}",
                self.path.display()
            );
        }
    }
}
