//! A certificate that the site brings along: two files that somebody else renews.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Material;
use super::fault::TlsFault;

/// Longest file that is read, bytes: a chain of a dozen certificates.
const FILE_MAX_BYTES: u64 = 64 << 10;

/// Whether every user of the machine may read a file.
const READABLE_BY_ALL: u32 = 0o004;

/// Reads both files.
pub(super) fn load(certificate: &Path, key: &Path) -> Result<Material, TlsFault> {
    let text = read(certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsFault::NoCertificate {
        path: certificate.to_owned(),
    })?;
    let text = read(key)?;
    let mode = fs::metadata(key).map_err(|source| fault(key, source))?;
    if mode.permissions().mode() & READABLE_BY_ALL != 0 {
        return Err(TlsFault::ReadableByAll {
            path: key.to_owned(),
        });
    }
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsFault::NoKey {
        path: key.to_owned(),
    })?;
    Ok(Material {
        chain,
        key: private,
        authority: None,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFault> {
    let length = fs::metadata(path)
        .map_err(|source| fault(path, source))?
        .len();
    if length > FILE_MAX_BYTES {
        return Err(TlsFault::NoCertificate {
            path: path.to_owned(),
        });
    }
    fs::read(path).map_err(|source| fault(path, source))
}

fn fault(path: &Path, source: std::io::Error) -> TlsFault {
    TlsFault::Read {
        path: path.to_owned(),
        source,
    }
}
