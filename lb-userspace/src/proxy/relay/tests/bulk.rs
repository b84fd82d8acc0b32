//! Much at once, and whatever sizes and orders.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::{PATIENT, Pattern, relayed};
use crate::proxy::relay::How;

#[tokio::test]
async fn a_hundred_megabytes_go_both_ways_at_once() {
    const BYTES: usize = 100 << 20;
    let (client, server, relay) = relayed(b"", PATIENT).await;
    let (up, down) = (Pattern::new(1), Pattern::new(2));
    let side = async |mut socket: TcpStream, says: &Pattern, hears: &Pattern| {
        let (mut read, mut write) = socket.split();
        let send = async {
            says.send(&mut write, BYTES).await;
            write.shutdown().await.unwrap();
        };
        tokio::join!(send, hears.receive(&mut read)).1
    };
    let (at_client, at_server, ended) = tokio::join!(side(client, &down, &up), side(server, &up, &down), relay);
    assert_eq!((at_client, at_server), (BYTES, BYTES));
    assert_eq!((ended.to_server, ended.to_client), (BYTES as u64, BYTES as u64));
    assert!(matches!(ended.how, How::Done), "{:?}", ended.how);
}

/// What one side does.
#[derive(Clone, Debug)]
struct Plan {
    /// Sizes of what it writes; after each it lets the others run so many times.
    writes: Vec<(usize, u8)>,
    /// How much it reads at a time.
    reads: usize,
    /// It begins to read when it has written all.
    reads_late: bool,
    /// It writes nothing before it has read all.
    writes_late: bool,
}

impl Plan {
    fn bytes(&self) -> usize {
        self.writes.iter().map(|(size, _)| size).sum()
    }

    async fn run(&self, mut socket: TcpStream, says: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = socket.split();
        let mut heard = Vec::new();
        let send = async {
            let mut rest = says;
            for (size, pauses) in &self.writes {
                let (piece, after) = rest.split_at(*size);
                write.write_all(piece).await.unwrap();
                rest = after;
                for _ in 0..*pauses {
                    yield_now().await;
                }
            }
            write.shutdown().await.unwrap();
        };
        let receive = async {
            let mut buffer = vec![0; self.reads];
            loop {
                match read.read(&mut buffer).await.unwrap() {
                    0 => break,
                    bytes => heard.extend_from_slice(&buffer[..bytes]),
                }
            }
        };
        match (self.reads_late, self.writes_late) {
            (true, _) => {
                send.await;
                receive.await;
            }
            (false, true) => {
                receive.await;
                send.await;
            }
            (false, false) => {
                tokio::join!(send, receive);
            }
        }
        heard
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let size = prop_oneof![0..100_usize, 1000..5000_usize, 60_000..70_000_usize, 100_000..400_000_usize];
    let reads = prop_oneof![1..50_usize, 1000..10_000_usize, Just(256 * 1024)];
    (vec((size, 0..4_u8), 0..12), reads, any::<bool>(), any::<bool>())
        .prop_map(|(writes, reads, reads_late, writes_late)| Plan { writes, reads, reads_late, writes_late })
}

/// Plans under which nobody waits for the other for ever: what one side holds back, the sockets have to hold.
fn plans() -> impl Strategy<Value = (Plan, Plan)> {
    (plan(), plan()).prop_map(|(mut client, mut server)| {
        server.writes_late &= !client.writes_late;
        // Who reads late is stuck with a peer that reads late too, when both write more than fits.
        server.reads_late &= !client.reads_late;
        client.writes_late &= !server.reads_late;
        server.writes_late &= !client.reads_late;
        (client, server)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn both_sides_get_what_the_other_has_sent((client_plan, server_plan) in plans()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (up, down) = (Pattern::new(3), Pattern::new(4));
        let says = |pattern: &Pattern, bytes: usize| pattern.0.iter().copied().cycle().take(bytes).collect::<Vec<u8>>();
        let (question, answer) = (says(&up, client_plan.bytes()), says(&down, server_plan.bytes()));
        let (at_client, at_server, ended) = runtime.block_on(async {
            let (client, server, relay) = relayed(b"", PATIENT).await;
            tokio::join!(client_plan.run(client, &question), server_plan.run(server, &answer), relay)
        });
        prop_assert!(at_server == question, "the real server got other bytes");
        prop_assert!(at_client == answer, "the client got other bytes");
        prop_assert_eq!((ended.to_server, ended.to_client), (question.len() as u64, answer.len() as u64));
        prop_assert!(matches!(ended.how, How::Done), "{:?}", ended.how);
    }
}
