//! The certificate that clients see: one that the site brings along, or one that the box's own authority signs. It is looked at again
//! and again while the box runs, so that neither a renewed file nor a new address needs a restart.
//!
//! What is served with it is not decided here.

mod authority;
mod der;
mod fault;
mod names;
mod pem;
mod site;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};

pub use fault::TlsFault;
pub use names::is_host_name;

use self::authority::{Authority, CLOCK_IS_SET_FROM};
use crate::base::clock::UnixMillis;
use crate::base::shutdown::Stop;
use crate::base::text::hex;
use crate::limits::TLS_SESSIONS_MAX;

/// How often files, names and addresses are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// SHA-256 of a certificate, lower-case hex.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(certificate)).collect()
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files of the site.
    Site {
        /// PEM: the box's certificate and those above it.
        certificate: PathBuf,
        /// PEM: its private key.
        key: PathBuf,
    },
    /// The box's own authority.
    Own {
        /// The data folder.
        data: PathBuf,
        /// Names and addresses beside those that the machine knows of itself.
        names: Vec<String>,
    },
}

/// A certificate with all that belongs to it.
#[derive(Debug)]
struct Material {
    /// The leaf first.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The box's own authority, where it is the signer.
    authority: Option<CertificateDer<'static>>,
}

/// What a person is told of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Names and addresses that clients may use.
    pub names: Vec<String>,
    /// Begin of its validity.
    pub not_before: UnixMillis,
    /// End of its validity.
    pub not_after: UnixMillis,
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    /// SHA-256 of the box's own authority, where it is the signer.
    pub authority: Option<String>,
}

impl Facts {
    /// What is wrong with the dates. A clock that is not set says nothing.
    ///
    /// # Errors
    ///
    /// Clients refuse the certificate at this time.
    pub fn check_dates(&self, now: UnixMillis) -> Result<(), TlsFault> {
        if now >= CLOCK_IS_SET_FROM && now > self.not_after {
            return Err(TlsFault::Expired {
                since: self.not_after,
            });
        }
        if now >= CLOCK_IS_SET_FROM && now < self.not_before {
            return Err(TlsFault::NotYet {
                from: self.not_before,
            });
        }
        Ok(())
    }
}

impl Source {
    /// What there is, without making anything.
    ///
    /// # Errors
    ///
    /// Nothing is there yet, or it cannot be used.
    pub fn facts(&self) -> Result<Facts, TlsFault> {
        let material = match self {
            Self::Site { certificate, key } => site::load(certificate, key)?,
            Self::Own { data, .. } => Authority::in_folder(data).read()?,
        };
        Ok(self.shown(material)?.facts)
    }

    /// The files behind it.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Site { certificate, key } => vec![certificate.clone(), key.clone()],
            Self::Own { data, .. } => vec![Authority::in_folder(data).path().to_owned()],
        }
    }

    fn current(&self, must_be_kept: bool) -> Result<Shown, TlsFault> {
        let material = match self {
            Self::Site { certificate, key } => site::load(certificate, key)?,
            Self::Own { data, names } => {
                let names = names::of_this_machine(names);
                Authority::in_folder(data).current(&names, UnixMillis::now(), must_be_kept)?
            }
        };
        self.shown(material)
    }

    fn shown(&self, material: Material) -> Result<Shown, TlsFault> {
        let Material {
            chain,
            key,
            authority,
        } = material;
        let (certificate_file, key_file) = match self {
            Self::Site { certificate, key } => (certificate.clone(), key.clone()),
            Self::Own { data, .. } => {
                let path = Authority::in_folder(data).path().to_owned();
                (path.clone(), path)
            }
        };
        let reading = chain.first().and_then(|leaf| der::read(leaf));
        let (Some(reading), Some(leaf)) = (reading, chain.first()) else {
            return Err(TlsFault::NoCertificate {
                path: certificate_file,
            });
        };
        let facts = Facts {
            names: reading.names,
            not_before: reading.not_before,
            not_after: reading.not_after,
            fingerprint: fingerprint(leaf),
            authority: authority.as_ref().map(fingerprint),
        };
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let certified = certified.map_err(|fault| match fault {
            rustls::Error::InconsistentKeys(_) => TlsFault::OtherKey {
                key: key_file,
                certificate: certificate_file,
            },
            rustls::Error::InvalidCertificate(_) => TlsFault::NoCertificate {
                path: certificate_file,
            },
            _ => TlsFault::Unsupported { path: key_file },
        })?;
        Ok(Shown {
            certified: Arc::new(certified),
            facts,
            authority,
        })
    }
}

