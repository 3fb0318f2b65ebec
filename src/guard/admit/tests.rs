use hyper::header::HeaderName;

use super::super::{Role, Scope};
use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 20));

fn new(name: &str) -> NewKey {
    NewKey::new(name, Role::Operator)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn guard(keys: &[(NewKey, Secret)]) -> Guard {
    Guard::new(KeySource::memory(keys)).unwrap()
}

#[test]
fn every_accepted_header_lets_the_same_caller_in() {
    let key = key::generate().unwrap();
    let guard = guard(&[(new("desk"), key.clone())]);
    let text = key.expose();
    for pair in [
        ("authorization", format!("Bearer {text}")),
        ("authorization", format!("bearer  {text} ")),
        ("authorization", format!("ApiKey {text}")),
        ("x-api-key", text.to_owned()),
        ("x-mcp-key", text.to_owned()),
    ] {
        let caller = guard.admit(&headers(&[(pair.0, &pair.1)]), PEER).unwrap();
        assert_eq!(&*caller.name, "desk");
        assert!(caller.scopes.has(Scope::Operate) && !caller.scopes.has(Scope::Admin));
    }
}

#[test]
fn without_any_key_nobody_comes_in() {
    let refusal = guard(&[]).admit(&headers(&[("x-api-key", "anything at all")]), PEER);
    assert_eq!(refusal, Err(Refusal::NoKeys));
}

#[test]
fn what_a_key_opened_is_in_force_as_long_as_the_key_and_its_rights() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::new(folder.path().join("keys.json"));
    let secret = keys.create(&new("desk")).unwrap();
    let same = KeyFile::new(folder.path().join("keys.json"));
    let guard = Guard::new(KeySource::File(same)).unwrap();
    let caller = guard
        .admit(&headers(&[("x-api-key", secret.expose())]), PEER)
        .unwrap();
    let mut changes = guard.changes();
    changes.mark_unchanged();
    assert!(guard.is_in_force(&caller));
    let stronger = Caller {
        scopes: Role::Admin.scopes(),
        ..caller.clone()
    };
    assert!(!guard.is_in_force(&stronger));
    keys.revoke("desk").unwrap();
    assert!(guard.reload_if_changed().unwrap());
    assert!(changes.has_changed().unwrap() && !guard.is_in_force(&caller));
}

#[test]
fn the_end_of_a_key_is_told_once() {
    let mut ending = new("desk");
    ending.expires = Some(UnixMillis(1000));
    let guard = guard(&[(ending, key::generate().unwrap())]);
    let mut changes = guard.changes();
    changes.mark_unchanged();
    for (before, now, is_told) in [(0, 999, false), (999, 1000, true), (1000, 2000, false)] {
        guard.tell_of_expiry(UnixMillis(before), UnixMillis(now));
        assert_eq!(changes.has_changed().unwrap(), is_told, "{now}");
        changes.mark_unchanged();
    }
}

