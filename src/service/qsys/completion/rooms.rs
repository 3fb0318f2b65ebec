//! Which rooms there seem to be. A Core knows no rooms; designers begin the names of what belongs to one with its name.

use std::collections::HashMap;

/// Words of a name that may be a room's.
const WORDS_MAX: usize = 3;

/// Words that say what a component is and not where.
const KINDS: [&str; 32] = [
    "amp",
    "amplifier",
    "audio",
    "aux",
    "bus",
    "camera",
    "core",
    "delay",
    "eq",
    "fader",
    "gain",
    "gains",
    "group",
    "in",
    "input",
    "level",
    "limiter",
    "line",
    "main",
    "matrix",
    "meter",
    "mic",
    "mics",
    "mixer",
    "mute",
    "out",
    "output",
    "player",
    "router",
    "speaker",
    "status",
    "system",
];

/// What is known of one beginning.
#[derive(Debug, Default)]
struct Beginning<'a> {
    /// Names that have it.
    count: usize,
    /// How all of them go on by one word, if they all go on alike.
    next: Option<&'a str>,
    /// Whether two of them go on differently.
    forks: bool,
}

/// Beginnings that at least two names share, the most shared first: each as long as it can be without losing a name.
pub(super) fn guessed(names: &[String]) -> Vec<String> {
    let mut known: HashMap<&str, Beginning<'_>> = HashMap::new();
    for name in names {
        let mut beginnings = beginnings(name).peekable();
        while let Some(beginning) = beginnings.next() {
            let next = beginnings.peek().copied();
            let entry = known.entry(beginning).or_default();
            entry.forks |= next.is_none() || entry.count > 0 && entry.next != next;
            entry.next = next;
            entry.count += 1;
        }
    }
    let mut rooms: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|(_, beginning)| beginning.count > 1 && beginning.forks)
        .map(|(room, beginning)| (beginning.count, room))
        .collect();
    rooms.sort_unstable_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.cmp(right)));
    rooms.into_iter().map(|(_, room)| room.to_owned()).collect()
}

/// The first word of a name, its first two, and so on, but for the last word, if they can name a room.
fn beginnings(name: &str) -> impl Iterator<Item = &str> {
    let is_gap = |letter: char| letter.is_whitespace() || "-_./".contains(letter);
    let ends = name.match_indices(is_gap).map(|(at, _)| at);
    ends.filter_map(|end| name.get(..end))
        .filter(move |beginning| !beginning.ends_with(is_gap))
        .take(WORDS_MAX)
        .filter(move |beginning| {
            let mut words = beginning.split(is_gap);
            words.any(|word| {
                let is_kind = KINDS.iter().any(|kind| word.eq_ignore_ascii_case(kind));
                !is_kind && word.chars().any(char::is_alphabetic)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        guessed(&names)
    }

    #[test]
    fn what_names_share_at_their_beginning_is_a_room() {
        assert_eq!(
            rooms(&[
                "Hall A Gain",
                "Hall A Mixer",
                "Hall B Gain",
                "Hall B Mixer",
                "Hall B Amp",
                "Foyer Gain",
                "Board Room Gain",
                "Board Room Mute"
            ]),
            ["Hall", "Hall B", "Board Room", "Hall A"]
        );
        assert_eq!(
            rooms(&["Gain 1", "Gain 2", "Main Gain", "Main Mute", "Lone Gain"]),
            Vec::<String>::new()
        );
        assert_eq!(
            rooms(&["bar_gain", "bar_mute", "Küche.Gain", "Küche.Mute"]),
            ["Küche", "bar"]
        );
        assert_eq!(rooms(&[" ", "", "--", "a--b", "a--c"]), ["a"]);
    }
}
