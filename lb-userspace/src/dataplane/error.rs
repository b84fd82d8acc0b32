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
        "cannot use the BPF file system at {path}: {reason}; as root, `mount -t bpf bpf /sys/fs/bpf` mounts it, and \
         `findmnt /sys/fs/bpf` shows how it is mounted"
    )]
    FileSystem {
        /// Directory.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The pins would lie on another file system.
    #[error(
        "{path} is not on a BPF file system, the only one that can hold kernel tables: name a directory below \
         /sys/fs/bpf with --pin-dir"
    )]
    NotBpf {
        /// Directory.
        path: PathBuf,
    },
    /// The kernel is too old.
    #[error(
        "the kernel of this machine is Linux {release}, and lbd needs {} or newer: install a newer kernel (Debian 12 \
         has one) and start the machine with it",
        super::machine::OLDEST
    )]
    Kernel {
        /// As `uname -r` says.
        release: String,
    },
    /// The process may not do what it has to.
    #[error("missing privileges: {}; start lbd as root, or with these capabilities", .0.join(", "))]
    Privileges(Vec<&'static str>),
    /// The kernel does not take the objects.
    #[error(
        "the kernel does not take the tables of the datapath: {0}; lbd needs root of the machine itself (no container \
         or user namespace), and memory for the tables of `node.limits`"
    )]
    Load(EbpfError),
    /// The kernel does not let this process load programs.
    #[error(
        "the kernel does not let lbd load BPF programs: {0}; start it as root of the machine itself, because containers \
         and user namespaces are refused whatever their capabilities"
    )]
    NotPermitted(io::Error),
    /// The verifier refuses a program.
    #[error(
        "the kernel {release} refuses the datapath: {reason}; start lbd with LB_LOG=debug, and report this kernel with \
         what its verifier says",
        release = super::machine::release()
    )]
    Refused {
        /// Why.
        reason: io::Error,
    },
    /// A program cannot be run or kept.
    #[error("the kernel refuses the program: {0}")]
    Program(ProgramError),
    /// The object lacks a program.
    #[error("the object in this binary has no program {0}: it was not built with this version")]
    NoProgram(&'static str),
    /// A table is not where it should be.
    #[error("cannot open the table {path}: {reason}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why.
        reason: MapError,
    },
    /// A table of another version.
    #[error(
        "the table {path} was left by another version of lbd and has another layout; `lbd replace-tables` \
         puts it aside, then start lbd: forwarding goes on, and established flows are placed anew"
    )]
    Layout {
        /// The pin.
        path: PathBuf,
    },
    /// Tables of another version.
    #[error(
        "the tables in {path} have layout {found}, this lbd knows layout {known}; `lbd replace-tables` puts them aside, \
         then start lbd: forwarding goes on, and established flows are placed anew"
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
    #[error("{doing} table {table}: {reason}")]
    Table {
        /// Its name.
        table: String,
        /// "reading", "writing" and the like.
        doing: &'static str,
        /// Why.
        reason: io::Error,
    },
    /// The proxy serves more ranges of ports than the table has places.
    #[error(
        "layer 7 services have more than {} ranges of ports: write neighbouring ports as one range",
        lb_common::abi::MAX_STEERED_RANGES
    )]
    TooManyRanges,
    /// The interface does not exist.
    #[error("there is no interface {0}; `ip link` lists those there are")]
    NoInterface(String),
    /// XDP cannot be attached.
    #[error(
        "cannot attach XDP to {device} ({mode}): {reason}; another XDP program may be there (`ip link show {device}`), or the driver lacks native XDP (write `xdp: generic`)"
    )]
    Attach {
        /// The interface.
        device: String,
        /// How it was tried.
        mode: &'static str,
        /// Why.
        reason: ProgramError,
    },
    /// A link cannot be kept.
    #[error("cannot keep XDP attached to {device}: {reason}")]
    Link {
        /// The interface.
        device: String,
        /// Why.
        reason: LinkError,
    },
    /// The program's log cannot be read.
    #[error("the log of the datapath cannot be read: {0}")]
    Log(aya_log::Error),
    /// A table of a trace cannot be used.
    #[error("a trace cannot use its table {table}: {reason}")]
    Trace {
        /// Its name.
        table: &'static str,
        /// Why.
        reason: MapError,
    },
    /// Something of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Why a program could not be loaded; what the verifier says is for the log.
    pub(super) fn loading(error: ProgramError) -> Self {
        match error {
            // Not EACCES, which is how the verifier refuses.
            ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM) => {
                Self::NotPermitted(io_error)
            }
            ProgramError::LoadError { io_error, verifier_log } => {
                tracing::debug!("the verifier says: {verifier_log}");
                Self::Refused { reason: io_error }
            }
            other => Self::Program(other),
        }
    }
}
