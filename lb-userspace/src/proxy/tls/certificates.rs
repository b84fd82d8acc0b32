//! The certificates of a configuration: read, checked, and taken again when their files change.
//!
//! In: the configuration and its files. Out: identities on a shelf that listeners look at in each handshake, what
//! there is to see of them, and what to warn of. Absent: when the files are looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use lb_core::config::model::{Certificate, Condition, Config, Secret};
use lb_core::view::{CertificateChain, CertificateView, OcspState};
use zeroize::Zeroizing;

use super::identity::Identity;
use super::source::Source;
use super::{ocsp, pem, pfx};

/// Every certificate of a configuration, read and checked.
#[derive(Debug)]
pub struct Certificates {
    shelf: Arc<Shelf>,
    /// As configured, by label.
    configured: BTreeMap<String, Certificate>,
    /// Who shows what.
    shown: Vec<Shown>,
    /// What could not be read when the files were looked at last, one sentence each.
    refused: ArcSwap<Vec<String>>,
    base: PathBuf,
}

/// What the listeners see: certificates by label. It is swapped as a whole, so that a handshake sees one state.
pub(super) type Shelf = ArcSwap<BTreeMap<String, Arc<Held>>>;

/// A certificate that was read.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) identity: Identity,
    sources: Vec<Source>,
    /// The file with the key, when everybody may read it.
    open_key: Option<PathBuf>,
}

/// What a listener shows.
#[derive(Debug)]
struct Shown {
    service: String,
    labels: Vec<String>,
    /// Hosts that the rules of the service know.
    hosts: BTreeSet<String>,
}

/// What came of looking at the files again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Labels of certificates that are shown from now on as their files are.
    pub taken: Vec<String>,
    /// Why others are shown as they were, one sentence each.
    pub refused: Vec<String>,
}

impl Certificates {
    /// Reads every certificate of a configuration. Relative paths begin at `base`, the folder of the main file.
    ///
    /// # Errors
    /// Everything that is wrong with them, one sentence each. A certificate that has expired is not among it: it is a
    /// warning, and clients refuse it by themselves; so nothing else goes down with it.
    pub fn load(config: &Config, base: &Path) -> Result<Self, Vec<String>> {
        let (certificates, mistakes) = Self::read(config, base);
        if mistakes.is_empty() { Ok(certificates) } else { Err(mistakes) }
    }

    /// Reads what can be read, and says what cannot: for a start after which layer 4 works whatever a certificate is.
    #[must_use]
    pub fn read(config: &Config, base: &Path) -> (Self, Vec<String>) {
        let mut held = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (label, certificate) in &config.certificates {
            match Held::read(certificate, base) {
                Ok(read) => {
                    held.insert(label.clone(), Arc::new(read));
                }
                Err(why) => mistakes.extend(why.iter().map(|why| format!("certificate {label}: {why}"))),
            }
        }
        let shown = config.virtual_services.iter().filter_map(|service| {
            let tls = service.tls.as_ref()?;
            let rules = service.http.iter().flat_map(|http| &http.rules).flat_map(|rule| &rule.when);
            let hosts = rules.filter_map(|condition| match condition {
                Condition::Host(hosts) => Some(hosts),
                _ => None,
            });
            let hosts = hosts.flatten().map(|host| host.to_ascii_lowercase()).collect();
            Some(Shown { service: service.name.clone(), labels: tls.certificates.clone(), hosts })
        });
        let certificates = Self {
            shelf: Arc::new(ArcSwap::from_pointee(held)),
            configured: config.certificates.clone(),
            shown: shown.collect(),
            refused: ArcSwap::from_pointee(mistakes.clone()),
            base: base.to_owned(),
        };
        (certificates, mistakes)
    }

    /// Whether each of these labels has a certificate that could be read.
    pub(in crate::proxy) fn has_all(&self, labels: &[String]) -> bool {
        let held = self.shelf.load();
        labels.iter().all(|label| held.contains_key(label))
    }

    /// Whether a file is not what was read any more. Reads files whose time or size is another.
    #[must_use]
    pub fn changed(&self) -> bool {
        let held = self.shelf.load();
        self.configured.keys().any(|label| held.get(label).is_none_or(|held| held.changed()))
    }

