//! What is open when connections are over.

use std::fs;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::yield_now;

use super::{PATIENT, Pattern, relayed};
use crate::proxy::relay::pipe::{self, Pipe};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn connections_leave_no_descriptor_and_few_pipes() {
    let before = open_descriptors();
    let pattern = &Pattern::new(8);
    let connections = (0..20).map(async |_| {
        let (mut client, mut server, relay) = relayed(b"", PATIENT).await;
        let send = async move {
            pattern.send(&mut client, 4 << 20).await;
            client.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        };
        // The server's end is closed when all has come, which ends the relay.
        let receive = async move { pattern.receive(&mut server).await };
        let ((), bytes, _) = tokio::join!(send, receive, relay);
        assert_eq!(bytes, 4 << 20);
    });
    join_all(connections).await;
    let (open, free) = pipe::counts();
    assert!(open > 0, "bulk was not spliced");
    assert_eq!(open, free, "a pipe is neither in use nor free");
    assert!(free <= pipe::MOST_FREE);
    assert_eq!(open_descriptors(), before + 2 * free);
}

#[tokio::test]
async fn relays_that_are_given_up_in_the_middle_leave_no_descriptor() {
    let before = open_descriptors();
    let pattern = &Pattern::new(9);
    for _ in 0..40 {
        let (mut client, server, relay) = relayed(b"", PATIENT).await;
        // Nobody reads: bytes lie in a pipe when the relay is dropped.
        let send = async {
            loop {
                client.write_all(pattern.at(0, 1 << 20)).await.unwrap();
            }
        };
        let held = async {
            while pipe::counts().0 == pipe::counts().1 {
                yield_now().await;
            }
        };
        tokio::select! {
            () = held => {}
            ended = relay => panic!("{ended:?}"),
            () = send => {}
        }
        drop(server);
    }
    let (open, free) = pipe::counts();
    assert_eq!(open, free);
    assert_eq!(open_descriptors(), before + 2 * free);
}

#[test]
fn a_thread_has_a_bounded_number_of_pipes_and_uses_them_again() {
    let mut pipes: Vec<Pipe> = std::iter::from_fn(Pipe::take).take(pipe::MOST + 1).collect();
    assert_eq!(pipes.len(), pipe::MOST);
    pipes.pop().unwrap().give_back();
    assert_eq!(pipe::counts(), (pipe::MOST, 1));
    pipes.push(Pipe::take().unwrap());
    pipes.into_iter().for_each(Pipe::give_back);
    assert_eq!(pipe::counts(), (pipe::MOST_FREE, pipe::MOST_FREE));
}
