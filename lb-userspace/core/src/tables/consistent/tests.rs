use lb_common::abi::{
    MAX_PORT_RANGES, PortRange, PortRanges, PortRangesKey, SCHEDULE_PLACES, Server, ServerState, Service,
    ServicePortKey, VIP_FILTER_WORDS, schedule_word,
};

use super::consistent;
use crate::tables::Installed;

/// Two services, each with a server, a ring of three places and a turn.
fn good() -> Installed {
    let mut tables = Installed { schedule: vec![0; 4], ..Installed::default() };
    for id in [1_u32, 2] {
        let base = (id - 1) * 8;
        let service = Service {
            ring_base: base,
            ring_size: 3,
            turns_base: base + 4,
            turns_size: 1,
            mode: 1,
            ..Service::default()
        };
        tables.services.insert(id, service);
        let state = ServerState::Active as u8;
        tables.servers.insert(id, Server { state, mode: 1, weight: 1, ifindex: 1, service: id, ..Server::default() });
        tables.schedule[base as usize / 4] = schedule_word([id, id, id, 0]);
        tables.schedule[base as usize / 4 + 1] = schedule_word([id, 0, 0, 0]);
        tables.service_ports.insert(ServicePortKey { port: 80 + u16::from(id == 2), ..ServicePortKey::default() }, id);
    }
    tables
}

fn ranges(ranges: &[(u16, u16, u32)], count: usize) -> impl Fn(&mut Installed) {
    let mut entry = PortRanges { count: u32::try_from(count).unwrap_or(u32::MAX), ..PortRanges::default() };
    for (slot, (first, last, service)) in entry.ranges.iter_mut().zip(ranges) {
        *slot = PortRange { first: *first, last: *last, service: *service };
    }
    move |tables| {
        tables.port_ranges.insert(PortRangesKey::default(), entry);
    }
}

fn service(change: fn(&mut Service)) -> impl Fn(&mut Installed) {
    move |tables| tables.services.values_mut().take(1).for_each(change)
}

fn server(change: fn(&mut Server)) -> impl Fn(&mut Installed) {
    move |tables| tables.servers.values_mut().take(1).for_each(change)
}

#[test]
fn good_tables_pass() {
    assert_eq!(consistent(&Installed::default()), Ok(()));
    let mut tables = good();
    ranges(&[(1, 2, 1), (3, 9, 2)], 2)(&mut tables);
    assert_eq!(consistent(&tables), Ok(()));
}

#[test]
fn each_mistake_has_a_sentence() {
    type Mistake = Box<dyn Fn(&mut Installed)>;
    let cases: Vec<(Mistake, &str)> = vec![
        (Box::new(|t| _ = t.services.insert(1024, Service::default())), "service 1024 is outside"),
        (Box::new(|t| _ = t.servers.insert(0, Server::default())), "server 0 is outside"),
        (Box::new(|t| _ = t.filter.insert(VIP_FILTER_WORDS, 1)), "word 1024 of the VIP filter"),
        (Box::new(service(|s| s.ring_base = SCHEDULE_PLACES)), "service 1 points at 3 places from 4194304"),
        (Box::new(service(|s| s.ring_base = u32::MAX)), "service 1 points at 3 places"),
        (Box::new(service(|s| s.ring_base = 1)), "service 1 points at 3 places from 1 on"),
        (Box::new(service(|s| s.ring_base = 8)), "services 1 and 2 both point at place 8"),
        (Box::new(service(|s| s.turns_size = 5)), "services 1 and 2 overlap at place 8"),
        (Box::new(service(|s| s.ring_size = 5)), "services 1 and 1 overlap at place 4"),
        (Box::new(service(|s| s.ring_size = 4)), "service 1 schedules server 0, which has no entry"),
        (Box::new(service(|s| s.ring_size = 0)), "service 1 has turns and no ring"),
        (Box::new(service(|s| s.mode = 0)), "service 1 has no mode"),
        (Box::new(|t| t.schedule[3] = schedule_word([1; 4])), "service 2 schedules server 1 of service 1"),
        (Box::new(|t| t.schedule.truncate(3)), "service 2 schedules server 0, which has no entry"),
        (Box::new(server(|s| s.state = ServerState::Draining as u8)), "service 1 schedules server 1, which takes no"),
        (Box::new(server(|s| s.weight = 0)), "service 1 schedules server 1, which takes no"),
        (Box::new(server(|s| s.ifindex = 0)), "service 1 schedules server 1, which takes no"),
        (Box::new(|t| _ = t.services.remove(&2)), "ServicePortKey"),
        (Box::new(ranges(&[(1, 2, 3)], 1)), "PortRangesKey"),
        (Box::new(ranges(&[(2, 2, 1)], 1)), "PortRangesKey"),
        (Box::new(ranges(&[(4, 9, 1), (1, 2, 1)], 2)), "PortRangesKey"),
        (Box::new(ranges(&[(1, 4, 1), (4, 9, 1)], 2)), "PortRangesKey"),
        (Box::new(ranges(&[], 0)), "PortRangesKey"),
        (Box::new(ranges(&[], MAX_PORT_RANGES + 1)), "PortRangesKey"),
    ];
    for (number, (mistake, sentence)) in cases.into_iter().enumerate() {
        let mut tables = good();
        mistake(&mut tables);
        let found = consistent(&tables);
        assert!(found.as_ref().is_err_and(|found| found.starts_with(sentence)), "case {number}: {found:?}");
    }
}
