//! The traced program tells of a client's frames, of all of them and of no others, what the datapath did
//! with them; and does to every frame what the other program does. Needs root.

use std::net::IpAddr;
use std::path::PathBuf;

use aya::{TestRun, TestRunOptions};
use lb_common::abi::{
    Address, Scheduler, TRACE_RING_BYTES, TRACED_BYTES, TRACED_PER_TICK, TraceAction, TraceEvent, TraceFilter,
};
use lb_common::datapath::Reason;
use lb_common::testing::{DEVICE, MemTables, OTHER_DEVICE, PacketBuilder, Scenario};
use lb_common::trace::concerns;
use lb_common::wire::{ethernet, protocol, tcp};
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;
use lb_datapath_tests::frames::{self, Dice, VIPS};
use lb_userspace::dataplane::Program;

const EVERYBODY: TraceFilter = TraceFilter { client: Address { octets: [0; 16] }, mask: Address { octets: [0; 16] } };

fn only(client: &str) -> TraceFilter {
    let client = Address::from(client.parse::<IpAddr>().expect("a literal address"));
    TraceFilter { client, mask: Address::v6([0xff; 16]) }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

/// A service of two servers, the second behind another interface and a tag.
fn tables() -> MemTables {
    let mut tables = MemTables::default();
    let mut web = Scenario::new(
        address(VIPS[0]),
        &[(443, 443)],
        &[protocol::TCP, protocol::UDP],
        Scheduler::WeightedRoundRobin,
        2,
    );
    web.servers[1].ifindex = OTHER_DEVICE;
    web.servers[1].outer_vlan = 20;
    web.install(&mut tables, 1, 10, 0);
    Scenario::new(address(VIPS[1]), &[(104, 104)], &[protocol::TCP], Scheduler::Maglev, 0).install(
        &mut tables,
        2,
        20,
        16,
    );
    tables
}

/// Runs a program over a frame; what it returns, and the frame afterwards.
fn run(program: &mut Program, frame: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
    let result = program.xdp().expect("the program").test_run(options).expect("running it");
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// What an event says of the frame, without what is undefined.
fn told(event: &TraceEvent) -> (Vec<u8>, Vec<u8>, TraceAction, u8) {
    let bytes = |bytes: &[u8; TRACED_BYTES], length: u32| bytes[..TRACED_BYTES.min(length as usize)].to_vec();
    let action = TraceAction::from_u8(event.action);
    (bytes(&event.before, event.length), bytes(&event.after, event.length_after), action, event.reason)
}

#[test]
fn each_verdict_of_a_client_is_told_with_the_frame_before_and_after() {
    let rig = Rig::load("trace", Limits::default()).expect("loading the program");
    rig.fill(&tables()).expect("filling the tables");
    let (mut program, mut trace) = rig.trace(&only("10.7.0.1")).expect("loading the traced program");
    let client = (address("10.7.0.1"), 5000);
    let to = |port| PacketBuilder::tcp(client, (address(VIPS[0]), port), tcp::SYN, b"");
    let mut expected = Vec::new();
    let mut send = |frame: Vec<u8>, action, reason: Reason, server: u32, egress: u32| {
        let (_, after) = run(&mut program, &frame);
        let leaves = action == TraceAction::Forward;
        expected.push((frame, if leaves { after } else { Vec::new() }, action, reason, server, egress));
    };
    send(to(443).build(), TraceAction::Forward, Reason::Scheduled, 10, DEVICE);
    send(to(444).build(), TraceAction::Pass, Reason::NoService, 0, 0);
    send(
        PacketBuilder::udp(client, (address(VIPS[0]), 443), &[1; 200]).build(),
        TraceAction::Forward,
        Reason::Scheduled,
        11,
        OTHER_DEVICE,
    );
    let dicom = PacketBuilder::tcp(client, (address(VIPS[1]), 104), tcp::SYN, b"").tag(ethernet::TYPE_VLAN, 7);
    send(dicom.build(), TraceAction::Drop, Reason::NoServer, 0, 0);
    // A stranger in between: the next frame must not be told with what this one left in the scratch.
    let stranger = PacketBuilder::tcp((address("10.7.0.2"), 5000), (address(VIPS[0]), 443), tcp::SYN, b"").build();
    run(&mut program, &stranger);
    let events: Vec<_> = std::iter::from_fn(|| trace.poll()).collect();

    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (event, (frame, after, action, reason, server, egress)) in events.iter().zip(&expected) {
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(TRACED_BYTES)].to_vec();
        assert_eq!(told(event), (cut(frame), cut(after), *action, *reason as u8), "{}", reason.name());
        assert_eq!((event.length as usize, event.length_after as usize), (frame.len(), after.len()));
        assert_eq!((event.server, event.ingress, event.egress), (*server, DEVICE, *egress), "{}", reason.name());
    }
    let times: Vec<_> = events.iter().map(|event| event.at_ns).collect();
    assert!(times.is_sorted() && times[0] > 0, "{times:?}");
    let length_of = |event: &TraceEvent| (event.length, event.length_after);
    assert_eq!(length_of(&events[2]), (242, 246), "the tag is part of the frame that leaves");
    assert_eq!(trace.missed().expect("the account"), 0);
}

#[test]
fn a_traced_frame_meets_the_same_end_as_any_other() {
    let mut rig = Rig::load("trace-same", Limits::default()).expect("loading the program");
    rig.fill(&tables()).expect("filling the tables");
    let (mut program, mut trace) = rig.trace(&EVERYBODY).expect("loading the traced program");
    let mut dice = Dice::new(0x7ace);
    let mut told_of = 0;
    for number in 0..20_000 {
        let frame = frames::frame(&mut dice);
        // Twice by the one, so that the flow is what it will be: then both find the same tables.
        rig.run(&frame).expect("running the program");
        rig.run(&frame).expect("running the program");
        let plain = rig.run(&frame).expect("running the program");
        let traced = run(&mut program, &frame);
        assert_eq!((plain.action, &plain.frame), (traced.0, &traced.1), "frame {number}: {frame:02x?}");
        // Everybody is still somebody: a frame without addresses is nobody's.
        let mut bytes = [0; TRACED_BYTES];
        let kept = frame.len().min(TRACED_BYTES);
        bytes[..kept].copy_from_slice(&frame[..kept]);
        let Some(event) = trace.poll() else {
            let missed = trace.missed().expect("the account");
            assert!(missed > 0 || !concerns(&bytes, kept, &EVERYBODY), "frame {number} is not told: {frame:02x?}");
            continue;
        };
        told_of += 1;
        assert_eq!(event.before[..kept], frame[..kept], "frame {number}");
        assert!(trace.poll().is_none(), "frame {number} is told twice");
    }
    println!("{told_of} of 20000 frames told, {} missed", trace.missed().expect("the account"));
    assert!(told_of >= TRACED_PER_TICK, "only {told_of} were told");
}

#[test]
fn what_is_too_much_is_counted_and_not_told() {
    let mut rig = Rig::load("trace-flood", Limits::default()).expect("loading the program");
    rig.fill(&tables()).expect("filling the tables");
    let (mut program, mut trace) = rig.trace(&only("10.7.0.1")).expect("loading the traced program");
    let frame = PacketBuilder::udp((address("10.7.0.1"), 5000), (address(VIPS[0]), 443), b"x").build();
    let most = u64::from(TRACED_PER_TICK);
    let begun = rig.now().expect("the clock");
    let sent = 3 * most;
    for _ in 0..sent {
        run(&mut program, &frame);
    }
    let ticks = u64::from(rig.now().expect("the clock") - begun) + 1;
    let told = std::iter::from_fn(|| trace.poll()).count() as u64;
    let missed = trace.missed().expect("the account");
    println!("{told} told and {missed} counted of {sent}, within {ticks} ticks");
    assert_eq!(told + missed, sent, "each frame is told or counted");
    let room = u64::from(TRACE_RING_BYTES) / size_of::<TraceEvent>() as u64;
    assert!(told <= (ticks * most).min(room), "{told} told within {ticks} ticks");
    assert!(missed > 0 || ticks >= 3, "nothing was too much");
}

#[test]
fn a_program_that_nobody_reads_goes_on() {
    let rig = Rig::load("trace-orphan", Limits::default()).expect("loading the program");
    rig.fill(&tables()).expect("filling the tables");
    let (mut program, trace) = rig.trace(&only("10.7.0.1")).expect("loading the traced program");
    // The daemon is gone, and with it whoever reads.
    drop(trace);
    let frame = PacketBuilder::udp((address("10.7.0.1"), 5000), (address(VIPS[0]), 443), b"x").build();
    let outcomes: Vec<_> = (0..2 * TRACED_PER_TICK).map(|_| run(&mut program, &frame).0).collect();
    let redirected_or_sent = |action: &u32| *action == 3 || *action == 4;
    assert!(outcomes.iter().all(redirected_or_sent), "a frame was not forwarded");
}

#[test]
fn the_pinned_program_stays_the_one_without_a_trace() {
    let mut rig = Rig::load("trace-pin", Limits::default()).expect("loading the program");
    let before = rig.xdp().expect("the program").info().expect("what the kernel says").id();
    let (mut traced, _trace) = rig.trace(&EVERYBODY).expect("loading the traced program");
    let pin: PathBuf = rig.pins().join("programs/lb_forward");
    let pinned = aya::programs::ProgramInfo::from_pin(&pin).expect("the pin").id();
    assert_eq!(pinned, before);
    assert_ne!(traced.xdp().expect("the program").info().expect("what the kernel says").id(), before);
}
