//! Keys that come with the start of the process: from the environment (`MCP_API_KEYS`) and from a systemd credential.

use super::Role;
use super::keyfile::{self, KeyRecord, NewKey};
use crate::base::secret::Secret;
use crate::limits::{GIVEN_KEY_MIN_CHARS, GIVEN_KEYS_MAX, KEY_MAX_BYTES};

/// The role of a key that comes without one: it looks and changes nothing. Whoever is to change something is named with a role.
pub const USUAL_ROLE: Role = Role::Viewer;

/// Reads keys: `key` or `name:role:key`, with commas or line ends between them. Empty places and lines that begin with `#` are nothing.
/// `place` names where they stand, and is what keys without a name are called.
///
/// # Errors
///
/// All that is wrong, each in a sentence, with the number of the entry and never with a key in it.
pub fn read(place: &str, text: &str) -> Result<Vec<KeyRecord>, Vec<String>> {
    let entries = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let (mut keys, mut faults): (Vec<KeyRecord>, Vec<String>) = (Vec::new(), Vec::new());
    for (index, entry) in entries.enumerate() {
        let number = index + 1;
        match one(place, number, entry) {
            Ok(key) if keys.iter().any(|other| other.name == key.name) => {
                faults.push(format!("key {number} has the name of another one here"));
            }
            Ok(key) if keys.iter().any(|other| other.sha256 == key.sha256) => {
                faults.push(format!("key {number} is there twice"));
            }
            Ok(key) => keys.push(key),
            Err(problem) => faults.push(format!("key {number} {problem}")),
        }
    }
    if keys.len() > GIVEN_KEYS_MAX {
        faults.push(format!("there are more than {GIVEN_KEYS_MAX} keys"));
    }
    if faults.is_empty() {
        Ok(keys)
    } else {
        Err(faults)
    }
}

fn one(place: &str, number: usize, entry: &str) -> Result<KeyRecord, String> {
    let mut parts = entry.splitn(3, ':').map(str::trim);
    let (name, role, key) = match (parts.next(), parts.next(), parts.next()) {
        (Some(key), None, _) => (format!("{place} {number}"), USUAL_ROLE, key),
        (Some(name), Some(role), Some(key)) => {
            let role = role
                .parse()
                .map_err(|problem: String| format!("has no role: {problem}"))?;
            (name.to_owned(), role, key)
        }
        _ => return Err("is written neither as `key` nor as `name:role:key`".to_owned()),
    };
    if !keyfile::is_name(&name) {
        return Err("has a name that cannot be used: 1 to 64 printable characters".to_owned());
    }
    if !(GIVEN_KEY_MIN_CHARS..=KEY_MAX_BYTES).contains(&key.len()) {
        return Err(format!(
            "has {} characters: {GIVEN_KEY_MIN_CHARS} to {KEY_MAX_BYTES} are taken, the more the better",
            key.chars().count()
        ));
    }
    if !key
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    {
        return Err("has other characters than letters, digits, `-` and `_`".to_owned());
    }
    Ok(keyfile::record(
        &NewKey::new(&name, role),
        &Secret::new(key),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "abcdefgh-12345678";

    #[test]
    fn keys_are_read_with_and_without_name_and_role() {
        let text = format!("{KEY}, desk:operator:{KEY}x\n# old\n\n FOH laptop : user : {KEY}y ,");
        let keys = read("environment", &text).unwrap();
        let rows: Vec<_> = keys
            .iter()
            .map(|key| (key.name.as_str(), key.role))
            .collect();
        assert_eq!(
            rows,
            [
                ("environment 1", Role::Viewer),
                ("desk", Role::Operator),
                ("FOH laptop", Role::Operator)
            ]
        );
        assert_eq!(keys[0].sha256, super::super::key::hash(KEY));
        assert!(read("environment", " ,\n").unwrap().is_empty());
    }

    #[test]
    fn every_fault_is_told_at_once_and_none_with_a_key_in_it() {
        let text = format!(
            "short,{KEY}!,desk:king:{KEY},a:b,(odd):viewer:{KEY},x:viewer:{KEY}1,x:viewer:{KEY}2,{KEY}1,{}",
            "z".repeat(257)
        );
        let faults = read("environment", &text).unwrap_err();
        assert_eq!(faults.len(), 8, "{faults:?}");
        for (fault, words) in faults.iter().zip([
            "key 1 has 5 characters",
            "key 2 has other characters",
            "key 3 has no role",
            "key 4 is written neither",
            "key 5 has a name",
            "key 7 has the name of another",
            "key 8 is there twice",
            "key 9 has 257 characters",
        ]) {
            assert!(fault.starts_with(words), "{fault}");
            assert!(
                !fault.contains("abcdefgh") && !fault.contains("zzz"),
                "{fault}"
            );
        }
    }
}
