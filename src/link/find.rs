//! Finds Cores on the network: listens to what they announce, and sends nothing, so that a show notices nothing of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use sysinfo::{NetworkData, Networks};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::limits::{DATAGRAM_MAX_BYTES, FOUND_DEVICES_MAX};
use crate::wire::qdp::{self, Announced};

/// A Q-SYS device that announced itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its host name.
    pub name: String,
    /// Its model; empty where it does not say.
    pub part: String,
    /// The address by which it is reached.
    pub address: IpAddr,
    /// The design that it runs, which makes it a Core; empty otherwise.
    pub design: String,
}

/// Listens for this long on every network of this machine. Cores come first.
///
/// # Errors
///
/// No port can be listened on.
pub async fn find(time: Duration) -> io::Result<Vec<Found>> {
    let sockets: io::Result<Vec<UdpSocket>> = qdp::PORTS.map(|port| joined(port, &own())).collect();
    Ok(listen(sockets?, time).await)
}

/// The addresses of this machine's networks.
fn own() -> Vec<Ipv4Addr> {
    let Ok(networks) = Networks::new_with_refreshed_list() else {
        return Vec::new();
    };
    let addresses = networks.values().flat_map(NetworkData::ip_networks);
    addresses
        .filter_map(|network| match network.addr {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect()
}

/// A socket on this port that is in the group on each of these networks. Others of this machine may listen there as well.
fn joined(port: u16, networks: &[Ipv4Addr]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Bound to the group, so that nothing else that is sent to the port is heard.
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(qdp::GROUP, port)).into())?;
    for network in networks {
        // A network without multicast is one on which there is nothing to hear.
        let _ = socket.join_multicast_v4(&qdp::GROUP, network);
    }
    UdpSocket::from_std(socket.into())
}

async fn listen(sockets: Vec<UdpSocket>, time: Duration) -> Vec<Found> {
    let end = Instant::now() + time;
    let mut listeners = JoinSet::new();
    for socket in sockets {
        listeners.spawn(async move {
            let mut heard = Heard::default();
            let mut datagram = vec![0; DATAGRAM_MAX_BYTES];
            while let Ok(Ok((length, from))) =
                timeout_at(end, socket.recv_from(&mut datagram)).await
            {
                heard.take(datagram.get(..length).unwrap_or_default(), from.ip());
            }
            heard
        });
    }
    let mut all = Heard::default();
    for heard in listeners.join_all().await {
        all.add(heard);
    }
    all.found()
}

/// What was heard so far, by the name that a device has among others.
#[derive(Debug, Default)]
struct Heard {
    devices: BTreeMap<String, Found>,
    designs: BTreeMap<String, String>,
}

impl Heard {
    fn take(&mut self, datagram: &[u8], from: IpAddr) {
        for announced in qdp::read(datagram) {
            match announced {
                Announced::Device {
                    reference,
                    name,
                    part,
                    addresses,
                } if has_room(&self.devices, &reference) => {
                    // Where it says of itself that it is, unless that is no address: then where it was heard from.
                    let address = addresses.iter().find_map(|text| text.parse().ok());
                    let found = Found {
                        name,
                        part,
                        address: address.unwrap_or(from),
                        design: String::new(),
                    };
                    self.devices.insert(reference, found);
                }
                Announced::Control { device, design } if has_room(&self.designs, &device) => {
                    self.designs.insert(device, design);
                }
                Announced::Device { .. } | Announced::Control { .. } => {}
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.devices.extend(other.devices);
        self.designs.extend(other.designs);
    }

    fn found(self) -> Vec<Found> {
        let mut designs = self.designs;
        let mut found: Vec<Found> = self
            .devices
            .into_iter()
            .map(|(reference, device)| Found {
                design: designs.remove(&reference).unwrap_or_default(),
                ..device
            })
            .collect();
        found.sort_by_key(|device| (device.design.is_empty(), device.name.clone()));
        found.truncate(FOUND_DEVICES_MAX);
        found
    }
}

fn has_room<V>(table: &BTreeMap<String, V>, name: &str) -> bool {
    table.len() < FOUND_DEVICES_MAX || table.contains_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: &str = "<QDP><device><name>foh-core</name><part_number>Core 110f</part_number><ref>device.core.foh</ref>\
        <lan_a_ip>192.168.5.10</lan_a_ip></device></QDP>";
    const DESIGN: &str = "<QDP><control><device_ref>device.core.foh</device_ref><design_pretty>Hall</design_pretty></control></QDP>";
    const STAGE_BOX: &str =
        "<QDP><device><name>a-stage-box</name><ref>device.ioframe.stage</ref></device></QDP>";

    #[test]
    fn cores_come_first_and_a_device_without_an_address_is_where_it_was_heard_from() {
        let mut heard = Heard::default();
        let from = IpAddr::V4(Ipv4Addr::new(192, 168, 5, 77));
        for datagram in [STAGE_BOX, CORE, DESIGN, CORE] {
            heard.take(datagram.as_bytes(), from);
        }
        let found = heard.found();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].name.as_str(), found[0].design.as_str()),
            ("foh-core", "Hall")
        );
        assert_eq!(found[0].address.to_string(), "192.168.5.10");
        assert_eq!(found[1].address, from);
    }

    #[test]
    fn a_flood_of_made_up_devices_is_bounded() {
        let mut heard = Heard::default();
        for number in 0..10 * FOUND_DEVICES_MAX {
            let text = format!(
                "<QDP><device><ref>{number}</ref></device><control><device_ref>{number}</device_ref></control></QDP>"
            );
            heard.take(text.as_bytes(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        assert_eq!(heard.devices.len(), FOUND_DEVICES_MAX);
        assert_eq!(heard.designs.len(), FOUND_DEVICES_MAX);
    }

    #[tokio::test]
    async fn what_is_announced_on_a_network_is_heard_there() {
        // A port of its own, so that a real device near this machine is not heard.
        let port = 24_670;
        let socket = joined(port, &[Ipv4Addr::LOCALHOST]).unwrap();
        let sender = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        sender.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        let to = SocketAddr::V4(SocketAddrV4::new(qdp::GROUP, port)).into();
        for datagram in [CORE, DESIGN, "noise"] {
            sender.send_to(datagram.as_bytes(), &to).unwrap();
        }
        // All are in the socket's buffer already: the time only ends the listening.
        let found = listen(vec![socket], Duration::from_millis(200)).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].design, "Hall");
    }
}