    /// Reads again what has changed. Listeners show it from their next handshake on; connections go on. What cannot
    /// be read, for example because only one of two files is there yet, is shown as it was.
    pub fn renew(&self) -> Renewal {
        let mut renewal = Renewal::default();
        let mut held = BTreeMap::clone(&self.shelf.load());
        for (label, certificate) in &self.configured {
            if held.get(label).is_some_and(|held| !held.changed()) {
                continue;
            }
            match Held::read(certificate, &self.base) {
                Ok(read) => {
                    held.insert(label.clone(), Arc::new(read));
                    renewal.taken.push(label.clone());
                }
                Err(why) => renewal.refused.extend(why.iter().map(|why| format!("certificate {label}: {why}"))),
            }
        }
        if !renewal.taken.is_empty() {
            self.shelf.store(Arc::new(held));
        }
        self.refused.store(Arc::new(renewal.refused.clone()));
        renewal
    }

    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// What there is to see of every certificate that was read.
    #[must_use]
    pub fn views(&self, now: SystemTime) -> Vec<CertificateView> {
        let now = unix(now);
        let held = self.shelf.load();
        held.iter().map(|(label, held)| held.view(label, self.services(label), now)).collect()
    }

    fn services(&self, label: &str) -> Vec<String> {
        let shown = self.shown.iter().filter(|shown| shown.labels.iter().any(|shown| shown == label));
        shown.map(|shown| shown.service.clone()).collect()
    }

    /// What an administrator should do something about, one sentence each.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let now = unix(now);
        let held = self.shelf.load();
        let mut warnings = Vec::clone(&self.refused.load());
        for (label, held) in held.iter() {
            warnings.extend(held.warnings(now).iter().map(|warning| format!("certificate {label} {warning}")));
        }
        warnings.extend(self.shown.iter().flat_map(|shown| shown.warnings(&held)));
        warnings
    }
}

impl Held {
    /// Reads the files of a certificate; the errors are sentences without its label.
    fn read(certificate: &Certificate, base: &Path) -> Result<Self, Vec<String>> {
        let mut files = Files { base, sources: Vec::new(), mistakes: Vec::new() };
        let (contents, key_file, ocsp_file) = match certificate {
            Certificate::Pem { pem: chain, key, ocsp } => {
                let certificates = files.take(chain, pem::certificates);
                let keys = files.take(key, |bytes, file| pem::key(bytes, file).map(|key| vec![key]));
                (certificates.zip(keys), key, ocsp)
            }
            Certificate::Pfx { pfx: archive, password, ocsp } => {
                let password = password.as_ref().map(|secret| files.secret(secret));
                // A password that cannot be read has been complained of.
                let contents = match password {
                    Some(None) => None,
                    known => {
                        let known = known.flatten();
                        files.take(archive, |bytes, file| pfx::open(bytes, known.as_deref().map(String::as_str), file))
                    }
                };
                (contents, archive, ocsp)
            }
        };
        let answer = ocsp_file.as_ref().and_then(|file| files.take(file, ocsp::read));
        let Files { sources, mut mistakes, .. } = files;
        let Some((certificates, keys)) = contents.filter(|_| mistakes.is_empty()) else { return Err(mistakes) };
        let identity = Identity::new(&certificates, keys, answer).map_err(|mistake| {
            mistakes.push(mistake);
            mistakes
        })?;
        let key_file = base.join(key_file);
        let open_key = sources.iter().any(|source| source.path() == key_file && source.open_to_all).then_some(key_file);
        Ok(Self { identity, sources, open_key })
    }

    /// One whose files nobody looks at again.
    pub(super) fn of(identity: Identity) -> Self {
        Self { identity, sources: Vec::new(), open_key: None }
    }

    fn changed(&self) -> bool {
        self.sources.iter().any(Source::changed)
    }

    pub(super) fn view(&self, label: &str, services: Vec<String>, now: i64) -> CertificateView {
        let facts = &self.identity.facts;
        let addresses = facts.addresses.iter().map(ToString::to_string);
        CertificateView {
            label: label.to_owned(),
            names: facts.hosts.iter().cloned().chain(addresses).collect(),
            issuer: facts.issuer.clone(),
            not_before_seconds: facts.not_before,
            not_after_seconds: facts.not_after,
            days_left: facts.not_after.saturating_sub(now).div_euclid(DAY),
            key: facts.key.clone(),
            sha256: facts.sha256.map(|byte| format!("{byte:02X}")).join(":"),
            chain: facts.chain,
            sent: self.identity.chain().len() as u64,
            ocsp: self.identity.ocsp(now),
            files: self.sources.iter().map(|source| source.path().display().to_string()).collect(),
            services,
        }
    }

