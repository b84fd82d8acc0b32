//! One request: judged, sent to a real server, tried again where that is safe, answered.
//!
//! In: a request. Out: an answer, always. Absent: rules and fields, which are `lb_core::proxy::http`'s.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2;
use hyper::ext::ReasonPhrase;
use hyper::header::{ALLOW, CONNECTION, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::response;
use hyper::{Request, Response, StatusCode, Version};
use lb_core::proxy::http::{Answer, Decision, Forward, Origin, Policy, examine, examine_answer, to_http2};

use super::Connection;
use super::body::{From as Source, Gate, Outgoing, RequestBody, ServerBody};
use super::conversation::{Broken, Conversation};
use super::exchange::Exchange;
use super::executor::Reading;
use super::letter::Letter;
use super::pace::Pace;
use super::upgrade::Tunnel;
use super::upstream::{Way, send_shared};
use crate::proxy::choose::{Asker, choose};
use crate::proxy::open::tell;
use crate::proxy::service::{Entry, Running};
use lb_core::proxy::failure::Failure;
use lb_core::proxy::wire::Head;

/// A connection that its server had closed is replaced so many times at most.
const STALE: usize = 3;

/// The answer to a request.
pub(super) enum Answering {
    /// It is there already.
    Own(Option<Response<Outgoing>>),
    /// It is asked for. Boxed: between two requests a connection has no room for one.
    Asked(Pin<Box<dyn Future<Output = Response<Outgoing>>>>),
}

impl Future for Answering {
    type Output = Result<Response<Outgoing>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Own(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            Self::Asked(asked) => asked.as_mut().poll(cx).map(Ok),
        }
    }
}

/// Answers one request. What needs no waiting is done before there is anything to wait for: what a future takes with it
/// is copied.
pub(super) fn handle(connection: Rc<Connection>, request: Request<Incoming>) -> Answering {
    let reading = connection.is_h2.then(Rc::<Reading>::default);
    connection.newest.set(reading.clone());
    let running = connection.service.running();
    let (mut head, incoming) = request.into_parts();
    let is_head = head.method == hyper::Method::HEAD;
    // Whether the body is wanted is for the real server to say, not for this proxy.
    let expects = head.headers.get(EXPECT).cloned();
    let whole = incoming.is_end_stream();
    let mut exchange = Exchange::begin(Rc::clone(&connection), Arc::clone(&running), &head, whole);
    exchange.reading = reading;
    let Some(policy) = &running.policy else { return Answering::Own(Some(own(exchange, None))) };
    match judge(policy, &mut head, &connection) {
        Err(answer) => {
            let response = own(exchange, Some(*answer));
            connection.unread.set(!incoming.is_end_stream());
            Answering::Own(Some(finished(response, &connection, is_head)))
        }
        Ok(forward) => {
            let mut letter = Letter::new(head, incoming, expects);
            exchange.progress = Some(Rc::clone(&letter.progress));
            exchange.pool.clone_from(&forward.pool);
            exchange.rule.clone_from(&forward.rule);
            let sending = Sending { exchange, forward, running: Arc::clone(&running) };
            Answering::Asked(Box::pin(async move {
                let response = sending.run(&mut letter).await;
                finished(response, &connection, is_head)
            }))
        }
    }
}

/// As it goes to the client.
fn finished(mut response: Response<Outgoing>, connection: &Connection, is_head: bool) -> Response<Outgoing> {
    if !connection.is_h2
        && connection.service.finish.number() > 0
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if is_head && let Outgoing::Fixed { data, .. } = response.body_mut() {
        *data = None;
    }
    response
}

/// What becomes of a request, before anybody is asked.
fn judge(policy: &Policy, head: &mut Parts, connection: &Connection) -> Result<Forward, Box<Answer>> {
    examine(head).map_err(|refused| Box::new(policy.refuse(refused.reason)))?;
    match policy.request(head, &connection.facts) {
        Decision::Forward(forward) => Ok(forward),
        Decision::Answer(answer) => Err(Box::new(answer)),
    }
}

