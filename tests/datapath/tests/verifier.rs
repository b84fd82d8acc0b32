//! What the verifier allows is kept away from: kernels reckon differently, and the oldest that
//! the product runs on (6.1, Debian 12) is seldom the one that runs this test. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use aya_obj::generated::bpf_insn;
use aya_obj::{Function, Object};
use lb_common::abi::TraceFilter;
use lb_core::config::model::Limits;
use lb_datapath_tests::Rig;

/// The kernel's limit is 1,000,000 (`BPF_COMPLEXITY_LIMIT_INSNS`, linux/bpf.h). Linux 6.1 needs about
/// twice as many as 6.18, because it recognises fewer states as seen before (docs/kernel-versions.md);
/// 300,000 on a new kernel would be two thirds of the limit on that one.
const MOST_INSTRUCTIONS: u32 = 300_000;

/// Bytes of stack over all functions of a chain of calls: `MAX_BPF_STACK`, linux/filter.h.
const MOST_STACK: i64 = 512;
/// `check_max_stack_depth` of kernel/bpf/verifier.c rounds each function up to 32 bytes, and one
/// that uses none as well. Since 6.8 it is 16 bytes where programs are compiled.
const STACK_UNIT: i64 = 32;

#[test]
fn the_verifier_is_done_long_before_its_limit() {
    let mut rig = Rig::load("verifier", Limits::default()).expect("loading the program");
    let info = rig.xdp().expect("the program").info().expect("what the kernel says about it");
    let processed = info.verified_instruction_count().expect("Linux 5.16 and later tell");
    println!("the verifier processed {processed} instructions");
    assert!(processed < MOST_INSTRUCTIONS, "the verifier processed {processed}, more than {MOST_INSTRUCTIONS}");
}

#[test]
fn a_trace_costs_the_verifier_little_and_nothing_while_there_is_none() {
    let mut rig = Rig::load("verifier-trace", Limits::default()).expect("loading the program");
    let everybody = TraceFilter::default();
    let (mut traced, _trace) = rig.trace(&everybody).expect("loading the traced program");
    let processed = |program: &aya::programs::Xdp| {
        let info = program.info().expect("what the kernel says about it");
        info.verified_instruction_count().expect("Linux 5.16 and later tell")
    };
    let (off, on) = (processed(rig.xdp().expect("the program")), processed(traced.xdp().expect("the program")));
    println!("the verifier processed {off} instructions, and {on} with a trace");
    assert!(on < MOST_INSTRUCTIONS, "the verifier processed {on}, more than {MOST_INSTRUCTIONS}");
    // Without a trace nothing calls what is behind the switch. Linux before 6.8 keeps global functions that
    // nobody calls in the program; they cost memory and no time.
    traced.xdp().expect("the program").pin(rig.pins().join("traced")).expect("pinned");
    assert_eq!(calls(&rig.pins().join("traced")), 3, "of a frame's beginning, its server and its end");
    assert_eq!(calls(&rig.pins().join("programs/lb_forward")), 0, "calls of the trace without one");
}

/// Calls of functions of the trace in the program as the kernel runs it.
fn calls(pin: &Path) -> usize {
    let code = translated(pin);
    let distinct: BTreeSet<_> = code.lines().filter_map(called).filter(|name| name.contains("lb_trace_")).collect();
    println!("{} calls: {distinct:?}", pin.display());
    distinct.len()
}

/// Whom an instruction calls, by name.
fn called(line: &str) -> Option<&str> {
    line.split_once(" call ")?.1.split_once('#').map(|(_, name)| name)
}

/// The program as the kernel runs it.
fn translated(pin: &Path) -> String {
    let pin = pin.to_str().expect("a readable path");
    let output = Command::new("bpftool").args(["prog", "dump", "xlated", "pinned", pin]).output();
    let output = output.expect("bpftool is not installed: apt-get install -y --no-install-recommends bpftool");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_stack_is_deep_enough_as_old_kernels_count_it() {
    let depth = deepest(&program(), 0);
    println!("{depth} bytes of stack");
    assert!(depth <= MOST_STACK, "{depth} bytes of stack, more than {MOST_STACK}: Linux 6.1 refuses the program");
}

/// The program as it is loaded: the functions that it calls behind it.
fn program() -> Vec<bpf_insn> {
    let directory = std::env::var_os("LB_BPF_DIR")
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bpf").into());
    let bytes = fs::read(Path::new(&directory).join("lb-ebpf.o")).expect("cargo xtask build-ebpf makes it");
    let mut object = Object::parse(&bytes).expect("an object file");
    let text = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&text).expect("every function that is called is there");
    let entry = object.programs["lb_forward"].function_key();
    let Function { instructions, .. } = object.functions.remove(&entry).expect("the program");
    instructions
}

/// Bytes of stack of the function at `start` and the deepest chain of calls below it. The verifier
/// refuses recursion.
fn deepest(program: &[bpf_insn], start: usize) -> i64 {
    let end = starts(program).into_iter().find(|next| *next > start).unwrap_or(program.len());
    let own = frame(&program[start..end]).max(1);
    let rounded = (own + STACK_UNIT - 1) / STACK_UNIT * STACK_UNIT;
    let below = callees(program, start..end).map(|callee| deepest(program, callee)).max();
    rounded + below.unwrap_or(0)
}

/// Where functions that are called begin.
fn starts(program: &[bpf_insn]) -> BTreeSet<usize> {
    callees(program, 0..program.len()).collect()
}

fn callees(program: &[bpf_insn], within: Range<usize>) -> impl Iterator<Item = usize> {
    let calls = within.filter(|&at| program[at].code == CALL && program[at].src_reg() == PSEUDO_CALL);
    calls.map(|at| usize::try_from(at as i64 + 1 + i64::from(program[at].imm)).expect("a call within the program"))
}

/// Bytes of stack that a function touches: how far below the frame pointer it reads, writes, or takes
/// an address.
fn frame(function: &[bpf_insn]) -> i64 {
    // Registers that hold the frame pointer, about to be moved down.
    let mut tops = [false; 16];
    let mut lowest = 0;
    for instruction in function {
        let (to, from) = (instruction.dst_reg(), instruction.src_reg());
        let class = instruction.code & 0x07;
        let based = match class {
            LOAD => from == FRAME,
            STORE | STORE_REGISTER => to == FRAME,
            _ => false,
        };
        if based {
            lowest = lowest.min(i64::from(instruction.off));
        }
        if instruction.code == ADD && tops[usize::from(to)] {
            lowest = lowest.min(i64::from(instruction.imm));
        }
        if matches!(class, LOAD | ALU | ALU64) {
            tops[usize::from(to)] = instruction.code == MOVE && from == FRAME;
        }
    }
    -lowest
}

// Instructions, RFC 9669: classes, whole codes, and the register of the frame pointer.
const LOAD: u8 = 0x01;
const STORE: u8 = 0x02;
const STORE_REGISTER: u8 = 0x03;
const ALU: u8 = 0x04;
const ALU64: u8 = 0x07;
const ADD: u8 = 0x07;
const MOVE: u8 = 0xbf;
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
const FRAME: u8 = 10;
