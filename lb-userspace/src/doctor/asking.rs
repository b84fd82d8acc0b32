//! Asks one question, in one or two probes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lb_core::config::model::Protocol;
use lb_core::doctor::{Acceptance, Answer, Heard, Machine, Question};
use lb_core::neighbour::NextHop;
use lb_core::view::Transport;

use super::probe::{self, ComesBack, Device, Path, ProbeError};

/// An answer on a network segment takes a thousandth of it.
const WAIT: Duration = Duration::from_secs(1);

/// Nobody's, and on no machine's own network (RFC 5737, RFC 3849).
const FAR_AWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
const FAR_AWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77));

pub(super) async fn ask(question: &Question, machine: &Machine) -> Answer {
    let answer = match question {
        Question::WhoAnswers { vip, ifindex, source, .. } => who_answers(machine, *ifindex, *vip, *source).await,
        Question::Accepts { address, hop, vip, port, protocols, source, .. } => {
            let asking = Asking { machine, hop, port: *port, source: *source };
            asking.acceptance(*vip, *address, protocols).await.map(Answer::Acceptance)
        }
        Question::ComesBack { address, hop, port, protocol, source, .. } => {
            let asking = Asking { machine, hop, port: *port, source: *source };
            asking.came_back(*address, *protocol).await
        }
    };
    answer.unwrap_or_else(Answer::Failed)
}

async fn who_answers(machine: &Machine, ifindex: u32, vip: IpAddr, source: Option<IpAddr>) -> Result<Answer, String> {
    let macs = probe::who_answers(&device(machine, ifindex)?, vip, source, WAIT).await.map_err(sentence)?;
    Ok(Answer::Macs(macs))
}

/// Frames to one real server.
struct Asking<'a> {
    machine: &'a Machine,
    hop: &'a NextHop,
    port: u16,
    source: IpAddr,
}

impl Asking<'_> {
    /// Asks for the VIP, and where no application answers, for the server's own address: the difference
    /// tells, because a firewall or a server that is down treats both alike.
    async fn acceptance(&self, vip: IpAddr, own: IpAddr, protocols: &[Transport]) -> Result<Acceptance, String> {
        for protocol in protocols {
            match self.accepts(vip, *protocol).await? {
                Heard::Silent => {}
                Heard::Answered => return Ok(Acceptance { vip: Heard::Answered, own: None }),
                Heard::Refused => {
                    let own = Some(self.accepts(own, *protocol).await?);
                    return Ok(Acceptance { vip: Heard::Refused, own });
                }
            }
        }
        for protocol in protocols {
            let own = self.accepts(own, *protocol).await?;
            if own != Heard::Silent {
                return Ok(Acceptance { vip: Heard::Silent, own: Some(own) });
            }
        }
        Ok(Acceptance { vip: Heard::Silent, own: Some(Heard::Silent) })
    }

    async fn came_back(&self, server: IpAddr, protocol: Transport) -> Result<Answer, String> {
        let far_away = if server.is_ipv4() { FAR_AWAY_V4 } else { FAR_AWAY_V6 };
        let path = self.path()?;
        let port = Some(self.port);
        let came = probe::comes_back(&path, server, port, transport(protocol), far_away, WAIT).await;
        if came.map_err(sentence)? == ComesBack::Here {
            return Ok(Answer::CameBack { by_us: true, answers: true });
        }
        let answers = self.accepts(server, protocol).await? != Heard::Silent;
        Ok(Answer::CameBack { by_us: false, answers })
    }

    async fn accepts(&self, address: IpAddr, protocol: Transport) -> Result<Heard, String> {
        let path = self.path()?;
        let heard = probe::accepts(&path, address, self.port, transport(protocol), self.source, WAIT).await;
        Ok(match heard.map_err(sentence)? {
            probe::Acceptance::Answered => Heard::Answered,
            probe::Acceptance::Refused => Heard::Refused,
            probe::Acceptance::Silent => Heard::Silent,
        })
    }

    fn path(&self) -> Result<Path, String> {
        let NextHop { ifindex, source_mac, destination_mac, outer_vlan, inner_vlan, .. } = *self.hop;
        let device = device(self.machine, ifindex)?;
        Ok(Path { device, source_mac, destination_mac, outer_vlan, inner_vlan })
    }
}

fn device(machine: &Machine, ifindex: u32) -> Result<Device, String> {
    let found = machine.devices.iter().find(|device| device.link.ifindex == ifindex);
    let device = found.ok_or_else(|| format!("interface number {ifindex} is gone"))?;
    let name = device.link.device.clone();
    let mac = device.link.mac.ok_or_else(|| format!("{name} has no MAC address"))?;
    Ok(Device { name, ifindex, mac })
}

fn transport(protocol: Transport) -> Protocol {
    match protocol {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn sentence(error: ProbeError) -> String {
    error.to_string()
}
