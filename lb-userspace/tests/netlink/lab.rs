//! Two network namespaces joined by a veth pair, gone on drop, and a control loop like the daemon's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lb_core::neighbour::{Action, Input, Neighbours, NextHop, Problem};
use lb_userspace::netlink::{Event, Netlink};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest any condition may take; all are met within two seconds or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// The balancer's side has `lb0` with 192.0.2.1/24 and 2001:db8::1/64, the peer `peer0` with .10 and ::10.
pub(crate) struct Lab {
    balancer: String,
    peer: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root (sudo -E cargo test -p lb-userspace --test netlink)"
        );
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { balancer: format!("lb-nl-{unique}-a"), peer: format!("lb-nl-{unique}-b") };
        for namespace in [&lab.balancer, &lab.peer] {
            run(&["ip", "netns", "add", namespace]);
            run(&["ip", "-n", namespace, "link", "set", "lo", "up"]);
        }
        let (a, b) = (&lab.balancer, &lab.peer);
        run(&["ip", "link", "add", "lb0", "netns", a, "type", "veth", "peer", "name", "peer0", "netns", b]);
        lab.ip("addr add 192.0.2.1/24 dev lb0");
        lab.ip("addr add 2001:db8::1/64 dev lb0 nodad");
        lab.peer_ip("addr add 192.0.2.10/24 dev peer0");
        lab.peer_ip("addr add 2001:db8::10/64 dev peer0 nodad");
        lab.ip("link set lb0 up");
        lab.peer_ip("link set peer0 up");
        // Until the carrier has been noticed on both sides a multicast frame finds no route and is lost.
        let deadline = Instant::now() + PATIENCE;
        let ready = || [a, b].iter().all(|side| ip(side, "-6 route show table local").contains("multicast ff00::/8"));
        while !ready() {
            assert!(Instant::now() < deadline, "IPv6 did not start on the veth pair");
        }
        lab
    }

    /// `ip` on the balancer's side.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        ip(&self.balancer, arguments)
    }

    /// `ip` on the peer's side.
    pub(crate) fn peer_ip(&self, arguments: &str) -> String {
        ip(&self.peer, arguments)
    }

    pub(crate) fn ifindex(&self) -> u32 {
        u32::try_from(link(&self.ip("-j link show lb0"))["ifindex"].as_u64().unwrap()).unwrap()
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        mac(&link(&self.ip("-j link show lb0")))
    }

    pub(crate) fn peer_ifindex(&self) -> u32 {
        u32::try_from(link(&self.peer_ip("-j link show peer0"))["ifindex"].as_u64().unwrap()).unwrap()
    }

    pub(crate) fn peer_mac(&self) -> [u8; 6] {
        mac(&link(&self.peer_ip("-j link show peer0")))
    }

    /// Runs on a thread of its own in the balancer's namespace, as the daemon would in its.
    pub(crate) fn run<F: Future<Output = ()>>(&self, body: impl FnOnce() -> F + Send) {
        inside(&self.balancer, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body());
        });
    }

    /// Runs in the peer's namespace.
    pub(crate) fn run_at_peer<F: Future<Output = ()>>(&self, body: impl FnOnce() -> F + Send) {
        inside(&self.peer, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body());
        });
    }

    /// Sees every frame at the peer from now on, on all its devices.
    pub(crate) fn capture_at_peer(&self) -> Capture {
        let all = Protocol::from(i32::from(u16::try_from(libc::ETH_P_ALL).unwrap().to_be()));
        inside(&self.peer, || {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            Capture(socket)
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.balancer, &self.peer] {
            // May not exist when setting up failed; nothing more can be done about it here.
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
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

/// Runs on a thread of its own in a namespace.
fn inside<T: Send>(namespace: &str, body: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ip(namespace: &str, arguments: &str) -> String {
    let mut words = vec!["ip", "-n", namespace];
    words.extend(arguments.split_whitespace());
    run(&words)
}

pub(crate) fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn link(json: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(json).unwrap()[0].clone()
}

fn mac(link: &serde_json::Value) -> [u8; 6] {
    let bytes: Vec<u8> =
        link["address"].as_str().unwrap().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}
