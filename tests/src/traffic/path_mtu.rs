//! A sender that learns of a narrow link on the way, by what its kernel then knows and by the error that
//! told it.
//!
//! In: the sender, whom it sends to, and what it sends. Out: the error, after everything else about it has
//! been asserted.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use crate::deployments::routed::NARROW_MTU;
use crate::frame::{self, ETHERNET, Quoted};
use crate::lab::Host;
use crate::software::iperf::Load;

/// More than fits before the error has come.
const PLENTY: u64 = 1_000_000;

/// Sends, and asserts that the sender has learnt of [`NARROW_MTU`] towards `receiver` by errors that quote
/// packets it sent, byte for byte as it sent them.
///
/// # Errors
/// When the load is not carried, or the sender has not learnt so.
pub fn learn(sender: &Host, receiver: IpAddr, send: impl FnOnce() -> Result<Load>) -> Result<Quoted> {
    let too_long = |bytes: &[u8]| bytes.len() > ETHERNET + usize::from(NARROW_MTU);
    let seen = sender.capture("eth0", move |bytes| too_long(bytes) || frame::quoted(bytes).is_some())?;
    let known = sender.path_mtu(receiver)?;
    ensure!(known.is_none(), "{} knows the path to {receiver} before it has sent: {known:?}", sender.name());
    let load = send()?;
    ensure!(load.bytes > PLENTY, "only {} bytes were carried", load.bytes);
    let frames = seen.frames();
    let errors: Vec<_> = frames.iter().filter_map(|it| Some((it, frame::quoted(&it.frame)?))).collect();
    for (captured, error) in &errors {
        let found = frames.iter().filter(|it| frame::quotes(error, &it.frame)).count();
        ensure!(found > 0, "{} did not send what is quoted to it: {error:02x?}", sender.name());
        ensure!(error.inner.destination == receiver, "the error is about another receiver: {error:?}");
        ensure!(error.mtu == u32::from(NARROW_MTU), "the error tells {}: {error:?}", error.mtu);
        let wrong = frame::wrong_checksum(&captured.frame).or_else(|| frame::wrong_checksum(&error.packet));
        ensure!(wrong.is_none(), "{wrong:?} in {:02x?}", captured.frame);
    }
    let known = sender.path_mtu(receiver)?;
    ensure!(
        known == Some(u64::from(NARROW_MTU)),
        "{} takes the path to {receiver} for {known:?}, after {} errors",
        sender.name(),
        errors.len()
    );
    let (_, error) = errors.into_iter().next().context("nobody told the sender")?;
    Ok(error)
}
