//! `status --watch`, ended by the test instead of Ctrl-C.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_core::view::{Status, StopRequest};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{no_terminal, small_terminal};
use crate::api::tests::{Daemon, Directory, Script, status};
use crate::api::{Client, ClientError, Limits};
use crate::cli::exit::Failure;
use crate::cli::watch;

/// Far above what anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(1);

/// Keeps what is written and tells when a text has been written so many times.
#[derive(Clone)]
struct Screen {
    text: Arc<Mutex<Vec<u8>>>,
    awaited: (&'static str, usize),
    seen: Arc<Notify>,
}

impl Screen {
    fn until(text: &'static str, times: usize) -> Self {
        Self { text: Arc::default(), awaited: (text, times), seen: Arc::default() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().extend_from_slice(bytes);
        if self.text().matches(self.awaited.0).count() >= self.awaited.1 {
            self.seen.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_terminal_is_redrawn_in_place_and_given_back() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let client = daemon.client();
    let mut screen = Screen::until("\x1b[H", 3);
    let seen = Arc::clone(&screen.seen);
    let stop = async move { seen.notified().await };
    let watching = watch::run(&client, &mut screen, SOON, false, small_terminal, stop);
    timeout(PATIENCE, watching).await.unwrap().unwrap();

    let text = screen.text();
    assert!(text.starts_with("\x1b[?1049h\x1b[?7l\x1b[?25l\x1b[H"), "{text:?}");
    let (pictures, after) = text.split_once("\x1b[?25h\x1b[?7h\x1b[?1049l").unwrap();
    assert_eq!(pictures.matches("\x1b[H").count(), 3);
    assert!(after.contains("No virtual service is configured."), "the last picture was not left: {after:?}");
}

#[tokio::test]
async fn json_is_one_line_each_time() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let client = daemon.client();
    let mut screen = Screen::until("\n", 2);
    let seen = Arc::clone(&screen.seen);
    let stop = async move { seen.notified().await };
    let watching = watch::run(&client, &mut screen, SOON, true, small_terminal, stop);
    timeout(PATIENCE, watching).await.unwrap().unwrap();
    let lines: Vec<Status> = screen.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [status(), status()]);
}

#[tokio::test]
async fn a_daemon_that_goes_away_is_shown_and_asked_again() {
    let daemon = Daemon::start(Script::default(), Limits::default());
    let client = daemon.client();
    let mut screen = Screen::until("lbd is not running", 2);
    let seen = Arc::clone(&screen.seen);
    let stop = async move {
        daemon.client().stop(StopRequest::default()).await.unwrap();
        seen.notified().await;
    };
    timeout(PATIENCE, watch::run(&client, &mut screen, SOON, false, no_terminal, stop)).await.unwrap().unwrap();
    assert!(screen.text().starts_with("lb1 "), "{}", screen.text());
}

#[tokio::test]
async fn a_daemon_that_was_never_there_is_an_error() {
    let directory = Directory::new();
    let mut screen = Screen::until("", 0);
    let client = Client::new(&directory.socket());
    let ended = watch::run(&client, &mut screen, SOON, false, small_terminal, std::future::pending()).await;
    assert!(matches!(ended, Err(Failure::Client(ClientError::NotRunning(_)))));
    assert_eq!(screen.text(), "");
}
