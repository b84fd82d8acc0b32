//! The http check: a GET is answered with the status and the page that are expected.
//!
//! In: an open connection, the request in words, what is expected. Out: nothing and what is left to read, or the
//! failure. Absent: redirects, a second request on a connection, a timeout (the machine cancels).
//!
//! The connection is driven by the task that asks: when the probe is dropped, nothing of it is left.

mod begun;
mod broken;

#[cfg(test)]
pub(super) mod tests;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use lb_core::config::model::HttpProbe;
use lb_core::health::{Detail, Endpoint, Expectation, Failure, MOST_PAGE_BYTES};
use tokio::io::{AsyncRead, AsyncWrite};

use begun::Begun;
use broken::Broken;

/// The rest of a conversation whose outcome is known already: reads what is left, so that the real server sees its
/// answer taken and the connection closed in good order. The caller bounds the time.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Asks once, on a connection of its own.
pub(super) async fn get<S>(stream: S, request: Request<Empty<Bytes>>, expected: &Expectation) -> Result<Rest, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Begun::of(stream));
    let handshake = http1::Builder::new().max_buf_size(MOST_HEAD_BYTES).handshake(stream).await;
    let (mut sender, mut connection) = handshake.map_err(|error| Broken::Off(error).about(&[]))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        expected.status(response.status().as_u16())?;
        let mut page = response.into_body();
        if expected.wants_page() {
            let (bytes, complete) = read(&mut page).await?;
            expected.page(&bytes, complete)?;
        }
        Ok::<_, Broken>(page)
    };
    tokio::pin!(answer);
    // The connection moves the bytes and must be polled beside the exchange. It may end first, with the answer already
    // read; what it ended of, the exchange hears as well.
    let (answered, over) = tokio::select! {
        biased;
        answered = &mut answer => (answered, false),
        _ = &mut connection => (answer.await, true),
    };
    match answered {
        Ok(page) => Ok(Box::pin(async move {
            if !over {
                tokio::select! {
                    _ = connection => {}
                    // Whoever has more to say than this is cut off.
                    true = skip(page) => {}
                }
            }
        })),
        Err(broken) => Err(broken.about(connection.into_parts().io.into_inner().bytes())),
    }
}

/// The request that `probe` describes, towards a port whose default would be `default_port`.
pub(super) fn request(
    probe: &HttpProbe,
    address: IpAddr,
    port: u16,
    default_port: u16,
) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = probe.host.clone().unwrap_or_else(|| authority(address, port, default_port));
    let request = Request::get(probe.path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, "lb-health-check")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new());
    request.map_err(|error| Failure::Local(Detail::new(format!("path or host of its check cannot be sent: {error}"))))
}

/// RFC 9110 section 7.2 and RFC 3986 section 3.2: IPv6 in brackets, and no port where it goes without saying.
fn authority(address: IpAddr, port: u16, default_port: u16) -> String {
    match address {
        _ if port != default_port => Endpoint { address, port: Some(port) }.to_string(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// As much of the page as counts, and whether that is all of it.
async fn read(page: &mut Incoming) -> Result<(Vec<u8>, bool), Broken> {
    let mut bytes = Vec::new();
    while let Some(frame) = page.frame().await {
        if let Some(data) = frame?.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > MOST_PAGE_BYTES {
            bytes.truncate(MOST_PAGE_BYTES);
            return Ok((bytes, false));
        }
    }
    Ok((bytes, true))
}

/// Reads on and forgets; true when it was too much.
async fn skip(mut page: Incoming) -> bool {
    let mut left = MOST_PAGE_BYTES;
    while !page.is_end_stream() {
        let Some(Ok(frame)) = page.frame().await else { return false };
        let Some(less) = left.checked_sub(frame.data_ref().map_or(1, Bytes::len)) else { return true };
        left = less;
    }
    false
}

/// Status line and headers of an answer.
const MOST_HEAD_BYTES: usize = 64 << 10;
