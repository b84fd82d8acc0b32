use std::path::PathBuf;

use super::super::samples::{check, config, real, service};
use super::unsupported;
use crate::config::model::{HaRole, HighAvailability, Mode, Probe, Secret, ServerTls, Sync, Vrrp};

#[test]
fn what_runs_needs_no_sentence() {
    let mut web = service("web", "192.0.2.10", &[(80, 80)], vec![real("a", "192.0.2.1")]);
    web.health_check = check(Probe::Script { path: PathBuf::from("/bin/true") });
    web.real_servers[0].tls = Some(ServerTls { verify: false, server_name: None, ca_file: None });
    for mode in [Mode::L4Dr, Mode::L4Nat, Mode::L4Snat, Mode::L7Tcp, Mode::L7Http] {
        web.mode = mode;
        assert_eq!(unsupported(&config(vec![web.clone()])), Vec::<String>::new(), "{mode:?}");
    }
}

#[test]
fn a_pair_is_refused() {
    let mut config = config(vec![]);
    config.high_availability = Some(HighAvailability {
        role: HaRole::Primary,
        peer: [192, 0, 2, 2].into(),
        vrrp: Vrrp {
            interface: "eth0".into(),
            virtual_router_id: 51,
            priority: 150,
            advertisement_interval: std::time::Duration::from_secs(1),
            preempt: true,
        },
        sync: Sync { listen: None, port: 7778, key: Secret::File("ha.key".into()) },
    });
    assert_eq!(
        unsupported(&config),
        ["high_availability: this version of lb runs on a single unit only; remove high_availability"]
    );
}
