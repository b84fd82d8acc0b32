//! Which real server of a pool gets a connection or a request.
//!
//! In: the members with their weights and states, hashes of the client, those that were tried before, and `now`.
//! Out: a member, or why there is none. Absent: who counts connections and suspects somebody ([`Candidate`]), the
//! fallback server, the queue.
//!
//! A member is asked in this order: regular ones with room, backups with room, then suspects among the regular ones and
//! among the backups. Many threads choose at once: nothing is allocated or locked on the way.

mod place;
mod tier;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

pub use place::{client_hash, flow_hash, place_key};
use tier::Tier;

use crate::config::model::Scheduler;

/// A real server as the balancer sees it.
pub trait Candidate {
    /// Connections (or requests) that it has now.
    fn connections(&self) -> u32;

    /// Whether others are asked before it.
    fn is_suspect(&self, now: Instant) -> bool;

    /// It was not suspect and gets a client. False: since it was looked at, it has become suspect, because a client of
    /// another thread is the one that tries it; somebody else is chosen then.
    fn claim(&self, _now: Instant) -> bool {
        true
    }
}

impl<T: Candidate + ?Sized> Candidate for Arc<T> {
    fn connections(&self) -> u32 {
        (**self).connections()
    }

    fn is_suspect(&self, now: Instant) -> bool {
        (**self).is_suspect(now)
    }

    fn claim(&self, now: Instant) -> bool {
        (**self).claim(now)
    }
}

/// When a member is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// First.
    Regular,
    /// When no regular one can.
    Backup,
}

/// A real server of the pool, and what is known of it now.
#[derive(Clone, Debug)]
pub struct Member<S> {
    /// The live object.
    pub server: S,
    /// [`place_key`] of its address and port.
    pub key: u64,
    /// Share of new clients; 0: none.
    pub weight: u16,
    /// When it is asked.
    pub role: Role,
    /// It is up, and not halted.
    pub serves: bool,
    /// It serves, and is not drained.
    pub takes_new: bool,
    /// Once full, it has room again when it has fewer connections than this; 0: as soon as below the maximum.
    pub min_connections: u32,
    /// Full at this many connections; 0: never.
    pub max_connections: u32,
}

/// Whom a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick<'a, S> {
    /// This one.
    Server {
        /// Its place among the members.
        at: usize,
        /// The live object.
        server: &'a S,
    },
    /// There are members that would, and all are at their maximum: the client may wait. One of them may have got room
    /// since; ask again once the client is in the queue.
    Full,
    /// Nobody can: all are down, halted, drained, without weight, or were tried.
    Nobody,
}

/// A pool and its scheduler. It does not change, but for whose turn it is and who is full; when the state of a member
/// changes, the next balancer goes on [`after`](Self::after) this one.
#[derive(Debug)]
pub struct Balancer<S> {
    scheduler: Scheduler,
    members: Box<[Member<S>]>,
    regular: Tier,
    backup: Tier,
    full: Box<[AtomicBool]>,
    turn: Turn,
}

/// Written for every client, so it shares its cache line with nothing that is read for every client.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Turn(AtomicUsize);

/// Who is acceptable.
#[derive(Clone, Copy)]
struct Question<'a> {
    tried: &'a [usize],
    suspects: bool,
    now: Instant,
    /// Nobody is chosen: nothing is noted, and no suspect is given a try.
    idle: bool,
}

impl<S: Candidate> Balancer<S> {
    /// `configured`: real servers that the pool has in the configuration, whatever their state; the size of the ring
    /// goes by it.
    #[must_use]
    pub fn new(scheduler: Scheduler, configured: usize, members: Vec<Member<S>>) -> Self {
        let regular = Tier::new(scheduler, configured, &members, Role::Regular);
        let backup = Tier::new(scheduler, configured, &members, Role::Backup);
        let full = members.iter().map(|_| AtomicBool::new(false)).collect();
        Self { scheduler, members: members.into(), regular, backup, full, turn: Turn::default() }
    }

    /// Goes on where `previous` is: whose turn it is, and who has to fall below the low mark.
    #[must_use]
    pub fn after(self, previous: &Self) -> Self {
        let was_full: BTreeMap<u64, bool> = previous
            .members
            .iter()
            .zip(&previous.full)
            .map(|(member, full)| (member.key, full.load(Relaxed)))
            .collect();
        for (member, full) in self.members.iter().zip(&self.full) {
            full.store(was_full.get(&member.key).copied().unwrap_or(false), Relaxed);
        }
        self.turn.0.store(previous.turn.0.load(Relaxed), Relaxed);
        self
    }

