//! `rackhand stdio`: MCP on standard input and output, for hosts that start a program and talk to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::{Running, stop_on_signals, trust};
use crate::base::file;
use crate::base::secret::Secret;
use crate::base::shutdown::Stop;
use crate::config::Config;
use crate::guard::{Caller, Guard, KeySource, Role};
use crate::limits::KEY_MAX_BYTES;
use crate::link::dial::PeerTrust;
use crate::link::{Dial, NetDial};
use crate::stdio::{Address, Bridge, Client};

/// The name of the host's person in the log and in what is recorded of writes.
const CALLER: &str = "stdio";

/// To which box a bridge goes, and with what.
#[derive(Debug, Clone)]
pub struct BridgeOptions {
    /// The box.
    pub url: Address,
    /// The key; without one the box says what it thinks of that.
    pub key: Option<Secret>,
    /// For `https`: the SHA-256 of the box's certificate or of the authority that signed it, as a person copied it.
    pub fingerprint: Option<String>,
    /// For `https`: the file with the authority that signed the box's certificate.
    pub ca: Option<PathBuf>,
}

impl BridgeOptions {
    /// The way to the box.
    ///
    /// # Errors
    ///
    /// The options contradict each other.
    pub(super) fn client(self) -> anyhow::Result<Client> {
        let trust = match (&self.fingerprint, self.ca) {
            (Some(text), _) => trust::normal(text)?.into(),
            (None, Some(file)) => PeerTrust::Authority(file),
            (None, None) if self.url.is_secure() => anyhow::bail!(
                "https needs --fingerprint or --ca, for no public authority signs for a box: `rackhand certificate` on the box prints the fingerprint"
            ),
            (None, None) => String::new().into(),
        };
        let dial = Arc::new(NetDial);
        Ok(Client::new(dial, self.url, self.key.as_ref(), trust))
    }
}

/// Carries messages between this process's standard input and output and a box, until the input ends or a signal comes.
///
/// # Errors
///
/// The options contradict each other.
pub async fn bridge(options: BridgeOptions) -> anyhow::Result<()> {
    let client = options.client()?;
    let stop = Stop::new();
    let running = async {
        let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
        Bridge::new(client).run(input, output, stop.clone()).await;
        Ok(())
    };
    Box::pin(stop_on_signals(running, stop.clone())).await
}

/// Serves the host that started this process, and nobody else, with the Cores of a configuration. It may do what `role` may.
///
/// # Errors
///
/// A part cannot be built, or one ended unasked.
pub async fn serve(config: Config, role: Role) -> anyhow::Result<()> {
    let data = &config.store.path;
    file::make_private_folder(data)
        .with_context(|| format!("could not make the folder {}", data.display()))?;
    let stop = Stop::new();
    let caller = Caller::local(CALLER, role);
    // Nobody comes in by a key.
    let guard = Guard::new(KeySource::memory(&[]))?;
    let dial: Arc<dyn Dial> = Arc::new(NetDial);
    let mut running = Running::begin(&config, guard, &dial, stop.clone())?;
    running.serve_pipes(caller, tokio::io::stdin(), tokio::io::stdout());
    Box::pin(stop_on_signals(running.until_stopped(), stop)).await
}

/// The key in a file, as `rackhand key new` prints it.
///
/// # Errors
///
/// The file cannot be read, or holds no key.
pub fn key_in(file: &Path) -> anyhow::Result<Secret> {
    let text =
        fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    key(text.trim()).with_context(|| {
        format!(
            "{} holds no key: a key is one word of at most {KEY_MAX_BYTES} letters, digits and signs",
            file.display()
        )
    })
}

/// A key as it can be sent; `None` for a text that is none.
#[must_use]
pub fn key(text: &str) -> Option<Secret> {
    let is_word = text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_word && (1..=KEY_MAX_BYTES).contains(&text.len())).then(|| Secret::new(text))
}
