//! Text from clients and devices on its way into logs and records: nothing hidden, nothing that steers a terminal, no key.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Letters in a row from which on a word of an unknown client could be a key that a person chose: those have 16 or more.
const CHOSEN_KEY_MIN: usize = 16;

/// Letters after `rh_` from which on a word counts as a key, or as a piece of one.
const KEY_PIECE_MIN: usize = 8;

/// Bytes as lower-case hexadecimal digits, two each.
pub fn hex(bytes: &[u8]) -> impl Iterator<Item = char> {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(half.into(), 16))
}

/// Characters that Unicode calls default-ignorable, and those that turn the direction of writing.
#[must_use]
pub const fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a character must not stand in a log as it is.
fn is_unfit(character: char) -> bool {
    character.is_control() || is_hidden(character)
}

/// The text with every character that steers or hides written as `\u{…}`, and keys and tokens taken out.
#[must_use]
pub fn for_log(text: &str) -> Cow<'_, str> {
    match mask_keys(text) {
        Cow::Borrowed(text) => escaped(text),
        Cow::Owned(text) => Cow::Owned(escaped(&text).into_owned()),
    }
}

/// The same for a word of somebody whom nobody knows, cut at `max` bytes: whatever could be a chosen key is taken out too.
#[must_use]
pub fn of_stranger(text: &str, max: usize) -> String {
    let cut = text
        .get(..text.floor_char_boundary(max))
        .unwrap_or_default();
    let mut out = String::with_capacity(cut.len());
    for (word, is_word) in words(cut, is_key_letter) {
        if is_word && word.len() >= CHOSEN_KEY_MIN {
            out.push_str(word.get(..4).unwrap_or_default());
            out.push_str("***");
        } else {
            out.push_str(word);
        }
    }
    if cut.len() < text.len() {
        out.push('…');
    }
    for_log(&out).into_owned()
}

/// JSON whose strings are escaped further: what steers or hides is written as `\uXXXX`, which means the same.
#[must_use]
pub fn plain_json(json: String) -> String {
    if !json.chars().any(is_unfit) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 32);
    for character in json.chars() {
        if is_unfit(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            unfit if is_unfit(unfit) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(unfit));
            }
            plain => out.push(plain),
        }
    }
    Cow::Owned(out)
}

/// Takes out what has the form of one of our keys (`rh_…`) or of a signed token (`eyJ….….…`).
#[must_use]
pub fn mask_keys(text: &str) -> Cow<'_, str> {
    if !text.contains("rh_") && !text.contains("eyJ") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let is_letter = |letter: char| is_key_letter(letter) || letter == '.';
    for (word, is_word) in words(text, is_letter) {
        let start = if is_word { secret_start(word) } else { None };
        match start.and_then(|start| word.get(..start)) {
            Some(before) => {
                out.push_str(before);
                out.push_str("***");
            }
            None => out.push_str(word),
        }
    }
    Cow::Owned(out)
}

/// Where the secret of a word begins.
fn secret_start(word: &str) -> Option<usize> {
    let key = word.match_indices("rh_").find(|(at, found)| {
        let rest = word.get(at + found.len()..).unwrap_or_default();
        rest.chars().take_while(char::is_ascii_alphanumeric).count() >= KEY_PIECE_MIN
    });
    let token = word
        .match_indices("eyJ")
        .find(|(at, _)| word.get(*at..).is_some_and(|rest| rest.len() >= 20));
    key.into_iter().chain(token).map(|(at, _)| at).min()
}

const fn is_key_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')
}

/// The text in pieces: runs of letters, and what stands between them.
fn words<'a>(
    text: &'a str,
    is_letter: impl Fn(char) -> bool + 'a,
) -> impl Iterator<Item = (&'a str, bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_word = is_letter(rest.chars().next()?);
        let end = rest
            .find(|letter| is_letter(letter) != is_word)
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some((piece, is_word))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_or_hides_is_written_out() {
        assert_eq!(for_log("Lobby é 音"), "Lobby é 音");
        assert_eq!(
            for_log("a\nb\u{1b}[31m\u{202e}c\u{9b}"),
            "a\\nb\\u{1b}[31m\\u{202e}c\\u{9b}"
        );
        assert_eq!(
            plain_json("{\"a\":\"\u{202e}\u{e0041}\"}".to_owned()),
            r#"{"a":"\u202e\udb40\udc41"}"#
        );
    }

    #[test]
    fn keys_and_tokens_are_taken_out_wherever_they_stand() {
        let key = "rh_0123456789ABCDEFGHJKMNPQRSTVWXYZ0123456789ABCDEFG";
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
        for secret in [key, token, &key[..20]] {
            for text in [
                secret.to_owned(),
                format!("/mcp?key={secret}"),
                format!("Bearer {secret}, x"),
                format!("x{secret}"),
            ] {
                let masked = for_log(&text);
                assert!(!masked.contains(&secret[4..14]), "{masked}");
            }
        }
        assert_eq!(
            for_log("rh_x, eyJ and march_2026"),
            "rh_x, eyJ and march_2026"
        );
    }

    #[test]
    fn a_long_word_of_a_stranger_could_be_a_chosen_key() {
        assert_eq!(
            of_stranger("claude-code/2.1.3 (cli)", 100),
            "claude-code/2.1.3 (cli)"
        );
        assert_eq!(of_stranger("curl my-secret-key-0001", 100), "curl my-s***");
        assert_eq!(of_stranger("éé", 3), "é…");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_a_log_line_stays_one_line(text in ".{0,200}") {
            prop_assert!(!for_log(&text).chars().any(is_unfit));
            prop_assert!(!of_stranger(&text, 50).chars().any(is_unfit));
            let json = plain_json(serde_json::to_string(&text).unwrap());
            prop_assert!(!json.chars().any(is_unfit));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
