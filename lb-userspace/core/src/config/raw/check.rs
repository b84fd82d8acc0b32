//! Health checks, as they are typed.

use super::{CheckPeriod, Count};
use crate::config::decode::record;
use crate::config::values::{AbsolutePath, AeTitle, Expected, FilePath, Host, Number, Pattern, Port, Switch, Text};

/// What a health check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckType {
    Connect,
    Ping,
    Http,
    Https,
    DicomEcho,
    Script,
    None,
}

record! {
    /// How real servers are checked.
    CheckSection {
        /// What is asked.
        r#type: optional(CheckType, "connect; ping for udp"),
        /// Port of the real server.
        port: optional(Port, "the real server's port, else the first port of the service"),
        /// `http`, `https`: path and query of the request, default `/`. `script`: the program, from the root.
        path: optional(Text<AbsolutePath>),
        /// `http`, `https`: the `Host` header.
        host: optional(Text<Host>, "the real server's address"),
        /// `http`, `https`: what the answer must be.
        expect: optional(ExpectSection, "status 200"),
        /// `https`: whether the certificate is verified.
        verify: optional(Verify, "none"),
        /// `https`: name sent in SNI and verified.
        server_name: optional(Text<Host>, "`host`"),
        /// `https`: PEM file of certificate authorities to trust beside the system's.
        ca_file: optional(Text<FilePath>),
        /// `dicom-echo`: AE title of the real server.
        called_ae_title: optional(Text<AeTitle>, "ANY-SCP"),
        /// `dicom-echo`: AE title of the balancer.
        calling_ae_title: optional(Text<AeTitle>, "LB"),
        /// From the start of one check to the start of the next.
        interval: optional(CheckPeriod, "`defaults.health_check.interval`"),
        /// A check that takes longer has failed.
        timeout: optional(CheckPeriod, "`defaults.health_check.timeout`"),
        /// Successes in a row that bring a real server up.
        rise: optional(Count, "`defaults.health_check.rise`"),
        /// Failures in a row that take it down.
        fall: optional(Count, "`defaults.health_check.fall`"),
        /// Whether a real server that keeps going up and down needs more successes each time.
        flap_damping: optional(Switch, "`defaults.health_check.flap_damping`"),
    }
}

record! {
    /// What the answer of an HTTP check must be; at most one of contains, equals and regex.
    ExpectSection {
        /// Status code.
        status: default(Number<u16, 100, 599>, Number(200)),
        /// The body contains this text.
        contains: optional(Text<Expected>),
        /// The body is this text, white space at both ends aside.
        equals: optional(Text<Expected>),
        /// The body matches this regular expression.
        regex: optional(Text<Pattern>),
    }
}

/// Whether a certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    None,
    Full,
}
