//! Remote desktops: a gateway of xrdp and its session manager, and clients with FreeRDP.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::certificate::Certificate;
use crate::lab::{Host, Output, Process, require, wait_until};

/// A display of the client's own: the abstract socket it listens at belongs to the network namespace.
const DISPLAY: &str = ":77";
/// Until a client is on the wire, with two busy CPUs.
const CONNECTED: Duration = Duration::from_secs(15);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    xrdp: Process,
    _sessions: Process,
    log: PathBuf,
    sessions_log: PathBuf,
}

impl Gateway {
    /// Starts one on `host`.
    ///
    /// # Errors
    /// When xrdp is missing, or the port is not opened.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        require("xrdp", "xrdp")?;
        let certificate = Certificate::self_signed(host, "rdp")?;
        let [log, sessions_log] = ["rdp", "sessions"].map(|it| host.folder().join(format!("{}-{it}.log", host.name())));
        let write = |name: &str, text: String| {
            let file = host.folder().join(format!("{}-{name}.ini", host.name()));
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            Ok::<String, anyhow::Error>(file.display().to_string())
        };
        let sessions = write("sesman", sesman(&sessions_log.display().to_string()))?;
        let gateway = write("xrdp", configuration(port, &certificate, &log.display().to_string()))?;
        let mut sessions = host.spawn(&["xrdp-sesman", "-n", "-c", &sessions])?;
        host.wait_listening(&mut sessions, "tcp", SESSION_PORT)?;
        let mut xrdp = host.spawn(&["xrdp", "-n", "-c", &gateway])?;
        host.wait_listening(&mut xrdp, "tcp", port)?;
        Ok(Self { xrdp, _sessions: sessions, log, sessions_log })
    }

    /// The clients that have come so far and gone through the TLS handshake, as it sees them.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn clients(&self) -> Result<Vec<IpAddr>> {
        let log = fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let clients = log.lines().filter_map(|line| line.split_once("TLS connection established from "));
        clients
            .map(|(_, client)| client.split(' ').next().unwrap_or_default())
            .map(|client| client.parse().with_context(|| format!("{client:?} is no address")))
            .collect()
    }

    /// The users who tried to log in so far: there is no such user, so all are refused.
    pub fn users(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.sessions_log).unwrap_or_default();
        let refused = log.lines().filter_map(|line| line.split_once("AUTHFAIL: user="));
        refused.filter_map(|(_, user)| user.split(' ').next()).map(str::to_owned).collect()
    }

    /// Ends it as a power cut would end the program.
    pub fn kill(&mut self) {
        self.xrdp.kill();
    }
}

/// A client's screen, without which FreeRDP does not begin.
#[derive(Debug)]
pub struct Desktop<'a> {
    host: &'a Host,
    _display: Process,
}

impl<'a> Desktop<'a> {
    /// Starts one.
    ///
    /// # Errors
    /// When Xvfb or FreeRDP is missing.
    pub fn start(host: &'a Host) -> Result<Self> {
        require("xfreerdp", "freerdp2-x11")?;
        require("Xvfb", "xvfb")?;
        // No lock and no socket in /tmp, which is everyone's.
        let alone = ["-nolock", "-nolisten", "unix", "-nolisten", "tcp"];
        let mut display = host.spawn(&[&["Xvfb", DISPLAY, "-screen", "0", "640x480x16"][..], &alone].concat())?;
        display.wait_ready("the display is there", CONNECTED, || {
            let sockets = host.enter(|| fs::read_to_string("/proc/thread-self/net/unix"))??;
            let name = format!("@/tmp/.X11-unix/X{}", DISPLAY.trim_start_matches(':'));
            ensure!(sockets.contains(&name), "no socket {name}");
            Ok(())
        })?;
        Ok(Self { host, _display: display })
    }

