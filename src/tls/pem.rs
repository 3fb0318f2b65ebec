//! The text form of certificates (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A certificate as text.
pub(super) fn certificate(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        text.extend([line, "\n"]);
        rest = after;
    }
    if !rest.is_empty() {
        text.extend([rest, "\n"]);
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for length in [1, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..=255).cycle().take(length).collect();
            let text = certificate(&der);
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            assert_eq!(
                CertificateDer::from_pem_slice(text.as_bytes())
                    .unwrap()
                    .as_ref(),
                der
            );
        }
    }
}
