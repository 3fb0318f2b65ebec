//! How a box is on the network, and the files that say so to systemd-networkd.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use toml::Value;

use crate::base::file;
use crate::config::Problems;

/// Longest name of an interface, bytes (`IFNAMSIZ` less the end).
const INTERFACE_MAX: usize = 15;

/// The interfaces that the first port may be, where none is named.
const ANY_INTERFACE: &str = "en* eth*";

/// `[network]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Network {
    main: Option<Port>,
    second: Option<Port>,
    serve: Serve,
}

/// Which port serves clients.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Serve {
    #[default]
    Both,
    Main,
    Second,
}

/// One port. Without an address it asks for one (DHCP), and takes a link-local one meanwhile.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Port {
    interface: Option<String>,
    /// With its prefix: `192.168.5.23/24`.
    address: Option<String>,
    gateway: Option<IpAddr>,
    dns: Vec<IpAddr>,
    ntp: Vec<String>,
    vlan: Option<u16>,
}

impl Network {
    pub(super) fn read(value: Option<Value>, problems: &mut Problems) -> Self {
        let Some(Value::Table(mut table)) = value else {
            if value.is_some() {
                problems.note("network", "this is a section: write it in square brackets");
            }
            return Self::default();
        };
        // One by one, so that a fault of one port does not hide those of the other.
        let mut port = |name: &str| {
            let value = table.remove(name)?;
            let at = format!("network.{name}");
            match value.try_into::<Port>() {
                Ok(port) => {
                    port.check(&at, problems);
                    Some(port)
                }
                Err(fault) => {
                    problems.note(at, fault.message());
                    None
                }
            }
        };
        let (main, second) = (port("main"), port("second"));
        let rest: Self = Value::Table(table)
            .try_into()
            .unwrap_or_else(|fault: toml::de::Error| {
                problems.note("network", fault.message());
                Self::default()
            });
        let network = Self {
            main,
            second,
            ..rest
        };
        if network.second.is_some()
            && let (Some(main), Some(second)) = (&network.main, &network.second)
            && (main.interface.is_none()
                || second.interface.is_none()
                || (main.interface == second.interface && main.vlan == second.vlan))
        {
            problems.note(
                "network.second",
                "with two ports, each names an `interface` of its own",
            );
        }
        network
    }

    /// The address on which alone clients are served, if it is one.
    pub(super) fn serving(&self, problems: &mut Problems) -> Option<String> {
        let port = match self.serve {
            Serve::Both => return None,
            Serve::Main => &self.main,
            Serve::Second => &self.second,
        };
        let address = port.as_ref().and_then(Port::bare);
        if address.is_none() {
            problems.note(
                "network.serve",
                "the port that serves alone needs an `address` of its own",
            );
        }
        address
    }

    /// The addresses that nobody else may have.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        [&self.main, &self.second]
            .into_iter()
            .flatten()
            .filter_map(Port::bare)
            .map(|address| format!("address {address}"))
    }

    pub(super) fn summary(&self) -> String {
        let of = |port: &Option<Port>| {
            let port = port.as_ref()?;
            let vlan = port.vlan.map(|vlan| format!(" VLAN {vlan}"));
            let address = port.address.as_deref().unwrap_or("DHCP");
            Some(format!("{address}{}", vlan.unwrap_or_default()))
        };
        let ports: Vec<String> = [of(&self.main), of(&self.second)]
            .into_iter()
            .flatten()
            .collect();
        if ports.is_empty() {
            "DHCP".to_owned()
        } else {
            ports.join(" and ")
        }
    }

    /// Writes the files of systemd-networkd, in place of those that were there.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let made = || -> std::io::Result<()> {
            match fs::remove_dir_all(folder) {
                Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault),
                _ => {}
            }
            fs::create_dir_all(folder)?;
            for (number, name, port) in [(10, "main", &self.main), (20, "second", &self.second)] {
                let Some(port) = port else { continue };
                for (file, text) in port.files(&format!("{number}-rackhand-{name}")) {
                    file::replace(&folder.join(file), text.as_bytes())?;
                }
            }
            Ok(())
        };
        made().with_context(|| format!("could not write {}", folder.display()))
    }
}

impl Port {
    fn bare(&self) -> Option<String> {
        let (address, _) = self.address.as_deref()?.split_once('/')?;
        Some(address.to_owned())
    }

