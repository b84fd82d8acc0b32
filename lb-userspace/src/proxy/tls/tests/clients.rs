//! Certificates of clients.

use std::sync::Arc;

use lb_core::config::model::ClientCertificate;
use rcgen::date_time_ymd;
use rustls::ClientConfig;

use super::{Bench, Connection, Listener, tickets};
use crate::proxy::tls::server_config;
use crate::tls::testing::{Authority, Identity};
use crate::tls::{provider, trusted};

fn showing(bench: &Bench, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let roots = trusted(Some(&bench.path("ca.pem"))).expect("roots");
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            builder.with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key()).expect("a key")
        }
    })
}

#[tokio::test]
async fn who_shows_what_is_let_in_or_refused_with_a_reason() {
    let mut bench = Bench::with_one();
    let staff = Authority::new("Staff CA");
    bench.folder.write("staff.pem", &staff.pem);
    let good = staff.issue(&["nurse"], |_| {});
    let expired = staff.issue(&["retired"], |params| params.not_after = date_time_ymd(2001, 1, 1));
    let stranger = Authority::new("Stranger").issue(&["nurse"], |_| {});
    for required in [true, false] {
        bench.listener().client_certificate = Some(ClientCertificate { ca_file: "staff.pem".into(), required });
        let mut listener = Listener::new(bench.server(&bench.certificates(), &tickets(), None)).await;
        let absent = if required {
            Err("the client showed no certificate, and client_certificate requires one")
        } else {
            Ok("client=0")
        };
        for (shown, expected) in [
            (None, absent),
            (Some(&good), Ok("client=1")),
            (
                Some(&stranger),
                Err(
                    "the certificate of the client comes from an authority that is not in the ca_file of client_certificate",
                ),
            ),
            (Some(&expired), Err("the certificate of the client has expired ")),
        ] {
            let came = Connection::try_new(listener.address, &showing(&bench, shown), "localhost").await;
            match expected {
                Ok(end) => {
                    let greeting = came.expect("a connection").greeting;
                    assert!(greeting.ends_with(end), "{greeting}");
                }
                Err(begin) => {
                    assert!(came.is_err());
                    let said = listener.failure().await;
                    assert!(said.starts_with(begin), "{said}");
                }
            }
        }
    }
}

#[test]
fn a_ca_file_that_is_of_no_use_is_named() {
    let mut bench = Bench::with_one();
    bench.folder.write("empty.pem", "");
    for (file, why) in [("missing.pem", "No such file"), ("empty.pem", "there is no certificate in it")] {
        bench.listener().client_certificate = Some(ClientCertificate { ca_file: file.into(), required: true });
        let listener = bench.listener().clone();
        let refused = server_config(&listener, &bench.certificates(), &tickets(), None, bench.folder.path());
        let said = refused.expect_err("a mistake");
        assert!(said.starts_with("client_certificate: its ca_file ") && said.contains(why), "{said}");
    }
}
