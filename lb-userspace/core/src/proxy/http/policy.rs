//! What one virtual service does with requests and answers.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version, request, response};

use super::answer::{Answer, Origin, Pages};
use super::client::ClientFacts;
use super::condition::Subject;
use super::edit::Edits;
use super::examine::Reason;
use super::fields::{self, Found};
use super::rule::{Action, Compiled, NoPath, Rewriting};
use super::template::Scene;
use super::{cookie, forwarded, host, path, target};
use crate::config::model::{Fallback, Forwarded, PersistenceBy, VirtualService};

/// Compiled from one virtual service; shared by all threads.
#[derive(Debug)]
pub struct Policy {
    rules: Box<[Compiled]>,
    /// Whether a rule looks at paths or changes them.
    judges_paths: bool,
    request: Edits,
    /// Those that name the real server.
    named: Edits,
    response: Edits,
    /// Whether an edit of an answer tells of its request.
    remembers: bool,
    /// Whether an edit of a request, of the service or of a rule, names the real server.
    names_server: bool,
    forwarded: Forwarded,
    cookie: Option<Box<str>>,
    /// Where plain requests are sent.
    tls_port: Option<u16>,
    fallback: Option<HeaderValue>,
    pages: Pages,
}

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
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Rules with more edits, in order.
    rules: Vec<usize>,
    seen: Option<Seen>,
}

/// The request as the client sent it.
#[derive(Debug)]
struct Seen {
    method: Method,
    host: Box<str>,
    target: Option<PathAndQuery>,
}

impl Policy {
    /// # Errors
    /// A sentence that says what of the service's `http` cannot be, and why.
    pub fn new(service: &VirtualService, pages: Pages) -> Result<Self, String> {
        let http = service.http.as_ref().ok_or_else(|| format!("{} is no service of HTTP", service.name))?;
        let numbered = http.rules.iter().zip(1..);
        let rules: Box<[Compiled]> =
            numbered.map(|(rule, number)| Compiled::new(rule, number)).collect::<Result<_, _>>()?;
        let (request, named) = Edits::of_requests(&http.request_headers)?;
        let response = Edits::new(&http.response_headers)?;
        let cookie = service.persistence.as_ref().and_then(|persistence| match &persistence.by {
            PersistenceBy::Cookie { name } => Some(name.as_str().into()),
            PersistenceBy::SourceIp | PersistenceBy::RdpCookie => None,
        });
        let fallback = match &service.fallback {
            Some(Fallback::Redirect(url)) => {
                Some(HeaderValue::from_str(url).map_err(|_| format!("the URL `{url}` has a control character"))?)
            }
            Some(Fallback::Server { .. } | Fallback::Page(_)) | None => None,
        };
        Ok(Self {
            judges_paths: rules.iter().any(Compiled::judges_path),
            remembers: response.tell_of_request() || rules.iter().any(|rule| rule.response.tell_of_request()),
            names_server: !named.is_empty() || rules.iter().any(|rule| !rule.named.is_empty()),
            rules,
            request,
            named,
            response,
            forwarded: http.forwarded.clone(),
            cookie,
            tls_port: service.tls.as_ref().filter(|tls| tls.redirect).map(|tls| tls.port),
            fallback,
            pages,
        })
    }

    /// What is known of a connection; made once for each.
    #[must_use]
    pub fn client(&self, address: SocketAddr, local: SocketAddr, tls: bool) -> ClientFacts {
        let ip = address.ip().to_canonical();
        let trusted = self.forwarded.trusted.iter().any(|network| network.contains(ip));
        ClientFacts::new(address, local, tls, trusted, self.forwarded.forwarded)
    }

    /// Judges a request that [`examine`](super::examine) let through, and edits it into what a real server gets:
    /// path and query as its target, exactly one Host, no field of the connection but those of an upgrade. Version
    /// and form of the target are then [`to_http1`](super::to_http1)'s or [`to_http2`](super::to_http2)'s.
    #[must_use]
    pub fn request(&self, head: &mut request::Parts, client: &ClientFacts) -> Decision {
        target::settle(head, client);
        if let Some(port) = self.tls_port.filter(|_| !client.tls) {
            return Decision::Answer(to_tls(head, client, port));
        }
        let found = Found::new(&head.headers);
        let upgrade = found.strip(&mut head.headers, fields::can_upgrade(head.version));
        one_length(head);
        if head.version == Version::HTTP_2 {
            cookie::join_fields(&mut head.headers);
        }
        let cookie = self.cookie.as_ref().and_then(|name| cookie::take(&mut head.headers, name));
        forwarded::apply(&mut head.headers, &found, &self.forwarded, client);
        let seen = self.remembers.then(|| Seen::new(head));
        let mut forward = Forward { pool: None, rule: None, upgrade, cookie, rest: None };
        if let Some(seen) = seen {
            forward.rest().seen = Some(seen);
        }
        if let Some(answer) = self.follow_rules(head, client, &mut forward) {
            return Decision::Answer(answer);
        }
        self.request.apply_to(head, client, "");
        Decision::Forward(forward)
    }

