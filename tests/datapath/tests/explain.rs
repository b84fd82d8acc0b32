//! The loaded program that explains beside the one that forwards: what the first says is what the
//! second does with the same frame, and being asked leaves no trace in any table. Needs root.

use std::collections::BTreeSet;

use lb_common::abi::{
    Address, Admission, Explanation, Flow, FlowKey, Fragment, FragmentKey, Opened, Persistence, PersistenceKey, Plain,
    PortRanges, PortRangesKey, Reply, Scheduler, Server, ServerCounters, ServerState, Service, ServicePortKey,
    Settings, VerdictCounters,
};
use lb_common::datapath::{Kind, Reason};
use lb_common::testing::{MemTables, OTHER_DEVICE, Scenario};
use lb_common::wire::protocol;
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::frames::{Dice, TCP_AND_UDP, VIPS, frame};
use lb_userspace::dataplane::program::TABLES;

/// Frames that are explained and then forwarded, between two looks at all tables.
const FORWARDED: usize = 10_000;
/// Frames that are only explained, between two looks.
const EXPLAINED: usize = 1_000;
const ROUNDS: usize = 5;

/// Services of every scheduler, and servers in every state.
fn tables() -> MemTables {
    let mut tables = MemTables::default();
    let vip = |i: usize| VIPS[i].parse().expect("a literal address");
    let media = [(554, 554), (1935, 1935), (50_000, 65_535)];
    let mut fewest = Scenario::new(vip(0), &media, &TCP_AND_UDP, Scheduler::WeightedLeastConnection, 4).persistent(300);
    fewest.client_mask = Address::v6([255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0xf0]);
    fewest.servers[1].ifindex = OTHER_DEVICE;
    fewest.servers[2].weight = 7;
    fewest.install(&mut tables, 1, 1, 0);

    let mut in_turn = Scenario::new(vip(1), &[(104, 104)], &[protocol::TCP], Scheduler::WeightedRoundRobin, 6);
    in_turn.servers[1].outer_vlan = 20;
    in_turn.servers[2].state = ServerState::Draining as u8;
    in_turn.servers[3].state = ServerState::Down as u8;
    in_turn.servers[4].ifindex = 0;
    (in_turn.servers[5].max_connections, in_turn.servers[5].min_connections) = (40, 10);
    in_turn.install(&mut tables, 2, 10, 16);

    let everything = [(1, 103), (104, 104), (105, 65_535)];
    Scenario::new(vip(2), &everything, &TCP_AND_UDP, Scheduler::Maglev, 5).install(&mut tables, 3, 20, 32);
    Scenario::new(vip(3), &[(443, 443)], &TCP_AND_UDP, Scheduler::SourceHash, 4).install(&mut tables, 4, 30, 48);
    Scenario::new(vip(3), &[(104, 104)], &TCP_AND_UDP, Scheduler::Maglev, 0).install(&mut tables, 5, 40, 64);

    // The flows of these are translated, and so are the packets of their servers.
    Scenario::new(vip(3), &[(554, 554)], &TCP_AND_UDP, Scheduler::WeightedRoundRobin, 2).nat().install(
        &mut tables,
        6,
        50,
        80,
    );
    let source = "192.168.94.40".parse().expect("a literal address");
    Scenario::new(vip(3), &[(1935, 1935)], &TCP_AND_UDP, Scheduler::WeightedLeastConnection, 3)
        .source_nat(1, source)
        .install(&mut tables, 7, 60, 96);
    tables
}

macro_rules! all_tables {
    ($($name:ident: $key:ty => $entry:ty, $read:ident;)+) => {
        /// What every table holds; those of one entry per CPU with all of them.
        #[derive(PartialEq)]
        struct Everything { $($name: Vec<($key, Vec<$entry>)>),+ }

        impl Everything {
            const NAMES: &[&str] = &[$(stringify!($name)),+];

            fn of(rig: &Rig) -> Self {
                Self { $($name: $read(rig, stringify!($name))),+ }
            }

            fn differences(&self, other: &Self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$name != other.$name { names.push(stringify!($name)); })+
                names
            }
        }
    };
}

