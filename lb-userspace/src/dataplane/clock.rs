//! The datapath's clock as the daemon reads it: jiffies, and how many of them are a tick.

use std::time::{Duration, Instant};

use aya::programs::Xdp;
use aya::{Ebpf, TestRun, TestRunOptions};
use lb_common::abi::Ticks;

use super::{Error, object};

/// Jiffies a second that kernels are built with (kernel/Kconfig.hz).
const RATES: [u32; 5] = [100, 250, 300, 1000, 1024];

/// How long the rate is measured at most; a jiffy of the slowest kernel is 10 ms.
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

    /// Jiffies a second, measured between two edges so that half a jiffy does not count.
    fn measure(&mut self) -> Result<u32, Error> {
        let (first, begin) = self.edge()?;
        let mut last = (first, begin);
        while last.1 - begin < MEASUREMENT {
            last = self.edge()?;
        }
        let seconds = (last.1 - begin).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a few dozen jiffies")]
        let rate = (last.0 - first) as f64 / seconds;
        Ok(nearest_rate(rate))
    }

    /// Waits for the next jiffy.
    fn edge(&mut self) -> Result<(u64, Instant), Error> {
        let before = self.jiffies()?;
        loop {
            let (now, at) = (self.jiffies()?, Instant::now());
            if now != before {
                return Ok((now, at));
            }
        }
    }

    fn jiffies(&mut self) -> Result<u64, Error> {
        let mut out = [0_u8; 64];
        let options = TestRunOptions { data_in: Some(&[0; 64]), data_out: Some(&mut out), ..TestRunOptions::default() };
        xdp(&mut self.program)?.test_run(options).map_err(Error::Program)?;
        Ok(u64::from_ne_bytes([out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7]]))
    }
}

fn xdp(program: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = program.program_mut("lb_clock").ok_or(Error::NoProgram("lb_clock"))?;
    program.try_into().map_err(Error::Program)
}

/// The rate that a kernel can have and that is nearest in proportion.
fn nearest_rate(measured: f64) -> u32 {
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
        for (measured, rate) in [(100.4, 100), (247.0, 250), (253.1, 250), (297.0, 300), (992.0, 1000)] {
            assert_eq!(nearest_rate(measured), rate, "{measured}");
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
