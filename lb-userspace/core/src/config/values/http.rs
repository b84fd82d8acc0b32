//! Texts and numbers of HTTP: names of headers, paths, methods, statuses.

use serde_json::{Value, json};

use super::text::{FilePath, Text, check_token, limit, no_control, rules};
use crate::config::code::Code;
use crate::config::decode::{At, Context, Definitions, FromNode, ToJson};
use crate::config::places::Place;
use crate::config::tree::{Node, clip};

rules! {
    /// The name of a header (RFC 9110 section 5.1: a token).
    FieldName "the name of a header" "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$" |text| check_token(text, 256);
    /// The value of a header, which may have placeholders (RFC 9110 section 5.5, without obsolete bytes).
    HeaderText "the text of a header" "^[\\t -~]{0,4096}$" check_header_text;
    /// A host name, or all below one.
    HostPattern "a host name" "^(\\*\\.)?[A-Za-z0-9._-]{1,253}$|^\\[[0-9A-Fa-f:.]+\\]$" check_host_pattern;
    /// The path of requests, without the query.
    RequestPath "the path of a request" "^/[!-~]*$" check_request_path;
    /// What takes the place of a path or of a part of it.
    Replacement "a part of a path" "^[!-~]*$" check_replacement;
    /// A method (RFC 9110 section 9.1).
    Method "a method" "^[!#$%&'*+.^_`|~0-9A-Z-]{1,64}$" check_method;
    /// Where a client is sent: a URL or a path, which may have placeholders.
    Location "a URL or a path" "^(https?://|/|\\{)[!-~]*$" check_location;
    /// A media type.
    ContentType "a Content-Type" "^[ -~]{1,256}$" |text| limit(text, 1, 256).and_then(|()| check_header_text(text));
    /// The body of an answer.
    Body "a body" "" |text| limit(text, 0, 65_536);
}

fn check_header_text(text: &str) -> Result<(), String> {
    no_control(&text.replace('\t', " "))?;
    limit(text, 0, 4096)?;
    if !text.is_ascii() {
        return Err("headers have letters of ASCII only".into());
    }
    if text.trim_matches([' ', '\t']) != text {
        return Err("it begins or ends with a space".into());
    }
    Ok(())
}

fn check_host_pattern(text: &str) -> Result<(), String> {
    limit(text, 1, 253)?;
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err("what is in brackets is no IPv6 address".into()),
        };
    }
    if text.contains(':') {
        return Err("a host is compared without its port; an IPv6 address stands in brackets".into());
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Err("`*` stands only at the beginning, for whole names: *.example.org".into());
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-".contains(*c)) {
        Some(c) => Err(format!("`{}` is not allowed in it", clip(&c.to_string()))),
        None => Ok(()),
    }
}

fn check_request_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err("it does not begin with /".into());
    }
    check_replacement(text)
}

fn check_replacement(text: &str) -> Result<(), String> {
    limit(text, 0, 4096)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("spaces and letters beyond ASCII have to be percent-encoded".into());
    }
    if let Some(c) = text.chars().find(|c| "?#".contains(*c)) {
        return Err(format!("it has a `{c}`; a path ends before the query"));
    }
    if let Some(c) = text.chars().find(|c| "<>`^\"".contains(*c)) {
        return Err(format!("`{c}` has to be percent-encoded: %{:02X}", u32::from(c)));
    }
    check_escapes(text)
}

/// RFC 3986 section 2.1; a NUL ends a path in some servers.
fn check_escapes(text: &str) -> Result<(), String> {
    for (_, rest) in text.match_indices('%').map(|(at, _)| text.split_at(at + 1)) {
        let digits = rest.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits {
            Some("00") => return Err("it has %00, which no path may have".into()),
            Some(_) => {}
            None => return Err("after % come two digits of 0 to 9 and A to F; % itself is %25".into()),
        }
    }
    Ok(())
}

fn check_method(text: &str) -> Result<(), String> {
    check_token(text, 64)?;
    if text.contains(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("letter case counts in methods; write {}", clip(&text.to_ascii_uppercase())));
    }
    Ok(())
}

fn check_location(text: &str) -> Result<(), String> {
    limit(text, 1, 4096)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("spaces and letters beyond ASCII have to be percent-encoded".into());
    }
    if ["http:///", "https:///"].iter().any(|start| text.starts_with(start)) {
        return Err("it has no host".into());
    }
    if !["/", "{", "http://", "https://"].iter().any(|start| text.starts_with(start)) {
        return Err("it begins neither with http:// or https:// nor with /".into());
    }
    Ok(())
}

/// The status of a redirect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedirectStatus(pub(crate) u16);

impl RedirectStatus {
    const ALL: [(u16, &str); 5] = [
        (301, "Moved for good; a client may turn POST into GET."),
        (302, "Found there for now; a client may turn POST into GET."),
        (303, "See there, with GET."),
        (307, "There for now, with the same method."),
        (308, "Moved for good, with the same method."),
    ];
}

impl FromNode for RedirectStatus {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "a status")?;
        let known = Self::ALL.iter().find(|(status, _)| status.to_string() == text);
        if known.is_none() {
            cx.report(Code::BadNumber, place, format!("`{}` is not the status of a redirect", clip(&text)))
                .help("write 301, 302, 303, 307 or 308");
        }
        known.map(|(status, _)| Self(*status))
    }

    fn schema(_: &mut Definitions) -> Value {
        let choice = |(status, meaning): &(u16, &str)| json!({"const": status, "description": meaning});
        json!({"oneOf": Self::ALL.iter().map(choice).collect::<Vec<_>>()})
    }
}

impl ToJson for RedirectStatus {
    fn to_json(&self) -> Value {
        self.0.into()
    }
}

/// Files by the status of the answers that they are the pages of.
#[derive(Clone, Debug)]
pub(crate) struct ErrorPages(pub(crate) Vec<(u16, At<Text<FilePath>>)>);

impl ErrorPages {
    /// Those that the balancer answers with itself.
    pub(crate) const STATUSES: [u16; 11] = [400, 403, 408, 413, 414, 429, 431, 500, 502, 503, 504];
}

impl FromNode for ErrorPages {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let mut pages = Vec::new();
        for (key, value) in cx.mapping(node, place)? {
            let at = cx.places.key(place, &key.text, key.span, value.span);
            let status = Self::STATUSES.into_iter().find(|status| status.to_string() == key.text);
            if status.is_none() {
                let all = Self::STATUSES.map(|status| status.to_string()).join(", ");
                cx.report_key(Code::BadNumber, at, format!("the balancer has no page for `{}`", clip(&key.text)))
                    .help(format!("the statuses that it answers with itself are {all}"));
            }
            let file = Text::from_node(value, at, cx);
            pages.extend(status.zip(file).map(|(status, value)| (status, At { value, place: at })));
        }
        Some(Self(pages))
    }

    fn schema(definitions: &mut Definitions) -> Value {
        let statuses = Self::STATUSES.map(|status| status.to_string());
        json!({
            "type": ["object", "null"],
            "propertyNames": {"enum": statuses},
            "additionalProperties": Text::<FilePath>::schema(definitions),
        })
    }
}
