//! Which certificate a client is shown: by the name that it sends (RFC 6066 section 3), else the first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificates::{Held, Shelf, unix};

/// The certificates of one listener, as they are on the shelf at the time of a handshake.
#[derive(Debug)]
pub(super) struct Resolver {
    shelf: Arc<Shelf>,
    labels: Vec<String>,
    index: ArcSwapOption<Index>,
}

/// Names to certificates, of one state of the shelf.
#[derive(Debug)]
struct Index {
    of: Arc<BTreeMap<String, Arc<Held>>>,
    held: Vec<Arc<Held>>,
    /// Places in `held`, in the order of the listener's list.
    exact: HashMap<String, Vec<usize>>,
    /// What stands behind `*.`.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Resolver {
    pub(super) fn new(shelf: Arc<Shelf>, labels: Vec<String>) -> Self {
        Self { shelf, labels, index: ArcSwapOption::empty() }
    }

    fn index(&self) -> Arc<Index> {
        let shelf = self.shelf.load();
        if let Some(index) = self.index.load_full()
            && Arc::ptr_eq(&index.of, &shelf)
        {
            return index;
        }
        let index = Arc::new(Index::new(Arc::clone(&shelf), &self.labels));
        self.index.store(Some(Arc::clone(&index)));
        index
    }

    /// For a client that asks for `name` and understands what `usable` says.
    fn choose(
        &self,
        name: Option<&str>,
        now: i64,
        usable: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let index = self.index();
        let named = name.map(str::to_ascii_lowercase).and_then(|name| index.named(&name).cloned());
        let places = named.unwrap_or_else(|| (0..index.held.len()).collect());
        let shown = || places.iter().filter_map(|place| index.held.get(*place)).map(|held| held.identity.shown(now));
        // One that the client cannot use makes the handshake fail for a reason that its log tells.
        shown().find(|key| usable(key)).or_else(|| shown().next()).cloned()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        self.choose(hello.server_name(), unix(SystemTime::now()), usable)
    }
}

impl Index {
    fn new(of: Arc<BTreeMap<String, Arc<Held>>>, labels: &[String]) -> Self {
        let held: Vec<Arc<Held>> = labels.iter().filter_map(|label| of.get(label).cloned()).collect();
        let (mut exact, mut wildcard) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (place, held) in held.iter().enumerate() {
            for host in &held.identity.facts.hosts {
                match host.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_default().push(place),
                    None => exact.entry(host.clone()).or_default().push(place),
                }
            }
        }
        Self { of, held, exact, wildcard }
    }

    /// Those with the name itself, else those whose `*` stands for its first label.
    fn named(&self, name: &str) -> Option<&Vec<usize>> {
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(parent)
    }
}
