//! HTTP/1.1 with real servers: what goes to them, what comes back, and what becomes of their connections.

mod bodies;
mod broken;
mod expectations;
mod kept;
mod streams;
mod uploads;

use super::message::Message;
use super::script::Script;
use super::site::{Client, Site, eventually};

const SHOP: &str = "
  - name: shop
    address: 192.0.2.80
    ports: [8080]
    mode: l7-http
    real_servers: [{name: a, address: 192.0.2.84}]
";

const GET: &str = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhello";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn shop(server: &Script) -> Site {
    Site::with(SHOP, &[server.address])
}

/// Whose real server is spoken to over TLS.
fn encrypted_shop(server: &Script) -> Site {
    Site::with(&SHOP.replace("192.0.2.84}", "192.0.2.84, tls: {verify: none}}"), &[server.address])
}

fn asks(client: &mut Client, request: &str) -> Message {
    client.say(request.as_bytes());
    client.message(!request.starts_with("HEAD ")).expect("an answer")
}

/// Waits until this is all that has ended badly.
fn counts(site: &Site, failures: &[(&str, u64)]) {
    let failures: Vec<_> = failures.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
    eventually(&format!("{failures:?} are counted"), || (site.failures("shop") == failures).then_some(()));
}

/// Bytes that differ from each other wherever one looks.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut words = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut words).flatten().take(length).collect()
}