    /// Makes the edits that name the real server. Where a request is tried on several, each gets a copy of its own.
    pub fn named(&self, head: &mut request::Parts, forward: &Forward, client: &ClientFacts, server: &str) {
        if !self.names_server {
            return;
        }
        for rule in self.rest_of(forward) {
            rule.named.apply_to(head, client, server);
        }
        self.named.apply_to(head, client, server);
    }

    /// Edits an answer on its way to the client. The policy is the one that judged the request.
    pub fn response(
        &self,
        head: &mut response::Parts,
        forward: &Forward,
        client: &ClientFacts,
        server: Option<&str>,
        set_cookie: Option<&HeaderValue>,
    ) {
        let found = Found::new(&head.headers);
        if found.is_transfer_coded() {
            // RFC 9112 section 6.3: it says nothing beside a Transfer-Encoding.
            head.headers.remove(CONTENT_LENGTH);
        }
        found.strip(&mut head.headers, forward.upgrade && head.status == StatusCode::SWITCHING_PROTOCOLS);
        if let Some(name) = &self.cookie {
            cookie::take_set(&mut head.headers, name);
        }
        self.edit_answer(&mut head.headers, forward, client, server.unwrap_or_default());
        if let Some(value) = set_cookie {
            cookie::insert(&mut head.headers, value);
        }
    }

    /// The Set-Cookie field that binds a client to the real server of this token; `None` in a service without cookies
    /// and for a token that can be in none.
    #[must_use]
    pub fn set_cookie(&self, token: &str, tls: bool) -> Option<HeaderValue> {
        cookie::set(self.cookie.as_deref()?, token, tls)
    }

    /// The balancer's own answer for a status. The answer to HEAD has no body; that is the caller's.
    #[must_use]
    pub fn error(&self, status: StatusCode) -> Answer {
        self.pages.error(status, Origin::Error)
    }

    /// The answer to a request that [`examine`](super::examine) refused.
    #[must_use]
    pub fn refuse(&self, reason: Reason) -> Answer {
        self.pages.error(reason.status(), Origin::Refused(reason))
    }

    /// What answers when no real server can; `None`: another server does, or nothing, that is [`error`](Self::error)
    /// with 503.
    #[must_use]
    pub fn fallback(&self) -> Option<Answer> {
        let elsewhere = self.fallback.clone();
        let redirect = elsewhere.map(|url| Answer::redirect(StatusCode::FOUND, url, Origin::Fallback));
        redirect.or_else(|| self.pages.fallback())
    }

