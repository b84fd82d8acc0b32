//! The words that the file knows.

use super::check::{CheckType, Verify};
use super::proxy::{AccessLogWord, HeaderVersion, PassiveWord};
use super::service::PersistenceWord;
use crate::config::model::{HaRole, HttpVersion, Mode, OnRemoval, Protocol, Scheduler, TlsPolicy, XdpMode};
use crate::config::words::words;

words! { XdpMode, "a way to attach XDP":
    "auto" => XdpMode::Auto, "Native where the driver can, else generic, and said so.";
    "native" => XdpMode::Native, "In the driver.";
    "generic" => XdpMode::Generic, "In the network stack: works everywhere, slower.";
}
words! { HaRole, "a role in the pair":
    "primary" => HaRole::Primary, "The configuration is edited here.";
    "secondary" => HaRole::Secondary, "The configuration follows the Primary's.";
}
words! { Protocol, "a protocol":
    "tcp" => Protocol::Tcp, "TCP only.";
    "udp" => Protocol::Udp, "UDP only.";
    "tcp+udp" => Protocol::TcpUdp, "Both as one service: a client keeps one real server over both.";
}
words! { Mode, "a mode":
    "l4-dr" => Mode::L4Dr, "Direct routing: only the MAC addresses are rewritten; replies go straight to the client; real servers hold the VIP.";
    "l4-nat" => Mode::L4Nat, "The destination is rewritten; the balancer is the gateway of the real servers, and replies pass it.";
    "l4-snat" => Mode::L4Snat, "Source and destination are rewritten; real servers are anywhere, unchanged, and do not see the client's address.";
    "l7-tcp" => Mode::L7Tcp, "TCP proxy.";
    "l7-http" => Mode::L7Http, "HTTP proxy.";
}
words! { Scheduler, "a scheduler":
    "weighted-least-connection" => Scheduler::WeightedLeastConnection, "The real server with the fewest connections for its weight.";
    "weighted-round-robin" => Scheduler::WeightedRoundRobin, "In turn, by weight.";
    "source-hash" => Scheduler::SourceHash, "By the client's address.";
    "maglev" => Scheduler::Maglev, "By the whole flow, consistently.";
}
words! { OnRemoval, "what becomes of flows":
    "drain" => OnRemoval::Drain, "They stay until they end; no new one comes.";
    "cut" => OnRemoval::Cut, "They are cut at once.";
}
words! { TlsPolicy, "a TLS policy":
    "high-security" => TlsPolicy::HighSecurity, "TLS 1.3, and 1.2 with ECDHE and AEAD only.";
    "compatible" => TlsPolicy::Compatible, "Everything that the TLS library offers.";
}
words! { PersistenceWord, "a kind of persistence":
    "none" => PersistenceWord::None, "Each flow is scheduled by itself.";
    "source-ip" => PersistenceWord::SourceIp, "The client's address.";
    "cookie" => PersistenceWord::Cookie, "A cookie that the balancer inserts (l7-http).";
    "rdp-cookie" => PersistenceWord::RdpCookie, "The RDP cookie (l7-tcp).";
}
words! { CheckType, "a type of health check":
    "connect" => CheckType::Connect, "A TCP connection can be opened.";
    "ping" => CheckType::Ping, "ICMP echo is answered.";
    "http" => CheckType::Http, "An HTTP request is answered as expected.";
    "https" => CheckType::Https, "The same over TLS.";
    "dicom-echo" => CheckType::DicomEcho, "DICOM C-ECHO succeeds.";
    "script" => CheckType::Script, "A program exits 0; called as PROGRAM VIP VIP-PORT RIP RIP-PORT.";
    "none" => CheckType::None, "Always up.";
}
words! { Verify, "a way to verify certificates":
    "none" => Verify::None, "Any certificate is accepted.";
    "full" => Verify::Full, "Name, dates and authority are verified.";
}
words! { PassiveWord, "`none`":
    "none" => PassiveWord::None, "Only its health check says how a real server is.";
}
words! { AccessLogWord, "a place for the access log":
    "none" => AccessLogWord::None, "No line is written.";
    "journal" => AccessLogWord::Journal, "The daemon's own log.";
}
words! { HeaderVersion, "a version of the PROXY header":
    "none" => HeaderVersion::None, "No header.";
    "v1" => HeaderVersion::V1, "Text.";
    "v2" => HeaderVersion::V2, "Binary.";
}
words! { HttpVersion, "a version of HTTP":
    "http1" => HttpVersion::Http1, "HTTP/1.1.";
    "http2" => HttpVersion::Http2, "HTTP/2: with `tls` by ALPN, without by prior knowledge.";
    "auto" => HttpVersion::Auto, "What the real server chooses in the TLS handshake; without `tls`, HTTP/1.1.";
}
