//! The box's own certificate authority: made once, kept in one small file beside the keys, and used to sign the certificate that the box
//! shows, again whenever its names change or its time runs out.
//!
//! A board without a clock chip begins in 1970 until somebody tells it the time, so nothing here trusts the clock: validity begins in
//! 1970, and a box that does not know the date makes a certificate that lasts as long as its authority.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::fault::TlsFault;
use super::names::Permitted;
use super::{Material, der};
use crate::base::clock::UnixMillis;
use crate::base::file;

/// Format of the file. A newer one is refused, not guessed at.
pub(super) const VERSION: u32 = 1;

/// Longest file that is read, bytes: several times the longest that is written.
const FILE_MAX_BYTES: u64 = 64 << 10;

/// No box runs this program before (2026-01-01): a clock that says so is not set.
pub(super) const CLOCK_IS_SET_FROM: UnixMillis = UnixMillis(1_767_225_600_000);

const DAY_MILLIS: u64 = 86_400_000;

/// For how long an authority is made. It is trusted by hand on each client, so it outlives the box.
const AUTHORITY_MILLIS: u64 = 20 * 365 * DAY_MILLIS;

/// For how long a certificate is made. A third before its end there is a new one.
const LEAF_MILLIS: u64 = 2 * 365 * DAY_MILLIS;

/// The authority of a data folder.
#[derive(Debug)]
pub(super) struct Authority {
    path: PathBuf,
}

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// The name under which clients list the authority.
    name: String,
    permitted: Permitted,
    /// PKCS #8, base64.
    key: String,
    /// DER, base64.
    certificate: String,
    leaf: Leaf,
}

#[derive(Serialize, Deserialize)]
struct Leaf {
    key: String,
    certificate: String,
}

/// What is read of any version.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

/// What the file holds.
enum Kept {
    Nothing,
    Damaged,
    Whole(Box<Contents>),
}

