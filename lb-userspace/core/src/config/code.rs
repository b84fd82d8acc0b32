//! The stable codes of configuration mistakes.
//!
//! In: nothing. Out: one value per kind of mistake, its title and what it means; the table in
//! `docs/reference/configuration-errors.md` is this list. Absent: any one mistake's place and words.

use std::fmt;

use serde::{Serialize, Serializer};

/// Whether a mistake keeps the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, and does something that is probably not meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

macro_rules! codes {
    ($( $variant:ident $severity:ident $id:literal $title:literal : $explanation:literal; )*) => {
        /// A kind of configuration mistake. The code never changes its meaning and is never used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $( #[doc = $title] $variant, )*
        }

        impl Code {
            /// Every code, in the order of the reference.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// `E014`.
            pub fn id(self) -> &'static str {
                match self { $( Self::$variant => $id, )* }
            }

            /// `E…` is an error, `W…` a warning.
            pub fn severity(self) -> Severity {
                match self { $( Self::$variant => Severity::$severity, )* }
            }

            /// A few words.
            pub fn title(self) -> &'static str {
                match self { $( Self::$variant => $title, )* }
            }

            /// What it means and what to do, in one or two sentences.
            pub fn explanation(self) -> &'static str {
                match self { $( Self::$variant => $explanation, )* }
            }
        }
    };
}

