//! What one virtual service does with requests and answers.

use std::net::SocketAddr;

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version, request, response};

use super::answer::{Answer, Origin, Pages};
use super::client::ClientFacts;
use super::decision::{Decision, Forward, Seen};
use super::edit::Edits;
use super::examine::Reason;
use super::fields::{self, Found};
use super::rule::Compiled;
use super::template::Scene;
use super::{cookie, forwarded, host, target};
use crate::config::model::{Fallback, Forwarded, PersistenceBy, VirtualService};

/// Compiled from one virtual service; shared by all threads.
#[derive(Debug)]
pub struct Policy {
    pub(super) rules: Box<[Compiled]>,
    /// Whether a rule looks at paths or changes them.
    pub(super) judges_paths: bool,
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
    pub(super) pages: Pages,
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
    /// path and query as its target, exactly one Host, no field of the connection but those of an upgrade, and TE.
    /// Over HTTP/1.1 it goes as it is ([`write_request`](crate::proxy::wire::write_request)); over HTTP/2 after
    /// [`to_http2`](super::to_http2).
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

    /// Whether [`Self::named`] has anything to do.
    #[must_use]
    pub fn names_server(&self) -> bool {
        self.names_server
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

    /// Makes the rules' edits and then the service's.
    pub(super) fn edit_answer(&self, headers: &mut HeaderMap, forward: &Forward, client: &ClientFacts, server: &str) {
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

impl Edits {
    pub(super) fn apply_to(&self, head: &mut request::Parts, client: &ClientFacts, server: &str) {
        if self.is_empty() {
            return;
        }
        // A copy, because Host is one of the fields; most edits do not ask for it.
        let host = if self.tell_of_request() { host::name(&head.headers).to_owned() } else { String::new() };
        let target = head.uri.path_and_query();
        self.apply(&mut head.headers, &Scene { client, method: &head.method, host: &host, target, server });
    }
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

/// Several equal lengths become one.
fn one_length(head: &mut request::Parts) {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next()) {
        let first = first.clone();
        head.headers.insert(CONTENT_LENGTH, first);
    }
}
