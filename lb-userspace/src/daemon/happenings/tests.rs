//! Events are kept over a restart, in files that do not grow without end, and reach those who wait.

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lb-events-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn happening(sentence: &str) -> Happening {
    Happening {
        kind: EventKind::Daemon,
        severity: Severity::Info,
        service: None,
        server: None,
        by: None,
        sentence: sentence.to_owned(),
    }
}

fn sentences(happenings: &Happenings) -> Vec<String> {
    happenings.log.iter().map(|event| event.sentence.clone()).collect()
}

#[test]
fn events_are_there_after_a_restart_but_for_a_line_cut_short() {
    let folder = Folder::new("restart");
    let mut before = Happenings::resume(&folder.0);
    before.push(happening("one"));
    before.push(happening("two"));
    assert_eq!(before.problem, None);
    let file = folder.0.join("events.jsonl");
    let mut open = OpenOptions::new().append(true).open(&file).unwrap();
    open.write_all(b"{\"id\": 3, \"at").unwrap();

    let mut after = Happenings::resume(&folder.0);
    assert_eq!(sentences(&after), ["one", "two"]);
    after.push(happening("three"));
    assert_eq!(after.log.select(&EventsQuery::default()).last, 3);
    assert_eq!(sentences(&Happenings::resume(&folder.0)), ["one", "two", "three"]);
}

#[test]
fn files_take_no_more_than_twice_their_limit() {
    let folder = Folder::new("limit");
    let mut happenings = Happenings::resume(&folder.0);
    let long = "x".repeat(64 << 10);
    for _ in 0..100 {
        happenings.push(happening(&long));
    }
    let bytes: u64 = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 2 * FILE_BYTES, "{bytes}");
    let after = Happenings::resume(&folder.0);
    assert_eq!(after.log.select(&EventsQuery::default()).last, 100);
}

#[test]
fn who_waits_is_answered_when_it_happens_or_when_the_wait_is_over() {
    let folder = Folder::new("wait");
    let mut happenings = Happenings::resume(&folder.0);
    let query = EventsQuery { after: Some(0), wait_seconds: 20, ..EventsQuery::default() };
    let (reply, mut first) = oneshot::channel();
    happenings.ask(query.clone(), reply);
    assert!(first.try_recv().is_err(), "nothing has happened yet");
    happenings.push(happening("at last"));
    assert_eq!(first.try_recv().unwrap().events.len(), 1);
    assert_eq!(happenings.next_deadline(), None);

    let (reply, mut second) = oneshot::channel();
    happenings.ask(EventsQuery { after: Some(1), ..query }, reply);
    let due = happenings.next_deadline().unwrap();
    happenings.handle_timeout(due);
    assert_eq!(second.try_recv().unwrap().events, []);
}

#[test]
fn a_disk_that_takes_nothing_is_a_problem_and_costs_no_event() {
    let mut happenings = Happenings::resume(Path::new("/proc/no-such-folder"));
    happenings.push(happening("seen"));
    assert!(happenings.problem.as_ref().unwrap().contains("events do not survive a restart"));
    assert_eq!(sentences(&happenings), ["seen"]);
}
