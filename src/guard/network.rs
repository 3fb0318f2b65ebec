//! Networks from which a key may be used.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that begin with the same bits: `192.168.5.0/24`, or one address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address lies in it. IPv4 within IPv6 counts as IPv4.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        self.address == masked(address.to_canonical(), self.bits)
            && self.address.is_ipv4() == address.to_canonical().is_ipv4()
    }

    /// Whether every address of the other lies in it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.bits <= other.bits && self.has(other.address)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with all but its first bits at zero.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32)));
            IpAddr::V4((v4.to_bits() & mask.unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128)));
            IpAddr::V6((v6.to_bits() & mask.unwrap_or(0)).into())
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "{text:?} is no network: write one such as 192.168.5.0/24, fd00:5::/64 or 192.168.5.20"
            )
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        if address.to_canonical() != address {
            return Err(format!(
                "{text:?} is IPv4 written as IPv6: write {}",
                address.to_canonical()
            ));
        }
        let width = width(address);
        let is_number = |bits: &&str| bits.bytes().all(|digit| digit.is_ascii_digit());
        let bits = match bits {
            None => width,
            Some(bits) => Some(bits)
                .filter(is_number)
                .and_then(|bits| bits.parse().ok())
                .filter(|bits| *bits <= width)
                .ok_or_else(wrong)?,
        };
        let network = Self {
            address: masked(address, bits),
            bits,
        };
        if network.address != address {
            return Err(format!(
                "{text:?} has an address within a network: did you mean {network}?"
            ));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == width(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

impl serde::Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        for (text, within, beyond) in [
            ("192.168.5.0/24", "192.168.5.255", "192.168.6.0"),
            ("192.168.5.0/24", "::ffff:192.168.5.9", "::192.168.5.9"),
            ("192.168.5.20", "192.168.5.20", "192.168.5.21"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("fd00:5::/64", "fd00:5::1:2:3:4", "fd00:5:0:1::1"),
            ("::1", "::1", "127.0.0.1"),
            ("128.0.0.0/1", "200.1.1.1", "1.1.1.1"),
        ] {
            assert!(
                network(text).has(within.parse().unwrap()),
                "{text} {within}"
            );
            assert!(
                !network(text).has(beyond.parse().unwrap()),
                "{text} {beyond}"
            );
            assert_eq!(network(text).to_string(), text);
        }
        assert!(network("0.0.0.0/0").has("8.8.8.8".parse().unwrap()));
        assert!(!network("0.0.0.0/0").has("fd00::1".parse().unwrap()));
        assert!(!network("::/0").has("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn a_network_covers_what_is_no_wider() {
        assert!(network("192.168.0.0/16").covers(network("192.168.5.0/24")));
        assert!(!network("192.168.5.0/24").covers(network("192.168.0.0/16")));
        assert!(!network("10.0.0.0/8").covers(network("192.168.5.0/24")));
    }

    #[test]
    fn what_is_no_network_says_how_one_is_written() {
        for (text, hint) in [
            ("192.168.5.7/24", "did you mean 192.168.5.0/24?"),
            ("192.168.5.0/33", "write one such as"),
            ("192.168.5.0/-1", "write one such as"),
            ("192.168.5.0/+8", "write one such as"),
            ("192.168.5", "write one such as"),
            ("rack.local", "write one such as"),
            ("", "write one such as"),
            ("::ffff:192.168.5.0/120", "write 192.168.5.0"),
        ] {
            let fault = text.parse::<Network>().unwrap_err();
            assert!(fault.contains(hint), "{fault}");
        }
    }
}
