//! The names of real servers, by number and by address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::abi::ServerId;

use crate::tables::{ServerKey, Wanted};

/// Who is who. A copy: it is read beside the control loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    servers: BTreeMap<ServerId, ServerKey>,
    /// `None`: several virtual services have a real server of this address, so that it says nothing.
    senders: BTreeMap<IpAddr, Option<ServerKey>>,
}

impl Names {
    /// Those of the servers in the tables, and of those that are leaving.
    #[must_use]
    pub fn new(wanted: &Wanted) -> Self {
        let configured = wanted.server_numbers.iter().map(|(key, id)| (*id, key.clone()));
        let leaving = wanted.leaving.iter().map(|(identity, id)| {
            (*id, ServerKey { service: identity.service.clone(), server: identity.server.clone() })
        });
        let servers: BTreeMap<ServerId, ServerKey> = configured.chain(leaving).collect();
        let mut senders: BTreeMap<IpAddr, Option<ServerKey>> = BTreeMap::new();
        for (id, key) in &servers {
            let Some(entry) = wanted.servers.get(id) else { continue };
            let sender = senders.entry(entry.address.into());
            sender.and_modify(|sender| *sender = None).or_insert_with(|| Some(key.clone()));
        }
        Self { servers, senders }
    }

    /// The server of this number.
    #[must_use]
    pub fn server(&self, id: ServerId) -> Option<&ServerKey> {
        self.servers.get(&id)
    }

    /// The only server that has this address.
    #[must_use]
    pub fn sender(&self, address: IpAddr) -> Option<&ServerKey> {
        self.senders.get(&address)?.as_ref()
    }
}
