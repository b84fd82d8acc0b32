//! Random happenings against a model with names for its states.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Happens {
    ConnectFailed,
    Connected,
    Answered(u16),
    Claim,
    Wait(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let status = prop::sample::select(vec![200, 404, 500, 503]);
    prop_oneof![
        4 => Just(Happens::ConnectFailed),
        2 => Just(Happens::Connected),
        4 => status.prop_map(Happens::Answered),
        3 => Just(Happens::Claim),
        2 => (0..12_000_u64).prop_map(Happens::Wait),
    ]
}

const REST_MS: u64 = 10_000;

/// Times are milliseconds since the beginning.
#[derive(Default)]
struct Model {
    failures: u32,
    errors: u32,
    /// Whether answers were the cause, and until when it rests or the trial goes on.
    suspect: Option<(bool, u64)>,
    trial: bool,
}

impl Model {
    /// Whether it became suspect just now.
    fn fails(&mut self, by_answers: bool, enough: bool, now: u64) -> bool {
        match self.suspect {
            None if enough => {
                self.suspect = Some((by_answers, now + REST_MS));
                true
            }
            None => false,
            Some((cause, until)) => {
                if self.trial || now >= until {
                    self.suspect = Some((cause, now + REST_MS));
                    self.trial = false;
                }
                false
            }
        }
    }

    fn recovers(&mut self, ends: impl Fn(bool) -> bool) -> bool {
        let over = self.trial && self.suspect.is_some_and(|(by_answers, _)| ends(by_answers));
        if over {
            *self = Self::default();
        }
        over
    }

    fn is_suspect(&self, now: u64) -> bool {
        self.suspect.is_some_and(|(_, until)| now < until)
    }
}

proptest! {
    #[test]
    fn nothing_differs_from_the_model(
        connect in 0..4_u32, answers in 0..4_u32, all in prop::collection::vec(happens(), 1..200),
    ) {
        let begin = Instant::now();
        let passive = Passive::new(Some(config(connect, answers)), begin);
        let (mut model, mut now) = (Model::default(), 0);
        let mut was_suspect = false;
        for happens in all {
            let at = begin + Duration::from_millis(now);
            let (change, fell, rose) = match happens {
                Happens::Wait(more) => {
                    now += more;
                    continue;
                }
                Happens::Claim => {
                    let free = !model.is_suspect(now);
                    prop_assert_eq!(passive.claim(at), free);
                    if let (true, Some((cause, _))) = (free, model.suspect) {
                        model.suspect = Some((cause, now + REST_MS));
                        model.trial = true;
                    }
                    continue;
                }
                Happens::ConnectFailed => {
                    model.failures += 1;
                    let fell = connect > 0 && model.fails(false, model.failures >= connect, now);
                    (passive.connect_failed(at), fell, false)
                }
                Happens::Connected => {
                    model.failures = 0;
                    (passive.connected(), false, model.recovers(|by_answers| !by_answers))
                }
                Happens::Answered(status @ 0..500) => {
                    model.errors = 0;
                    (passive.answered(status, at), false, model.recovers(|_| true))
                }
                Happens::Answered(status) => {
                    let rose = model.recovers(|by_answers| !by_answers);
                    let counts = !rose && answers > 0;
                    model.errors += u32::from(counts);
                    let fell = counts && model.fails(true, model.errors >= answers, now);
                    (passive.answered(status, at), fell, rose)
                }
            };
            match change {
                None => prop_assert!(!fell && !rose),
                Some(Change::Recovered) => {
                    prop_assert!(rose && was_suspect);
                    was_suspect = false;
                }
                Some(Change::BecameSuspect(sentence)) => {
                    prop_assert!(fell && !was_suspect);
                    prop_assert!(sentence.ends_with("it is asked last for 10 s"), "{}", sentence);
                    was_suspect = true;
                }
            }
            prop_assert_eq!(passive.is_suspect(at), model.is_suspect(now));
        }
    }
}
