//! Reports what changes in the kernel.
//!
//! In: multicast notifications. Out: [`Event`]s on a bounded channel; everything afresh when the
//! kernel had to drop notifications. Absent: answers to questions; see `actions`.

use std::io;

use lb_core::neighbour::Input;
use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::connection::{Connection, messages};
use super::{Error, Event, host, message};

// Multicast groups, `enum rtnetlink_groups` in include/uapi/linux/rtnetlink.h: links, neighbours,
// then addresses, routes and rules of both families, and next hop objects.
const GROUPS: [u32; 9] = [1, 3, 5, 7, 8, 9, 11, 19, 32];

// Message types whose content does not matter (include/uapi/linux/rtnetlink.h): a change of any
// asks all routes again. Not decoding them keeps up with a routing daemon that loads a full table.
const ROUTES: [u16; 6] = [RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP];
const ADDRESSES: [u16; 2] = [RTM_NEWADDR, RTM_DELADDR];
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

/// Datagrams taken at once, so that a burst is told as one change of routes.
const BATCH: usize = 256;

pub(super) struct Monitor {
    subscription: Connection,
    questions: Connection,
}

/// What a batch of notifications amounts to.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) inputs: Vec<Input>,
    pub(super) routes: bool,
    pub(super) host: bool,
}

/// The channel is closed: nobody listens any more.
struct Closed;

impl Monitor {
    pub(super) fn open() -> Result<Self, Error> {
        let open = |groups: &[u32]| Connection::open(groups);
        let subscription = open(&GROUPS).map_err(|error| Error::new("subscribe to netlink notifications", error))?;
        let questions = open(&[]).map_err(|error| Error::new("open a netlink socket", error))?;
        Ok(Self { subscription, questions })
    }

    /// Reports until the channel is closed or the socket fails for good.
    pub(super) async fn run(mut self, events: mpsc::Sender<Event>) {
        let error = loop {
            match self.snapshot(&events).await {
                Ok(Ok(())) => {}
                Ok(Err(Closed)) => return,
                Err(error) => break Error::new("read the network interfaces", error),
            }
            match self.follow(&events).await {
                Ok(Closed) => return,
                // Notifications were dropped: netlink(7), ENOBUFS.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    info!("netlink notifications came faster than they were read: reading everything again");
                    self.discard();
                }
                Err(error) => break Error::new("receive netlink notifications", error),
            }
        };
        warn!(%error, "the kernel's network changes are no longer followed");
        // Whoever closed the channel does not want to know.
        let _ = events.send(Event::Stopped(error)).await;
    }

    async fn snapshot(&mut self, events: &mpsc::Sender<Event>) -> io::Result<Result<(), Closed>> {
        let links = host::links(&mut self.questions).await?;
        let told = send(events, Event::Neighbour(Input::Resync(links))).await;
        if told.is_err() {
            return Ok(told);
        }
        Ok(send(events, Event::HostChanged).await)
    }

    async fn follow(&mut self, events: &mpsc::Sender<Event>) -> io::Result<Closed> {
        loop {
            let mut batch = Batch::default();
            batch.take(self.subscription.receive().await?);
            for _ in 1..BATCH {
                match self.subscription.receive_now() {
                    Some(datagram) => batch.take(datagram?),
                    None => break,
                }
            }
            if batch.report(events).await.is_err() {
                return Ok(Closed);
            }
        }
    }

    /// Throws away what was queued before the overrun: it is older than the snapshot that follows,
    /// and the notifications that would correct it are lost.
    fn discard(&mut self) {
        while let Some(received) = self.subscription.receive_now() {
            if received.is_err_and(|error| error.raw_os_error() != Some(libc::ENOBUFS)) {
                return;
            }
        }
    }
}

impl Batch {
    pub(super) fn take(&mut self, datagram: &[u8]) {
        for bytes in messages(datagram) {
            let kind = NetlinkBuffer::new(bytes).message_type();
            if ROUTES.contains(&kind) {
                self.routes = true;
                continue;
            }
            // An address brings and takes routes, and they are not all announced.
            if ADDRESSES.contains(&kind) {
                self.routes = true;
                self.host = true;
                continue;
            }
            match NetlinkMessage::deserialize(bytes) {
                Ok(message) => self.decoded(message),
                Err(error) => debug!(%error, kind, "a netlink notification could not be decoded"),
            }
        }
    }

    fn decoded(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        let NetlinkPayload::InnerMessage(message) = message.payload else { return };
        match message {
            RouteNetlinkMessage::NewLink(link) => {
                let link = message::link(&link);
                self.host |= link.is_some();
                self.inputs.extend(link.map(Input::Link));
            }
            RouteNetlinkMessage::DelLink(link) => {
                let link = message::link(&link);
                self.host |= link.is_some();
                self.inputs.extend(link.map(|link| Input::LinkGone { ifindex: link.ifindex }));
            }
            RouteNetlinkMessage::NewNeighbour(entry) => self.inputs.extend(message::neighbour(&entry, false)),
            RouteNetlinkMessage::DelNeighbour(entry) => self.inputs.extend(message::neighbour(&entry, true)),
            _ => {}
        }
    }

    async fn report(self, events: &mpsc::Sender<Event>) -> Result<(), Closed> {
        for input in self.inputs {
            send(events, Event::Neighbour(input)).await?;
        }
        if self.routes {
            send(events, Event::Neighbour(Input::RoutesChanged)).await?;
        }
        if self.host {
            send(events, Event::HostChanged).await?;
        }
        Ok(())
    }
}

async fn send(events: &mpsc::Sender<Event>, event: Event) -> Result<(), Closed> {
    events.send(event).await.map_err(|_| Closed)
}