    /// As what follows its name.
    pub(super) fn warnings(&self, now: i64) -> Vec<String> {
        let facts = &self.identity.facts;
        let mut warnings = Vec::new();
        let mut warn = |sentence: String| warnings.push(sentence);
        let days = facts.not_after.saturating_sub(now).div_euclid(DAY);
        match days {
            ..0 => warn(format!(
                "has expired {} ago ({}): clients refuse it; renew it",
                counted(-days),
                day(facts.not_after)
            )),
            0..=1 => warn(format!("expires within {} ({}): renew it now", counted(days + 1), day(facts.not_after))),
            2..=30 => warn(format!("expires in {} ({}): renew it", counted(days), day(facts.not_after))),
            _ => {}
        }
        if now < facts.not_before {
            warn(format!("is not valid before {}: clients refuse it; compare the clocks", day(facts.not_before)));
        }
        if facts.common_name_only {
            warn(
                "names no host but in its subject, where clients do not look any more: have it issued with the name \
                  as subject alternative name"
                    .to_owned(),
            );
        }
        match (facts.chain, &facts.issuer_to_fetch) {
            (CertificateChain::Broken, _) => {
                warn(
                    "has a chain in which one does not hold the next: take the chain that its authority gives"
                        .to_owned(),
                );
            }
            (_, Some(issuer)) => {
                warn(format!(
                    "is sent without the certificate of {issuer}, which clients may lack: append it to the file"
                ));
            }
            _ => {}
        }
        match self.identity.ocsp(now) {
            OcspState::None | OcspState::Stapled => {}
            OcspState::Outdated => {
                warn("has an OCSP answer that is too old, so none is sent: fetch it again".to_owned());
            }
            OcspState::OfAnother => {
                warn(
                    "has an OCSP answer that is about another certificate, so none is sent: fetch it again".to_owned(),
                );
            }
            OcspState::NotGood => {
                warn("is revoked, or its authority does not know it: replace it".to_owned());
            }
        }
        if let Some(file) = &self.open_key {
            let file = file.display();
            warn(format!("has a key that everybody on this machine can read: `chmod 600 {file}`"));
        }
        warnings
    }
}

impl Shown {
    /// What is wrong between the certificates of one listener.
    fn warnings(&self, held: &BTreeMap<String, Arc<Held>>) -> Vec<String> {
        let hosts: Vec<&String> = self
            .labels
            .iter()
            .filter_map(|label| held.get(label))
            .flat_map(|held| &held.identity.facts.hosts)
            .collect();
        if hosts.is_empty() {
            return Vec::new();
        }
        let missing = self.hosts.iter().filter(|wanted| !hosts.iter().any(|host| covers(host, wanted)));
        let service = &self.service;
        missing
            .map(|host| {
                format!(
                    "virtual service {service}: a rule is for {host}, which no certificate of its TLS listener names"
                )
            })
            .collect()
    }
}

/// Whether a name of a certificate is for a host; both may begin with `*.`.
pub(super) fn covers(name: &str, host: &str) -> bool {
    name == host
        || name.strip_prefix("*.").is_some_and(|parent| host.split_once('.').is_some_and(|(_, above)| above == parent))
}

/// Reads files and gathers what is wrong with them.
struct Files<'a> {
    base: &'a Path,
    sources: Vec<Source>,
    mistakes: Vec<String>,
}

impl Files<'_> {
    fn take<T>(&mut self, path: &Path, understand: impl FnOnce(&[u8], &Path) -> Result<T, String>) -> Option<T> {
        let path = self.base.join(path);
        let understood = Source::read(&path).and_then(|(source, bytes)| {
            self.sources.push(source);
            understand(&bytes, &path)
        });
        understood.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    /// The text of a secret; a line end behind it does not belong to it.
    fn secret(&mut self, secret: &Secret) -> Option<Zeroizing<String>> {
        match secret {
            Secret::Value(value) => Some(Zeroizing::new(value.clone())),
            Secret::File(file) => self.take(file, |bytes, file| {
                let text = std::str::from_utf8(bytes).map_err(|_| format!("{} is no text", file.display()))?;
                Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }),
        }
    }
}

pub(super) fn unix(now: SystemTime) -> i64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn day(unix: i64) -> String {
    chrono::DateTime::from_timestamp(unix, 0).map_or_else(String::new, |time| time.format("%Y-%m-%d").to_string())
}

fn counted(days: i64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

const DAY: i64 = 86_400;
