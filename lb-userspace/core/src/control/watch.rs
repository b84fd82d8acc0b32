//! Which questions are asked of the real servers, and for whom.
//!
//! Services that ask the same question of the same server share one probe. A question keeps its number
//! over reloads, and hands it on when everybody who asked it asks another one of the same address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use super::{Control, Known, Memories, Notice};
use crate::config::model::{HealthCheck, Probe};
use crate::health::{self, State, Target, TargetId};
use crate::tables::{ServerIdentity, ServerKey};
use crate::view::EventKind;

/// What is asked of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    address: IpAddr,
    check: HealthCheck,
    subject: Option<(IpAddr, u16)>,
}

impl Question {
    /// `None`: nothing is asked.
    fn of(known: &Known) -> Option<Self> {
        let check = known.described.check.clone()?;
        // Only scripts are told whom they ask for; everything else is the same question for each VIP.
        let subject = matches!(check.probe, Probe::Script { .. }).then_some(known.described.vip);
        Some(Self { address: known.address(), check, subject })
    }
}

/// A question, and on whose behalf it is asked.
struct Posed {
    question: Question,
    askers: Vec<(Asker, Option<TargetId>)>,
}

/// Questions by address and number: the number of equal questions is found among few.
struct Numbered(BTreeMap<IpAddr, Vec<(TargetId, Question)>>);

impl Numbered {
    fn new(questions: Vec<(TargetId, Question)>) -> Self {
        let mut numbered: BTreeMap<IpAddr, Vec<(TargetId, Question)>> = BTreeMap::new();
        for (id, question) in questions {
            numbered.entry(question.address).or_default().push((id, question));
        }
        Self(numbered)
    }

    fn find(&self, question: &Question) -> Option<TargetId> {
        let same = self.0.get(&question.address)?.iter().find(|(_, known)| known == question);
        same.map(|(id, _)| *id)
    }

    fn holds(&self, address: IpAddr, id: TargetId) -> bool {
        self.0.get(&address).is_some_and(|there| there.iter().any(|(of, _)| *of == id))
    }
}

/// What is remembered of the target that answers these. Memories that contradict each other, because the
/// questions were different then, say nothing.
fn memory(askers: &[(Asker, Option<TargetId>)], address: IpAddr, memories: &Memories) -> Option<health::Memory> {
    let mut remembered = askers.iter().filter_map(|(asker, _)| match asker {
        Asker::Server(key) => memories.get(&(key.clone(), address)),
        Asker::Leaver(_) => None,
    });
    let first = remembered.next()?;
    remembered.all(|other| other.up == first.up).then(|| first.clone())
}

impl Control {
    /// Tells the other machines whom to look after. `memories` are from before a restart.
    pub(super) fn watch(&mut self, memories: &Memories, now: Instant) {
        // Connections of the proxy find their way by the kernel's own means.
        let forwarded = self.everybody().filter(|(_, known)| known.is_forwarded());
        let addresses: BTreeSet<IpAddr> = forwarded.map(|(_, known)| known.address()).collect();
        self.neighbours.handle(crate::neighbour::Input::Watch(addresses), now);
        let moved = self.ask(memories, now);
        self.pump(now);
        for asker in moved {
            self.follow(&asker, memories.is_empty(), now);
        }
    }

    /// Numbers the questions and hands them to the health machine. Gives those who get their answer from
    /// another target than before.
    fn ask(&mut self, memories: &Memories, now: Instant) -> Vec<Asker> {
        let before = Numbered::new(std::mem::take(&mut self.questions));
        let posed = self.posed();
        // A question that somebody still asks keeps its number.
        let kept: BTreeSet<TargetId> = posed.iter().filter_map(|posed| before.find(&posed.question)).collect();
        let (mut targets, mut taken, mut moved) = (Vec::new(), BTreeSet::new(), Vec::new());
        for Posed { question, askers } in posed {
            let free = |id: &TargetId| before.holds(question.address, *id) && !kept.contains(id) && !taken.contains(id);
            let handed_on = || askers.iter().filter_map(|(_, old)| *old).find(free);
            let id = before.find(&question).or_else(handed_on).unwrap_or_else(|| self.number());
            taken.insert(id);
            let memory = memory(&askers, question.address, memories);
            let Question { address, check, subject } = question.clone();
            targets.push(Target { id, address, check, subject, memory });
            self.questions.push((id, question));
            for (asker, old) in askers {
                if let Some(known) = self.known_mut(&asker) {
                    known.target = Some(id);
                }
                if old != Some(id) {
                    moved.push(asker);
                }
            }
        }
        self.health.handle(health::Input::Configure(targets), now);
        moved
    }

