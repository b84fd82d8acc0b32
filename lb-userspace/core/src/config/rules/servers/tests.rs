use super::*;

fn range(first: u16, last: u16) -> PortRange {
    PortRange { first, last }
}

#[test]
fn real_servers_of_the_same_services_are_looked_at_once() {
    let mut crowds = Crowds::default();
    let mut looks = 0;
    for server in 0..200 {
        let others = if server < 150 { None } else { Some(8080) };
        let crowd: Crowd = (0..300).map(|index| (index, others)).collect();
        let clash = crowds.clash(crowd, |crowd| {
            looks += 1;
            crowd.iter().any(|(_, port)| port.is_some())
        });
        assert_eq!(clash, server >= 150);
    }
    assert_eq!(looks, 2);
}

#[test]
fn a_crowd_has_the_ports_of_its_services_once() {
    let ports = [vec![range(80, 80), range(443, 450)], vec![range(81, 81)], vec![]];
    let all = ranges(&[(1, None), (0, None), (0, None), (0, Some(9000)), (2, None), (2, Some(80))], &ports);
    assert_eq!(all, [range(80, 80), range(81, 81), range(443, 450), range(9000, 9000)]);
    assert!(!overlap(&all));
    assert!(overlap(&ranges(&[(0, None), (1, Some(445))], &ports)));
    assert!(!overlap(&ranges(&[(0, None), (1, Some(451))], &ports)));
}

#[test]
fn a_short_range_within_a_long_one_hides_nothing() {
    assert!(overlap(&[range(1, 100), range(200, 201), range(201, 300)]));
    assert!(overlap(&[range(1, 100), range(50, 51)]));
    assert_eq!(common(&[range(1, 100), range(2, 3)], &[range(50, 60)]), Some(50));
    assert_eq!(common(&[range(1, 2), range(1, 50), range(3, 4)], &[range(5, 5)]), Some(5));
    assert_eq!(common(&[range(1, 9), range(20, 30)], &[range(10, 19), range(11, 12), range(31, 40)]), None);
}
