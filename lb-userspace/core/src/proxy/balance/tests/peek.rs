//! Who only asks sees what is chosen next, and changes nothing.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn any_member() -> impl Strategy<Value = (u16, bool, bool, bool, u32, u32, bool)> {
    (0u16..3, any::<bool>(), any::<bool>(), any::<bool>(), 0u32..4, 0u32..4, any::<bool>())
}

proptest! {
    #[test]
    fn what_is_peeked_at_is_what_is_chosen_next(
        scheduler in select(SCHEDULERS.to_vec()),
        members in proptest::collection::vec(any_member(), 1..6),
        clients in proptest::collection::vec((any::<u64>(), any::<u64>(), 0usize..4), 1..30),
    ) {
        let now = Instant::now();
        let members = (1..).zip(members).map(|(number, (weight, serves, takes_new, is_backup, max, connections, suspect))| {
            let member = Member {
                weight,
                serves,
                takes_new: takes_new && serves,
                role: if is_backup { Role::Backup } else { Role::Regular },
                min_connections: max / 2,
                max_connections: max,
                ..member(number)
            };
            member.server.connections.store(connections, Relaxed);
            member.server.suspect.store(suspect, Relaxed);
            member
        });
        let members: Vec<_> = members.collect();
        let balancer = Balancer::new(scheduler, members.len(), members);
        for (flow, client, peeks) in clients {
            let full = |balancer: &Balancer<_>| balancer.full.iter().map(|full| full.load(Relaxed)).collect::<Vec<_>>();
            let before = full(&balancer);
            let place = |pick: Pick<'_, Arc<Real>>| match pick {
                Pick::Server { at, .. } => Ok(at),
                Pick::Full => Err(true),
                Pick::Nobody => Err(false),
            };
            let peeked: Vec<_> = (0..=peeks).map(|_| place(balancer.peek(flow, client, now))).collect();
            let would: Vec<_> = (0..balancer.members().len()).map(|at| balancer.would_admit(at, now)).collect();
            prop_assert_eq!(full(&balancer), before, "somebody was noted as full");
            let chosen = place(balancer.choose(flow, client, &[], now));
            prop_assert!(peeked.iter().all(|peeked| *peeked == chosen), "{:?} {:?}", peeked, chosen);
            let admitted: Vec<_> = (0..would.len()).map(|at| balancer.admit(at, now).is_some()).collect();
            prop_assert_eq!(would, admitted);
            if let Ok(at) = chosen {
                balancer.members()[at].server.connections.fetch_add(1, Relaxed);
            }
        }
    }
}

#[test]
fn who_only_asks_gives_no_suspect_a_try() {
    let members = vec![member(1), member(2)];
    members[0].server.too_late.store(true, Relaxed);
    members[1].server.too_late.store(true, Relaxed);
    let balancer = pool(WeightedRoundRobin, members);
    for _ in 0..4 {
        assert!(matches!(balancer.peek(0, 0, Instant::now()), Pick::Server { at: 0, .. }));
    }
    assert!(balancer.members().iter().all(|member| !member.server.suspect.load(Relaxed)), "somebody was claimed");
}