    /// Whom a new client gets.
    ///
    /// `flow`: [`flow_hash`] of the client's address and port. `client`: [`client_hash`] of its address, under the prefix
    /// of persistence. A service with persistence gives the latter for both, so that all its ports agree. `tried`:
    /// places of members that have failed this client.
    pub fn choose(&self, flow: u64, client: u64, tried: &[usize], now: Instant) -> Pick<'_, S> {
        let turn = || self.turn.0.fetch_add(1, Relaxed);
        self.ask(self.start(flow, client, turn), Question { tried, suspects: false, now, idle: false })
    }

    /// Whom [`Self::choose`] would give this client now. Nobody's turn is taken, and nothing changes.
    pub fn peek(&self, flow: u64, client: u64, now: Instant) -> Pick<'_, S> {
        let turn = || self.turn.0.load(Relaxed);
        self.ask(self.start(flow, client, turn), Question { tried: &[], suspects: false, now, idle: true })
    }

    /// Where the scheduler begins to look.
    fn start(&self, flow: u64, client: u64, turn: impl FnOnce() -> usize) -> u64 {
        match self.scheduler {
            Scheduler::WeightedLeastConnection | Scheduler::WeightedRoundRobin => turn() as u64,
            Scheduler::SourceHash => client,
            Scheduler::Maglev => flow,
        }
    }

    fn ask(&self, start: u64, question: Question<'_>) -> Pick<'_, S> {
        let tiers = [&self.regular, &self.backup];
        let trusted = || tiers.iter().find_map(|tier| self.unsuspected(tier, start, question));
        let any = || tiers.iter().find_map(|tier| self.pick(tier, start, Question { suspects: true, ..question }));
        if let Some(at) = trusted().or_else(any) {
            return Pick::Server { at, server: &self.members[at].server };
        }
        let untried = |tier: &Tier| tier.each().any(|at| !question.tried.contains(&at));
        if untried(&self.regular) || untried(&self.backup) { Pick::Full } else { Pick::Nobody }
    }

    /// The member at `at`, if it may have a client that persistence sends there. A drained one may, and one without
    /// weight. A full one may not; a client that already has a connection to it goes on without asking. A suspect may
    /// not while another can, a backup may not while a regular one can: its clients would never come home.
    pub fn admit(&self, at: usize, now: Instant) -> Option<&S> {
        self.admitted(at, now, false)
    }

    /// Whether [`Self::admit`] would let a client go there now. Nothing changes.
    pub fn would_admit(&self, at: usize, now: Instant) -> bool {
        self.admitted(at, now, true).is_some()
    }

    /// Whether the member at `at` has as many connections as it may, as of the last time somebody was chosen or now.
    pub fn is_full(&self, at: usize) -> bool {
        at < self.members.len() && !self.has_room(at, true)
    }

    fn admitted(&self, at: usize, now: Instant, idle: bool) -> Option<&S> {
        let member = self.members.get(at)?;
        if !member.serves || !self.has_room(at, idle) {
            return None;
        }
        let others = Question { tried: &[at], suspects: false, now, idle };
        let another = |tier: &Tier| tier.each().any(|other| self.can(other, others));
        if member.role == Role::Backup && another(&self.regular) {
            return None;
        }
        let suspect = member.server.is_suspect(now) || !(idle || member.server.claim(now));
        (!suspect || !(another(&self.regular) || another(&self.backup))).then_some(&member.server)
    }

    /// As they were given.
    pub fn members(&self) -> &[Member<S>] {
        &self.members
    }

    /// One that is not suspect. Whoever has become so at this moment is not met again.
    fn unsuspected(&self, tier: &Tier, start: u64, question: Question<'_>) -> Option<usize> {
        for _ in tier.each() {
            let at = self.pick(tier, start, question)?;
            if question.idle || self.members[at].server.claim(question.now) {
                return Some(at);
            }
        }
        None
    }

    fn pick(&self, tier: &Tier, start: u64, question: Question<'_>) -> Option<usize> {
        match self.scheduler {
            Scheduler::WeightedLeastConnection => self.least_connection(tier, start, question),
            Scheduler::WeightedRoundRobin => tier.in_turn(start, |at| self.can(at, question)),
            Scheduler::SourceHash | Scheduler::Maglev => tier.on_ring(start, |at| self.can(at, question)),
        }
    }

    /// The one with the fewest connections for its weight; of several, the one whose turn it is. They are counted first,
    /// so that each of them has the same number of turns, whoever else is in the pool.
    fn least_connection(&self, tier: &Tier, turn: u64, question: Question<'_>) -> Option<usize> {
        let loads = || tier.each().filter(|at| self.can(*at, question)).map(|at| (at, self.load(at)));
        let mut least: Option<(usize, Load)> = None;
        let mut equals = 0;
        for (at, load) in loads() {
            match least.map_or(Ordering::Less, |(_, least)| load.compare(least)) {
                Ordering::Less => (least, equals) = (Some((at, load)), 1),
                Ordering::Equal => equals += 1,
                Ordering::Greater => {}
            }
        }
        let (first, least) = least?;
        let mut waiting = turn % equals;
        for (at, load) in loads() {
            if load.compare(least) == Ordering::Greater {
                continue;
            }
            if waiting == 0 {
                return Some(at);
            }
            waiting -= 1;
        }
        // The others have got connections from other threads since they were counted.
        Some(first)
    }

    fn load(&self, at: usize) -> Load {
        let member = &self.members[at];
        Load { connections: u64::from(member.server.connections()) + 1, weight: member.weight.into() }
    }

    fn can(&self, at: usize, question: Question<'_>) -> bool {
        !question.tried.contains(&at)
            && (question.suspects || !self.members[at].server.is_suspect(question.now))
            && self.has_room(at, question.idle)
    }

    /// Full from the maximum on, until it has fallen below the low mark. Threads that look at the same moment may
    /// disagree by one connection.
    fn has_room(&self, at: usize, idle: bool) -> bool {
        let member = &self.members[at];
        if member.max_connections == 0 {
            return true;
        }
        let was = self.full[at].load(Relaxed);
        let mark = if was && member.min_connections != 0 { member.min_connections } else { member.max_connections };
        let full = member.server.connections() >= mark;
        if full != was && !idle {
            self.full[at].store(full, Relaxed);
        }
        !full
    }
}

/// Connections for a weight; with the one that it would get, so that of two idle members the heavier one is less
/// loaded.
#[derive(Clone, Copy)]
struct Load {
    connections: u64,
    weight: u64,
}

impl Load {
    /// a/b < c/d as a*d < c*b.
    fn compare(self, other: Self) -> Ordering {
        (self.connections * other.weight).cmp(&(other.connections * self.weight))
    }
}

#[cfg(test)]
mod tests;
