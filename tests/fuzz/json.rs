//! JSON that is nearly right: a line of a seed file, bent in its structure, in its text, or in both.

use std::fmt;
use std::marker::PhantomData;

use bolero::{Driver, TypeGenerator};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Which conversation the frames come from.
pub(crate) trait Seeds: fmt::Debug + 'static {
    /// One frame a line.
    const LINES: &'static str;
}

macro_rules! seeds {
    ($($(#[$doc:meta])* $name:ident $file:literal,)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone)]
            pub(crate) struct $name;

            impl Seeds for $name {
                const LINES: &'static str = include_str!($file);
            }
        )+
    };
}

seeds! {
    /// What a Core sends.
    FromCore "seeds/from_core.jsonl",
    /// What a Core is sent.
    ToCore "seeds/to_core.jsonl",
    /// What MCP clients post.
    Mcp "seeds/mcp.jsonl",
    /// Answers to polls, and pushed ones.
    Polls "seeds/polls.jsonl",
}

/// A frame that is nearly right.
#[derive(Clone)]
pub(crate) struct Bent<S> {
    /// The frame.
    pub(crate) text: String,
    seeds: PhantomData<S>,
}

impl<S> fmt::Debug for Bent<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<S: Seeds> TypeGenerator for Bent<S> {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let lines: Vec<&str> = S::LINES.lines().collect();
        let line = lines[driver.produce::<usize>()? % lines.len()];
        let mut node: Node = serde_json::from_str(line).expect("seeds are JSON");
        for _ in 0..driver.produce::<u8>()? % 5 {
            driver.produce::<Bend>()?.apply(&mut node);
        }
        let mut text = node.to_string();
        // Half of the frames stay JSON, so that what lies behind the parser is reached as well.
        if driver.produce()? {
            for _ in 0..driver.produce::<u8>()? % 4 {
                driver.produce::<Slip>()?.apply(&mut text);
            }
        }
        Some(Self {
            text,
            seeds: PhantomData,
        })
    }
}

/// JSON as it is written: order and repetitions kept, leaves as text that need not be JSON any more.
#[derive(Clone)]
enum Node {
    Leaf(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Map(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(
                        f,
                        "{comma}{}:{value}",
                        serde_json::Value::from(name.as_str())
                    )?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf("null".into()))
            }

