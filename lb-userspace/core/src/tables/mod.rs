//! What the kernel tables should hold, and how to get there without a wrong moment.
//!
//! In: the configuration, the state of each real server, and what the kernel tables hold. Out:
//! [`TableOp`]s in an order of which every prefix is safe. [`Compiler`] says what is wanted,
//! [`plan()`] compares it with what is [`Installed`], [`consistent()`] says whether tables are safe to
//! forward by, and [`expiry`] which records the sweep removes. Absent: maps, files, the clock.
//!
//! The daemon goes round like this:
//!
//! ```text
//! let wanted = compiler.compile(&config, &states, &mut ids, tick)?;
//! for op in plan(&installed, &wanted)? {
//!     write to the kernel; installed.apply(&op);
//! }
//! ids.settle();
//! ```

mod adopt;
mod arena;
mod compile;
mod consistent;
pub mod expiry;
mod ids;
mod installed;
mod leaver;
mod plan;
mod port_ledger;
mod ports;
mod roster;
mod translation;
mod unsupported;
mod wanted;

pub use compile::{CompileError, Compiler, compile};
pub use consistent::consistent;
pub use ids::{AdoptedServer, AdoptedService, Ids, IdsError, ServerIdentity};
pub use installed::{Installed, TableOp};
pub use leaver::Leaver;
pub use plan::{PlanError, plan};
pub use port_ledger::{PortLedger, PortsInUse};
pub use roster::FALLBACK;
pub use translation::PoolKey;
pub use unsupported::unsupported;
pub use wanted::{Admin, Health, NextHop, Schedule, ServerInput, ServerKey, Wanted, schedulable};

#[cfg(test)]
mod samples;
