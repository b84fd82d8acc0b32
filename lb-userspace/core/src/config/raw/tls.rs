//! Certificates and TLS, as they are typed.

use super::Verify;
use crate::config::decode::{List, record};
use crate::config::model::TlsPolicy;
use crate::config::values::{FilePath, Host, Name, Number, Port, SecretText, Switch, Text};

record! {
    /// A certificate: `pem` and `key`, or `pfx`. Relative files are taken from the directory of the main file.
    CertificateSection {
        /// PEM file with the certificate, then those that signed it.
        pem: optional(Text<FilePath>),
        /// PEM file with the private key.
        key: optional(Text<FilePath>),
        /// PKCS #12 archive with certificate and key.
        pfx: optional(Text<FilePath>),
        /// Password of the archive; better in a file, or as `${NAME}`.
        password: optional(Text<SecretText>),
        /// File that holds the password.
        password_file: optional(Text<FilePath>),
        /// OCSP answer of the authority, in DER, that clients get with the certificate; read again when it changes.
        ocsp_file: optional(Text<FilePath>, "none"),
    }
}

record! {
    /// A TLS listener of a layer 7 service.
    TlsSection {
        /// Port on the VIP.
        port: default(Port, Number(443)),
        /// Label of the certificate.
        certificate: optional(Text<Name>),
        /// Labels of several certificates, chosen by the name that the client asks for; the first is the default.
        certificates: optional(List<Text<Name>>),
        /// Protocol versions and cipher suites.
        policy: default(TlsPolicy, TlsPolicy::HighSecurity),
        /// Whether requests on the plain ports are sent to the TLS port, with status 308 (l7-http).
        redirect: default(Switch, Switch(false)),
        /// Asks clients for a certificate.
        client_certificate: optional(ClientCertificateSection, "they are not asked"),
    }
}

record! {
    /// The certificates of clients.
    ClientCertificateSection {
        /// PEM file of the authorities that sign them.
        ca_file: required(Text<FilePath>),
        /// Whether a client without one is refused.
        required: default(Switch, Switch(true)),
    }
}

record! {
    /// TLS towards a real server.
    ServerTlsSection {
        /// Whether its certificate is verified.
        verify: default(Verify, Verify::Full),
        /// Name sent in SNI and verified.
        server_name: optional(Text<Host>, "its address"),
        /// PEM file of certificate authorities to trust beside the system's.
        ca_file: optional(Text<FilePath>),
    }
}