    fn check(&self, at: &str, problems: &mut Problems) {
        let mut note = |key: &str, message: String| problems.note(format!("{at}.{key}"), message);
        if let Some(interface) = &self.interface
            && !is_interface(interface)
        {
            note(
                "interface",
                format!("\"{interface}\" is no interface such as \"end0\""),
            );
        }
        if self.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            note("vlan", "a VLAN is 1 to 4094".to_owned());
        }
        if self.vlan.is_some() && self.interface.is_none() {
            note(
                "interface",
                "a VLAN needs the interface that it is on".to_owned(),
            );
        }
        for name in &self.ntp {
            if name.parse::<IpAddr>().is_err() && !crate::tls::is_host_name(name) {
                note(
                    "ntp",
                    format!("\"{name}\" is neither a name nor an address"),
                );
            }
        }
        let Some(text) = &self.address else {
            if self.gateway.is_some() {
                note(
                    "gateway",
                    "a gateway needs an `address` beside it".to_owned(),
                );
            }
            return;
        };
        match subnet(text) {
            None => note(
                "address",
                format!(
                    "\"{text}\" is no address of a machine with its prefix, such as \"192.168.5.23/24\""
                ),
            ),
            Some((address, bits)) => {
                if let Some(gateway) = self.gateway
                    && (gateway == address || network(gateway, bits) != network(address, bits))
                {
                    note(
                        "gateway",
                        format!("{gateway} is not in the network of {text}"),
                    );
                }
            }
        }
    }

    fn files(&self, name: &str) -> Vec<(String, String)> {
        let interface = self.interface.as_deref().unwrap_or(ANY_INTERFACE);
        let Some(vlan) = self.vlan else {
            return vec![(format!("{name}.network"), self.unit(interface))];
        };
        let inner = format!("{interface}.{vlan}");
        let netdev = format!("[NetDev]\nName={inner}\nKind=vlan\n\n[VLAN]\nId={vlan}\n");
        let outer = format!(
            "[Match]\nName={interface}\n\n[Network]\nLinkLocalAddressing=no\nVLAN={inner}\n"
        );
        vec![
            (format!("{name}-vlan.netdev"), netdev),
            (format!("{name}-vlan.network"), outer),
            (format!("{name}.network"), self.unit(&inner)),
        ]
    }

    fn unit(&self, interface: &str) -> String {
        let mut text = format!("[Match]\nName={interface}\n\n[Network]\nMulticastDNS=yes\n");
        // Writing to a string never fails.
        match &self.address {
            Some(address) => {
                let _ = writeln!(text, "LinkLocalAddressing=ipv6\nAddress={address}");
            }
            None => text.push_str("LinkLocalAddressing=yes\nDHCP=yes\n"),
        }
        if let Some(gateway) = self.gateway {
            let _ = writeln!(text, "Gateway={gateway}");
        }
        for server in &self.dns {
            let _ = writeln!(text, "DNS={server}");
        }
        for server in &self.ntp {
            let _ = writeln!(text, "NTP={server}");
        }
        text
    }
}

fn is_interface(name: &str) -> bool {
    (1..=INTERFACE_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The address and its prefix, if a machine can have them.
fn subnet(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    if !(1..=most).contains(&bits) || address.is_unspecified() || address.is_multicast() {
        return None;
    }
    if let IpAddr::V4(v4) = address
        && bits < 31
    {
        let host = u32::from(v4) & (u32::MAX >> bits);
        if host == 0 || host == u32::MAX >> bits {
            return None;
        }
    }
    Some((address, bits))
}

fn network(address: IpAddr, bits: u8) -> u128 {
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    number.checked_shr(width - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_a_machine_can_have() {
        for good in [
            "192.168.5.23/24",
            "10.0.0.1/31",
            "10.0.0.1/32",
            "fd00::7/64",
        ] {
            assert!(subnet(good).is_some(), "{good}");
        }
        for bad in [
            "192.168.5.23",
            "192.168.5.0/24",
            "192.168.5.255/24",
            "0.0.0.0/8",
            "224.0.0.1/4",
            "192.168.5.1/0",
            "192.168.5.1/33",
            "host/24",
            "",
        ] {
            assert!(subnet(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn nothing_said_is_the_network_as_the_image_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::read(None, &mut Problems::default());
        network.write(&folder.path().join("network")).unwrap();
        assert_eq!(
            fs::read_dir(folder.path().join("network")).unwrap().count(),
            0
        );
        assert_eq!(network.summary(), "DHCP");
    }
}
