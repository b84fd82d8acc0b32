//! SMB and NFS: files through both nodes, sessions across reload and drain, nodes that are halted or die.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, ICAS_VIP, Site};
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::software::files::RandomFile;
use lb_tests::software::nfs::{self, NfsServer};
use lb_tests::software::samba::{self, FileServer};

use super::rig::{LARGE, NFS, NODES, QUICK, SMB, SOON, configuration, edit, other, shown, write_certificates};

/// Clients that would meet both nodes, were both asked.
const SOME: usize = 4;

/// Both nodes with their shares.
struct Shares {
    smb: Vec<FileServer>,
    nfs: Vec<NfsServer>,
    large: RandomFile,
}

fn with_shares(name: &str, test: impl FnOnce(&Site, &mut Shares, &mut Balancer<'_>) -> Result<()>) -> Result<()> {
    in_lab(name, |lab: &Lab| {
        let (site, storage) = deployments::icas(lab)?;
        let large = RandomFile::write(&site.client, "large", LARGE)?;
        let smb = site.servers.iter().map(FileServer::start).collect::<Result<_>>()?;
        let nfs = site.servers.iter().map(|host| NfsServer::start(host, &large.path)).collect::<Result<_>>()?;
        write_certificates(lab, &storage)?;
        let mut balancer = Balancer::start(lab, &site.balancer, &configuration(QUICK)?)?;
        for service in [SMB, NFS] {
            for node in NODES {
                balancer.wait_state(service, node, "up", SOON)?;
            }
        }
        test(&site, &mut Shares { smb, nfs, large }, &mut balancer)
    })
}

/// The nodes that some new clients get.
fn nodes_of(new_client: impl Fn() -> Result<String>) -> Result<Vec<String>> {
    let nodes = (0..SOME).map(|_| new_client()).collect::<Result<BTreeSet<_>>>()?;
    Ok(nodes.into_iter().collect())
}

fn smb_nodes(site: &Site) -> Result<Vec<String>> {
    nodes_of(|| samba::server_of(&site.client, ICAS_VIP))
}

fn nfs_nodes(site: &Site) -> Result<Vec<String>> {
    nodes_of(|| nfs::server_of(&site.client, ICAS_VIP))
}

#[test]
fn files_pass_whole_over_smb_and_nfs_and_both_nodes_serve() -> Result<()> {
    with_shares("icas-files", |site, shares, balancer| {
        assert_eq!(smb_nodes(site)?, NODES);
        assert_eq!(nfs_nodes(site)?, NODES);
        for _ in NODES {
            let copied = samba::copy_there_and_back(&site.client, ICAS_VIP, &shares.large.path)?;
            assert_eq!(copied.hash, shares.large.hash, "by way of {}", copied.server);
            assert_eq!(nfs::fetch_large(&site.client, ICAS_VIP)?, shares.large.hash);
        }
        // Port 111 says that NFS is at 2049, and 2049 answers. Neither says more to version 3.
        nfs::ping(&site.client, ICAS_VIP, 4)?;
        let version_3 = nfs::copy_version_3(&site.client, ICAS_VIP, &shares.large.path)?;
        ensure!(version_3.hash.is_none(), "NFSv3 needs a port that the service does not carry: {version_3:?}");

        // With it, and with every port of a client at one node.
        let ports = format!("2049, {}", nfs::MOUNTD_PORT);
        let yaml = edit(&configuration(QUICK)?, NFS, "2049]", &format!("{ports}]"))?;
        let persistent = edit(&yaml, NFS, "persistence: none", "persistence: source-ip")?;
        balancer.write_configuration(&persistent)?;
        balancer.lbctl(&["reload"])?.success()?;
        let home = nfs::server_of(&site.client, ICAS_VIP)?;
        for _ in 0..SOME {
            let portmapper = nfs::known_to_rpcbind(&site.client, ICAS_VIP)?;
            assert_eq!(portmapper, site.server(&home).v4(), "port 111 is with {home}, like 2049");
            assert_eq!(nfs::server_of(&site.client, ICAS_VIP)?, home);
        }
        let copied = nfs::copy_version_3(&site.client, ICAS_VIP, &shares.large.path)?;
        assert_eq!(copied.success_hash()?, shares.large.hash);
        Ok(())
    })
}

#[test]
fn sessions_go_on_through_reload_and_drain_and_find_another_node_after_a_failure() -> Result<()> {
    with_shares("icas-sessions", |site, shares, balancer| {
        let yaml = configuration(QUICK)?;
        let mut smb = samba::Session::open(&site.client, ICAS_VIP, "staying")?;
        let home = smb.server()?;
        let mut nfs = nfs::Session::start(&site.client, ICAS_VIP)?;

        for weight in [50, 70] {
            let changed = edit(&yaml, SMB, "weight: 100", &format!("weight: {weight}"))?;
            balancer.write_configuration(&edit(&changed, NFS, "5m", "6m")?)?;
            balancer.lbctl(&["reload"])?.success()?;
            assert_eq!(smb.server()?, home, "after a reload");
            nfs.go_on()?;
        }
        for node in NODES {
            balancer.lbctl(&["drain", &format!("{NFS}/{node}")])?.success()?;
            nfs.go_on()?;
            assert_eq!(nfs_nodes(site)?, [other(node)], "{node} is drained");
            balancer.lbctl(&["online", &format!("{NFS}/{node}"), "--wait", "--timeout", "20s"])?.success()?;
        }
        let written = nfs.finish()?;
        ensure!(NODES.contains(&written.server.as_str()) && written.bytes > 0, "{written:?}");

        balancer.lbctl(&["drain", &format!("{SMB}/{home}")])?.success()?;
        assert_eq!(smb.server()?, home, "it is drained");
        assert_eq!(smb_nodes(site)?, [other(&home)], "{home} is drained");
        assert_eq!(smb.server()?, home, "it is drained");
        balancer.lbctl(&["halt", &format!("{SMB}/{home}")])?.success()?;
        ensure!(smb.server().is_err(), "a halted node still serves its session");
        assert_eq!(smb_nodes(site)?, [other(&home)], "{home} is halted");
        balancer.lbctl(&["online", &format!("{SMB}/{home}"), "--wait", "--timeout", "20s"])?.success()?;

        let dead = NODES[0];
        let (smb_server, nfs_server) = (&mut shares.smb[0], &mut shares.nfs[0]);
        smb_server.kill();
        nfs_server.kill();
        for service in [SMB, NFS] {
            shown(balancer, service, dead, "down", "")?;
        }
        assert_eq!(smb_nodes(site)?, [NODES[1]], "{dead} is dead");
        assert_eq!(nfs_nodes(site)?, [NODES[1]], "{dead} is dead");
        let mut again = samba::Session::open(&site.client, ICAS_VIP, "again")?;
        assert_eq!(again.server()?, NODES[1]);
        again.close()?;
        wait_until("the dead node is told to the administrator", SOON, || {
            let page = balancer.lbctl(&["status"])?.success()?.stdout;
            ensure!(page.contains("refused"), "the overview does not say why:\n{page}");
            Ok(())
        })
    })
}
