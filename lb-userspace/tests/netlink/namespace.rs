//! A network namespace, gone on drop, and what is done in it.

use std::fs::File;
use std::future::Future;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root (sudo -E cargo test -p lb-userspace --tests)"
        );
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let namespace = Self(format!("lb-nl-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        run(&["ip", "netns", "add", &namespace.0]);
        namespace.ip("link set lo up");
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// `ip` in it.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let mut words = vec!["ip", "-n", &self.0];
        words.extend(arguments.split_whitespace());
        run(&words)
    }

    pub(crate) fn ifindex(&self, device: &str) -> u32 {
        u32::try_from(self.link(device)["ifindex"].as_u64().unwrap()).unwrap()
    }

    pub(crate) fn mac(&self, device: &str) -> [u8; 6] {
        let link = self.link(device);
        let bytes = link["address"].as_str().unwrap().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        bytes.collect::<Vec<u8>>().try_into().unwrap()
    }

    /// Until the carrier has been noticed a multicast frame finds no route and is lost.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.ip("-6 route show table local").contains("multicast ff00::/8")
    }

    fn link(&self, device: &str) -> serde_json::Value {
        let links: serde_json::Value = serde_json::from_str(&self.ip(&format!("-j link show {device}"))).unwrap();
        links[0].clone()
    }

    /// Runs on a thread of its own in it.
    pub(crate) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
                body()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs on a thread and a runtime of its own in it.
    pub(crate) fn run<F: Future>(&self, body: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        self.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body())
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // May not exist when setting up failed; nothing more can be done about it here.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
