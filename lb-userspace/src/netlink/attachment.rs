//! How XDP is attached to an interface, as the kernel tells it.

use std::io;

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};

use super::Error;

/// Whether the program on interface `ifindex` runs in the network stack (generic XDP) and not in
/// the driver; false also when there is none.
///
/// # Errors
/// When the kernel does not answer.
pub async fn is_generic(ifindex: u32) -> Result<bool, Error> {
    let failed = |source| Error::new(format!("ask how XDP is attached to interface {ifindex}"), source);
    let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
    let connection = tokio::spawn(connection);
    let links: Result<Vec<_>, _> = handle.link().get().match_index(ifindex).execute().try_collect().await;
    connection.abort();
    let links = links.map_err(|error| failed(io::Error::other(error)))?;
    let attributes = links.iter().flat_map(|link| &link.attributes);
    let attached = attributes.filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    Ok(attached.flatten().any(|xdp| matches!(xdp, LinkXdp::Attached(XdpAttached::SocketBuffer))))
}
