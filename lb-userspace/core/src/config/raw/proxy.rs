//! What every proxied service has, as it is typed.

use serde_json::{Value, json};

use super::IdlePeriod;
use crate::config::decode::{Context, Definitions, FromNode, record};
use crate::config::model::PassiveHealth;
use crate::config::places::Place;
use crate::config::tree::{Kind, Node};
use crate::config::values::{AbsolutePath, Number, Period, Text};
use crate::config::words::word_from_node;

record! {
    /// Timeouts of a layer 7 service.
    TimeoutsSection {
        /// To open a connection to a real server.
        connect: optional(IdlePeriod, "`defaults.timeouts.connect`"),
        /// Inactivity of the client while it is to send or to receive.
        client: optional(IdlePeriod, "`defaults.timeouts.client`"),
        /// Inactivity of the real server while it is to send or to receive.
        server: optional(IdlePeriod, "`defaults.timeouts.server`"),
        /// From the first byte of a request to the end of its header; also for a PROXY header, a TLS handshake and an
        /// RDP request.
        request: optional(IdlePeriod, "`defaults.timeouts.request`"),
        /// Between two requests of one connection (l7-http).
        keep_alive: optional(IdlePeriod, "`defaults.timeouts.keep_alive`"),
        /// How long a client waits for room when every real server is full.
        queue: optional(IdlePeriod, "`defaults.timeouts.queue`"),
        /// Inactivity in both directions after an upgrade, for example to WebSocket (l7-http).
        tunnel: optional(IdlePeriod, "`defaults.timeouts.tunnel`"),
    }
}

/// `passive_health: none`, or the mapping.
#[derive(Clone, Debug)]
pub(crate) enum PassiveForm {
    /// `none`.
    Never,
    /// The mapping.
    Full(PassiveSection),
}

/// The one word of `passive_health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassiveWord {
    None,
}

impl FromNode for PassiveForm {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        match node.kind {
            Kind::Scalar { .. } => word_from_node(node, place, cx).map(|PassiveWord::None| Self::Never),
            Kind::Sequence(_) | Kind::Mapping(_) => PassiveSection::from_node(node, place, cx).map(Self::Full),
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({"anyOf": [PassiveWord::schema(definitions), PassiveSection::schema(definitions)]})
    }
}

record! {
    /// When a real server becomes suspect: it is then asked only where no other can, until it has rested.
    PassiveSection {
        /// Connections in a row that could not be opened; 0: they do not count.
        connect_failures: default(Number<u32, 0, 1_000_000>, Number(PassiveHealth::default().connect_failures)),
        /// Answers with a status of 500 to 599 in a row (l7-http); 0: they do not count.
        server_errors: default(Number<u32, 0, 1_000_000>, Number(PassiveHealth::default().server_errors)),
        /// How long a suspect rests. A health check that goes on succeeding does not end it; one that finds the real
        /// server well after it was down does.
        rest: default(Period<100, 3_600_000>, Period(PassiveHealth::default().rest)),
    }
}

/// `access_log: journal`, `none`, or the mapping.
#[derive(Clone, Debug)]
pub(crate) enum AccessLogForm {
    /// One word.
    Word(AccessLogWord),
    /// The mapping.
    Full(AccessLogSection),
}

/// The words of `access_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessLogWord {
    None,
    Journal,
}

impl FromNode for AccessLogForm {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        match node.kind {
            Kind::Scalar { .. } => word_from_node(node, place, cx).map(Self::Word),
            Kind::Sequence(_) | Kind::Mapping(_) => AccessLogSection::from_node(node, place, cx).map(Self::Full),
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({"anyOf": [AccessLogWord::schema(definitions), AccessLogSection::schema(definitions)]})
    }
}

record! {
    /// Where the lines about connections or requests go.
    AccessLogSection {
        /// The file, from the root, such as /var/log/lb/web.log; it is opened again at each reload.
        file: optional(Text<AbsolutePath>, "the daemon's own log, which is the journal under systemd"),
        /// One of so many lines is written, and all that tell of an error; 1: all.
        sample: default(Number<u32, 1, 1_000_000>, Number(1)),
    }
}

/// The PROXY header towards a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderVersion {
    None,
    V1,
    V2,
}
