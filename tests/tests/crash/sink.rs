//! Datagrams to every VIP, each of a new flow, and that each arrives at a real server.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::lab::{Host, wait_until};

use super::configurations::PORT;

const DEADLINE: Duration = Duration::from_secs(5);

/// A socket on each real server, for all addresses that it has.
pub(crate) struct Sink {
    sockets: Vec<UdpSocket>,
    sent: u32,
}

impl Sink {
    pub(crate) fn open(servers: &[Host]) -> Result<Self> {
        let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
        let mut sockets = Vec::new();
        for server in servers {
            let socket = server.enter(|| UdpSocket::bind(everywhere))?;
            let socket = socket.with_context(|| format!("cannot bind {everywhere} on {}", server.name()))?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        Ok(Self { sockets, sent: 0 })
    }

    /// Sends one datagram to each VIP from a new port of the client; all arrive. None is sent again.
    pub(crate) fn reach(&mut self, client: &Host, vips: &[IpAddr]) -> Result<()> {
        let socket = client.enter(|| UdpSocket::bind(at(client.v4(), 0)))??;
        let mut missing = BTreeSet::new();
        for vip in vips {
            self.sent += 1;
            socket.send_to(&self.sent.to_be_bytes(), at(*vip, PORT)).with_context(|| format!("to {vip}"))?;
            missing.insert((self.sent, *vip));
        }
        wait_until("a new flow to each VIP reaches a real server", DEADLINE, || {
            let mut buffer = [0; 4];
            for socket in &self.sockets {
                while let Ok(4) = socket.recv(&mut buffer) {
                    missing.retain(|(number, _)| *number != u32::from_be_bytes(buffer));
                }
            }
            ensure!(
                missing.is_empty(),
                "nothing arrived for {:?}",
                missing.iter().map(|(_, vip)| vip).collect::<Vec<_>>()
            );
            Ok(())
        })
    }
}