            fn visit_bool<E>(self, on: bool) -> Result<Node, E> {
                Ok(Node::Leaf(on.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Leaf(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Leaf(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                Ok(Node::Leaf(format!("{number:?}")))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Leaf(serde_json::Value::from(text).to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Map(members))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

impl Node {
    fn count(&self) -> usize {
        1 + match self {
            Self::Leaf(_) => 0,
            Self::List(items) => items.iter().map(Self::count).sum(),
            Self::Map(members) => members.iter().map(|(_, value)| value.count()).sum(),
        }
    }

    /// The node with this number, counted from the root down; numbers go round.
    fn nth(&mut self, number: u16) -> &mut Self {
        let number = usize::from(number) % self.count();
        self.descend(number)
    }

    fn descend(&mut self, mut number: usize) -> &mut Self {
        if number == 0 {
            return self;
        }
        number -= 1;
        let children: Vec<&mut Self> = match self {
            Self::Leaf(_) => Vec::new(),
            Self::List(items) => items.iter_mut().collect(),
            Self::Map(members) => members.iter_mut().map(|(_, value)| value).collect(),
        };
        for child in children {
            let count = child.count();
            if number < count {
                return child.descend(number);
            }
            number -= count;
        }
        unreachable!("the number is below the count of nodes")
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::List(items) => items.len(),
            Self::Map(members) => members.len(),
        }
    }
}

/// A change of the structure. Numbers name a node, a child of it, or both, and go round.
#[derive(Debug, Clone, TypeGenerator)]
enum Bend {
    Replace(u16, Odd),
    Transplant(u16, u16),
    Remove(u16, u8),
    Repeat(u16, u8),
    /// Past the 64 changes that are handed on in one batch.
    Grow(u16, u8),
    Swap(u16, u8, u8),
    Rename(u16, u8, Member),
    Insert(u16, Member, Odd),
    Nest(u16, u8, bool),
}

/// Deeper than the 128 levels at which `serde_json` gives up.
const NEST_MAX: u8 = 150;

impl Bend {
    fn apply(self, root: &mut Node) {
        let child = |node: &Node, number: u8| usize::from(number) % node.len().max(1);
        match self {
            Self::Replace(at, odd) => *root.nth(at) = odd.node(),
            Self::Transplant(from, to) => {
                let copy = root.nth(from).clone();
                *root.nth(to) = copy;
            }
            Self::Remove(at, number) => {
                let node = root.nth(at);
                let number = child(node, number);
                match node {
                    Node::List(items) if !items.is_empty() => drop(items.remove(number)),
                    Node::Map(members) if !members.is_empty() => drop(members.remove(number)),
                    _ => {}
                }
            }
            Self::Repeat(at, number) => repeat(root.nth(at), number, 1),
            Self::Grow(at, times) => repeat(root.nth(at), times, times),
            Self::Swap(at, one, other) => {
                let node = root.nth(at);
                let (one, other) = (child(node, one), child(node, other));
                match node {
                    Node::List(items) if !items.is_empty() => items.swap(one, other),
                    Node::Map(members) if !members.is_empty() => members.swap(one, other),
                    _ => {}
                }
            }
            Self::Rename(at, number, name) => {
                let node = root.nth(at);
                let number = child(node, number);
                if let Node::Map(members) = node
                    && let Some(member) = members.get_mut(number)
                {
                    name.as_str().clone_into(&mut member.0);
                }
            }
            Self::Insert(at, name, odd) => match root.nth(at) {
                Node::List(items) => items.push(odd.node()),
                Node::Map(members) => members.insert(0, (name.as_str().to_owned(), odd.node())),
                leaf @ Node::Leaf(_) => *leaf = odd.node(),
            },
            Self::Nest(at, depth, is_map) => {
                let node = root.nth(at);
                for _ in 0..depth % NEST_MAX {
                    let inner = std::mem::replace(node, Node::Leaf(String::new()));
                    *node = if is_map {
                        Node::Map(vec![("Name".to_owned(), inner)])
                    } else {
                        Node::List(vec![inner])
                    };
                }
            }
        }
    }
}

/// Nodes that repetition may make of one: it can be repeated itself.
const REPEATED_MAX: usize = 4_000;

fn repeat(node: &mut Node, number: u8, times: u8) {
    let number = usize::from(number) % node.len().max(1);
    let affordable = |item: &Node| usize::from(times).min(REPEATED_MAX / item.count());
    match node {
        Node::List(items) if !items.is_empty() => {
            let item = items[number].clone();
            let times = affordable(&item);
            items.extend(std::iter::repeat_n(item, times));
        }
        Node::Map(members) if !members.is_empty() => {
            let member = members[number].clone();
            let times = affordable(&member.1);
            members.extend(std::iter::repeat_n(member, times));
        }
        _ => {}
    }
}

/// A change of the text. Places go round.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Slip {
    Cut(u16),
    Delete(u16, u8),
    Insert(u16, Odd),
    Char(u16, char),
    Repeat(u16, u8),
}

impl Slip {
    pub(crate) fn apply(self, text: &mut String) {
        let place =
            |text: &str, at: u16| text.floor_char_boundary(usize::from(at) % (text.len() + 1));
        let span = |text: &str, at: u16, len: u8| {
            let start = place(text, at);
            start..text.floor_char_boundary((start + usize::from(len)).min(text.len()))
        };
        match self {
            Self::Cut(at) => text.truncate(place(text, at)),
            Self::Delete(at, len) => text.replace_range(span(text, at, len), ""),
            Self::Insert(at, odd) => text.insert_str(place(text, at), &odd.text()),
            Self::Char(at, character) => text.insert(place(text, at), character),
            Self::Repeat(at, len) => {
                let span = span(text, at, len);
                let again = text[span.clone()].to_owned();
                text.insert_str(span.end, &again);
            }
        }
    }
}

/// Something that nobody expects there.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Odd {
    Listed(u8),
    Number(f64),
    Whole(i64),
    Small(i8),
    Text(String),
    /// Longer than a name, longer than a text that is kept.
    Long(u16),
}

const ODD: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "0.0",
    "1",
    "2",
    "-1",
    "1.5",
    "1e400",
    "-1e400",
    "1e-400",
    "1.7976931348623157e308",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1",
    "00",
    "+1",
    ".5",
    "NaN",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\u00e9\"",
    "\"\u{1F50A} lauter\"",
    "\"a\\\\b\\\"c\\/\"",
    "\"\u{7f}\"",
    "\"1\"",
    "\"true\"",
    "{}",
    "[]",
    "[[]]",
    "[null]",
    "{\"\":{}}",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "\n",
    "\u{0}",
    "\u{feff}",
    "\"Gain\"",
    "\"gain\"",
    "\"mute\"",
    "\"Active\"",
    "\"Standby\"",
    "\"Read Only\"",
    "\"*\"",
    "\"1-4 !2\"",
    "\"g1\"",
    "-32604",
    "6",
    "7",
    "8",
    "10",
];

impl Odd {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Listed(number) => ODD[usize::from(number) % ODD.len()].to_owned(),
            // Not finite is not JSON: these reach the parser's own refusal.
            Self::Number(number) => number.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Small(number) => number.to_string(),
            Self::Text(text) => serde_json::Value::from(text).to_string(),
            Self::Long(len) => format!("\"{}\"", "ü".repeat(usize::from(len % 600))),
        }
    }

    fn node(self) -> Node {
        Node::Leaf(self.text())
    }
}

/// A member's name that means something somewhere.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Member(u8);

const MEMBERS: &[&str] = &[
    "id",
    "jsonrpc",
    "method",
    "params",
    "result",
    "error",
    "apiKey",
    "code",
    "message",
    "data",
    "Id",
    "Changes",
    "Component",
    "Name",
    "Controls",
    "Value",
    "Position",
    "String",
    "Choices",
    "Color",
    "Legend",
    "Ramp",
    "ResponseValues",
    "Type",
    "Direction",
    "ValueMin",
    "ValueMax",
    "StringMin",
    "StringMax",
    "Properties",
    "State",
    "DesignName",
    "DesignCode",
    "IsRedundant",
    "Status",
    "Platform",
    "Rate",
    "Bank",
    "Inputs",
    "Outputs",
    "Cues",
    "Indeterminate",
    "Invisible",
    "Disabled",
    "CssClass",
    "",
    "ID",
];

impl Member {
    fn as_str(&self) -> &'static str {
        MEMBERS[usize::from(self.0) % MEMBERS.len()]
    }
}
