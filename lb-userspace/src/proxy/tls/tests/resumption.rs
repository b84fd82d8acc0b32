//! Sessions that go on in another connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lb_core::config::model::{ClientCertificate, HttpVersion, TlsPolicy};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

use super::{Bench, Connection, Listener, tickets};
use crate::proxy::tls::Tickets;
use crate::tls::testing::Authority;
use crate::tls::{provider, trusted};

/// Clients of both versions, each with a memory of its own.
fn clients(bench: &Bench) -> [Arc<ClientConfig>; 2] {
    [&TLS12, &TLS13].map(|version| {
        let roots = trusted(Some(&bench.path("ca.pem"))).expect("roots");
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
        Arc::new(builder.expect("a version").with_root_certificates(roots).with_no_client_auth())
    })
}

/// Whether a second connection, to the other listener, resumes the session of the first.
async fn resumes(client: &Arc<ClientConfig>, first: &Listener, second: &Listener) -> bool {
    let greeting = Connection::new(first.address, client, "localhost").await.greeting;
    assert!(greeting.contains(" Full "), "{greeting}");
    let greeting = Connection::new(second.address, client, "localhost").await.greeting;
    assert!(greeting.contains(" Full ") || greeting.contains(" Resumed "), "{greeting}");
    greeting.contains(" Resumed ")
}

#[tokio::test]
async fn a_session_is_resumed_at_another_listener_that_shares_the_tickets() {
    let bench = Bench::with_one();
    let (certificates, tickets) = (bench.certificates(), tickets());
    let first = Listener::new(bench.server(&certificates, &tickets, Some(true))).await;
    let second = Listener::new(bench.server(&certificates, &tickets, Some(true))).await;
    for client in clients(&bench) {
        assert!(resumes(&client, &first, &second).await);
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_where_other_tickets_are_used() {
    let bench = Bench::with_one();
    let certificates = bench.certificates();
    let first = Listener::new(bench.server(&certificates, &tickets(), Some(true))).await;
    let second = Listener::new(bench.server(&certificates, &tickets(), Some(true))).await;
    for client in clients(&bench) {
        assert!(!resumes(&client, &first, &second).await);
    }
}

#[tokio::test]
async fn a_session_outlives_the_daemon_and_a_rotation() {
    let bench = Bench::with_one();
    let (certificates, old) = (bench.certificates(), tickets());
    let before = Listener::new(bench.server(&certificates, &old, Some(true))).await;
    // As if it had been exported seven hours ago.
    let mut exported = old.export().to_vec();
    let since = exported.len() - 8;
    let then = SystemTime::now() - Duration::from_secs(7 * 3600);
    let then = then.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    exported[since..].copy_from_slice(&then.to_be_bytes());
    let new = Tickets::import(&exported, SystemTime::now()).expect("tickets");
    assert_eq!(new.export().len(), 1 + 2 * (exported.len() - 1), "a new key beside the old one");
    let after = Listener::new(bench.server(&certificates, &new, Some(true))).await;

    for client in clients(&bench) {
        assert!(resumes(&client, &before, &after).await);
        // By a ticket of the new key.
        let greeting = Connection::new(after.address, &client, "localhost").await.greeting;
        assert!(greeting.contains(" Resumed "), "{greeting}");
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_where_something_else_is_asked_of_clients() {
    let mut bench = Bench::with_one();
    let (certificates, tickets) = (bench.certificates(), tickets());
    let first = Listener::new(bench.server(&certificates, &tickets, Some(true))).await;

    // A client that resumed would not be asked for its certificate.
    bench.listener().client_certificate = Some(ClientCertificate { ca_file: "ca.pem".into(), required: true });
    let mut asking = Listener::new(bench.server(&certificates, &tickets, Some(true))).await;
    for client in clients(&bench) {
        Connection::new(first.address, &client, "localhost").await;
        assert!(Connection::try_new(asking.address, &client, "localhost").await.is_err());
        assert!(asking.failure().await.starts_with("the client showed no certificate"));
    }

    for change in [
        |bench: &mut Bench| bench.listener().policy = TlsPolicy::Compatible,
        |bench: &mut Bench| {
            bench.folder.write("other.pem", Authority::new("Another").pem);
            let asked = ClientCertificate { ca_file: "other.pem".into(), required: false };
            bench.listener().client_certificate = Some(asked);
        },
    ] {
        bench.listener().client_certificate = None;
        change(&mut bench);
        let other = Listener::new(bench.server(&certificates, &tickets, Some(true))).await;
        let [old, new] = clients(&bench);
        assert!(!resumes(&old, &first, &other).await);
        assert!(!resumes(&new, &first, &other).await);
    }
}

#[tokio::test]
async fn one_ticket_is_sent_with_each_handshake() {
    let bench = Bench::with_one();
    let listener = bench.serve().await;
    let client = bench.client(HttpVersion::Http1);
    Connection::new(listener.address, &client, "localhost").await;
    let (second, third) = tokio::join!(
        Connection::new(listener.address, &client, "localhost"),
        Connection::new(listener.address, &client, "localhost"),
    );
    let mut kinds = [second.greeting, third.greeting].map(|greeting| greeting.contains(" Resumed "));
    kinds.sort_unstable();
    assert_eq!(kinds, [false, true], "a ticket of TLS 1.3 is used once");
}
