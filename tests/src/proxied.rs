//! What every proxied service keeps to, whatever it carries: orders of the administrator, a real server that
//! dies, a reload under load.
//!
//! In: a running balancer, one of its services with two real servers, and how a client of it opens a connection.
//! Out: nothing, when all holds; else a sentence that says what did not. Absent: what the service carries; each
//! lab asserts that itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::balancer::Balancer;
use crate::lab::wait_until;

/// interval × fall + timeout of [`quickly_checked`], and a second for two busy CPUs.
pub const NOTICED: Duration = Duration::from_millis(2 * 500 + 500 + 1000);
/// As long as a real server is suspect, and a moment.
const RESTED: Duration = Duration::from_secs(15);
/// Connections at a time during a reload.
const CLIENTS_OF_A_LOAD: usize = 4;
/// Connections between two reloads, at least.
const BETWEEN_RELOADS: usize = 20;
/// For so many connections on a busy machine.
const LOADED: Duration = Duration::from_secs(20);

/// Put at the end of a configuration that has no `defaults` of its own.
const QUICK_CHECKS: &str =
    "\ndefaults: {health_check: {interval: 500ms, timeout: 500ms, rise: 2, fall: 2, flap_damping: false}}\n";

/// A configuration as it is shipped, but for the pace of its health checks.
///
/// # Panics
/// When it has `defaults` of its own.
pub fn quickly_checked(yaml: &str) -> String {
    assert!(!yaml.lines().any(|line| line.starts_with("defaults:")), "the configuration has defaults of its own");
    format!("{yaml}{QUICK_CHECKS}")
}

/// Who answered, and as whom it saw the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The name of the real server's host.
    pub server: String,
    /// The client's address, as the real server sees it.
    pub client: IpAddr,
}

impl Heard {
    /// Reads `NAME ADDRESS`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let mut next = || words.next().with_context(|| format!("{text:?} is no name and address"));
        let (server, client) = (next()?.to_owned(), next()?);
        Ok(Self { server, client: client.parse().with_context(|| format!("{client:?} is no address"))? })
    }
}

/// A connection that stays.
pub trait Conversation: Send {
    /// Asks who is there.
    ///
    /// # Errors
    /// When no answer comes, or the connection has ended.
    fn ask(&mut self) -> Result<Heard>;

    /// Waits until it has been cut, without sending anything.
    ///
    /// # Errors
    /// When it goes on.
    fn wait_cut(&mut self) -> Result<()>;
}

/// A service under examination.
pub struct Proxied<'a> {
    /// In front of it.
    pub balancer: &'a Balancer<'a>,
    /// Its name.
    pub name: &'a str,
    /// Its real servers: the name in the configuration, and the host that answers.
    pub servers: [(&'a str, &'a str); 2],
    /// Whether a client stays with its real server.
    pub persistent: bool,
    /// Opens a connection from an address of the client.
    pub open: &'a Open<'a>,
}

/// How a client opens a connection.
pub type Open<'a> = dyn Fn(IpAddr) -> Result<Box<dyn Conversation>> + Sync + 'a;

/// A connection, whose it is and who answers on it.
struct Kept {
    client: IpAddr,
    server: String,
    conversation: Box<dyn Conversation>,
}

impl Kept {
    fn ensure_goes_on(&mut self) -> Result<()> {
        let heard = self.conversation.ask().with_context(|| format!("the connection of {}", self.client))?;
        ensure!(heard.server == self.server, "the connection of {} moved to {heard:?}", self.client);
        Ok(())
    }
}

