use std::path::PathBuf;

use super::super::samples::{check, config, real, service};
use super::unsupported;
use crate::config::model::{Mode, Probe, ServerTls};

#[test]
fn what_runs_needs_no_sentence() {
    let mut web = service("web", "192.0.2.10", &[(80, 80)], vec![]);
    web.health_check = check(Probe::Script { path: PathBuf::from("/bin/true") });
    for mode in [Mode::L4Dr, Mode::L4Nat, Mode::L4Snat] {
        web.mode = mode;
        assert_eq!(unsupported(&config(vec![web.clone()])), Vec::<String>::new(), "{mode:?}");
    }
}

#[test]
fn each_service_gets_one_sentence_about_all_it_lacks() {
    let mut web = service("web", "192.0.2.10", &[(80, 80)], vec![real("a", "192.0.2.1")]);
    web.mode = Mode::L7Http;
    web.real_servers[0].tls = Some(ServerTls { verify: false, server_name: None, ca_file: None });
    let mut proxy = service("proxy", "192.0.2.10", &[(81, 81)], vec![]);
    proxy.mode = Mode::L7Tcp;

    assert_eq!(
        unsupported(&config(vec![web, proxy])),
        [
            "virtual service web: this version of lb does not have mode l7-http, TLS; \
             use mode: l4-snat, remove tls and let the real servers do it",
            "virtual service proxy: this version of lb does not have mode l7-tcp; use mode: l4-snat",
        ]
    );
}