#[test]
fn each_wrong_credential_is_told_what_is_wrong_with_it() {
    let key = key::generate().unwrap();
    let text = key.expose();
    let expired = key::generate().unwrap();
    let past = NewKey {
        expires: Some(UnixMillis(1)),
        ..new("old")
    };
    let guard = guard(&[(new("desk"), key.clone()), (past, expired.clone())]);
    let other = key::generate().unwrap();
    for (pairs, refusal) in [
        (vec![], Refusal::Missing),
        (
            vec![("authorization", "Basic eHg6eHg=")],
            Refusal::Unreadable,
        ),
        (vec![("authorization", text)], Refusal::Unreadable),
        (
            vec![("x-api-key", text), ("x-mcp-key", "other")],
            Refusal::Unreadable,
        ),
        (vec![("x-api-key", "")], Refusal::Unreadable),
        (vec![("x-api-key", &text[..40])], Refusal::Damaged),
        (vec![("x-api-key", other.expose())], Refusal::Unknown),
        (vec![("x-api-key", expired.expose())], Refusal::Expired),
    ] {
        assert_eq!(guard.admit(&headers(&pairs), PEER), Err(refusal));
    }
    assert!(
        guard
            .admit(&headers(&[("x-api-key", text), ("x-mcp-key", text)]), PEER)
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_that_guesses_rests_but_does_not_lock_the_right_key_out() {
    let key = key::generate().unwrap();
    let guard = guard(&[
        (new("desk"), key.clone()),
        (new("weak"), Secret::new("chosen-by-hand-1")),
    ]);
    let wrong = headers(&[("x-api-key", "guess guess guess")]);
    let weak = headers(&[("x-api-key", "chosen-by-hand-1")]);
    for _ in 0..5 {
        assert_eq!(guard.admit(&wrong, PEER), Err(Refusal::Unknown));
    }
    assert!(matches!(
        guard.admit(&wrong, PEER),
        Err(Refusal::Throttled { .. })
    ));
    assert!(matches!(
        guard.admit(&weak, PEER),
        Err(Refusal::Throttled { .. })
    ));
    assert!(
        guard
            .admit(&headers(&[("x-api-key", key.expose())]), PEER)
            .is_ok()
    );
    assert!(guard.admit(&weak, IpAddr::from([10, 0, 0, 1])).is_ok());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(guard.admit(&weak, PEER).is_ok());
}

#[test]
fn a_revoked_key_is_shut_out_after_the_file_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let guard = Guard::new(KeySource::File(file.clone())).unwrap();
    assert!(!guard.has_keys());
    let key = file.create(&new("desk")).unwrap();
    let sent = headers(&[("x-api-key", key.expose())]);
    assert!(guard.reload_if_changed().unwrap());
    assert!(guard.admit(&sent, PEER).is_ok());
    assert!(!guard.reload_if_changed().unwrap());
    file.revoke("desk").unwrap();
    assert!(guard.reload_if_changed().unwrap());
    assert_eq!(guard.admit(&sent, PEER), Err(Refusal::NoKeys));
}

#[tokio::test(start_paused = true)]
async fn a_running_guard_notices_a_changed_file_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let guard = Arc::new(Guard::new(KeySource::File(file.clone())).unwrap());
    let stop = Stop::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&guard).watch(stop.clone()));
    file.create(&new("desk")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(guard.has_keys());
    file.revoke("desk").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!guard.has_keys());
    stop.cancel();
    assert_eq!(
        tasks.join_next().await.unwrap().unwrap(),
        "key file watcher"
    );
}

#[test]
fn a_damaged_file_leaves_the_keys_known_before_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let key = file.create(&new("desk")).unwrap();
    let guard = Guard::new(KeySource::File(file.clone())).unwrap();
    std::fs::write(file.path(), "{").unwrap();
    assert!(guard.reload_if_changed().is_err());
    assert!(
        guard
            .admit(&headers(&[("x-api-key", key.expose())]), PEER)
            .is_ok()
    );
}

/// A guard over keys that differ in their networks.
fn networked() -> (Guard, Secret) {
    let own = key::generate().unwrap();
    let bound = |name: &str| NewKey {
        networks: vec!["192.168.5.0/24".parse().unwrap()],
        ..new(name)
    };
    let weak = Secret::new("chosen-by-hand-1");
    (
        guard(&[(bound("desk"), own.clone()), (bound("weak"), weak)]),
        own,
    )
}

#[test]
fn a_key_used_from_elsewhere_is_told_so_only_if_nobody_can_have_guessed_it() {
    let (guard, own) = networked();
    let sent = headers(&[("x-api-key", own.expose())]);
    let home = IpAddr::from([192, 168, 5, 9]);
    let caller = guard.admit(&sent, home).unwrap();
    assert!(guard.is_in_force(&caller));
    assert!(
        guard
            .admit(&sent, "::ffff:192.168.5.9".parse().unwrap())
            .is_ok()
    );
    assert_eq!(guard.admit(&sent, PEER), Err(Refusal::Elsewhere));
    let weak = headers(&[("x-api-key", "chosen-by-hand-1")]);
    assert!(guard.admit(&weak, home).is_ok());
    let wrong = headers(&[("x-api-key", "chosen-by-hand-2")]);
    assert_eq!(guard.admit(&weak, PEER), guard.admit(&wrong, PEER));
    assert_eq!(guard.admit(&weak, PEER), Err(Refusal::Unknown));
}

