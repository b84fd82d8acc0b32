//! Arguments that several listings share.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use lb_core::config::parse_duration;
use lb_core::view::{ConnectionsSort, FlowState, MAX_LIMIT, Network, Transport};

/// Which virtual service, real server and client a listing of flows is about.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filters {
    /// Only of this virtual service.
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
    /// Only of this real server.
    #[arg(long, value_name = "NAME")]
    pub(super) server: Option<String>,
    /// Only of this client, or of the clients in this network (172.26.11.0/24).
    #[arg(long, value_name = "ADDRESS")]
    pub(super) client: Option<Network>,
}

/// A number of rows.
pub(super) fn limit() -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT))
}

/// A length of time as in the configuration: `90s`, `10m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a length of time like 90s, 10m or 2h".to_owned())
}

/// A transport, spelled as in the configuration.
pub(super) fn transport() -> impl TypedValueParser<Value = Transport> {
    PossibleValuesParser::new(["tcp", "udp"])
        .try_map(|word| Transport::from_word(&word.to_ascii_uppercase()).ok_or("not a transport"))
}

/// One of the states of a flow.
pub(super) fn state() -> impl TypedValueParser<Value = FlowState> {
    PossibleValuesParser::new(FlowState::ALL.iter().map(|state| state.word()))
        .try_map(|word| FlowState::from_word(&word).ok_or("not a state of a flow"))
}

/// One of the orders of a listing of flows.
pub(super) fn sort() -> impl TypedValueParser<Value = ConnectionsSort> {
    PossibleValuesParser::new(ConnectionsSort::ALL.iter().map(|sort| sort.word()))
        .try_map(|word| ConnectionsSort::from_word(&word).ok_or("not an order"))
}
