//! Sides that reset their connection, or go away too early.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENT, Pattern, relayed};
use crate::proxy::relay::How;

fn reset(socket: TcpStream) {
    socket.set_zero_linger().unwrap();
    drop(socket);
}

/// Reads until the connection is over: how many bytes, and with which error.
async fn read_all(mut socket: TcpStream) -> (usize, Option<ErrorKind>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) => return (bytes, None),
            Ok(read) => bytes += read,
            Err(error) => return (bytes, Some(error.kind())),
        }
    }
}

#[tokio::test]
async fn a_client_that_resets_is_told_from_one_that_closes() {
    let (mut client, server, relay) = relayed(b"", PATIENT).await;
    let client = async move {
        client.write_all(b"half a mess").await.unwrap();
        reset(client);
    };
    let ((), (_, error), ended) = tokio::join!(client, read_all(server), relay);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    assert!(matches!(&ended.how, How::ClientFailed(error) if error.kind() == ErrorKind::ConnectionReset), "{ended:?}");
}

#[tokio::test]
async fn a_real_server_that_resets_is_told_from_one_that_closes() {
    let (client, mut server, relay) = relayed(b"", PATIENT).await;
    let server = async move {
        server.write_all(b"half a mess").await.unwrap();
        reset(server);
    };
    let ((), (_, error), ended) = tokio::join!(server, read_all(client), relay);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    assert!(matches!(&ended.how, How::ServerFailed(error) if error.kind() == ErrorKind::ConnectionReset), "{ended:?}");
}

/// The other side reads all the while; bulk is spliced by then.
#[tokio::test]
async fn a_reset_in_the_middle_of_bulk_is_a_reset_on_the_other_side() {
    let pattern = Pattern::new(5);
    for client_sends in [true, false] {
        let (client, server, relay) = relayed(b"", PATIENT).await;
        let (mut sender, receiver) = if client_sends { (client, server) } else { (server, client) };
        let send = async {
            pattern.send(&mut sender, 20 << 20).await;
            reset(sender);
        };
        let ((), (bytes, error), ended) = tokio::join!(send, read_all(receiver), relay);
        assert!(bytes <= 20 << 20);
        assert_eq!(error, Some(ErrorKind::ConnectionReset));
        match ended.how {
            How::ClientFailed(_) if client_sends => assert!(ended.to_server >= bytes as u64),
            How::ServerFailed(_) if !client_sends => assert!(ended.to_client >= bytes as u64),
            how => panic!("{how:?}"),
        }
    }
}

#[tokio::test]
async fn a_receiver_that_resets_in_the_middle_of_bulk_stops_the_sender() {
    let pattern = Pattern::new(6);
    for client_receives in [true, false] {
        let (client, server, relay) = relayed(b"", PATIENT).await;
        let (mut sender, mut receiver) = if client_receives { (server, client) } else { (client, server) };
        let pattern = &pattern;
        let send = async move {
            let mut sent = 0;
            loop {
                match sender.write(pattern.at(sent, 64 * 1024)).await {
                    Ok(bytes) => sent += bytes,
                    Err(error) => return error.kind(),
                }
            }
        };
        let receive = async move {
            let mut buffer = vec![0; 8 << 20];
            receiver.read_exact(&mut buffer).await.unwrap();
            reset(receiver);
        };
        let (error, (), ended) = tokio::join!(send, receive, relay);
        assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        match ended.how {
            How::ClientFailed(_) if client_receives => {}
            How::ServerFailed(_) if !client_receives => {}
            how => panic!("{how:?}"),
        }
    }
}

/// As a server does that refuses an upload: it answers and closes while the client still sends, which makes the
/// kernel reset the connection behind the answer.
#[tokio::test]
async fn an_answer_before_an_early_close_still_reaches_the_client() {
    let (mut client, mut server, relay) = relayed(b"", PATIENT).await;
    let server = async move {
        let mut first = [0; 1024];
        server.read_exact(&mut first).await.unwrap();
        server.write_all(b"too large").await.unwrap();
        // Bytes of the client are unread.
        server.readable().await.unwrap();
        drop(server);
    };
    let client = async move {
        client.write_all(&[7; 200 * 1024]).await.unwrap();
        let mut answer = [0; 9];
        client.read_exact(&mut answer).await.unwrap();
        answer
    };
    let ((), answer, ended) = tokio::join!(server, client, relay);
    assert_eq!(&answer, b"too large");
    assert!(matches!(ended.how, How::ServerFailed(_)), "{ended:?}");
}

#[tokio::test]
async fn a_client_that_is_gone_before_it_begins_leaves_the_real_server_alone() {
    let (client, server, relay) = relayed(b"", PATIENT).await;
    drop(client);
    let (_, ended) = tokio::join!(async move { assert_eq!(read_all(server).await, (0, None)) }, relay);
    assert_eq!((ended.to_server, ended.to_client), (0, 0));
    assert!(matches!(ended.how, How::Done), "{ended:?}");
}
