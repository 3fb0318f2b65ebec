//! Whether a certificate is the Core's: pinned at first sight, signed by a site's authority, or not asked at all.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
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
