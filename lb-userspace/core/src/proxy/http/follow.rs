//! The way of a request through the rules.

use std::borrow::Cow;
use std::sync::Arc;

use http::{StatusCode, request};

use super::answer::{Answer, Origin};
use super::client::ClientFacts;
use super::condition::Subject;
use super::decision::Forward;
use super::examine::Reason;
use super::policy::Policy;
use super::rule::{Action, Compiled, NoPath, Rewriting};
use super::template::Scene;
use super::{host, path};

impl Policy {
    /// `Some`: a rule answers, or the request is refused.
    pub(super) fn follow_rules(
        &self,
        head: &mut request::Parts,
        client: &ClientFacts,
        forward: &mut Forward,
    ) -> Option<Answer> {
        let mut judged = match self.judge(head) {
            Ok(judged) => judged,
            Err(reason) => return Some(self.refuse(reason)),
        };
        let mut next = 0;
        while let Some((index, rule)) = self.next_rule(next, head, client, judged.as_deref()) {
            next = index + 1;
            rule.request.apply_to(head, client, "");
            if rule.has_more() {
                forward.rest().rules.push(index);
            }
            if let Some(rewrite) = &rule.rewrite {
                match rewritten(rewrite, head).and_then(|()| self.judge(head)) {
                    Ok(path) => judged = path,
                    Err(reason) => return Some(self.refuse(reason)),
                }
            }
            match &rule.action {
                None => {}
                Some(Action::Pool(pool)) => {
                    forward.pool = Some(Arc::clone(pool));
                    forward.rule = Some(Arc::clone(&rule.name));
                    return None;
                }
                Some(action) => {
                    let mut answer = self.act(rule, action, head, client);
                    self.edit_answer(&mut answer.headers, forward, client, "");
                    return Some(answer);
                }
            }
        }
        None
    }

    fn next_rule(
        &self,
        from: usize,
        head: &request::Parts,
        client: &ClientFacts,
        judged: Option<&str>,
    ) -> Option<(usize, &Compiled)> {
        let rest = self.rules.get(from..).filter(|rest| !rest.is_empty())?;
        let subject = Subject::new(head, client, judged.unwrap_or_else(|| head.uri.path()));
        let ahead = rest.iter().position(|rule| rule.applies(&subject))?;
        Some((from + ahead, rest.get(ahead)?))
    }

    /// The path as rules see it; `None`: as it is.
    fn judge(&self, head: &request::Parts) -> Result<Option<String>, Reason> {
        if !self.judges_paths {
            return Ok(None);
        }
        match path::judged(head.uri.path()) {
            Ok(Cow::Borrowed(_)) => Ok(None),
            Ok(Cow::Owned(judged)) => Ok(Some(judged)),
            Err(path::Ambiguous) => Err(Reason::AmbiguousPath),
        }
    }

    fn act(&self, rule: &Compiled, action: &Action, head: &request::Parts, client: &ClientFacts) -> Answer {
        let origin = Origin::Rule(Arc::clone(&rule.name));
        match action {
            Action::Redirect { location, status } => match location.url(&scene(head, client, "")) {
                Some(location) => Answer::redirect(*status, location, origin),
                None => self.pages.error(StatusCode::INTERNAL_SERVER_ERROR, origin),
            },
            Action::Respond { status, content_type, body } => {
                Answer::respond(*status, content_type.clone(), body.clone(), origin)
            }
            Action::Deny(status) => self.pages.error(*status, origin),
            Action::Pool(_) => self.pages.error(StatusCode::INTERNAL_SERVER_ERROR, origin),
        }
    }
}

fn scene<'a>(head: &'a request::Parts, client: &'a ClientFacts, server: &'a str) -> Scene<'a> {
    let target = head.uri.path_and_query();
    Scene { client, method: &head.method, host: host::name(&head.headers), target, server }
}

fn rewritten(rewrite: &Rewriting, head: &mut request::Parts) -> Result<(), Reason> {
    let Some(target) = head.uri.path_and_query().filter(|target| target.path() != "*") else { return Ok(()) };
    match rewrite.apply(target) {
        Ok(Some(target)) => {
            head.uri = target.into();
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(NoPath::Ambiguous) => Err(Reason::AmbiguousPath),
        Err(NoPath::TooLong) => Err(Reason::LongTarget),
    }
}
