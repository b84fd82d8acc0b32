//! Random calls against one map without shards.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Call {
    Find(u64),
    Peek(u64),
    Remember(u64, u32),
    Touch(u64, u32),
    ForgetServer(u32),
    ForgetBelow(u64),
    Sweep,
    Wait(u32),
}

fn call() -> impl Strategy<Value = Call> {
    let (client, server) = (0..40_u64, 0..4_u32);
    prop_oneof![
        6 => client.clone().prop_map(Call::Find),
        2 => client.clone().prop_map(Call::Peek),
        9 => (client.clone(), server.clone()).prop_map(|(client, server)| Call::Remember(client, server)),
        4 => (client.clone(), server.clone()).prop_map(|(client, server)| Call::Touch(client, server)),
        1 => server.prop_map(Call::ForgetServer),
        1 => client.prop_map(Call::ForgetBelow),
        1 => Just(Call::Sweep),
        4 => (0..200_u32).prop_map(Call::Wait),
    ]
}

/// What is kept of a client: the real server, since when, when it was used.
type Model = BTreeMap<u64, (u32, Instant, Instant)>;

fn is_over(used: Instant, now: Instant) -> bool {
    now - used > TIMEOUT
}

proptest! {
    #[test]
    fn while_there_is_room_nothing_differs_from_a_map(calls in prop::collection::vec(call(), 1..200)) {
        // Two thousand for each of several shards: nobody has to make room.
        let clients = clients(8 * 2048);
        prop_assert!(clients.shards.len() > 4);
        let mut model = Model::new();
        let mut now = Instant::now();
        for call in calls {
            match call {
                Call::Find(client) => {
                    let kept = model.get(&client).copied().filter(|(_, _, used)| !is_over(*used, now));
                    prop_assert_eq!(clients.find(token(client), now), kept.map(|(server, ..)| server));
                    match kept {
                        Some((server, created, _)) => drop(model.insert(client, (server, created, now))),
                        None => drop(model.remove(&client)),
                    }
                }
                Call::Peek(client) => {
                    let kept = model.get(&client).filter(|(_, _, used)| !is_over(*used, now));
                    prop_assert_eq!(clients.peek(token(client), now), kept.map(|(server, ..)| *server));
                }
                Call::Remember(client, server) => {
                    clients.remember(token(client), server, now);
                    let same = model.get(&client).filter(|(was, _, used)| *was == server && !is_over(*used, now));
                    let created = same.map_or(now, |(_, created, _)| *created);
                    model.insert(client, (server, created, now));
                }
                Call::Touch(client, server) => {
                    let kept = model.get_mut(&client).filter(|(was, ..)| *was == server);
                    prop_assert_eq!(clients.touch(token(client), server, now), kept.is_some());
                    if let Some((_, _, used)) = kept {
                        *used = now;
                    }
                }
                Call::ForgetServer(server) => {
                    let before = model.len();
                    model.retain(|_, (kept, ..)| *kept != server);
                    prop_assert_eq!(clients.forget_server(server), before - model.len());
                }
                Call::ForgetBelow(limit) => {
                    let before = model.len();
                    model.retain(|client, _| *client >= limit);
                    prop_assert_eq!(clients.forget_if(|client, _| *client < token(limit)), before - model.len());
                }
                Call::Sweep => {
                    model.retain(|_, (_, _, used)| !is_over(*used, now));
                    let mut counts = HashMap::new();
                    for (server, ..) in model.values() {
                        *counts.entry(*server).or_insert(0) += 1;
                    }
                    prop_assert_eq!(clients.sweep(now), counts);
                }
                Call::Wait(seconds) => now += Duration::from_secs(seconds.into()),
            }
            prop_assert_eq!(clients.len(), model.len());
        }
        let listed: BTreeSet<_> = clients.list(now).into_iter().collect();
        let valid = model.into_iter().filter(|(_, (_, _, used))| !is_over(*used, now));
        prop_assert_eq!(listed, valid.map(|(client, (server, made, used))| (token(client), server, now - made, now - used)).collect());
        prop_assert_eq!(clients.evicted(), 0);
    }

    #[test]
    fn nothing_grows_beyond_its_bound_and_whoever_makes_room_is_counted(
        capacity in 1..30_usize, calls in prop::collection::vec(call(), 1..200),
    ) {
        let clients = clients(capacity);
        let (mut now, mut made, mut gone) = (Instant::now(), 0_u64, 0);
        // Who was remembered last: a record may be missing, but it never names another real server.
        let mut last = BTreeMap::new();
        for call in calls {
            let before = clients.len();
            match call {
                Call::Find(client) => {
                    let found = clients.find(token(client), now);
                    prop_assert!(found.is_none() || found.as_ref() == last.get(&client));
                    gone += before - clients.len();
                }
                Call::Peek(client) | Call::Touch(client, _) => {
                    let found = clients.peek(token(client), now);
                    prop_assert!(found.is_none() || found.as_ref() == last.get(&client));
                }
                Call::Remember(client, server) => {
                    let known = clients.list(now).iter().any(|(key, ..)| *key == token(client));
                    let evicted = clients.evicted();
                    clients.remember(token(client), server, now);
                    prop_assert!(clients.len() <= capacity);
                    prop_assert_eq!(clients.peek(token(client), now), Some(server));
                    prop_assert!(!known || clients.evicted() == evicted, "who is known needs no room");
                    made += (clients.len() - before) as u64 + (clients.evicted() - evicted);
                    last.insert(client, server);
                }
                Call::ForgetServer(server) => gone += clients.forget_server(server),
                Call::ForgetBelow(limit) => gone += clients.forget_if(|client, _| *client < token(limit)),
                Call::Sweep => {
                    let counts = clients.sweep(now);
                    gone += before - counts.values().sum::<usize>();
                }
                Call::Wait(seconds) => now += Duration::from_secs(seconds.into()),
            }
            prop_assert_eq!((clients.len() + gone) as u64 + clients.evicted(), made);
        }
    }
}
