//! Established traffic while the daemon dies, restarts, is upgraded and reloads: nothing is lost,
//! nothing moves. Studies, TCP and UDP run through both deployments from the first moment to the last.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::{Balancer, lbd, next_lbd};
use lb_tests::deployments::{self, BothSites, DICOM_VIP, MEDIA_VIP};
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::software::dicom::Store;
use lb_tests::software::echo::EchoServer;
use lb_tests::software::iperf::Run;
use lb_tests::traffic::{Beat, Counts, Homes, Moment, Repeats, Studies};

const CONFIGURATION: &str = include_str!("../data/both_deployments.yaml");
const CHECK_PORT: u16 = 554;
const UDP_PORT: u16 = 50_001;
const TCP_PORT: u16 = 50_003;
const BEAT_PORT: u16 = 50_005;
/// Far below what two CPUs carry over virtual links.
const RATE: &str = "20M";
/// Studies that are stored between one step and the next: a tenth of a second each.
const STUDIES: usize = 10;
/// For things that take a moment.
const SOON: Duration = Duration::from_secs(10);
/// For many studies on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVICES: [&str; 2] = ["DS_DICOM", "Harmonic_Traffic"];

/// Traffic that runs, and what was counted before it began.
struct Traffic<'a> {
    sites: &'a BothSites,
    studies: Studies,
    udp: Run,
    tcp: Run,
    beat: Beat,
    homes: Homes,
    before: Counts,
    repeats: Repeats,
}

impl<'a> Traffic<'a> {
    fn start(sites: &'a BothSites, balancer: &Balancer<'_>) -> Result<Self> {
        let before = Counts::take(&sites.balancer, &["eth0", "eth1"], balancer)?;
        let client = at(sites.viewer.v4(), 0);
        let mut traffic = Self {
            sites,
            studies: Studies::start(&sites.modality, DICOM_VIP)?,
            udp: Run::udp(&sites.viewer, &sites.media, MEDIA_VIP, UDP_PORT, RATE)?,
            tcp: Run::tcp(&sites.viewer, &sites.media, MEDIA_VIP, TCP_PORT, RATE)?,
            beat: Beat::start(&sites.viewer, client, &sites.media, at(MEDIA_VIP, BEAT_PORT))?,
            homes: Homes::default(),
            before,
            repeats: Repeats::take(&sites.viewer, &sites.media)?,
        };
        wait_until("both loads, the stream and the studies are listed as flows", SOON, || {
            let listed = traffic.homes.sample(balancer, &SERVICES)?;
            // iperf3 has a control connection beside each.
            ensure!(listed >= 6, "{listed} are");
            Ok(())
        })?;
        Ok(traffic)
    }

    /// Goes on undisturbed for some studies; everything is where it was.
    fn go_on(&mut self, balancer: &Balancer<'_>) -> Result<()> {
        self.homes.sample(balancer, &SERVICES)?;
        self.store(STUDIES)?;
        self.homes.sample(balancer, &SERVICES)?;
        Ok(())
    }

    /// Waits for this many more studies; they and the loads go on, whoever watches.
    fn store(&mut self, more: usize) -> Result<()> {
        let wanted = self.studies.stored()? + more;
        let Self { studies, udp, tcp, .. } = self;
        let mut refused = None;
        wait_until("more studies are stored", PATIENCE, || match studies.stored() {
            Err(error) => {
                refused = Some(error);
                Ok(())
            }
            Ok(stored) => {
                ensure!(stored >= wanted, "{stored} of {wanted}");
                Ok(())
            }
        })?;
        refused.map_or(Ok(()), Err)?;
        udp.ensure_running()?;
        tcp.ensure_running()
    }

    /// What the stream says of an event, for the log of the test; it has lost nothing.
    fn report(&self, event: &str, from: Moment) -> Result<()> {
        let arrived = self.beat.since(from)?;
        println!("{event}: {arrived}");
        ensure!(arrived.lost == 0 && arrived.twice == 0, "{event}: {arrived}");
        Ok(())
    }

    /// Ends everything, and asserts what holds for all of the time.
    fn finish(mut self, balancer: &Balancer<'_>, stores: &[Store]) -> Result<()> {
        self.homes.sample(balancer, &SERVICES)?;
        let arrived = self.beat.finish()?;
        let (udp, tcp) = (self.udp.finish(&self.sites.media)?, self.tcp.finish(&self.sites.media)?);
        let studies = self.studies.finish()?;
        println!("stream: {arrived}\nUDP: {udp:?}\nTCP: {tcp:?}");
        println!("{studies} studies, {} flows, none moved", self.homes.flows());
        assert_eq!((arrived.lost, arrived.twice, arrived.servers.len()), (0, 0, 1), "{arrived}");
        udp.ensure_whole()?;
        ensure!(tcp.bytes > 1_000_000, "TCP carried only {} bytes", tcp.bytes);
        self.repeats.ensure_none_lost(&self.sites.viewer, &self.sites.media)?;

        let got = stores.iter().map(Store::studies).collect::<Result<Vec<_>>>()?;
        assert_eq!(got.iter().sum::<usize>(), studies, "studies in the stores: {got:?}");
        ensure!(got.contains(&0), "the modality's studies were torn apart: {got:?}");

        self.before.ensure_whole(&self.sites.balancer, &["eth0", "eth1"], balancer)
    }
}

