//! Configurations for the sites behind routers: one virtual service for each family, both alike.
//!
//! In: what a test wants of the services. Out: YAML.

use std::net::IpAddr;

use super::routed::{Kind, RAS_VIP, RAS_VIP_V6, Routed, SERVERS};

/// The names of the services of both families, IPv4 first.
pub const NAMES: [&str; 2] = ["RAS-four", "RAS-six"];

/// Two virtual services, at [`RAS_VIP`] and [`RAS_VIP_V6`].
#[derive(Clone, Debug)]
pub struct Services {
    kind: Kind,
    ports: String,
    protocol: &'static str,
    check: String,
    server_port: Option<u16>,
    servers: Vec<(String, u8)>,
    /// Further keys of each service, for each family.
    keys: [Vec<String>; 2],
    /// Further keys of the node.
    node: Vec<String>,
    flow_timeouts: &'static str,
}

impl Services {
    /// For TCP and UDP at these ports such as `80, 7000-7010`, with both real servers, checked by ping.
    pub fn new(kind: Kind, ports: &str) -> Self {
        Self {
            kind,
            ports: ports.to_owned(),
            protocol: "tcp+udp",
            check: "{type: ping, interval: 1s, timeout: 1s, rise: 1, fall: 3}".to_owned(),
            server_port: None,
            servers: SERVERS.map(|(name, last)| (name.to_owned(), last)).to_vec(),
            keys: Default::default(),
            node: Vec::new(),
            flow_timeouts: "",
        }
    }

    /// `tcp` or `udp` alone.
    pub fn protocol(mut self, protocol: &'static str) -> Self {
        self.protocol = protocol;
        self
    }

    /// Real servers are checked by TCP connections to this port.
    pub fn check_connect(mut self, port: u16) -> Self {
        self.check = format!("{{type: connect, port: {port}, interval: 1s, timeout: 1s, rise: 1, fall: 3}}");
        self
    }

    /// Real servers are taken for up.
    pub fn unchecked(mut self) -> Self {
        "{type: none}".clone_into(&mut self.check);
        self
    }

    /// Real servers get what is for the service at this port.
    pub fn server_port(mut self, port: u16) -> Self {
        self.server_port = Some(port);
        self
    }

    /// A client stays with its real server.
    pub fn persistent(self) -> Self {
        self.key("persistence: {by: source-ip, timeout: 30m}")
    }

    /// A key of each service.
    pub fn key(mut self, key: &str) -> Self {
        self.keys.iter_mut().for_each(|keys| keys.push(key.to_owned()));
        self
    }

    /// `source_address` of each family.
    pub fn source_address(mut self, addresses: &[String; 2]) -> Self {
        for (keys, address) in self.keys.iter_mut().zip(addresses) {
            keys.push(format!("source_address: '{address}'"));
        }
        self
    }

    /// A key of the node.
    pub fn node(mut self, key: &str) -> Self {
        self.node.push(key.to_owned());
        self
    }

    /// `defaults.flow_timeouts`, such as `closing: 2s, udp: 10m`.
    pub fn flow_timeouts(mut self, timeouts: &'static str) -> Self {
        self.flow_timeouts = timeouts;
        self
    }

    /// The first real server alone.
    pub fn one_server(mut self) -> Self {
        self.servers.truncate(1);
        self
    }

    /// Another real server.
    pub fn add_server(mut self, name: &str, last: u8) -> Self {
        self.servers.push((name.to_owned(), last));
        self
    }

    /// The file.
    pub fn yaml(&self) -> String {
        let devices: String = self.kind.devices().iter().map(|it| format!("    - {{device: {it}}}\n")).collect();
        let node: String = self.node.iter().map(|key| format!("  {key}\n")).collect();
        let services: String =
            [RAS_VIP, RAS_VIP_V6].into_iter().enumerate().map(|(of, vip)| self.service(of, vip)).collect();
        let timeouts = self.flow_timeouts;
        format!(
            "version: 1\nnode:\n  name: lb1\n  interfaces:\n{devices}{node}\
             defaults: {{flow_timeouts: {{{timeouts}}}}}\nvirtual_services:\n{services}"
        )
    }

    fn service(&self, of: usize, vip: IpAddr) -> String {
        let Self { ports, protocol, check, .. } = self;
        let keys: String = self.keys[of].iter().map(|key| format!("    {key}\n")).collect();
        let port = self.server_port.map(|port| format!(", port: {port}")).unwrap_or_default();
        let servers = self.servers.iter().map(|(name, last)| {
            format!("      - {{name: {name}, address: '{}'{port}}}\n", Routed::server_address(*last, vip))
        });
        let (name, mode, servers) = (NAMES[of], self.kind.mode(), servers.collect::<String>());
        // In turn, so that few flows show that both servers are used.
        format!(
            "  - name: {name}\n    address: '{vip}'\n    ports: [{ports}]\n    protocol: {protocol}\n    \
             mode: {mode}\n    scheduler: weighted-round-robin\n    health_check: {check}\n{keys}    \
             real_servers:\n{servers}"
        )
    }
}
