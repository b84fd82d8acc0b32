//! SMB with samba: a file server that says its name in a file, and smbclient.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::files;
use crate::lab::{Host, Process, require};

/// SMB over TCP, without NetBIOS.
pub const PORT: u16 = 445;
/// Nobody has to log in.
const SMBCLIENT: &[&str] = &["smbclient", "--no-pass", "--max-protocol=SMB3", "--configfile=/dev/null"];
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// A running `smbd` with one share, `data`, and in it the file `name` with the host's name.
#[derive(Debug)]
pub struct FileServer {
    process: Process,
}

impl FileServer {
    /// Starts one on `host`, at port 445 of every address it has.
    ///
    /// # Errors
    /// When samba is missing or the port is not opened.
    pub fn start(host: &Host) -> Result<Self> {
        require("smbd", "samba")?;
        let folder = host.folder().join(format!("{}-smb", host.name()));
        for part in ["share", "private", "state", "cache", "lock", "pid", "ncalrpc"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let share = folder.join("share");
        fs::write(share.join("name"), host.name()).context("cannot write the file with the server's name")?;
        let file = folder.join("smb.conf");
        fs::write(&file, configuration(host, &folder)).context("cannot write smb.conf")?;
        let file = file.display().to_string();
        let mut process =
            host.spawn(&["smbd", "--foreground", "--no-process-group", "--debug-stdout", "--configfile", &file])?;
        host.wait_listening(&mut process, "tcp", PORT)?;
        Ok(Self { process })
    }

    /// Ends it with all its sessions, as a power cut would end the program.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// What one session carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The server's name.
    pub server: String,
    /// SHA-256 of what came back.
    pub hash: String,
}

/// The name of the server that a new session gets.
///
/// # Errors
/// When smbclient is missing or fails.
pub fn server_of(client: &Host, server: IpAddr) -> Result<String> {
    require("smbclient", "smbclient")?;
    let name = client.folder().join(format!("{}-smb-name", client.name()));
    let work = format!("get name {}", name.display());
    client.run(&[SMBCLIENT, &[&share(server), "--command", &work]].concat())?.success()?;
    files::take(&name)
}

/// Puts a file on the server and gets it back, in one session.
///
/// # Errors
/// When smbclient is missing or fails.
pub fn copy_there_and_back(client: &Host, server: IpAddr, file: &Path) -> Result<Copied> {
    require("smbclient", "smbclient")?;
    let [back, name] = ["back", "name"].map(|what| file.with_extension(format!("{server}.{what}")));
    let [from, to, name_to] = [file, &back, &name].map(|path| path.display().to_string());
    let work = format!("put {from} large; get large {to}; get name {name_to}; del large");
    client.run(&[SMBCLIENT, &[&share(server), "--command", &work]].concat())?.success()?;
    let copied = Copied { server: files::take(&name)?, hash: files::hash(client, &back)? };
    fs::remove_file(&back).with_context(|| format!("cannot remove {}", back.display()))?;
    Ok(copied)
}

/// A session that stays open; smbclient waits for commands.
#[derive(Debug)]
pub struct Session {
    process: Process,
    commands: File,
    answers: String,
    asked: usize,
}

impl Session {
    /// Opens one to `server` from `client`.
    ///
    /// # Errors
    /// When smbclient is missing or cannot be started; a refusal shows when something is asked.
    pub fn open(client: &Host, server: IpAddr, name: &str) -> Result<Self> {
        require("smbclient", "smbclient")?;
        let pipe = client.folder().join(format!("{name}.commands"));
        let path = pipe.display().to_string();
        client.run(&["mkfifo", &path])?.success()?;
        let shell = "pipe=$1; shift; exec \"$@\" < \"$pipe\"";
        let process =
            client.spawn(&[&["sh", "-c", shell, "sh", path.as_str()], SMBCLIENT, &[&share(server)]].concat())?;
        // For reading as well: opening does not wait for smbclient, and writing never meets a closed pipe.
        let commands = OpenOptions::new().read(true).write(true).open(&pipe).context("cannot open the pipe")?;
        let answers = client.folder().join(name).display().to_string();
        Ok(Self { process, commands, answers, asked: 0 })
    }

    /// The name of the server that it is with.
    ///
    /// # Errors
    /// When the session has ended, or no answer comes in time.
    pub fn server(&mut self) -> Result<String> {
        self.asked += 1;
        let answer = format!("{}.{}", self.answers, self.asked);
        // One command at a time: smbclient waits for more input before it looks at a second line.
        writeln!(self.commands, "get name {answer}").context("cannot ask")?;
        let (log, asked, mut failed) = (self.process.log_path().to_owned(), self.asked, false);
        self.process.wait_ready("the SMB session is answered", ANSWER_DEADLINE, || {
            let log = fs::read_to_string(&log)?;
            failed = log.contains("NT_STATUS_");
            let got = log.matches("getting file").count();
            ensure!(failed || got == asked, "{got} of {asked} answers are there");
            Ok(())
        })?;
        ensure!(!failed, "the SMB session failed: {}", self.process.log());
        files::take(Path::new(&answer))
    }

    /// Ends it as the user would.
    ///
    /// # Errors
    /// When smbclient ends with a failure.
    pub fn close(mut self) -> Result<()> {
        writeln!(self.commands, "quit").context("cannot ask")?;
        self.process.wait_end(ANSWER_DEADLINE)?.success().map(|_| ())
    }
}

fn share(server: IpAddr) -> String {
    format!("//{server}/data")
}

fn configuration(host: &Host, folder: &Path) -> String {
    let (name, folder) = (host.name(), folder.display());
    format!(
        "[global]\n\
         server role = standalone server\n\
         netbios name = {name}\n\
         disable netbios = yes\n\
         smb ports = {PORT}\n\
         map to guest = Bad User\n\
         load printers = no\n\
         disable spoolss = yes\n\
         printcap name = /dev/null\n\
         private dir = {folder}/private\n\
         state directory = {folder}/state\n\
         cache directory = {folder}/cache\n\
         lock directory = {folder}/lock\n\
         pid directory = {folder}/pid\n\
         ncalrpc dir = {folder}/ncalrpc\n\
         [data]\n\
         path = {folder}/share\n\
         read only = no\n\
         guest ok = yes\n\
         force user = root\n"
    )
}
