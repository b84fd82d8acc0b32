//! Two network namespaces joined by a veth pair, gone on drop, and a control loop like the daemon's.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_core::neighbour::{Action, Input, Neighbours, NextHop, Problem};
use lb_userspace::netlink::{Event, Netlink};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::namespace::Namespace;

/// Longest any condition may take; all are met within two seconds or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// The balancer's side has `lb0` with 192.0.2.1/24 and 2001:db8::1/64, the peer `peer0` with .10 and ::10.
pub(crate) struct Lab {
    balancer: Namespace,
    peer: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { balancer: Namespace::new(), peer: Namespace::new() };
        lab.ip(&format!("link add lb0 type veth peer name peer0 netns {}", lab.peer.name()));
        lab.ip("addr add 192.0.2.1/24 dev lb0");
        lab.ip("addr add 2001:db8::1/64 dev lb0 nodad");
        lab.peer_ip("addr add 192.0.2.10/24 dev peer0");
        lab.peer_ip("addr add 2001:db8::10/64 dev peer0 nodad");
        lab.ip("link set lb0 up");
        lab.peer_ip("link set peer0 up");
        let deadline = Instant::now() + PATIENCE;
        while ![&lab.balancer, &lab.peer].iter().all(|side| side.has_ipv6()) {
            assert!(Instant::now() < deadline, "IPv6 did not start on the veth pair");
        }
        lab
    }

    /// `ip` on the balancer's side.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.balancer.ip(arguments)
    }

    /// `ip` on the peer's side.
    pub(crate) fn peer_ip(&self, arguments: &str) -> String {
        self.peer.ip(arguments)
    }

    pub(crate) fn ifindex(&self) -> u32 {
        self.balancer.ifindex("lb0")
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        self.balancer.mac("lb0")
    }

    pub(crate) fn peer_ifindex(&self) -> u32 {
        self.peer.ifindex("peer0")
    }

    pub(crate) fn peer_mac(&self) -> [u8; 6] {
        self.peer.mac("peer0")
    }

    /// Runs on a thread of its own in the balancer's namespace, as the daemon would in its.
    pub(crate) fn run<F: Future<Output = ()>>(&self, body: impl FnOnce() -> F + Send) {
        self.balancer.run(body);
    }

    /// Runs in the peer's namespace.
    pub(crate) fn run_at_peer<F: Future<Output = ()>>(&self, body: impl FnOnce() -> F + Send) {
        self.peer.run(body);
    }

    /// Sees every frame at the peer from now on, on all its devices.
    pub(crate) fn capture_at_peer(&self) -> Capture {
        let all = Protocol::from(i32::from(u16::try_from(libc::ETH_P_ALL).unwrap().to_be()));
        self.peer.inside(|| {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            Capture(socket)
        })
    }
}

/// Frames seen at the peer.
pub(crate) struct Capture(Socket);

impl Capture {
    /// Waits for a frame like this.
    pub(crate) fn find(&mut self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        while Instant::now() < deadline {
            if let Ok(length) = self.0.read(&mut buffer)
                && wanted(&buffer[..length])
            {
                return buffer[..length].to_vec();
            }
        }
        panic!("not seen within {PATIENCE:?}: {what}");
    }
}

/// The neighbour machine with its netlink, as the daemon runs them.
pub(crate) struct Control {
    pub(crate) netlink: Netlink,
    pub(crate) machine: Neighbours,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) told: BTreeMap<IpAddr, Result<NextHop, Problem>>,
}

impl Control {
    pub(crate) fn watching(addresses: &[&str]) -> Self {
        let (sender, events) = mpsc::channel(64);
        let netlink = Netlink::start(sender).unwrap();
        let mut machine = Neighbours::new();
        let set: BTreeSet<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        machine.handle(Input::Watch(set), Instant::now());
        Self { netlink, machine, events, told: BTreeMap::new() }
    }

    /// Runs until the condition holds.
    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let run = async {
            loop {
                while let Some(action) = self.machine.poll_action() {
                    if let Action::Changed { address, next_hop } = &action {
                        self.told.insert(*address, next_hop.clone());
                    }
                    if let Some(input) = self.netlink.perform(&action).await {
                        self.machine.handle(input, Instant::now());
                    }
                }
                if condition(self) {
                    return;
                }
                self.step().await;
            }
        };
        if timeout(PATIENCE, run).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}; told so far: {:#?}", self.told);
        }
    }

    async fn step(&mut self) {
        let wait = self.machine.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        match timeout(wait.unwrap_or(PATIENCE), self.events.recv()).await {
            Ok(Some(Event::Neighbour(input))) => self.machine.handle(input, Instant::now()),
            Ok(Some(Event::HostChanged)) => {}
            Ok(Some(Event::Stopped(error))) => panic!("{error}"),
            Ok(None) => panic!("the monitor ended"),
            Err(_) => self.machine.handle_timeout(Instant::now()),
        }
    }

    /// Runs until a next hop or problem like this is told of the address.
    pub(crate) async fn until_told(
        &mut self,
        address: &str,
        what: &str,
        condition: impl Fn(&Result<NextHop, Problem>) -> bool,
    ) -> Result<NextHop, Problem> {
        let address: IpAddr = address.parse().unwrap();
        self.until(&format!("{address}: {what}"), |control| control.told.get(&address).is_some_and(&condition)).await;
        self.told[&address].clone()
    }
}