#[test]
fn what_is_open_ends_when_the_key_is_bound_to_other_networks() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::new(folder.path().join("keys.json"));
    let guard = Guard::new(KeySource::File(keys.clone())).unwrap();
    let secret = keys.create(&new("desk")).unwrap();
    guard.reload().unwrap();
    let caller = guard
        .admit(&headers(&[("x-api-key", secret.expose())]), PEER)
        .unwrap();
    assert!(guard.is_in_force(&caller));
    let text = std::fs::read_to_string(keys.path()).unwrap();
    let bound = text.replace(
        "\"created\"",
        "\"networks\": [\"10.0.0.0/8\"],\n\"created\"",
    );
    std::fs::write(keys.path(), bound).unwrap();
    assert!(guard.reload().unwrap());
    assert!(!guard.is_in_force(&caller));
}

#[test]
fn a_key_that_expired_stays_expired_when_the_clock_is_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let year = 365 * 86_400_000;
    let later = UnixMillis(UnixMillis::now().0 + year);
    std::fs::write(folder.path().join("time"), later.0.to_string()).unwrap();
    let key = key::generate().unwrap();
    let ending = NewKey {
        expires: Some(UnixMillis(later.0 - 1)),
        ..new("desk")
    };
    let sent = headers(&[("x-api-key", key.expose())]);
    let guard = guard(&[(ending, key)]);
    assert!(guard.admit(&sent, PEER).is_ok());
    let (time, fault) = HighTime::kept(folder.path().join("time"));
    assert!(fault.is_none());
    assert_eq!(
        guard.with_time(time).admit(&sent, PEER),
        Err(Refusal::Expired)
    );
}

#[test]
fn a_ticket_opens_one_stream_with_the_rights_of_its_key_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::new(folder.path().join("keys.json"));
    let secret = keys.create(&new("desk")).unwrap();
    let guard = Guard::new(KeySource::File(keys.clone())).unwrap();
    let caller = guard
        .admit(&headers(&[("x-api-key", secret.expose())]), PEER)
        .unwrap();
    let none = HeaderMap::new();
    let knock = |ticket: &Secret, takes_ticket| {
        guard.admit_at(&Door {
            headers: &none,
            query: Some(&format!("ticket={}", ticket.expose())),
            takes_ticket,
            speaks_mcp: true,
            peer: PEER,
        })
    };
    let ticket = guard.ticket(&caller).unwrap();
    assert_eq!(knock(&ticket, false), Err(Refusal::Missing));
    assert_eq!(knock(&ticket, true), Ok(caller.clone()));
    assert_eq!(knock(&ticket, true), Err(Refusal::Ticket));
    let ticket = guard.ticket(&caller).unwrap();
    keys.revoke("desk").unwrap();
    keys.create(&new("desk")).unwrap();
    guard.reload().unwrap();
    assert_eq!(knock(&ticket, true), Err(Refusal::Ticket));
}

#[test]
fn without_a_credential_only_what_was_opened_comes_in() {
    let host = headers(&[("host", "localhost:8080")]);
    let local = IpAddr::from([127, 0, 0, 1]);
    let key = key::generate().unwrap();
    let closed = || guard(&[(new("desk"), key.clone())]);
    let door = |peer, speaks_mcp| Door {
        headers: &host,
        query: None,
        takes_ticket: false,
        speaks_mcp,
        peer,
    };
    for peer in [local, PEER] {
        assert_eq!(closed().admit_at(&door(peer, true)), Err(Refusal::Missing));
    }
    let trusting = closed().with_open(Open {
        loopback: Some(Role::Viewer),
        ..Open::default()
    });
    let caller = trusting.admit_at(&door(local, false)).unwrap();
    assert_eq!(caller.scopes, Role::Viewer.scopes());
    assert!(trusting.is_in_force(&caller));
    assert_eq!(trusting.admit_at(&door(PEER, true)), Err(Refusal::Missing));
    // A wrong key is wrong, wherever it comes from.
    let wrong = headers(&[("host", "localhost"), ("x-api-key", "wrong wrong wrong")]);
    assert_eq!(trusting.admit(&wrong, local), Err(Refusal::Unknown));
    let open = closed().with_open(Open {
        tools: Arc::new(["system.ping".to_owned()]),
        ..Open::default()
    });
    let caller = open.admit_at(&door(PEER, true)).unwrap();
    assert!(caller.may_call("system.ping", Scope::Read));
    assert!(!caller.may_call("qsys_get_overview", Scope::Read) && caller.scopes.is_empty());
    assert_eq!(open.admit_at(&door(PEER, false)), Err(Refusal::Missing));
}

