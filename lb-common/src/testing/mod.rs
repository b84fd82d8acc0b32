//! The datapath on the host: a frame in a vector, tables in memory, and a builder of frames.
//! Simple on purpose: these are the reference that the kernel's behaviour is compared with.

mod builder;
mod explain;
mod packet;
mod reader;
mod scenario;
mod tables;

pub use builder::{PacketBuilder, checksum};
pub use explain::explain;
pub use packet::MemPacket;
pub use reader::{Seen, SeenPacket};
pub use scenario::{DEVICE, OTHER_DEVICE, Scenario};
pub use tables::MemTables;
