//! Under which names and addresses clients reach this machine, and for which of them its own authority may sign.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sysinfo::{NetworkData, Networks};

use crate::limits::CERTIFICATE_NAMES_MAX;

/// Domains that exist on local networks alone: an authority that signs for nothing else cannot pose as a site of the internet, should its
/// key be stolen from the box (RFC 6761, RFC 6762, RFC 8375, and what home and office routers use).
const LOCAL_DOMAINS: [&str; 5] = ["local", "localhost", "lan", "internal", "home.arpa"];

/// Networks that exist on local networks alone (RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291).
const LOCAL_NETWORKS: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "::1/128",
];

/// The names and addresses of this machine: the configured ones first, then its host name with and without `.local`, then what is found on
/// its interfaces, sorted. At most [`CERTIFICATE_NAMES_MAX`].
pub(super) fn of_this_machine(configured: &[String]) -> Vec<String> {
    let host = sysinfo::System::host_name().unwrap_or_default();
    let networks = Networks::new_with_refreshed_list();
    let addresses = networks
        .iter()
        .flat_map(|networks| networks.values())
        .flat_map(NetworkData::ip_networks)
        .map(|network| network.addr);
    collect(configured, &host, addresses)
}

fn collect(
    configured: &[String],
    host: &str,
    addresses: impl Iterator<Item = IpAddr>,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        let is_usable = name.parse::<IpAddr>().is_ok() || is_host_name(&name);
        if is_usable && !names.contains(&name) && names.len() < CERTIFICATE_NAMES_MAX {
            names.push(name);
        }
    };
    for name in configured {
        add(name.to_ascii_lowercase());
    }
    let host = host.to_ascii_lowercase();
    if !host.is_empty() && host != "localhost" {
        if !host.contains('.') {
            add(format!("{host}.local"));
        }
        add(host);
    }
    add("localhost".to_owned());
    // Link-local addresses of IPv6 need a scope, which no certificate can name.
    let found: BTreeSet<IpAddr> = addresses
        .chain([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
        .filter(|address| match address {
            IpAddr::V4(address) => !address.is_unspecified(),
            IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_unspecified(),
        })
        .collect();
    for address in found {
        add(address.to_string());
    }
    names
}

/// Whether a text is a host name as it can stand in a certificate (RFC 1123, section 2.1; underscores are seen in the field).
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// For what an authority may sign.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Permitted {
    /// These host names, and everything below them.
    pub(super) names: Vec<String>,
    /// These networks, as `address/bits`.
    pub(super) networks: Vec<String>,
}

impl Permitted {
    /// What is local, and these names.
    pub(super) fn local_and(names: &[String]) -> Self {
        let mut permitted = Self {
            names: LOCAL_DOMAINS.map(ToOwned::to_owned).to_vec(),
            networks: LOCAL_NETWORKS.map(ToOwned::to_owned).to_vec(),
        };
        for name in names {
            if permitted.permits(name) {
                continue;
            }
            match name.parse::<IpAddr>() {
                Ok(address) => {
                    let bits = if address.is_ipv4() { 32 } else { 128 };
                    permitted.networks.push(format!("{address}/{bits}"));
                }
                Err(_) => permitted.names.push(name.clone()),
            }
        }
        permitted
    }

    /// Whether a name or address is among them.
    pub(super) fn permits(&self, name: &str) -> bool {
        match name.parse::<IpAddr>() {
            Ok(address) => self.networks().any(|(network, bits)| {
                prefix(address, bits).is_some_and(|own| Some(own) == prefix(network, bits))
            }),
            Err(_) => self.names.iter().any(|permitted| {
                name.strip_suffix(permitted.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }

    /// The networks, read. One that cannot be read permits nothing.
    pub(super) fn networks(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        self.networks.iter().filter_map(|text| {
            let (address, bits) = text.split_once('/')?;
            Some((address.parse().ok()?, bits.parse().ok()?))
        })
    }
}

/// The first bits of an address, with its kind: addresses of two kinds never agree.
fn prefix(address: IpAddr, bits: u8) -> Option<(bool, u128)> {
    let (value, width): (u128, u32) = match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let shift = width.checked_sub(bits.into())?;
    Some((width == 32, value.checked_shr(shift).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_goes_by_its_names_and_by_addresses_that_a_url_can_name() {
        let addresses = [
            "fe80::1",
            "192.168.1.5",
            "127.0.0.1",
            "fd00::5",
            "192.168.1.5",
        ];
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        let configured = ["Rack.Example".to_owned(), "not a name".to_owned()];
        assert_eq!(
            collect(&configured, "FOH-rack", addresses),
            [
                "rack.example",
                "foh-rack.local",
                "foh-rack",
                "localhost",
                "127.0.0.1",
                "192.168.1.5",
                "::1",
                "fd00::5"
            ]
        );
    }

    #[test]
    fn only_local_names_and_those_named_are_permitted() {
        let permitted =
            Permitted::local_and(&["rack.example".to_owned(), "203.0.113.7".to_owned()]);
        for name in [
            "foh.local",
            "localhost",
            "rack.example",
            "a.rack.example",
            "10.1.2.3",
            "172.31.0.1",
            "127.0.0.1",
            "::1",
            "fd12::1",
            "203.0.113.7",
        ] {
            assert!(permitted.permits(name), "{name}");
        }
        for name in [
            "example",
            "evilrack.example",
            "local.example",
            "bank.com",
            "172.32.0.1",
            "8.8.8.8",
            "203.0.113.8",
            "2001:db8::1",
        ] {
            assert!(!permitted.permits(name), "{name}");
        }
    }
}
