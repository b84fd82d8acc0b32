//! A text with placeholders: `{client}`, `{host}` and so on.
//!
//! What takes their place comes from an examined request, so it has no control characters; what comes out is
//! validated again all the same.

use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use super::client::ClientFacts;

/// What placeholders stand for, at one moment of a request.
pub(super) struct Scene<'a> {
    pub(super) client: &'a ClientFacts,
    pub(super) method: &'a Method,
    /// Without port.
    pub(super) host: &'a str,
    pub(super) target: Option<&'a PathAndQuery>,
    pub(super) server: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    Client,
    Host,
    Method,
    Path,
    Query,
    Scheme,
    Server,
    Uri,
}

const ALL: &[(&str, Placeholder)] = &[
    ("client", Placeholder::Client),
    ("host", Placeholder::Host),
    ("method", Placeholder::Method),
    ("path", Placeholder::Path),
    ("query", Placeholder::Query),
    ("scheme", Placeholder::Scheme),
    ("server", Placeholder::Server),
    ("uri", Placeholder::Uri),
];

#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(Box<str>),
    Placeholder(Placeholder),
}

/// A text, split at its placeholders.
#[derive(Clone, Debug)]
pub(super) enum Template {
    /// It has none.
    Fixed(HeaderValue),
    /// It has some.
    Parts(Box<[Part]>),
}

impl Template {
    /// A value of a field.
    ///
    /// # Errors
    /// When it has a placeholder that does not exist, or can be no value.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let parts = split(text.trim())?;
        match parts.as_slice() {
            [] => Ok(Self::Fixed(HeaderValue::from_static(""))),
            [Part::Text(text)] => Ok(Self::Fixed(value(text).ok_or_else(|| unfit(text))?)),
            _ => {
                for part in &parts {
                    if let Part::Text(text) = part
                        && value(text).is_none()
                    {
                        return Err(unfit(text));
                    }
                }
                Ok(Self::Parts(parts.into()))
            }
        }
    }

    /// Where a client is sent: known before there is a real server.
    ///
    /// # Errors
    /// As [`Self::new`], and when it names the client, the method or the real server.
    pub(super) fn location(text: &str) -> Result<Self, String> {
        let template = Self::new(text)?;
        let strange = |part: &Part| {
            matches!(part, Part::Placeholder(Placeholder::Client | Placeholder::Method | Placeholder::Server))
        };
        if let Self::Parts(parts) = &template
            && parts.iter().any(strange)
        {
            return Err(format!("`{text}` may hold only {{host}}, {{path}}, {{query}}, {{scheme}} and {{uri}}"));
        }
        Ok(template)
    }

    /// Whether it can be written only when there is a real server.
    pub(super) fn names_server(&self) -> bool {
        self.any(|placeholder| placeholder == Placeholder::Server)
    }

    /// Whether it tells of the request.
    pub(super) fn tells_of_request(&self) -> bool {
        self.any(|placeholder| !matches!(placeholder, Placeholder::Client | Placeholder::Scheme | Placeholder::Server))
    }

    fn any(&self, wanted: impl Fn(Placeholder) -> bool) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Parts(parts) => {
                parts.iter().any(|part| matches!(part, Part::Placeholder(placeholder) if wanted(*placeholder)))
            }
        }
    }

    /// The value of a field; `None` if it can be none.
    pub(super) fn value(&self, scene: &Scene<'_>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Parts(parts) => HeaderValue::try_from(scene.text(parts)).ok(),
        }
    }

    /// The value of Location; `None` if it can be none.
    pub(super) fn url(&self, scene: &Scene<'_>) -> Option<HeaderValue> {
        let Self::Parts(parts) = self else { return self.value(scene) };
        let text = scene.text(parts);
        // The path is the client's: `//evil.example` at the beginning would be a host.
        let rest = text.trim_start_matches(['/', '\\']);
        let text = if text.len() > rest.len() + 1 { format!("/{rest}") } else { text };
        HeaderValue::try_from(text).ok()
    }
}

impl Scene<'_> {
    fn text(&self, parts: &[Part]) -> String {
        let mut text = String::new();
        for part in parts {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Placeholder(placeholder) => self.piece(*placeholder),
            });
        }
        text
    }

    fn piece(&self, placeholder: Placeholder) -> &str {
        let target = || self.target.filter(|target| target.path() != "*");
        match placeholder {
            Placeholder::Client => self.client.address_str(),
            Placeholder::Host => self.host,
            Placeholder::Method => self.method.as_str(),
            Placeholder::Path => target().map_or("/", PathAndQuery::path),
            Placeholder::Query => target().and_then(PathAndQuery::query).unwrap_or_default(),
            Placeholder::Scheme => self.client.scheme(),
            Placeholder::Server => self.server,
            Placeholder::Uri => target().map_or("/", PathAndQuery::as_str),
        }
    }
}

/// Splits at placeholders. Braces around anything but small letters are text: values may be JSON.
fn split(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        let name = after.split_once('}').map(|(name, _)| name);
        let Some(name) = name.filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()))
        else {
            plain.push('{');
            rest = after;
            continue;
        };
        let Some((_, placeholder)) = ALL.iter().find(|(known, _)| *known == name) else {
            let known: Vec<String> = ALL.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            return Err(format!("{{{name}}} in `{text}` is no placeholder; there are {}", known.join(", ")));
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain).into()));
        }
        parts.push(Part::Placeholder(*placeholder));
        rest = after.get(name.len() + 1..).unwrap_or_default();
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    Ok(parts)
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn unfit(text: &str) -> String {
    format!("{text:?} cannot be in a field: it has a line break or another control character")
}
