//! What is done with requests and answers, as it is typed: settings, and edits of headers.

use crate::config::decode::{Several, record};
use crate::config::model::Http;
use crate::config::values::{Clients, ErrorPages, FieldName, HeaderText, Number, Pattern, Switch, Text};

record! {
    /// What is done with requests and answers of an l7-http service.
    HttpSection {
        /// Whether clients may speak HTTP/2: by ALPN over TLS, by prior knowledge without.
        http2: default(Switch, Switch(Http::default().http2)),
        /// Bytes of a request's line and headers together; more is answered with status 431.
        max_header_bytes: default(Number<u32, 8192, 1_048_576>, Number(Http::default().max_header_bytes)),
        /// How a real server learns who the client is.
        forwarded: optional(ForwardedSection),
        /// How often a request that may be repeated is tried on another real server.
        retries: default(Number<u8, 0, 10>, Number(Http::default().retries)),
        /// Retries are at most so many percent of the requests of the last seconds, and ten a second.
        retry_budget: default(Number<u8, 0, 100>, Number(Http::default().retry_budget)),
        /// HTML files in place of the built-in pages, by status: `{503: pages/maintenance.html}`.
        error_pages: optional(ErrorPages, "the built-in ones"),
    }
}

record! {
    /// Which headers tell a real server about the client.
    ForwardedSection {
        /// X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Port and X-Forwarded-Host.
        x_forwarded: default(Switch, Switch(true)),
        /// Forwarded (RFC 7239).
        forwarded: default(Switch, Switch(false)),
        /// Clients, other proxies, whose own such headers are kept and added to; everybody else's are removed, because
        /// they may be lies.
        trusted: optional(Several<Clients>, "nobody"),
    }
}

record! {
    /// An edit of headers: `{insert: NAME, value: TEXT}`, `{set: NAME, value: TEXT}`, `{delete: NAME}` or
    /// `{replace: NAME, pattern: EXPRESSION, with: TEXT}`.
    EditSection {
        /// Adds a header of this name, beside those that are there.
        insert: optional(Text<FieldName>),
        /// Puts one header of this name in place of all of them.
        set: optional(Text<FieldName>),
        /// Removes all headers of this name.
        delete: optional(Text<FieldName>),
        /// Replaces what matches `pattern` in the headers of this name.
        replace: optional(Text<FieldName>),
        /// Text of `insert` and `set`; `{client}`, `{host}`, `{method}`, `{path}`, `{query}`, `{uri}`, `{scheme}` and
        /// `{server}` are replaced.
        value: optional(Text<HeaderText>),
        /// Regular expression of `replace`.
        pattern: optional(Text<Pattern>),
        /// What takes the place of what matches; `$1` is the first group.
        with: optional(Text<HeaderText>),
    }
}
