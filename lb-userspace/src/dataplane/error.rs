//! What can go wrong between the daemon and the kernel, in sentences.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;

/// What can go wrong between the daemon and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The BPF file system cannot be used.
    #[error(
        "cannot use the BPF file system at {path}: {source}; lbd needs root and a bpffs: `mount -t bpf bpf /sys/fs/bpf`"
    )]
    FileSystem {
        /// Directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not take the objects.
    #[error(
        "the kernel does not take the datapath: {0}; lbd needs root (or CAP_BPF, CAP_NET_ADMIN) and Linux 6.1 or newer"
    )]
    Load(#[source] EbpfError),
    /// The kernel refuses a program.
    #[error("the kernel refuses the program: {0}")]
    Program(#[source] ProgramError),
    /// The object lacks a program.
    #[error("the object in this binary has no program {0}: it was not built with this version")]
    NoProgram(&'static str),
    /// A table is not where it should be.
    #[error("cannot open the table {path}: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: MapError,
    },
    /// A table of another version.
    #[error(
        "the table {path} was left by another version of lbd and has another layout; `lbctl stop --detach` of that \
         version removes it (forwarding stops until lbd has started again)"
    )]
    Layout {
        /// The pin.
        path: PathBuf,
    },
    /// Tables of another version.
    #[error(
        "the tables in {path} have layout {found}, this lbd knows layout {known}; `lbctl stop --detach` of the version \
         that made them removes them (forwarding stops until lbd has started again)"
    )]
    Abi {
        /// Directory of the pins.
        path: PathBuf,
        /// Version of the tables.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// An operation on a table failed.
    #[error("{doing} table {table}: {source}")]
    Table {
        /// Its name.
        table: String,
        /// "reading", "writing" and the like.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The interface does not exist.
    #[error("there is no interface {0}; `ip link` lists those there are")]
    NoInterface(String),
    /// XDP cannot be attached.
    #[error(
        "cannot attach XDP to {device} ({mode}): {source}; another XDP program may be there (`ip link show {device}`), or the driver lacks native XDP (write `xdp: generic`)"
    )]
    Attach {
        /// The interface.
        device: String,
        /// How it was tried.
        mode: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// A link cannot be kept.
    #[error("cannot keep XDP attached to {device}: {source}")]
    Link {
        /// The interface.
        device: String,
        /// Why.
        source: LinkError,
    },
    /// The program's log cannot be read.
    #[error("the log of the datapath cannot be read: {0}")]
    Log(#[source] aya_log::Error),
    /// Something of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}
