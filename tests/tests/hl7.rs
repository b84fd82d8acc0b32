//! HL7 of the Insignia deployment, through `l7-tcp` beside DICOM in direct routing: IMS1 alone is its real server,
//! checked by ping, and the standby, which is a DICOM store as well, is its fallback.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, DICOM_VIP, HL7_VIP, Site};
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::proxied::{NOTICED, quickly_checked};
use lb_tests::software::dicom::{Store, Study};
use lb_tests::software::hl7::{self, Connections, Feed, PORT, Receiver};

const CONFIGURATION: &str = include_str!("../../configs/insignia.yaml");
const STANDBY: &str = "DS2";
const SERVICE: &str = "HL7";
const SERVER: &str = "HL7/IMS1";
const SOON: Duration = Duration::from_secs(5);

/// IMS1 and the standby receive messages.
fn receivers(site: &Site) -> Result<[Receiver; 2]> {
    Ok([Receiver::start(site.server("IMS1"))?, Receiver::start(site.server(STANDBY))?])
}

fn feed(site: &Site, name: &str, connections: Connections) -> Result<Feed> {
    let mut feed = Feed::start(&site.client, name, at(HL7_VIP, PORT), connections)?;
    feed.goes_on()?;
    Ok(feed)
}

fn send(site: &Site) -> Result<String> {
    hl7::send(&site.client, at(HL7_VIP, PORT))
}

fn in_site(name: &str, test: impl FnOnce(&Lab, &Site, &Balancer<'_>) -> Result<()>) -> Result<()> {
    in_lab(name, |lab| {
        let site = deployments::insignia_whole(lab)?;
        let balancer = Balancer::start(lab, &site.balancer, &quickly_checked(CONFIGURATION))?;
        test(lab, &site, &balancer)
    })
}

#[test]
fn the_standby_takes_over_when_ims1_no_longer_answers_ping_and_gives_back() -> Result<()> {
    in_site("hl7-standby", |lab, site, balancer| {
        let receivers = receivers(site)?;
        let (ims1, archive) = (site.server("IMS1"), Store::start(site.server(STANDBY), STANDBY)?);
        assert_eq!(send(site)?, "IMS1");
        assert_eq!(receivers[0].clients()?, [site.balancer.v4()], "a proxy shows its own address");
        assert!(receivers[1].clients()?.is_empty(), "the standby is idle");
        // DICOM shares the balancer and the standby's machine.
        balancer.wait_state("DS_DICOM", STANDBY, "up", NOTICED)?;
        Study::write(lab.folder(), 1)?.send(&site.client, DICOM_VIP)?.success()?;
        assert_eq!(archive.studies()?, 1);

        // It still runs, so that its connections would go on if nobody cut them.
        let mut kept = feed(site, "kept", Connections::Kept)?;
        assert_eq!(kept.goes_on()?, "IMS1");
        ims1.set("ipv4/icmp_echo_ignore_all", "1")?;
        let down = balancer.wait_state(SERVICE, "IMS1", "down", NOTICED)?;
        ensure!(down["reason"].as_str().is_some_and(|it| it.split_whitespace().count() >= 3), "{down}");
        kept.wait_cut()?;
        assert_eq!(send(site)?, STANDBY);
        let mut with_standby = feed(site, "standby", Connections::Kept)?;
        assert_eq!(with_standby.goes_on()?, STANDBY);

        ims1.set("ipv4/icmp_echo_ignore_all", "0")?;
        balancer.wait_state(SERVICE, "IMS1", "up", NOTICED)?;
        wait_until("messages return to IMS1", SOON, || {
            let server = send(site)?;
            ensure!(server == "IMS1", "{server} acknowledges");
            Ok(())
        })?;
        let returned = feed(site, "returned", Connections::Kept)?.finish()?;
        ensure!(returned.iter().all(|server| server == "IMS1"), "{returned:?}");
        // Whom the standby has taken over it keeps until the connection ends.
        let stayed = with_standby.finish()?;
        ensure!(stayed.iter().all(|server| server == STANDBY), "{stayed:?}");
        Ok(())
    })
}

#[test]
fn a_machine_that_vanishes_is_noticed_and_messages_go_to_the_standby() -> Result<()> {
    in_site("hl7-vanished", |_, site, balancer| {
        let _receivers = receivers(site)?;
        let mut kept = feed(site, "kept", Connections::Kept)?;
        let since = Instant::now();
        site.server("IMS1").ip(&["link", "set", "eth0", "down"])?;
        kept.wait_cut()?;
        wait_until("messages are acknowledged again", SOON, || {
            let server = send(site)?;
            ensure!(server == STANDBY, "{server} acknowledges");
            Ok(())
        })?;
        println!("{:?} without an archive of messages", since.elapsed());
        site.server("IMS1").ip(&["link", "set", "eth0", "up"])?;
        balancer.wait_state(SERVICE, "IMS1", "up", SOON)?;
        wait_until("messages return to IMS1", SOON, || {
            let server = send(site)?;
            ensure!(server == "IMS1", "{server} acknowledges");
            Ok(())
        })
    })
}

#[test]
fn orders_and_reloads_lose_no_message() -> Result<()> {
    in_site("hl7-orders", |_, site, balancer| {
        let receivers = receivers(site)?;
        let order = |order: &str| balancer.lbctl(&[order, SERVER])?.success().map(|_| ());

        // Drained: the feed goes on, others go to the standby.
        let mut kept = feed(site, "drained", Connections::Kept)?;
        order("drain")?;
        assert_eq!(send(site)?, STANDBY);
        assert_eq!(kept.goes_on()?, "IMS1");
        order("online")?;
        balancer.wait_state(SERVICE, "IMS1", "up", SOON)?;
        assert_eq!(send(site)?, "IMS1");

        // Halted: cut at once.
        order("halt")?;
        kept.wait_cut()?;
        assert_eq!(send(site)?, STANDBY);
        order("online")?;
        balancer.wait_state(SERVICE, "IMS1", "up", SOON)?;

        // Each message over a connection of its own, which is half-closed before its acknowledgement comes.
        let each = feed(site, "each", Connections::OneEach)?;
        let mut kept = feed(site, "kept", Connections::Kept)?;
        let configuration = quickly_checked(CONFIGURATION);
        let ims1 = "{name: IMS1, address: 172.26.11.101, port: 2575, weight: 100}";
        let lighter = configuration.replace(ims1, &ims1.replace("weight: 100", "weight: 10"));
        let seen_at_vip = configuration.replace("  - name: HL7\n", "  - name: HL7\n    source_address: vip\n");
        let changed = [&lighter, &seen_at_vip, &configuration, &seen_at_vip];
        for yaml in changed {
            ensure!(*yaml == configuration || yaml.len() != configuration.len(), "nothing changes");
            let before = each.acknowledged().len();
            balancer.write_configuration(yaml)?;
            balancer.lbctl(&["reload"])?.success()?;
            wait_until("messages come", SOON, || {
                ensure!(each.acknowledged().len() > before + 20, "no message is acknowledged");
                Ok(())
            })?;
            assert_eq!(kept.goes_on()?, "IMS1");
        }
        for feed in [each, kept] {
            let acknowledged = feed.finish()?;
            ensure!(acknowledged.iter().all(|server| server == "IMS1"), "some went elsewhere");
            println!("{} messages over {} reloads", acknowledged.len(), changed.len());
        }
        send(site)?;
        let seen = receivers[0].clients()?;
        assert_eq!(*seen.last().context("no message")?, HL7_VIP, "source_address: vip");
        Ok(())
    })
}
