//! Established traffic through `l4-snat` and `l4-nat` while the daemon dies, restarts, is upgraded and
//! reloads: nothing is lost in either direction, no flow moves, and every server sees its client as it did before.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::at;
use lb_tests::balancer::{Balancer, lbd, next_lbd};
use lb_tests::deployments::routed::{Kind, Narrow, RAS_VIP, RAS_VIP_V6, Routed, on_each, same_family};
use lb_tests::deployments::{ECHO_PORT, NAMES, Services};
use lb_tests::lab::wait_until;
use lb_tests::software::echo::{Answer, EchoServer, TcpClient};
use lb_tests::software::iperf::Run;
use lb_tests::traffic::{Beat, Counts, Homes, Moment, Repeats};

/// Each mode once.
const KINDS: [Kind; 2] = [Kind::SnatOneArm, Kind::Nat];
const UDP_PORT: u16 = 5201;
const TCP_PORT: u16 = 5202;
const BEAT_PORTS: [u16; 2] = [5203, 5204];
/// Far below what two CPUs carry over virtual links.
const RATE: &str = "20M";
const ANSWER: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
/// Datagrams of a beat between one step and the next: one is sent each millisecond.
const BEATS: u64 = 1_000;
/// Connections that are kept, beside the loads.
const KEPT: usize = 8;

fn services(kind: Kind) -> Services {
    Services::new(kind, "5201-5204, 50002")
}

/// Traffic that runs, and what was counted before it began.
struct Traffic<'a> {
    site: &'a Routed,
    udp: Run,
    tcp: Run,
    beats: [Beat; 2],
    kept: Vec<(TcpClient, Answer)>,
    homes: Homes,
    before: Counts,
    repeats: Repeats,
    _echo: Vec<EchoServer>,
}

impl<'a> Traffic<'a> {
    fn start(site: &'a Routed, balancer: &Balancer<'_>) -> Result<Self> {
        let (client, servers) = (&site.client, &site.servers);
        let before = Counts::take(&site.balancer, site.kind.devices(), balancer)?;
        let echo = EchoServer::everywhere(servers, ECHO_PORT)?;
        let beat = |vip, port| Beat::start_rewritten(client, at(same_family(client, vip), 0), servers, at(vip, port));
        let kept = [RAS_VIP, RAS_VIP_V6].into_iter().cycle().take(KEPT).map(|vip| {
            let mut kept = TcpClient::connect(client, at(vip, ECHO_PORT), ANSWER)?;
            let answer = kept.ask(ANSWER)?;
            Ok((kept, answer))
        });
        let mut traffic = Self {
            site,
            kept: kept.collect::<Result<_>>()?,
            // One source, one server for the control connection and the load of iperf3.
            udp: Run::udp_rewritten(client, servers, RAS_VIP, UDP_PORT, RATE)?,
            tcp: Run::tcp_rewritten(client, servers, RAS_VIP_V6, TCP_PORT, RATE)?,
            beats: [beat(RAS_VIP, BEAT_PORTS[0])?, beat(RAS_VIP_V6, BEAT_PORTS[1])?],
            homes: Homes::default(),
            before,
            repeats: Repeats::take(client, servers)?,
            _echo: echo,
        };
        wait_until("loads, beats and connections are listed as flows", SOON, || {
            let listed = traffic.homes.sample(balancer, &NAMES)?;
            // iperf3 has a control connection beside each.
            ensure!(listed >= KEPT + 6, "{listed} are");
            Ok(())
        })?;
        Ok(traffic)
    }

    fn now(&self) -> [Moment; 2] {
        [self.beats[0].now(), self.beats[1].now()]
    }

    /// Goes on for a while; everything is where it was, and was not disturbed since `from`.
    fn go_on(&mut self, event: &str, from: [Moment; 2], balancer: Option<&Balancer<'_>>) -> Result<()> {
        for (beat, from) in self.beats.iter().zip(from) {
            let enough = || {
                let arrived = beat.since(from)?;
                ensure!(arrived.sent >= BEATS, "{} of {BEATS} are sent", arrived.sent);
                Ok(arrived)
            };
            let arrived = wait_until("the beat goes on", 6 * SOON, enough)?;
            println!("{event}: {arrived}");
            ensure!((arrived.lost, arrived.unanswered, arrived.twice) == (0, 0, 0), "{event}: {arrived}");
        }
        for (kept, first) in &mut self.kept {
            let answer = kept.ask(ANSWER).with_context(|| format!("{event}: a connection to {}", first.server))?;
            assert_eq!(answer, *first, "{event}: a server sees its client as before");
        }
        self.udp.ensure_running()?;
        self.tcp.ensure_running()?;
        if let Some(balancer) = balancer {
            self.homes.sample(balancer, &NAMES)?;
        }
        Ok(())
    }

