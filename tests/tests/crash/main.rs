//! Daemons that are killed at random moments: what they leave forwards, and the next one finishes it.

mod configurations;
mod meaning;
mod sink;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use lb_common::abi::Service;
use lb_core::tables::{Installed, consistent};
use lb_tests::at;
use lb_tests::balancer::Balancer;
use lb_tests::deployments::{self, Site};
use lb_tests::lab::{Lab, in_lab, wait_until};
use lb_tests::noise::Random;
use lb_tests::software::iperf::Run;
use lb_tests::traffic::Beat;
use lb_userspace::dataplane::{Table, Tables};
use nix::sys::signal::Signal;

use configurations::{CONSTANT, Configuration};
use meaning::Meaning;
use sink::Sink;

const KILLS: usize = 200;
/// Starts of the crash loop.
const STARTS: usize = 30;
/// Time for a start to get nowhere.
const SHORT: Duration = Duration::from_millis(20);
/// What is left of a plan that has just begun, about, and of the list of names.
const PLAN: Duration = Duration::from_millis(2);
const NAMES: Duration = Duration::from_micros(500);
const LOAD_PORT: u16 = 50_001;
const BEAT_PORT: u16 = 50_005;
const RATE: &str = "10M";
const SETTLED: Duration = Duration::from_secs(15);

/// Everything the rounds need.
struct Scene<'a> {
    site: &'a Site,
    balancer: Balancer<'a>,
    configurations: Vec<Configuration>,
    /// What a daemon that started from nothing made of each.
    wanted: Vec<Meaning>,
    sink: Sink,
    random: Random,
    /// How long a start and a reload take here.
    start: Duration,
    reload: Duration,
}

impl<'a> Scene<'a> {
    /// The last configuration is in force.
    fn set(lab: &Lab, site: &'a Site) -> Result<Self> {
        let configurations = configurations::all();
        for server in &site.servers {
            configurations::vips().try_for_each(|vip| server.hold_vip(vip))?;
        }
        let mut wanted = Vec::new();
        let mut last = None;
        for configuration in &configurations {
            // The one before takes everything away with it.
            drop(last.take());
            let balancer = Balancer::start(lab, &site.balancer, &configuration.yaml)?;
            wanted.push(wait_until("every server has its next hop", SETTLED, || {
                let status = balancer.status()?;
                ensure!(status.servers().all(|(_, server)| server["state"] == "up"), "{}", status.0);
                Ok(Meaning::of(&installed(&balancer)?))
            })?);
            last = Some(balancer);
        }
        for (at, one) in wanted.iter().enumerate() {
            ensure!(wanted[..at].iter().all(|other| one.ensure_is(other).is_err()), "two configurations mean the same");
        }
        let balancer = last.context("there is no configuration")?;
        let seed = seed()?;
        println!("seed {seed}: LB_SEED={seed} repeats it");
        let (random, sink) = (Random::new(seed), Sink::open(&site.servers)?);
        let mut scene = Self {
            site,
            balancer,
            configurations,
            wanted,
            sink,
            random,
            start: Duration::ZERO,
            reload: Duration::ZERO,
        };
        scene.measure()?;
        Ok(scene)
    }

    /// The ranges from which moments are drawn.
    fn measure(&mut self) -> Result<()> {
        for configuration in (0..configurations::COUNT).chain([0]) {
            self.measure_reload(configuration)?;
            self.settled(configuration)?;
        }
        self.balancer.kill();
        let begun = Instant::now();
        self.balancer.restart()?;
        self.start = begun.elapsed();
        println!("a start takes {:?}, a reload {:?}", self.start, self.reload);
        self.settled(0)
    }

    /// A little more than the reload itself: `lbctl` is started, and asks.
    fn measure_reload(&mut self, configuration: usize) -> Result<()> {
        self.balancer.write_configuration(&self.configurations[configuration].yaml)?;
        let begun = Instant::now();
        self.balancer.lbctl(&["reload"])?.success()?;
        self.reload = self.reload.max(begun.elapsed());
        Ok(())
    }

    /// The tables hold what the configuration asks for, and every VIP of it forwards.
    fn settled(&mut self, configuration: usize) -> Result<()> {
        let Self { balancer, wanted, configurations, sink, site, .. } = self;
        wait_until("the tables hold what the configuration asks for", SETTLED, || {
            Meaning::of(&installed(balancer)?).ensure_is(&wanted[configuration])
        })?;
        sink.reach(&site.client, &configurations[configuration].vips)
    }