impl Authority {
    pub(super) fn in_folder(data: &Path) -> Self {
        Self {
            path: data.join("authority.json"),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the box shows now, without making anything.
    pub(super) fn read(&self) -> Result<Material, TlsFault> {
        match self.kept()? {
            Kept::Whole(contents) => material(&contents).ok_or(TlsFault::None),
            Kept::Nothing | Kept::Damaged => Err(TlsFault::None),
        }
    }

    /// What the box shows from now on: what is kept, with whatever is missing or due made anew. A file that is damaged is moved aside;
    /// the authority is then another one, which clients have to be told. Unless it `must_be_kept`, one that finds no room on the disk serves
    /// all the same.
    pub(super) fn current(
        &self,
        names: &[String],
        now: UnixMillis,
        must_be_kept: bool,
    ) -> Result<Material, TlsFault> {
        let mut contents = match self.kept()? {
            Kept::Whole(contents) => contents,
            Kept::Nothing => return self.begin(names, now, must_be_kept),
            Kept::Damaged => {
                let aside = self.path.with_extension("json.damaged");
                fs::rename(&self.path, &aside).map_err(|source| self.unwritten(source))?;
                tracing::error!(
                    "The box's own certificate authority is damaged and was moved to {}: there is a new one, which every client has to be given.",
                    aside.display()
                );
                return self.begin(names, now, must_be_kept);
            }
        };
        let (names, left_out): (Vec<String>, Vec<String>) = names
            .iter()
            .cloned()
            .partition(|name| contents.permitted.permits(name));
        let kept = material(&contents);
        if let Some(kept) = kept
            && !is_due(&kept, &names, now)
        {
            return Ok(kept);
        }
        if !left_out.is_empty() {
            // One name too many would spoil the whole certificate.
            tracing::warn!(
                "The box's own authority was made without the right to sign for {}: clients that use such a name refuse the certificate. Remove {} for a new authority, and give it to every client.",
                left_out.join(", "),
                self.path.display()
            );
        }
        contents.leaf = contents.issue(&names, now)?;
        // Signed by the same authority, it can be trusted whether or not it finds room.
        self.keep(&contents, must_be_kept)
    }

    fn begin(
        &self,
        names: &[String],
        now: UnixMillis,
        must_be_kept: bool,
    ) -> Result<Material, TlsFault> {
        let contents = Contents::new(names, now)?;
        let material = self.keep(&contents, must_be_kept)?;
        tracing::info!(
            "The box made its own certificate authority, \"{}\", in {}.",
            contents.name,
            self.path.display()
        );
        Ok(material)
    }

    fn keep(&self, contents: &Contents, must_be_kept: bool) -> Result<Material, TlsFault> {
        let text = serde_json::to_vec_pretty(contents).unwrap_or_default();
        match file::replace(&self.path, &text) {
            Err(source) if must_be_kept => return Err(self.unwritten(source)),
            Err(fault) => tracing::error!(
                "{} cannot be written ({fault}), so the box's own authority is one for this run only: make room, start again, and give clients the authority then.",
                self.path.display()
            ),
            Ok(()) => {}
        }
        material(contents).ok_or(TlsFault::None)
    }

    fn kept(&self) -> Result<Kept, TlsFault> {
        let unread = |source| TlsFault::Read {
            path: self.path.clone(),
            source,
        };
        let length = match fs::metadata(&self.path) {
            Ok(facts) => facts.len(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Kept::Nothing),
            Err(source) => return Err(unread(source)),
        };
        if length > FILE_MAX_BYTES {
            return Ok(Kept::Damaged);
        }
        let text = fs::read(&self.path).map_err(unread)?;
        match serde_json::from_slice::<Format>(&text) {
            Ok(format) if format.version > VERSION => Err(TlsFault::Newer {
                path: self.path.clone(),
                found: format.version,
            }),
            Ok(_) => Ok(serde_json::from_slice(&text)
                .ok()
                .filter(Contents::can_sign)
                .map_or(Kept::Damaged, |contents| Kept::Whole(Box::new(contents)))),
            Err(_) => Ok(Kept::Damaged),
        }
    }

    fn unwritten(&self, source: io::Error) -> TlsFault {
        TlsFault::Write {
            path: self.path.clone(),
            source,
        }
    }
}

impl Contents {
    fn new(names: &[String], now: UnixMillis) -> Result<Self, TlsFault> {
        let host = sysinfo::System::host_name().unwrap_or_default();
        // Two boxes of one host name must not share the name of their authorities.
        let name = format!(
            "rackhand {host} {:08x}",
            getrandom::u32().unwrap_or_default()
        );
        let permitted = Permitted::local_and(names);
        let key = KeyPair::generate()?;
        let params = authority_params(&name, &permitted, now)?;
        let certificate = params.self_signed(&key)?;
        let mut contents = Self {
            version: VERSION,
            name,
            permitted,
            key: STANDARD.encode(key.serialize_der()),
            certificate: STANDARD.encode(certificate.der()),
            leaf: Leaf {
                key: String::new(),
                certificate: String::new(),
            },
        };
        contents.leaf = contents.issue(names, now)?;
        Ok(contents)
    }

    fn key(&self) -> Option<KeyPair> {
        let key = STANDARD.decode(&self.key).ok()?;
        KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).ok()
    }

    fn can_sign(&self) -> bool {
        let certificate = STANDARD.decode(&self.certificate).ok();
        self.key().is_some() && certificate.is_some_and(|der| der::read(&der).is_some())
    }

    /// A certificate for these names, with a key of its own.
    fn issue(&self, names: &[String], now: UnixMillis) -> Result<Leaf, TlsFault> {
        let end = STANDARD
            .decode(&self.certificate)
            .ok()
            .and_then(|certificate| der::read(&certificate))
            .map_or(now, |reading| reading.not_after);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name(names.first().map_or("rackhand", String::as_str));
        set_validity(&mut params, leaf_end(now, end));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let signer = self.key().ok_or(TlsFault::None)?;
        let authority = authority_params(&self.name, &self.permitted, now)?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&authority, signer))?;
        Ok(Leaf {
            key: STANDARD.encode(key.serialize_der()),
            certificate: STANDARD.encode(certificate.der()),
        })
    }
}

