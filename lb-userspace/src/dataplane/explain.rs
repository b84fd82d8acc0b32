//! The datapath asked what it would do: a made-up frame goes in, what the program `lb_explain`
//! found comes out. No table of the datapath is written.
//!
//! The program is loaded when it is first asked: the verifier takes its time, and most daemons are
//! never asked.

use aya::maps::Map;
use aya::programs::Xdp;
use aya::{Ebpf, TestRun, TestRunOptions};
use lb_common::abi::Explanation;

use super::{Error, Program, Table};

/// Name of the program and of what it writes, in `lb-ebpf`.
const PROGRAM: &str = "lb_explain";
const NOTES: &str = "explanation";

/// Where the program notes what it found. Not pinned: nothing of it outlives the daemon.
pub(super) type Notes = Table<u32, Explanation>;

/// Takes the notes out of the object's keeping.
pub(super) fn notes(ebpf: &mut Ebpf) -> Result<Notes, Error> {
    match ebpf.take_map(NOTES) {
        Some(Map::Array(map)) => Table::new(map, NOTES.into()),
        _ => Err(Error::NoProgram(NOTES)),
    }
}

impl Program {
    /// What would become of a frame that came in by the interface of number 1, loopback: nothing but
    /// the last step to the device depends on which it is.
    ///
    /// # Errors
    /// When the kernel refuses the program or the frame.
    pub fn explain(&mut self, frame: &[u8]) -> Result<Explanation, Error> {
        let (explainer, notes) = self.explainer()?;
        notes.set(&0, &Explanation::default())?;
        explainer
            .test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() })
            .map_err(Error::Program)?;
        Ok(notes.get(&0)?.unwrap_or_default())
    }

    /// The loaded program that explains, and where it notes what it found.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn explainer(&mut self) -> Result<(&mut Xdp, &Notes), Error> {
        let (ebpf, notes) = self.parts();
        let program = ebpf.program_mut(PROGRAM).ok_or(Error::NoProgram(PROGRAM))?;
        let program: &mut Xdp = program.try_into().map_err(Error::Program)?;
        if program.fd().is_err() {
            program.load().map_err(Error::loading)?;
        }
        Ok((program, notes))
    }
}
