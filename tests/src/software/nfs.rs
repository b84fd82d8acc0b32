//! NFS with nfs-ganesha and rpcbind, and the clients of libnfs.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::files;
use super::python;
use crate::lab::{Host, Output, Process, require, wait_until};

/// NFS.
pub const PORT: u16 = 2049;
/// Where rpcbind tells which program has which port.
pub const RPCBIND_PORT: u16 = 111;
/// Where clients of version 3 ask for the root of an export; those of version 4 need it not.
pub const MOUNTD_PORT: u16 = 20_048;
/// The lock manager of a host has this port and its last byte: so rpcbind's list tells whose it is.
const LOCK_PORTS: u16 = 32_000;
const LIBNFS: &str = "libnfs-utils";
const SESSION: &str = include_str!("../../data/nfs_session.py");
/// Far more than a call takes.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// rpcbind has its socket and lock at fixed places, and ganesha's export lies on a file system of its own:
/// both see mounts that nobody else does. Without `Graceless` clients would wait for 90 seconds.
const START: &str = r#"
mount -t tmpfs tmpfs /mnt
cp "$1" /mnt/ganesha.conf
mkdir /mnt/export /mnt/recovery
mount -t tmpfs tmpfs /mnt/export
printf %s "$2" > /mnt/export/name
cp "$3" /mnt/export/large
mount -t tmpfs tmpfs /run
rpcbind -w -f &
until [ -S /run/rpcbind.sock ]; do sleep 0.02; done
exec ganesha.nfsd -F -L STDOUT -f /mnt/ganesha.conf -p /run/ganesha.pid
"#;

/// A running ganesha with its rpcbind; the export `/nfs` holds the files `name`, with the host's name,
/// and `large`.
#[derive(Debug)]
pub struct NfsServer {
    process: Process,
}

impl NfsServer {
    /// Starts one on `host`.
    ///
    /// # Errors
    /// When a program is missing or a port is not opened.
    pub fn start(host: &Host, large: &Path) -> Result<Self> {
        require("ganesha.nfsd", "nfs-ganesha nfs-ganesha-vfs")?;
        require("rpcbind", "rpcbind")?;
        let file = host.folder().join(format!("{}-ganesha.conf", host.name()));
        let configuration = configuration(lock_port(host.v4()));
        fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
        let [file, large] = [&file, large].map(|path| path.display().to_string());
        let shell = ["unshare", "--mount", "sh", "-e", "-c", START, "sh"];
        let mut process = host.spawn(&[&shell[..], &[&file, host.name(), &large]].concat())?;
        for port in [RPCBIND_PORT, PORT, MOUNTD_PORT] {
            host.wait_listening(&mut process, "tcp", port)?;
        }
        let this = Self { process };
        ensure!(known_to_rpcbind(host, host.v4())? == host.v4(), "rpcbind does not know its server's lock manager");
        Ok(this)
    }

    /// Holds it, and waits until a client's request lies unread at `host`: so the client waits for its answer.
    ///
    /// # Errors
    /// When no request has come in time.
    pub fn hold(&mut self, host: &Host) -> Result<()> {
        self.process.signal(Signal::SIGSTOP);
        let requests = ["ss", "-Htn", "state", "established", &format!("sport = :{PORT}")];
        wait_until("a request lies unread", ANSWER_DEADLINE, || {
            let list = host.run(&requests)?.success()?.stdout;
            let unread = |line: &str| line.split_whitespace().next().is_some_and(|bytes| bytes != "0");
            ensure!(list.lines().any(unread), "none has come:\n{list}");
            Ok(())
        })
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Ends it and its rpcbind, as a power cut would end the programs.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// The name of the server that a new NFSv4 client gets.
///
/// # Errors
/// When libnfs is missing or fails.
pub fn server_of(client: &Host, address: IpAddr) -> Result<String> {
    Ok(cat(client, &version_4(address, "name"))?.success()?.stdout)
}

/// Copies the large file from the server over NFSv4; its SHA-256.
///
/// # Errors
/// When libnfs is missing or fails.
pub fn fetch_large(client: &Host, address: IpAddr) -> Result<String> {
    fetch(client, &version_4(address, "large"))?.success_hash()
}

/// Copies a file to the server and back over NFSv3, as two clients; the SHA-256 of what came back.
///
/// # Errors
/// When libnfs is missing; a refusal is in the output.
pub fn copy_version_3(client: &Host, address: IpAddr, file: &Path) -> Result<Fetched> {
    let url = format!("nfs://{address}/mnt/export/copied?version=3");
    let put = copy(client, &file.display().to_string(), &url)?;
    if put.status == 0 { fetch(client, &url) } else { Ok(Fetched { output: put, hash: None }) }
}

/// What was copied from a server.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What nfs-cp said.
    pub output: Output,
    /// SHA-256 of what came; `None`: nothing did.
    pub hash: Option<String>,
}

impl Fetched {
    /// The hash of what came.
    ///
    /// # Errors
    /// When nfs-cp failed, with all it said.
    pub fn success_hash(self) -> Result<String> {
        let output = self.output.success()?;
        self.hash.with_context(|| format!("nothing was copied: {output}"))
    }
}

/// Asks the portmapper at `address` for NFS of this version, and NFS whether it is there, with `rpcinfo`.
///
/// # Errors
/// When rpcbind's programs are missing, or either does not answer.
pub fn ping(client: &Host, address: IpAddr, version: u8) -> Result<()> {
    require("rpcinfo", "rpcbind")?;
    let (address, version) = (address.to_string(), version.to_string());
    client.run(&["rpcinfo", "-T", "tcp", &address, "nfs", &version])?.success().map(|_| ())
}

/// The address of the server whose portmapper answers at `address`.
///
/// # Errors
/// When none does.
pub fn known_to_rpcbind(client: &Host, address: IpAddr) -> Result<IpAddr> {
    require("rpcinfo", "rpcbind")?;
    let list = client.run(&["rpcinfo", "-p", &address.to_string()])?.success()?;
    let line = list.stdout.lines().find(|line| line.contains("nlockmgr"));
    let port = line.and_then(|line| line.split_whitespace().nth(3)).and_then(|port| port.parse::<u16>().ok());
    let last = port.and_then(|port| u8::try_from(port.checked_sub(LOCK_PORTS)?).ok());
    let (last, IpAddr::V4(network)) = (last.with_context(|| format!("no lock manager: {list}"))?, client.v4()) else {
        unreachable!("v4 gives an IPv4 address")
    };
    let [a, b, c, _] = network.octets();
    Ok(IpAddr::from([a, b, c, last]))
}

/// An NFSv4 client that writes all the time, on one connection.
#[derive(Debug)]
pub struct Session {
    process: Process,
}

/// What a session says in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The server's name.
    pub server: String,
    /// How much was written and read back.
    pub bytes: u64,
}

