//! Short texts for models: how to work with such a system. They change with the program alone.

/// A guide.
#[derive(Debug)]
pub(super) struct Guide {
    /// Last part of its URI.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) text: &'static str,
}

/// Every guide, in the order in which they are listed.
pub(super) const ALL: [Guide; 3] = [
    Guide {
        name: "reading",
        title: "How to read values",
        description: "Where to begin, and how far a value can be trusted.",
        text: include_str!("guide/reading.md"),
    },
    Guide {
        name: "writing",
        title: "How to write safely",
        description: "What to do before and after a change to a live system.",
        text: include_str!("guide/writing.md"),
    },
    Guide {
        name: "units",
        title: "Units and ranges",
        description: "What the numbers mean: decibels, switches, status codes.",
        text: include_str!("guide/units.md"),
    },
];
