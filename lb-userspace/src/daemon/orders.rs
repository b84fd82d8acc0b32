//! Orders of administrators: carried out, kept for the daemon after this one, answered.
//!
//! They are kept below the state directory, which outlives a reboot: a real server that was halted for repair
//! must not come back because the power went.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use lb_core::control::{Measured, OrderError, Ordered, Orders};
use lb_core::tables::ServerKey;
use lb_core::view::{Administration, OrderReport, OrderRequest, RealServer, ServiceState};
use serde::{Deserialize, Serialize};

use super::happenings::milliseconds;
use super::{Daemon, file};
use crate::api::OrderRefused;

/// One order as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    service: String,
    server: String,
    #[serde(flatten)]
    order: Administration,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("orders.json")
}

/// The orders that hold.
pub(super) fn read(directory: &Path) -> Orders {
    let kept: Vec<Kept> =
        file::read(&path(directory), "no real server is drained, halted or weighed any more").unwrap_or_default();
    let order = |kept: Kept| (ServerKey { service: kept.service, server: kept.server }, kept.order);
    kept.into_iter().map(order).collect()
}

impl Daemon {
    pub(super) fn order(&mut self, request: OrderRequest) -> Result<OrderReport, OrderRefused> {
        let key = ServerKey { service: request.service, server: request.server };
        let by = request.by.unwrap_or_else(|| "somebody".to_owned());
        let at = milliseconds(SystemTime::now()) / 1000;
        let before = self.real_server(&key);
        let Ordered { changed, sentence } =
            self.control.order(&key, request.order, &by, at, Instant::now()).map_err(|error| refused(&error))?;
        let mut warnings = Vec::new();
        if changed {
            if let Err(error) = self.write_plan() {
                warnings.push(format!("the tables could not be brought up to date yet: {error:#}"));
            }
            self.keep_orders();
            warnings.extend(self.orders_problem.clone());
            warnings.extend(self.nobody_left(&key));
        }
        let after = self.real_server(&key);
        let counted = before.or_else(|| after.clone());
        Ok(OrderReport {
            service: key.service,
            server: key.server,
            changed,
            state: after.map_or(lb_core::view::ServerState::Halted, |real| real.state),
            connections: counted.as_ref().map_or(0, |real| real.connections),
            persistent_clients: counted.as_ref().map_or(0, |real| real.persistent_clients),
            sentence,
            warnings,
        })
    }

    /// Writes down what is ordered, so that it holds after a restart.
    pub(super) fn keep_orders(&mut self) {
        let orders = self.control.orders();
        let kept: Vec<Kept> =
            orders.into_iter().map(|(key, order)| Kept { service: key.service, server: key.server, order }).collect();
        self.orders_problem = file::replace(&path(&self.options.state_dir), &kept)
            .err()
            .map(|error| format!("orders about real servers do not survive a restart: {error}"));
    }

    fn real_server(&self, key: &ServerKey) -> Option<RealServer> {
        let services = self.control.status(&self.measured(), Instant::now());
        let service = services.into_iter().find(|service| service.name == key.service)?;
        service.real_servers.into_iter().find(|real| real.name == key.server)
    }

    /// Why a service has nobody left to take new clients, if it has not.
    fn nobody_left(&self, key: &ServerKey) -> Option<String> {
        let services = self.control.status(&Measured::new(), Instant::now());
        let service = services.into_iter().find(|service| service.name == key.service)?;
        let reason = service.reason.filter(|_| service.state == ServiceState::Down)?;
        Some(format!("{}: {reason}", service.name))
    }
}

fn refused(error: &OrderError) -> OrderRefused {
    match error {
        OrderError::NoService { .. } | OrderError::NoServer { .. } => OrderRefused::Unknown(error.to_string()),
        OrderError::Leaving { .. } | OrderError::DoesNotFit(_) => OrderRefused::Failed(error.to_string()),
    }
}