#[test]
fn keys_of_the_environment_stand_beside_those_of_the_file_and_take_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::new(folder.path().join("keys.json"));
    let kept = keys.create(&new("desk")).unwrap();
    let other = keys.create(&new("other")).unwrap();
    let text = "desk:viewer:chosen-by-hand-1";
    let given = super::super::given::read("environment", text).unwrap();
    let guard = Guard::new(KeySource::File(keys.clone()))
        .unwrap()
        .with_keys(given);
    let admit = |key: &str| guard.admit(&headers(&[("x-api-key", key)]), PEER);
    for _ in 0..2 {
        assert_eq!(admit("chosen-by-hand-1").unwrap().role, Role::Viewer);
        assert_eq!(admit(kept.expose()), Err(Refusal::Unknown));
        assert!(admit(other.expose()).is_ok());
        guard.reload().unwrap();
    }
}

#[test]
fn a_reading_of_the_keys_that_failed_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let key = file.create(&NewKey::new("desk", Role::Operator)).unwrap();
    let guard = Guard::new(KeySource::File(file.clone())).unwrap();
    file.revoke("desk").unwrap();
    let (_, seen) = guard.file.as_ref().unwrap();
    // As when the process has no file descriptor left in this moment.
    let failing = || {
        Err(KeyFileError::Io {
            path: file.path().to_owned(),
            source: std::io::Error::from_raw_os_error(24),
        })
    };
    let read = guard.read_if_changed(seen, || file.stamp(), failing);
    assert!(read.is_err());
    let peer = IpAddr::from([192, 168, 5, 1]);
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", key.expose().parse().unwrap());
    assert!(guard.admit(&headers, peer).is_ok());
    assert!(guard.reload_if_changed().unwrap());
    assert_eq!(guard.admit(&headers, peer), Err(Refusal::NoKeys));
}

#[test]
fn a_reading_from_before_a_revocation_never_comes_in_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    for name in ["desk", "other"] {
        file.create(&NewKey::new(name, Role::Operator)).unwrap();
    }
    let guard = Guard::new(KeySource::File(file.clone())).unwrap();
    file.create(&NewKey::new("third", Role::Viewer)).unwrap();
    let (_, seen) = guard.file.as_ref().unwrap();
    let (is_read, hears) = std::sync::mpsc::channel();
    let (is_done, waits) = std::sync::mpsc::channel();
    let (on, at) = (&guard, &file);
    std::thread::scope(|scope| {
        // A slow look that read the file while all three keys stood in it.
        scope.spawn(move || {
            let slow = || {
                let keys = at.list();
                at.revoke("desk").unwrap();
                is_read.send(()).unwrap();
                // Whoever revoked it looks in this moment, and has to wait: for longer than a look takes that does not.
                let _ = waits.recv_timeout(Duration::from_millis(500));
                keys
            };
            on.read_if_changed(seen, || at.stamp(), slow).unwrap();
        });
        hears.recv().unwrap();
        guard.reload_if_changed().unwrap();
        // Nobody listens any more: as it should be.
        let _ = is_done.send(());
    });
    let names: Vec<_> = guard
        .keys()
        .unwrap()
        .into_iter()
        .map(|key| key.record.name)
        .collect();
    assert_eq!(names, ["other", "third"]);
    assert_eq!(guard.table.read().len(), 2);
}
