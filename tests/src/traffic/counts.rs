//! Frames as the switch and the datapath count them, so that none can be missing unnoticed.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::balancer::Balancer;
use crate::lab::{Host, wait_until};

/// For things that take a moment.
const SOON: Duration = Duration::from_secs(10);

/// What has been counted so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    delivered: u64,
    counted: u64,
    dropped: u64,
    unrecorded: u64,
}

impl Counts {
    /// Taken while no frame arrives at these interfaces of the balancer's host in between.
    ///
    /// # Errors
    /// When frames keep arriving.
    pub fn take(host: &Host, devices: &[&str], balancer: &Balancer<'_>) -> Result<Self> {
        let delivered = || devices.iter().map(|device| host.frames_delivered(device)).sum::<Result<u64>>();
        wait_until("the counters are read between two frames", SOON, || {
            let before = delivered()?;
            let status = balancer.status()?;
            ensure!(delivered()? == before, "a frame arrived meanwhile");
            let of = |reasons: &[&str]| reasons.iter().map(|reason| status.packets_for(reason)).sum();
            Ok(Self {
                delivered: before,
                counted: status.packets_counted(),
                dropped: status.packets_with("drop"),
                unrecorded: of(&["resumed", "untracked", "flow-table-full"]),
            })
        })
    }

    /// Every frame since has been counted, none was dropped, and none went by no record of its flow.
    ///
    /// # Errors
    /// When it is not so.
    pub fn ensure_whole(&self, host: &Host, devices: &[&str], balancer: &Balancer<'_>) -> Result<()> {
        wait_until("the datapath has counted every frame", SOON, || {
            let after = Self::take(host, devices, balancer)?;
            let (delivered, counted) = (after.delivered - self.delivered, after.counted - self.counted);
            ensure!(delivered == counted, "{delivered} frames were delivered, {counted} counted");
            println!("{delivered} frames were delivered to the balancer, each was counted");
            ensure!(after.dropped == self.dropped, "the datapath dropped frames");
            ensure!(after.unrecorded == self.unrecorded, "frames went by no record of their flow");
            Ok(())
        })
    }
}
