//! DS_DICOM of the Insignia deployment: studies through `l4-dr` to two dcmtk stores, as the clients,
//! the stores and the administrator see it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, DICOM_VIP, Site};
use lb_tests::lab::{in_lab, wait_until};
use lb_tests::software::dicom::{self, Store, Study};

const CONFIGURATION: &str = include_str!("../data/insignia_dicom.yaml");
/// fall × interval + timeout of the configuration, and a second for two busy CPUs.
const DOWN_WITHIN: Duration = Duration::from_secs(2 + 1 + 1);
/// rise × interval + timeout, and the same second.
const UP_WITHIN: Duration = Duration::from_secs(2 + 1 + 1);

fn stores(site: &Site) -> Result<Vec<Store>> {
    site.servers.iter().map(|server| Store::start(server, server.name())).collect()
}

fn studies(stores: &[Store]) -> Result<Vec<usize>> {
    stores.iter().map(Store::studies).collect()
}

#[test]
fn studies_spread_over_both_stores_and_a_client_stays_with_its_store() -> Result<()> {
    in_lab("dicom-spread", |lab| {
        let site = deployments::insignia(lab)?;
        let stores = stores(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;
        let clients = site.client_addresses();

        let mut number = 0;
        for client in &clients {
            site.client.speak_as(*client, DICOM_VIP, "eth0")?;
            dicom::echo(&site.client, DICOM_VIP)?.success()?;
            let before = studies(&stores)?;
            for _ in 0..2 {
                number += 1;
                Study::write(lab.folder(), number)?.send(&site.client, DICOM_VIP)?.success()?;
            }
            let got: Vec<usize> = studies(&stores)?.iter().zip(&before).map(|(after, before)| after - before).collect();
            ensure!(got == [2, 0] || got == [0, 2], "the studies of {client} were torn apart: {got:?}");
        }

        let got = studies(&stores)?;
        assert_eq!(got.iter().sum::<usize>(), 2 * clients.len());
        ensure!(got.iter().all(|count| *count >= number as usize / 4), "one store got nearly everything: {got:?}");
        // The counts of the status are taken every few seconds.
        let status = wait_until("the status shows every client as remembered, once", Duration::from_secs(5), || {
            let status = balancer.status()?;
            let counts = status.servers().filter_map(|(_, server)| server["persistent_clients"].as_u64());
            let remembered = counts.sum::<u64>();
            ensure!(remembered == clients.len() as u64, "{remembered} of {} are", clients.len());
            Ok(status)
        })?;
        let service = status.service("DS_DICOM")?;
        assert_eq!(service["state"], "up");
        assert_eq!((&service["method"], &service["mode"]), (&"Layer 4".into(), &"DR".into()));
        assert_eq!(service["persistence_timeout_seconds"], 300);
        Ok(())
    })
}

#[test]
fn when_a_store_dies_its_clients_move_and_the_status_says_why() -> Result<()> {
    in_lab("dicom-death", |lab| {
        let site = deployments::insignia(lab)?;
        let mut stores = stores(&site)?;
        let balancer = Balancer::start(lab, &site.balancer, CONFIGURATION)?;

        Study::write(lab.folder(), 1)?.send(&site.client, DICOM_VIP)?.success()?;
        let dying = studies(&stores)?.iter().position(|count| *count == 1).context("no store got the study")?;
        let (server, other) = (site.servers[dying].name().to_owned(), 1 - dying);

        stores[dying].kill();
        let killed = Instant::now();
        let down = balancer.wait_state("DS_DICOM", &server, "down", DOWN_WITHIN)?;
        let reason = down["reason"].as_str().context("the reason is no text")?;
        ensure!(reason.split_whitespace().count() >= 3, "{reason:?} is no sentence");
        assert_eq!(down["persistent_clients"], 0, "a dead store's clients are forgotten at once");
        assert_eq!(balancer.status()?.service("DS_DICOM")?["state"], "degraded");

        // The same client, remembered for 300 seconds, is with the other store now.
        Study::write(lab.folder(), 2)?.send(&site.client, DICOM_VIP)?.success()?;
        ensure!(killed.elapsed() < DOWN_WITHIN + Duration::from_secs(2), "the outage took {:?}", killed.elapsed());
        assert_eq!(stores[other].studies()?, 1);

        // Both gone: the service is down.
        stores[other].kill();
        balancer.wait_state("DS_DICOM", site.servers[other].name(), "down", DOWN_WITHIN)?;
        assert_eq!(balancer.status()?.service("DS_DICOM")?["state"], "down");
        ensure!(dicom::echo(&site.client, DICOM_VIP)?.status != 0, "somebody answered for a service that is down");

        stores[dying] = Store::start(&site.servers[dying], &server)?;
        balancer.wait_state("DS_DICOM", &server, "up", UP_WITHIN)?;
        let before = stores[dying].studies()?;
        wait_until("a study reaches the store that came back", Duration::from_secs(2), || {
            Study::write(lab.folder(), 3)?.send(&site.client, DICOM_VIP)?.success()
        })?;
        assert_eq!(stores[dying].studies()?, before + 1);
        Ok(())
    })
}
