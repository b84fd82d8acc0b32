//! What the kernel says of devices, in a network namespace of the test's own.

use std::process::Command;

use super::ethtool::Ethtool;

/// Runs `test` on a thread with a network namespace of its own, which ends with the thread.
fn in_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let inside = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("these tests make network namespaces: run them as root");
            test();
        };
        scope.spawn(inside).join().unwrap();
    });
}

fn run(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn features_are_told_as_ethtool_sets_them() {
    in_namespace(|| {
        run(&["ip", "link", "add", "here0", "type", "veth", "peer", "name", "there0"]);
        let ethtool = Ethtool::open().unwrap();
        let has_gro = || ethtool.features("here0").unwrap().iter().any(|feature| feature == "rx-gro");
        for (wanted, word) in [(false, "off"), (true, "on"), (false, "off")] {
            run(&["ethtool", "-K", "here0", "gro", word]);
            assert_eq!(has_gro(), wanted);
        }
        assert_eq!(ethtool.driver("here0").unwrap(), "veth");
        // More than 32 of them: the second block is read as well.
        let features = ethtool.features("here0").unwrap();
        assert!(features.iter().any(|feature| feature == "tx-sctp-segmentation"), "{features:?}");
        assert!(features.iter().all(|feature| !feature.is_empty()), "{features:?}");
    });
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    in_namespace(|| {
        let ethtool = Ethtool::open().unwrap();
        assert!(ethtool.features("gone0").is_err());
        assert!(ethtool.driver("gone0").is_err());
        let long = ethtool.features("a-name-longer-than-any-device-has").unwrap_err();
        assert!(long.to_string().contains("longer than the name"), "{long}");
    });
}