codes! {
    Syntax Error "E001" "the text is not YAML":
        "The file cannot be read as YAML from this place on. Look for a missing colon, bracket or quote, or wrong indentation, at or just before it.";
    TooLarge Error "E002" "the configuration is too large":
        "A file is larger than 4 MiB, nested deeper than 32 levels, or has more than 500,000 values once its aliases are expanded.";
    DuplicateKey Error "E003" "a key is written twice":
        "YAML would silently keep one of the two. Remove one.";
    UnknownKey Error "E004" "unknown key":
        "The key does not exist here; it may be misspelt or indented wrongly. `lbctl schema` lists all keys.";
    MissingKey Error "E005" "a required key is missing":
        "The key has no default and must be written.";
    WrongShape Error "E006" "wrong kind of value":
        "A mapping, a list or a single value was expected and another of the three is written.";
    UnknownWord Error "E007" "unknown word":
        "The key takes one of a few words, and this is none of them.";
    BadNumber Error "E008" "not a number in range":
        "The value is not a whole number, or is outside the range that the message names.";
    BadAddress Error "E009" "not an IP address":
        "An IPv4 or IPv6 address is expected, without prefix length, port or brackets.";
    BadDuration Error "E010" "not a duration in range":
        "A duration is a whole number and one of ms, s, m, h, d (`100ms`, `4s`, `5m`, `6h`); a number alone means seconds.";
    BadPorts Error "E011" "not a list of ports":
        "Ports are single ports and ranges, 1 to 65535: `80`, `[1935, 554, 50000-65535]` or \"1935,554,50000-65535\"; no port twice.";
    BadText Error "E012" "a text that is not valid here":
        "Names, paths, URLs, regular expressions and AE titles each have their rules; the message says which one is broken.";
    BadVariable Error "E013" "an environment variable cannot be filled in":
        "`${NAME}` is replaced by the environment variable NAME of the daemon, which must exist. Write `$${` for a plain `${`.";
    PortTranslation Error "E014" "port translation is not possible in l4-dr":
        "In direct routing the packet reaches the real server unchanged, on the port that the client used.";
    ServiceClash Error "E015" "two virtual services take the same address, port and protocol":
        "Virtual services may share an address when their ports or protocols differ.";
    RewriteClash Error "E016" "a real server is used by layer 7 and by l4-snat on one port":
        "The proxy and the kernel would both choose source ports towards the same (protocol, real server, port), and their connections could collide.";
    DuplicateName Error "E017" "a name is used twice":
        "Virtual services, interfaces and certificates each have unique names; real servers have unique names within their service.";
    NotInMode Error "E018" "a setting that the mode does not have":
        "For example TLS and timeouts belong to layer 7; a source address to layer 7 and l4-snat; rules, headers, redirects and cookie persistence to l7-http; RDP cookies to l7-tcp.";
    FamilyMismatch Error "E019" "IPv4 and IPv6 mixed in layer 4":
        "In layer 4 the real servers and the fallback have the address family of the VIP. Layer 7 can translate.";
    UnusableAddress Error "E020" "an address that cannot be used here":
        "Unspecified, multicast, broadcast, loopback and IPv4-mapped addresses cannot be a VIP, nor the address of a machine on the network.";
    VipIsServer Error "E021" "an address is a VIP and a real server":
        "Traffic to the real server would come back to the balancer.";
    ServerNotAttached Error "E022" "a real server of l4-dr is not on an attached subnet":
        "Direct routing reaches a real server by its MAC address, so the balancer needs an interface in its subnet.";
    VipWithoutInterface Error "E023" "no interface holds the VIP":
        "The VIP is in no subnet of this machine, so the interface that gets it must be named with `interface`.";
    TooManyRanges Error "E024" "too many port ranges on one address":
        "The datapath searches at most 16 true ranges per (address, protocol). Single ports are not counted.";
    TooMany Error "E025" "too many entries":
        "At most 1024 virtual services, 250 real servers per service, 256 ports or ranges per service, 256 rules per service, 256 values per condition, 64 edits per list of headers, 64 interfaces and 4096 certificates.";
    ConnectionLimits Error "E026" "min_connections is above max_connections":
        "A real server that is full at max_connections takes new flows again below min_connections.";
    TimeoutOverInterval Error "E027" "the check's timeout is longer than its interval":
        "A check must end before the next one starts.";
    NotInCheck Error "E028" "a setting that this type of check does not have":
        "For example `path` and `expect` belong to http and https, AE titles to dicom-echo, and ping uses no port.";
    UnknownCertificate Error "E029" "a certificate that is not defined":
        "The label must be written under `certificates`.";
    IncompleteCertificate Error "E030" "a certificate is neither PEM nor PFX":
        "Write `pem` and `key`, or `pfx` and, when it has one, its password.";
    ChooseOne Error "E031" "keys that exclude each other":
        "Exactly one of the keys that the message names may be written.";
    SourceConflict Error "E032" "two files disagree":
        "Files in conf.d may add services, certificates and settings, and may not change what another file has set.";
    UdpInLayer7 Error "E033" "layer 7 carries TCP only":
        "Use one of the layer 4 modes for UDP, in a service of its own when TCP is to stay in layer 7.";
    ServerTwice Error "E034" "one real server twice in a service":
        "Two entries with the same address and port are one machine with a name too many; use weight for a larger share.";
    PlaceholderSecret Error "E035" "a placeholder in place of a secret":
        "`lbctl config show --effective` prints `<secret>` where a secret is. Write the secret itself, `${NAME}`, or the file that holds it.";
    UnsupportedYaml Error "E036" "YAML that is not used here":
        "Own tags, several documents in a file, keys that are not plain text, and aliases inside their own anchor.";
    UnsupportedVersion Error "E037" "a version of the file format that is not known":
        "This program reads version 1.";
    ServerIsBalancer Error "E038" "a real server has an address of the balancer":
        "In layer 4 the balancer cannot forward to itself.";
    TooManyProblems Error "E039" "more mistakes than are shown":
        "Correct those shown, then check again.";
    NatToOnePort Error "E040" "several ports go to one port of a real server in l4-nat":
        "A client may use one source port towards two ports of the VIP. On one port of the real server the two flows would be the same. l4-snat tells them apart by ports of its own.";
    SourcePortsOutOfRange Error "E041" "source_ports that cannot be used":
        "Ports below 1024 belong to services of this machine, and fewer than 64 do not last: each real server port can have as many flows at a time as there are source ports.";
    SourcePortsTaken Error "E042" "source_ports are those of the kernel":
        "The kernel gives the ports of `net.ipv4.ip_local_port_range` to connections of this machine, and a health check could get the port of a client's flow. The two ranges must not overlap.";
    ForeignSourceAddress Error "E043" "a source address that this machine does not have":
        "Real servers send their replies to the source address, so it must be an address of this machine or a VIP of the configuration.";
    UnknownPool Error "E044" "a pool that no real server is in":
        "A rule sends requests to a pool: to real servers that have the same name under `pool`.";
    UnknownPlaceholder Error "E045" "a placeholder that does not exist":
        "In the text of a header `{client}`, `{host}`, `{method}`, `{path}`, `{query}`, `{uri}`, `{scheme}` and `{server}` are replaced, in a redirect `{host}`, `{path}`, `{query}`, `{uri}` and `{scheme}`. A brace before anything but letters stands for itself.";
    UnknownGroup Error "E046" "a group that the regular expression does not have":
        "`$1` is the first group in parentheses, `$name` the one written as `(?<name>…)`; a name goes on as long as there are letters, digits and `_`. Write `$$` for a plain `$`.";
    HeaderNotEditable Error "E047" "a header that cannot be edited":
        "Headers that say where a message ends or what becomes of its connection (Connection, Content-Length, Expect, HTTP2-Settings, Keep-Alive, Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade) are written by the proxy itself. A request has exactly one Host, which can be set.";
    PortTaken Error "E048" "a port of this machine is taken twice":
        "A layer 7 service listens on its ports. What this machine itself offers there, its metrics for example, could not start.";
    UnusableFile Error "E049" "a file that cannot be used":
        "A certificate, its key, a CA or a page that the configuration names is not there, cannot be read, or is not what it should be; the message says which. Relative paths begin at the folder of the main file.";
    AmbiguousCheckPort Warning "W001" "the port of the health check is a guess":
        "The service has several ports and the check tests the first one. Write `port` in `health_check`.";
    PlainCheckOfTls Warning "W002" "an http check of a server that speaks TLS":
        "The check would be answered with a TLS error and the real server stay down. Use `type: https`.";
    AllWeightsZero Warning "W003" "no real server takes new clients":
        "Weight 0 gives a real server no new flows, and all of them have it.";
    TcpCheckOfUdp Warning "W004" "a TCP check of a UDP service":
        "The check opens a TCP connection, which a UDP service need not answer. Use `ping`, or name the TCP port to check.";
    NoServices Warning "W005" "no virtual service":
        "The configuration is valid and balances nothing.";
    ManyPortsToOne Warning "W006" "several ports go to one port of the real server":
        "Without `port` the real server gets the port that the client used.";
    InterfaceWithoutXdp Warning "W007" "an interface that is not listed":
        "Packets for the VIP, and replies in l4-nat and l4-snat, that arrive on it pass the datapath by. List it in node.interfaces.";
    UnusedCertificate Warning "W008" "a certificate that no service uses":
        "It is loaded and watched for nothing.";
    OnlyBackups Warning "W009" "every real server is a backup":
        "`backup: true` means: only when the others cannot. Without others it has no effect.";
    NatServerNotAttached Warning "W010" "a real server of l4-nat is not on an attached subnet":
        "Its replies carry the client's address and must come back through the balancer, so every router on the way must send them there.";
    NatServerShared Warning "W011" "a port of a real server is used by two l4-nat services":
        "Real servers see the client's own address and port. A client that uses one source port towards both services is refused for the second flow. It is rare, as clients seldom use a port twice at a time.";
    UnusedPool Warning "W012" "a pool that no rule names":
        "Real servers with `pool` get only what a rule sends to that pool, so these get nothing.";
    NoMainPool Warning "W013" "no real server for requests that no rule takes":
        "Every real server is in a pool. A request that no rule sends to one gets the fallback, or status 503.";
    UnreachableRule Warning "W014" "a rule that is never reached":
        "A rule before it has no condition and says what becomes of each request, so no request comes this far.";
    NoEffect Warning "W015" "a setting without effect here":
        "The message says what it is for. Remove it, or add what it needs.";
    UnverifiedServer Warning "W016" "a real server whose certificate is not verified":
        "With `verify: none` the connection is encrypted, and anybody on the way who answers in the real server's place is believed. Where its certificate is signed by an authority of your own, name that in `ca_file`.";
    UnverifiedCheck Warning "W017" "a check that believes a certificate which clients' connections refuse":
        "The proxy verifies the real server's certificate and the check does not: once the certificate has run out, the real server is up and no client reaches it.";
    ClientSourceRouted Warning "W018" "a real server that sees clients' addresses is behind a router":
        "With `source_address: client` its replies carry the client's address, and must come back through the balancer, so every router on the way must send them there.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// The reference of all codes, as Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration errors\n\n\
         `lbctl check` and `lbd` report every mistake at once, each with one of these codes. A code keeps its\n\
         meaning for ever. An error (E) keeps a configuration from being used; the running one stays. A warning\n\
         (W) does not.\n\n\
         | Code | Mistake | What it means, what to do |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let explanation = code.explanation().replace('|', "\\|");
        page.push_str(&format!("| {} | {} | {} |\n", code.id(), code.title(), explanation));
    }
    page
}
