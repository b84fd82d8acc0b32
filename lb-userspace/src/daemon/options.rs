//! The arguments of `lbd run`.

use std::path::PathBuf;

use crate::api::DEFAULT_SOCKET;
use crate::config_files::DEFAULT_PATH;

/// Where things are.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The main file; conf.d beside it is read too.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Where lbctl connects; what must outlive the daemon, but not a reboot, is kept beside it.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Where orders about real servers and events are kept, over reboots too.
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/lb")]
    pub state_dir: PathBuf,
    /// Where tables, program and links are pinned, on a BPF file system.
    #[arg(long, value_name = "DIRECTORY", default_value = "/sys/fs/bpf/lb")]
    pub pin_dir: PathBuf,
    /// Take over from the running lbd: its listening sockets, tables and records; it finishes its connections and ends.
    /// `lbctl upgrade` starts lbd like this.
    #[arg(long)]
    pub take_over: bool,
    /// Log every verdict of the datapath; slow, for debugging.
    #[arg(long)]
    pub log_verdicts: bool,
}
