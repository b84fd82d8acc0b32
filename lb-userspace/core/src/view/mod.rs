//! What the daemon's API shows and takes, as the JSON both sides share: the daemon fills these
//! types, `lbctl` and the page read them.
//!
//! In: the state that the daemon gathered. Out: serde types, and the pure decisions about them
//! (which connections a query means, what state a virtual service is in). Absent: HTTP, sockets,
//! text for a terminal. Fields carry their unit in the name; packet and byte counts start when the
//! daemon first attached.

mod certificate;
mod connections;
mod control;
mod doctor;
mod event;
pub(crate) mod explain;
pub(crate) mod first;
mod health;
mod network;
mod order;
mod persistence;
mod persistent_client;
mod proxied;
mod query;
mod real_server;
mod status;
mod trace;
mod words;

#[cfg(test)]
mod tests;

pub use certificate::{CertificateChain, CertificateList, CertificateView, OcspState};
pub use connections::{Connection, Connections, ConnectionsQuery, ConnectionsSort, Span};
pub use control::{
    ConfirmReport, ErrorBody, InvalidConfiguration, PersistenceCleared, ReloadReport, ReloadRequest, ReloadResult,
    StopReport, StopRequest, UpgradeReport,
};
pub use doctor::{
    DoctorLine, DoctorQuery, Examination, Finding, FindingCode, FindingSeverity, Place, Progress, Remedy,
};
pub use event::{Event, EventKind, Events, EventsQuery, MAX_WAIT_SECONDS, Severity};
pub use explain::{ClientEnd, EndError, ExplainQuery, Explained, Step, StepKind, VipEnd};
pub use health::{Check, HealthList, HealthState, Sample};
pub use network::{Network, NetworkError};
pub use order::{Administration, AdministrativeState, Order, OrderReport, OrderRequest};
pub use persistence::{PersistenceList, PersistenceQuery, PersistenceRecord};
pub use persistent_client::{PersistentClient, PersistentClientError};
pub use proxied::{Proxied, ProxyFailure};
pub use query::{DEFAULT_LIMIT, MAX_LIMIT, QueryError};
pub use real_server::{NextHop, RealServer, SourcePorts};
pub use status::{
    Configuration, Counter, Interface, LinkState, Predecessor, Status, Table, VirtualService, XdpAttachment,
    service_state,
};
pub use trace::{
    DEFAULT_TRACE_SECONDS, Fragment, Frame, Leaving, MAX_TRACE_SECONDS, TcpFlag, TraceEnd, TraceLine, TraceRequest,
    TracedFrame,
};
pub use words::{CounterAction, FlowState, Method, Mode, Protocol, Scheduler, ServerState, ServiceState, Transport};
