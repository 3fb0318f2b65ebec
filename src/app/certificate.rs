//! `rackhand certificate`: what clients see of the box, and what is wrong with it.

use crate::base::clock::UnixMillis;
use crate::config::{Config, Problems, TlsConfig};
use crate::tls::{Facts, Source, TlsFault};

/// Where the certificate of a configuration comes from.
pub(super) fn source(config: &Config, tls: &TlsConfig) -> Source {
    match &tls.files {
        Some((certificate, key)) => Source::Site {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        None => Source::Own {
            data: config.store.path.clone(),
            names: config.listen.names.clone(),
        },
    }
}

/// Notes what is wrong with the files of the site. A certificate that has ended is none of it: the box serves on, and says so.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let Some(tls) = config.listen.tls.as_ref().filter(|tls| tls.files.is_some()) else {
        return;
    };
    if let Err(fault) = source(config, tls).facts() {
        let key = match &fault {
            TlsFault::NoCertificate { .. } => "certificate-file",
            TlsFault::Read { path, .. }
                if tls.files.as_ref().is_some_and(|(file, _)| file == path) =>
            {
                "certificate-file"
            }
            _ => "key-file",
        };
        let message = format!("{:#}", anyhow::Error::from(fault));
        problems.note(format!("listen.tls.{key}"), message);
    }
}

/// Whether clients refuse the certificate because of its dates.
///
/// # Errors
///
/// They do, at this moment.
pub fn check_dates(config: &Config) -> Result<(), TlsFault> {
    let Some(tls) = &config.listen.tls else {
        return Ok(());
    };
    match source(config, tls).facts() {
        Ok(facts) => facts.check_dates(UnixMillis::now()),
        // The box makes one when it starts, or the fault was told before.
        Err(_) => Ok(()),
    }
}

/// The fingerprint of the box's own authority, where it signs its certificate itself and has begun to.
pub(super) fn authority(config: &Config) -> Option<String> {
    let tls = config.listen.tls.as_ref()?;
    source(config, tls).facts().ok()?.authority
}

/// What to print of the certificate of a configuration.
///
/// # Errors
///
/// There is none.
pub fn describe(config: &Config) -> anyhow::Result<String> {
    let Some(tls) = &config.listen.tls else {
        anyhow::bail!("this configuration serves no TLS: `address` in [listen.tls] is empty");
    };
    let source = source(config, tls);
    let facts = source.facts()?;
    let dates = facts.check_dates(UnixMillis::now());
    let Facts {
        names,
        not_before,
        not_after,
        fingerprint,
        authority,
    } = facts;
    let files: Vec<_> = source
        .files()
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let mut lines = vec![
        format!("Files        {}", files.join(", ")),
        format!("Names        {}", names.join(", ")),
        format!(
            "Valid        {} to {}",
            not_before.to_iso(),
            not_after.to_iso()
        ),
        format!("Certificate  sha256:{fingerprint}"),
    ];
    lines.push(match authority {
        Some(authority) => format!(
            "Authority    sha256:{authority}\n\nClients get the authority at https://BOX:{port}/ca.pem. It stays when the certificate is renewed, so pin this one:\n  rackhand stdio --url https://BOX:{port} --fingerprint sha256:{authority}",
            port = tls.address.port()
        ),
        None => "Authority    the site's".to_owned(),
    });
    if let Err(fault) = dates {
        lines.push(format!("\nAttention: {fault}"));
    }
    Ok(lines.join("\n"))
}
