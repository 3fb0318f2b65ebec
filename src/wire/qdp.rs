//! The Q-SYS Discovery Protocol: what every Q-SYS device says of itself about once a second, by multicast, as XML. Only read here.
//!
//! Ports and the group are in Q-SYS Help (Networking, Protocols); the fields are those that devices were seen to send. A device that runs
//! a design, a Core, also announces a `control` with the design's name.

use roxmltree::{Document, Node};

/// The multicast group of the protocol.
pub const GROUP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(224, 0, 23, 175);

/// Its UDP ports, of which devices were seen to use the first.
pub const PORTS: std::ops::RangeInclusive<u16> = 2467..=2470;

/// Longest text of a field that is kept, bytes. A longer one is cut.
const TEXT_MAX_BYTES: usize = 128;

/// Entries of one datagram that are read. A device announces itself alone.
const ENTRIES_MAX: usize = 16;

/// One entry of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// A device on the network.
    Device {
        /// What other entries call it: `device.core.rack-1`.
        reference: String,
        /// Its host name.
        name: String,
        /// Its model; empty where it does not say.
        part: String,
        /// Its addresses as it writes them: LAN A, LAN B, then the auxiliary ports; those that are empty left out.
        addresses: Vec<String>,
    },
    /// The part of a Core that runs a design.
    Control {
        /// The device.
        device: String,
        /// The design's name.
        design: String,
    },
}

/// Reads a datagram. What is no announcement is nothing.
#[must_use]
pub fn read(datagram: &[u8]) -> Vec<Announced> {
    let text = String::from_utf8_lossy(datagram);
    // Without a document type there are no entities that could grow.
    let Ok(document) = Document::parse(text.trim_end_matches('\0').trim()) else {
        return Vec::new();
    };
    let root = document.root_element();
    if !root.has_tag_name("QDP") {
        return Vec::new();
    }
    let entries = root.children().filter(Node::is_element);
    entries.take(ENTRIES_MAX).filter_map(entry).collect()
}

fn entry(node: Node<'_, '_>) -> Option<Announced> {
    let field = |name: &str| {
        let found = node.children().find(|child| child.has_tag_name(name));
        let text = found.and_then(|child| child.text()).unwrap_or_default();
        cut(text.trim()).to_owned()
    };
    match node.tag_name().name() {
        "device" => {
            let ports = ["lan_a_ip", "lan_b_ip", "aux_a_ip", "aux_b_ip"].map(field);
            let device = Announced::Device {
                reference: field("ref"),
                name: field("name"),
                part: field("part_number"),
                addresses: ports.into_iter().filter(|text| !text.is_empty()).collect(),
            };
            Some(device)
        }
        "control" => Some(Announced::Control {
            device: field("device_ref"),
            design: field("design_pretty"),
        }),
        _ => None,
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_MAX_BYTES))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_core_says_who_it_is_and_what_it_runs() {
        let datagram = b"<QDP><device><name>foh-core</name><type>core</type><part_number>Core 110f</part_number>\
            <ref>device.core.foh-core</ref><lan_a_ip>192.168.5.10</lan_a_ip><lan_b_ip></lan_b_ip></device>\
            <control><ref>control.foh-core</ref><device_ref>device.core.foh-core</device_ref>\
            <design_pretty>Great Hall &amp; Foyer</design_pretty></control></QDP>\0";
        let wanted = [
            Announced::Device {
                reference: "device.core.foh-core".to_owned(),
                name: "foh-core".to_owned(),
                part: "Core 110f".to_owned(),
                addresses: vec!["192.168.5.10".to_owned()],
            },
            Announced::Control {
                device: "device.core.foh-core".to_owned(),
                design: "Great Hall & Foyer".to_owned(),
            },
        ];
        assert_eq!(read(datagram), wanted);
    }

    #[test]
    fn questions_of_others_and_other_things_are_nothing() {
        for text in [
            "<QDP><query_ref>device.ioframe.*</query_ref></QDP>",
            "<device><name>x</name></device>",
            "<!DOCTYPE QDP [<!ENTITY a \"b\">]><QDP><device><name>&a;</name></device></QDP>",
            "<QDP>",
            "",
        ] {
            assert_eq!(read(text.as_bytes()), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader_or_makes_it_keep_much(datagram in proptest::collection::vec(any::<u8>(), 0..2048)) {
            prop_assert!(read(&datagram).len() <= ENTRIES_MAX);
        }

        #[test]
        fn texts_are_bounded(name in ".{0,400}", count in 0_usize..40) {
            let escaped = name.replace('&', "&amp;").replace('<', "&lt;");
            let one = format!("<device><name>{escaped}</name></device>");
            for announced in read(format!("<QDP>{}</QDP>", one.repeat(count)).as_bytes()) {
                let Announced::Device { name, .. } = announced else { unreachable!() };
                prop_assert!(name.len() <= TEXT_MAX_BYTES);
            }
        }
    }
}
