//! Where a client's packet or connection would go: the datapath or the proxy is asked, and what it found is told.

use std::net::SocketAddr;
use std::time::Instant;

use lb_core::config::model::VirtualService;
use lb_core::explain::{ask, asked_service, explained, explained_proxied};
use lb_core::view::{ExplainQuery, Explained, Step, StepKind};

use super::Daemon;

impl Daemon {
    /// The answer, or why there is none, in a sentence.
    pub(super) fn explain(&mut self, query: &ExplainQuery) -> Result<Explained, String> {
        if let Some(service) = asked_service(query, self.control.config()) {
            return Ok(self.explain_proxied(query, service));
        }
        let asked = ask(query, self.control.config(), |frame| self.program.explain(frame));
        let asked = asked.map_err(|error| format!("the datapath cannot be asked: {error}"))?;
        let mut told = explained(&self.control, query, &asked, Instant::now());
        if self.attach_by.is_some() {
            let sentence =
                "this is what the new tables say; until they are filled, the ones that were put aside decide";
            told.steps.insert(0, Step { about: StepKind::Service, sentence: sentence.to_owned() });
        }
        Ok(told)
    }

    fn explain_proxied(&self, query: &ExplainQuery, service: &VirtualService) -> Explained {
        let now = Instant::now();
        let client = SocketAddr::new(query.client.address, query.client_port());
        let found = self.proxy.consider(&service.name, client, now);
        let views = self.control.status(&self.measured(), now);
        let view = views.into_iter().find(|view| view.name == service.name);
        let rows = view.map(|view| view.real_servers).unwrap_or_default();
        explained_proxied(query, service, &rows, found.as_ref())
    }
}
