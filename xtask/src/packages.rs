//! What the project needs from the machine, as data: Debian packages and cargo tools, in groups.

/// Things needed for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// What compiles BPF programs; which packages depends on what is there (`toolchain`).
    Toolchain,
    /// Namespaces, links, captures: what every laboratory uses.
    Lab,
    /// Real clients and servers of the deployments.
    Software,
    /// What runs and judges the tests.
    TestTools,
    /// What the proxy is measured with, and against.
    Bench,
}

impl Group {
    /// Everything, in the order it is reported.
    pub(crate) const ALL: &[Self] = &[Self::Toolchain, Self::Lab, Self::Software, Self::TestTools, Self::Bench];
    /// What `cargo xtask demo` uses.
    pub(crate) const DEMO: &[Self] = &[Self::Toolchain, Self::Lab, Self::Software];

    /// Its name and purpose, for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Toolchain => "toolchain (builds the BPF programs)",
            Self::Lab => "lab (network namespaces)",
            Self::Software => "software (real clients and servers for the labs)",
            Self::TestTools => "test tools",
            Self::Bench => "bench (peers and loads of the proxy)",
        }
    }

    /// Its Debian packages that do not depend on what else is there.
    pub(crate) fn packages(self) -> &'static [Package] {
        match self {
            Self::Toolchain => &[],
            Self::Lab => LAB,
            Self::Software => SOFTWARE,
            Self::TestTools => TEST_PACKAGES,
            Self::Bench => BENCH,
        }
    }

    /// Its cargo tools.
    pub(crate) fn tools(self) -> &'static [Tool] {
        match self {
            Self::TestTools => TEST_TOOLS,
            Self::Toolchain | Self::Lab | Self::Software | Self::Bench => &[],
        }
    }
}

/// A Debian package.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// The program it is wanted for: when that is there, wherever it came from, so is the package.
    pub(crate) program: Option<&'static str>,
    /// The services it would start at every boot, which nobody asked for here.
    pub(crate) services: &'static [&'static str],
}

/// A cargo tool that crates.io has.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// Installed when the tool is absent. Any version that is there is used.
    pub(crate) version: &'static str,
    pub(crate) arguments: &'static [&'static str],
    /// Roughly, on two cores.
    pub(crate) minutes: u32,
}

const fn program(name: &'static str, program: &'static str) -> Package {
    Package { name, program: Some(program), services: &[] }
}

const fn library(name: &'static str) -> Package {
    Package { name, program: None, services: &[] }
}

const LAB: &[Package] = &[
    program("iproute2", "ip"),
    program("ethtool", "ethtool"),
    program("tcpdump", "tcpdump"),
    program("nftables", "nft"),
    program("bpftool", "bpftool"),
    program("util-linux", "nsenter"),
    program("curl", "curl"),
    program("iputils-ping", "ping"),
    program("iputils-arping", "arping"),
    // Runs the unit of packaging; as a package of its own it does not become the machine's first process.
    program("systemd", "systemd-analyze"),
];

const SOFTWARE: &[Package] = &[
    program("dcmtk", "storescp"),
    Package { name: "nginx-light", program: Some("nginx"), services: &["nginx"] },
    library("libnginx-mod-rtmp"),
    program("openssl", "openssl"),
    // They judge TLS listeners.
    program("nmap", "nmap"),
    program("testssl.sh", "testssl"),
    program("ffmpeg", "ffmpeg"),
    program("iperf3", "iperf3"),
    program("python3", "python3"),
    library("python3-gi"),
    library("python3-prometheus-client"),
    library("gir1.2-gst-rtsp-server-1.0"),
    library("gstreamer1.0-plugins-base"),
    library("gstreamer1.0-plugins-good"),
    // rtspserver's H.264 parser and the x264 encoder.
    library("gstreamer1.0-plugins-bad"),
    library("gstreamer1.0-plugins-ugly"),
    program("socat", "socat"),
    Package { name: "xrdp", program: Some("xrdp"), services: &["xrdp", "xrdp-sesman"] },
    program("freerdp2-x11", "xfreerdp"),
    program("xvfb", "Xvfb"),
    Package { name: "samba", program: Some("smbd"), services: &["smbd", "nmbd", "samba-ad-dc"] },
    program("smbclient", "smbclient"),
    Package { name: "nfs-ganesha", program: Some("ganesha.nfsd"), services: &["nfs-ganesha"] },
    library("nfs-ganesha-vfs"),
    Package { name: "rpcbind", program: Some("rpcbind"), services: &["rpcbind.socket", "rpcbind"] },
    program("libnfs-utils", "nfs-cp"),
];

// nginx itself is among the software.
const BENCH: &[Package] = &[
    Package { name: "haproxy", program: Some("haproxy"), services: &["haproxy"] },
    library("libnginx-mod-stream"),
    program("wrk", "wrk"),
    program("nghttp2-client", "h2load"),
];

const TEST_PACKAGES: &[Package] = &[
    // cargo-deny fetches the database of advisories with it.
    program("git", "git"),
    library("python3-venv"),
];

const TEST_TOOLS: &[Tool] = &[
    // Without self-update, which brings a TLS stack to download what cargo installs anyway.
    Tool { name: "cargo-nextest", version: "0.9.151", arguments: &["--no-default-features"], minutes: 3 },
    Tool { name: "cargo-deny", version: "0.20.2", arguments: &["--no-default-features"], minutes: 2 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_package_is_named_twice() {
        let mut names: Vec<&str> =
            Group::ALL.iter().flat_map(|group| group.packages()).map(|package| package.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
