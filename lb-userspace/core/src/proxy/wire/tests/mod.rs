//! Bytes in, heads and bodies out, and back.
