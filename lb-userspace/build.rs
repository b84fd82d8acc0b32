//! Tells the compiler where the BPF object lies that lbd embeds.
//!
//! In: `LB_EBPF_OBJECT`, or where `cargo xtask build-ebpf` puts it. Out: the same variable, absolute,
//! for `include_bytes_aligned!(env!("LB_EBPF_OBJECT"))`. Absent: compiling it, which takes another compiler.

use std::env;
use std::path::{Path, PathBuf};

const OBJECT: &str = "LB_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.parent().unwrap_or(Path::new("."));
    // Joining an absolute path gives that path.
    let object = root.join(env::var_os(OBJECT).unwrap_or_else(|| "target/bpf/lb-ebpf.o".into()));
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file() {
        println!("cargo::rustc-env={OBJECT}={}", object.display());
    } else {
        println!("cargo::error=run `cargo xtask build-ebpf` first: the BPF object {} is missing", object.display());
    }
}
