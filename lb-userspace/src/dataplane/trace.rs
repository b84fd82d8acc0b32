//! What the traced program tells: [`Trace`], and [`Following`] to wait for it.
//!
//! In: whose frames, the options of the program. Out: a program to attach in place of the other one, and the
//! frames it tells of. Absent: what they mean; `lb_core::trace` says that. The tables are the program's
//! own: a daemon that dies leaves a program that fills its ring buffer and then counts.

use std::io;
use std::path::PathBuf;

use aya::maps::{Map, MapData, MapError, RingBuf};
use lb_common::abi::{Plain, TraceAccount, TraceEvent, TraceFilter};
use tokio::io::unix::AsyncFd;

use super::{Error, Options, Program, Table, sys};

/// What the traced program tells.
pub struct Trace {
    events: RingBuf<MapData>,
    account: Table<u32, TraceAccount>,
}

impl Trace {
    /// Loads the program once more, with its eyes on this client. It sees nothing before it is attached.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(options: &Options, filter: &TraceFilter) -> Result<(Program, Self), Error> {
        let mut program = Program::load_traced(options)?;
        table::<TraceFilter>(&mut program, "trace_filter")?.set(&0, filter)?;
        let account = table(&mut program, "trace_account")?;
        let events = RingBuf::try_from(take(&mut program, "trace")?).map_err(failed("trace"))?;
        Ok((program, Self { events, account }))
    }

    /// The next frame, if there is one.
    pub fn poll(&mut self) -> Option<TraceEvent> {
        next(&mut self.events)
    }

    /// Frames of the client that the program could not tell of, since it was loaded.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn missed(&self) -> Result<u64, Error> {
        missed(&self.account)
    }

    /// The same, to be waited for. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn follow(self) -> Result<Following, Error> {
        Ok(Following { events: sys::awaited(self.events)?, account: self.account })
    }
}

/// What the traced program tells, as it comes.
pub struct Following {
    events: AsyncFd<RingBuf<MapData>>,
    account: Table<u32, TraceAccount>,
}

impl Following {
    /// Waits for frames; the next ones, at most `most` of them. Nothing is lost when it is not waited for to
    /// the end.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn next(&mut self, most: usize) -> io::Result<Vec<TraceEvent>> {
        loop {
            let mut ready = self.events.readable_mut().await?;
            let events = ready.get_inner_mut();
            let batch: Vec<_> = std::iter::from_fn(|| next(events)).take(most).collect();
            if !batch.is_empty() {
                return Ok(batch);
            }
            ready.clear_ready();
        }
    }

    /// As [`Trace::missed`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn missed(&self) -> Result<u64, Error> {
        missed(&self.account)
    }
}

/// An entry of another size is not of this version's program, and is passed over.
fn next(events: &mut RingBuf<MapData>) -> Option<TraceEvent> {
    loop {
        if let Some(event) = sys::read(&events.next()?) {
            return Some(event);
        }
    }
}

fn missed(account: &Table<u32, TraceAccount>) -> Result<u64, Error> {
    let accounts = account.get_all(&0)?.unwrap_or_default();
    Ok(accounts.iter().map(|account| account.missed).sum())
}

fn table<V: Plain + Default>(program: &mut Program, name: &'static str) -> Result<Table<u32, V>, Error> {
    match take(program, name)? {
        Map::Array(map) | Map::PerCpuArray(map) => Table::new(map, PathBuf::from(name)),
        _ => Err(Error::Layout { path: PathBuf::from(name) }),
    }
}

fn take(program: &mut Program, name: &'static str) -> Result<Map, Error> {
    let missing = || failed(name)(MapError::InvalidName { name: name.to_owned() });
    program.ebpf().take_map(name).ok_or_else(missing)
}

fn failed(table: &'static str) -> impl FnOnce(MapError) -> Error {
    move |reason| Error::Trace { table, reason }
}
