//! When to tell a network segment that a VIP is here.
//!
//! In: VIPs that came up or went away, and `now`. Out: announcements to be sent. Absent: the frames.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Holder;
use crate::neighbour::Link;

/// Times a VIP is announced: any one may be lost, and RFC 4861 section 10 allows three
/// (MAX_NEIGHBOR_ADVERTISEMENT).
pub const ANNOUNCEMENTS: u8 = 3;
/// Between two of them: RFC 4861 section 7.2.6 asks for at least RetransTimer, one second.
pub const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(1);

/// A gratuitous ARP or an unsolicited neighbour advertisement to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// Kernel index of the device.
    pub ifindex: u32,
    /// The VIP.
    pub address: IpAddr,
}

/// The VIPs of ours to announce after links changed: those on a device that came up or got another
/// MAC, whose network segment may have forgotten them or know the wrong one.
#[must_use]
pub fn disturbed(holders: &BTreeMap<IpAddr, Holder>, before: &[Link], after: &[Link]) -> Vec<Announcement> {
    let as_before =
        |link: &&Link| before.iter().any(|old| old.ifindex == link.ifindex && old.up && old.mac == link.mac);
    let disturbed: BTreeSet<u32> = after.iter().filter(|link| link.up && !as_before(link)).map(|l| l.ifindex).collect();
    let ours = holders.iter().filter(|(_, holder)| holder.ours && disturbed.contains(&holder.ifindex));
    ours.map(|(&address, holder)| Announcement { ifindex: holder.ifindex, address }).collect()
}

/// Repeats announcements: at once, then twice a second apart. Holds at most one schedule per VIP.
#[derive(Debug, Default)]
pub struct Announcer {
    schedules: BTreeMap<IpAddr, Schedule>,
}

#[derive(Debug)]
struct Schedule {
    ifindex: u32,
    left: u8,
    next: Instant,
    due: bool,
}

impl Announcer {
    /// An announcer with nothing to announce.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The VIP came up on a device: announces it, from the start if it was being announced.
    pub fn announce(&mut self, ifindex: u32, address: IpAddr, now: Instant) {
        let schedule = Schedule { ifindex, left: ANNOUNCEMENTS - 1, next: now + ANNOUNCEMENT_INTERVAL, due: true };
        self.schedules.insert(address, schedule);
    }

    /// The VIP is no longer here: one more announcement would steal it from the peer.
    pub fn stop(&mut self, address: IpAddr) {
        self.schedules.remove(&address);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for schedule in self.schedules.values_mut() {
            if schedule.left > 0 && schedule.next <= now {
                schedule.left -= 1;
                schedule.next = now + ANNOUNCEMENT_INTERVAL;
                schedule.due = true;
            }
        }
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.schedules.values().filter(|schedule| schedule.left > 0).map(|schedule| schedule.next).min()
    }

    /// The next announcement to send; call until `None`.
    pub fn poll_announcement(&mut self) -> Option<Announcement> {
        let (&address, schedule) = self.schedules.iter_mut().find(|(_, schedule)| schedule.due)?;
        schedule.due = false;
        let announcement = Announcement { ifindex: schedule.ifindex, address };
        if schedule.left == 0 {
            self.schedules.remove(&address);
        }
        Some(announcement)
    }
}