impl Proxied<'_> {
    /// Who answers a new connection of this client.
    ///
    /// # Errors
    /// When nobody does.
    pub fn ask(&self, client: IpAddr) -> Result<Heard> {
        (self.open)(client)?.ask().with_context(|| format!("a new connection of {client}"))
    }

    /// New connections go to both real servers; those of one client to one, where the service is persistent.
    ///
    /// # Errors
    /// When it is not so.
    pub fn spreads(&self, clients: &[IpAddr]) -> Result<()> {
        for client in clients {
            let heard = (0..3).map(|_| Ok(self.ask(*client)?.server)).collect::<Result<BTreeSet<_>>>()?;
            ensure!(heard.len() == 1 || !self.persistent, "{}: {client} was moved among {heard:?}", self.name);
        }
        self.open_all(clients).map(|_| ())
    }

    /// The first real server is drained: its connections go on, its clients come back to it, others do not.
    ///
    /// # Errors
    /// When it is not so.
    pub fn drains(&self, clients: &[IpAddr]) -> Result<()> {
        self.forget()?;
        let (old, new) = clients.split_at(clients.len() / 2);
        let mut open = self.open_all(old)?;
        let [(first, drained), (_, other)] = self.servers;
        self.order("drain", first)?;
        for kept in &mut open {
            kept.ensure_goes_on().with_context(|| format!("{drained} is drained"))?;
            let home = if self.persistent { &kept.server } else { other };
            let heard = self.ask(kept.client)?;
            ensure!(heard.server == home, "{drained} is drained; {} of {} reached {heard:?}", kept.client, kept.server);
        }
        for client in new {
            let heard = self.ask(*client)?;
            ensure!(heard.server == other, "{drained} is drained; {client}, who is new, reached {heard:?}");
        }
        open.iter_mut().try_for_each(Kept::ensure_goes_on)?;
        self.returns(new)
    }

    /// The first real server is halted: its connections are cut at once, its clients reach the other.
    ///
    /// # Errors
    /// When it is not so.
    pub fn halts(&self, clients: &[IpAddr]) -> Result<()> {
        self.forget()?;
        let mut open = self.open_all(clients)?;
        let [(first, halted), (_, other)] = self.servers;
        self.order("halt", first)?;
        for kept in &mut open {
            if kept.server == halted {
                kept.conversation.wait_cut().with_context(|| format!("{halted} is halted; {}", kept.client))?;
            } else {
                kept.ensure_goes_on()?;
            }
            let heard = self.ask(kept.client)?;
            ensure!(heard.server == other, "{halted} is halted; {} reached {heard:?}", kept.client);
        }
        self.returns(clients)
    }

    /// Both real servers are halted: a client is refused or cut, and does not wait.
    ///
    /// # Errors
    /// When it is not so.
    pub fn refuses_without_servers(&self, client: IpAddr) -> Result<()> {
        for (server, _) in self.servers {
            self.order("halt", server)?;
        }
        if let Ok(mut conversation) = (self.open)(client) {
            conversation.wait_cut().context("no real server can; the client waits")?;
        }
        self.forget()
    }

    /// The first real server dies and comes back: the check tells, its clients reach the other, which keeps its own;
    /// then it takes clients again.
    ///
    /// # Errors
    /// When it is not so.
    pub fn survives(
        &self,
        clients: &[IpAddr],
        kill: impl FnOnce() -> Result<()>,
        revive: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.forget()?;
        let mut open = self.open_all(clients)?;
        let [(first, dead), (_, other)] = self.servers;
        kill()?;
        let down = self.balancer.wait_state(self.name, first, "down", NOTICED)?;
        let reason = down["reason"].as_str().unwrap_or_default();
        ensure!(reason.split_whitespace().count() >= 3, "{reason:?} is no sentence");
        for kept in &mut open {
            if kept.server == dead {
                kept.conversation.wait_cut().with_context(|| format!("{dead} is dead; {}", kept.client))?;
            } else {
                kept.ensure_goes_on()?;
            }
            let heard = self.ask(kept.client)?;
            ensure!(heard.server == other, "{dead} is dead; {} reached {heard:?}", kept.client);
        }
        revive()?;
        self.balancer.wait_state(self.name, first, "up", NOTICED)?;
        // Who met it between its death and the end of it in the proxy's eyes has made it suspect for a while.
        wait_until(&format!("{first} takes clients again"), RESTED, || {
            self.forget()?;
            self.open_all(clients).map(|_| ())
        })
    }

    /// The configuration changes from one of these to the next while clients come and go: none of them fails, and
    /// a connection that is kept goes on.
    ///
    /// # Errors
    /// When it is not so.
    pub fn reloads(&self, clients: &[IpAddr], configurations: &[&str]) -> Result<()> {
        let mut open = self.open_all(clients)?;
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let load = |client: IpAddr| {
            while !stop.load(Ordering::Relaxed) {
                self.ask(client).with_context(|| format!("connection {}", done.load(Ordering::Relaxed)))?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let reload = || {
            for configuration in configurations {
                let before = done.load(Ordering::Relaxed);
                self.balancer.write_configuration(configuration)?;
                self.balancer.lbctl(&["reload"])?.success()?;
                wait_until("clients come and go", LOADED, || {
                    let since = done.load(Ordering::Relaxed) - before;
                    ensure!(since >= BETWEEN_RELOADS, "{since} connections since the reload");
                    Ok(())
                })?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let load = &load;
            let clients = clients.iter().cycle().take(CLIENTS_OF_A_LOAD);
            let loads: Vec<_> = clients.map(|client| scope.spawn(move || load(*client))).collect();
            let reloaded: Result<()> = reload();
            stop.store(true, Ordering::Relaxed);
            let ended = loads.into_iter().map(std::thread::ScopedJoinHandle::join);
            let ended: Result<Vec<()>> =
                ended.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect();
            // What a client met says more than that clients stopped coming.
            ended.and(reloaded)
        })
        .with_context(|| format!("{} under reloads", self.name))?;
        println!("{}: {} connections over {} reloads", self.name, done.load(Ordering::Relaxed), configurations.len());
        open.iter_mut().try_for_each(Kept::ensure_goes_on)
    }

    /// A connection from each client, to both real servers.
    fn open_all(&self, clients: &[IpAddr]) -> Result<Vec<Kept>> {
        let open = |client: &IpAddr| {
            let mut conversation = (self.open)(*client)?;
            let server = conversation.ask().with_context(|| format!("a new connection of {client}"))?.server;
            Ok(Kept { client: *client, server, conversation })
        };
        let open = clients.iter().map(open).collect::<Result<Vec<_>>>()?;
        let used: BTreeSet<&str> = open.iter().map(|kept| kept.server.as_str()).collect();
        let expected = self.servers.iter().map(|(_, host)| *host).collect();
        ensure!(used == expected, "{}: {} clients reached {used:?}", self.name, clients.len());
        Ok(open)
    }

    /// The first real server takes clients again.
    fn returns(&self, clients: &[IpAddr]) -> Result<()> {
        let (first, _) = self.servers[0];
        self.order("online", first)?;
        self.balancer.wait_state(self.name, first, "up", NOTICED)?;
        self.forget()?;
        self.open_all(clients).map(|_| ())
    }

    fn order(&self, order: &str, server: &str) -> Result<()> {
        self.balancer.lbctl(&[order, &format!("{}/{server}", self.name)])?.success().map(|_| ())
    }

    /// No client is remembered any more: a halt forgets those of its real server.
    fn forget(&self) -> Result<()> {
        for (server, _) in self.servers {
            self.order("halt", server)?;
            self.order("online", server)?;
            self.balancer.wait_state(self.name, server, "up", NOTICED)?;
        }
        Ok(())
    }
}
