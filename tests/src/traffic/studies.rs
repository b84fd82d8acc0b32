//! A modality that stores one study after the other with `storescu`, until it is told to stop or one
//! is not taken.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Host, Process, require};
use crate::software::dicom::{PORT, Study};

/// One study takes a tenth of a second, and fails after three.
const DEADLINE: Duration = Duration::from_secs(10);
/// Every study with an identifier of its own, a line for each that was stored, the end at the first
/// that was not.
const LOOP: &str = "while [ ! -e \"$0\" ]; do \"$@\" || exit 1; echo stored; done";

/// A loop of associations.
#[derive(Debug)]
pub struct Studies {
    modality: Process,
    stop: PathBuf,
}

impl Studies {
    /// Starts storing at `server`.
    ///
    /// # Errors
    /// When dcmtk is missing.
    pub fn start(client: &Host, server: IpAddr) -> Result<Self> {
        require("storescu", "dcmtk")?;
        let stop = client.folder().join("no-more-studies");
        let study = Study::write(client.folder(), 1)?;
        let [flag, server, port, file] =
            [stop.display().to_string(), server.to_string(), PORT.to_string(), study.file().display().to_string()];
        let storescu = ["storescu", "+II", "-to", "3", "-ta", "3", "-td", "3", "-aet", "MODALITY", "-aec", "ARCHIVE"];
        let command = [&["sh", "-c", LOOP, &flag], &storescu[..], &[&server, &port, &file]].concat();
        Ok(Self { modality: client.spawn(&command)?, stop })
    }

    /// Studies stored so far.
    ///
    /// # Errors
    /// When one was refused, with what `storescu` said.
    pub fn stored(&mut self) -> Result<usize> {
        let ended = self.modality.ended()?;
        let log = self.modality.log();
        ensure!(ended.is_none(), "a study was not taken:\n{log}");
        Ok(log.lines().filter(|line| *line == "stored").count())
    }

    /// Lets the last one end; how many were stored, each of which was taken.
    ///
    /// # Errors
    /// When one was refused, with what `storescu` said.
    pub fn finish(mut self) -> Result<usize> {
        self.stored()?;
        std::fs::write(&self.stop, "").with_context(|| format!("cannot write {}", self.stop.display()))?;
        let output = self.modality.wait_end(DEADLINE)?.success().context("a study was not taken")?;
        Ok(output.stdout.lines().filter(|line| *line == "stored").count())
    }
}
