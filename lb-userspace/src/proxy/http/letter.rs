//! A request until it is answered: it may come back unsent, or be sent again.
//!
//! In: what a client has sent. Out: what goes to one real server after the other. Absent: whether it may.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::header::{EXPECT, HeaderValue};
use hyper::http::request::Parts;
use lb_core::proxy::http::{BodyProgress, may_repeat};

use super::body::{Gate, Progress, RequestBody};

/// A request as long as it may have to be sent again.
pub(super) struct Letter {
    pub(super) head: Parts,
    pub(super) body: Option<RequestBody>,
    pub(super) progress: Rc<Progress>,
    pub(super) gate: Option<Arc<Gate>>,
    pub(super) is_empty: bool,
    pub(super) method: hyper::Method,
}

impl Letter {
    pub(super) fn new(mut head: Parts, incoming: Incoming, expects: Option<HeaderValue>) -> Self {
        let expects = expects.filter(|_| !incoming.is_end_stream());
        let gate = expects.is_some().then(Arc::<Gate>::default);
        if let Some(expects) = expects {
            head.headers.insert(EXPECT, expects);
        }
        let progress = Rc::new(Progress::default());
        let (is_empty, method) = (incoming.is_end_stream(), head.method.clone());
        let body = match is_empty {
            true => RequestBody::empty(Rc::clone(&progress)),
            false => RequestBody::of_client(incoming, Rc::clone(&progress), gate.clone()),
        };
        Self { head, body: Some(body), progress, gate, is_empty, method }
    }

    /// Whether it may go to another real server although one may have got it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_empty && may_repeat(&self.method, BodyProgress::Empty)
    }

    /// The body to be sent with the head, which stays as it is. `None`: it was sent, and there is none.
    pub(super) fn body(&mut self) -> Option<RequestBody> {
        match self.body.take() {
            Some(body) => Some(body),
            None => self.is_empty.then(|| RequestBody::empty(Rc::clone(&self.progress))),
        }
    }

    /// It came back unsent; without a body if it has none.
    pub(super) fn returned(&mut self, body: Option<RequestBody>) {
        self.body = body;
    }
}
