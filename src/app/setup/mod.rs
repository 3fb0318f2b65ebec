//! The first start: a box that is claimed with the code it shows, then told its Core, then gives out keys. The page ([`crate::http`]) and
//! `rackhand setup` on a terminal take the same steps.

pub mod core;
mod desk;
pub mod terminal;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use qrcode::QrCode;
use qrcode::render::unicode;

use super::certificate;
use crate::base::secret::Secret;
use crate::config::Config;
use crate::guard::claim::Claim;

pub(super) use self::core::site_text;
pub(super) use desk::{Again, Desk};

/// What the console of a box that can be claimed shows: where to go, the code, and how to know that the page is the box's.
fn console(config: &Config, code: &Secret) -> String {
    let url = claim_url(config);
    let mut text = format!(
        "\n  rackhand {}\n\n  This box is nobody's yet. Open  {url}\n  and type the claim code  {}\n\n",
        env!("CARGO_PKG_VERSION"),
        code.expose()
    );
    if let Some(authority) = certificate::authority(config) {
        // Writing to a string never fails.
        let _ = writeln!(text, "  Its certificate authority: sha256:{authority}\n");
    }
    if let Ok(picture) = QrCode::new(&url) {
        let picture = picture
            .render::<unicode::Dense1x2>()
            .quiet_zone(true)
            .build();
        for line in picture.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// Where a box is claimed, by the name that it has on the LAN.
fn claim_url(config: &Config) -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "localhost".to_owned());
    match &config.listen.tls {
        Some(tls) => format!("https://{host}.local:{}/claim", tls.address.port()),
        None => format!("http://{host}.local:{}/claim", config.listen.address.port()),
    }
}

/// Whether a box can be claimed at this moment: nobody ever did.
pub(super) fn is_unclaimed(data: &Path) -> anyhow::Result<bool> {
    Ok(Claim::open(data)?.code().is_some())
}

/// What `rackhand claim-code` prints.
///
/// # Errors
///
/// There is no code, because the box is claimed or was never started, or it cannot be read.
pub fn claim_code(config: &Config) -> anyhow::Result<String> {
    let claim = Claim::open(&config.store.path)?;
    let code = claim
        .code()
        .context("this box is claimed already: keys are made with `rackhand key new`")?;
    Ok(console(config, &code))
}
