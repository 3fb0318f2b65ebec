//! Text that comes from the Core is data: what could steer a screen or hide from a reader is taken out, and its length is bounded.

use std::borrow::Cow;

use crate::base::text::is_hidden;

/// The text without what cannot be seen: control characters (line ends and tabs become spaces), marks that turn the direction of
/// writing, zero-width characters, and the tag characters in which text can be hidden from people but not from models.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    // Nearly all text of a Core is plain ASCII.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain
        || !text
            .chars()
            .any(|character| character.is_control() || is_hidden(character))
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .filter_map(|character| match character {
                '\n' | '\t' => Some(' '),
                hidden if hidden.is_control() || is_hidden(hidden) => None,
                shown => Some(shown),
            })
            .collect(),
    )
}

/// The same, and at most `max` bytes of it, cut at a character. The flag says whether something was cut off.
pub(super) fn clean_cut(text: &str, max: usize) -> (Cow<'_, str>, bool) {
    let cleaned = clean(text);
    if cleaned.len() <= max {
        return (cleaned, false);
    }
    let end = cleaned.floor_char_boundary(max);
    let (kept, _) = cleaned.split_at(end);
    (Cow::Owned(kept.to_owned()), true)
}

/// A name in the form in which names are taken for the same: some tools write `input_1_gain` where the Core says `input.1.gain`, and
/// what cannot be seen is not shown, so that nobody can spell it.
pub(super) fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars()
        .filter(|character| !is_hidden(*character))
        .map(|character| match character {
            '_' => '.',
            other => other,
        })
}

/// Whether two names differ at most in `.` and `_`, and in what cannot be seen.
pub(super) fn is_same_name(a: &str, b: &str) -> bool {
    folded(a).eq(folded(b))
}

/// A number of things in words: `1 snapshot`, `2 snapshots`.
pub(super) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    [&number.to_string(), " ", thing, plural].concat()
}

/// A span of time in the unit that suits it.
pub(super) fn span(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{} s", millis / 1_000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}

/// `Component/control`, or a named control's bare name.
pub(super) fn path(component: Option<&str>, control: &str) -> String {
    match component {
        Some(component) => [component, "/", control].concat(),
        None => control.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_reader_cannot_see_is_taken_out() {
        assert_eq!(clean("Lobby é 音"), "Lobby é 音");
        assert_eq!(clean("a\u{1b}[31mb\r\nc\u{202e}d\u{e0041}e"), "a[31mb cde");
        for hidden in [
            "\u{200b}",
            "\u{2066}",
            "\u{34f}",
            "\u{3164}",
            "\u{ffa0}",
            "\u{e0101}",
        ] {
            assert_eq!(clean(&format!("ga{hidden}in")), "gain", "{hidden:?}");
        }
        assert!(matches!(clean("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_and_flagged() {
        assert_eq!(clean_cut("ééé", 3), (Cow::Borrowed("é"), true));
        assert_eq!(clean_cut("abc", 3), (Cow::Borrowed("abc"), false));
    }

    proptest! {
        #[test]
        fn whatever_comes_in_nothing_hidden_comes_out(text in ".{0,200}", max in 0_usize..100) {
            let (cleaned, was_cut) = clean_cut(&text, max);
            prop_assert!(cleaned.len() <= max);
            prop_assert!(!cleaned.chars().any(|character| character.is_control() || is_hidden(character)));
            prop_assert!(was_cut || cleaned == clean(&text));
        }
    }

    #[test]
    fn things_are_counted_and_times_told_as_people_do() {
        assert_eq!(
            [0, 1, 2].map(|number| count(number, "bank")),
            ["0 banks", "1 bank", "2 banks"]
        );
        assert_eq!(
            [999, 1_999, 600_000, 8_000_000].map(span),
            ["999 ms", "1 s", "10 min", "2 h"]
        );
    }

    #[test]
    fn dots_and_underscores_are_the_same_in_names() {
        assert!(is_same_name("input_1_gain", "input.1.gain"));
        assert!(!is_same_name("input.1.gain", "Input.1.gain"));
        assert!(!is_same_name("input.1", "input.1.gain"));
        assert!(is_same_name("Lob\u{202e}by", "Lobby"));
    }
}
