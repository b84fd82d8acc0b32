//! The target of a request: brought to one form for the rules, and to that of the version spoken to the real server.

use http::header::HOST;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri, Version};

use super::client::ClientFacts;

/// Leaves path and query in the target and the host in Host, whatever the version and form that the client chose.
/// RFC 9112 section 3.2.2: a host in the target wins over the field.
pub(super) fn settle(head: &mut Parts, client: &ClientFacts) {
    let Some(authority) = head.uri.authority() else {
        if !head.headers.contains_key(HOST) {
            head.headers.insert(HOST, client.own_host());
        }
        return;
    };
    let host = authority.as_str();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let value = HeaderValue::from_str(host).unwrap_or_else(|_| client.own_host());
    head.headers.insert(HOST, value);
    let path = head.uri.path_and_query().cloned();
    head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
}

/// Makes an edited request one of HTTP/2: the host moves into the target (RFC 9113 section 8.3.1). One that asks for
/// an upgrade cannot be one of HTTP/2.
///
/// # Errors
/// When the host is none; rules cannot make it so.
pub fn to_http2(head: &mut Parts, tls: bool) -> Result<(), http::Error> {
    let host = head.headers.remove(HOST);
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(host.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes).try_into()?);
    uri.path_and_query = head.uri.path_and_query().cloned();
    head.uri = Uri::from_parts(uri)?;
    head.version = Version::HTTP_2;
    Ok(())
}
