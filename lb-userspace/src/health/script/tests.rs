use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lb_core::config::model::Probe;
use lb_core::health::Outcome;

use crate::health::Question;
use crate::health::tests::{A, Bench, VIP, check, soon};
use crate::tls::testing::File;

const REAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A program of root's that everybody may execute.
pub(in crate::health) fn program(name: &str, text: &str) -> File {
    let file = File::new(name, text);
    mode(file.path(), 0o755);
    file
}

/// What is done to a file.
type Change = fn(&Path);

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

pub(in crate::health) fn question(path: &Path, port: Option<u16>) -> Question {
    let check = check(Probe::Script { path: path.to_owned() }, port);
    Question { address: REAL, check: Arc::new(check), subject: Some(VIP) }
}

async fn run(path: &Path, port: Option<u16>) -> Outcome {
    let mut bench = Bench::new();
    bench.prober.probe(A, 1, question(path, port));
    bench.outcome(1).await
}

async fn fails(path: &Path) -> String {
    match run(path, None).await {
        Outcome::Failure(failure) => failure.to_string(),
        Outcome::Success { .. } => panic!("it succeeded"),
    }
}

/// What a shell writes to its standard output in the place of a check.
async fn says(name: &str, commands: &str) -> String {
    let script = program(name, &format!("#!/bin/sh\n{commands}\nexit 1\n"));
    let sentence = fails(script.path()).await;
    let begin = format!("the script {}, called for the real server, exited with status 1: ", script.path().display());
    sentence.strip_prefix(&begin).unwrap_or_else(|| panic!("{sentence}")).to_owned()
}

/// Processes, zombies aside, whose parent, group or session is the one with this number.
fn alive(of: u32) -> Vec<u32> {
    processes().into_iter().filter(|it| it.state != "Z" && it.related.contains(&of)).map(|it| it.pid).collect()
}

/// What /proc says of a process.
struct Entry {
    pid: u32,
    state: String,
    /// Parent, group, session.
    related: [u32; 3],
}

fn processes() -> Vec<Entry> {
    let files = fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path().join("stat"));
    let texts = files.filter_map(|file| fs::read_to_string(file).ok());
    let entry = |text: String| {
        let pid = text.split(' ').next()?.parse().ok()?;
        // The name before it may have spaces and brackets in it.
        let mut rest = text.rsplit_once(") ")?.1.split(' ');
        let state = rest.next()?.to_owned();
        let mut number = || rest.next()?.parse().ok();
        Some(Entry { pid, state, related: [number()?, number()?, number()?] })
    };
    texts.filter_map(entry).collect()
}

/// Our children, zombies too.
pub(in crate::health) fn children() -> usize {
    processes().iter().filter(|it| it.related[0] == std::process::id()).count()
}

pub(in crate::health) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "not within 20 s: {what}");
}

/// The number that a script has written to a file.
async fn written(path: &Path) -> u32 {
    let read = || fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))?.trim().parse().ok();
    until("the script has written its number", || read().is_some()).await;
    read().expect("a number")
}

#[tokio::test]
async fn exit_0_is_good_and_anything_else_is_told_with_the_first_line() {
    for (text, sentence) in [
        ("exit 3", "exited with status 3 and wrote nothing"),
        ("echo; echo '  no route  '; echo more; exit 3", "exited with status 3: no route"),
        ("echo on the other channel >&2; exit 255", "exited with status 255: on the other channel"),
        ("printf 'a\\033[31mb\\001'; exit 1", "exited with status 1: a?[31mb?"),
        ("echo dying; kill -TERM $$", "was ended by signal 15 (SIGTERM): dying"),
        ("kill -SEGV $$", "was ended by signal 11 (SIGSEGV) and wrote nothing"),
    ] {
        let script = program("ends", &format!("#!/bin/sh\n{text}\n"));
        let said = fails(script.path()).await;
        assert_eq!(said, format!("the script {}, called for the real server, {sentence}", script.path().display()));
    }
    let good = program("good", "#!/bin/sh\necho ignored\nexit 0\n");
    assert!(matches!(run(good.path(), None).await, Outcome::Success { .. }));
    // As programs of appliances often are: the C library has the shell run it.
    let without_line = program("without-line", "exit 0\n");
    assert!(matches!(run(without_line.path(), None).await, Outcome::Success { .. }));
}

#[tokio::test]
async fn it_is_told_vip_and_real_server() {
    let script = program("arguments", "#!/bin/sh\necho \"$#: $*\"\nexit 1\n");
    for (port, arguments) in
        [(Some(104), "4: 192.0.2.80 8080 192.0.2.1 104"), (None, "4: 192.0.2.80 8080 192.0.2.1 8080")]
    {
        let Outcome::Failure(failure) = run(script.path(), port).await else { panic!("it succeeded") };
        assert!(failure.to_string().ends_with(arguments), "{failure}");
    }
}

