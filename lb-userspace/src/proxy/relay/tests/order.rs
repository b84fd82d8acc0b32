//! What both sides see when all is well: every byte in order, and each end at its place.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{PATIENT, relayed};
use crate::proxy::relay::How;

#[tokio::test]
async fn a_question_is_answered_and_both_ends_are_closed_in_order() {
    let (mut client, mut server, relay) = relayed(b"", PATIENT).await;
    let client = async move {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let server = async move {
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        // The client's direction is closed by now; this one goes on.
        server.write_all(b"the answer").await.unwrap();
        question
    };
    let (answer, question, ended) = tokio::join!(client, server, relay);
    assert_eq!((question.as_slice(), answer.as_slice()), (&b"question"[..], &b"the answer"[..]));
    assert_eq!((ended.to_server, ended.to_client), (8, 10));
    assert!(matches!(ended.how, How::Done), "{:?}", ended.how);
}

#[tokio::test]
async fn what_was_read_before_goes_first() {
    let (mut client, mut server, relay) = relayed(b"first, ", PATIENT).await;
    let client = async move {
        client.write_all(b"then").await.unwrap();
        drop(client);
    };
    let server = async move {
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        all
    };
    let ((), all, ended) = tokio::join!(client, server, relay);
    assert_eq!(all, b"first, then");
    assert_eq!(ended.to_server, 11);
}