    /// Ends everything, and asserts what holds for all of the time.
    fn finish(mut self, balancer: &Balancer<'_>) -> Result<()> {
        self.homes.sample(balancer, &NAMES)?;
        for beat in self.beats {
            let arrived = beat.finish()?;
            println!("stream: {arrived}");
            let strange = (arrived.lost, arrived.unanswered, arrived.twice, arrived.servers.len());
            assert_eq!(strange, (0, 0, 0, 1), "{arrived}");
        }
        let (udp, tcp) = (self.udp.finish(&self.site.servers)?, self.tcp.finish(&self.site.servers)?);
        println!("UDP: {udp:?}\nTCP: {tcp:?}\n{} flows, none moved", self.homes.flows());
        udp.ensure_whole()?;
        ensure!(tcp.bytes > 1_000_000, "TCP carried only {} bytes", tcp.bytes);
        self.repeats.ensure_none_lost(&self.site.client, &self.site.servers)?;
        drop(self.kept);
        self.before.ensure_whole(&self.site.balancer, self.site.kind.devices(), balancer)?;
        assert_eq!(self.site.wrong_checksums()?, 0);
        Ok(())
    }
}

/// Runs a disturbance under all the traffic there is.
fn under_traffic(
    name: &str,
    disturb: impl Fn(&Routed, &mut Balancer<'_>, &mut Traffic<'_>) -> Result<()>,
) -> Result<()> {
    on_each(name, &KINDS, Narrow::Nowhere, |lab, site| {
        // It answers the checks of a server that is added.
        let _third = site.add_server(lab, "RAS3", 108)?;
        let persistent = services(site.kind).persistent();
        let mut balancer = Balancer::start(lab, &site.balancer, &persistent.yaml())?;
        let mut traffic = Traffic::start(site, &balancer)?;
        let control = traffic.now();
        traffic.go_on("undisturbed", control, Some(&balancer))?;
        disturb(site, &mut balancer, &mut traffic)?;
        traffic.finish(&balancer)
    })
}

#[test]
fn a_daemon_that_is_killed_is_not_missed_by_rewritten_flows() -> Result<()> {
    under_traffic("rwr-kill", |_, balancer, traffic| {
        for round in 1..=ROUNDS {
            let event = traffic.now();
            balancer.kill();
            traffic.go_on(&format!("kill {round}, without a daemon"), event, None)?;
            let event = traffic.now();
            balancer.restart()?;
            traffic.go_on(&format!("kill {round}, started again"), event, Some(balancer))?;
        }
        Ok(())
    })
}

#[test]
fn a_daemon_that_is_restarted_is_not_missed_by_rewritten_flows() -> Result<()> {
    under_traffic("rwr-term", |_, balancer, traffic| {
        for round in 1..=ROUNDS {
            let event = traffic.now();
            balancer.terminate()?;
            balancer.restart()?;
            traffic.go_on(&format!("restart {round}"), event, Some(balancer))?;
        }
        Ok(())
    })
}

#[test]
fn an_upgrade_and_the_way_back_are_not_missed_by_rewritten_flows() -> Result<()> {
    let (this, next) = (lbd()?, next_lbd()?);
    under_traffic("rwr-upgrade", |site, balancer, traffic| {
        let device = site.kind.devices()[0];
        let shipped = balancer.attached_tag(device)?;
        for (program, is_next) in [(&next, true), (&this, false)] {
            let event = traffic.now();
            balancer.change_program(program.clone());
            balancer.terminate()?;
            balancer.restart()?;
            let attached = balancer.attached_tag(device)?;
            ensure!((attached != shipped) == is_next, "{shipped} and {attached}; run `cargo xtask build-next`");
            traffic.go_on(&format!("upgrade to {attached}"), event, Some(balancer))?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_comes_and_goes_moves_no_rewritten_flow_of_the_others() -> Result<()> {
    under_traffic("rwr-load", |site, balancer, traffic| {
        let persistent = services(site.kind).persistent();
        for round in 1..=ROUNDS {
            let event = traffic.now();
            for (services, there) in [(persistent.clone().add_server("RAS3", 108), true), (persistent.clone(), false)] {
                balancer.write_configuration(&services.yaml())?;
                let reload = balancer.lbctl(&["reload"])?.success()?;
                ensure!(reload.stdout.contains("RAS3"), "the reload changed nothing: {reload}");
                wait_until(&format!("RAS3 is there: {there}"), SOON, || {
                    let status = balancer.status()?;
                    ensure!(status.server(NAMES[0], "RAS3").is_ok() == there, "it is not so");
                    Ok(())
                })?;
                if there {
                    balancer.wait_state(NAMES[0], "RAS3", "up", SOON)?;
                }
                traffic.go_on(&format!("reload {round}"), event, Some(balancer))?;
            }
        }
        Ok(())
    })
}
