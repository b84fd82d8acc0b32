//! Web clients: curl, which says what it got and from whom.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::files;
use crate::lab::{Host, Output, Process, require};

/// No proxy of this machine is for the lab.
const CURL: &[&str] = &["curl", "--silent", "--show-error", "--noproxy", "*"];
const BEGIN_DEADLINE: Duration = Duration::from_secs(15);
const END_DEADLINE: Duration = Duration::from_secs(60);
/// A download has begun when this much is there.
const BEGUN: u64 = 1_000_000;

/// An answer over HTTP, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// `1.1` or `2`.
    pub version: String,
    /// Fields by their names in lower case; of several with one name the last.
    pub fields: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of a field, empty when there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Asks for `url` with more options of curl, on a connection of its own.
///
/// # Errors
/// When curl is missing, or there is no answer.
pub fn ask(client: &Host, url: &str, options: &[&str]) -> Result<Answer> {
    let output = try_ask(client, url, options)?.success()?;
    parse(&output.stdout).with_context(|| format!("no answer: {output}"))
}

/// The same; no answer is in the output.
///
/// # Errors
/// When curl is missing.
pub fn try_ask(client: &Host, url: &str, options: &[&str]) -> Result<Output> {
    require("curl", "curl")?;
    client.run(&[CURL, &["--max-time", "20", "--include", "--suppress-connect-headers"], options, &[url]].concat())
}

fn parse(text: &str) -> Option<Answer> {
    // Answers that come before, such as 100, are no answers.
    let mut rest = text;
    loop {
        let (head, body) = rest.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let version = first.next()?.strip_prefix("HTTP/")?.to_owned();
        let status: u16 = first.next()?.parse().ok()?;
        rest = body;
        if status < 200 {
            continue;
        }
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        return Some(Answer { status, version, fields, body: body.to_owned() });
    }
}

/// A download that takes a while.
#[derive(Debug)]
pub struct Download {
    process: Process,
    body: PathBuf,
    fields: PathBuf,
}

impl Download {
    /// Starts one of something that the server gives slowly, and waits until some of it has come.
    ///
    /// # Errors
    /// When curl is missing, or nothing comes.
    pub fn start(client: &Host, name: &str, url: &str, options: &[&str]) -> Result<Self> {
        require("curl", "curl")?;
        let (body, fields) = (client.folder().join(name), client.folder().join(format!("{name}.fields")));
        let [to, fields_to] = [&body, &fields].map(|path| path.display().to_string());
        let save = ["--fail", "--output", &to, "--dump-header", &fields_to];
        let mut process = client.spawn(&[CURL, &save, options, &[url]].concat())?;
        process.wait_ready("the download has begun", BEGIN_DEADLINE, || {
            let got = fs::metadata(&body)?.len();
            ensure!(got >= BEGUN, "{got} bytes are there");
            Ok(())
        })?;
        Ok(Self { process, body, fields })
    }

    /// A field of the answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn field(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(&self.fields).context("cannot read the answer's fields")?;
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(of, _)| of.eq_ignore_ascii_case(name));
        Ok(found.with_context(|| format!("the answer has no {name}: {text}"))?.1.trim().to_owned())
    }

    /// Whether it is still under way.
    ///
    /// # Errors
    /// When it has ended, with how.
    pub fn ensure_running(&mut self) -> Result<()> {
        let ended = self.process.ended()?;
        ensure!(ended.is_none(), "the download ended with {ended:?}: {}", self.process.log());
        Ok(())
    }

    /// Waits for the end; the SHA-256 of what came.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn finish(mut self, client: &Host) -> Result<String> {
        self.process.wait_end(END_DEADLINE)?.success()?;
        self.take_hash(client)
    }

    /// Waits until it fails; what curl says of it.
    ///
    /// # Errors
    /// When it succeeds, or goes on.
    pub fn wait_cut(mut self) -> Result<Output> {
        let output = self.process.wait_end(END_DEADLINE)?;
        ensure!(output.status != 0, "the download was not cut");
        let _ = fs::remove_file(&self.body);
        Ok(output)
    }

    fn take_hash(&self, client: &Host) -> Result<String> {
        let hash = files::hash(client, &self.body)?;
        remove(&self.body)?;
        Ok(hash)
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_last_one_and_not_an_interim_one() {
        let answer = parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/2 503 \r\nX-Node: a\r\nx-node: b\r\n\r\nno\r\n\r\nyes");
        let answer = answer.expect("there is one");
        assert_eq!((answer.status, answer.version.as_str(), answer.field("x-node")), (503, "2", "b"));
        assert_eq!(answer.body, "no\r\n\r\nyes");
        assert_eq!(parse(""), None);
    }
}
