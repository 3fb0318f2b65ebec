use std::os::unix::fs::PermissionsExt;

use super::*;

fn new(name: &str) -> NewKey {
    NewKey::new(name, Role::Operator)
}

#[test]
fn keys_are_made_listed_and_revoked_and_the_file_holds_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    assert!(file.list().unwrap().is_empty());
    let key = file.create(&new("FOH laptop")).unwrap();
    file.create(&new("second")).unwrap();
    let listed = file.list().unwrap();
    assert_eq!(listed[0].name, "FOH laptop");
    assert_eq!(listed[0].sha256, key::hash(key.expose()));
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains(key.expose()) && !text.contains(&key.expose()[3..20]));
    file.revoke("FOH laptop").unwrap();
    assert_eq!(file.list().unwrap().len(), 1);
    assert!(matches!(
        file.revoke("FOH laptop"),
        Err(KeyFileError::Unknown(_))
    ));
}

#[test]
fn the_file_is_readable_by_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    file.create(&new("a")).unwrap();
    let mode = fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_taken_or_unfit_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    file.create(&new("a")).unwrap();
    assert!(matches!(
        file.create(&new("a")),
        Err(KeyFileError::NameTaken(_))
    ));
    for name in ["", "a\nb", "idp:a", &"x".repeat(65)] {
        assert!(matches!(
            file.create(&new(name)),
            Err(KeyFileError::BadName(_))
        ));
    }
}

#[test]
fn a_damaged_or_newer_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    for (text, damaged) in [
        ("{", true),
        (r#"{"version":1,"keys":[{"name":"a","role":"king"}]}"#, true),
        (r#"{"version":2,"keys":[]}"#, false),
    ] {
        fs::write(file.path(), text).unwrap();
        let error = file.create(&new("a")).unwrap_err();
        assert_eq!(
            matches!(error, KeyFileError::Damaged { .. }),
            damaged,
            "{error}"
        );
        assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
    }
}

#[test]
fn a_file_that_could_not_be_read_again_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let long = |number: usize| NewKey {
        networks: (0..KEY_NETWORKS_MAX)
            .map(|host| {
                format!("fd00:1111:2222:3333:4444:5555:6666:{host}")
                    .parse()
                    .unwrap()
            })
            .collect(),
        ..new(&format!("{number:0>3} {}", "é".repeat(60)))
    };
    let made = (0..KEYS_MAX).map_while(|number| file.create(&long(number)).ok());
    let made = made.count();
    assert!((100..KEYS_MAX).contains(&made), "{made}");
    let fault = file.create(&long(999)).unwrap_err();
    assert!(matches!(fault, KeyFileError::TooLong { .. }), "{fault}");
    assert_eq!(file.list().unwrap().len(), made);
    file.revoke(&long(0).name).unwrap();
    fs::write(file.path(), " ".repeat(300 << 10)).unwrap();
    assert!(matches!(file.list(), Err(KeyFileError::TooLong { .. })));
}

#[test]
fn the_patterns_of_all_keys_have_a_bound_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let bounded = |number: usize| NewKey {
        components: vec!["x".repeat(128); 32],
        ..new(&number.to_string())
    };
    for number in 0..REACH_TEXT_MAX_BYTES / (128 * 32) {
        file.create(&bounded(number)).unwrap();
    }
    let fault = file.create(&bounded(99)).unwrap_err();
    assert!(matches!(fault, KeyFileError::TooManyPatterns), "{fault}");
    file.create(&new("unbounded")).unwrap();
}

#[test]
fn a_key_that_is_rotated_while_the_clock_says_1970_goes_on_for_its_days() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    file.create(&new("desk")).unwrap();
    let highest = UnixMillis(2_000_000_000_000);
    file.rotate("desk", 7, highest).unwrap();
    let ends: Vec<_> = file
        .list()
        .unwrap()
        .into_iter()
        .map(|key| key.expires)
        .collect();
    assert_eq!(ends, [Some(UnixMillis(highest.0 + 7 * DAY_MILLIS)), None]);
}
