//! The datapath's clock as the daemon reads it: jiffies, and how many of them are a tick.

use std::time::Duration;

use aya::programs::Xdp;
use aya::{Ebpf, TestRun, TestRunOptions};
use lb_common::abi::Ticks;

use super::{Error, object};

/// Jiffies a second that kernels are built with (kernel/Kconfig.hz).
const RATES: [u32; 5] = [100, 250, 300, 1000, 1024];

/// How long the rate is measured at least: 10 jiffies of the slowest kernel, so that one more or less
/// is nearer to its rate than to another.
const MEASUREMENT: Duration = Duration::from_millis(100);

/// Reads the kernel's jiffies by running a two-line program.
pub struct Clock {
    program: Ebpf,
    shift: u8,
    tick: Duration,
}

impl Clock {
    /// Loads the program and measures the rate. Takes about a tenth of a second.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn start() -> Result<Self, Error> {
        let mut program = Ebpf::load(object::CLOCK).map_err(Error::Load)?;
        xdp(&mut program)?.load().map_err(Error::loading)?;
        let mut clock = Self { program, shift: 0, tick: Duration::ZERO };
        let rate = clock.measure()?;
        clock.shift = tick_shift(rate);
        clock.tick = Duration::from_nanos((1_000_000_000 << clock.shift) / u64::from(rate));
        Ok(clock)
    }

    /// Bits of the jiffies below a tick.
    #[must_use]
    pub fn shift(&self) -> u8 {
        self.shift
    }

    /// Length of a tick.
    #[must_use]
    pub fn tick(&self) -> Duration {
        self.tick
    }

    /// Now, as the datapath notes it.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn now(&mut self) -> Result<Ticks, Error> {
        #[expect(clippy::cast_possible_truncation, reason = "ticks wrap, on both sides alike")]
        let ticks = (self.jiffies()? >> self.shift) as Ticks;
        Ok(ticks)
    }

    /// Jiffies a second. Both readings are exact to a jiffy, and a process that is kept waiting measures
    /// longer, not wrong.
    pub(super) fn measure(&mut self) -> Result<u32, Error> {
        let begin = self.reading()?;
        std::thread::sleep(MEASUREMENT);
        let end = self.reading()?;
        Ok(nearest_rate(begin, end))
    }

    fn jiffies(&mut self) -> Result<u64, Error> {
        self.reading().map(|reading| reading.jiffies)
    }

    fn reading(&mut self) -> Result<Reading, Error> {
        let mut out = [0_u8; 64];
        let options = TestRunOptions { data_in: Some(&[0; 64]), data_out: Some(&mut out), ..TestRunOptions::default() };
        xdp(&mut self.program)?.test_run(options).map_err(Error::Program)?;
        let numbers = out.as_chunks::<8>().0;
        Ok(Reading { jiffies: u64::from_ne_bytes(numbers[0]), nanoseconds: u64::from_ne_bytes(numbers[1]) })
    }
}

/// What the program says.
#[derive(Clone, Copy, Debug)]
struct Reading {
    jiffies: u64,
    /// Of CLOCK_MONOTONIC, at the same moment.
    nanoseconds: u64,
}

fn xdp(program: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = program.program_mut("lb_clock").ok_or(Error::NoProgram("lb_clock"))?;
    program.try_into().map_err(Error::Program)
}

/// The rate that a kernel can have and that is nearest in proportion.
fn nearest_rate(begin: Reading, end: Reading) -> u32 {
    let seconds = Duration::from_nanos(end.nanoseconds.saturating_sub(begin.nanoseconds)).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few dozen jiffies")]
    let measured = end.jiffies.saturating_sub(begin.jiffies) as f64 / seconds;
    let distance = |rate: u32| (measured / f64::from(rate)).ln().abs();
    RATES.into_iter().min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap_or(RATES[0])
}

/// The power of two jiffies that is nearest to a second, at least half of one.
fn tick_shift(rate: u32) -> u8 {
    let below = rate.ilog2();
    let shift = if rate - (1 << below) > (1 << (below + 1)) - rate { below + 1 } else { below };
    u8::try_from(shift).unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_rate_snaps_to_one_that_kernels_have() {
        let begin = Reading { jiffies: 4_294_892_296, nanoseconds: 7_000_000_000 };
        for rate in RATES.into_iter().filter(|rate| *rate != 1024) {
            for milliseconds in [100_u32, 104, 137, 1_900] {
                // One jiffy less or more is in between, by where in a jiffy the readings fall.
                for off in [-1, 0, 1] {
                    let jiffies = u64::from(rate * milliseconds / 1000).wrapping_add_signed(off);
                    let end = Reading {
                        jiffies: begin.jiffies + jiffies,
                        nanoseconds: begin.nanoseconds + u64::from(milliseconds) * 1_000_000,
                    };
                    assert_eq!(nearest_rate(begin, end), rate, "{jiffies} in {milliseconds} ms");
                }
            }
        }
    }

    #[test]
    fn a_tick_is_about_a_second() {
        for (rate, shift) in [(100, 7), (250, 8), (300, 8), (1000, 10), (1024, 10)] {
            assert_eq!(tick_shift(rate), shift, "{rate}");
            let seconds = f64::from(1 << shift) / f64::from(rate);
            assert!((0.75..=1.5).contains(&seconds), "{rate}: {seconds}");
        }
    }
}
