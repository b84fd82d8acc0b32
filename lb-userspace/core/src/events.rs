//! The log of events: what happened to this load balancer, bounded, the latest kept.
//!
//! In: happenings with their time. Out: [`Event`]s with numbers, and those that a query means. Absent: the clock,
//! and where they are kept over a restart.

use std::collections::VecDeque;

use crate::view::{Event, EventKind, Events, EventsQuery, Severity};

/// Events kept, unless the caller says otherwise.
pub const DEFAULT_LIMIT: usize = 10_000;

/// Something that happened, not yet numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What it is about.
    pub kind: EventKind,
    /// Whether an administrator should look.
    pub severity: Severity,
    /// The virtual service, if it is about one.
    pub service: Option<String>,
    /// The real server, if it is about one.
    pub server: Option<String>,
    /// Who did it, if somebody did.
    pub by: Option<String>,
    /// One sentence without a full stop.
    pub sentence: String,
}

/// The latest events.
#[derive(Clone, Debug)]
pub struct Log {
    limit: usize,
    events: VecDeque<Event>,
    /// Of the latest event, kept or not; 0: there was none.
    last: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }
}

impl Log {
    /// Keeps at most `limit` events, and at least one.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { limit: limit.max(1), events: VecDeque::new(), last: 0 }
    }

    /// Goes on from events of before. One that is not later than the one before it is left out: nobody
    /// could ask for what comes after it.
    pub fn resume(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if event.id > self.last {
                self.keep(event);
            }
        }
    }

    /// Numbers an event and keeps it.
    pub fn push(&mut self, at_ms: u64, happening: Happening) -> &Event {
        let Happening { kind, severity, service, server, by, sentence } = happening;
        let id = self.last.saturating_add(1);
        self.keep(Event { id, at_ms, kind, severity, service, server, by, sentence })
    }

    fn keep(&mut self, event: Event) -> &Event {
        if self.events.len() >= self.limit {
            self.events.pop_front();
        }
        self.last = event.id;
        self.events.push_back(event);
        &self.events[self.events.len() - 1]
    }

    /// Every event that is kept, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Whether anything matches: a query that waits is answered when it does.
    #[must_use]
    pub fn any(&self, query: &EventsQuery) -> bool {
        self.events.iter().rev().any(|event| query.matches(event))
    }

    /// The latest events that the query means, the oldest first.
    #[must_use]
    pub fn select(&self, query: &EventsQuery) -> Events {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let matching = self.events.iter().rev().filter(|event| query.matches(event));
        let mut events: Vec<Event> = matching.take(limit).cloned().collect();
        events.reverse();
        let oldest = self.events.front().map_or(0, |event| event.id);
        Events { events, last: self.last, oldest }
    }
}

#[cfg(test)]
mod tests;
