use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use super::*;

/// Until a message that is sure to come counts as lost.
const DEADLINE: Duration = Duration::from_secs(20);

/// The service manager, as far as a notifier sees it.
struct Manager {
    socket: UnixDatagram,
    file: Option<PathBuf>,
}

impl Manager {
    fn at_path(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lb-notify-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self { socket: UnixDatagram::bind(&path).unwrap(), file: Some(path) }.ready()
    }

    fn abstract_name(name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        Self { socket: UnixDatagram::bind_addr(&address).unwrap(), file: None }.ready()
    }

    fn ready(self) -> Self {
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        self
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message that is not about the watchdog.
    fn next_other(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|message| message != "WATCHDOG=1\n").unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn says_what_it_is_told(manager: &Manager, name: OsString) {
    let mut notifier = Notifier::with(Some(name), None).unwrap();
    notifier.ready("2 up".to_owned());
    assert_eq!(manager.next_other(), "READY=1\nSTATUS=2 up\n");
    notifier.status("2 up".to_owned());
    notifier.status("1 up".to_owned());
    assert_eq!(manager.next_other(), "STATUS=1 up\n", "the same line is not told twice");
    notifier.reloading();
    let reloading = manager.next_other();
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
    let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros();
    let usec: u128 = usec.parse().unwrap();
    assert!(usec > 0 && usec <= since_boot, "{usec} of {since_boot}");
    notifier.stopping();
    drop(notifier);
    assert_eq!(manager.next_other(), "STOPPING=1\nSTATUS=stopping\n", "the last word is sent before the thread ends");
}

#[test]
fn a_manager_at_a_path_is_told_everything_in_order() {
    let manager = Manager::at_path("order");
    says_what_it_is_told(&manager, manager.file.clone().unwrap().into_os_string());
}

#[test]
fn a_manager_with_an_abstract_name_is_told_everything_in_order() {
    let name = format!("lb-notify-{}", std::process::id());
    let manager = Manager::abstract_name(&name);
    says_what_it_is_told(&manager, format!("@{name}").into());
}

#[test]
fn the_watchdog_is_fed_again_and_again_while_nothing_is_late() {
    let manager = Manager::at_path("fed");
    let path = manager.file.clone().unwrap();
    let _notifier = Notifier::with(Some(path.into_os_string()), Some(Duration::from_millis(300))).unwrap();
    for _ in 0..5 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }
}

#[test]
fn the_watchdog_starves_when_work_is_late_and_is_fed_when_it_is_done() {
    let manager = Manager::at_path("late");
    let opened = super::Manager::at(manager.file.as_ref().unwrap().as_os_str()).unwrap();
    let begin = Instant::now().checked_sub(Work::Sweep.patience() * 2).unwrap();
    let watchdog = Arc::new(Mutex::new(Watchdog::new(Duration::from_nanos(1), begin)));
    let teller = Teller { manager: Some(opened), watchdog: Arc::clone(&watchdog) };
    locked(&watchdog).proved(Work::Sweep, begin);
    teller.look();
    teller.look();
    manager.socket.set_nonblocking(true).unwrap();
    let error = manager.socket.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "nothing was told");
    locked(&watchdog).settle(Work::Sweep);
    teller.look();
    assert_eq!(manager.next(), "WATCHDOG=1\n");
}

#[test]
fn without_a_manager_or_with_a_name_that_is_none_everything_is_said_to_nobody() {
    for name in [None, Some(""), Some("relative"), Some("/nowhere/at/all")] {
        let mut notifier = Notifier::with(name.map(Into::into), Some(Duration::from_millis(300))).unwrap();
        for _ in 0..2 * QUEUE {
            notifier.status("one".to_owned());
            notifier.status("two".to_owned());
        }
        notifier.stopping();
    }
}

#[test]
fn a_manager_that_does_not_read_holds_nobody_up() {
    let manager = Manager::at_path("deaf");
    let path = manager.file.clone().unwrap();
    let mut notifier = Notifier::with(Some(path.into_os_string()), None).unwrap();
    // More than the socket and the queue hold together: this returns, though nobody reads.
    for number in 0..1000 {
        notifier.status(number.to_string());
    }
    drop(manager);
}

#[test]
fn the_time_of_the_watchdog_is_read_as_the_service_manager_means_it() {
    let some = |text: &str| Some(text.to_owned());
    let seconds = |given| Some(Duration::from_secs(given));
    for (usec, pid, time) in [
        (some("30000000"), None, seconds(30)),
        (some("30000000"), some("77"), seconds(30)),
        (some("30000000"), some("78"), None),
        (some("30000000"), some("x"), None),
        (some("0"), None, None),
        (some("-1"), None, None),
        (some(""), None, None),
        (None, some("77"), None),
    ] {
        assert_eq!(watchdog_time(usec.clone(), pid.clone(), 77), time, "{usec:?} {pid:?}");
    }
}
