//! Lists of ports, and one range of them.

use serde_json::{Value, json};

use crate::config::code::Code;
use crate::config::decode::{Context, Definitions, FromNode, ToJson};
use crate::config::model::PortRange;
use crate::config::places::Place;
use crate::config::tree::{Kind, Node, clip};

/// Ports and ranges, in the order of the file; disjoint, never empty.
#[derive(Clone, Debug)]
pub(crate) struct Ports(pub(crate) Vec<PortRange>);

/// Entries of one port list.
const MAX_PORT_ENTRIES: usize = 256;

impl FromNode for Ports {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let mut ranges = Vec::new();
        let mut complete = true;
        match &node.kind {
            Kind::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    let at = cx.places.index(place, index, item.span);
                    complete &= Self::read_text(item, at, cx, &mut ranges);
                }
            }
            Kind::Scalar { .. } | Kind::Mapping(_) => complete &= Self::read_text(node, place, cx, &mut ranges),
        }
        if ranges.is_empty() && complete {
            cx.report(Code::BadPorts, place, "the list of ports is empty").help(PORTS_HELP);
            return None;
        }
        complete &= Self::check(&ranges, place, cx);
        complete.then(|| Self(ranges.into_iter().map(|(range, _)| range).collect()))
    }

    fn schema(_: &mut Definitions) -> Value {
        let port = json!({"type": "integer", "minimum": 1, "maximum": 65535});
        let range = json!({"type": "string", "pattern": "^ *[0-9]+( *- *[0-9]+)? *$"});
        json!({"anyOf": [
            port.clone(),
            {"type": "string", "pattern": "^[0-9 ,-]+$"},
            {"type": "array", "minItems": 1, "maxItems": MAX_PORT_ENTRIES, "items": {"anyOf": [port, range]}}
        ]})
    }
}

const PORTS_HELP: &str = "write ports as 80, [1935, 554, 50000-65535] or \"1935,554,50000-65535\"";

impl Ports {
    /// Reads `80`, `50000-65535` or several of them with commas; `false` after a mistake was noted.
    fn read_text(node: &Node, place: Place, cx: &mut Context<'_>, ranges: &mut Vec<(PortRange, Place)>) -> bool {
        let Some(text) = cx.scalar(node, place, "a port or a range of ports") else { return false };
        let mut complete = true;
        for part in text.split(',').take(MAX_PORT_ENTRIES + 1) {
            match parse_range(part.trim()) {
                Ok(range) => ranges.push((range, place)),
                Err(message) => {
                    cx.report(Code::BadPorts, place, message).help(PORTS_HELP);
                    complete = false;
                }
            }
        }
        complete
    }

    fn check(ranges: &[(PortRange, Place)], place: Place, cx: &mut Context<'_>) -> bool {
        if ranges.len() > MAX_PORT_ENTRIES {
            let message = format!("more than {MAX_PORT_ENTRIES} ports and ranges in one service");
            cx.report(Code::TooMany, place, message).help("write neighbouring ports as a range");
            return false;
        }
        let mut sorted: Vec<(usize, PortRange, Place)> =
            ranges.iter().enumerate().map(|(index, (range, place))| (index, *range, *place)).collect();
        sorted.sort_by_key(|(index, range, _)| (*range, *index));
        let mut complete = true;
        for pair in sorted.windows(2) {
            let ((_, before, _), (_, range, at)) = (pair[0], pair[1]);
            if range.first <= before.last {
                let message = format!("port {} is listed twice: in {before} and in {range}", range.first);
                cx.report(Code::BadPorts, at, message).help("list each port once");
                complete = false;
            }
        }
        complete
    }
}

/// One range of ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourcePorts(pub(crate) PortRange);

impl FromNode for SourcePorts {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "a range of ports")?;
        match parse_range(text.trim()) {
            Ok(range) => Some(Self(range)),
            Err(message) => {
                cx.report(Code::BadPorts, place, message).help("write one range, such as 1024-32767");
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"type": "string", "pattern": "^ *[0-9]+ *- *[0-9]+ *$"})
    }
}

impl ToJson for SourcePorts {
    fn to_json(&self) -> Value {
        self.0.to_string().into()
    }
}

/// One port or an inclusive range.
fn parse_range(text: &str) -> Result<PortRange, String> {
    let port = |text: &str| -> Result<u16, String> {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(0) => Err("port 0 cannot be used; ports are 1 to 65535".to_owned()),
            Ok(port) if digits => Ok(port),
            _ if digits => Err(format!("port {} is outside 1 to 65535", clip(text))),
            _ => Err(format!("`{}` is not a port", clip(text))),
        }
    };
    let Some((first, last)) = text.split_once('-') else {
        let port = port(text)?;
        return Ok(PortRange { first: port, last: port });
    };
    let range = PortRange { first: port(first)?, last: port(last)? };
    if range.first > range.last {
        return Err(format!("the range {} is reversed; write {}-{}", clip(text), range.last, range.first));
    }
    Ok(range)
}
