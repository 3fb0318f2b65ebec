//! API keys as people hold them: a readable prefix, 256 random bits, and a checksum that tells a typing slip from a wrong key.

use sha2::{Digest, Sha256};

use crate::base::secret::Secret;

/// What every key made here begins with, so that people and secret scanners recognise it.
pub const PREFIX: &str = "rh_";

/// Letters of the random part: 43 of 62 letters carry 256.03 bits.
const RANDOM_LETTERS: usize = 43;

/// Letters of the checksum.
const CHECK_LETTERS: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SHA-256 of a key: all that is kept of it.
pub type KeyHash = [u8; 32];

/// Whether a text has the form of a key made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Prefix, length and checksum fit: nobody guesses such a text.
    Own,
    /// It begins like one, but a letter is missing, added or wrong.
    Damaged,
    /// Something else, perhaps a key that an operator chose.
    Foreign,
}

/// A new key from the operating system's randomness.
///
/// # Errors
/// The operating system has no randomness to give.
pub fn generate() -> Result<Secret, getrandom::Error> {
    let mut text = String::with_capacity(PREFIX.len() + RANDOM_LETTERS + CHECK_LETTERS);
    text.push_str(PREFIX);
    let mut letters = 0;
    while letters < RANDOM_LETTERS {
        let mut block = [0_u8; 64];
        getrandom::fill(&mut block)?;
        // Six bits give 0..64; 62 and 63 are thrown away, so that every letter is equally likely.
        for letter in block
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)))
        {
            if letters < RANDOM_LETTERS {
                text.push(char::from(*letter));
                letters += 1;
            }
        }
    }
    let check = checksum(&text);
    text.push_str(&check);
    Ok(Secret::new(&text))
}

/// What is kept of a key.
#[must_use]
pub fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// Looks at the form alone; says nothing about whether the key is known.
#[must_use]
pub fn form(key: &str) -> Form {
    let Some(body) = key.strip_prefix(PREFIX) else {
        return Form::Foreign;
    };
    let is_own = body.len() == RANDOM_LETTERS + CHECK_LETTERS
        && body
            .get(RANDOM_LETTERS..)
            .zip(key.get(..PREFIX.len() + RANDOM_LETTERS))
            .is_some_and(|(check, rest)| checksum(rest) == check);
    if is_own { Form::Own } else { Form::Damaged }
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut number = digest
        .iter()
        .take(8)
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let mut check = String::with_capacity(CHECK_LETTERS);
    for _ in 0..CHECK_LETTERS {
        let index = usize::try_from(number % 62).unwrap_or(0);
        check.push(ALPHABET.get(index).copied().map_or('0', char::from));
        number /= 62;
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_prefix_length_and_checksum_and_never_repeats() {
        let key = generate().unwrap();
        assert_eq!(key.expose().len(), 52);
        assert_eq!(form(key.expose()), Form::Own);
        assert_ne!(key, generate().unwrap());
    }

    #[test]
    fn a_wrong_or_missing_letter_is_told_from_a_foreign_key() {
        let key = generate().unwrap();
        let text = key.expose();
        assert_eq!(form(&text[..51]), Form::Damaged);
        let last = if text.ends_with('a') { 'b' } else { 'a' };
        assert_eq!(form(&format!("{}{last}", &text[..51])), Form::Damaged);
        assert_eq!(form("correct horse battery"), Form::Foreign);
        assert_eq!(form("rh_ä"), Form::Damaged);
    }
}
