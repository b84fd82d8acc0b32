//! VIPs on the interfaces: planned from what the machine has, carried out, announced.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use lb_core::neighbour::Link;
use lb_core::vip::{self, Announcer, Holder, Wanted};
use tracing::{info, warn};

use super::Daemon;

/// Where the VIPs are, and what is still to be announced.
#[derive(Default)]
pub(super) struct Vips {
    announcer: Announcer,
    holders: BTreeMap<IpAddr, Holder>,
    links: Vec<Link>,
    /// Why a VIP cannot be brought up.
    pub problems: BTreeMap<IpAddr, String>,
}

impl Vips {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.announcer.next_deadline()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.announcer.handle_timeout(now);
    }

    /// The interfaces as they were last read.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }
}

impl Daemon {
    /// Brings up the VIPs of the configuration and takes down those of before.
    pub(super) async fn plan_vips(&mut self) {
        let services = &self.control.config().virtual_services;
        let configured = services.iter().map(|service| (service.address, service.interface.clone()));
        // Flows of a service that is going still come in by its VIP.
        let mut wanted: Wanted = self.control.leaving_vips().map(|vip| (vip, None)).collect();
        wanted.extend(configured);
        self.carry_out(&wanted).await;
    }

    /// Takes down every VIP that was brought up.
    pub(super) async fn remove_vips(&mut self) {
        self.carry_out(&Wanted::new()).await;
    }

    async fn carry_out(&mut self, wanted: &Wanted) {
        let host = match self.netlink.host().await {
            Ok(host) => host,
            Err(error) => {
                warn!(%error, "the VIPs stay as they are");
                return;
            }
        };
        let now = Instant::now();
        let plan = vip::plan(wanted, &host.links, &host.addresses);
        for action in &plan.actions {
            if let Err(error) = self.netlink.perform_vip(action).await {
                warn!("{error}");
                continue;
            }
            match *action {
                vip::Action::Add { address, .. } => info!(%address, "VIP brought up"),
                vip::Action::Announce { ifindex, address } => self.vips.announcer.announce(ifindex, address, now),
                vip::Action::Remove { address, .. } => {
                    if !wanted.contains_key(&address) {
                        self.vips.announcer.stop(address);
                    }
                    info!(%address, "VIP taken down");
                }
            }
        }
        for again in vip::disturbed(&plan.holders, &self.vips.links, &host.links) {
            self.vips.announcer.announce(again.ifindex, again.address, now);
        }
        let problems: BTreeMap<_, _> = plan.problems.iter().map(|(vip, problem)| (*vip, problem.to_string())).collect();
        for (vip, problem) in problems.iter().filter(|(vip, problem)| self.vips.problems.get(vip) != Some(problem)) {
            warn!(%vip, "{problem}");
        }
        self.vips.problems = problems;
        self.vips.holders = plan.holders;
        self.vips.links = host.links;
    }

    /// Sends the announcements that are due.
    pub(super) async fn announce(&mut self) {
        while let Some(announcement) = self.vips.announcer.poll_announcement() {
            if let Err(error) = self.netlink.announce(announcement).await {
                warn!("{error}");
            }
        }
    }
}