    /// Somewhere within `range` and a tenth more.
    fn moment(&mut self, range: &Range<Duration>) -> Duration {
        let length = range.end.saturating_sub(range.start).mul_f64(1.1);
        let micros = usize::try_from(length.as_micros()).unwrap_or(usize::MAX);
        range.start + Duration::from_micros(self.random.below(micros.max(1)) as u64)
    }
}

/// Services as the kernel has them.
fn services(balancer: &Balancer<'_>) -> Result<Vec<Service>> {
    let mut all = Vec::new();
    Table::<u32, Service>::open(balancer.pin_directory(), "services")?.walk(|_, entries| {
        all.extend_from_slice(entries);
        true
    })?;
    Ok(all)
}

/// What the tables hold, which is safe to forward by at every moment.
fn installed(balancer: &Balancer<'_>) -> Result<Installed> {
    let tables = Tables::open(balancer.pin_directory())?.installed()?;
    consistent(&tables).map_err(|sentence| anyhow::anyhow!("the tables are not consistent: {sentence}"))?;
    Ok(tables)
}

fn seed() -> Result<u64> {
    match std::env::var("LB_SEED") {
        Ok(text) => text.parse().with_context(|| format!("LB_SEED={text} is no number")),
        Err(_) => Ok(u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos())),
    }
}

/// When a daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// While it reads another configuration and puts it in force.
    Reloading,
    /// The same, as soon as it begins to write the tables.
    Writing,
    /// The same, as soon as it begins to write down the names of the numbers, which is before the tables.
    Naming,
    /// While it starts, with another configuration than the tables hold.
    Starting,
}

#[test]
fn daemons_killed_at_random_leave_tables_that_forward_and_the_next_one_finishes_them() -> Result<()> {
    in_lab("crash", |lab| {
        let site = deployments::harmonic(lab)?;
        let mut scene = Scene::set(lab, &site)?;
        let mut load = Run::udp(&site.client, &site.servers, CONSTANT, LOAD_PORT, RATE)?;
        let beat = Beat::start(&site.client, at(site.client.v4(), 0), &site.servers, at(CONSTANT, BEAT_PORT))?;
        let mut present = 0;
        let mut left_half = BTreeMap::<When, [usize; 2]>::new();
        let begun = Instant::now();
        for kill in 1..=KILLS {
            let when = [When::Reloading, When::Writing, When::Naming, When::Starting][scene.random.below(4)];
            let next = (present + 1 + scene.random.below(configurations::COUNT - 1)) % configurations::COUNT;
            let after = kill_one(&mut scene, when, next)?;
            let before = present;
            let told = || format!("kill {kill}, {when:?} from {before} to {next} after {after:?}");
            let tables = installed(&scene.balancer).with_context(told)?;
            let found = Meaning::of(&tables);
            let half = [present, next].iter().all(|whole| found != scene.wanted[*whole]);
            let [all, halves] = left_half.entry(when).or_default();
            (*all, *halves) = (*all + 1, *halves + usize::from(half));

            // The file may have been put back before the next start.
            let then = if scene.random.below(2) == 0 { next } else { present };
            scene.balancer.forget_log();
            scene.balancer.write_configuration(&scene.configurations[then].yaml)?;
            scene.balancer.restart().with_context(told)?;
            scene.settled(then).with_context(|| format!("{}, started with {then}", told()))?;
            present = then;
            if kill.is_multiple_of(20) {
                println!("{kill} kills, {:?}", begun.elapsed());
            }
            load.ensure_running().with_context(told)?;
        }
        println!("{KILLS} kills in {:?}; kind: all, with a plan half applied: {left_half:?}", begun.elapsed());
        ensure!(left_half.values().any(|[_, halves]| *halves > 0), "no kill fell into the writing of the tables");

        let arrived = beat.finish()?;
        let carried = load.finish(&site.servers)?;
        println!("{arrived}\n{carried:?}");
        assert_eq!((arrived.lost, arrived.twice, arrived.servers.len()), (0, 0, 1), "{arrived}");
        carried.ensure_whole()
    })
}

