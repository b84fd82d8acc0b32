//! IP addresses, alone, with a port or a prefix length, and words in their place.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::config::code::Code;
use crate::config::decode::{Context, Definitions, FromNode};
use crate::config::model::SourceAddress;
use crate::config::places::Place;
use crate::config::tree::{Node, clip};
use crate::view::Network;

/// An IPv4 or IPv6 address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(pub(crate) IpAddr);

impl FromNode for Address {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "an IP address")?;
        if let Ok(address) = text.parse() {
            return Some(Self(address));
        }
        let help = match text.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => format!("write {address}, without the prefix"),
            _ => match text.parse::<SocketAddr>() {
                Ok(socket) => format!("write {}; a port has its own key", socket.ip()),
                Err(_) => {
                    "write an address such as 192.168.94.110 or 2001:db8::10; host names are not looked up".to_owned()
                }
            },
        };
        cx.report(Code::BadAddress, place, format!("`{}` is not an IP address", clip(&text))).help(help);
        None
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]})
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket(pub(crate) SocketAddr);

impl FromNode for Socket {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "an address and a port")?;
        match text.parse::<SocketAddr>() {
            Ok(socket) if socket.port() != 0 => Some(Self(socket)),
            _ => {
                let message = format!("`{}` is not an address and a port", clip(&text));
                cx.report(Code::BadAddress, place, message).help("write 192.168.94.41:7778 or [2001:db8::41]:7778");
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"type": "string", "pattern": "^.+:[0-9]+$"})
    }
}

/// `auto`, `vip`, `client` or an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceChoice(pub(crate) SourceAddress);

impl FromNode for SourceChoice {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "`auto`, `vip`, `client` or an address")?;
        match (text.as_str(), text.parse()) {
            ("auto", _) => Some(Self(SourceAddress::Auto)),
            ("vip", _) => Some(Self(SourceAddress::Vip)),
            ("client", _) => Some(Self(SourceAddress::Client)),
            (_, Ok(address)) => Some(Self(SourceAddress::Address(address))),
            (_, Err(_)) => {
                let message = format!("`{}` is none of `auto`, `vip`, `client`, and no IP address", clip(&text));
                cx.report(Code::BadAddress, place, message)
                    .help("write auto, vip, client (layer 7), or an address of this machine without prefix length");
                None
            }
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        let words = json!([
            {"const": "auto", "description": "The address that the kernel prefers towards the real server."},
            {"const": "vip", "description": "The address of the service."},
            {"const": "client", "description": "The client's own address (layer 7)."}
        ]);
        json!({"anyOf": [{"oneOf": words}, Address::schema(definitions)]})
    }
}

/// A client, or a network of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clients(pub(crate) Network);

impl FromNode for Clients {
    fn from_node(node: &Node, place: Place, cx: &mut Context<'_>) -> Option<Self> {
        let text = cx.scalar(node, place, "an address or a network")?;
        if let Ok(network) = text.parse() {
            return Some(Self(network));
        }
        let message = format!("`{}` is neither an IP address nor a network", clip(&text));
        cx.report(Code::BadAddress, place, message).help("write 172.26.11.7, 172.26.11.0/24 or 2001:db8::/64");
        None
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({"type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"})
    }
}
