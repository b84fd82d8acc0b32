//! The pair: VRRP and the mirroring of states.

use std::time::Duration;

use super::super::code::Code;
use super::super::decode::Context;
use super::super::model::{HaRole, HighAvailability, Sync, Vrrp};
use super::super::raw;
use super::{secret, unusable};

/// RFC 9568 section 5.2.7 counts the advertisement interval in hundredths of a second.
const CENTISECOND_MILLIS: u128 = 10;

pub(super) fn pair(raw: &raw::HighAvailabilitySection, cx: &mut Context<'_>) -> Option<HighAvailability> {
    let vrrp = raw.vrrp.as_ref().and_then(|section| vrrp(&section.value, raw.role.as_ref().map(|role| role.value), cx));
    let sync = raw.sync.as_ref().and_then(|section| sync(&section.value, cx));
    if let Some(peer) = &raw.peer
        && let Some(reason) = unusable(peer.value.0, true)
    {
        cx.report(Code::UnusableAddress, peer.place, format!("{} cannot be the peer: {reason}", peer.value.0));
    }
    Some(HighAvailability {
        role: raw.role.as_ref()?.value,
        peer: raw.peer.as_ref()?.value.0,
        vrrp: vrrp?,
        sync: sync?,
    })
}

fn vrrp(raw: &raw::VrrpSection, role: Option<HaRole>, cx: &mut Context<'_>) -> Option<Vrrp> {
    let interval = raw.advertisement_interval.value.0;
    if !interval.as_millis().is_multiple_of(CENTISECOND_MILLIS) {
        let whole = interval.as_millis() / CENTISECOND_MILLIS * CENTISECOND_MILLIS;
        cx.report(Code::BadDuration, raw.advertisement_interval.place, "VRRP counts in hundredths of a second")
            .help(format!("write {whole}ms"));
    }
    let default_priority = if role == Some(HaRole::Secondary) { 100 } else { 150 };
    Some(Vrrp {
        interface: raw.interface.as_ref()?.value.text.clone(),
        virtual_router_id: raw.virtual_router_id.as_ref()?.value.0,
        priority: raw.priority.as_ref().map_or(default_priority, |priority| priority.value.0),
        advertisement_interval: interval.max(Duration::from_millis(10)),
        preempt: raw.preempt.value.0,
    })
}

fn sync(raw: &raw::SyncSection, cx: &mut Context<'_>) -> Option<Sync> {
    let key = secret(raw.key.as_ref(), raw.key_file.as_ref(), "key", cx);
    if key.is_none() && !raw.faulty {
        cx.report_key(Code::MissingKey, raw.place, "`key_file` is missing")
            .label("what the pair mirrors is sealed with a key that both units share")
            .help("add `key_file:` with a file that holds the same key on both units");
    }
    Some(Sync { listen: raw.listen.as_ref().map(|listen| listen.value.0), port: raw.port.value.0, key: key? })
}
