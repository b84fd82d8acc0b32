//! Requests at a constant rate, and how long each takes from the moment when it was due: who is late makes the next
//! ones wait too, and they count.
//!
//! One thread asks over all connections. With a thread for each, what was measured was how long these waited for
//! their CPU.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::answer;

const CONNECTIONS: u32 = 64;

/// Of the timer, where connections have their places.
const TIMER: u64 = u64::MAX;

/// Asks over all connections together so many times a second; 0: each connection asks again as soon as it is
/// answered. The rate that came about, and the 99th percentile.
pub(super) fn ask(target: SocketAddr, time: Duration, rate: f64) -> Result<(f64, Duration)> {
    let interval = (rate > 0.0).then(|| Duration::from_secs_f64(f64::from(CONNECTIONS) / rate));
    let mut lines = Lines::open(target)?;
    let begin = Instant::now();
    let end = begin + time;
    // Each begins in its own part of the interval.
    let mut waiting: BinaryHeap<Reverse<(Instant, usize)>> = (0..CONNECTIONS)
        .map(|number| Reverse((begin + interval.unwrap_or_default() * number / CONNECTIONS, number as usize)))
        .collect();
    let mut times = Vec::new();
    let mut asked = 0;
    loop {
        let now = Instant::now();
        while let Some(Reverse((due, place))) = waiting.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            waiting.pop();
            if due < end {
                lines.ask(place, due)?;
                asked += 1;
            }
        }
        if asked == 0 && waiting.is_empty() {
            break;
        }
        for (place, due) in lines.answered(waiting.peek().map(|Reverse((next, _))| *next))? {
            asked -= 1;
            times.push(due.elapsed());
            waiting.push(Reverse((interval.map_or_else(Instant::now, |interval| due + interval), place)));
        }
    }
    times.sort_unstable();
    let done = f64::from(u32::try_from(times.len())?);
    let place = times.len().saturating_sub(1 + times.len() / 100);
    let latency = times.get(place).context("nothing was answered")?;
    Ok((done / begin.elapsed().as_secs_f64(), *latency))
}

/// The connections, and when what each has asked was due.
struct Lines {
    epoll: Epoll,
    timer: TimerFd,
    lines: Vec<(TcpStream, Instant)>,
}

impl Lines {
    fn open(target: SocketAddr) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let mut lines = Vec::new();
        for place in 0..CONNECTIONS {
            let stream = TcpStream::connect(target).context("connecting")?;
            stream.set_nodelay(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, u64::from(place)))?;
            lines.push((stream, Instant::now()));
        }
        Ok(Self { epoll, timer, lines })
    }

    fn ask(&mut self, place: usize, due: Instant) -> Result<()> {
        let (stream, of) = self.lines.get_mut(place).context("no such connection")?;
        *of = due;
        answer::send(stream)
    }

    /// Waits for answers, until this moment at the longest.
    fn answered(&mut self, until: Option<Instant>) -> Result<Vec<(usize, Instant)>> {
        let mut patience = EpollTimeout::NONE;
        if let Some(until) = until {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => patience = EpollTimeout::ZERO,
                left => {
                    let left = Expiration::OneShot(TimeSpec::from_duration(left));
                    self.timer.set(left, TimerSetTimeFlags::empty())?;
                }
            }
        }
        let mut events = [EpollEvent::empty(); CONNECTIONS as usize];
        let count = self.epoll.wait(&mut events, patience)?;
        let mut answered = Vec::new();
        for event in events.iter().take(count) {
            if event.data() == TIMER {
                self.timer.wait()?;
                continue;
            }
            let place = usize::try_from(event.data())?;
            let (stream, due) = self.lines.get_mut(place).context("no such connection")?;
            answer::receive(stream)?;
            answered.push((place, *due));
        }
        Ok(answered)
    }
}
