//! An RTSP server: GStreamer's, driven by a short script.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Host, Process};

/// RTSP.
pub const PORT: u16 = 554;
/// Ports that media over UDP leaves from, within the range of the deployment.
const MEDIA_PORTS: (u16, u16) = (50_100, 50_200);
const SCRIPT: &str = include_str!("../../data/rtsp_server.py");
/// Debian's own: the bindings are not installed for any other.
const PYTHON: &str = "/usr/bin/python3";
const PACKAGES: &str = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
                        gstreamer1.0-plugins-ugly";

/// A running RTSP server.
#[derive(Debug)]
pub struct RtspServer {
    _process: Process,
}

impl RtspServer {
    /// Starts one on `host` at port 554.
    ///
    /// # Errors
    /// When GStreamer is missing or the port is not opened.
    pub fn start(host: &Host) -> Result<Self> {
        ensure!(
            Path::new(PYTHON).exists(),
            "{PYTHON} is missing: apt-get install -y --no-install-recommends {PACKAGES}"
        );
        let bindings = host.run(&[PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"])?;
        ensure!(bindings.status == 0, "GStreamer is missing: apt-get install -y --no-install-recommends {PACKAGES}");
        let script = host.folder().join("rtsp_server.py");
        std::fs::write(&script, SCRIPT).context("cannot write the script of the RTSP server")?;
        let (script, port) = (script.display().to_string(), PORT.to_string());
        let (first, last) = (MEDIA_PORTS.0.to_string(), MEDIA_PORTS.1.to_string());
        let mut process = host.spawn(&[PYTHON, &script, &port, &first, &last])?;
        host.wait_listening(&mut process, "tcp", PORT)?;
        Ok(Self { _process: process })
    }
}

/// The URL of the stream at a server.
pub fn url(server: IpAddr) -> String {
    format!("rtsp://{server}:{PORT}/test")
}
