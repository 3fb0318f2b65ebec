//! The cryptography under `jsonwebtoken`: ring, which TLS uses already. Signs HS256 alone; checks that and what identity providers use.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // Keys are taken apart in `key_set`, never by the crate.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has `jsonwebtoken` use ring, in the whole process. To be called before the first token is made or read.
pub(super) fn install() {
    // The second time it is there already.
    let _ = RING.install_default();
}

struct Hs256(hmac::Key);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        hmac::verify(&self.0, message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

enum Public {
    Raw(UnparsedPublicKey<Vec<u8>>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

struct Asymmetric {
    algorithm: Algorithm,
    key: Public,
}

impl Verifier<Vec<u8>> for Asymmetric {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        match &self.key {
            Public::Raw(key) => key.verify(message, signature),
            Public::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        }
        .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Asymmetric {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the crate has it so")]
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    match algorithm {
        Algorithm::HS256 if key.family() == algorithm.family() => Ok(Box::new(Hs256(
            hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
        ))),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the crate has it so")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    // A key of one kind never checks a signature of another: that is the door of every confusion of algorithms.
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let raw: &'static dyn VerificationAlgorithm = match (algorithm, key.kind()) {
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            return Ok(Box::new(Hs256(key)));
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            let (n, e) = (n.clone(), e.clone());
            return Ok(Box::new(Asymmetric {
                algorithm: *algorithm,
                key: Public::Rsa(RsaPublicKeyComponents { n, e }),
            }));
        }
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(_)) => &ECDSA_P256_SHA256_FIXED,
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(_)) => &ED25519,
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(Asymmetric {
        algorithm: *algorithm,
        key: Public::Raw(UnparsedPublicKey::new(
            raw,
            key.try_get_as_bytes()?.to_vec(),
        )),
    }))
}