    /// Every question, and who asks it with the number that answered so far. Whoever asks nothing has no
    /// number any more.
    fn posed(&mut self) -> Vec<Posed> {
        let (mut posed, mut places): (Vec<Posed>, BTreeMap<IpAddr, Vec<usize>>) = (Vec::new(), BTreeMap::new());
        let mut silent = Vec::new();
        for (asker, known) in self.everybody() {
            let Some(question) = Question::of(known) else {
                silent.push(asker);
                continue;
            };
            let there = places.entry(question.address).or_default();
            match there.iter().find(|place| posed[**place].question == question) {
                Some(place) => posed[*place].askers.push((asker, known.target)),
                None => {
                    there.push(posed.len());
                    posed.push(Posed { question, askers: vec![(asker, known.target)] });
                }
            }
        }
        for asker in silent {
            if let Some(known) = self.known_mut(&asker) {
                known.target = None;
            }
        }
        posed
    }

    fn number(&mut self) -> TargetId {
        let id = TargetId(self.next_target);
        self.next_target = self.next_target.wrapping_add(1);
        id
    }

    /// Takes over what a target says that somebody has just been joined to. After a restart it says nothing
    /// new, and so `tells` nobody.
    fn follow(&mut self, asker: &Asker, tells: bool, now: Instant) {
        let target = self.known(asker).and_then(|known| known.target);
        let Some(view) = target.and_then(|id| self.health.view(id, now)) else { return };
        let Some(known) = self.known_mut(asker) else { return };
        if view.state == State::Checking || view.state == known.health {
            return;
        }
        let was = known.health;
        known.health_changed(view.state, now);
        known.since = now.checked_sub(view.since).unwrap_or(now);
        self.dirty = true;
        let is_news = was != State::Checking || view.state == State::Down;
        if tells
            && is_news
            && let Asker::Server(key) = asker
        {
            let sentence = format!("{}: {}", view.state, view.reason);
            self.notice(Notice::new(key, EventKind::Health, view.state == State::Down, sentence));
        }
    }

    /// A target has changed its state: so has everybody it answers for.
    pub(super) fn transition(&mut self, transition: &health::Transition, now: Instant) {
        let asks = |known: &Known| known.target == Some(transition.id);
        // Names are copied of those only: many real servers may fail in one moment.
        let servers = self.servers.iter().filter(|(_, known)| asks(known)).map(|(key, _)| Asker::Server(key.clone()));
        let leavers = self.leavers.iter().filter(|(_, leaver)| asks(&leaver.known));
        let askers: Vec<Asker> = servers.chain(leavers.map(|(identity, _)| Asker::Leaver(identity.clone()))).collect();
        for asker in askers {
            self.remembered = false;
            let Some(known) = self.known_mut(&asker) else { continue };
            // A target that is new, because the check has changed, may find what was known before.
            if known.health == transition.to {
                continue;
            }
            known.health_changed(transition.to, now);
            self.dirty = true;
            let worse = transition.to == State::Down;
            match &asker {
                Asker::Server(key) => {
                    let sentence = format!("{}: {}", transition.to, transition.reason);
                    self.notice(Notice::new(key, EventKind::Health, worse, sentence));
                }
                Asker::Leaver(identity) if worse => self.leaver_failed(identity, &transition.reason),
                Asker::Leaver(_) => {}
            }
        }
    }

    /// Everybody that packets may be sent to.
    pub(super) fn everybody(&self) -> impl Iterator<Item = (Asker, &Known)> {
        let servers = self.servers.iter().map(|(key, known)| (Asker::Server(key.clone()), known));
        let leavers = self.leavers.iter().map(|(identity, leaver)| (Asker::Leaver(identity.clone()), &leaver.known));
        servers.chain(leavers)
    }

    fn known(&self, asker: &Asker) -> Option<&Known> {
        match asker {
            Asker::Server(key) => self.servers.get(key),
            Asker::Leaver(identity) => self.leavers.get(identity).map(|leaver| &leaver.known),
        }
    }

    fn known_mut(&mut self, asker: &Asker) -> Option<&mut Known> {
        match asker {
            Asker::Server(key) => self.servers.get_mut(key),
            Asker::Leaver(identity) => self.leavers.get_mut(identity).map(|leaver| &mut leaver.known),
        }
    }
}

/// On whose behalf a question is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A server of the configuration.
    Server(ServerKey),
    /// One on its way out.
    Leaver(ServerIdentity),
}
