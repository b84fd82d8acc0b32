//! The datapath in the kernel: loaded with its tables, pinned, attached to interfaces.
//!
//! Everything is pinned below one directory, so that forwarding goes on when the daemon is gone:
//! the tables by name, `programs/lb_forward`, and `links/DEVICE`. A daemon that finds pins adopts
//! them: it loads its own program over the same tables and replaces the attached one atomically.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{ABI_VERSION, Settings, TRACE_RING_BYTES};
use lb_core::config::model::{self, Limits};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::{SysconfVar, sysconf};

use super::{Error, Table, object};

/// Every table of the datapath; the names of the maps in `lb-ebpf`.
pub const TABLES: [&str; 22] = [
    "settings",
    "vip_filter",
    "flows",
    "pending_flows",
    "reply_filter",
    "replies",
    "sources",
    "source_ports",
    "service_ports",
    "port_ranges",
    "services",
    "servers",
    "schedule",
    "rotation",
    "persistence",
    "new_clients",
    "fragments",
    "opened",
    "closed",
    "admission",
    "server_counters",
    "verdicts",
];

/// How the program is loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is pinned, on a BPF file system.
    pub pins: PathBuf,
    /// Sizes of tables that do not exist yet.
    pub limits: Limits,
    /// Bits of the jiffies below a tick.
    pub tick_shift: u8,
    /// Whether every verdict is logged.
    pub log_verdicts: bool,
}

/// The loaded program.
pub struct Program {
    ebpf: Ebpf,
    pins: PathBuf,
}

impl Program {
    /// Loads the program over the pinned tables, making those that are missing.
    ///
    /// # Errors
    /// When there is no BPF file system, the tables are of another version, or the kernel refuses.
    pub fn load(options: &Options) -> Result<Self, Error> {
        let mut program = Self::load_switched(options, false)?;
        program.pin()?;
        Ok(program)
    }

    /// Loads the program once more over the same tables, as one that tells of frames. Whoever looks at the
    /// pinned program goes on seeing the other one.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(super) fn load_traced(options: &Options) -> Result<Self, Error> {
        Self::load_switched(options, true)
    }

    fn load_switched(options: &Options, traced: bool) -> Result<Self, Error> {
        let pins = &options.pins;
        prepare(pins)?;
        check_version(pins)?;
        let paths: Vec<_> = TABLES.iter().map(|name| pins.join(name)).collect();
        let mut loader = EbpfLoader::new();
        for (name, path) in TABLES.into_iter().zip(&paths) {
            loader.map_pin_path(name, path.as_path());
        }
        let (verdict_log, trace) = (u8::from(options.log_verdicts), u8::from(traced));
        // The least that the kernel takes, for a ring buffer that nobody writes to.
        let ring = if traced { TRACE_RING_BYTES } else { page_bytes() };
        loader
            .map_max_entries("flows", options.limits.flows)
            .map_max_entries("pending_flows", options.limits.pending_flows)
            .map_max_entries("replies", options.limits.translated_flows)
            .map_max_entries("persistence", options.limits.persistence)
            .override_global("TICK_SHIFT", &options.tick_shift, true)
            .map_max_entries("trace", ring)
            .override_global("VERDICT_LOG", &verdict_log, true)
            .override_global("TRACE", &trace, true);
        let mut program = Self { ebpf: loader.load(object::DATAPATH).map_err(Error::Load)?, pins: pins.clone() };
        program.xdp()?.load().map_err(Error::loading)?;
        Ok(program)
    }

    /// The object, for its log and what it traces.
    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// The program, for runs over made-up packets.
    ///
    /// # Errors
    /// Never with an object of this version.
    pub fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        let program = self.ebpf.program_mut("lb_forward").ok_or(Error::NoProgram("lb_forward"))?;
        program.try_into().map_err(Error::Program)
    }

    /// Replaces the pinned program; the pin is for people and tools, links hold their own reference.
    fn pin(&mut self) -> Result<(), Error> {
        let path = self.pins.join("programs").join("lb_forward");
        remove_if_there(&path)?;
        let program = self.xdp()?;
        program.pin(&path).map_err(|error| Error::FileSystem { path, reason: io::Error::other(error) })
    }

    /// Attaches the program to `device`, in place of the one that is pinned there if there is one.
    ///
    /// # Errors
    /// When there is no such device or it does not take the program.
    pub fn attach(&mut self, device: &str, mode: model::XdpMode) -> Result<(), Error> {
        let pin = self.pins.join("links").join(device);
        if self.replace(device, &pin)? {
            return Ok(());
        }
        let link = match mode {
            model::XdpMode::Native => self.attach_as(device, XdpMode::Driver, "native")?,
            model::XdpMode::Generic => self.attach_as(device, XdpMode::Skb, "generic")?,
            model::XdpMode::Auto => match self.attach_as(device, XdpMode::Driver, "native") {
                Err(Error::Attach { reason, .. }) => {
                    tracing::warn!(device, %reason, "no native XDP, attaching generic: expect a fraction of the speed");
                    self.attach_as(device, XdpMode::Skb, "generic")?
                }
                other => other?,
            },
        };
        let failed = |reason| Error::Link { device: device.to_owned(), reason };
        let link: FdLink = link.try_into().map_err(failed)?;
        // The pin keeps the program attached; this daemon needs no handle of its own.
        link.pin(&pin).map_err(|error| Error::FileSystem { path: pin, reason: io::Error::other(error) })?;
        Ok(())
    }

    /// Updates a link that an earlier daemon pinned. A link whose device is gone is removed.
    fn replace(&mut self, device: &str, pin: &Path) -> Result<bool, Error> {
        let Ok(old) = PinnedLink::from_pin(pin) else { return Ok(false) };
        let old: FdLink = old.into();
        let Ok(link) = XdpLink::try_from(old) else {
            remove_if_there(pin)?;
            return Ok(false);
        };
        let id = match self.xdp()?.attach_to_link(link) {
            Ok(id) => id,
            Err(error) => {
                tracing::info!(device, %error, "the pinned link cannot be used again, attaching anew");
                remove_if_there(pin)?;
                return Ok(false);
            }
        };
        // Taken out of aya's keeping, where it would be detached at the end of this process; the
        // pin holds it.
        self.xdp()?.take_link(id).map_err(Error::Program)?;
        Ok(true)
    }

    fn attach_as(&mut self, device: &str, mode: XdpMode, name: &'static str) -> Result<XdpLink, Error> {
        let program = self.xdp()?;
        match program.attach(device, mode).and_then(|id| program.take_link(id)) {
            Ok(link) => Ok(link),
            Err(aya::programs::ProgramError::UnknownInterface { .. }) => Err(Error::NoInterface(device.to_owned())),
            Err(reason) => Err(Error::Attach { device: device.to_owned(), mode: name, reason }),
        }
    }
}