/// What is shown at this moment.
#[derive(Debug, Clone)]
struct Shown {
    certified: Arc<CertifiedKey>,
    facts: Facts,
    authority: Option<CertificateDer<'static>>,
}

/// The certificate that clients see, kept up to date.
#[derive(Debug)]
pub struct Certificates {
    source: Source,
    shown: RwLock<Shown>,
    /// The fault that was logged last, so that it is not logged every few seconds.
    logged: Mutex<Option<String>>,
}

impl Certificates {
    /// Reads the certificate, or makes one.
    ///
    /// # Errors
    ///
    /// There is none that could be shown.
    pub fn open(source: Source) -> Result<Arc<Self>, TlsFault> {
        let shown = source.current(false)?;
        let certificates = Self {
            source,
            shown: RwLock::new(shown),
            logged: Mutex::default(),
        };
        certificates.tell("The certificate that clients see");
        Ok(Arc::new(certificates))
    }

    /// What clients see now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.shown.read().facts.clone()
    }

    /// The box's own authority as PEM; `None` where the site brings the certificate.
    #[must_use]
    pub fn authority_pem(&self) -> Option<String> {
        let shown = self.shown.read();
        shown.authority.as_ref().map(|made| pem::certificate(made))
    }

    /// How a server speaks TLS with this certificate, whichever it is at that moment. `protocols` are offered to clients, the best
    /// first (ALPN).
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn server_config(
        self: &Arc<Self>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
        Ok(Arc::new(config))
    }

    /// Looks at files, names and addresses until `stop`, and shows another certificate as soon as there is one.
    pub async fn keep(self: Arc<Self>, stop: Stop) -> &'static str {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return "certificate",
                _ = tick.tick() => {}
            }
            let this = Arc::clone(&self);
            // A dying card can hold a look for seconds, and no runtime worker should wait for it.
            if let Err(fault) = tokio::task::spawn_blocking(move || this.look()).await
                && let Ok(panic) = fault.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Looks once. What cannot be used changes nothing: the certificate from before is shown on.
    pub fn look(&self) {
        let fault = match self.source.current(true) {
            Ok(shown) => {
                let is_new = {
                    let before = self.shown.read();
                    // Those above it may be others while it is the same: the first try often lacks them.
                    shown.facts != before.facts || shown.certified.cert != before.certified.cert
                };
                if is_new {
                    *self.shown.write() = shown;
                    self.tell("A new certificate is shown from now on; it");
                }
                let dates = self.facts().check_dates(UnixMillis::now());
                dates.err()
            }
            Err(fault) => Some(fault),
        };
        let fault = fault.as_ref().map(with_cause);
        let mut logged = self.logged.lock();
        if fault != *logged {
            if let Some(fault) = &fault {
                tracing::error!(
                    "The certificate needs a person: {fault}. What was shown before is shown on."
                );
            } else {
                tracing::info!("The certificate is as it should be again.");
            }
            *logged = fault;
        }
    }

    fn tell(&self, what: &str) {
        let facts = self.facts();
        let signer = facts.authority.as_ref().map_or_else(
            || "is the site's".to_owned(),
            |authority| {
                format!("is signed by the box's own authority (SHA-256 {authority}, at /ca.pem)")
            },
        );
        tracing::info!(
            "{what} {signer}, has SHA-256 {}, is for {} and ends on {}.",
            facts.fingerprint,
            facts.names.join(", "),
            facts.not_after.to_iso()
        );
    }
}

/// A fault and what caused it, on one line.
fn with_cause(fault: &TlsFault) -> String {
    let cause = std::error::Error::source(fault);
    cause.map_or_else(|| fault.to_string(), |cause| format!("{fault}: {cause}"))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().certified))
    }
}

#[cfg(test)]
mod tests;