fn authority_params(
    name: &str,
    permitted: &Permitted,
    now: UnixMillis,
) -> Result<CertificateParams, TlsFault> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = common_name(name);
    set_validity(
        &mut params,
        UnixMillis(believed(now).0.saturating_add(AUTHORITY_MILLIS)),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let names = permitted.names.iter().cloned().map(GeneralSubtree::DnsName);
    let networks = permitted.networks().map(|(address, bits)| {
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits))
    });
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.chain(networks).collect(),
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // The longest common name that X.509 allows (RFC 5280, appendix A.1).
    let text: String = text.chars().take(64).collect();
    name.push(DnType::CommonName, text);
    name
}

/// The time that is reckoned with: a clock that is not set stands at the earliest moment that can be.
fn believed(now: UnixMillis) -> UnixMillis {
    now.max(CLOCK_IS_SET_FROM)
}

/// When a certificate ends that is made now. Without a clock nobody could tell when to renew it.
fn leaf_end(now: UnixMillis, authority_end: UnixMillis) -> UnixMillis {
    if now < CLOCK_IS_SET_FROM {
        return authority_end;
    }
    UnixMillis(now.0.saturating_add(LEAF_MILLIS)).min(authority_end)
}

/// Valid since 1970, for clients whose clock is not set either.
fn set_validity(params: &mut CertificateParams, end: UnixMillis) {
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = params.not_before + Duration::from_millis(end.0);
}

/// Whether a certificate has to be made anew: it lacks a name, or its time runs out and a new one would last longer.
fn is_due(kept: &Material, names: &[String], now: UnixMillis) -> bool {
    let (Some(leaf), Some(authority)) = (
        kept.chain.first().and_then(|leaf| der::read(leaf)),
        kept.authority.as_ref().and_then(|made| der::read(made)),
    ) else {
        return true;
    };
    let lacks_name = names.iter().any(|name| !leaf.names.contains(name));
    let left = leaf.not_after.0.saturating_sub(believed(now).0);
    let would_last_longer = leaf.not_after < leaf_end(now, authority.not_after);
    lacks_name || (left < LEAF_MILLIS / 3 && would_last_longer)
}

