//! The interfaces of the configuration: XDP is attached to each, and to no other.

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use tracing::info;

use super::Daemon;
use super::trace::Tracing;
use crate::dataplane::program;
use crate::netlink;

/// An interface that XDP is attached to.
pub(super) struct Device {
    pub name: String,
    pub ifindex: u32,
    /// In the network stack, not in the driver.
    pub generic: bool,
}

impl Device {
    async fn read(name: &str) -> Result<Self> {
        let ifindex = if_nametoindex(name).with_context(|| format!("there is no interface {name}"))?;
        Ok(Self { name: name.to_owned(), ifindex, generic: netlink::is_generic(ifindex).await? })
    }
}

impl Daemon {
    /// Attaches XDP to the interfaces of the configuration, and takes it off all others.
    pub(super) async fn attach(&mut self) -> Result<()> {
        let interfaces = self.control.config().node.interfaces.clone();
        let mut devices = Vec::new();
        for interface in &interfaces {
            let program = self.tracing.as_mut().and_then(Tracing::program).unwrap_or(&mut self.program);
            program.attach(&interface.device, interface.xdp)?;
            devices.push(Device::read(&interface.device).await?);
        }
        for device in program::attached(&self.options.pin_dir)? {
            if !interfaces.iter().any(|interface| interface.device == device) {
                program::detach(&self.options.pin_dir, &device)?;
                info!(device, "XDP taken off");
            }
        }
        self.devices = devices;
        Ok(())
    }

    /// An interface that went away and came back has lost its program.
    pub(super) async fn reattach(&mut self) {
        for device in &mut self.devices {
            let Ok(ifindex) = if_nametoindex(device.name.as_str()) else {
                self.problems.insert(device.name.clone(), format!("interface {} is gone", device.name));
                continue;
            };
            if ifindex == device.ifindex && !self.problems.contains_key(&device.name) {
                continue;
            }
            let interfaces = &self.control.config().node.interfaces;
            let mode = interfaces.iter().find(|interface| interface.device == device.name).map(|i| i.xdp);
            let program = self.tracing.as_mut().and_then(Tracing::program).unwrap_or(&mut self.program);
            let attached = program.attach(&device.name, mode.unwrap_or_default()).map_err(anyhow::Error::new);
            let read = match attached {
                Ok(()) => Device::read(&device.name).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(read) => {
                    self.problems.remove(&device.name);
                    *device = read;
                }
                Err(error) => {
                    self.problems.insert(device.name.clone(), format!("{error:#}"));
                }
            }
        }
    }
}
