//! The buffer of a thread, through which all its connections are copied: a connection that is idle has none.

use std::cell::Cell;

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Lends the thread's buffer. Who asks while it is lent gets another one.
pub(super) fn with<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = BUFFER.take().unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
    let result = use_it(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}

/// Below it a read costs more system calls, above it more of the processor's cache.
pub(super) const SIZE: usize = 64 * 1024;
