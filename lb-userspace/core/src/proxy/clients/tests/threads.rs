//! Several threads at once.

use std::thread;

use super::*;

#[test]
fn threads_that_meet_at_the_same_clients_lose_and_mix_up_nothing() {
    let clients = clients(4096);
    let begin = Instant::now();
    // Each client only ever has one real server, so whatever is found must be that one.
    let server = |client: u64| (client % 5) as u32;
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let clients = &clients;
            scope.spawn(move || {
                for step in 0..20_000_u64 {
                    let now = begin + Duration::from_millis(step);
                    let client = (step * 7 + u64::from(thread) * 13) % 10_000;
                    match step % 8 {
                        0..4 => clients.remember(token(client), server(client), now),
                        4 => drop(clients.touch(token(client), server(client), now)),
                        _ => {
                            let found = clients.find(token(client), now);
                            assert!(found.is_none_or(|found| found == server(client)), "client {client}");
                        }
                    }
                    if step % 5000 == u64::from(thread) {
                        clients.forget_server(thread);
                        assert!(clients.sweep(now).values().sum::<usize>() <= 4096);
                    }
                }
            });
        }
    });
    let now = begin + Duration::from_secs(20);
    assert!(clients.evicted() > 0, "ten thousand clients do not fit");
    let list = clients.list(now);
    let keys: BTreeSet<Key> = list.iter().map(|(client, ..)| *client).collect();
    assert_eq!((keys.len(), clients.len()), (list.len(), list.len()), "each client once");
    assert!(list.len() <= 4096);
    for (client, kept, ..) in list {
        let Key::Token(number) = client else { panic!("only tokens were remembered") };
        assert_eq!((kept, clients.peek(client, now)), (server(number), Some(kept)));
    }
}

#[test]
fn new_clients_of_several_threads_are_all_there() {
    let clients = clients(100_000);
    let now = Instant::now();
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let clients = &clients;
            scope.spawn(move || {
                for number in 0..5000 {
                    clients.remember(token(number * 4 + u64::from(thread)), thread, now);
                }
            });
        }
    });
    assert_eq!(clients.sweep(now), HashMap::from([(0, 5000), (1, 5000), (2, 5000), (3, 5000)]));
    assert!((0..20_000).all(|number| clients.peek(token(number), now) == Some((number % 4) as u32)));
}
