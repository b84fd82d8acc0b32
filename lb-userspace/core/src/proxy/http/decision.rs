//! What becomes of a request, and what is remembered of it until its answer comes.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, request};

use super::answer::Answer;
use super::host;

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It goes to a real server.
    Forward(Forward),
    /// It is answered.
    Answer(Answer),
}

/// What is to be remembered of a request that goes to a real server.
#[derive(Debug)]
pub struct Forward {
    /// The pool; `None`: the service's main one.
    pub pool: Option<Arc<str>>,
    /// The rule that chose the pool: its name or number.
    pub rule: Option<Arc<str>>,
    /// Whether the client asks for an upgrade.
    pub upgrade: bool,
    /// The token of the client's persistence cookie.
    pub cookie: Option<Box<str>>,
    /// What is left to do once there is a real server; most have nothing.
    pub(super) rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Rules with more edits, in order.
    pub(super) rules: Vec<usize>,
    pub(super) seen: Option<Seen>,
}

/// The request as the client sent it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) host: Box<str>,
    pub(super) target: Option<PathAndQuery>,
}

impl Forward {
    pub(super) fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }
}

impl Seen {
    pub(super) fn new(head: &request::Parts) -> Self {
        Self {
            method: head.method.clone(),
            host: host::name(&head.headers).into(),
            target: head.uri.path_and_query().cloned(),
        }
    }
}
