//! The software of the iCAS FS deployment by itself: each client talks to each node, without a balancer.

use anyhow::{Result, ensure};
use lb_tests::deployments;
use lb_tests::lab::in_lab;
use lb_tests::software::certificate::Authority;
use lb_tests::software::files::RandomFile;
use lb_tests::software::nfs::{self, NfsServer};
use lb_tests::software::s3::{Node, Store};
use lb_tests::software::samba::{self, FileServer};

#[test]
fn every_node_serves_smb_nfs_and_s3() -> Result<()> {
    in_lab("icas-rig", |lab| {
        let (site, storage) = deployments::icas(lab)?;
        let large = RandomFile::write(&site.client, "large", 20_000_000)?;
        let authority = Authority::new(&storage, "nodes")?;
        let store = Store::start(&storage)?;
        for host in &site.servers {
            let address = host.v4();
            let (mut smb, mut nfs) = (FileServer::start(host)?, NfsServer::start(host, &large.path)?);
            let certificate = authority.issue_for(host, &[host.name(), &address.to_string()], 30)?;
            let mut node = Node::start(host, &store, &certificate)?;

            let copied = samba::copy_there_and_back(&site.client, address, &large.path)?;
            assert_eq!((copied.server.as_str(), copied.hash), (host.name(), large.hash.clone()));
            let mut session = samba::Session::open(&site.client, address, &format!("{}-session", host.name()))?;
            assert_eq!((session.server()?, session.server()?), (host.name().to_owned(), host.name().to_owned()));
            session.close()?;

            assert_eq!(nfs::server_of(&site.client, address)?, host.name());
            assert_eq!(nfs::fetch_large(&site.client, address)?, large.hash);
            assert_eq!(nfs::copy_version_3(&site.client, address, &large.path)?.success_hash()?, large.hash);
            nfs::ping(&site.client, address, 4)?;
            assert_eq!(nfs::known_to_rpcbind(&site.client, address)?, address);
            let mut writer = nfs::Session::start(&site.client, address)?;
            writer.go_on()?;
            // Told to stop while it waits for an answer, it still gets it.
            nfs.hold(host)?;
            writer.stop();
            nfs.go_on();
            let written = writer.finish()?;
            ensure!(written.server == host.name() && written.bytes > 0, "{written:?}");

            let endpoint = format!("https://{address}");
            let traffic = store.round_trips(&site.client, &endpoint, Some(authority.file()), 2, 12_000_000)?;
            assert_eq!(traffic.nodes(), [host.name()]);
            let load = store.load(&site.client, &endpoint, Some(authority.file()))?.finish()?;
            ensure!(load.failures.is_empty() && load.answers() > 0, "{load:?}");

            smb.kill();
            nfs.kill();
            node.kill();
            ensure!(samba::copy_there_and_back(&site.client, address, &large.path).is_err(), "a dead smbd answered");
            ensure!(nfs::server_of(&site.client, address).is_err(), "a dead ganesha answered");
        }
        Ok(())
    })
}
