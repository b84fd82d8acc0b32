//! Each request of the API, as the client asks it.

use lb_core::view::{
    ConnectionsQuery, EventsQuery, PersistenceCleared, PersistenceQuery, ReloadRequest, ReloadResult, StopReport,
    StopRequest,
};

use super::{Daemon, Limits, Reload, Script, certificates, everything, health, status};
use crate::api::{ClientError, Server};

fn daemon() -> Daemon {
    Daemon::start(Script::default(), Limits::default())
}

#[tokio::test]
async fn every_question_gets_its_answer() {
    let daemon = daemon();
    let client = daemon.client();
    let (connections, persistence) = everything();

    assert_eq!(client.status().await.unwrap(), status());
    assert_eq!(client.connections(&ConnectionsQuery::default()).await.unwrap(), connections);
    assert_eq!(client.persistence(&PersistenceQuery::default()).await.unwrap(), persistence);
    assert_eq!(client.effective_config().await.unwrap(), "version: 1\n");
    assert_eq!(client.health().await.unwrap(), health());
    assert_eq!(client.certificates().await.unwrap(), certificates());
    assert_eq!(client.metrics().await.unwrap(), "# TYPE lb_up gauge\nlb_up 1\n");
}

#[tokio::test]
async fn metrics_are_told_to_be_those_of_prometheus() {
    let answer = daemon().raw(b"GET /metrics HTTP/1.1\r\nHost: lbd\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
}

#[tokio::test]
async fn events_are_narrowed_by_their_query() {
    let daemon = daemon();
    let ids = async |query: EventsQuery| -> Vec<u64> {
        let events = daemon.client().events(&query).await.unwrap();
        assert_eq!((events.last, events.oldest), (8, 7));
        events.events.iter().map(|event| event.id).collect()
    };
    assert_eq!(ids(EventsQuery::default()).await, [7, 8]);
    assert_eq!(ids(EventsQuery { after: Some(7), ..EventsQuery::default() }).await, [8]);
    assert_eq!(ids(EventsQuery { server: Some("IMS1".into()), ..EventsQuery::default() }).await, [7]);
    assert_eq!(ids(EventsQuery { service: Some("none".into()), ..EventsQuery::default() }).await, [0; 0]);
}

#[tokio::test]
async fn a_reload_to_be_confirmed_is_confirmed_or_taken_back() {
    let daemon = Daemon::start(Script { pending: true, ..Script::default() }, Limits::default());
    let client = daemon.client();
    for seconds in [5, 3600] {
        let report = client.reload(ReloadRequest { confirm_within_seconds: Some(seconds) }).await.unwrap();
        assert_eq!(report.confirm_within_seconds, Some(seconds));
    }
    assert_eq!(client.confirm().await.unwrap().sentence, "the configuration stays in force");
    assert_eq!(client.rollback().await.unwrap().sentence, "the configuration before is in force again");
}

#[tokio::test]
async fn nothing_to_be_confirmed_is_a_conflict() {
    for path in ["confirm", "rollback"] {
        let request = format!("POST /v1/{path} HTTP/1.1\r\nHost: lbd\r\n\r\n");
        let answer = daemon().raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
        assert!(answer.ends_with("{\"error\":\"no configuration waits to be confirmed\"}"), "{answer}");
    }
}

#[tokio::test]
async fn a_time_to_confirm_is_neither_too_short_nor_too_long() {
    for seconds in [0, 4, 3601, u64::MAX] {
        let request = ReloadRequest { confirm_within_seconds: Some(seconds) };
        let error = daemon().client().reload(request).await.unwrap_err().to_string();
        assert_eq!(error, format!("confirm_within_seconds is {seconds}; it is a number from 5 to 3600"));
    }
}

#[tokio::test]
async fn a_query_arrives_as_it_was_meant() {
    let daemon = daemon();
    let named = ConnectionsQuery {
        service: Some("two words & more".into()),
        client: Some("10.0.0.0/24".parse().unwrap()),
        limit: 2,
        ..ConnectionsQuery::default()
    };
    let answer = daemon.client().connections(&named).await.unwrap();
    assert_eq!((answer.total, answer.shown), (3, 2));

    let one = PersistenceQuery { client: Some("172.26.11.2".parse().unwrap()), ..PersistenceQuery::default() };
    assert_eq!(daemon.client().persistence(&one).await.unwrap().total, 1);
    assert_eq!(
        daemon.client().clear_persistence(&one).await.unwrap(),
        PersistenceCleared { cleared: 1, by_cookie: Vec::new() }
    );
    let limited = PersistenceQuery { limit: 1, ..PersistenceQuery::default() };
    assert_eq!(
        daemon.client().clear_persistence(&limited).await.unwrap(),
        PersistenceCleared { cleared: 3, by_cookie: Vec::new() }
    );
}

#[tokio::test]
async fn a_reload_reports_what_it_came_to() {
    let applied = daemon().client().reload(ReloadRequest::default()).await.unwrap();
    assert_eq!((applied.result, applied.changes.len()), (ReloadResult::Applied, 1));

    let invalid = Daemon::start(Script { reload: Reload::Invalid, ..Script::default() }, Limits::default());
    let Err(ClientError::InvalidConfiguration(mistakes)) = invalid.client().reload(ReloadRequest::default()).await
    else {
        panic!("an invalid configuration was applied")
    };
    assert_eq!(mistakes.diagnostics[0]["code"], "E014");
    assert!(mistakes.rendered.starts_with("error[E014]"));
    let raw = invalid.raw(b"POST /v1/reload HTTP/1.1\r\nHost: lbd\r\n\r\n").await;
    assert!(raw.starts_with("HTTP/1.1 422 "), "{raw}");

    let failed = Daemon::start(Script { reload: Reload::Failed, ..Script::default() }, Limits::default());
    let error = failed.client().reload(ReloadRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read /etc/lb/lb.yaml: permission denied");
}

#[tokio::test]
async fn a_stop_is_answered_before_the_socket_goes() {
    let daemon = daemon();
    let report = daemon.client().stop(StopRequest { detach: true }).await.unwrap();
    assert_eq!(report, StopReport { detach: true });
    daemon.server.await.unwrap();
    assert!(!daemon.socket.exists());
    let error = super::Client::new(&daemon.socket).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning(_)), "{error}");
    assert!(error.to_string().contains("systemctl start lbd"), "{error}");
    drop(Server::bind(&daemon.socket, Limits::default()).unwrap());
}