#[test]
fn a_crash_loop_and_files_that_are_wrong_stop_no_traffic() -> Result<()> {
    in_lab("crashloop", |lab| {
        let site = deployments::harmonic(lab)?;
        let mut scene = Scene::set(lab, &site)?;
        let load = Run::udp(&site.client, &site.servers, CONSTANT, LOAD_PORT, RATE)?;
        let beat = Beat::start(&site.client, at(site.client.v4(), 0), &site.servers, at(CONSTANT, BEAT_PORT))?;
        let vips = scene.configurations[0].vips.clone();
        scene.balancer.kill();
        for start in 1..=STARTS {
            scene.balancer.forget_log();
            // Every second one dies before it has read its configuration, or soon after.
            let length = if start % 2 == 0 { SHORT.min(scene.start) } else { scene.start };
            let moment = scene.moment(&(Duration::ZERO..length));
            scene.balancer.restart_without_waiting()?;
            std::thread::sleep(moment);
            scene.balancer.kill();
            let told = || format!("start {start}, killed after {moment:?}");
            Meaning::of(&installed(&scene.balancer)?).ensure_is(&scene.wanted[0]).with_context(told)?;
            scene.sink.reach(&site.client, &vips).with_context(told)?;
        }
        let good = scene.configurations[0].yaml.clone();
        let wrong = [
            String::new(),
            "virtual_services: [".to_owned(),
            good.replace("l4-dr", "l4-rd"),
            good.replace("address: 192.168.94.115", "address: 192.168.94.999"),
            good.replace("device: eth0", "device: eth9"),
        ];
        for (number, yaml) in wrong.iter().cycle().take(2 * wrong.len()).enumerate() {
            scene.balancer.write_configuration(yaml)?;
            scene.balancer.restart_without_waiting()?;
            let output = scene.balancer.wait_end()?;
            ensure!(output.status != 0 && !output.stdout.is_empty(), "file {number} was started with: {output}");
            Meaning::of(&installed(&scene.balancer)?).ensure_is(&scene.wanted[0])?;
            scene.sink.reach(&site.client, &vips).with_context(|| format!("after the wrong file {number}"))?;
        }
        scene.balancer.write_configuration(&good)?;
        scene.balancer.restart()?;
        scene.settled(0)?;
        let status = scene.balancer.status()?;
        assert_eq!(status.0["problems"].as_array().map(Vec::len), Some(0), "{}", status.0["problems"]);

        let (arrived, carried) = (beat.finish()?, load.finish(&site.servers)?);
        println!("{STARTS} starts that were killed, {} wrong files\n{arrived}\n{carried:?}", 2 * wrong.len());
        assert_eq!((arrived.lost, arrived.twice, arrived.servers.len()), (0, 0, 1), "{arrived}");
        carried.ensure_whole()
    })
}

/// Kills the daemon on its way to another configuration; how long it was on it.
fn kill_one(scene: &mut Scene<'_>, when: When, next: usize) -> Result<Duration> {
    if when == When::Starting {
        scene.balancer.kill();
        scene.balancer.forget_log();
    }
    scene.balancer.write_configuration(&scene.configurations[next].yaml)?;
    let begun = Instant::now();
    match when {
        When::Starting => {
            let moment = scene.moment(&(Duration::ZERO..scene.start));
            scene.balancer.restart_without_waiting()?;
            std::thread::sleep(moment);
        }
        When::Reloading => {
            let moment = scene.moment(&(Duration::ZERO..scene.reload));
            scene.balancer.signal(Signal::SIGHUP);
            std::thread::sleep(moment);
        }
        When::Writing => {
            let before = services(&scene.balancer)?;
            let moment = scene.moment(&(Duration::ZERO..PLAN));
            scene.balancer.signal(Signal::SIGHUP);
            while begun.elapsed() < 2 * scene.reload && services(&scene.balancer)? == before {
                std::hint::spin_loop();
            }
            std::thread::sleep(moment);
        }
        When::Naming => {
            let new = scene.balancer.socket().with_file_name("numbers.new");
            let moment = scene.moment(&(Duration::ZERO..NAMES));
            scene.balancer.signal(Signal::SIGHUP);
            // It may be over too soon to be seen: then the kill comes after it.
            while !new.exists() && begun.elapsed() < 2 * scene.reload {
                std::hint::spin_loop();
            }
            std::thread::sleep(moment);
        }
    }
    scene.balancer.kill();
    Ok(begun.elapsed())
}