/// Devices that have a pinned link.
///
/// # Errors
/// When the directory cannot be read.
pub fn attached(pins: &Path) -> Result<Vec<String>, Error> {
    let links = pins.join("links");
    let failed = |reason| Error::FileSystem { path: links.clone(), reason };
    let mut devices = Vec::new();
    for entry in fs::read_dir(&links).map_err(failed)? {
        devices.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    devices.sort();
    Ok(devices)
}

/// Takes the program off `device`.
///
/// # Errors
/// When the pin cannot be removed.
pub fn detach(pins: &Path, device: &str) -> Result<(), Error> {
    remove_if_there(&pins.join("links").join(device))
}

/// Puts the tables aside, so that the next daemon makes its own. The attached program keeps them and goes on
/// forwarding until that daemon replaces it. `settings` go last: until then their version keeps a daemon that
/// comes in between from taking some of the tables for all.
///
/// # Errors
/// When a pin cannot be moved; the rest is moved the next time.
pub fn put_tables_aside(pins: &Path) -> Result<usize, Error> {
    let aside = pins.join(ASIDE);
    let failed = |path: &Path, reason| Error::FileSystem { path: path.to_owned(), reason };
    let mut moved = 0;
    for name in TABLES.iter().rev() {
        let pin = pins.join(name);
        if !pin.exists() {
            continue;
        }
        fs::create_dir_all(&aside).map_err(|error| failed(&aside, error))?;
        remove_if_there(&aside.join(name))?;
        fs::rename(&pin, aside.join(name)).map_err(|error| failed(&pin, error))?;
        moved += 1;
    }
    Ok(moved)
}

/// Whether the attached program uses tables that were put aside.
#[must_use]
pub fn has_aside(pins: &Path) -> bool {
    pins.join(ASIDE).exists()
}

/// Lets go of tables that were put aside, once no attached program uses them any more.
///
/// # Errors
/// When a pin cannot be removed.
pub fn forget_aside(pins: &Path) -> Result<(), Error> {
    let aside = pins.join(ASIDE);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::FileSystem { path: aside, reason: error }),
        _ => Ok(()),
    }
}

/// Below the pins: tables that the attached program still uses and the next one will not.
const ASIDE: &str = "aside";

/// Takes the program off every interface and removes program and tables.
///
/// # Errors
/// When a pin cannot be removed.
pub fn remove(pins: &Path) -> Result<(), Error> {
    if !pins.exists() {
        return Ok(());
    }
    for device in attached(pins)? {
        detach(pins, &device)?;
    }
    fs::remove_dir_all(pins).map_err(|reason| Error::FileSystem { path: pins.to_owned(), reason })
}

fn page_bytes() -> u32 {
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u32::try_from(bytes).ok());
    bytes.unwrap_or(TRACE_RING_BYTES)
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::FileSystem { path: path.to_owned(), reason: error })
        }
        _ => Ok(()),
    }
}

/// Makes the directories, mounting the BPF file system where a machine has none.
fn prepare(pins: &Path) -> Result<(), Error> {
    const ROOT: &str = "/sys/fs/bpf";
    let failed = |reason| Error::FileSystem { path: pins.to_owned(), reason };
    let is_bpf = |path: &Path| statfs(path).is_ok_and(|info| info.filesystem_type() == BPF_FS_MAGIC);
    if pins.starts_with(ROOT) && !is_bpf(Path::new(ROOT)) {
        mount(Some("bpf"), ROOT, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(|error| failed(error.into()))?;
        tracing::info!("mounted the BPF file system at {ROOT}");
    }
    // Asked of what is there: directories that were made for nothing would be in the way later.
    if !pins.ancestors().find(|place| place.exists()).is_some_and(is_bpf) {
        return Err(Error::NotBpf { path: pins.to_owned() });
    }
    for directory in ["programs", "links"] {
        fs::create_dir_all(pins.join(directory)).map_err(failed)?;
    }
    Ok(())
}

/// Tables of another version are left alone.
fn check_version(pins: &Path) -> Result<(), Error> {
    if !pins.join("settings").exists() {
        return Ok(());
    }
    let settings = Table::<u32, Settings>::open(pins, "settings")?.get(&0)?.unwrap_or_default();
    // Zero: a daemon that died between making the tables and writing the first settings.
    if settings.abi_version != 0 && settings.abi_version != ABI_VERSION {
        return Err(Error::Abi { path: pins.to_owned(), found: settings.abi_version, known: ABI_VERSION });
    }
    Ok(())
}
