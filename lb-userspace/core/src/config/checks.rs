//! Which check a real server gets, and on which port: the model's own arithmetic.

use super::model::{HealthCheck, PortRange, Probe, ProxyProtocol, RealServer, VirtualService};

impl VirtualService {
    /// The check of one of its real servers.
    pub fn check_of<'a>(&'a self, server: &'a RealServer) -> &'a HealthCheck {
        server.health_check.as_ref().unwrap_or(&self.health_check)
    }

    /// The port that is checked on one of its real servers: the check's own, else the server's, else the
    /// first port of the service. `None` for checks that use no port.
    pub fn check_port(&self, server: &RealServer) -> Option<u16> {
        let check = self.check_of(server);
        match check.probe {
            Probe::Ping | Probe::None => None,
            Probe::Connect | Probe::Http(_) | Probe::Https { .. } | Probe::DicomEcho { .. } | Probe::Script { .. } => {
                Some(check.port.or(server.port).unwrap_or(self.first_port))
            }
        }
    }

    /// What its probes begin with: what the proxy's connections begin with, unless a port of its own is checked.
    pub fn check_header(&self, server: &RealServer) -> Option<ProxyProtocol> {
        match self.check_of(server).probe {
            Probe::Connect | Probe::Http(_) | Probe::Https { .. } | Probe::DicomEcho { .. } => {}
            Probe::Ping | Probe::Script { .. } | Probe::None => return None,
        }
        let checked = self.check_port(server)?;
        let is_for_clients = match server.port {
            Some(port) => port == checked,
            None => {
                let within = |range: &PortRange| (range.first..=range.last).contains(&checked);
                self.ports.iter().any(within) || self.tls.as_ref().is_some_and(|tls| tls.port == checked)
            }
        };
        server.proxy_protocol.filter(|_| is_for_clients)
    }
}
