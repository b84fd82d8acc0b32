//! An XDP program that passes every frame, attached to the switch's ports.
//!
//! A veth gives frames that its peer sends by `XDP_TX` to the stack only when it has an XDP program
//! of its own: with GRO alone they lie in its ring until the peer's kernel sends something
//! (`veth_xdp_flush` in drivers/net/veth.c looks for the program, not for NAPI).
//!
//! In: a bpffs folder. Out: the program, pinned for as long as ports are made. Two instructions,
//! written by hand: the lab needs no compiler for BPF.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

// linux/bpf.h: commands and the program type.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// `r0 = XDP_PASS (2)`, `exit`: opcode, registers, offset, immediate (RFC 9669).
const INSTRUCTIONS: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`; what follows may be left out.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The beginning of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The pinned program; the pin goes when this is dropped, and ports keep the program.
#[derive(Debug)]
pub(super) struct PassProgram {
    pin: PathBuf,
}

impl PassProgram {
    /// Loads the program and pins it at `pin`.
    pub(super) fn pin_at(pin: &Path) -> Result<Self> {
        let license = c"GPL";
        let load = ProgLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: u32::try_from(INSTRUCTIONS.len() / 8)?,
            insns: INSTRUCTIONS.as_ptr() as u64,
            license: license.as_ptr() as u64,
        };
        let descriptor = bpf(BPF_PROG_LOAD, &load).context("the kernel refuses the lab's XDP program")?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let program = unsafe { OwnedFd::from_raw_fd(descriptor) };

        let path = CString::new(pin.as_os_str().as_encoded_bytes()).context("a path with a zero byte")?;
        let bpf_fd = u32::try_from(program.as_raw_fd())?;
        bpf(BPF_OBJ_PIN, &ObjPin { pathname: path.as_ptr() as u64, bpf_fd, file_flags: 0 })
            .with_context(|| format!("cannot pin the lab's XDP program at {}", pin.display()))?;
        Ok(Self { pin: pin.to_owned() })
    }

    /// Where it is pinned.
    pub(super) fn pin(&self) -> &Path {
        &self.pin
    }
}

impl Drop for PassProgram {
    fn drop(&mut self) {
        // The removal of the lab removes it too, whether or not this works.
        let _ = fs::remove_file(&self.pin);
    }
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    let size = libc::c_uint::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `attributes` is a whole repr(C) prefix of bpf_attr of `size` bytes, every pointer in it
    // is to memory that lives until the call returns, and these commands write to none of it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { libc::c_int::try_from(result).map_err(io::Error::other) }
}
