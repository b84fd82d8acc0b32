//! Rules over requests, as they are typed.

use serde_json::{Value, json};

use super::EditSection;
use crate::config::decode::{Context, Definitions, FromNode, List, Several, record};
use crate::config::places::Place;
use crate::config::tree::{Kind, Node};
use crate::config::values::{
    Body, Clients, ContentType, Expected, FieldName, HostPattern, Location, Method, Name, Number, Pattern,
    RedirectStatus, Replacement, RequestPath, Text,
};

record! {
    /// A rule. Rules are taken in order; where the conditions of one hold, its edits and its rewrite are applied, and
    /// the first that says what becomes of the request (`pool`, `redirect`, `deny`, `respond`) is the last.
    RuleSection {
        /// For messages and the access log.
        name: optional(Text<Name>, "its number"),
        /// All of these must hold; each holds if one of its values fits.
        when: optional(ConditionsSection, "always"),
        /// None of these may hold.
        unless: optional(ConditionsSection, "never"),
        /// Edits of the request's headers.
        request_headers: optional(List<EditSection>),
        /// Edits of its answer's headers.
        response_headers: optional(List<EditSection>),
        /// Another path for the real server; the query stays.
        rewrite: optional(RewriteSection),
        /// The request goes to a real server that has this `pool`.
        pool: optional(Text<Name>),
        /// The client is sent elsewhere: a URL or a path, alone with status 302. `{host}`, `{path}`, `{query}`, `{uri}` and
        /// `{scheme}` are replaced.
        redirect: optional(RedirectForm),
        /// The request is refused with this status and its page.
        deny: optional(Number<u16, 400, 599>),
        /// The balancer answers by itself.
        respond: optional(RespondSection),
    }
}

record! {
    /// Conditions on a request. Each takes one value or a list.
    ConditionsSection {
        /// The host without port: `www.example.org`; `*.example.org` is any name below it.
        host: optional(Several<Text<HostPattern>>),
        /// The whole path, without the query.
        path: optional(Several<Text<RequestPath>>),
        /// The beginning of the path; it ends at a `/` or with the path: `/api` is not a prefix of `/apis`.
        path_prefix: optional(Several<Text<RequestPath>>),
        /// A regular expression that matches somewhere in the path; `^` and `$` are its ends.
        path_regex: optional(Several<Text<Pattern>>),
        /// The method.
        method: optional(Several<Text<Method>>),
        /// A header; of several, each must fit.
        header: optional(Several<HeaderSection>),
        /// The client's address, or a network that holds it.
        client: optional(Several<Clients>),
    }
}

record! {
    /// A header of the request: that it is there, or what one of its values is.
    HeaderSection {
        /// Its name.
        name: required(Text<FieldName>),
        /// The whole value, letter case counting.
        equals: optional(Text<Expected>),
        /// A part of the value.
        contains: optional(Text<Expected>),
        /// A regular expression that matches somewhere in the value.
        regex: optional(Text<Pattern>),
    }
}

record! {
    /// Another path: `{prefix: /old, with: /new}` or `{regex: EXPRESSION, with: TEXT}`.
    RewriteSection {
        /// What the path begins with, as in `path_prefix`.
        prefix: optional(Text<RequestPath>),
        /// Regular expression over the path.
        regex: optional(Text<Pattern>),
        /// What takes its place; for `regex`, `$1` is the first group. For `prefix` there is one `/` between it and the
        /// rest: with `{prefix: /api, with: /}`, `/api/users` becomes `/users`.
        with: required(Text<Replacement>),
    }
}

/// `redirect: URL`, or the mapping.
#[derive(Clone, Debug)]
pub(crate) enum RedirectForm {
    /// Where to.
    Location(Text<Location>),
    /// The mapping.
    Full(RedirectSection),
}

impl FromNode for RedirectForm {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        match node.kind {
            Kind::Mapping(_) => RedirectSection::from_node(node, place, cx).map(Self::Full),
            Kind::Scalar { .. } | Kind::Sequence(_) => Text::from_node(node, place, cx).map(Self::Location),
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({"anyOf": [Text::<Location>::schema(definitions), RedirectSection::schema(definitions)]})
    }
}

record! {
    /// Where a client is sent.
    RedirectSection {
        /// URL or path, as in the short form.
        location: required(Text<Location>),
        /// Status of the answer.
        status: default(RedirectStatus, RedirectStatus(302)),
    }
}

record! {
    /// An answer of the balancer's own.
    RespondSection {
        /// Its status.
        status: default(Number<u16, 200, 599>, Number(200)),
        /// Its Content-Type.
        content_type: default(Text<ContentType>, Text::new("text/plain; charset=utf-8")),
        /// Its body.
        body: default(Text<Body>, Text::new("")),
    }
}
