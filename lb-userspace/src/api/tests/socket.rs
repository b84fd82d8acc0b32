//! The socket in the file system.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::{Directory, Limits};
use crate::api::{BindError, Client, ClientError, Server};

#[tokio::test]
async fn only_the_owner_may_connect_and_anyone_may_look() {
    let directory = Directory::new();
    let socket = directory.socket();
    let _server = Server::bind(&socket, Limits::default()).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()), 0o755);
}

#[tokio::test]
async fn a_second_daemon_is_told_that_one_runs() {
    let directory = Directory::new();
    let socket = directory.socket();
    let first = Server::bind(&socket, Limits::default()).unwrap();
    let error = Server::bind(&socket, Limits::default()).unwrap_err();
    let sentence = error.to_string();
    assert!(sentence.starts_with(&format!("lbd is already running (socket {}); ", socket.display())), "{sentence}");
    assert!(socket.exists(), "the second daemon took the first one's socket");
    drop(first);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_of_a_dead_daemon_is_replaced() {
    let directory = Directory::new();
    let socket = directory.socket();
    std::fs::create_dir(socket.parent().unwrap()).unwrap();
    // std leaves the file behind, as a killed process does.
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let error = Client::new(&socket).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning(_)), "{error}");

    let _server = Server::bind(&socket, Limits::default()).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
}

#[tokio::test]
async fn a_socket_that_another_program_listens_on_is_left_alone() {
    let directory = Directory::new();
    let socket = directory.socket();
    std::fs::create_dir(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(Server::bind(&socket, Limits::default()), Err(BindError::AlreadyRunning(_))));
    drop(listener);
    assert!(socket.exists());
}

#[tokio::test]
async fn a_file_in_the_way_is_left_alone() {
    let directory = Directory::new();
    let socket = directory.socket();
    std::fs::create_dir(socket.parent().unwrap()).unwrap();
    std::fs::write(&socket, "dear diary").unwrap();
    let error = Server::bind(&socket, Limits::default()).unwrap_err();
    assert!(matches!(error, BindError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "dear diary");
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_an_error() {
    let directory = Directory::new();
    let socket = directory.socket().with_file_name("x".repeat(120));
    let error = Server::bind(&socket, Limits::default()).unwrap_err();
    assert!(matches!(error, BindError::TooLong(_)) && error.to_string().contains("at most 107"), "{error}");
    assert!(!socket.parent().unwrap().exists(), "nothing is made for it");
}