all_tables! {
    settings: u32 => Settings, all;
    vip_filter: u32 => u64, all;
    flows: FlowKey => Flow, all;
    pending_flows: FlowKey => Flow, all;
    reply_filter: u32 => u64, all;
    replies: FlowKey => Reply, all;
    sources: u32 => Address, all;
    source_ports: u32 => u64, all;
    service_ports: ServicePortKey => u32, all;
    port_ranges: PortRangesKey => PortRanges, all;
    services: u32 => Service, all;
    servers: u32 => Server, all;
    schedule: u32 => u64, all;
    rotation: u32 => u32, all;
    persistence: PersistenceKey => Persistence, all;
    new_clients: PersistenceKey => Persistence, all;
    fragments: FragmentKey => Fragment, all;
    opened: u32 => Opened, all;
    closed: u32 => u64, all;
    admission: u32 => Admission, of_each_cpu;
    server_counters: u32 => ServerCounters, of_each_cpu;
    verdicts: u32 => VerdictCounters, of_each_cpu;
}

fn all<K: Plain + Default + Ord, V: Plain + Default>(rig: &Rig, name: &str) -> Vec<(K, Vec<V>)> {
    let entries = rig.entries::<K, V>(name).expect("a table that can be read");
    entries.into_iter().map(|(key, entry)| (key, vec![entry])).collect()
}

fn of_each_cpu<V: Plain + Default>(rig: &Rig, name: &str) -> Vec<(u32, Vec<V>)> {
    let table = rig.table::<u32, V>(name).expect("a table");
    let entry = |key| (key, table.get_all(&key).expect("reading").expect("an array has all its places"));
    (0..table.capacity()).map(entry).collect()
}

/// Frames to a server, or with a verdict, so far.
fn counted(rig: &Rig, told: &Explanation, reason: Reason) -> (u64, u64) {
    let table = rig.table::<u32, VerdictCounters>("verdicts").expect("the table");
    let verdicts = table.get_all(&u32::from(reason as u8)).expect("reading").unwrap_or_default();
    let server = rig.server_counters(told.server).expect("counters of a server");
    (verdicts.iter().map(|of| of.packets).sum(), server.packets)
}

fn reason(told: &Explanation) -> Reason {
    let reason = Reason::ALL.iter().find(|reason| u32::from(**reason as u8) == told.reason);
    *reason.expect("a reason that there is")
}

#[test]
fn what_is_explained_is_what_happens_and_no_table_changes() {
    let names = |of: &[&'static str]| of.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(names(Everything::NAMES), names(&TABLES), "every table is looked at");
    let mut rig = Rig::load("explain", Limits::default()).expect("loading the program");
    rig.fill(&tables()).expect("filling the tables");
    let mut dice = Dice::new(0x33);
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        for number in 0..FORWARDED {
            let frame = frame(&mut dice);
            let told = rig.explain(&frame).expect("explaining a frame");
            let reason = reason(&told);
            let (verdicts, packets) = counted(&rig, &told, reason);
            rig.run(&frame).expect("running the program");
            let delivered = u64::from(told.has(Explanation::DELIVERED));
            let after = counted(&rig, &told, reason);
            assert_eq!(after, (verdicts + 1, packets + delivered), "frame {number} of round {round}: {told:?}");
            assert_eq!(delivered == 1, reason.kind() == Kind::Forward, "{told:?}");
            seen.insert(reason.name());
        }
        let before = Everything::of(&rig);
        for _ in 0..EXPLAINED {
            rig.explain(&frame(&mut dice)).expect("explaining a frame");
        }
        let after = Everything::of(&rig);
        assert_eq!(before.differences(&after), [""; 0], "tables that differ after round {round}");
        let remembered =
            [before.flows.len(), before.pending_flows.len(), before.persistence.len(), before.replies.len()];
        assert!(remembered.iter().all(|entries| *entries > 0), "round {round}: {remembered:?}");
    }
    let expected =
        ["established", "pending", "scheduled", "persistent", "resumed", "fragment", "icmp-error", "no-service"];
    for name in expected.into_iter().chain(["no-server", "not-vip"]) {
        assert!(seen.contains(name), "no frame was {name}; seen: {seen:?}");
    }
    println!("{} frames did what was told, {} were only told: {seen:?}", ROUNDS * FORWARDED, ROUNDS * EXPLAINED);
}