#[tokio::test]
async fn it_runs_as_nobody_without_capabilities_groups_or_anything_inherited() {
    for (name, commands, expected) in [
        ("ids", "echo $(id -u) $(id -g) $(id -G)", "65534 65534 65534"),
        (
            "caps",
            "echo $(grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status | cut -f2)",
            "0000000000000000 0000000000000000 0000000000000000",
        ),
        ("place", "echo $(pwd) $(umask) $(readlink /proc/self/fd/0)", "/ 0077 /dev/null"),
        // The fourth is the directory that ls reads.
        ("descriptors", "echo $(ls /proc/self/fd)", "0 1 2 3"),
        (
            "environment",
            "tr '\\0' ' ' < /proc/$$/environ",
            "LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("group", "set -- $(cut -d' ' -f5,6 /proc/$$/stat); test $1 = $$ && test $2 = $$ && echo its own", "its own"),
        ("limits", "echo $(ulimit -c) $(ulimit -n) $(ulimit -t) $(ulimit -v)", "0 1024 2 4194304"),
        ("signals", "grep SigBlk /proc/self/status | cut -f2", "0000000000000000"),
        ("files", "cat /etc/shadow 2>&1 | grep -o 'Permission denied'", "Permission denied"),
    ] {
        // A descriptor that somebody forgot to close on exec.
        let forgotten = fs::File::open("/dev/null").expect("a file");
        nix::fcntl::fcntl(&forgotten, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("a flag");
        assert_eq!(says(name, commands).await, expected, "{name}");
    }
}

#[tokio::test]
async fn ping_works_for_a_script() {
    let script = program("ping", "#!/bin/sh\nexec ping -c 1 -W 2 127.0.0.1\n");
    assert!(matches!(run(script.path(), None).await, Outcome::Success { .. }));
}

#[tokio::test]
async fn a_program_that_cannot_be_trusted_or_run_is_not_and_the_sentence_says_why() {
    let cases: [(&str, Change, &str); 5] = [
        ("everybodys", |path| mode(path, 0o757), "everybody may write it; chmod 755 it"),
        (
            "groups",
            |path| {
                chown(path, None, Some(1000)).expect("a group");
                mode(path, 0o775);
            },
            "a group other than root may write it; chmod 755 it",
        ),
        (
            "owners",
            |path| chown(path, Some(1000), None).expect("an owner"),
            "its owner is not root and may write it; chown root it",
        ),
        ("plain", |path| mode(path, 0o644), "it is not executable; chmod 755 it"),
        (
            "roots",
            |path| mode(path, 0o700),
            "the user nobody may not execute it; chmod 755 it, and chmod o+x the folders that lead to it",
        ),
    ];
    for (name, change, why) in cases {
        let script = program(name, "#!/bin/sh\nexit 0\n");
        change(script.path());
        let said = fails(script.path()).await;
        assert_eq!(said, format!("the real server was not checked: {} cannot be run: {why}", script.path().display()));
    }
    let lost = program("lost", "#!/nonexistent/interpreter\n");
    assert!(fails(lost.path()).await.ends_with("the interpreter that its first line names does not exist"));
    assert!(
        fails(Path::new("/nonexistent/check"))
            .await
            .ends_with("/nonexistent/check cannot be run: there is no such file")
    );
    assert!(fails(Path::new("/tmp")).await.ends_with("it is not a file"));
}

#[tokio::test]
async fn a_lot_of_output_does_not_hold_it_up() {
    let script = program("talks", "#!/bin/sh\necho first; head -c 3000000 /dev/zero; exit 4\n");
    assert!(fails(script.path()).await.ends_with("exited with status 4: first"));
}

#[tokio::test]
async fn a_cancelled_script_is_killed_with_its_children_and_reaped() {
    for (name, text) in [
        ("sleeps", "sleep 1000"),
        ("forks", "sleep 1000 & (sleep 1000; sleep 1000) & sleep 1000"),
        ("ignores", "trap '' TERM INT HUP; sleep 1000; sleep 1000"),
        ("writes", "yes"),
        ("closes", "exec >&- 2>&-; sleep 1000"),
    ] {
        let note = File::new(&format!("{name}.pid"), "");
        chown(note.path(), Some(65_534), None).expect("an owner");
        let script = program(name, &format!("#!/bin/sh\necho $$ > {}\n{text}\n", note.path().display()));
        let before = children();
        let mut bench = Bench::new();
        bench.prober.probe(A, 1, question(script.path(), None));
        let pid = written(note.path()).await;
        assert!(!alive(pid).is_empty() || name == "sleeps", "{name} runs");

        bench.prober.cancel(A, 1);

        until("its group is gone", || alive(pid).is_empty()).await;
        until("it is reaped", || children() == before).await;
        drop(bench.prober);
        assert_eq!(soon(bench.reports.recv()).await, None);
    }
}

#[tokio::test]
async fn children_that_are_left_behind_neither_delay_the_outcome_nor_live_on() {
    let note = File::new("leaves.pid", "");
    chown(note.path(), Some(65_534), None).expect("an owner");
    let text = format!("#!/bin/sh\necho $$ > {}\nsleep 1000 &\nexit 0\n", note.path().display());
    let script = program("leaves", &text);

    assert!(matches!(run(script.path(), None).await, Outcome::Success { .. }));

    let pid = written(note.path()).await;
    until("the child it left is gone", || alive(pid).is_empty()).await;
}