fn material(contents: &Contents) -> Option<Material> {
    let authority = CertificateDer::from(STANDARD.decode(&contents.certificate).ok()?);
    let leaf = CertificateDer::from(STANDARD.decode(&contents.leaf.certificate).ok()?);
    let key = STANDARD.decode(&contents.leaf.key).ok()?;
    Some(Material {
        // The authority goes along, so that a client which pins it finds it.
        chain: vec![leaf, authority.clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        authority: Some(authority),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// 2026-11-21T00:00:00Z.
    const TODAY: UnixMillis = UnixMillis(1_795_219_200_000);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().copied().map(ToOwned::to_owned).collect()
    }

    fn leaf(material: &Material) -> der::Reading {
        der::read(&material.chain[0]).unwrap()
    }

    #[test]
    fn an_authority_is_made_once_and_signs_again_when_names_or_time_ask_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::in_folder(folder.path());
        let own = names(&["rack.local", "192.168.1.5"]);
        let first = authority.current(&own, TODAY, true).unwrap();
        assert_eq!(leaf(&first).names, own);
        let again = authority.current(&own, TODAY, true).unwrap();
        assert_eq!(again.chain, first.chain, "nothing is made twice");
        let fewer = authority.current(&own[..1], TODAY, true).unwrap();
        assert_eq!(fewer.chain, first.chain, "an address may come back");
        let moved = authority
            .current(&names(&["rack.local", "10.0.0.5"]), TODAY, true)
            .unwrap();
        assert_eq!(leaf(&moved).names, ["rack.local", "10.0.0.5"]);
        assert_eq!(moved.authority, first.authority);
        let later = UnixMillis(TODAY.0 + LEAF_MILLIS / 3 * 2 + DAY_MILLIS);
        let renewed = authority.current(&own[..1], later, true).unwrap();
        assert_ne!(renewed.chain[0], moved.chain[0]);
        assert_eq!(leaf(&renewed).not_after, UnixMillis(later.0 + LEAF_MILLIS));
        assert_eq!(renewed.authority, first.authority);
        let mode = fs::metadata(authority.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_box_whose_clock_is_in_1970_makes_a_certificate_that_outlasts_it() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::in_folder(folder.path());
        let own = names(&["rack.local"]);
        let made = authority.current(&own, UnixMillis(5_000), true).unwrap();
        let reading = leaf(&made);
        assert_eq!(reading.not_before, UnixMillis(0));
        assert_eq!(
            reading.not_after.0,
            CLOCK_IS_SET_FROM.0 + AUTHORITY_MILLIS,
            "{}",
            reading.not_after.to_iso()
        );
        let later = authority.current(&own, TODAY, true).unwrap();
        assert_eq!(
            later.chain, made.chain,
            "it still serves when the clock is set"
        );
        let again = authority.current(&own, UnixMillis(0), true).unwrap();
        assert_eq!(again.chain, made.chain, "and after the next power cut");
    }

    #[test]
    fn a_clock_far_ahead_does_not_make_a_new_certificate_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::in_folder(folder.path());
        let own = names(&["rack.local"]);
        let first = authority.current(&own, TODAY, true).unwrap();
        let far = UnixMillis(TODAY.0 + 2 * AUTHORITY_MILLIS);
        let renewed = authority.current(&own, far, true).unwrap();
        assert_eq!(renewed.authority, first.authority);
        assert_eq!(
            authority.current(&own, far, true).unwrap().chain,
            renewed.chain
        );
    }

    #[test]
    fn a_name_that_it_may_not_sign_for_is_left_out_and_spoils_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::in_folder(folder.path());
        authority
            .current(&names(&["rack.example"]), TODAY, true)
            .unwrap();
        let wanted = names(&["rack.example", "bank.example", "10.0.0.5"]);
        let made = authority.current(&wanted, TODAY, true).unwrap();
        assert_eq!(leaf(&made).names, ["rack.example", "10.0.0.5"]);
        let same = authority.current(&wanted, TODAY, true).unwrap();
        assert_eq!(same.chain, made.chain);
    }

    #[test]
    fn a_disk_without_room_at_the_first_start_keeps_nobody_from_tls() {
        let authority = Authority::in_folder(Path::new("/nonexistent"));
        let own = names(&["rack.local"]);
        let refused = authority.current(&own, TODAY, true);
        assert!(matches!(refused, Err(TlsFault::Write { .. })));
        assert_eq!(
            leaf(&authority.current(&own, TODAY, false).unwrap()).names,
            own
        );
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_a_newer_one_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::in_folder(folder.path());
        let own = names(&["rack.local"]);
        let first = authority.current(&own, TODAY, true).unwrap();
        let text = fs::read_to_string(authority.path()).unwrap();
        for damaged in ["", "{", "[]", &text[..text.len() / 2]] {
            fs::write(authority.path(), damaged).unwrap();
            let made = authority.current(&own, TODAY, true).unwrap();
            assert_ne!(made.authority, first.authority);
            assert!(folder.path().join("authority.json.damaged").exists());
        }
        fs::write(authority.path(), r#"{"version":2}"#).unwrap();
        let refused = authority.current(&own, TODAY, true);
        assert!(matches!(refused, Err(TlsFault::Newer { found: 2, .. })));
        assert_eq!(fs::read(authority.path()).unwrap(), br#"{"version":2}"#);
    }
}