/// The balancer's own answer.
fn own(mut exchange: Box<Exchange>, answer: Option<Answer>) -> Response<Outgoing> {
    let Some(Answer { status, headers, body, origin }) = answer else {
        exchange.failed(Failure::NoServer);
        return respond(exchange, StatusCode::SERVICE_UNAVAILABLE, bytes::Bytes::new());
    };
    let mut close = false;
    match origin {
        Origin::Refused(_) => {
            exchange.failed(Failure::BadRequest);
            // What follows may be the rest of something that was meant otherwise.
            close = true;
        }
        Origin::Rule(_) if status.is_client_error() => exchange.failed(Failure::Denied),
        _ => {}
    }
    let is_h1 = !exchange.connection.is_h2;
    let mut response = respond(exchange, status, body);
    *response.headers_mut() = headers;
    if close && is_h1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .entry(ALLOW)
            .or_insert(HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"));
    }
    response
}

fn respond(mut exchange: Box<Exchange>, status: StatusCode, body: bytes::Bytes) -> Response<Outgoing> {
    exchange.answers(status);
    exchange.completed();
    let mut response = Response::new(Outgoing::Fixed { data: Some(body).filter(|body| !body.is_empty()), exchange });
    *response.status_mut() = status;
    response
}

/// Which status tells a client of a failure.
fn status(failure: Failure) -> StatusCode {
    match failure {
        Failure::ServerTimeout => StatusCode::GATEWAY_TIMEOUT,
        Failure::BadRequest | Failure::ClientGone => StatusCode::BAD_REQUEST,
        Failure::ClientTimeout | Failure::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Failure::NoServer | Failure::QueueFull | Failure::QueueTimeout | Failure::SourcePortsExhausted => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::BAD_GATEWAY,
    }
}

struct Sending {
    exchange: Box<Exchange>,
    forward: Forward,
    running: Arc<Running>,
}

/// What came of the attempt before this one.
struct Before {
    failure: Failure,
    /// None of the request was sent.
    is_unsent: bool,
}

/// What came of one attempt.
#[expect(clippy::large_enum_variant, reason = "nearly all are answers, and live where they are made")]
enum Attempted {
    Answered(response::Parts, Source, Pace),
    /// None of it was sent.
    Unsent(Failure),
    /// The real server may have got it.
    Lost(Failure),
}

impl Sending {
    async fn run(mut self, letter: &mut Letter) -> Response<Outgoing> {
        let connection = Rc::clone(&self.exchange.connection);
        let running = Arc::clone(&self.running);
        let Some(policy) = &running.policy else { return own(self.exchange, None) };
        let service = &connection.service;
        let limit = running.config.http.as_ref().map_or(0, |http| usize::from(http.retries));
        service.budget.request(self.exchange.begun);
        let pool = running.pool(self.forward.pool.as_deref());
        let passive = running.config.proxy.passive_health.is_some();
        let mut tried: Vec<usize> = Vec::new();
        let mut before = None;
        loop {
            let asker = Asker { client: connection.ends.client, cookie: self.forward.cookie.as_deref(), rdp: None };
            let chosen = match choose(service, &running, pool, &asker, &tried).await {
                Ok(chosen) => chosen,
                Err(failure) => return self.fail(policy, failure, before),
            };
            if before.is_some() {
                service.counters.retries.fetch_add(1, Ordering::Relaxed);
                self.exchange.retries += 1;
            }
            let (at, entry) = (chosen.at, Arc::clone(&chosen.entry));
            self.exchange.chosen = Some(chosen);
            connection.watch.seat.reached(&entry.live);
            if let Some(url) = &entry.config.redirect
                && let Some(answer) = policy.server_redirect(url, &letter.head)
            {
                return own(self.exchange, Some(answer));
            }
            let again = tried.len() < limit && letter.is_repeatable();
            let attempted = self.attempt(policy, &entry, letter, again).await;
            let is_unsent = matches!(attempted, Attempted::Unsent(_));
            let failure = match attempted {
                Attempted::Answered(head, source, pace) => {
                    if passive {
                        tell(&entry, entry.live.answered(head.status.as_u16(), Instant::now()));
                    }
                    return self.forwarded(policy, head, source, pace);
                }
                Attempted::Unsent(failure) if tried.len() < limit => failure,
                // Who was waited for has had the time that the client was meant to wait.
                Attempted::Lost(failure)
                    if again && !matches!(failure, Failure::ClientTimeout | Failure::ServerTimeout) =>
                {
                    failure
                }
                Attempted::Unsent(failure) | Attempted::Lost(failure) => return self.fail(policy, failure, None),
            };
            if !service.budget.may_retry(Instant::now()) {
                return self.fail(policy, failure, None);
            }
            self.exchange.chosen = None;
            before = Some(Before { failure, is_unsent });
            tried.push(at);
        }
    }

