//! A family of series: one name, one meaning, one set of labels.

use super::source::Source;
use super::text::{self, Value};

/// What the numbers of a family do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They only grow, until they begin at 0 again.
    Counter,
    /// They go up and down.
    Gauge,
}

impl Kind {
    /// Its name in the text.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A family of series.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// One sentence.
    pub(super) help: &'static str,
    pub(super) samples: fn(&Source<'_>, &mut Samples<'_>),
}

/// Families that belong together, for the reference.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) families: &'static [Family],
}

impl Family {
    /// Writes the family with all its samples.
    pub(super) fn write(&'static self, source: &Source<'_>, text: &mut String) {
        text::head(text, self.name, self.kind.word(), self.help);
        (self.samples)(source, &mut Samples { family: self, text });
    }
}

/// Takes the samples of one family.
pub(super) struct Samples<'t> {
    family: &'static Family,
    text: &'t mut String,
}

impl Samples<'_> {
    /// One sample; `labels` are the values of the family's labels, in their order.
    pub(super) fn add(&mut self, labels: &[&str], value: impl Into<Value>) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "the labels of {}", self.family.name);
        let labels = self.family.labels.iter().copied().zip(labels.iter().copied());
        text::sample(self.text, self.family.name, labels, value.into());
    }

    /// One sample for each state, 1 for the one that holds; the state is the last label.
    pub(super) fn states<const N: usize>(&mut self, of: [&str; N], states: impl Iterator<Item = (&'static str, bool)>) {
        let mut labels = of.to_vec();
        for (state, holds) in states {
            labels.push(state);
            self.add(&labels, holds);
            labels.pop();
        }
    }
}