    /// Connects as `user` as far as the gateway asks who it is, and leaves.
    ///
    /// # Errors
    /// When the client cannot be run; that nobody answers is in the output.
    pub fn authenticate(&self, server: SocketAddr, user: &str) -> Result<Output> {
        let (environment, arguments) = (self.environment(), arguments(server, user));
        let command = [&environment[..], &arguments, &["+auth-only".to_owned()]].concat();
        self.host.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Connects as `user` and stays, before the gateway's own window, until it is cut.
    ///
    /// # Errors
    /// When the client cannot be started, or no gateway sees it.
    pub fn open(&self, server: SocketAddr, user: &str, gateways: &[&Gateway]) -> Result<Session> {
        let seen = || gateways.iter().map(|it| Ok(it.clients()?.len())).collect::<Result<Vec<usize>>>();
        let before = seen()?;
        let command = [self.environment(), arguments(server, user)].concat();
        let mut process = self.host.spawn(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
        let mut gateway = None;
        process.wait_ready("a gateway sees the client", CONNECTED, || {
            gateway = seen()?.iter().zip(&before).position(|(now, before)| now > before);
            gateway.map(|_| ()).context("none does")
        })?;
        Ok(Session { process, gateway: gateway.context("no gateway")? })
    }

    fn environment(&self) -> Vec<String> {
        vec!["env".to_owned(), format!("DISPLAY={DISPLAY}"), format!("HOME={}", self.host.folder().display())]
    }
}

/// An open connection of a client.
#[derive(Debug)]
pub struct Session {
    process: Process,
    /// Which of the gateways has it.
    pub gateway: usize,
}

impl Session {
    /// Whether it is still there.
    ///
    /// # Errors
    /// When it has ended.
    pub fn ensure_open(&mut self) -> Result<()> {
        let ended = self.process.ended()?;
        ensure!(ended.is_none(), "the session has ended with {ended:?}: {}", self.process.log());
        Ok(())
    }

    /// Waits until it has been cut.
    ///
    /// # Errors
    /// When it goes on.
    pub fn wait_cut(&mut self) -> Result<()> {
        let output = wait_until("the session is cut", CONNECTED, || self.process.ended()?.context("it goes on"))?;
        ensure!(output != 0, "the client left by itself");
        Ok(())
    }
}

/// Of sesman, on the gateway itself.
const SESSION_PORT: u16 = 3350;

fn arguments(server: SocketAddr, user: &str) -> Vec<String> {
    let who = [format!("/v:{server}"), format!("/u:{user}"), "/p:wrong".to_owned()];
    let arguments = ["xfreerdp", "/cert:ignore", "/sec:tls"].map(str::to_owned);
    arguments.into_iter().chain(who).collect()
}

fn configuration(port: u16, Certificate { certificate, key }: &Certificate, log: &str) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "[Globals]\nini_version=1\nfork=true\nport=tcp://:{port}\nsecurity_layer=negotiate\ncrypt_level=high\n\
         certificate={certificate}\nkey_file={key}\nssl_protocols=TLSv1.2, TLSv1.3\nallow_channels=true\n\
         max_bpp=32\n\
         [Logging]\nLogFile={log}\nLogLevel=INFO\nEnableSyslog=false\n\
         [Channels]\nrdpdr=true\nrdpsnd=true\ndrdynvc=true\ncliprdr=true\nrail=true\n\
         [Xorg]\nname=Xorg\nlib=libxup.so\nusername=ask\npassword=ask\nip=127.0.0.1\nport=-1\ncode=20\n"
    )
}

fn sesman(log: &str) -> String {
    format!(
        "[Globals]\nListenAddress=127.0.0.1\nListenPort={SESSION_PORT}\nEnableUserWindowManager=true\n\
         UserWindowManager=startwm.sh\nDefaultWindowManager=startwm.sh\n\
         [Security]\nAllowRootLogin=false\nMaxLoginRetry=4\nTerminalServerUsers=tsusers\n\
         TerminalServerAdmins=tsadmins\n\
         [Sessions]\nX11DisplayOffset=10\nMaxSessions=5\nPolicy=Default\n\
         [Logging]\nLogFile={log}\nLogLevel=INFO\nEnableSyslog=false\n\
         [Xorg]\nparam=/usr/lib/xorg/Xorg\n"
    )
}
