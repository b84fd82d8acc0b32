//! Tells the compiler where the BPF objects lie that lbd embeds.
//!
//! In: `LB_BPF_DIR`, or where `cargo xtask build-ebpf` puts them. Out: the path of each object, absolute,
//! for `include_bytes_aligned!(env!(...))`. Absent: compiling them, which takes another compiler.

use std::env;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "LB_BPF_DIR";
const OBJECTS: [(&str, &str); 3] =
    [("LB_EBPF_OBJECT", "lb-ebpf.o"), ("LB_CLOCK_OBJECT", "clock.o"), ("LB_LOOKUP_OBJECT", "lookup.o")];

fn main() {
    println!("cargo::rerun-if-env-changed={DIRECTORY}");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.parent().unwrap_or(Path::new("."));
    // Joining an absolute path gives that path.
    let directory = root.join(env::var_os(DIRECTORY).unwrap_or_else(|| "target/bpf".into()));
    for (variable, file) in OBJECTS {
        let object = directory.join(file);
        println!("cargo::rerun-if-changed={}", object.display());
        if object.is_file() {
            println!("cargo::rustc-env={variable}={}", object.display());
        } else {
            println!("cargo::error=run `cargo xtask build-ebpf` first: the BPF object {} is missing", object.display());
        }
    }
}
