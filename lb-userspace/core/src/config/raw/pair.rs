//! The pair, as it is typed.

use std::time::Duration;

use crate::config::decode::record;
use crate::config::model::HaRole;
use crate::config::values::{Address, Device, FilePath, Number, Period, Port, SecretText, Socket, Switch, Text};

record! {
    /// The pair.
    HighAvailabilitySection {
        /// Where the configuration is edited.
        role: required(HaRole),
        /// Address of the other unit.
        peer: required(Address),
        /// Who is Active (VRRP version 3, RFC 9568).
        vrrp: required(VrrpSection),
        /// Mirroring of flows and states.
        sync: required(SyncSection),
    }
}

record! {
    /// VRRP version 3 (RFC 9568).
    VrrpSection {
        /// Interface of the advertisements.
        interface: required(Text<Device>),
        /// The same on both units, and different from other pairs in the network.
        virtual_router_id: required(Number<u8, 1, 255>),
        /// The unit with the higher priority is Active.
        priority: optional(Number<u8, 1, 254>, "150 on the Primary, 100 on the Secondary"),
        /// Between advertisements; whole hundredths of a second, the same on both units.
        advertisement_interval: default(Period<10, 40_950>, Period(Duration::from_secs(1))),
        /// Whether a unit of higher priority takes over from a lower one that is Active.
        preempt: default(Switch, Switch(true)),
    }
}

record! {
    /// Mirroring of flows and states to the peer.
    SyncSection {
        /// Address and port to listen on.
        listen: optional(Socket, "any address, the port below"),
        /// TCP port of the peer.
        port: default(Port, Number(7778)),
        /// Key that both units share; better in a file, or as `${NAME}`.
        key: optional(Text<SecretText>),
        /// File that holds the key.
        key_file: optional(Text<FilePath>),
    }
}
