//! Ten thousand probes of all kinds, good, failing and cancelled, leave nothing behind.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use lb_core::config::model::{BodyExpectation, Probe};
use lb_core::health::TargetId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;

use super::{Bench, Question, dicom, listener, question, refusing_port, soon};
use crate::health::http::tests::get;
use crate::health::script;
use crate::health::script::tests::{children, program, until};
use crate::health::tls::tests::healthy;
use crate::tls::testing::self_signed;

const WAVES: u32 = 100;
const WAVE: u32 = 100;

/// A server that answers whatever comes with these bytes; with none, it says nothing and waits for the end.
async fn answering(answer: &'static [u8]) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Not only requests come here: handshakes too.
                let _ = stream.read(&mut [0; 2048]).await;
                if answer.is_empty() {
                    while stream.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {}
                }
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

/// What is asked, and whether there will be an answer: where there is none, the probe is cancelled.
struct Asked {
    question: Question,
    answered: bool,
}

fn of(probe: Probe, address: SocketAddr, answered: bool) -> Asked {
    Asked { question: question(probe, address.ip(), Some(address.port())), answered }
}

fn http() -> Probe {
    Probe::Http(get(BodyExpectation::Contains("up".into())))
}

fn https() -> Probe {
    let http = get(BodyExpectation::Any);
    Probe::Https { http, verify: false, server_name: None, ca_file: None }
}

/// Open descriptors, children, and tasks.
fn held() -> (usize, usize, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").expect("proc").count();
    (descriptors, children(), Handle::current().metrics().num_alive_tasks())
}

async fn wave(bench: &mut Bench, asked: &[Asked], generation: u32) {
    let mut awaited = HashSet::new();
    for id in 0..WAVE {
        let it = &asked[id as usize % asked.len()];
        bench.prober.probe(TargetId(id), generation, it.question.clone());
        if it.answered {
            awaited.insert(TargetId(id));
        }
    }
    while !awaited.is_empty() {
        let report = soon(bench.reports.recv()).await.expect("a report");
        assert_eq!(report.generation, generation, "{report:?}");
        assert!(awaited.remove(&report.id), "{report:?}");
    }
    for id in 0..WAVE {
        bench.prober.cancel(TargetId(id), generation);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_probes_leave_no_descriptor_no_task_and_no_process() {
    let (_refusing, refused) = refusing_port();
    let good = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup").await;
    let busy = answering(b"HTTP/1.1 503 Busy\r\n\r\n").await;
    let short = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup").await;
    let silent = answering(b"").await;
    let tls = healthy(&self_signed(|_| {})).await;
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let scripts = [
        program("leak-good", "#!/bin/sh\nexit 0\n"),
        program("leak-bad", "#!/bin/sh\nsleep 1000 &\nexit 1\n"),
        program("leak-stuck", "#!/bin/sh\nsleep 1000 & sleep 1000\n"),
    ];
    let script = |n: usize, answered| Asked { question: script::tests::question(scripts[n].path(), None), answered };
    let verified = Probe::Https { http: get(BodyExpectation::Any), verify: true, server_name: None, ca_file: None };
    let lost = Probe::Https {
        http: get(BodyExpectation::Any),
        verify: true,
        server_name: None,
        ca_file: Some(PathBuf::from("/nonexistent/ca.pem")),
    };
    let mut asked = [
        of(Probe::Connect, good, true),
        of(Probe::Connect, refused, true),
        Asked { question: question(Probe::Ping, localhost, None), answered: true },
        of(http(), good, true),
        of(http(), busy, true),
        of(http(), short, true),
        of(http(), silent, false),
        of(http(), tls, true),
        of(https(), tls, true),
        of(https(), good, true),
        of(https(), silent, false),
        of(verified, tls, true),
        of(lost, tls, true),
        of(dicom(), good, true),
        of(dicom(), silent, false),
        of(http(), good, true),
        of(Probe::Connect, good, true),
        of(Probe::Connect, silent, true),
        of(https(), busy, true),
        // In its place each script in turn.
        script(0, true),
    ];
    let mut bench = Bench::new();
    let limit = usize::try_from(WAVE).expect("it fits");
    assert_eq!(limit % asked.len(), 0, "every kind as often as the others");
    // What is opened once and kept: sockets of ping, threads, the system's certificates.
    let (_, _, servers) = held();
    wave(&mut bench, &asked, 0).await;
    // The one that reads the answers to pings.
    until("only the servers and the pinger are left", || held().2 <= servers + 1 && held().1 == 0).await;
    let before = held();

    for generation in 1..=WAVES {
        let turn = generation as usize % scripts.len();
        asked[19] = script(turn, turn != 2);
        wave(&mut bench, &asked, generation).await;
    }

    let mut now = held();
    until(&format!("as much is held as before, {before:?}"), || {
        now = held();
        now.0 <= before.0 && now.1 <= before.1 && now.2 <= before.2
    })
    .await;
}
