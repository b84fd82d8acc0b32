//! The words of the overview: closed sets, spelled in JSON as an administrator reads them.

use crate::config::model;

/// Declares a closed set of words: one spelling for JSON, for `Display` and for query parameters.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word of the set, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word, as in JSON.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The member that `word` spells.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.word() == word)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
pub(super) use words;

words! {
    /// The Protocol column of a virtual service.
    Protocol {
        /// TCP only.
        Tcp = "TCP",
        /// UDP only.
        Udp = "UDP",
        /// Both.
        TcpUdp = "TCPUDP",
        /// HTTP, proxied.
        Http = "HTTP",
    }
}

words! {
    /// The transport protocol of one flow.
    Transport {
        /// TCP.
        Tcp = "TCP",
        /// UDP.
        Udp = "UDP",
    }
}

words! {
    /// The Method column: which layer decides.
    Method {
        /// Packets are forwarded.
        Layer4 = "Layer 4",
        /// Connections are proxied.
        Layer7 = "Layer 7",
    }
}

words! {
    /// The Mode column: how traffic gets to the real servers.
    Mode {
        /// `l4-dr`.
        Dr = "DR",
        /// `l4-nat`.
        Nat = "NAT",
        /// `l4-snat`.
        Snat = "SNAT",
        /// `l7-tcp` and `l7-http`.
        Proxy = "Proxy",
    }
}

words! {
    /// What picks a real server for a new flow, spelled as in the configuration.
    Scheduler {
        /// The server with the fewest connections for its weight.
        WeightedLeastConnection = "weighted-least-connection",
        /// In turn, by weight.
        WeightedRoundRobin = "weighted-round-robin",
        /// By the client's address.
        SourceHash = "source-hash",
        /// By the whole flow, consistently.
        Maglev = "maglev",
    }
}

words! {
    /// Whether a virtual service answers.
    ServiceState {
        /// Every real server that should take clients does.
        Up = "up",
        /// Some real servers fail their checks; the others answer.
        Degraded = "degraded",
        /// No real server takes clients.
        Down = "down",
    }
}

words! {
    /// Whether a real server takes clients.
    ServerState {
        /// It passes its checks.
        Up = "up",
        /// It fails its checks.
        Down = "down",
        /// Not enough checks have come back yet.
        Checking = "checking",
        /// By the administrator's word it takes no new clients and keeps the old.
        Draining = "draining",
        /// By the administrator's word it takes nobody.
        Halted = "halted",
    }
}

words! {
    /// How far a flow has come.
    FlowState {
        /// The client has not been heard a second time.
        Pending = "pending",
        /// TCP, after the handshake.
        Established = "established",
        /// TCP, after FIN from the client alone, where the real server's packets are seen.
        HalfClosed = "half-closed",
        /// TCP, after FIN or RST.
        Closing = "closing",
        /// UDP, after the client's second datagram.
        Udp = "udp",
    }
}

words! {
    /// What became of the packets that a counter counts.
    CounterAction {
        /// Given to the kernel, untouched.
        Pass = "pass",
        /// Sent to a real server or back to a client.
        Forward = "forward",
        /// Dropped.
        Drop = "drop",
    }
}

impl From<model::Scheduler> for Scheduler {
    fn from(scheduler: model::Scheduler) -> Self {
        match scheduler {
            model::Scheduler::WeightedLeastConnection => Self::WeightedLeastConnection,
            model::Scheduler::WeightedRoundRobin => Self::WeightedRoundRobin,
            model::Scheduler::SourceHash => Self::SourceHash,
            model::Scheduler::Maglev => Self::Maglev,
        }
    }
}

impl From<model::Mode> for Mode {
    fn from(mode: model::Mode) -> Self {
        match mode {
            model::Mode::L4Dr => Self::Dr,
            model::Mode::L4Nat => Self::Nat,
            model::Mode::L4Snat => Self::Snat,
            model::Mode::L7Tcp | model::Mode::L7Http => Self::Proxy,
        }
    }
}

impl From<model::Mode> for Method {
    fn from(mode: model::Mode) -> Self {
        match mode {
            model::Mode::L4Dr | model::Mode::L4Nat | model::Mode::L4Snat => Self::Layer4,
            model::Mode::L7Tcp | model::Mode::L7Http => Self::Layer7,
        }
    }
}

impl Protocol {
    /// The Protocol column of a virtual service: HTTP where HTTP is proxied, else its transport.
    #[must_use]
    pub fn of(service: &model::VirtualService) -> Self {
        match (service.mode, service.protocol) {
            (model::Mode::L7Http, _) => Self::Http,
            (_, model::Protocol::Tcp) => Self::Tcp,
            (_, model::Protocol::Udp) => Self::Udp,
            (_, model::Protocol::TcpUdp) => Self::TcpUdp,
        }
    }
}
