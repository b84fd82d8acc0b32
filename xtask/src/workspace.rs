//! Where things lie in the source tree.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the root Cargo.toml, absolute.
pub(crate) fn root() -> PathBuf {
    // At run time rather than only at compile time: two checkouts may share a target folder.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Where cargo puts the host's programs: CARGO_TARGET_DIR or `target/`.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where the finished BPF objects lie. Fixed, because lb-userspace's build script looks there.
pub(crate) fn bpf_dir() -> PathBuf {
    root().join("target/bpf")
}

/// The same of the release that tests upgrade to.
pub(crate) fn next_bpf_dir() -> PathBuf {
    root().join("target/bpf-next")
}

/// Where the lbd of that release lies. Fixed, because labs that are run by hand look there.
pub(crate) fn next_lbd() -> PathBuf {
    root().join("target/next/lbd")
}

/// The manifest of the crate that is compiled for the kernel.
pub(crate) fn ebpf_manifest() -> PathBuf {
    root().join("lb-ebpf/Cargo.toml")
}