impl Session {
    /// Mounts the export at `address` and begins to write.
    ///
    /// # Errors
    /// When libnfs is missing or the server refuses.
    pub fn start(client: &Host, address: IpAddr) -> Result<Self> {
        require("nfs-cat", LIBNFS)?;
        let script = python::script(client, "nfs_session.py", SESSION)?.display().to_string();
        let url = format!("nfs://{address}/nfs?version=4");
        let mut session = Self { process: client.spawn(&[python::DEBIAN, "-u", &script, &url])? };
        session.go_on()?;
        Ok(session)
    }

    /// Waits until it has written some more.
    ///
    /// # Errors
    /// When it has ended, or nothing more is written in time.
    pub fn go_on(&mut self) -> Result<()> {
        let log = self.process.log_path().to_owned();
        let written = || Ok::<_, anyhow::Error>(fs::read_to_string(&log)?.matches("written").count());
        let before = written()?;
        self.process.wait_ready("the NFS session goes on", ANSWER_DEADLINE, || {
            // One that was under way does not count.
            ensure!(written()? > before + 1, "nothing more is written");
            Ok(())
        })
    }

    /// Has it stop after the part that is under way.
    pub fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Has it stop, read back what it wrote, and compare.
    ///
    /// # Errors
    /// When anything of it failed, or what came back is different.
    pub fn finish(mut self) -> Result<Written> {
        self.stop();
        let output = self.process.wait_end(ANSWER_DEADLINE)?.success()?;
        let last = output.stdout.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).with_context(|| format!("not JSON: {last}"))?;
        let server = told["server"].as_str().context("no server")?.to_owned();
        Ok(Written { server, bytes: told["bytes"].as_u64().context("no bytes")? })
    }
}

fn version_4(address: IpAddr, file: &str) -> String {
    format!("nfs://{address}/nfs/{file}?version=4")
}

fn cat(client: &Host, url: &str) -> Result<Output> {
    require("nfs-cat", LIBNFS)?;
    client.run(&["nfs-cat", url])
}

fn copy(client: &Host, from: &str, to: &str) -> Result<Output> {
    require("nfs-cp", LIBNFS)?;
    client.run(&["nfs-cp", from, to])
}

fn fetch(client: &Host, url: &str) -> Result<Fetched> {
    let to = client.folder().join(format!("{}-nfs-copy", client.name()));
    let output = copy(client, url, &to.display().to_string())?;
    let hash = if output.status == 0 { Some(files::hash(client, &to)?) } else { None };
    let _ = fs::remove_file(&to);
    Ok(Fetched { output, hash })
}

fn lock_port(address: IpAddr) -> u16 {
    let IpAddr::V4(address) = address else { unreachable!("v4 gives an IPv4 address") };
    LOCK_PORTS + u16::from(address.octets()[3])
}

fn configuration(lock_port: u16) -> String {
    format!(
        "NFS_CORE_PARAM {{ Protocols = 3, 4; Enable_UDP = false; MNT_Port = {MOUNTD_PORT}; NLM_Port = {lock_port};\n\
         Rquota_Port = 32999; NSM_Use_Caller_Name = false; }}\n\
         NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = /mnt/recovery; }}\n\
         EXPORT_DEFAULTS {{ Access_Type = RW; Squash = No_Root_Squash; SecType = sys; }}\n\
         EXPORT {{ Export_Id = 1; Path = /mnt/export; Pseudo = /nfs; FSAL {{ Name = VFS; }} }}\n\
         LOG {{ Default_Log_Level = EVENT; }}\n"
    )
}
