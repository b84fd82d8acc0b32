//! Source ports of `l4-snat`: who shares which pool, and how much of it is in use.

use std::collections::BTreeMap;

use lb_common::abi::ServerId;

use super::Control;
use crate::capacity::Pool;
use crate::config::model::Protocol;
use crate::view::{SourcePorts, Transport};

impl Control {
    /// Every pool of source ports that a real server takes ports from, once; `in_use` says how many, by pool.
    #[must_use]
    pub fn pools(&self, in_use: &BTreeMap<u32, u32>) -> Vec<Pool> {
        let staying = self.wanted.server_numbers.iter().map(|(key, id)| (&key.service, &key.server, *id));
        let leaving = self.wanted.leaving.iter().map(|(of, id)| (&of.service, &of.server, *id));
        let protocols: BTreeMap<_, _> =
            self.config.virtual_services.iter().map(|service| (&service.name, service.protocol)).collect();
        let mut pools: BTreeMap<u32, Pool> = BTreeMap::new();
        for (service, server, id) in staying.chain(leaving) {
            let Some(protocol) = protocols.get(service) else { continue };
            for (number, transport) in self.pools_of(id, *protocol) {
                match pools.get_mut(&number) {
                    Some(pool) if pool.service != *service => {
                        pool.shared_with.get_or_insert_with(|| service.clone());
                    }
                    Some(_) => {}
                    None => {
                        let pool = Pool {
                            number,
                            service: service.clone(),
                            server: server.clone(),
                            shared_with: None,
                            protocol: transport,
                            in_use: in_use.get(&number).copied().unwrap_or(0).into(),
                            size: self.pool_size(),
                        };
                        pools.insert(number, pool);
                    }
                }
            }
        }
        pools.into_values().collect()
    }

    /// The ports of a real server; `in_use` those of TCP and of UDP.
    pub(super) fn source_ports(&self, id: ServerId, protocol: Protocol, in_use: [u64; 2]) -> Vec<SourcePorts> {
        let of = |transport| match transport {
            Transport::Tcp => in_use[0],
            Transport::Udp => in_use[1],
        };
        let pools = self.pools_of(id, protocol);
        let size = self.pool_size();
        pools.map(|(_, protocol)| SourcePorts { protocol, in_use: of(protocol), size }).collect()
    }

    /// The pools of a real server, those of the protocols of its service; none but in `l4-snat`.
    fn pools_of(&self, id: ServerId, protocol: Protocol) -> impl Iterator<Item = (u32, Transport)> + use<> {
        let first = self.installed.servers.get(&id).map_or(0, |entry| entry.pool);
        let transports: &[_] = match protocol {
            Protocol::Tcp => &[Transport::Tcp],
            Protocol::Udp => &[Transport::Udp],
            Protocol::TcpUdp => &[Transport::Tcp, Transport::Udp],
        };
        let pool = move |transport| match transport {
            Transport::Tcp => first,
            Transport::Udp => first.saturating_add(1),
        };
        transports.iter().filter(move |_| first != 0).map(move |transport| (pool(*transport), *transport))
    }

    /// Ports of each pool, by what the datapath goes by.
    fn pool_size(&self) -> u64 {
        let settings = &self.installed.settings;
        u64::from(settings.last_source_port.saturating_sub(settings.first_source_port)) + 1
    }
}
