//! The daemon's allocator, and how memory is given back.
//!
//! A request of the proxy is a few dozen allocations: the C library's cost a tenth of its time, and what it frees between
//! connections that stay it does not give back.

pub use mimalloc::MiMalloc as Allocator;

/// Gives what this thread has freed back to the system. By itself the allocator does so only while it is used: without
/// this, a thousand connections that come to rest would keep the memory of their last requests.
pub(crate) fn give_back() {
    // SAFETY: it may be called on any thread at any time, and takes nothing but a number.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
