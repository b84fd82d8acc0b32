//! The whole product in one process, without a kernel: the text of a configuration goes in, and
//! frames come out with the MAC addresses of real servers.
//!
//! Text -> `config::load` -> `Control` -> planned operations -> tables in memory -> `forward`. Time
//! is in the test's hand. Each test is a story that an administrator would tell.

mod changes;
mod explain;
mod harmonic;
mod impact;
mod invariants;
mod orders;
mod pacs;
mod product;
mod removal;
#[path = "../../src/control/tests/site.rs"]
#[expect(dead_code, reason = "control's own tests use all of it")]
mod site;
mod slow_start;
mod storm;

use lb_core as lb;
