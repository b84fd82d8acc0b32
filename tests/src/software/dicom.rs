//! DICOM with dcmtk: a store that counts what it got, and a modality that sends studies.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Host, Output, Process, require};

/// The well-known port of DICOM.
pub const PORT: u16 = 104;
const PACKAGE: &str = "dcmtk";
/// Root of the identifiers that the tests give out: dcmtk's own, for private use.
const UID_ROOT: &str = "1.2.276.0.7230010.3.1.9";

/// A `storescp` that keeps studies in a folder of its own.
#[derive(Debug)]
pub struct Store {
    process: Process,
    folder: PathBuf,
}

impl Store {
    /// Starts one on `host`, at port 104 of every address it has.
    ///
    /// # Errors
    /// When dcmtk is missing or the port is not opened.
    pub fn start(host: &Host, ae_title: &str) -> Result<Self> {
        require("storescp", PACKAGE)?;
        let folder = host.folder().join(format!("{}-studies", host.name()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let directory = folder.display().to_string();
        let port = PORT.to_string();
        // --fork: an association that is open must not keep a health check waiting.
        let mut process = host.spawn(&["storescp", "-v", "-aet", ae_title, "-od", &directory, "--fork", &port])?;
        host.wait_listening(&mut process, "tcp", PORT)?;
        Ok(Self { process, folder })
    }

    /// How many studies it has stored; it keeps them when it is killed.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn studies(&self) -> Result<usize> {
        let folder = fs::read_dir(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))?;
        Ok(folder.count())
    }

    /// Ends it as a power cut would end the program.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// A minimal study: one secondary capture image, without pixels.
#[derive(Debug)]
pub struct Study {
    file: PathBuf,
}

impl Study {
    /// Writes one; studies with different numbers have different identifiers.
    ///
    /// # Errors
    /// When dcmtk is missing.
    pub fn write(folder: &Path, number: u32) -> Result<Self> {
        require("dump2dcm", PACKAGE)?;
        let text = folder.join(format!("study-{number}.dump"));
        let file = folder.join(format!("study-{number}.dcm"));
        let dump = format!(
            "(0008,0016) UI =SecondaryCaptureImageStorage\n\
             (0008,0018) UI [{UID_ROOT}.1.{number}]\n\
             (0010,0010) PN [Doe^Jane]\n\
             (0010,0020) LO [{number}]\n\
             (0020,000d) UI [{UID_ROOT}.2.{number}]\n\
             (0020,000e) UI [{UID_ROOT}.3.{number}]\n"
        );
        fs::write(&text, dump).with_context(|| format!("cannot write {}", text.display()))?;
        let output = std::process::Command::new("dump2dcm").arg(&text).arg(&file).output().context("dump2dcm")?;
        ensure!(output.status.success(), "dump2dcm: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { file })
    }

    /// Where it lies.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Sends it from `client` with `storescu`.
    ///
    /// # Errors
    /// When dcmtk is missing; a refusal is in the output.
    pub fn send(&self, client: &Host, server: IpAddr) -> Result<Output> {
        require("storescu", PACKAGE)?;
        let file = self.file.display().to_string();
        dcmtk(client, "storescu", server, &[&file])
    }
}

/// Asks whether the server is there with `echoscu`, a C-ECHO.
///
/// # Errors
/// When dcmtk is missing; a refusal is in the output.
pub fn echo(client: &Host, server: IpAddr) -> Result<Output> {
    require("echoscu", PACKAGE)?;
    dcmtk(client, "echoscu", server, &[])
}

fn dcmtk(client: &Host, program: &str, server: IpAddr, more: &[&str]) -> Result<Output> {
    let (server, port) = (server.to_string(), PORT.to_string());
    let mut command =
        vec![program, "-to", "3", "-ta", "3", "-td", "3", "-aet", "MODALITY", "-aec", "ARCHIVE", &server, &port];
    command.extend(more);
    client.run(&command)
}
