use super::*;

const STAT: &str = "4242 (lbd) S 1 4242 4242 0 -1 4194560 1234 0 5 0 250 75 0 0 20 0 9 0 3600 1073741824 4096 \
                    18446744073709551615 1 1 0 0 0 0 0 4096 1260 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max cpu time              unlimited            unlimited            seconds   \n\
                      Max open files            1024                 1048576              files     \n";

fn figures() -> Figures<'static> {
    Figures {
        stat: STAT,
        statm: "262144 4096 1024 300 0 9000 0\n",
        limits: LIMITS,
        machine: "cpu  1 2 3\nbtime 1700000000\nprocesses 9\n",
        open_files: 40,
        ticks_per_second: 100,
        page_bytes: 4096,
    }
}

#[test]
fn figures_come_in_seconds_and_bytes() {
    let process = figures().read().unwrap();
    let wanted = Process {
        started_at_ms: 1_700_000_036_000,
        cpu: Duration::from_millis(3_250),
        virtual_bytes: 1 << 30,
        resident_bytes: 16 << 20,
        open_files: 40,
        max_files: Some(1024),
    };
    assert_eq!(process, wanted);
}

#[test]
fn a_program_may_be_called_anything() {
    for name in ["l b d", "lbd) S 1 2 3", "(((", ") (", "\n"] {
        let stat = STAT.replacen("lbd", name, 1);
        let process = Figures { stat: &stat, ..figures() }.read();
        assert_eq!(process, figures().read(), "{name:?}");
    }
}

#[test]
fn no_limit_of_open_files_is_none() {
    let limits = LIMITS.replace("1024   ", "unlimited");
    assert_eq!(Figures { limits: &limits, ..figures() }.read().unwrap().max_files, None);
}

#[test]
fn what_is_not_as_the_manual_says_gives_no_figures() {
    let broken = [
        Figures { stat: "", ..figures() },
        Figures { stat: "4242 (lbd) S 1 2", ..figures() },
        Figures { statm: "262144", ..figures() },
        Figures { statm: "many pages", ..figures() },
        Figures { limits: "", ..figures() },
        Figures { machine: "btime soon", ..figures() },
        Figures { ticks_per_second: 0, ..figures() },
        Figures { page_bytes: u64::MAX, ..figures() },
    ];
    for (at, figures) in broken.iter().enumerate() {
        assert_eq!(figures.read(), None, "case {at}");
    }
}

#[test]
fn this_process_has_figures_that_agree_with_the_kernel() {
    let before = process().unwrap();
    assert!(before.resident_bytes > 0 && before.resident_bytes <= before.virtual_bytes, "{before:?}");
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(before.max_files, (soft != nix::libc::RLIM_INFINITY).then_some(soft));
    let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    assert!(u128::from(before.started_at_ms) <= age + 1_000, "it starts later: {before:?}");

    // Half of them may be made up for by what tests on other threads close meanwhile.
    let files: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let open = process().unwrap().open_files;
    drop(files);
    assert!(open >= before.open_files + 100, "{open} after {before:?}");
}