    /// Where the clients of a real server with a redirect URL are sent: the URL, and what they asked for behind it,
    /// as with HAProxy's `redir`. `None`: the method is neither GET nor HEAD, so that the real server is asked.
    #[must_use]
    pub fn server_redirect(&self, url: &str, head: &request::Parts) -> Option<Answer> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return None;
        }
        let asked = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let location = HeaderValue::try_from(format!("{}{asked}", url.trim_end_matches('/'))).ok()?;
        Some(Answer::redirect(StatusCode::FOUND, location, Origin::ServerRedirect))
    }

    /// `Some`: a rule answers, or the request is refused.
    fn follow_rules(&self, head: &mut request::Parts, client: &ClientFacts, forward: &mut Forward) -> Option<Answer> {
        let mut judged = match self.judge(head) {
            Ok(judged) => judged,
            Err(reason) => return Some(self.refuse(reason)),
        };
        let mut next = 0;
        while let Some((index, rule)) = self.next_rule(next, head, client, judged.as_deref()) {
            next = index + 1;
            rule.request.apply_to(head, client, "");
            if rule.has_more() {
                forward.rest().rules.push(index);
            }
            if let Some(rewrite) = &rule.rewrite {
                match rewritten(rewrite, head).and_then(|()| self.judge(head)) {
                    Ok(path) => judged = path,
                    Err(reason) => return Some(self.refuse(reason)),
                }
            }
            match &rule.action {
                None => {}
                Some(Action::Pool(pool)) => {
                    forward.pool = Some(Arc::clone(pool));
                    forward.rule = Some(Arc::clone(&rule.name));
                    return None;
                }
                Some(action) => {
                    let mut answer = self.act(rule, action, head, client);
                    self.edit_answer(&mut answer.headers, forward, client, "");
                    return Some(answer);
                }
            }
        }
        None
    }

    fn next_rule(
        &self,
        from: usize,
        head: &request::Parts,
        client: &ClientFacts,
        judged: Option<&str>,
    ) -> Option<(usize, &Compiled)> {
        let rest = self.rules.get(from..).filter(|rest| !rest.is_empty())?;
        let subject = Subject::new(head, client, judged.unwrap_or_else(|| head.uri.path()));
        let ahead = rest.iter().position(|rule| rule.applies(&subject))?;
        Some((from + ahead, rest.get(ahead)?))
    }

    /// The path as rules see it; `None`: as it is.
    fn judge(&self, head: &request::Parts) -> Result<Option<String>, Reason> {
        if !self.judges_paths {
            return Ok(None);
        }
        match path::judged(head.uri.path()) {
            Ok(std::borrow::Cow::Borrowed(_)) => Ok(None),
            Ok(std::borrow::Cow::Owned(judged)) => Ok(Some(judged)),
            Err(path::Ambiguous) => Err(Reason::AmbiguousPath),
        }
    }

    fn act(&self, rule: &Compiled, action: &Action, head: &request::Parts, client: &ClientFacts) -> Answer {
        let origin = Origin::Rule(Arc::clone(&rule.name));
        match action {
            Action::Redirect { location, status } => match location.url(&scene(head, client, "")) {
                Some(location) => Answer::redirect(*status, location, origin),
                None => self.pages.error(StatusCode::INTERNAL_SERVER_ERROR, origin),
            },
            Action::Respond { status, content_type, body } => {
                Answer::respond(*status, content_type.clone(), body.clone(), origin)
            }
            Action::Deny(status) => self.pages.error(*status, origin),
            Action::Pool(_) => self.pages.error(StatusCode::INTERNAL_SERVER_ERROR, origin),
        }
    }

    fn edit_answer(&self, headers: &mut http::HeaderMap, forward: &Forward, client: &ClientFacts, server: &str) {
        if forward.rest.is_none() && self.response.is_empty() {
            return;
        }
        let seen = forward.rest.as_ref().and_then(|rest| rest.seen.as_ref());
        let scene = Scene {
            client,
            method: seen.map_or(&Method::GET, |seen| &seen.method),
            host: seen.map_or("", |seen| &seen.host),
            target: seen.and_then(|seen| seen.target.as_ref()),
            server,
        };
        for rule in self.rest_of(forward) {
            rule.response.apply(headers, &scene);
        }
        self.response.apply(headers, &scene);
    }

    fn rest_of<'a>(&'a self, forward: &'a Forward) -> impl Iterator<Item = &'a Compiled> {
        let rules = forward.rest.as_ref().map_or(&[][..], |rest| &rest.rules);
        rules.iter().filter_map(|index| self.rules.get(*index))
    }
}

impl Forward {
    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }
}

impl Seen {
    fn new(head: &request::Parts) -> Self {
        Self {
            method: head.method.clone(),
            host: host::name(&head.headers).into(),
            target: head.uri.path_and_query().cloned(),
        }
    }
}

impl Edits {
    fn apply_to(&self, head: &mut request::Parts, client: &ClientFacts, server: &str) {
        if self.is_empty() {
            return;
        }
        let host: Box<str> = host::name(&head.headers).into();
        let target = head.uri.path_and_query();
        self.apply(&mut head.headers, &Scene { client, method: &head.method, host: &host, target, server });
    }
}

fn scene<'a>(head: &'a request::Parts, client: &'a ClientFacts, server: &'a str) -> Scene<'a> {
    let target = head.uri.path_and_query();
    Scene { client, method: &head.method, host: host::name(&head.headers), target, server }
}

/// 308 keeps the method (RFC 9110 section 15.4.9).
fn to_tls(head: &request::Parts, client: &ClientFacts, port: u16) -> Answer {
    let host = host::name(&head.headers);
    let asked = head.uri.path_and_query().map(PathAndQuery::as_str).filter(|asked| asked.starts_with('/'));
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let location = format!("https://{host}{port}{}", asked.unwrap_or("/"));
    let location = HeaderValue::try_from(location).unwrap_or_else(|_| client.own_host());
    Answer::redirect(StatusCode::PERMANENT_REDIRECT, location, Origin::TlsRedirect)
}

fn rewritten(rewrite: &Rewriting, head: &mut request::Parts) -> Result<(), Reason> {
    let Some(target) = head.uri.path_and_query() else { return Ok(()) };
    match rewrite.apply(target) {
        Ok(Some(target)) => {
            head.uri = target.into();
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(NoPath::Ambiguous) => Err(Reason::AmbiguousPath),
        Err(NoPath::TooLong) => Err(Reason::LongTarget),
    }
}

/// Several equal lengths become one.
fn one_length(head: &mut request::Parts) {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next()) {
        let first = first.clone();
        head.headers.insert(CONTENT_LENGTH, first);
    }
}
