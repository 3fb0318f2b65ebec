//! Why there is no certificate to show, in words for the person who installs the box: what is wrong and what to do.

use std::io;
use std::path::PathBuf;

use crate::base::clock::UnixMillis;

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file cannot be read.
    #[error("{} cannot be read: let the user of the service read it (chgrp, chmod 640), or correct the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No certificate is in the file.
    #[error("{} holds no certificate: it must be PEM text, the box's own certificate first and those above it behind", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No key is in the file.
    #[error("{} holds no private key: it must be PEM text with one PRIVATE KEY that no passphrase protects", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind that is not used here.
    #[error("the key in {} is of a kind that cannot be used: RSA from 2048 bits, ECDSA on P-256 or P-384 and Ed25519 can", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate are of different pairs.
    #[error("the key in {} does not belong to the first certificate in {}: name the two files that were made together", key.display(), certificate.display())]
    OtherKey {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// Every user of the machine can read the key.
    #[error("every user of this machine can read the key in {}: chmod 640 it, and get a new one if others were on the machine", path.display())]
    ReadableByAll {
        /// The file.
        path: PathBuf,
    },
    /// The certificate has ended.
    #[error("the certificate ended on {}: no client takes it; get a new one", since.to_iso())]
    Expired {
        /// When.
        since: UnixMillis,
    },
    /// The certificate has not begun.
    #[error("the certificate begins on {} only: no client takes it before; look at the clock of this machine, or get another one", from.to_iso())]
    NotYet {
        /// When.
        from: UnixMillis,
    },
    /// The file of the box's own authority was written by a newer version of this program.
    #[error("{} has format {found}, this program reads up to {}: update it", path.display(), super::authority::VERSION)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A certificate could not be made.
    #[error("no certificate can be made")]
    Make(#[from] rcgen::Error),
    /// There is nothing yet.
    #[error("there is no certificate yet: the box makes one when it first serves with TLS")]
    None,
}
