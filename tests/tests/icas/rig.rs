//! The site with all its software, and the configuration that ships.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ICAS_VIP, Site};
use lb_tests::lab::{Host, Lab, in_lab, wait_until};
use lb_tests::software::certificate::Authority;
use lb_tests::software::files::RandomFile;
use lb_tests::software::s3::{Node, Store};

pub(super) const S3: &str = "iCAS-FS-S3";
pub(super) const SMB: &str = "iCAS-FS-SMB";
pub(super) const NFS: &str = "iCAS-FS-NFS";
pub(super) const NODES: [&str; 2] = ["iCAS-FS-1", "iCAS-FS-2"];
/// What clients call the S3 service.
pub(super) const NAME: &str = "s3.example.org";
/// A health check has spoken, and what follows has happened, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(15);
/// What is carried as one piece.
pub(super) const LARGE: u64 = 20_000_000;

const GUIDE: &str = include_str!("../../../configs/icas-fs.yaml");
/// Checks that find out soon, and are patient with nodes that share two CPUs with all their clients.
pub(super) const QUICK: &str = "{interval: 500ms, timeout: 500ms, rise: 1, fall: 4, flap_damping: false}";
const PASSWORD: &str = "from the certificate's seller";

/// The guide's configuration, with checks like these.
pub(super) fn configuration(checks: &str) -> Result<String> {
    ensure!(!GUIDE.contains("\ndefaults:"), "configs/icas-fs.yaml has defaults of its own");
    Ok(format!("{GUIDE}\ndefaults:\n  health_check: {checks}\n"))
}

/// The configuration with something else in one service.
pub(super) fn edit(yaml: &str, service: &str, from: &str, to: &str) -> Result<String> {
    let begin = yaml.find(&format!("\n  - name: {service}\n")).with_context(|| format!("there is no {service}"))?;
    let length = yaml[begin + 1..].find("\n  - name: ").map_or(yaml.len() - begin, |at| at + 1);
    let (before, rest) = yaml.split_at(begin);
    let (section, after) = rest.split_at(length);
    ensure!(section.contains(from), "{service} has no {from}: {section}");
    Ok(format!("{before}{}{after}", section.replace(from, to)))
}

/// The S3 service: store, nodes, and who vouches for the certificate that clients see.
pub(super) struct Objects {
    pub(super) store: Store,
    pub(super) nodes: Vec<Node>,
    /// Whom clients trust; nodes have certificates of another.
    pub(super) authority: Authority,
    pub(super) large: RandomFile,
}

impl Objects {
    pub(super) fn node(&mut self, name: &str) -> Result<&mut Node> {
        let at = NODES.iter().position(|node| *node == name).with_context(|| format!("there is no node {name}"))?;
        self.nodes.get_mut(at).context("the node is not started")
    }

    pub(super) fn start(lab: &Lab, site: &Site, storage: &Host) -> Result<Self> {
        let (authority, cluster) = write_certificates(lab, storage)?;
        let store = Store::start(storage)?;
        let start = |host| Node::start(host, &store, &cluster.issue(host, NAME, 30)?);
        let nodes = site.servers.iter().map(start).collect::<Result<_>>()?;
        let large = RandomFile::write(&site.client, "large", LARGE)?;
        Ok(Self { store, nodes, authority, large })
    }

    /// The file that tells clients whom to trust.
    pub(super) fn trust(&self) -> Option<&Path> {
        Some(self.authority.file())
    }
}

/// A lab with the S3 service behind a balancer that knows its nodes.
pub(super) fn with_objects(
    name: &str,
    yaml: &str,
    test: impl FnOnce(&Site, &mut Objects, &mut Balancer<'_>) -> Result<()>,
) -> Result<()> {
    in_lab(name, |lab| {
        let (site, storage) = deployments::icas(lab)?;
        let mut objects = Objects::start(lab, &site, &storage)?;
        let mut balancer = Balancer::start(lab, &site.balancer, yaml)?;
        for node in NODES {
            balancer.wait_state(S3, node, "up", SOON)?;
        }
        test(&site, &mut objects, &mut balancer)
    })
}

/// Puts certificates where the configuration says they are: for clients a PKCS #12 archive with its password in a file,
/// and who vouches for the nodes. Returns the authorities of both.
pub(super) fn write_certificates(lab: &Lab, host: &Host) -> Result<(Authority, Authority)> {
    let (seller, cluster) = (Authority::new(host, "seller")?, Authority::new(host, "cluster")?);
    let certificate = seller.issue_for(host, &[NAME, &ICAS_VIP.to_string()], 30)?;
    let place = |key: &str| {
        let found = GUIDE.split_once(key).and_then(|(_, rest)| rest.split([',', '}', '\n', ' ']).next());
        let path = lab.folder().join(found.with_context(|| format!("the configuration has no {key}"))?);
        ensure!(path.starts_with(lab.folder()), "{} is not beside the configuration", path.display());
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        Ok::<PathBuf, anyhow::Error>(path)
    };
    certificate.write_pfx(host, &place("{pfx: ")?, PASSWORD)?;
    fs::write(place("password_file: ")?, format!("{PASSWORD}\n")).context("cannot write the password")?;
    fs::copy(cluster.file(), place("ca_file: ")?).context("cannot write who vouches for the nodes")?;
    Ok((seller, cluster))
}

/// Waits until `lbctl status` shows a real server in this state for a reason that contains this.
pub(super) fn shown(balancer: &Balancer<'_>, service: &str, server: &str, state: &str, reason: &str) -> Result<()> {
    wait_until(&format!("{service}/{server} is {state}: {reason}"), SOON, || {
        let status = balancer.status()?;
        let row = status.server(service, server)?;
        let told = row["reason"].as_str().unwrap_or_default();
        ensure!(row["state"] == state && told.contains(reason), "it is {}: {told}", row["state"]);
        Ok(())
    })
}

/// The other node.
pub(super) fn other(node: &str) -> &'static str {
    if node == NODES[0] { NODES[1] } else { NODES[0] }
}
