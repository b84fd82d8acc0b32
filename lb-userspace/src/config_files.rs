//! The configuration on disk: `lb.yaml` and the files of `conf.d` beside it.
//!
//! In: the path of the main file. Out: its text and that of `conf.d/*.yaml` in the order of their
//! names, or the configuration that they give; what this machine has for the checks that need it. Absent: what the text means, which is lb-core's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lb_core::config::model::PortRange;
use lb_core::config::{self, Diagnostic, HostAddress, HostFacts, Loaded, Source};

/// The main file when none is named.
pub const DEFAULT_PATH: &str = "/etc/lb/lb.yaml";
/// The folder beside the main file whose files are merged in.
pub const FOLDER: &str = "conf.d";

/// Files of one configuration.
const MAX_FILES: usize = 1000;
/// Bytes of one file; lb-core refuses more, so they are not read.
const MAX_BYTES: u64 = (4 << 20) + 1;
/// The ports that the kernel gives to connections of this machine; of the network namespace, and for IPv6 too.
const LOCAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Why the files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The main file does not exist.
    #[error("there is no configuration at {0}; copy an example from /usr/share/doc/lb, or name a file with --config")]
    Missing(PathBuf),
    /// The system says no.
    #[error("cannot read {path}: {error}; it has to be readable for the user who runs this")]
    System {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("{0} is not a file; name the main file itself with --config, such as {DEFAULT_PATH}")]
    NotAFile(PathBuf),
    /// It has bytes that are not text.
    #[error("{path} is not UTF-8 text: line {line} has a byte that is none; save the file as UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A file in conf.d would be left out by its name.
    #[error("{0} would not be read: files in conf.d end in .yaml; rename it, or move it elsewhere")]
    WrongEnding(PathBuf),
    /// More files than anyone writes.
    #[error("{0} has more than {MAX_FILES} files")]
    TooManyFiles(PathBuf),
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The files cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They have mistakes; warnings are among them.
    #[error("the configuration has mistakes")]
    Invalid(Vec<Diagnostic>),
}

/// Reads and checks a configuration with the environment of this process.
///
/// # Errors
/// When a file cannot be read, or the configuration has mistakes: all of them.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let sources = read(path)?;
    config::load(&sources, &|name| std::env::var(name).ok()).map_err(LoadError::Invalid)
}

/// The text of the main file and of `conf.d/*.yaml` beside it, in this order.
///
/// # Errors
/// When a file cannot be read. A missing conf.d is an empty one; names that begin with a dot are left
/// out, as are those that editors and packages leave behind (`~`, `.dpkg-*`, `.bak`…).
pub fn read(path: &Path) -> Result<Vec<Source>, ReadError> {
    let mut sources = vec![read_file(path)?];
    // The parent of `lb.yaml` is the empty path, which is the current folder.
    let folder = path.parent().unwrap_or(Path::new("")).join(FOLDER);
    for file in files_of(&folder)? {
        sources.push(read_file(&file)?);
    }
    Ok(sources)
}

fn read_file(path: &Path) -> Result<Source, ReadError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.to_owned()),
        _ => ReadError::System { path: path.to_owned(), error },
    };
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        ReadError::NotText { path: path.to_owned(), line }
    })?;
    Ok(Source { path: path.display().to_string(), text })
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let failed = |error| ReadError::System { path: folder.to_owned(), error };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        match path.extension().and_then(OsStr::to_str) {
            _ if hidden => {}
            Some("yaml") => files.push(path),
            Some("yml" | "YAML" | "YML") => return Err(ReadError::WrongEnding(path)),
            _ => {}
        }
        if files.len() > MAX_FILES {
            return Err(ReadError::TooManyFiles(folder.to_owned()));
        }
    }
    files.sort();
    Ok(files)
}

/// What this machine has, for [`config::check_against_host`].
///
/// # Errors
/// When the kernel does not tell it.
pub fn host_facts() -> io::Result<HostFacts> {
    Ok(HostFacts { addresses: addresses()?, local_ports: local_ports()? })
}

fn local_ports() -> io::Result<PortRange> {
    let text = fs::read_to_string(LOCAL_PORTS)
        .map_err(|error| io::Error::new(error.kind(), format!("{LOCAL_PORTS}: {error}")))?;
    config::parse_local_ports(&text)
        .ok_or_else(|| io::Error::other(format!("{LOCAL_PORTS} is not two numbers: {:?}", text.trim())))
}

fn addresses() -> io::Result<Vec<HostAddress>> {
    let mut addresses = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let (Some(address), Some(netmask)) = (interface.address, interface.netmask) else { continue };
        let both = match (address.as_sockaddr_in(), netmask.as_sockaddr_in()) {
            (Some(address), Some(mask)) => Some((IpAddr::V4(address.ip()), mask.ip().to_bits().count_ones())),
            _ => match (address.as_sockaddr_in6(), netmask.as_sockaddr_in6()) {
                (Some(address), Some(mask)) => Some((IpAddr::V6(address.ip()), mask.ip().to_bits().count_ones())),
                _ => None,
            },
        };
        if let Some((address, prefix)) = both {
            let prefix = u8::try_from(prefix).unwrap_or(128);
            addresses.push(HostAddress { device: interface.interface_name, address, prefix });
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
