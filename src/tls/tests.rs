use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// A pair of files as a site has them.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("box.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("box.key")
    }

    fn source(&self) -> Source {
        Source::Site {
            certificate: self.certificate(),
            key: self.key(),
        }
    }

    /// Writes a pair that ends in `year`.
    fn write(&self, name: &str, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let made = params.self_signed(&key).unwrap();
        fs::write(self.certificate(), pem::certificate(made.der())).unwrap();
        write_key(&self.key(), &key);
    }
}

fn write_key(path: &Path, key: &KeyPair) {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(key.serialize_der());
    let text = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
}

#[test]
fn each_fault_of_the_sites_files_is_named_with_the_way_out() {
    let site = Site::new();
    let fault = || site.source().facts().unwrap_err().to_string();
    assert!(fault().contains("box.pem cannot be read"), "{}", fault());
    fs::write(site.certificate(), "nothing").unwrap();
    assert!(fault().contains("holds no certificate"), "{}", fault());
    site.write("rack.example", 2040);
    site.source().facts().unwrap();
    fs::set_permissions(site.key(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(fault().contains("chmod 640"), "{}", fault());
    write_key(&site.key(), &KeyPair::generate().unwrap());
    assert!(fault().contains("does not belong"), "{}", fault());
    fs::write(site.key(), "nothing").unwrap();
    fs::set_permissions(site.key(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(fault().contains("holds no private key"), "{}", fault());
    fs::remove_file(site.key()).unwrap();
    assert!(fault().contains("box.key cannot be read"), "{}", fault());
}

#[test]
fn a_certificate_that_ended_is_told_unless_the_clock_is_not_set() {
    let site = Site::new();
    site.write("rack.example", 2024);
    let facts = site.source().facts().unwrap();
    let now = UnixMillis::now();
    assert!(matches!(
        facts.check_dates(now),
        Err(TlsFault::Expired { .. })
    ));
    assert!(facts.check_dates(UnixMillis(0)).is_ok());
}

#[test]
fn renewed_files_are_shown_without_a_restart_and_bad_ones_never() {
    let site = Site::new();
    site.write("old.example", 2040);
    let certificates = Certificates::open(site.source()).unwrap();
    let old = certificates.facts();
    // The certificate comes first, its key a moment later.
    let key = fs::read(site.key()).unwrap();
    site.write("new.example", 2041);
    let new_key = fs::read(site.key()).unwrap();
    fs::write(site.key(), &key).unwrap();
    certificates.look();
    assert_eq!(certificates.facts(), old);
    fs::write(site.key(), &new_key).unwrap();
    certificates.look();
    assert_eq!(certificates.facts().names, ["new.example"]);
    fs::remove_file(site.certificate()).unwrap();
    certificates.look();
    assert_eq!(certificates.facts().names, ["new.example"]);
    assert_eq!(certificates.authority_pem(), None);
}

#[test]
fn a_box_without_files_shows_a_certificate_of_its_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::Own {
        data: folder.path().to_owned(),
        names: vec!["rack.example".to_owned()],
    };
    assert!(matches!(source.facts(), Err(TlsFault::None)));
    let certificates = Certificates::open(source.clone()).unwrap();
    let facts = certificates.facts();
    for name in ["rack.example", "localhost", "127.0.0.1", "::1"] {
        assert!(facts.names.iter().any(|own| own == name), "{name}");
    }
    assert_eq!(source.facts().unwrap(), facts);
    assert!(certificates.authority_pem().unwrap().contains("BEGIN"));
    // Whoever removes the file wants another authority.
    fs::remove_file(folder.path().join("authority.json")).unwrap();
    certificates.look();
    assert_ne!(certificates.facts().authority, facts.authority);
}

#[test]
fn a_chain_that_is_mended_is_shown_without_a_restart() {
    let site = Site::new();
    site.write("rack.example", 2040);
    let certificates = Certificates::open(site.source()).unwrap();
    let shown = || certificates.shown.read().certified.cert.len();
    assert_eq!(shown(), 1);
    let other = Site::new();
    other.write("Intermediate", 2040);
    let leaf = fs::read_to_string(site.certificate()).unwrap();
    let above = fs::read_to_string(other.certificate()).unwrap();
    fs::write(site.certificate(), leaf + &above).unwrap();
    certificates.look();
    assert_eq!(shown(), 2);
}