    /// Connects, sends, and waits for the head of the answer. `copy`: it may be sent again.
    async fn attempt(&mut self, policy: &Policy, entry: &Arc<Entry>, letter: &mut Letter, copy: bool) -> Attempted {
        let connection = Rc::clone(&self.exchange.connection);
        let running = Arc::clone(&self.running);
        let timeouts = &running.config.proxy.timeouts;
        let fresh = !letter.is_repeatable();
        for _ in 0..STALE {
            let idle = &connection.local.idle;
            let ready = idle.ready(entry, &running, connection.ends, fresh, self.forward.upgrade);
            let (way, alarm) = match ready {
                Some(ready) => ready,
                None => {
                    let connecting = Instant::now();
                    let connected = idle.connect(entry, &running, connection.ends, self.forward.upgrade);
                    let connected = Box::pin(connected).await;
                    self.exchange.connecting += connecting.elapsed();
                    match connected {
                        Ok(connected) => connected,
                        Err(failure) => return Attempted::Unsent(failure),
                    }
                }
            };
            let limits = (timeouts.client, timeouts.server);
            let mut pace = Pace::new(Rc::clone(&letter.progress), limits, alarm);
            match way {
                Way::Alone(mut upstream) => {
                    let gate = letter.gate.clone();
                    let Some(body) = letter.body() else { return Attempted::Lost(Failure::ServerFailed) };
                    if policy.names_server() {
                        let mut named = letter.head.clone();
                        policy.named(&mut named, &self.forward, &connection.facts, &entry.config.name);
                        upstream.http.ask(&named, body, gate);
                    } else {
                        upstream.http.ask(&letter.head, body, gate);
                    }
                    let waited = Waited { http: &mut upstream.http, pace: &mut pace };
                    match waited.await {
                        Ok(answer) => {
                            let mut head = Response::new(()).into_parts().0;
                            (head.status, head.headers) = (answer.status, answer.headers);
                            let reason = answer.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok());
                            if let Some(reason) = reason {
                                head.extensions.insert(reason);
                            }
                            return Attempted::Answered(head, Source::Alone(upstream, answer.body), pace);
                        }
                        Err(Unanswered::Late(failure)) => return Attempted::Lost(failure),
                        Err(Unanswered::Broken(_)) if let Some(fault) = letter.progress.broken() => {
                            return Attempted::Lost(fault);
                        }
                        Err(Unanswered::Broken(Broken::Closed)) => match upstream.http.unsent() {
                            Some(body) => {
                                letter.returned(body);
                                // Its server had closed it while it waited: that says nothing of the server.
                                if !upstream.is_reused {
                                    return Attempted::Unsent(Failure::ServerFailed);
                                }
                            }
                            // As above, but found out too late. What may be sent twice is.
                            None if upstream.is_reused && copy => {}
                            None => return Attempted::Lost(Failure::ServerFailed),
                        },
                        Err(Unanswered::Broken(broken)) => return Attempted::Lost(broken.failure()),
                    }
                }
                Way::Shared { sender } => {
                    let attempted = self.attempt_shared(policy, entry, letter, sender, pace, copy);
                    if let Some(attempted) = Box::pin(attempted).await {
                        return attempted;
                    }
                }
            }
        }
        Attempted::Unsent(Failure::ServerFailed)
    }

    /// The same over HTTP/2. `None`: the connection was closed before; there may be another one.
    async fn attempt_shared(
        &mut self,
        policy: &Policy,
        entry: &Arc<Entry>,
        letter: &mut Letter,
        sender: http2::SendRequest<RequestBody>,
        mut pace: Pace,
        copy: bool,
    ) -> Option<Attempted> {
        let Some(body) = letter.body() else { return Some(Attempted::Lost(Failure::ServerFailed)) };
        let mut head = letter.head.clone();
        policy.named(&mut head, &self.forward, &self.exchange.connection.facts, &entry.config.name);
        if to_http2(&mut head, entry.tls.is_some()).is_err() {
            return Some(Attempted::Lost(Failure::BadRequest));
        }
        let request = expecting(Request::from_parts(head, body), letter.gate.as_ref());
        let mut answer = pin!(send_shared(sender, request));
        let answered = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Ok(answered)),
            Poll::Pending => pace.poll(cx).map_or(Poll::Pending, |late| Poll::Ready(Err(late))),
        });
        match answered.await {
            Ok(Ok(response)) => {
                let (head, incoming) = response.into_parts();
                Some(Attempted::Answered(head, Source::Shared(incoming), pace))
            }
            Err(late) => Some(Attempted::Lost(late)),
            Ok(Err(_)) if let Some(fault) = letter.progress.broken() => Some(Attempted::Lost(fault)),
            Ok(Err(mut error)) => match error.take_message() {
                Some(back) => {
                    letter.returned(Some(back.into_body()));
                    None
                }
                None if copy => None,
                None => Some(Attempted::Lost(Failure::ServerFailed)),
            },
        }
    }

    fn forwarded(self, policy: &Policy, mut head: response::Parts, source: Source, pace: Pace) -> Response<Outgoing> {
        let Self { mut exchange, forward, .. } = self;
        let connection = Rc::clone(&exchange.connection);
        if examine_answer(&head, forward.upgrade).is_err() {
            exchange.failed(Failure::ServerFailed);
            return own(exchange, Some(policy.error(StatusCode::BAD_GATEWAY)));
        }
        exchange.answers(head.status);
        let chosen = exchange.chosen.as_ref();
        let cookie = chosen.filter(|chosen| chosen.is_new).and_then(|chosen| chosen.entry.set_cookie.as_ref());
        let cookie = cookie.map(|[plain, secure]| if connection.facts.tls { secure } else { plain });
        let name = chosen.map(|chosen| chosen.entry.config.name.as_str());
        policy.response(&mut head, &forward, &connection.facts, name, cookie);
        head.version = Version::HTTP_11;
        if head.status == StatusCode::SWITCHING_PROTOCOLS
            && let Source::Alone(upstream, _) = source
        {
            connection.upgraded(Tunnel::new(exchange, *upstream, pace.cut_number()));
            return Response::from_parts(head, Outgoing::Tunnel);
        }
        Response::from_parts(head, Outgoing::Server(ServerBody::new(source, pace, exchange)))
    }

    /// `before`: what another real server has failed with.
    fn fail(self, policy: &Policy, failure: Failure, before: Option<Before>) -> Response<Outgoing> {
        let mut exchange = self.exchange;
        let nobody = failure == Failure::NoServer;
        // Nobody can be asked: the service may have something to say for that.
        let says = nobody && before.as_ref().is_none_or(|before| before.is_unsent);
        let fallback = if says { policy.fallback() } else { None };
        // That nobody else is there says less than why the one who was asked failed.
        let failure = before.filter(|_| nobody).map_or(failure, |before| before.failure);
        exchange.failed(failure);
        own(exchange, Some(fallback.unwrap_or_else(|| policy.error(status(failure)))))
    }
}

fn expecting(mut request: Request<RequestBody>, gate: Option<&Arc<Gate>>) -> Request<RequestBody> {
    if let Some(gate) = gate {
        let gate = Arc::clone(gate);
        hyper::ext::on_informational(&mut request, move |informational| {
            if informational.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
    request
}

/// Why there is no answer.
enum Unanswered {
    Broken(Broken),
    /// Somebody was silent for too long, or the real server is cut.
    Late(Failure),
}

/// Waits for an answer as long as something moves.
struct Waited<'a> {
    http: &'a mut Conversation,
    pace: &'a mut Pace,
}

impl Future for Waited<'_> {
    type Output = Result<Head, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.http.poll_head(cx) {
            Poll::Ready(answered) => Poll::Ready(answered.map_err(Unanswered::Broken)),
            Poll::Pending => self.pace.poll(cx).map_or(Poll::Pending, |late| Poll::Ready(Err(Unanswered::Late(late)))),
        }
    }
}
