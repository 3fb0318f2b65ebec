//! Whether a certificate is the Core's: pinned at first sight, signed by a site's authority, or not asked at all.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::config::TlsTrust;
pub use super::dial::shown_by;
use super::error::ConnectError;
pub use crate::tls::fingerprint;

/// Remembers which certificate a Core showed. The program keeps it beside its keys, so that losing the store of values loses no trust.
pub trait FingerprintStore: fmt::Debug + Send + Sync {
    /// The SHA-256, in lower-case hex, that is pinned for a Core's address, if one is. While a link waits for a person, it asks every few
    /// seconds, so that another process may decide too.
    fn pinned(&self, address: &str) -> Option<String>;

    /// Pins another one.
    ///
    /// # Errors
    ///
    /// It could not be kept. The link then goes on with the certificate, and sees it for the first time again at the next start.
    fn pin(&self, address: &str, fingerprint: &str) -> io::Result<()>;
}

/// A store that forgets at the end of the process: for tests and the demo.
#[derive(Debug, Default)]
pub struct MemoryFingerprints(Mutex<Vec<(String, String)>>);

impl FingerprintStore for MemoryFingerprints {
    fn pinned(&self, address: &str) -> Option<String> {
        let pins = self.0.lock();
        let found = pins.iter().find(|(pinned, _)| pinned == address);
        found.map(|(_, fingerprint)| fingerprint.clone())
    }

    fn pin(&self, address: &str, fingerprint: &str) -> io::Result<()> {
        let mut pins = self.0.lock();
        pins.retain(|(pinned, _)| pinned != address);
        pins.push((address.to_owned(), fingerprint.to_owned()));
        Ok(())
    }
}

/// The TLS configuration for one attempt.
///
/// With a pin, any certificate passes the handshake, which still proves that the peer owns it; [`check`] compares it before the
/// first byte of QRC is sent.
pub(super) fn client_config(trust: &TlsTrust) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|fault| ConnectError::Tls(fault.to_string()))?;
    let mut config = match trust {
        TlsTrust::CaFile(path) => builder
            .with_root_certificates(authorities(path)?)
            .with_no_client_auth(),
        TlsTrust::Pin(_) | TlsTrust::Insecure => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Read at each attempt, so that a replaced file counts without a restart; it is a few kilobytes.
fn authorities(path: &Path) -> Result<RootCertStore, ConnectError> {
    let fault = |fault: &dyn fmt::Display| ConnectError::CaFile {
        path: path.to_owned(),
        fault: fault.to_string(),
    };
    let text = std::fs::read(path).map_err(|error| fault(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| fault(&error))?;
        roots.add(certificate).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() {
        return Err(fault(&"there is no certificate in it"));
    }
    Ok(roots)
}

/// Compares what the Core showed with what is pinned. Gives the fingerprint if it is seen for the first time.
pub(super) fn check(
    trust: &TlsTrust,
    address: &str,
    shown: Option<&CertificateDer<'_>>,
) -> Result<Option<String>, ConnectError> {
    let TlsTrust::Pin(store) = trust else {
        return Ok(None);
    };
    match store.pinned(address) {
        Some(pinned) => check_one(&pinned, shown).map(|()| None),
        None => fingerprint_of(shown).map(Some),
    }
}

/// Compares what a peer showed, its own certificate first, with one fingerprint: of that certificate, or of an authority that came along
/// and really signed it.
pub(super) fn check_chain(pinned: &str, shown: &[CertificateDer<'_>]) -> Result<(), ConnectError> {
    let own = shown.first();
    let Err(fault) = check_one(pinned, own) else {
        return Ok(());
    };
    let is_pinned = |other: &&CertificateDer<'_>| fingerprint(other).eq_ignore_ascii_case(pinned);
    let (Some(own), Some(authority)) = (own, shown.iter().skip(1).find(is_pinned)) else {
        return Err(fault);
    };
    let unsigned = |why: rustls::Error| ConnectError::Certificate(why.to_string());
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.clone().into_owned())
        .map_err(unsigned)?;
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(own).map_err(unsigned)?,
        &roots,
        shown.get(1..).unwrap_or_default(),
        UnixTime::now(),
        ring::default_provider()
            .signature_verification_algorithms
            .all,
    )
    .map_err(unsigned)
}

/// Compares what a peer showed with one fingerprint.
pub(super) fn check_one(
    pinned: &str,
    shown: Option<&CertificateDer<'_>>,
) -> Result<(), ConnectError> {
    let shown = fingerprint_of(shown)?;
    if pinned.eq_ignore_ascii_case(&shown) {
        Ok(())
    } else {
        Err(ConnectError::Untrusted { fingerprint: shown })
    }
}

fn fingerprint_of(shown: Option<&CertificateDer<'_>>) -> Result<String, ConnectError> {
    shown
        .map(fingerprint)
        .ok_or_else(|| ConnectError::Tls("the Core shows no certificate".into()))
}

/// Accepts any certificate, but no peer that cannot prove to own it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_authority_vouches_for_what_it_signed_and_for_nothing_that_only_brings_it_along() {
        let authority = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
            rcgen::CertifiedIssuer::self_signed(params, key).unwrap()
        };
        let (ours, theirs) = (authority(), authority());
        let leaf = |signer: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>| {
            let params = rcgen::CertificateParams::new(vec!["rack.local".to_owned()]).unwrap();
            let key = rcgen::KeyPair::generate().unwrap();
            params.signed_by(&key, signer).unwrap().der().clone()
        };
        let (genuine, forged) = (leaf(&ours), leaf(&theirs));
        let pin = fingerprint(ours.der());
        let shown = [genuine.clone(), ours.der().clone()];
        assert_eq!(check_chain(&pin, &shown), Ok(()));
        assert_eq!(check_chain(&fingerprint(&genuine), &shown), Ok(()));
        assert!(matches!(
            check_chain(&pin, &[forged.clone(), ours.der().clone()]),
            Err(ConnectError::Certificate(_))
        ));
        assert_eq!(
            check_chain(&pin, &[forged.clone(), theirs.der().clone()]),
            Err(ConnectError::Untrusted {
                fingerprint: fingerprint(&forged)
            })
        );
        assert!(check_chain(&pin, &[]).is_err());
    }

    #[test]
    fn the_first_certificate_is_news_the_same_one_is_fine_and_another_one_is_refused() {
        let store = Arc::new(MemoryFingerprints::default());
        let trust = TlsTrust::Pin(store.clone());
        let first = CertificateDer::from(vec![1]);
        let news = check(&trust, "core", Some(&first)).unwrap().unwrap();
        assert_eq!(news.len(), 64);
        store.pin("core", &news).unwrap();
        assert_eq!(check(&trust, "core", Some(&first)), Ok(None));
        let other = CertificateDer::from(vec![2]);
        let refused = check(&trust, "core", Some(&other)).unwrap_err();
        assert_eq!(
            refused,
            ConnectError::Untrusted {
                fingerprint: fingerprint(&other)
            }
        );
        assert!(check(&trust, "core", None).is_err());
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = client_config(&TlsTrust::CaFile(file.path().to_owned())).unwrap_err();
        assert!(
            fault.to_string().contains("no certificate in it"),
            "{fault}"
        );
        let missing = client_config(&TlsTrust::CaFile("/nowhere/ca.pem".into())).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    }
}
