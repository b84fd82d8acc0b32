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

/// Questions by address and number: the number of equal questions is found among few.
#[derive(Default)]
struct Numbered(BTreeMap<IpAddr, Vec<(TargetId, Question)>>);

impl Numbered {
    fn insert(&mut self, id: TargetId, question: Question) {
        self.0.entry(question.address).or_default().push((id, question));
    }

    fn find(&self, question: &Question) -> Option<TargetId> {
        let same = self.0.get(&question.address)?.iter().find(|(_, known)| known == question);
        same.map(|(id, _)| *id)
    }
}

impl Control {
    /// Tells the other machines whom to look after. `memories` are from before a restart.
    pub(super) fn watch(&mut self, memories: &Memories, now: Instant) {
        let addresses: BTreeSet<IpAddr> = self.everybody().map(|(_, known)| known.address()).collect();
        self.neighbours.handle(crate::neighbour::Input::Watch(addresses), now);
        let moved = self.ask(memories, now);
        self.pump(now);
        for key in moved {
            self.follow(&key, now);
        }
    }

    /// Numbers the questions and hands them to the health machine. Gives those who get their answer from
    /// another target than before.
    fn ask(&mut self, memories: &Memories, now: Instant) -> Vec<Asker> {
        let mut before = Numbered::default();
        for (id, question) in std::mem::take(&mut self.questions) {
            before.insert(id, question);
        }
        let asked: Vec<(Asker, Option<TargetId>, Option<Question>)> =
            self.everybody().map(|(asker, known)| (asker, known.target, Question::of(known))).collect();
        // A question that somebody still asks keeps its number.
        let kept: BTreeSet<TargetId> =
            asked.iter().filter_map(|(_, _, question)| before.find(question.as_ref()?)).collect();
        let (mut numbered, mut taken) = (Numbered::default(), BTreeSet::new());
        let (mut targets, mut moved) = (Vec::new(), Vec::new());
        for (asker, old, question) in asked {
            let id = match question {
                None => None,
                Some(question) => Some(match numbered.find(&question) {
                    Some(id) => id,
                    None => {
                        let handed_on = old.filter(|id| {
                            let same_address = before.0.get(&question.address);
                            let known = same_address.is_some_and(|known| known.iter().any(|(of, _)| of == id));
                            known && !kept.contains(id) && !taken.contains(id)
                        });
                        let id = before.find(&question).or(handed_on).unwrap_or_else(|| self.number());
                        let memory = match &asker {
                            Asker::Server(key) => memories.get(&(key.clone(), question.address)).cloned(),
                            Asker::Leaver(_) => None,
                        };
                        let Question { address, check, subject } = question.clone();
                        targets.push(Target { id, address, check, subject, memory });
                        taken.insert(id);
                        numbered.insert(id, question);
                        id
                    }
                }),
            };
            if let Some(known) = self.known_mut(&asker) {
                known.target = id;
            }
            if id != old {
                moved.push(asker);
            }
        }
        self.questions = numbered.0.into_values().flatten().collect();
        self.health.handle(health::Input::Configure(targets), now);
        moved
    }

    fn number(&mut self) -> TargetId {
        let id = TargetId(self.next_target);
        self.next_target = self.next_target.wrapping_add(1);
        id
    }

    /// Takes over what a target says that somebody has just been joined to.
    fn follow(&mut self, asker: &Asker, now: Instant) {
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
        if was != State::Checking
            && let Asker::Server(key) = asker
        {
            let sentence = format!("{}: {}", view.state, view.reason);
            self.notice(Notice::new(key, EventKind::Health, view.state == State::Down, sentence));
        }
    }

    /// A target has changed its state: so has everybody it answers for.
    pub(super) fn transition(&mut self, transition: &health::Transition, now: Instant) {
        let asks = |known: &Known| known.target == Some(transition.id);
        let askers: Vec<Asker> = self.everybody().filter(|(_, known)| asks(known)).map(|(asker, _)| asker).collect();
        for asker in askers {
            let Some(known) = self.known_mut(&asker) else { continue };
            known.health_changed(transition.to, now);
            self.remembered = false;
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
