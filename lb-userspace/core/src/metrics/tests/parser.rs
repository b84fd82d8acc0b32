//! A strict reader of the text format, written from its description and not from the writer:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>. It also refuses what the format
//! leaves to taste: families without HELP, blank lines, timestamps.

use std::collections::HashSet;

pub(super) struct Exposition {
    pub(super) families: Vec<Family>,
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: String,
}

impl Exposition {
    pub(super) fn family(&self, name: &str) -> &Family {
        self.families.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// The value of the series with exactly these labels.
    pub(super) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let wanted: Vec<_> = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let sample = self.family(name).samples.iter().find(|sample| sample.labels == wanted)?;
        Some(&sample.value)
    }

    pub(super) fn whole(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.get(name, labels).unwrap_or_else(|| panic!("there is no {name} {labels:?}"));
        value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
    }
}

pub(super) fn parse(text: &str) -> Result<Exposition, String> {
    let text = text.strip_suffix('\n').ok_or("the last line has no end")?;
    let mut families: Vec<Family> = Vec::new();
    let mut names = HashSet::new();
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(|| format!("not the HELP of a family: {line}"))?;
        check_name(name, true)?;
        if !names.insert(name.to_owned()) {
            return Err(format!("{name} begins twice"));
        }
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        let kind = kind.filter(|kind| ["counter", "gauge"].contains(kind)).ok_or(format!("{name} has no type"))?;
        let mut family =
            Family { name: name.to_owned(), kind: kind.to_owned(), help: unescape(help, false)?, samples: vec![] };
        let mut series = HashSet::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let rest = line.strip_prefix(name).ok_or_else(|| format!("not of {name}: {line}"))?;
            let sample = parse_sample(rest).map_err(|error| format!("{error}: {line}"))?;
            let mut labels = sample.labels.clone();
            labels.sort();
            if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(format!("a label twice: {line}"));
            }
            if !series.insert(labels) {
                return Err(format!("a series twice: {line}"));
            }
            family.samples.push(sample);
        }
        families.push(family);
    }
    Ok(Exposition { families })
}

fn parse_sample(mut rest: &str) -> Result<Sample, String> {
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (name, after) = rest.split_once("=\"").ok_or("no value of a label")?;
            check_name(name, false)?;
            let end = end_of_quoted(after).ok_or("an open quote")?;
            labels.push((name.to_owned(), unescape(&after[..end], true)?));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').ok_or("an open brace")?;
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let number = value.trim_start_matches(['+', '-']);
    let numeric = number.starts_with(|c: char| c.is_ascii_digit()) && value.parse::<f64>().is_ok();
    if !numeric && !["NaN", "+Inf", "-Inf"].contains(&value) {
        return Err(format!("no number: {value}"));
    }
    Ok(Sample { labels, value: value.to_owned() })
}

fn check_name(name: &str, colons: bool) -> Result<(), String> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    let good = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
    if good { Ok(()) } else { Err(format!("not a name: {name}")) }
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

fn unescape(text: &str, quoted: bool) -> Result<String, String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('\\') => plain.push('\\'),
            Some('"') if quoted => plain.push('"'),
            other => return Err(format!("not an escape: {other:?}")),
        }
    }
    Ok(plain)
}