/// Runs a disturbance under all the traffic there is.
fn under_traffic(
    name: &str,
    disturb: impl FnOnce(&Lab, &mut Balancer<'_>, &mut Traffic<'_>) -> Result<()>,
) -> Result<()> {
    in_lab(name, |lab| {
        let sites = deployments::both(lab)?;
        let stores = sites.stores.iter().map(|host| Store::start(host, host.name())).collect::<Result<Vec<_>>>()?;
        let checked = sites.media.iter().map(|host| EchoServer::tcp(host, at(host.v4(), CHECK_PORT)));
        let _checked = checked.collect::<Result<Vec<_>>>()?;
        let mut balancer = Balancer::start(lab, &sites.balancer, CONFIGURATION)?;
        let mut traffic = Traffic::start(&sites, &balancer)?;

        let control = traffic.beat.now();
        traffic.go_on(&balancer)?;
        traffic.report("undisturbed", control)?;
        disturb(lab, &mut balancer, &mut traffic)?;
        traffic.finish(&balancer, &stores)
    })
}

#[test]
fn a_daemon_that_is_killed_is_not_missed_by_any_flow() -> Result<()> {
    under_traffic("cont-kill", |_, balancer, traffic| {
        for round in 1..=4 {
            let event = traffic.beat.now();
            balancer.kill();
            // Seconds without a daemon, new associations included.
            traffic.store(2 * STUDIES)?;
            traffic.report(&format!("kill {round}, without a daemon"), event)?;
            let event = traffic.beat.now();
            balancer.restart()?;
            traffic.go_on(balancer)?;
            traffic.report(&format!("kill {round}, started again"), event)?;
        }
        Ok(())
    })
}

#[test]
fn a_daemon_that_is_restarted_is_not_missed_by_any_flow() -> Result<()> {
    under_traffic("cont-term", |_, balancer, traffic| {
        for round in 1..=4 {
            let event = traffic.beat.now();
            balancer.terminate()?;
            balancer.restart()?;
            traffic.go_on(balancer)?;
            traffic.report(&format!("restart {round}"), event)?;
        }
        Ok(())
    })
}

#[test]
fn an_upgrade_replaces_the_program_under_every_flow_and_so_does_the_way_back() -> Result<()> {
    let (this, next) = (lbd()?, next_lbd()?);
    under_traffic("cont-upgrade", |_, balancer, traffic| {
        let tags = |balancer: &Balancer<'_>| {
            let tags = ["eth0", "eth1"].map(|device| balancer.attached_tag(device));
            let [first, second] = tags;
            anyhow::Ok([first?, second?])
        };
        let shipped = tags(balancer)?;
        for (round, how) in [(1, "after SIGTERM"), (2, "after SIGKILL")] {
            let end = |balancer: &mut Balancer<'_>| match round {
                1 => balancer.terminate(),
                _ => {
                    balancer.kill();
                    Ok(())
                }
            };
            let event = traffic.beat.now();
            balancer.change_program(next.clone());
            end(balancer)?;
            balancer.restart()?;
            let upgraded = tags(balancer)?;
            ensure!(
                upgraded[0] == upgraded[1] && !shipped.contains(&upgraded[0]),
                "the same program is attached: {shipped:?} and {upgraded:?}; run `cargo xtask build-next`"
            );
            traffic.go_on(balancer)?;
            traffic.report(&format!("upgrade {} to {} {how}", shipped[0], upgraded[0]), event)?;

            let event = traffic.beat.now();
            balancer.change_program(this.clone());
            end(balancer)?;
            balancer.restart()?;
            assert_eq!(tags(balancer)?, shipped, "the way back leads to the same program");
            traffic.go_on(balancer)?;
            traffic.report(&format!("way back {how}"), event)?;
        }
        Ok(())
    })
}

/// Services beside those under test. Every round adds some, removes some, and adds, removes and weighs
/// servers of others; nothing is sent to them.
fn beside(round: usize) -> String {
    let mut yaml = CONFIGURATION.to_owned();
    for service in round..round + 2 + round % 7 {
        let vip = 120 + service % 60;
        yaml += &format!(
            "  - name: beside-{service}\n    address: 192.168.94.{vip}\n    ports: [80, 443, 8000-9000]\n    \
             protocol: tcp+udp\n    mode: l4-dr\n    scheduler: weighted-round-robin\n    \
             health_check: {{type: none}}\n    real_servers:\n"
        );
        for server in 0..1 + (service + round) % 5 {
            let weight = 1 + (round * 7 + server * 13) % 100;
            // The first two are there; nobody answers for the others.
            let address = [115, 116, 200, 201, 202][server];
            yaml += &format!(
                "      - {{name: S{server}, address: 192.168.94.{address}, weight: {weight}}}
"
            );
        }
    }
    yaml
}

#[test]
fn a_hundred_reloads_of_other_services_move_no_flow() -> Result<()> {
    const RELOADS: usize = 100;
    under_traffic("cont-reload", |_, balancer, traffic| {
        let event = traffic.beat.now();
        for round in 1..=RELOADS {
            balancer.write_configuration(&beside(round))?;
            let reload = balancer.lbctl(&["reload"])?.success()?;
            ensure!(reload.stdout.contains("beside-"), "round {round} changed nothing: {reload}");
            if round % 10 == 0 {
                traffic.homes.sample(balancer, &SERVICES).with_context(|| format!("after {round} reloads"))?;
                traffic.udp.ensure_running()?;
                traffic.tcp.ensure_running()?;
            }
        }
        let status = balancer.status()?;
        let last = status.service(&format!("beside-{RELOADS}"))?;
        assert_eq!(last["state"], "up", "{last}");
        balancer.write_configuration(CONFIGURATION)?;
        balancer.lbctl(&["reload"])?.success()?;
        traffic.go_on(balancer)?;
        traffic.report(&format!("{RELOADS} reloads"), event)
    })
}
